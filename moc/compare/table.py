"""The cells of a comparison's table: which columns there are and how their values are written. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moc.compare.costs import COSTS, PAST, SECONDS, SPARSITY, STEP_SECONDS
from moc.compare.memory_columns import COLUMNS
from moc.metrics.attributes import NAMED_RIGHT
from moc.metrics.catalogue import ALL
from moc.metrics.colours import PLACE_COLOURS
from moc.metrics.consistency import CHARACTERS, PLACES
from moc.metrics.dynamics import DYNAMIC_DEGREE, MOTION
from moc.metrics.metric import Metric

_METRICS = {metric.key: metric for metric in (*ALL, *COSTS, *COLUMNS)}
# in a terminal of a hundred columns each of these gives way to the other, where that has values
_GIVES_WAY = {
    MOTION.key: DYNAMIC_DEGREE.key, PAST.key: SPARSITY.key, PLACE_COLOURS.key: PLACES.key,
    SECONDS.key: STEP_SECONDS.key,
}  # fmt: skip

# what memory is judged by, and so is shown as differences from the reference, too
_JUDGED = (CHARACTERS.key, PLACES.key, NAMED_RIGHT.key, "recall_people", "recall_places")


@dataclass(frozen=True)
class Cell:
    """A value and its interval as text; an empty interval where there is none."""

    value: str
    interval: str = ""


def metric_of(key: str) -> Metric:
    """The metric with this key."""
    return _METRICS[key]


def columns_of(report: Mapping[str, Any], *, narrow: bool = False) -> list[str]:
    """Keys of the metrics that some arm has a value of; `narrow` without those that have a plainer one beside them."""
    keys = [metric["key"] for metric in report["metrics"]]
    valued = [key for key in keys if any(arm["values"].get(key) is not None for arm in report["arms"])]
    return [key for key in valued if not (narrow and _GIVES_WAY.get(key) in valued)]


def cells(arm: Mapping[str, Any], keys: Sequence[str]) -> list[Cell]:
    """An arm's row."""
    row = []
    for key in keys:
        metric, value, interval = _METRICS[key], arm["values"].get(key), arm["intervals"].get(key)
        if interval is None or interval[0] == interval[1]:
            row.append(Cell(metric.show(value)))
        else:
            row.append(Cell(metric.show(value), metric.show_interval(interval)))
    return row


@dataclass(frozen=True)
class Paired:
    """Differences from the reference on the same seeds or stories, with the level of chance where it is known.

    Attributes:
        says: what is shown, in a line.
        heads: of the columns, the first one names the arm; rows: an arm each, the reference included for its chance.
    """

    says: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def paired(report: Mapping[str, Any]) -> Paired | None:
    """The second table of a report with several seeds or stories; None where there is nothing to tell."""
    arms = report["arms"]
    seeds = report["seeds"] or []
    keys = [
        key for key in _JUDGED
        if any(_tells((arm["against_reference"] or {}).get(key), len(seeds) > 1) for arm in arms)
    ]  # fmt: skip
    chances = [key for key in keys if any((arm["chance"] or {}).get(key) is not None for arm in arms)]
    if not keys:
        return None
    heads = ["arm"]
    for key in keys:
        heads += [f"{_METRICS[key].name}\nagainst {report['reference']}", *(["by\nchance"] if key in chances else [])]
    rows = []
    for arm in arms:
        row = [arm["label"]]
        for key in keys:
            found = (arm["against_reference"] or {}).get(key) or {"mean": None, "interval": None}
            row.append(_METRICS[key].show_difference(found["mean"], found["interval"]))
            if key in chances:
                row.append(_METRICS[key].show((arm["chance"] or {}).get(key)))
        rows.append(tuple(row))
    each = "Story by story" if report.get("suite") else "Seed by seed"
    says = f"{each}, with 95 % intervals where differences differ; shares in points of a hundred."
    if len(heads) > 1 + len(keys):
        says += " By chance: agreement between drawings of different seeds."
    return Paired(says, tuple(heads), tuple(rows))


def _tells(found: Mapping[str, Any] | None, repeated: bool) -> bool:
    """Whether a difference says more than its two values: by an interval, or as the mean of several seeds."""
    return found is not None and (found["interval"] is not None or (repeated and found["mean"] is not None))

"""The cells of a comparison's table: which columns there are and how their values are written. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moc.compare.costs import COSTS, PAST, SECONDS, SPARSITY, STEP_SECONDS
from moc.compare.memory_columns import COLUMNS
from moc.metrics.catalogue import ALL
from moc.metrics.colours import PLACE_COLOURS
from moc.metrics.consistency import PLACES
from moc.metrics.dynamics import DYNAMIC_DEGREE, MOTION
from moc.metrics.metric import Metric

_METRICS = {metric.key: metric for metric in (*ALL, *COSTS, *COLUMNS)}
# in a terminal of a hundred columns each of these gives way to the other, where that has values
_GIVES_WAY = {
    MOTION.key: DYNAMIC_DEGREE.key, PAST.key: SPARSITY.key, PLACE_COLOURS.key: PLACES.key,
    SECONDS.key: STEP_SECONDS.key,
}  # fmt: skip


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
            row.append(Cell(metric.show(value), metric.show_half(interval)))
    return row

"""The columns of `moc compare --suite memory`: what the benchmark of memory says of an arm, in one row. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moc.compare.costs import GFLOP, PAST, SPARSITY
from moc.metrics.metric import Metric

_SHARE = {"low": 0.0, "high": 1.0, "form": "{:.1%}", "unit": "share"}


def _recall(key: str, heading: str, whose: str) -> Metric:
    says = f"share of unnamed attributes of {whose} that look as they did at first, over all gaps since last seen"
    return Metric(key, heading, says, better="higher", **_SHARE)  # type: ignore[arg-type]


def _chance(key: str, whose: str) -> Metric:
    says = f"the same share between looks of different stories, which no memory could link ({whose})"
    return Metric(key, f"chance\n{key.rpartition('_')[2]}", says, better="neither", **_SHARE)  # type: ignore[arg-type]


def _kappa(key: str, whose: str) -> Metric:
    says = (
        f"agreement beyond chance ({whose}): 0 for a model that forgets or always draws the same, 1 for a perfect one"
    )
    return Metric(key, f"kappa\n{key.rpartition('_')[2]}", says, None, 1.0, "higher", form="{:.2f}")


NAMED = Metric(
    "named", "named\nright", "share of what captions name that is read as named; needs no memory", better="higher",
    **_SHARE,  # type: ignore[arg-type]
)  # fmt: skip
MOVES = Metric(
    "moves", "moves\nas told", "share of characters that go somewhere if and only if they should", better="higher",
    **_SHARE,  # type: ignore[arg-type]
)  # fmt: skip
SECONDS = Metric(
    "seconds_a_story", "s a\nstory",
    "seconds of rendering a story in batches, from each shot's median batch, the first one left out where it can be",
    0.0, None, "lower", form="{:,.3g}", unit="s",
)  # fmt: skip
COLUMNS = (
    _recall("recall_people", "recall\npeople", "characters"),
    _chance("chance_people", "characters"),
    _kappa("kappa_people", "characters"),
    _recall("recall_places", "recall\nplaces", "places"),
    _chance("chance_places", "places"),
    _kappa("kappa_places", "places"),
    NAMED, MOVES, SPARSITY, PAST, GFLOP, SECONDS,
)  # fmt: skip
LEAST = 8
"""Stories from which there are intervals: resampling fewer gives narrow ones that mean nothing."""
OWNERS = {"people": "character", "places": "place"}


def values(told: Mapping[str, Any], costs: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """An arm's `values` and `intervals` by column.

    Args:
        told: of `moc.metrics.memory_experiment.report`; costs: counted, by key.
    """
    from moc.metrics.memory import OPEN

    found: dict[str, Any] = {NAMED.key: told["named"]["right"], SPARSITY.key: told["sparsity"], **costs}
    timed = [shot["seconds"] for shot in told["cost"] if shot["seconds"] is not None]  # not those planted everywhere
    found[SECONDS.key] = sum(timed) if timed else None
    intervals: dict[str, Any] = {NAMED.key: told["named"]["interval"]}
    for name, owner in OWNERS.items():
        means = told["means"][owner]
        for measure in ("recall", "kappa"):
            found[f"{measure}_{name}"] = means[measure]
            intervals[f"{measure}_{name}"] = means[f"{measure}_interval"]
        levels = [told["attributes"][one]["chance"] for one in OPEN[owner]]
        known = [level for level in levels if level is not None]
        found[f"chance_{name}"] = sum(known) / len(known) if known else None
    if told["motion"] is not None and "moves_as_told" in told["motion"]:
        found[MOVES.key] = _number(told["motion"]["moves_as_told"])
        intervals[MOVES.key] = told["motion"]["moves_as_told_interval"]
    known = told["stories"] >= LEAST
    return {"values": found, "intervals": {key: _interval(value) for key, value in intervals.items() if known}}


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _interval(value: list[float | None]) -> list[float | None] | None:
    return None if any(_number(end) is None for end in value) else value

"""Means over seeds with their uncertainty, and differences between arms that were drawn from the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

# two-sided 95 % points of Student's t by degrees of freedom; beyond, the normal's
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960


def summary(values: Sequence[float | None], low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Mean and 95 % interval by Student's t, which is honest for a handful of seeds.

    Values that are all the same have no interval: two seeds that agree by luck, as counts of few things often do, say
    nothing of how far a third would lie off.

    Args:
        values: one a seed; None where there is none.
        low, high: what the mean can be at least and at most; the interval ends there.

    Returns:
        `mean` (None where there is no value) and `interval` ([low, high], None for fewer than two different values).
    """
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "interval": None}
    mean, count = math.fsum(known) / len(known), len(known)
    if min(known) == max(known):  # exactly, where a sum's rounding would leave a trace of an interval
        return {"mean": known[0], "interval": None}
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (count - 1) / count)
    half = (_T95[count - 2] if count - 2 < len(_T95) else _NORMAL) * spread
    ends = [mean - half, mean + half]
    return {"mean": mean, "interval": [_within(end, low, high) for end in ends]}


def difference(
    values: Sequence[float | None], reference: Sequence[float | None], span: float | None = None
) -> dict[str, Any]:
    """`summary` of the differences seed by seed: much narrower than the two intervals where seeds differ a lot.

    Args:
        values, reference: one a seed; None where there is none.
        span: the most that they can differ.
    """
    pairs = zip(values, reference, strict=True)
    found = [None if a is None or b is None else a - b for a, b in pairs]
    return summary(found, None if span is None else -span, span)


def _within(value: float, low: float | None, high: float | None) -> float:
    value = value if low is None else max(low, value)
    return value if high is None else min(high, value)

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


def summary(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and 95 % interval by Student's t, which is honest for a handful of seeds.

    Args:
        values: one a seed; None where there is none.

    Returns:
        `mean` (None where there is no value) and `interval` ([low, high], None for fewer than two values).
    """
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "interval": None}
    mean, count = math.fsum(known) / len(known), len(known)
    if min(known) == max(known):  # exactly, where a sum's rounding would leave a trace of an interval
        return {"mean": known[0], "interval": [known[0], known[0]] if count > 1 else None}
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (count - 1) / count)
    half = (_T95[count - 2] if count - 2 < len(_T95) else _NORMAL) * spread
    return {"mean": mean, "interval": [mean - half, mean + half]}


def difference(values: Sequence[float | None], reference: Sequence[float | None]) -> dict[str, Any]:
    """`summary` of the differences seed by seed: much narrower than the two intervals where seeds differ a lot."""
    pairs = zip(values, reference, strict=True)
    return summary([None if a is None or b is None else a - b for a, b in pairs])

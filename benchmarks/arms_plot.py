"""One picture of what arms remember and cost: a row an arm, recall of people and of places, and the cost beside them.

    arm      recall of people        recall of places        cost
    moc          o   |--*--|            o   |--*--|          ====
    dense        o    |--*--|           o    |--*--|         =========

A star is recall with its 95 % interval, a circle the level of chance.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moc.run.files import write_bytes


@dataclass(frozen=True)
class Point:
    """A share with its interval (None where there is none) and the level of chance, 0 to 1; None where not known."""

    value: float | None
    interval: tuple[float, float] | None
    chance: float | None


@dataclass(frozen=True)
class Arm:
    """A row: the name, a point by panel, and the cost."""

    name: str
    points: Mapping[str, Point]
    cost: float | None


def _shares(point: Point) -> list[float]:
    """All that is drawn of a point."""
    return [share for share in (point.value, point.chance, *(point.interval or ())) if share is not None]


def write_plot(arms: Sequence[Arm], path: Path, *, title: str, cost: str) -> None:
    """Writes the picture as PNG.

    Args:
        arms: from the top; all have the same panels. path: file to write.
        title: above it all; cost: what the last panel shows, with its unit.

    Raises:
        ValueError: no arms.
    """
    if not arms:
        raise ValueError("a picture needs at least one arm, got none")
    from matplotlib.figure import Figure

    panels = list(arms[0].points)
    shares = [share for arm in arms for point in arm.points.values() for share in _shares(point)]
    # a tenth of room, up to the next ten, and the same in all panels, so that they compare
    right = min(100, 10 * math.ceil(11 * max([0.01, *shares])))
    figure = Figure(figsize=(3.4 * len(panels) + 3.6, 1.3 + 0.34 * len(arms)), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1, sharey=True, squeeze=False)[0]
    rows = range(len(arms))
    for axis, panel in zip(axes, panels, strict=False):
        for row, arm in zip(rows, arms, strict=True):
            point = arm.points[panel]
            if point.interval is not None:
                axis.plot([100 * end for end in point.interval], [row, row], color="#b4482a", linewidth=2, alpha=0.6)
            if point.value is not None:
                axis.plot(100 * point.value, row, "*", color="#b4482a", markersize=9)
            if point.chance is not None:
                axis.plot(100 * point.chance, row, "o", markerfacecolor="none", markeredgecolor="#7a706c", markersize=6)
        axis.set_xlim(0, right)
        axis.set_xlabel(f"{panel}, %")
        axis.grid(axis="x", alpha=0.3)
    axes[-1].barh(list(rows), [arm.cost or 0 for arm in arms], height=0.55, color="#7a9cb8")
    for row, arm in zip(rows, arms, strict=True):
        if arm.cost is None:
            axes[-1].text(0, row, " not measured", va="center", fontsize=8, color="#7a706c")
    axes[-1].set_xlabel(cost)
    axes[0].set_yticks(list(rows), [arm.name for arm in arms])
    axes[0].invert_yaxis()
    figure.suptitle(f"{title}\nstar: recall with its 95 % interval; circle: chance", fontsize=10)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    write_bytes(path, data.getvalue())

"""Maps as pictures: shots beside chunks, with the distances; two maps side by side; the change between two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moc.route_map.findings import Report, percent
from moc.route_map.load import RouteMap, shares
from moc.saving import check_plot, save_figure

_INK, _LOOP, _OWN = "#222222", "#e4007f", "#e3e3e3"


def draw(reports: list[tuple[str, Report]], path: Path) -> None:
    """Draw one report with its chunks, or several side by side, each under its name.

    Raises:
        InputError: as `check_plot`, or a place that can't be written.
    """
    check_plot(path)
    panels = len(reports) + (len(reports) == 1)
    figure = _figure(panels)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for place, (name, report) in enumerate(reports):
        _shots(axes[place], report.shares_SS, report.route_map, name or "shot by shot")
        for cycle in report.loops.mutual:
            for i, j in cycle.edges:
                axes[place].add_patch(_box(i, j))
    if len(reports) == 1:
        _chunks(axes[1], reports[0][1])
    figure.suptitle(reports[0][1].route_map.title, fontsize=11, color=_INK)
    figure.supxlabel(_legend(reports), fontsize=8, color=_INK)
    save_figure(figure, path, dpi=130)


def draw_change(change: np.ndarray, route_map: RouteMap, path: Path) -> None:
    """Draw the change of shares `[S, S]` from one run to another, in percentage points."""
    check_plot(path)
    figure = _figure(1)
    axes = figure.subplots()
    most = max(float(np.abs(change).max(initial=0)), 0.01)
    image = axes.imshow(100 * change, cmap="RdBu_r", vmin=-100 * most, vmax=100 * most)
    figure.colorbar(image, ax=axes, shrink=0.7, label="percentage points")
    _numbers(axes, change, most, signed=True)
    _ticks(axes, route_map)
    axes.set_title("change of shares", fontsize=10, color=_INK)
    save_figure(figure, path, dpi=130)


def _legend(reports: list[tuple[str, Report]]) -> str:
    """What cells and frames mean."""
    own = "" if any(np.diagonal(report.shares_SS).any() for _, report in reports) else "; grey: the own shot"
    limit = percent(reports[0][1].loops.threshold)
    return f"percent of a row's routes{own}; framed: two shots that give each other more than {limit}"


def _figure(panels: int) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * panels, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _box(i: int, j: int, **look: Any) -> Any:
    """A frame around a cell, or what `look` makes of it."""
    from matplotlib.patches import Rectangle

    return Rectangle((j - 0.5, i - 0.5), 1, 1, **(look or {"fill": False, "edgecolor": _LOOP, "linewidth": 2}))


def _shots(axes: Any, share: np.ndarray, route_map: RouteMap, name: str) -> None:
    axes.imshow(share, cmap="Greens", vmin=0, vmax=1)
    for place in np.flatnonzero(np.diagonal(share) == 0).tolist():
        axes.add_patch(_box(place, place, fill=True, color=_OWN))
    _numbers(axes, share, 1.0, signed=False)
    _ticks(axes, route_map)
    axes.set_title(name, fontsize=10, color=_INK)


def _numbers(axes: Any, values: np.ndarray, most: float, *, signed: bool) -> None:
    if len(values) > 16:
        return
    for (i, j), value in np.ndenumerate(values):
        if round(100 * value):
            dark = abs(value) > 0.6 * most
            text = f"{100 * value:+.0f}" if signed else f"{100 * value:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else _INK)


def _ticks(axes: Any, route_map: RouteMap) -> None:
    shots = route_map.shots
    step = max(1, len(shots) // 24)
    places = list(range(0, len(shots), step))
    axes.set_xticks(places, [str(shots[p].number) for p in places], fontsize=7)
    axes.set_yticks(places, [f"{shots[p].number} {shots[p].id}" for p in places], fontsize=7)
    axes.set_xlabel("chosen shot", fontsize=8, color=_INK)
    axes.tick_params(length=0)


def _chunks(axes: Any, report: Report) -> None:
    bounds = report.route_map.bounds
    axes.imshow(np.sqrt(shares(report.counts_CC)), cmap="Greens", vmin=0, interpolation="nearest")
    for edge in bounds[1:-1]:
        axes.axhline(edge - 0.5, color="#bbbbbb", linewidth=0.5)
        axes.axvline(edge - 0.5, color="#bbbbbb", linewidth=0.5)
    middle = (bounds[1:] + bounds[:-1] - 1) / 2
    numbers = [str(shot.number) for shot in report.route_map.shots]
    axes.set_xticks(middle, numbers, fontsize=7)
    axes.set_yticks(middle, numbers, fontsize=7)
    axes.tick_params(length=0)
    unit = report.route_map.unit
    axes.set_title(f"{unit} by {unit} (root of the share)", fontsize=10, color=_INK)

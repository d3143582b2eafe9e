"""Latency and FLOPs against the number of shots, dense and MoC, on log-log axes with the fitted exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moc.profile.report import growth
from moc.profile.settings import label
from moc.saving import check_plot, save_figure

_DENSE, _MOC, _INK = "#8c8c8c", "#0b6e4f", "#222222"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draws a report; without measurements, FLOPs alone.

    Raises:
        InputError: as `check_plot`, or a place that can't be written.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, name = report["rows"], label(report["settings"]["attention"].get("pattern", "moc"))
    panels = [("FLOPs", "flops")]
    if any(row["latency_moc_ms"] or row["latency_dense_ms"] for row in rows):
        panels.insert(0, ("milliseconds", "latency"))
    figure = Figure(figsize=(4.6 * len(panels) + 0.4, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (unit, kind) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, rows, kind, unit, name)
    figure.suptitle(_title(report), fontsize=10, color=_INK)
    save_figure(figure, path, dpi=160)


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]], kind: str, unit: str, sparse: str) -> None:
    highest = 0.0
    for name, said, colour in (("dense", "dense", _DENSE), ("moc", sparse, _MOC)):
        column = f"{kind}_{name}_ms" if kind == "latency" else f"{kind}_{name}"
        points = [(row["shots"], row[column]) for row in rows if row[column]]
        if not points:
            continue
        power = growth(rows, column)
        text = said if power is None else f"{said}: grows as length$^{{{power:.2f}}}$"
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=text, linewidth=1.8, markersize=4.5)
        highest = max(highest, *(value for _, value in points))
    shots = [row["shots"] for row in rows]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(shots, [str(n) for n in shots])
    axes.set_xticks([], minor=True)
    if len(shots) == 1:
        axes.set_xlim(shots[0] / 2, shots[0] * 2)
    axes.set_ylim(top=highest * 6)  # room for the legend
    axes.set_xlabel("shots", color=_INK)
    axes.set_title({"latency": "time of attention", "flops": "FLOPs of attention"}[kind], fontsize=10, color=_INK)
    axes.set_ylabel(unit, color=_INK)
    axes.grid(True, which="major", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _title(report: Mapping[str, Any]) -> str:
    told, machine = report["settings"], report["machine"]
    size = f"{told['tokens_per_shot']:,} tokens a shot, " if told["tokens_per_shot"] else ""
    heads = f"{told['heads']} {'head' if told['heads'] == 1 else 'heads'} of {told['head_dim']}"
    layers = "" if told["layers"] == 1 else f", {told['layers']} layers"
    passes = ", forward + backward" if told["backward"] else ""
    dense = "" if machine is None else machine["dense_kernels"][told["against"][0]]
    where = "" if machine is None else f"\n{machine['name']}, {told['dtype']}, dense attention: {dense}"
    return f"{size}{heads}{layers}{passes}{where}"

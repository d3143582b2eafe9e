"""Tables and the plot of cost for what `benchmarks/memory.py` measured."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.metrics.memory import OPEN as _OPEN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

Found = dict[str, Any]
FEW = 64  # stories, fewer than which are a look and no measurement


def percent(value: float | None) -> str:
    """A share as text, empty where there is none."""
    return "" if value is None else f"{100 * value:.1f}%"


def ranged(value: float | None, interval: Sequence[float | None]) -> str:
    """A share with its interval: `97.1% (95.0 to 98.8)`."""
    low, high = interval
    return percent(value) if low is None or high is None else f"{percent(value)} ({100 * low:.1f} to {100 * high:.1f})"


def _compact(value: float | None, interval: Sequence[float | None]) -> str:
    """A share in percent with its interval in the least room: `97 (95-99)`."""
    low, high = interval
    if value is None:
        return ""
    return f"{100 * value:.0f}" + ("" if low is None or high is None else f" ({100 * low:.0f}-{100 * high:.0f})")


def _remembered(found: Found) -> dict[str, Found]:
    """Attributes that may stay open, then the means over those of characters and of places."""
    attributes = {name: part for name, part in found["attributes"].items() if "recall_by_gap" in part}
    return attributes | {f"all of {owner}s": part for owner, part in found["means"].items()}


def recall_rows(found: Found) -> list[list[str]]:
    """A heading and one row an attribute: recall in percent, with its interval, at every gap that was met."""
    gaps = list(found["means"]["character"]["recall_by_gap"])
    rows = [["attribute", *(f"gap {gap}" for gap in gaps)]]
    for name, part in _remembered(found).items():
        cells = [_compact(part["recall_by_gap"][gap], part["recall_interval_by_gap"][gap]) for gap in gaps]
        rows.append([name, *cells])
    return rows


def kappa_rows(found: Found) -> list[list[str]]:
    """A heading and one row an attribute: kappa over all gaps, and what guards against a model that collapsed."""
    rows = [["attribute", "kappa", "chance", "entropy", "uniform", "off uniform", "draws", "unreadable"]]
    for name, part in _remembered(found).items():
        kappa = ""
        if part["kappa"] is not None:
            low, high = part["kappa_interval"]
            kappa = f"{part['kappa']:.2f}" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")
        bits = part.get("entropy")
        rows.append(
            [
                name,
                kappa,
                percent(part.get("chance")),
                "" if bits is None else f"{bits:.2f} bit",
                f"{part['entropy_of_uniform']:.2f} bit" if "entropy_of_uniform" in part else "",
                percent(part.get("distance_from_uniform")),
                f"{part['draws']:,}" if "draws" in part else "",
                percent(part.get("unreadable")),
            ]
        )
    return rows


def kappa_by_gap_rows(found: Found) -> list[list[str]]:
    """A heading and one row an attribute: kappa at every gap that was met."""
    gaps = list(found["means"]["character"]["kappa_by_gap"])
    rows = [["attribute", *(f"gap {gap}" for gap in gaps)]]
    for name, part in _remembered(found).items():
        values = [part["kappa_by_gap"][gap] for gap in gaps]
        rows.append([name, *("" if value is None else f"{value:.2f}" for value in values)])
    return rows


def named_rows(found: Found) -> list[list[str]]:
    """A heading and one row an attribute: what captions name, and of that what training never combined."""
    rows = [["attribute", "right", "readings", "never combined in training", "readings"]]
    told = {"all": found["named"], **{n: p["named"] for n, p in found["attributes"].items() if "named" in p}}
    for name, part in told.items():
        if part["readings"]:
            rare = ranged(part["heldout_right"], part["heldout_interval"]) if part["heldout_readings"] else ""
            count = f"{part['heldout_readings']:,}" if part["heldout_readings"] else ""
            rows.append([name, ranged(part["right"], part["interval"]), f"{part['readings']:,}", rare, count])
    return rows


def motion_table(found: Found) -> list[list[str]]:
    """A heading and one row an action: how far characters go within two seconds, made and in truth."""
    rows = [["action", "pixels made", "pixels in truth", "characters"]]
    for name, part in (found["motion"] or {}).get("by_action", {}).items():
        rows.append([name, f"{part['made']:.1f}", f"{part['truth']:.1f}", str(part["characters"])])
    return rows


def motion_lines(found: Found) -> list[str]:
    """Motion in sentences."""
    motion = found["motion"]
    if not motion or not motion["characters"]:
        return []
    told = ranged(motion["moves_as_told"], motion["moves_as_told_interval"])
    ratio, alike = (f"{x:.2f}" if x is not None else "-" for x in (motion["displacement_ratio"], motion["correlation"]))
    return [
        f"goes or stays as told: {told} of {motion['characters']:,} characters",
        f"displacement of those that go: {ratio} of the truth's; correlation over all {alike}",
        f"difference between frames: {motion['liveliness_ratio']:.2f} of the truth's (median of shots); frozen "
        f"{percent(motion['frozen'])}, restless {percent(motion['restless'])}",
    ]


def print_tables(found: Found) -> None:
    """Everything for people, on stdout."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)
    config = found["experiment"]["config"]
    console.print(
        f"{found['table']}, {found['stories']} stories of {found['shots']} shots, pattern {config['pattern']}, "
        f"top_k {config['top_k']}, sparsity {percent(found['sparsity'])}, {found['seconds']:.0f} s of rendering"
    )
    console.print(_table("Recall of what no caption names, percent, by shots since last seen", recall_rows(found)))
    console.print(_table("Kappa by shots since last seen", kappa_by_gap_rows(found)))
    console.print(_table("Against collapse", kappa_rows(found)))
    console.print(_table("What captions name", named_rows(found)))
    if found["motion"]:
        console.print(_table("Motion", motion_table(found)))
    for line in motion_lines(found):
        console.print(line)
    if found["stories"] < FEW:
        console.print(f"{found['stories']} stories tell little; a measurement takes 256.")


def _table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown."""
    lines = [" | ".join(row) for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]
    return "\n".join(f"| {line} |" for line in lines)


def plot_recall(runs: Sequence[tuple[str, Found]], path: Path) -> None:
    """Draw recall against the gap, people and places apart, one line a run with its interval, and chance."""
    figure, panels = _figure(2)
    for axes, (owner, title) in zip(panels, (("character", "people"), ("place", "places")), strict=True):
        for label, found in runs:
            part = found["means"][owner]
            gaps = [gap for gap, value in part["recall_by_gap"].items() if value is not None]
            values = [part["recall_by_gap"][gap] for gap in gaps]
            (line,) = axes.plot([int(gap) for gap in gaps], values, label=label, linewidth=1.6, marker=".")
            intervals = [part["recall_interval_by_gap"][gap] for gap in gaps]
            known = [(int(g), *i) for g, i in zip(gaps, intervals, strict=True) if None not in i]
            if known:
                axes.fill_between(*zip(*known, strict=True), color=line.get_color(), alpha=0.15, linewidth=0)
        levels = [p["chance"] for n, p in runs[0][1]["attributes"].items() if n in _OPEN[owner] and p["chance"]]
        if levels:
            axes.axhline(sum(levels) / len(levels), color="grey", linestyle=":", linewidth=1.2, label="chance")
        axes.set_title(f"recall of {title}", fontsize=10)
        axes.set_xlabel("shots since last seen")
        axes.set_ylim(0, 1)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
    )
    _save(figure, path)


def plot_cost(runs: Sequence[tuple[str, Found]], path: Path) -> None:
    """Draw seconds, FLOPs and bytes a shot against the shot's number, one line a run.

    Shots that are planted in all stories cost nothing and are left out; so is the last one, whose keys nobody needs.
    """
    wanted = (
        ("seconds", "seconds a shot and story", 1.0),
        ("flops", "TFLOP a shot", 1e12),
        ("read_bytes", "MiB of keys in play", 2**20),
        ("peak_bytes", "GiB at most, whole batch", 2**30),
    )
    shown = [panel for panel in wanted if any(c[panel[0]] for _, found in runs for c in found["cost"])]
    figure, panels = _figure(len(shown))
    for axes, (key, title, unit) in zip(panels, shown, strict=True):
        for label, found in runs:
            cost = [c for c in found["cost"][:-1] if c["flops"] and c[key] is not None]
            points = [(c["shot"], c[key] / unit) for c in cost]
            if points:
                axes.plot(*zip(*points, strict=True), label=label or None, linewidth=1.6)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("shot")
        axes.set_ylim(bottom=0)
    if figure.axes[0].get_legend_handles_labels()[1]:
        figure.axes[0].legend(frameon=False, fontsize=8)
    _save(figure, path)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * panels, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None} if path.suffix == ".png" else None)

"""What `moc compare` shows: tables of at most 100 columns, then what they mean and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moc.compare.page import about
from moc.compare.table import cells, columns_of, metric_of, paired
from moc.metrics import vbench
from moc_cli.console import tell
from moc_cli.grid import Grid, show

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100
LONGEST = 24
"""Letters of an arm's label that stand in a row; longer ones are broken."""

Report = Mapping[str, Any]

_MEANS = {
    "named_right": "named right: share of what captions name that is read from the pixels as named.",
    "consistency_characters": "cons.: agreement from shot to shot in what no caption names, as read; ours.",
    "place_colours": "place colours: overlap of the colours of shots of one place; ours.",
    "motion_smoothness": "smoothness, dynamic degree: from blocks of pixels; ours, not VBench's.",
    "psnr": "PSNR, SSIM: agreement with {reference}, not quality.",
    "sparsity": "sparsity: share of all query-key pairs never computed. GFLOP: of attention, one pass.",
    "step_seconds": "s in steps: all denoising steps by each shot's median step; what happens once does not count.",
}
_MEMORY_MEANS = (
    "recall: of what no caption names, the share that looks as at first; first looks are given.",
    "chance: the same between different stories. kappa: beyond chance, 0 without memory, 1 for a perfect one.",
    "sparsity: share of all query-key pairs never computed. GFLOP: of attention, one pass.",
)


def print_report(console: Console, report: Report) -> None:
    """The tables of a comparison; VBench's numbers have one of their own."""
    _widen(console)
    keys = columns_of(report, narrow=True)
    ours = [key for key in keys if not key.startswith(vbench.PREFIX)]
    theirs = [key for key in keys if key.startswith(vbench.PREFIX)]
    tell(console, about(report) + ".")
    console.print()
    legend = [text.format(reference=report["reference"]) for key, text in _MEANS.items() if key in keys]
    show(console, report["title"] or "Comparison", _grid(report, ours), *legend, *_spread(report, "seeds"))
    if theirs:
        show(console, "VBench", _grid(report, theirs))
    _print_paired(console, report)
    for note in report["notes"]:
        tell(console, f"note: {note}")
    tell(console, f"side_by_side.mp4 plays all arms at once\n  {report['files']['video']}")
    runs = ", and a folder of runs an arm" if report.get("out") else ""
    tell(console, f"Beside it: sheet.png, compare.json{runs}.")


def print_memory(console: Console, report: Report) -> None:
    """The tables of the benchmark of memory, and what they mean."""
    _widen(console)
    tell(console, about(report) + ".")
    console.print()
    grid = _grid(report, columns_of(report, narrow=True))
    show(console, report["title"], grid, *_MEMORY_MEANS, *_spread(report, "stories"))
    _print_paired(console, report)
    for note in report["notes"]:
        tell(console, f"note: {note}")
    tell(console, f"Every arm's numbers and readings:\n  {report['out']}")


def _widen(console: Console) -> None:
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)


def _spread(report: Report, over: str) -> list[str]:
    known = any(interval is not None for arm in report["arms"] for interval in arm["intervals"].values())
    return [f"±: half of a 95 % interval over {over}; a–b: one that ends where the metric does."] if known else []


def _print_paired(console: Console, report: Report) -> None:
    if (table := paired(report)) is None:
        return
    grid = Grid(table.heads, left=(0,))
    for row in table.rows:
        first, *more = _broken(row[0])
        grid.add(first, *row[1:])
        for part in more:
            grid.add(part, *[""] * (len(row) - 1))
    show(console, f"Against {report['reference']}", grid, table.says)


def _grid(report: Report, keys: list[str]) -> Grid:
    """A row an arm, and one below it with what its intervals are where there are any."""
    grid = Grid(["arm", *(metric_of(key).heading for key in keys)], left=(0,))
    for arm in report["arms"]:
        row = cells(arm, keys)
        first, *more = _broken(arm["label"])
        grid.add(first, *(cell.value for cell in row))
        if any(cell.interval for cell in row):
            grid.add(more.pop(0) if more else "", *(cell.interval for cell in row))
        for part in more:
            grid.add(part, *[""] * len(row))
    return grid


def _broken(label: str) -> list[str]:
    return [label[at : at + LONGEST] for at in range(0, len(label), LONGEST)]

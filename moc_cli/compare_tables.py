"""What `moc compare` shows: one table of at most 100 columns, then what it means and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moc.compare.page import about
from moc.compare.table import cells, columns_of, metric_of
from moc.metrics import vbench
from moc_cli.console import tell

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
Report = Mapping[str, Any]


def print_report(console: Console, report: Report) -> None:
    """The table of a comparison; VBench's numbers have one of their own."""
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    keys = columns_of(report, narrow=True)
    ours = [key for key in keys if not key.startswith(vbench.PREFIX)]
    theirs = [key for key in keys if key.startswith(vbench.PREFIX)]
    tell(console, about(report) + ".")
    console.print()
    console.print(_table(report, ours, report["title"]))
    if theirs:
        console.print(_table(report, theirs, "VBench"))
    _meaning(console, report, keys)
    for note in report["notes"]:
        tell(console, f"note: {note}")
    files = report["files"]
    if files:
        tell(console, f"side_by_side.mp4 plays all arms at once\n  {files['video']}")
        tell(console, "Beside it: sheet.png, compare.json and a folder of runs an arm.")


def print_memory(console: Console, report: Report) -> None:
    """The table of the benchmark of memory, and what it means."""
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    tell(console, about(report) + ".")
    console.print()
    console.print(_table(report, columns_of(report, narrow=True), report["title"]))
    tell(console, "recall: of what no caption names, the share that looks as at first; first looks are given.")
    tell(console, "chance: between different stories. kappa: beyond chance, 0 without memory, 1 for a perfect one.")
    tell(console, f"±: half of a 95 % interval over stories. Recall against {report['reference']}, story by story:")
    for arm in report["arms"]:
        if arm["against_reference"]:
            told = [_difference(name, arm["against_reference"][f"recall_{name}"]) for name in ("people", "places")]
            tell(console, f"  {arm['label']}: {', '.join(told)}")
    for note in report["notes"]:
        tell(console, f"note: {note}")
    tell(console, f"Every arm's numbers and readings:\n  {report['out']}")


def _difference(name: str, found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return f"{name} -"
    low, high = found["interval"]
    return f"{name} {100 * found['mean']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _table(report: Report, keys: list[str], title: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("arm", overflow="fold", min_width=min(16, max(len(arm["label"]) for arm in report["arms"])))
    for key in keys:
        table.add_column(metric_of(key).heading, justify="right", no_wrap=True)
    for arm in report["arms"]:
        row = (f"{cell.value}\n{cell.interval}" if cell.interval else cell.value for cell in cells(arm, keys))
        table.add_row(arm["label"], *row)
    return table


def _meaning(console: Console, report: Report, keys: list[str]) -> None:
    said = {
        "consistency_characters": "cons.: agreement from shot to shot in what no caption names; ours.",
        "motion_smoothness": "smoothness, dynamic degree: from blocks of pixels; ours, not VBench's.",
        "psnr": f"PSNR, SSIM: agreement with {report['reference']}, not quality.",
        "sparsity": "sparsity: share of all query-key pairs never computed. GFLOP: of attention, one pass.",
    }
    for key, sentence in said.items():
        if key in keys:
            tell(console, sentence)
    levels = [arm for arm in report["arms"] if arm["chance"] and arm["chance"]["consistency_characters"] is not None]
    if levels:
        told = ", ".join(f"{arm['label']} {arm['chance']['consistency_characters']:.0%}" for arm in levels)
        tell(console, f"chance of people's consistency (between seeds): {told}.")

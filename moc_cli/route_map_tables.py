"""What `moc route-map` shows: the map with its findings, the change between two, and what one place chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moc.route_map.findings import percent
from moc_cli.console import tell

if TYPE_CHECKING:
    from rich.console import Console

    from moc.route_map import Report
    from moc.route_map.query import Answer


def print_map(console: Console, report: Report, name: str) -> None:
    """The map under its title, the distances and the findings; `name` tells it from another of the same story."""
    from rich.text import Text

    from moc.route_map.terminal import bars, legend, painted

    shown = report.route_map
    said = [
        f"{kind} {value}"
        for kind, value in (
            ("step", report.selection.step), ("layer", report.selection.layer), ("head", report.selection.head),
        )
        if value is not None
    ]  # fmt: skip
    title = shown.title + (f", {name}" if name else "")
    tell(console, f"{title}: {', '.join(said) or 'all steps, layers and heads'}")
    console.print()
    for pieces in painted(report):
        console.print(Text.assemble(*pieces), soft_wrap=True)
    tell(console, legend(report))
    console.print()
    if report.distances:
        tell(console, "How far routes lead")
        for line in bars(report.distances):
            console.print(line, soft_wrap=True)
        console.print()
    for sentence in report.sentences():
        tell(console, sentence)
    for note in shown.notes:
        tell(console, f"note: {note}")
    console.print()


def print_change(console: Console, report: Report, moved: np.ndarray, between: str = "") -> None:
    """The ten largest changes of shares `[S, S]`."""
    shots = report.route_map.shots
    tell(console, f"Largest changes{f' {between}' if between else ''}, in percentage points:")
    order = np.argsort(-np.abs(moved), axis=None, kind="stable")[:10]
    for n in order:
        i, j = divmod(int(n), len(shots))
        if moved[i, j]:
            tell(console, f"  shot {shots[i].title} to shot {shots[j].title}: {100 * moved[i, j]:+.1f}")
    if not moved.any():
        tell(console, "  none: the routes are the same.")


def print_answer(console: Console, report: Report, answer: Answer) -> None:
    """What a place chose, most chosen first."""
    shot = report.route_map.shots[answer.place]
    tell(console, f"Shot {shot.title}, frame {answer.frame}, pixel {answer.x},{answer.y} chose most:")
    for one in answer.chosen:
        frames = f"frames {one.first}-{one.last}"
        tell(console, f"  shot {one.shot.title}, {frames}: {percent(one.share)} ({one.times} times)")
    if not answer.chosen:
        tell(console, "  nothing: there is nothing before it.")

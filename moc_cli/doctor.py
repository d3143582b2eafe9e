"""`moc doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from moc.doctor import Finding

_MARKS = {"ok": ("yes", "green"), "missing": ("no", "yellow"), "unused": ("-", "dim")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")] = False,
) -> None:
    """Show what this machine has for moc, what is missing, and the command that brings it."""
    from dataclasses import asdict

    from moc import __version__
    from moc.doctor import examine
    from moc_cli.console import err, print_json

    waiting = err()
    if waiting.is_terminal and not as_json:
        with waiting.status("Trying what is here ..."):
            findings = examine()
    else:
        findings = examine()
    if as_json:
        print_json({"moc": __version__, "findings": [asdict(finding) for finding in findings]})
    else:
        show(findings, __version__)


def show(findings: list[Finding], version: str) -> None:
    """A table of all findings, then what the missing ones would give."""
    from rich.table import Table
    from rich.text import Text

    from moc_cli.console import out, tell

    console = out()
    table = Table(title=f"moc {version}", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            table.add_row()
            table.add_row("", Text(group.capitalize(), style="bold"), "")
        mark, style = _MARKS[finding.state]
        table.add_row(Text(mark, style=style), finding.name, Text(finding.found, style="dim" * (style == "dim")))
    console.print(table)
    missing = [finding for finding in findings if finding.state == "missing"]
    console.print()
    if not missing:
        tell(console, "Nothing is missing here.")
    for finding in missing:
        ending = ":" if finding.command else "."
        tell(console, f"{finding.name} would give {finding.gives}{ending}")
        if finding.command:
            tell(console, f"  {finding.command}")

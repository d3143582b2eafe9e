"""Options that several verbs share: how they are named and explained, and how they are read.

A function here gives what stands in `Annotated`; `panel` is the heading in the help of the verb.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from moc_cli.console import NUMBER


def device(panel: str) -> Any:
    """Where to compute, "auto" by default."""
    return typer.Option(
        "--device", metavar="NAME", help="auto (CUDA, else CPU), cpu, cuda, cuda:N or mps.", rich_help_panel=panel
    )


class Mode(StrEnum):
    """How shots are drawn."""

    stream = "stream"
    joint = "joint"


def mode(panel: str) -> Any:
    """A `Mode`, the story's by default."""
    return typer.Option("--mode", help="Shot after shot, or all shots at once.", rich_help_panel=panel)


def steps(panel: str, text: str = "Denoising steps a shot.") -> Any:
    """Steps of sampling, the model's by default."""
    return typer.Option("--steps", metavar=NUMBER, min=1, help=text, rich_help_panel=panel)


def overrides(panel: str, text: str = "Override a value of the story by its dotted key") -> Any:
    """Values by dotted key; `parse_overrides` reads them."""
    return typer.Option("--set", "-s", metavar="KEY=VALUE", help=f"{text}; repeatable.", rich_help_panel=panel)


def force(panel: str, text: str) -> Any:
    """Leave to throw away what lies there."""
    return typer.Option("--force", help=text, rich_help_panel=panel)


def as_json(panel: str) -> Any:
    """JSON on stdout."""
    return typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=panel)


def quiet(panel: str) -> Any:
    """Errors alone."""
    return typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=panel)


def parse_overrides(texts: list[str] | None) -> dict[str, str]:
    """`["attention.top_k=3"]` as {"attention.top_k": "3"}; the last of equal keys counts.

    Raises:
        InputError: no `=`, or nothing before it.
    """
    from moc.errors import InputError

    parsed: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set '{text}' is not KEY=VALUE, such as attention.top_k=3.")
        parsed[key.strip()] = value.strip()
    return parsed


def story_changes(overrides: list[str] | None, **options: object) -> tuple[dict[str, str], dict[str, str]]:
    """Values of `--set` and of the options that stand for keys of the story, and for the latter {key: option}.

    `options` are by name: model, mode, steps, seed; None for those that were not given.
    """
    changes, named = parse_overrides(overrides), {}
    for name, value in options.items():
        if value is not None:
            key = name if name == "model" else f"sampling.{name}"
            changes[key], named[key] = str(value), f"--{name}"
    return changes, named


def check_new(out: Path | None, force: bool) -> None:
    """Raises InputError where a file lies at `out` that was not to be replaced."""
    from moc.errors import InputError

    if out is not None and out.exists() and not force:
        raise InputError(f"{out} exists already; choose another name or add --force.")

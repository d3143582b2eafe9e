"""`moc train`: train a pocket model on the story world."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from moc_cli.console import NUMBER
from moc_cli.options import parse_overrides


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Training settings.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where to write (default: runs/train/<config>)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in FOLDER.")] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a setting of the file; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar=NUMBER, min=0, help="Seed of weights and data.")] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")] = "auto",
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar=NUMBER, min=0.0, help="Save and stop after about so many minutes."),
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Make the last stage as long as the time allows.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Train the built-in model, or a smaller one, on the synthetic story world."""
    from moc.training.run import train as run
    from moc_cli.console import out as results
    from moc_cli.console import print_json, tell
    from moc_cli.progress import TrainingProgress

    folder = out or Path("runs") / "train" / config.stem
    changes = {key: _value(key, text) for key, text in parse_overrides(overrides).items()}
    if seed is not None:
        changes["seed"] = seed
    began = time.monotonic()
    first = os.environ.get("RANK", "0") == "0"  # under torchrun the first process alone speaks
    try:
        with TrainingProgress(quiet=quiet or not first) as progress:
            weights = run(config, folder, resume, changes, on_row=progress.row, minutes=minutes, fit=fit, device=device)
    except KeyboardInterrupt:
        if (folder / "checkpoint.pt").exists():
            raise KeyboardInterrupt(f"Stopped. Go on from the last checkpoint in {folder} with --resume.") from None
        raise KeyboardInterrupt(f"Stopped before the first checkpoint in {folder}; start again.") from None
    if as_json and first:
        print_json({"weights": str(weights), "out": str(folder), "wall_seconds": time.monotonic() - began})
    elif first and not quiet:
        tell(results(), f"weights:\n  {weights}")


def _value(key: str, text: str) -> Any:
    """The value of a setting, written as in the file."""
    from reprlib import repr as shown

    from moc.errors import InputError
    from moc.training.strict_yaml import read_value

    try:
        return read_value(text)
    except ValueError as error:
        raise InputError(f"--set {key}: {shown(text)} is not a value as in a YAML file: {error}.") from None

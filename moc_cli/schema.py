"""`moc schema`: the JSON Schema of story files, for completion in editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def schema(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Print the JSON Schema of story files, for completion and checks in editors."""
    from moc.storyboard.json_schema import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    from moc.run.files import write_bytes
    from moc_cli.options import check_new

    check_new(out, force)
    write_bytes(out, text.encode())
    typer.echo(f"wrote {out}", err=True)

"""`moc import`: stories written for other tools (StoryMem, HoloCine) as a story file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A StoryMem story (JSON) or a HoloCine prompt (text).")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="STORY.yaml", help="Write it there instead of printing it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace STORY.yaml if it exists.")] = False,
) -> None:
    """Turn a StoryMem story or a HoloCine prompt into a story file."""
    from moc.storyboard import to_yaml
    from moc.storyboard.importers import import_story
    from moc_cli.console import err, tell
    from moc_cli.options import check_new

    check_new(out, force)
    imported = import_story(file)
    text = to_yaml(imported.storyboard, comment=f"Imported from {file.name}.")
    for note in imported.notes:
        tell(err(), f"note: {note}")
    if out is None:
        typer.echo(text, nl=False)
        return
    from moc.run.files import write_bytes

    write_bytes(out, text.encode())
    story = imported.storyboard
    typer.echo(f"wrote {out}: {len(story.shots)} shots, {story.duration:g} s", err=True)

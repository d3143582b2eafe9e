"""What the tests of run folders share: renders with the fake model, changed stories, and who hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moc_testing import story_data, write_story

from moc.run import Listener, Outcome, Request, render
from moc.storyboard import load_storyboard


class Recorder(Listener):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.drawn: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def shot_done(self, note: Any, seconds: float) -> None:
        self.drawn.append((note.number, note.take))

    def note(self, message: str) -> None:
        self.notes.append(message)


def go(story: Path, out: Path, listener: Listener | None = None, **options: Any) -> Outcome:
    return render(Request(load_storyboard(story), str(story), out, **options), listener)


def change(story: Path, number: int, **values: Any) -> None:
    """Change a shot of a story file."""
    data = story_data()
    data["shots"][number - 1].update(values)
    write_story(story, data)

"""What is wrong with a story, and where: `Problem` (one mistake) and `StoryboardError` (all of them at once)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moc.errors import InputError

SHOWN = 50  # a broken generator can make thousands of mistakes; a person reads the first ones


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake.

    Attributes:
        line, column: 1-based place in the file; 0 where there is none (a missing file, a command-line override).
        key: what it is about as a person would say it, such as `shot 3 (river)` or `video`; empty for the whole file.
        message: one sentence with the value given and what is allowed.
        source: the file as the user named it, or the override, such as `--set attention.top_k`.
    """

    line: int
    column: int
    key: str
    message: str
    source: str = "storyboard"

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return ": ".join(part for part in (place, self.key, self.message) if part)


class StoryboardError(InputError, ValueError):
    """A story that can't be used. `str()` has one line a mistake; the command line exits with 2.

    Attributes:
        problems: every mistake, in the order of the file.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        hidden = len(self.problems) - len(lines)
        if hidden:
            lines.append(f"{self.problems[0].source}: and {hidden} more mistakes")
        super().__init__("\n".join(lines))


def failure(source: str, message: str) -> StoryboardError:
    """The error of a file that can't even be read: one sentence, no place."""
    return StoryboardError([Problem(0, 0, "", message, source)])


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `word` is probably meant to be, if any."""
    if len(word) > 60:  # slow to compare, and no near spelling of anything
        return None
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[near[0]] if near else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`, did you mean 'duration'?` for the nearest of `known`, else `; known: a, b, c` (or nothing if none)."""
    near = nearest(word, known)
    if near is not None:
        return f", did you mean '{near}'?"
    if not known:
        return ""
    listed = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"; known: {listed}"


def shown(value: str, limit: int = 40) -> str:
    """`value` in quotes, on one line, printable and short enough for a message."""
    short = value if len(value) <= limit else value[: limit - 3] + "..."
    # Braces and quotes stay readable, control characters and broken code points are escaped.
    return "'" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short) + "'"


__all__ = ["Problem", "StoryboardError", "did_you_mean", "failure", "nearest", "shown"]

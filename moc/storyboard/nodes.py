"""The tree between a file and a `Storyboard`: plain values that know where they stand.

YAML, JSON, a manifest's dictionary and `--set key=value` all become these nodes, so one reader (`build.py`) checks
them all with the same sentences. A scalar keeps its text: whether `no` is a word or a truth value is decided by the
field that reads it, never by a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moc.storyboard.problems import Problem, StoryboardError


@dataclass(frozen=True)
class Mark:
    """A place: the source as the user named it, 1-based line and column (0 where the source has none)."""

    source: str
    line: int = 0
    column: int = 0

    def problem(self, key: str, message: str) -> Problem:
        """A mistake at this place."""
        return Problem(self.line, self.column, key, message, self.source)


@dataclass
class Scalar:
    """A single value. `plain` is True for text without quotes, which may be a number, a truth value or null."""

    mark: Mark
    text: str
    plain: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing written at all after the key."""
        return self.plain and self.text == ""

    @property
    def is_null(self) -> bool:
        """`null` or `~`, written out: asks for the default."""
        return self.plain and self.text in ("null", "Null", "NULL", "~")

    kind = "a single value"


@dataclass
class Sequence:
    """A list of nodes."""

    mark: Mark
    items: list[Node] = field(default_factory=list)

    kind = "a list"


@dataclass
class Mapping:
    """Pairs of key and value in the order of the file, repeated keys included."""

    mark: Mark
    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)

    kind = "a mapping"

    def get(self, key: str) -> Node | None:
        """The first value of `key`, or None."""
        return next((value for name, value in self.pairs if name.text == key), None)


@dataclass
class Broken:
    """A value whose mistake is already reported; readers pass over it, so no mistake is told twice."""

    mark: Mark

    kind = "a broken value"


Node = Scalar | Sequence | Mapping | Broken

MAX_DEPTH = 16  # a story needs 4


def from_data(data: Any, source: str, depth: int = 0) -> Node:
    """Nodes of plain Python data (dict, list, str, int, float, bool, None), without places.

    Raises:
        StoryboardError: for any other type or nesting beyond `MAX_DEPTH`.
    """
    mark = Mark(source)
    if depth > MAX_DEPTH:
        raise StoryboardError([mark.problem("", f"nested deeper than {MAX_DEPTH} levels")])
    if isinstance(data, dict):
        return Mapping(mark, [(Scalar(mark, str(k)), from_data(v, source, depth + 1)) for k, v in data.items()])
    if isinstance(data, list | tuple):
        return Sequence(mark, [from_data(item, source, depth + 1) for item in data])
    if data is None:
        return Scalar(mark, "null", plain=True)
    if isinstance(data, bool):
        return Scalar(mark, "true" if data else "false", plain=True)
    if isinstance(data, int | float):
        return Scalar(mark, repr(data), plain=True)
    if isinstance(data, str):
        return Scalar(mark, data)
    raise StoryboardError([mark.problem("", f"a {type(data).__name__} is not a value that a story can hold")])

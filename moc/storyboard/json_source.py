"""JSON text to nodes with places. Stricter than YAML, and free of its surprises with tabs and escaped emoji."""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError, JSONDecoder

from moc.storyboard.nodes import MAX_DEPTH, Mapping, Mark, Node, Scalar, Sequence
from moc.storyboard.problems import StoryboardError, shown

_SPACE = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_DECODER = JSONDecoder()


def parse_json(text: str, source: str) -> Node:
    """The root node of a JSON text.

    Raises:
        StoryboardError: with the first place that is not JSON, or where it is nested deeper than `MAX_DEPTH`.
    """
    parser = _Parser(text, source)
    node = parser.value(0)
    parser.skip()
    if parser.at < len(text):
        raise parser.error("there is text after the end of the story")
    return node


class Places:
    """The marks of the characters of `text`; the lines are counted once, however many marks are asked for."""

    def __init__(self, text: str, source: str):
        self.source = source
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def mark(self, offset: int) -> Mark:
        """The mark of the character at `offset`."""
        row = bisect_right(self.lines, offset)
        return Mark(self.source, row, offset - self.lines[row - 1] + 1)


class _Parser:
    def __init__(self, text: str, source: str):
        self.text, self.at = text, 0
        self.places = Places(text, source)

    def mark(self) -> Mark:
        return self.places.mark(self.at)

    def error(self, message: str) -> StoryboardError:
        return StoryboardError([self.mark().problem("", message)])

    def skip(self) -> str:
        """Pass over blanks; the next character, or nothing at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def take(self, expected: str) -> str:
        """The next character, which must be one of `expected`."""
        char = self.skip()
        if not char or char not in expected:
            wanted = " or ".join(f"'{one}'" for one in expected)
            raise self.error(f"expected {wanted}, found {shown(char) if char else 'the end of the file'}")
        self.at += 1
        return char

    def string(self) -> Scalar:
        self.skip()
        mark = self.mark()
        self.take('"')
        try:
            text, self.at = _DECODER.raw_decode(self.text, self.at - 1)
        except JSONDecodeError as wrong:
            self.at = wrong.pos
            raise self.error(f"this text in quotes is broken: {wrong.msg}") from None
        return Scalar(mark, text)

    def value(self, depth: int) -> Node:
        char = self.skip()
        mark = self.mark()
        if depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH} levels; a story needs 4")
        if char == '"':
            return self.string()
        if char == "{":
            return Mapping(mark, self.members(depth))
        if char == "[":
            return Sequence(mark, self.items(depth))
        match = _WORD.match(self.text, self.at)
        if match is None:
            found = shown(char) if char else "the end of the file"
            raise self.error(f"expected a value, found {found}")
        self.at = match.end()
        return Scalar(mark, match[0], plain=True)

    def members(self, depth: int) -> list[tuple[Scalar, Node]]:
        self.at += 1
        pairs: list[tuple[Scalar, Node]] = []
        if self.skip() == "}":
            self.at += 1
            return pairs
        while True:
            key = self.string()
            self.take(":")
            pairs.append((key, self.value(depth + 1)))
            if self.take(",}") == "}":
                return pairs

    def items(self, depth: int) -> list[Node]:
        self.at += 1
        items: list[Node] = []
        if self.skip() == "]":
            self.at += 1
            return items
        while True:
            items.append(self.value(depth + 1))
            if self.take(",]") == "]":
                return items

"""The kinds of value a story may hold. Each reads one scalar and describes itself as JSON Schema.

`read` returns the value or raises `Mismatch` with the rest of a sentence that starts with the field's name:
"duration" + " must be between 0.1 and 600 seconds, got 0s".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Protocol

from moc.storyboard.nodes import Scalar
from moc.storyboard.problems import did_you_mean, shown

_WHOLE = re.compile(r"[+-]?[0-9]{1,300}")
# Digits can be shared out in one way alone, so no text makes the search go back over them again and again.
_DIGITS = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(rf"[+-]?{_DIGITS}(?:[eE][+-]?[0-9]{{1,300}})?")
_DURATION = re.compile(rf"([+-]?{_DIGITS})\s*(ms|s|sec|seconds?|m|min|minutes?)?")
_UNITS = {"m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "ms": 0.001}
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9_-]*")
IDENTIFIER_LIMIT = 40


class Mismatch(ValueError):
    """A value that a kind refuses; the message completes a sentence that starts with the field's name."""


class Kind(Protocol):
    """One kind of value."""

    def read(self, node: Scalar) -> Any:
        """The value of `node`; raises `Mismatch`."""

    def schema(self) -> dict[str, Any]:
        """The same as JSON Schema."""


def _given(node: Scalar) -> str:
    return node.text if node.plain and node.text.isprintable() and len(node.text) <= 40 else shown(node.text)


def clean_text(text: str) -> str:
    """`text` with every run of white space as one blank, so that folded and broken lines read the same.

    Raises:
        Mismatch: if it holds control characters or code points that no file can carry.
    """
    joined = " ".join(text.split())
    for char in joined:
        if unicodedata.category(char) in ("Cc", "Cs") or ord(char) & 0xFFFE == 0xFFFE:
            raise Mismatch(f"holds the character U+{ord(char):04X}, which is not text")
    return joined


def near_identifier(text: str) -> str:
    """The identifier that is most like `text`: "Zoë 1" -> "zoe-1"; "" where nothing of it can be kept."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")


@dataclass(frozen=True)
class Text:
    """Words: white space is joined, `limit` is in characters, `empty` allows none."""

    limit: int
    empty: bool = False

    def read(self, node: Scalar) -> str:
        text = clean_text(node.text)
        if not text and not self.empty:
            raise Mismatch("is empty")
        if len(text) > self.limit:
            raise Mismatch(f"has {len(text)} characters, at most {self.limit} are allowed")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.limit} | ({} if self.empty else {"minLength": 1})


@dataclass(frozen=True)
class Identifier:
    """A short name that is safe in file names: lower-case letters, digits, `-` and `_`."""

    def read(self, node: Scalar) -> str:
        text = node.text
        if len(text) > IDENTIFIER_LIMIT:
            raise Mismatch(f"{shown(text)} has {len(text)} characters, at most {IDENTIFIER_LIMIT} are allowed")
        if not IDENTIFIER.fullmatch(text):
            near = near_identifier(text)
            hint = f"; try '{near}'" if near else ""
            raise Mismatch(f"{shown(text)} may hold only lower-case letters, digits, '-' and '_'{hint}")
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{IDENTIFIER.pattern}$", "maxLength": IDENTIFIER_LIMIT}


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`; `even` where H.264 needs it."""

    low: int
    high: int
    even: bool = False

    def read(self, node: Scalar) -> int:
        if not (node.plain and _WHOLE.fullmatch(node.text)):
            raise Mismatch(f"must be a whole number, got {_given(node)}")
        value = int(node.text)
        if not self.low <= value <= self.high:
            raise Mismatch(f"must be from {self.low} to {self.high}, got {_given(node)}")
        if self.even and value % 2:
            raise Mismatch(f"must be even, got {value}; {value - 1} or {value + 1} would do")
        return value

    def schema(self) -> dict[str, Any]:
        limits = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return limits | ({"multipleOf": 2} if self.even else {})


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, written as 8, 23.976 or 1e-4."""

    low: float
    high: float

    def read(self, node: Scalar) -> float:
        if not (node.plain and _NUMBER.fullmatch(node.text)):
            raise Mismatch(f"must be a number, got {_given(node)}")
        value = float(node.text)
        if not self.low <= value <= self.high:
            raise Mismatch(f"must be from {self.low:g} to {self.high:g}, got {_given(node)}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Duration:
    """A time span in seconds: `8s`, `1.5s`, `500ms`, `1m` or a plain number of seconds."""

    low: float = 0.1
    high: float = 600.0

    def read(self, node: Scalar) -> float:
        match = _DURATION.fullmatch(node.text.strip().lower())
        if match is None:
            raise Mismatch(f"must be a time such as 8s, 1.5s, 500ms or 1m, got {_given(node)}")
        seconds = float(match[1]) * _UNITS.get(match[2] or "s", 1.0)
        if not self.low <= seconds <= self.high:
            raise Mismatch(f"must be from {self.low:g} to {self.high:g} seconds, got {_given(node)}")
        return seconds

    def schema(self) -> dict[str, Any]:
        pattern = r"^\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*(ms|s|sec|seconds?|m|min|minutes?)?\s*$"
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"oneOf": [number, {"type": "string", "pattern": pattern}]}


@dataclass(frozen=True)
class Truth:
    """true or false; YAML's yes, no, on and off too, where a truth value is wanted."""

    def read(self, node: Scalar) -> bool:
        value = _TRUTH.get(node.text.lower()) if node.plain else None
        if value is None:
            raise Mismatch(f"must be true or false, got {_given(node)}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: Scalar) -> str:
        if node.text not in self.words:
            raise Mismatch(f"can't be {_given(node)}{did_you_mean(node.text, self.words)}")
        return node.text

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Either:
    """A word such as `frame`, or a whole number."""

    word: str
    whole: Whole

    def read(self, node: Scalar) -> str | int:
        if node.text == self.word:
            return self.word
        if not (node.plain and _WHOLE.fullmatch(node.text)):
            raise Mismatch(f"must be '{self.word}' or a whole number, got {_given(node)}")
        return self.whole.read(node)

    def schema(self) -> dict[str, Any]:
        return {"oneOf": [{"const": self.word}, self.whole.schema()]}

"""Whether data from a file has the shape that its reader counts on. A run folder may be damaged or come from anyone.

A shape is a type (whole numbers pass for float; true and false are no numbers), a dict (these keys and shapes at
least), a list of one shape (each item has it), a `Table`, or a function that says yes or no. Torch-free.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Shape = Any


@dataclass(frozen=True)
class Table:
    """A mapping whose keys match the pattern `keys` whole and whose values have the shape `values`."""

    keys: str
    values: Shape


def matching(pattern: str) -> Callable[[Any], bool]:
    """Text that the pattern matches whole."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def whole(low: int, high: int) -> Callable[[Any], bool]:
    """A whole number from `low` to `high`."""
    return lambda value: type(value) is int and low <= value <= high


def optional(shape: Shape) -> Callable[[Any], bool]:
    """None or this shape."""
    return lambda value: value is None or fault(value, shape) is None


def fault(value: Any, shape: Shape, place: str = "") -> str | None:
    """The dotted place of the first value that has not its shape ("" is the whole), None where all is well."""
    inner: list[tuple[str, Any, Shape]] = []
    if isinstance(shape, dict):
        if not isinstance(value, Mapping):
            return place
        for key, part in shape.items():
            if key not in value:
                return _join(place, key)
            inner.append((key, value[key], part))
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return place
        inner = [(str(index), item, shape[0]) for index, item in enumerate(value)]
    elif isinstance(shape, Table):
        if not isinstance(value, Mapping):
            return place
        for key, item in value.items():
            if not re.fullmatch(shape.keys, key):
                return _join(place, key)
            inner.append((key, item, shape.values))
    elif shape is float:
        return None if type(value) in (int, float) and math.isfinite(value) else place
    elif isinstance(shape, type):
        return None if type(value) is shape else place
    else:
        return None if shape(value) else place
    for key, item, part in inner:
        found = fault(item, part, _join(place, key))
        if found is not None:
            return found
    return None


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key

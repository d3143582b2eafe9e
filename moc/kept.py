"""A cache that is bounded by the size of what it holds, not by how many things that are: layouts of long stories hold
tables of megabytes, those of short ones next to nothing. Torch-free."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Kept(Generic[_Key, _Value]):
    """Values by key, made once; those that nobody has asked for the longest are forgotten first.

    A hit takes no lock, since each of its steps is one for all threads; values are made one at a time.

    Args:
        make: the value of a key.
        size: of a value.
        most: sum of all sizes; the value asked for last stays however large it is.
        at_most: number of values.
    """

    def __init__(
        self, make: Callable[[_Key], _Value], size: Callable[[_Value], int], *, most: int, at_most: int
    ) -> None:
        self._make, self._size, self._most, self._at_most = make, size, most, at_most
        self._values: dict[_Key, tuple[_Value, list[int]]] = {}  # with when it was last asked for
        self._clock = count()
        self._making = threading.Lock()

    def __call__(self, key: _Key) -> _Value:
        """The value of `key`."""
        found = self._values.get(key)
        if found is None:
            with self._making:
                found = self._values.get(key)
                if found is None:
                    found = self._make(key), [0]
                    self._make_room(self._size(found[0]))
                    self._values[key] = found
        found[1][0] = next(self._clock)
        return found[0]

    def values(self) -> list[_Value]:
        """All that is kept."""
        return [value for value, _ in list(self._values.values())]

    def _make_room(self, size: int) -> None:
        """Forget values until one of that size has room."""
        total = size + sum(self._size(value) for value in self.values())
        for key in sorted(self._values, key=lambda k: self._values[k][1][0]):
            if total <= self._most and len(self._values) < self._at_most:
                return
            total -= self._size(self._values.pop(key)[0])

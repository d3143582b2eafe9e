"""A cache bounded by size: what is forgotten, and that threads find one value."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from moc.kept import Kept


def test_what_nobody_asked_for_the_longest_goes_first() -> None:
    made: list[int] = []

    def make(size: int) -> list[int]:
        made.append(size)
        return [size]

    kept = Kept[int, list[int]](make, lambda value: value[0], most=10, at_most=3)
    first = kept(4)
    kept(3)
    assert kept(4) is first
    kept(5)  # 4 + 3 + 5 are too much, and 3 is the oldest
    assert [value[0] for value in kept.values()] == [4, 5]
    kept(99)  # more than all may have: it stays alone
    assert kept.values() == [[99]]
    for size in (1, 2, 3, 0):
        kept(size)
    assert [value[0] for value in kept.values()] == [2, 3, 0]
    assert made == [4, 3, 5, 99, 1, 2, 3, 0]


def test_threads_share_one_value() -> None:
    made = []
    barrier = threading.Barrier(8)

    def make(key: int) -> list[int]:
        time.sleep(0.001)
        made.append(key)
        return [key]

    kept = Kept[int, list[int]](make, lambda value: 1, most=1000, at_most=1000)

    def ask(_: int) -> list[int]:
        barrier.wait()
        return [id(kept(key)) for key in range(20)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert all(ids == found[0] for ids in found)
    assert sorted(made) == list(range(20))


def test_threads_that_crowd_each_other_out_get_what_they_asked_for() -> None:
    kept = Kept[int, list[int]](lambda key: [key], lambda value: 1, most=3, at_most=3)

    def ask(start: int) -> bool:
        return all(kept((start + i) % 7) == [(start + i) % 7] for i in range(2000))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(6)))
    assert len(kept.values()) <= 3

"""Mandatory links as runs: which contiguous queries share which contiguous keys (sec. 3.2, App. F).

Under "own" text links and the own-shot link a row of this picture is one group, `#` what it attends:

               text  cap 1  video 1  cap 2  video 2
    text        #
    shot 1      #      #       #
    shot 2      #                      #       #

Groups tile the query rows in order, so packed queries are the stream itself. Patterns that the layout decides
(`moc.attention.patterns`) add their keys to the groups; then there may be many more keys than tokens, and `slabs` cuts
the groups into parts that are packed one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from moc.attention import patterns
from moc.config import MoCConfig
from moc.layout import TokenLayout

Ranges = tuple[tuple[int, int], ...]
MOST_HOMES = 2  # text that all groups share and tokens of one group


@dataclass(frozen=True)
class Group:
    """Query rows q_start:q_stop of the stream and the key ranges that all of them attend, ascending and disjoint."""

    q_start: int
    q_stop: int
    keys: Ranges

    @property
    def num_keys(self) -> int:
        """Keys of the group."""
        return sum(b - a for a, b in self.keys)


@dataclass(frozen=True)
class Home:
    """Stream rows that equally many groups attend.

    Attributes:
        rows: `[R]` int64, or the run that they are.
        packed: `[times, R]` int64 packed keys that are copies of each.
    """

    rows: slice | Tensor
    packed: Tensor


@dataclass(frozen=True)
class Mandatory:
    """All groups of a query range, with the index tables of a packed call, made on first use.

    Attributes:
        groups: the groups; together they tile the query range.
        device: where the tables live.
        room: most packed keys of one call, None for no limit.
    """

    groups: tuple[Group, ...]
    device: torch.device
    room: int | None = None

    @cached_property
    def key_index(self) -> Tensor:
        """[P] int64 stream positions of the packed keys, group after group."""
        runs = [torch.arange(a, b, device="cpu") for group in self.groups for a, b in group.keys]
        return torch.cat([torch.zeros(0, dtype=torch.int64, device="cpu"), *runs]).to(self.device)

    @cached_property
    def homes(self) -> tuple[Home, ...] | None:
        """The packed keys by stream row: rows that one group attends, then rows that more do. None where groups of a
        row come in more than `MOST_HOMES` different numbers, as under patterns that the layout decides."""
        index = self.key_index.cpu()
        attended = index.bincount().unique()
        if len(attended[attended > 0]) > MOST_HOMES:  # before anything is sorted: such tables are long
            return None
        order = index.argsort(stable=True)
        rows, times = index[order].unique_consecutive(return_counts=True)
        first = times.cumsum(0) - times
        found = []
        for count in times.unique().tolist():
            mine = times == count
            at = order[first[mine] + torch.arange(count, device="cpu")[:, None]]
            own = rows[mine]
            run = int(own[-1] - own[0]) + 1 == len(own)
            found.append(Home(slice(int(own[0]), int(own[-1]) + 1) if run else own.to(self.device), at.to(self.device)))
        return tuple(found)

    @cached_property
    def q_edges(self) -> Tensor:
        """[G + 1] int64 start of each group among the query rows."""
        return self._edges([g.q_stop - g.q_start for g in self.groups])

    @cached_property
    def k_edges(self) -> Tensor:
        """[G + 1] int64 start of each group among the packed keys."""
        return self._edges([g.num_keys for g in self.groups])

    def _edges(self, sizes: list[int]) -> Tensor:
        return torch.tensor([0, *accumulate(sizes)], dtype=torch.int64, device="cpu").to(self.device)

    @cached_property
    def slabs(self) -> tuple[tuple[slice, Mandatory], ...]:
        """Neighbouring groups that are packed together, and their query rows, counted from the first group's."""
        if self.room is None or not self.groups:
            return ()
        parts: list[list[Group]] = [[]]
        packed = 0
        for group in self.groups:
            if parts[-1] and packed + group.num_keys > self.room:
                parts.append([])
                packed = 0
            parts[-1].append(group)
            packed += group.num_keys
        first = self.groups[0].q_start
        return tuple(
            (slice(part[0].q_start - first, part[-1].q_stop - first), Mandatory(tuple(part), self.device))
            for part in parts
        )

    @cached_property
    def key_run(self) -> tuple[int, int] | None:
        """The one run of the stream that the packed keys are, None where keys must be gathered."""
        runs = [group.keys for group in self.groups]
        if not runs or any(len(keys) != 1 for keys in runs):
            return None
        ends = [keys[0] for keys in runs]
        return (ends[0][0], ends[-1][1]) if all(a[1] == b[0] for a, b in pairwise(ends)) else None

    @cached_property
    def equal(self) -> bool:
        """Whether all groups have as many queries and as many keys, and the keys need no gathering."""
        sizes = {(group.q_stop - group.q_start, group.num_keys) for group in self.groups}
        return self.key_run is not None and len(sizes) == 1

    @property
    def longest_run(self) -> int:
        """Queries of the longest group."""
        return max((group.q_stop - group.q_start for group in self.groups), default=0)

    @property
    def pairs(self) -> int:
        """Attended pairs of a query and a key."""
        return sum((group.q_stop - group.q_start) * group.num_keys for group in self.groups)

    @cached_property
    def notes(self) -> dict[Any, Any]:
        """What callers derive from these links and want to keep."""
        return {}


def mandatory(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int], device: torch.device) -> Mandatory:
    """The mandatory links of query rows start:stop and, under a pattern that the layout decides, its links too; built
    once per layout, setting and device."""
    reach = {"shot": None, "chunk": 0, "window": config.window_chunks}[config.intra]
    fixed = (config.pattern, config.causal) if patterns.is_fixed(config) else None
    key: tuple[Any, ...] = ("mandatory", reach, config.text_links, fixed, q_range, device)
    return layout.cached(key, lambda: _build(layout, config, reach, q_range, device))


def _build(
    layout: TokenLayout, config: MoCConfig, reach: int | None, q_range: tuple[int, int], device: torch.device
) -> Mandatory:
    start, stop = q_range
    groups = []
    fixed = patterns.is_fixed(config) and config.pattern != "local"
    all_text = config.text_links == "all"
    every = _groups(layout, reach, all_text)
    for group in _with_fixed(every, layout, config, q_range) if fixed else every:
        a, b = max(group.q_start, start), min(group.q_stop, stop)
        if a < b:
            groups.append(Group(a, b, group.keys))
    return Mandatory(tuple(groups), device, room=max(1 << 16, layout.length) if fixed else None)


def _with_fixed(
    groups: Iterable[Group], layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int]
) -> Iterator[Group]:
    """The groups, cut where a fixed pattern's rows are and with its keys; only shots within the range have them."""
    shots = patterns.shots_within(layout, q_range)
    added = {a: (b, keys) for n in shots for a, b, keys in patterns.fixed_links(layout, config, n)}
    videos = dict(layout.video_range(n) for n in layout.shot_numbers)
    inside: tuple[int, int] = (0, 0)  # rows of the pattern's current run, and its keys
    keys: list[tuple[int, int]] = []
    for group in groups:
        at = group.q_start
        while at < group.q_stop:
            if at in added:
                inside, keys = (at, added[at][0]), added[at][1]
            if inside[0] <= at < inside[1]:
                end = min(group.q_stop, inside[1])
                yield Group(at, end, _union([*group.keys, *keys]))
            else:  # text: up to the next video
                end = min([group.q_stop, *(v for v in videos if at < v < group.q_stop)])
                yield Group(at, end, group.keys)
            at = end


def _groups(layout: TokenLayout, reach: int | None, all_text: bool) -> Iterator[Group]:
    """Every group of the mandatory links. `reach` counts neighbour chunks of the own link, None for the whole shot."""
    edges = layout.chunk_edges()
    text = (0, layout.global_text)
    texts = [text, *(layout.caption_range(number) for number in layout.shot_numbers)]
    if layout.global_text:
        yield Group(*text, _union(texts if all_text else [text]))
    for number in layout.shot_numbers:
        caption, video = layout.caption_range(number), layout.video_range(number)
        linked = texts if all_text else [text, caption]
        whole = _union([*linked, video])
        if reach is None:
            yield Group(caption[0], video[1], whole)
            continue
        if caption[0] < caption[1]:
            yield Group(*caption, whole)
        first, last = layout.video_chunks(number)
        for chunk in range(first, last):
            near = (edges[max(first, chunk - reach)], edges[min(last, chunk + reach + 1)])
            yield Group(edges[chunk], edges[chunk + 1], _union([*linked, near]))


def _union(ranges: list[tuple[int, int]]) -> Ranges:
    """Disjoint ascending ranges that cover the same tokens."""
    merged: list[tuple[int, int]] = []
    for a, b in sorted(ranges):
        if a == b:
            continue
        if merged and a <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
        else:
            merged.append((a, b))
    return tuple(merged)

"""Mandatory links as runs: which contiguous queries share which contiguous keys (sec. 3.2, App. F).

Under "own" text links and the own-shot link a row of this picture is one group, `#` what it attends:

               text  cap 1  video 1  cap 2  video 2
    text        #
    shot 1      #      #       #
    shot 2      #                      #       #

Groups tile the query rows in order, so packed queries are the stream itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from moc.config import MoCConfig
from moc.layout import TokenLayout

Ranges = tuple[tuple[int, int], ...]


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
class Mandatory:
    """All groups of a query range, with the index tables of a packed call.

    Attributes:
        groups: the groups; together they tile the query range.
        key_index: [P] int64 stream positions of the packed keys, group after group.
        q_edges: [G + 1] int64 start of each group among the query rows.
        k_edges: [G + 1] int64 start of each group among the packed keys.
    """

    groups: tuple[Group, ...]
    key_index: Tensor
    q_edges: Tensor
    k_edges: Tensor

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

    @cached_property
    def notes(self) -> dict[Any, Any]:
        """What callers derive from these links and want to keep."""
        return {}


def mandatory(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int], device: torch.device) -> Mandatory:
    """The mandatory links of query rows start:stop, built once per layout, setting and device."""
    reach = {"shot": None, "chunk": 0, "window": config.window_chunks}[config.intra]
    key: tuple[Any, ...] = ("mandatory", reach, config.text_links, q_range, device)
    return layout.cached(key, lambda: _build(layout, reach, config.text_links == "all", q_range, device))


def _build(
    layout: TokenLayout, reach: int | None, all_text: bool, q_range: tuple[int, int], device: torch.device
) -> Mandatory:
    start, stop = q_range
    groups = []
    for group in _groups(layout, reach, all_text):
        a, b = max(group.q_start, start), min(group.q_stop, stop)
        if a < b:
            groups.append(Group(a, b, group.keys))
    runs = [torch.arange(a, b) for group in groups for a, b in group.keys]
    zero = torch.zeros(1, dtype=torch.int64)
    q_sizes = torch.tensor([g.q_stop - g.q_start for g in groups], dtype=torch.int64)
    k_sizes = torch.tensor([g.num_keys for g in groups], dtype=torch.int64)
    return Mandatory(
        groups=tuple(groups),
        key_index=torch.cat([zero[:0], *runs]).to(device),
        q_edges=torch.cat([zero, q_sizes.cumsum(0)]).to(device),
        k_edges=torch.cat([zero, k_sizes.cumsum(0)]).to(device),
    )


def _groups(layout: TokenLayout, reach: int | None, all_text: bool) -> Iterator[Group]:
    """Every group of the stream. `reach` counts neighbour chunks of the own link, None for the whole shot."""
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

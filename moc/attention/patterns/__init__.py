"""What MoC is compared with: attention patterns, one file each, all through the engine of MoC itself.

A pattern (`moc.patterns.PATTERNS`) says what video tokens attend besides their mandatory links (text and own shot). A
*fixed* one derives that from the layout alone and adds it to the groups of the dense part; a *chosen* one picks chunks
per query, as MoC does, and its choice is a `Routing` like any other. So every pattern is exact, differentiable, counted
and mapped alike:

    moc.attend(q, k, v, layout, moc.route(q, k, layout, config), config)      with config.pattern = its name

The file of a pattern, named as it with underscores, holds either

    links(layout, config, shot)   rows of the shot's video and the key ranges they attend beside text and own link
    mask(tokens)                  the same from the definition, token by token, for the oracle
or
    choose(ask)                   the ranks of the chunks that each query picks

and a docstring with what was changed from the source and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from moc.attention.patterns.asking import Ask
from moc.attention.patterns.tokens import Tokens
from moc.config import MoCConfig
from moc.layout import TokenLayout
from moc.patterns import PATTERNS, PatternInfo

__all__ = [
    "PATTERNS",
    "Ask",
    "PatternInfo",
    "Tokens",
    "choose",
    "fitted",
    "fixed_counts",
    "fixed_links",
    "fixed_mask",
    "is_fixed",
    "refusal",
    "shots_within",
]

Rows = tuple[int, int, list[tuple[int, int]]]
"""Query rows start:stop, and ranges of keys that all of them attend; ranges may overlap each other and other links."""


class Fixed(Protocol):
    """The file of a pattern that the layout decides."""

    def links(self, layout: TokenLayout, config: MoCConfig, shot: int) -> Iterator[Rows]: ...

    def mask(self, tokens: Tokens) -> Tensor: ...


class Chosen(Protocol):
    """The file of a pattern whose queries choose."""

    def choose(self, ask: Ask) -> Tensor: ...


def is_fixed(config: MoCConfig) -> bool:
    """Whether the layout alone decides what the pattern attends, so that there is nothing to route."""
    return PATTERNS[config.pattern].kind == "fixed"


def fitted(layout: TokenLayout, config: MoCConfig) -> TokenLayout:
    """The layout as the pattern wants it: cut evenly for "moc-uniform", as it is for all others."""
    return layout.evenly() if config.pattern == "moc-uniform" else layout


def refusal(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int]) -> str | None:
    """Why the pattern can't work on this layout and these rows, in one sentence; None where it can."""
    even = config.pattern == "moc-uniform"
    if even != (layout.even is not None) and layout.shots:
        wanted = "cut evenly: layout.evenly()" if even else "cut along its content, which evenly() does not"
        return f"pattern {config.pattern} needs a layout {wanted}"
    if config.pattern == "moc-block":
        edges = set(layout.chunk_edges())
        if not edges.issuperset(q_range):
            return (
                "pattern moc-block chooses once for all queries of a chunk, so q_range must start and stop at chunk "
                f"edges, got {q_range[0]}:{q_range[1]}"
            )
    return None


def choose(ask: Ask) -> Tensor:
    """[B, H, R, W] ranks of the chunks that each query picks, -1 where fewer were admissible."""
    return cast(Chosen, _file(ask.config)).choose(ask)


def fixed_links(layout: TokenLayout, config: MoCConfig, shot: int) -> list[Rows]:
    """What a fixed pattern adds to the links of a shot's video: runs of rows that tile it, in order."""
    return list(cast(Fixed, _file(config)).links(layout, config, shot))


def fixed_mask(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int]) -> Tensor | None:
    """[Lq, L] bool, the oracle of `fixed_links`; None for patterns whose queries choose."""
    if not is_fixed(config):
        return None
    return cast(Fixed, _file(config)).mask(Tokens.of(layout, config, q_range))


def fixed_counts(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int] | None = None) -> Tensor | None:
    """Links of a fixed pattern, in the shape of `Routing.counts` for one head: what a map of it shows.

    A link is a query token and a chunk of another shot of which it attends anything.

    Returns:
        [Cq, C] int64 on the CPU, for one batch row and head; None for patterns whose queries choose.
    """
    if not is_fixed(config):
        return None
    start, stop = (0, layout.length) if q_range is None else q_range
    return cast(Tensor, layout.cached(("fixed counts", config.pattern, config.causal, config.intra, start, stop),
                                      lambda: _count(layout.to("cpu"), config, start, stop)))  # fmt: skip


def shots_within(layout: TokenLayout, q_range: tuple[int, int]) -> list[int]:
    """Numbers of the shots of which the rows start:stop hold any video."""
    videos = {number: layout.video_range(number) for number in layout.shot_numbers}
    return [number for number, (a, b) in videos.items() if a < q_range[1] and b > q_range[0]]


def _count(layout: TokenLayout, config: MoCConfig, start: int, stop: int) -> Tensor:
    edges = layout.chunk_bounds
    chunks = layout.num_chunks
    first = int(layout.chunk_ids[start]) if start < stop else 0
    counts = torch.zeros(int(layout.chunk_ids[stop - 1]) + 1 - first if start < stop else 0, chunks, dtype=torch.int64)
    other = (layout.chunk_shot[:, None] != layout.chunk_shot) & ~layout.chunk_is_text
    for shot in shots_within(layout, (start, stop)):
        for a, b, ranges in fixed_links(layout, config, shot):
            a, b = max(a, start), min(b, stop)
            ranges = [(x, y) for x, y in ranges if x < y]
            if a >= b or not ranges:
                continue
            seen = torch.zeros(chunks, dtype=torch.bool)
            lows = torch.searchsorted(edges, torch.tensor([x for x, _ in ranges]), right=True) - 1
            highs = torch.searchsorted(edges, torch.tensor([y for _, y in ranges]))
            for low, high in zip(lows.tolist(), highs.tolist(), strict=True):
                seen[low:high] = True
            for chunk in range(int(layout.chunk_ids[a]), int(layout.chunk_ids[b - 1]) + 1):
                rows = min(b, int(edges[chunk + 1])) - max(a, int(edges[chunk]))
                counts[chunk - first] += rows * (seen & other[chunk])
    return counts


def _file(config: MoCConfig) -> object:
    return import_module(f"moc.attention.patterns.{config.pattern.replace('-', '_')}")

"""Tile shapes of the kernels and how much memory partial results may take: fixed tables, no tuning at run time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch

from moc.layout import TokenLayout

WORKSPACE = 8 << 30
"""Bytes that partial results of routed links may take at a time; heads and batch rows go through in groups below it.
A constant, for the sizes of launches must depend on shapes alone: a CUDA graph replays them."""

LONG = 512
"""Tokens of the longest chunk from which tiles of more keys pay; before, the first of them must come soon."""

SPAN = 2048
"""Links that pass by keys that stay: enough to pay for loading them, few enough to split a hot chunk over the card."""

ROOM_WITH_ENGINE = 200 * 1024
"""Bytes of shared memory a program beyond which a card is a Hopper or a server Blackwell."""


@dataclass(frozen=True)
class Tiles:
    """A kernel's shape.

    Attributes:
        M, N: links and keys a tile.
        num_warps, num_stages: warps of a program, stages of its loop.
        span: links that pass by the keys of one chunk, which stay; 0 where keys pass by the links of one tile.
        blocks: whether keys come in blocks by the card's copy engine, where they lie so that it can fetch them.
    """

    M: int
    N: int
    num_warps: int = 4
    num_stages: int = 2
    span: int = 0
    blocks: bool = False

    @property
    def links(self) -> int:
        """Links that one program serves."""
        return self.span or self.M


def longest_chunk(layout: TokenLayout) -> int:
    """Tokens of the longest chunk of all."""
    longest: int = layout.cached("longest_chunk", lambda: max(b - a for a, b in pairwise(layout.chunk_edges())))
    return longest


def shortest_chunk(layout: TokenLayout) -> int:
    """Tokens of the shortest chunk of all; text counts, for routes made by hand may lead there."""
    shortest: int = layout.cached("shortest_chunk", lambda: min(b - a for a, b in pairwise(layout.chunk_edges())))
    return shortest


def keys_per_tile(longest: int) -> int:
    """32 or 64 keys: short chunks waste less of a short tile."""
    return 32 if longest <= 32 or 64 < longest <= 96 else 64


@cache
def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that one program may use; none are counted where kernels are interpreted."""
    if device.type != "cuda":
        return 0
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin", 0))


def forward_tiles(longest: int, head_dim: int, dtype: torch.dtype, shared: int) -> Tiles:
    """Shape of the forward pass: the keys of short chunks stay where the card has room for them.

    Cards with more than `ROOM_WITH_ENGINE` have a copy engine, which needs no registers for addresses: twice as many
    links a tile, and so half the traffic of keys. Heads of 64 leave room for that without it, and pointers win.
    """
    keys = keys_per_tile(longest)
    if head_dim > 128:
        return Tiles(64, min(keys, 32))  # twice as many keys take more than the 99 KiB of smaller cards
    if dtype.itemsize > 2 or shared < 160 * 1024:
        return Tiles(64, keys)
    if 64 < longest <= 128:
        return Tiles(64, 128, num_warps=4, num_stages=1, span=SPAN)
    if longest > 128 and head_dim == 128 and shared > ROOM_WITH_ENGINE:
        return Tiles(128, 64, num_warps=4, num_stages=2, blocks=True)
    return by_pointers(longest)


def by_pointers(longest: int) -> Tiles:
    """Shape of the forward pass where keys that pass by can't come in blocks."""
    return Tiles(64, keys_per_tile(longest) if longest >= LONG else 32, num_warps=4, num_stages=3)


def backward_tiles(longest: int, head_dim: int) -> Tiles:
    """Shape of the query gradients' kernel, which holds twice as much a tile as the forward pass."""
    keys = keys_per_tile(longest)
    if head_dim > 128:
        return Tiles(32, min(keys, 32), num_warps=4, num_stages=1)
    return Tiles(64, keys, num_warps=4, num_stages=2)


def key_gradient_tiles(longest: int, head_dim: int, dtype: torch.dtype, shared: int) -> Tiles:
    """Shape of the key gradients' kernel: more keys at once, where they are many and the card has room for them."""
    if dtype.itemsize > 2 or head_dim > 128 or longest <= 96 or shared < 160 * 1024:
        return backward_tiles(longest, head_dim)
    return Tiles(64, 128, num_warps=8, num_stages=2)

"""The index plan: routed links sorted by the chunk they lead to, and cut into tiles.

A counting sort in four passes: every block of slots counts its links per chunk, a running sum over (group, block) gives
each count its place, the links move there in the order of their slots, and groups are cut into tiles. All on the
device, at sizes known beforehand: no host synchronisation, so a CUDA graph that captured a plan replays it with other
routes. A link is one slot of `Routing.indices`; a group is one (batch row, head, chunk).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

SORTED_AT_ONCE = 128  # links ranked against each other, each with each
SCANNED_AT_ONCE = 1024
FILLED_AT_ONCE = 128
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Plan:
    """Links in groups and tiles. P = B H Lq W slots, G = B H C groups, M links a tile; int64 where P needs it.

    Attributes:
        slots: [P] int32 or int64 flat positions in [B, H, Lq, W], group after group; only links are written.
        edges: [G + 1] int32 or int64 first link of each group.
        tile_edges: [G + 1] int32 or int64 first tile of each group.
        tile_group: [floor(P / M) + G] int32 group of each tile, G where a tile has no work.
        tile: M.
    """

    slots: Tensor
    edges: Tensor
    tile_edges: Tensor
    tile_group: Tensor
    tile: int


@triton.jit
def count_kernel(index_ptr, count_ptr, per_head, blocks, C, T: tl.constexpr, S: tl.constexpr):
    """Links of each chunk in a block of T slots, into counts [B H, C, blocks] of zeros."""
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    for first in range(0, T, S):
        at = block.to(tl.int64) * T + first + tl.arange(0, S)
        chunk = tl.load(index_ptr + head * per_head + at, mask=at < per_head, other=-1)
        cell = (head * C + chunk) * blocks + block
        tl.atomic_add(count_ptr + cell, 1, mask=chunk >= 0, sem="relaxed")


@triton.jit
def scatter_kernel(index_ptr, count_ptr, sum_ptr, slots, per_head, blocks, C, T: tl.constexpr, S: tl.constexpr):
    """Moves the slots of a block to their places; the counts run down to zero on the way."""
    block, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    nth = tl.arange(0, S)
    for first in range(0, T, S):
        at = block.to(tl.int64) * T + first + nth
        chunk = tl.load(index_ptr + head * per_head + at, mask=at < per_head, other=-1)
        ok = chunk >= 0
        cell = (head * C + chunk) * blocks + block
        left = tl.load(count_ptr + cell, mask=ok, other=0)
        place = tl.load(sum_ptr + cell, mask=ok, other=0) - left
        # the other operand of the comparison is loaded, which is cheaper than to turn a vector round
        other = block.to(tl.int64) * T + first + nth
        others = tl.load(index_ptr + head * per_head + other, mask=other < per_head, other=-1)
        same = chunk[:, None] == others[None, :]
        before = tl.sum((same & (nth[None, :] < nth[:, None])).to(tl.int32), 1)
        after = tl.sum((same & (nth[None, :] > nth[:, None])).to(tl.int32), 1)
        tl.store(slots + place + before, (head * per_head + at).to(slots.dtype.element_ty), mask=ok)
        # all have read before one writes, and all see it afterwards
        tl.debug_barrier()
        tl.store(count_ptr + cell, left - before - 1, mask=ok & (after == 0))
        tl.debug_barrier()


@triton.jit
def edges_kernel(sum_ptr, edges, tile_edges, groups, blocks, tile, least, S: tl.constexpr, HAS_SUM: tl.constexpr):
    """First link and first tile of each group, by one program; `edges` are read where there are no sums."""
    links, tiles = tl.program_id(0).to(tl.int64), tl.program_id(0).to(tl.int64)
    for first in range(0, groups, S):
        g = first + tl.arange(0, S)
        ok = g < groups
        if HAS_SUM:
            stop = tl.load(sum_ptr + (g.to(tl.int64) + 1) * blocks - 1, mask=ok, other=0).to(tl.int64)
            start = tl.load(sum_ptr + g.to(tl.int64) * blocks - 1, mask=ok & (g > 0), other=0).to(tl.int64)
            tl.store(edges + g, start.to(edges.dtype.element_ty), mask=ok)
            links = tl.maximum(links, tl.max(stop, 0))
        else:
            stop = tl.load(edges + g + 1, mask=ok, other=0).to(tl.int64)
            start = tl.load(edges + g, mask=ok, other=0).to(tl.int64)
        count = tl.where(ok, tl.maximum((stop - start + tile - 1) // tile, least), 0)
        upto = tl.cumsum(count, 0)
        tl.store(tile_edges + g, (tiles + upto - count).to(tile_edges.dtype.element_ty), mask=ok)
        tiles += tl.sum(count, 0)
    if HAS_SUM:
        tl.store(edges + groups, links.to(edges.dtype.element_ty))
    tl.store(tile_edges + groups, tiles.to(tile_edges.dtype.element_ty))


@triton.jit
def tiles_kernel(tile_edges, tile_group, groups, capacity, share, S: tl.constexpr):
    """Writes each group's number over its tiles; the tiles without work are shared out among all programs."""
    g = tl.program_id(0)
    start, stop = tl.load(tile_edges + g), tl.load(tile_edges + g + 1)
    for first in range(start, stop, S):
        t = first + tl.arange(0, S)
        tl.store(tile_group + t, tl.zeros((S,), tl.int32) + g, mask=t < stop)
    used = tl.load(tile_edges + groups)
    low = tl.maximum(g.to(tl.int64) * share, used)
    high = tl.minimum((g.to(tl.int64) + 1) * share, capacity)
    for first in range(low, high, S):
        t = first + tl.arange(0, S)
        tl.store(tile_group + t, tl.zeros((S,), tl.int32) + groups, mask=t < high)


def make_plan(indices_BHQW: Tensor, num_chunks: int, tile: int) -> Plan:
    """Plan of `indices` [B, H, Lq, W] int32, -1 for empty slots; links of a group keep the order of their slots."""
    batch, heads, rows, width = indices_BHQW.shape
    device, total = indices_BHQW.device, indices_BHQW.numel()
    indices = indices_BHQW.contiguous()
    groups, per_head = batch * heads * num_chunks, rows * width
    whole = torch.int32 if total <= INT32_MAX else torch.int64
    # counts take at most about as much memory as the links
    block = min(16384, max(1024, triton.next_power_of_2(num_chunks)))
    blocks = max(1, triton.cdiv(per_head, block))
    counts = torch.zeros(groups * blocks, dtype=torch.int32, device=device)
    grid = (blocks, batch * heads)
    sizes = (per_head, blocks, num_chunks)
    slots = torch.empty(total, dtype=whole, device=device)
    edges = torch.empty(groups + 1, dtype=whole, device=device)
    tile_edges = torch.empty(groups + 1, dtype=whole, device=device)
    count_kernel[grid](indices, counts, *sizes, T=block, S=1024, num_warps=4)
    sums = counts.cumsum(0, dtype=whole)
    edges_kernel[(1,)](sums, edges, tile_edges, groups, blocks, tile, 0, S=SCANNED_AT_ONCE, HAS_SUM=True, num_warps=8)
    scatter_kernel[grid](indices, counts, sums, slots, *sizes, T=block, S=SORTED_AT_ONCE, num_warps=4, num_stages=1)
    return Plan(slots, edges, tile_edges, _fill(tile_edges, groups, total // tile + groups), tile)


def cut(edges: Tensor, total: int, tile: int, least: int = 0) -> tuple[Tensor, Tensor]:
    """Cuts groups of links into tiles of another size.

    Args:
        edges: [G + 1] first link of each group.
        total: capacity of links, P.
        tile: links a tile.
        least: tiles of a group without links, 0 or 1.

    Returns:
        [G + 1] first tile of each group and [floor(P / tile) + G] int32 group of each tile, G where there is no tile.
    """
    groups = len(edges) - 1
    tile_edges = torch.empty_like(edges)
    edges_kernel[(1,)](edges, edges, tile_edges, groups, 1, tile, least, S=SCANNED_AT_ONCE, HAS_SUM=False, num_warps=8)
    return tile_edges, _fill(tile_edges, groups, total // tile + groups)


def _fill(tile_edges: Tensor, groups: int, capacity: int) -> Tensor:
    tile_group = torch.empty(capacity, dtype=torch.int32, device=tile_edges.device)
    share = triton.cdiv(capacity, groups)
    tiles_kernel[(groups,)](tile_edges, tile_group, groups, capacity, share, S=FILLED_AT_ONCE, num_warps=1)
    return tile_group

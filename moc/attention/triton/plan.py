"""The index plan: routed links sorted by the chunk they lead to, and cut into tiles.

A counting sort in four passes: every block of slots is sorted by chunk within its program and counts its links per
chunk, a running sum over (group, block) gives each count its place, the links move there in the order of their slots,
and groups are cut into tiles. All on the device, at sizes known beforehand: no host synchronisation, so a CUDA graph
that captured a plan replays it with other routes. A link is one slot of `Routing.indices`; a group is one (batch row,
head, chunk).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

SORTED_AT_ONCE = 1024  # slots that one program sorts in registers, half of them where heads have few
FEW_SLOTS = 65536  # a head: more, shorter programs fill the card then
SCANNED_AT_ONCE = 1024
FILLED_AT_ONCE = 128
INT32_MAX = 2**31 - 1
NO_LINK: tl.constexpr = tl.constexpr(INT32_MAX)


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
def sort_kernel(index_ptr, key_ptr, start_ptr, count_ptr, per_head, blocks, C, T: tl.constexpr):
    """Sorts a block of T slots by chunk, in the order of the slots.

    Writes chunk T + place in the block, `NO_LINK` for empty slots, to keys [B H, blocks, T]; where each chunk's links
    start among those and how many they are to starts and counts [B H, C, blocks], the latter of zeros before.
    """
    block, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    nth = tl.arange(0, T)
    at = block * T + nth
    chunk = tl.load(index_ptr + head * per_head + at, mask=at < per_head, other=-1)
    # numbers that name no chunk, which nobody looks for on a GPU beforehand, must not write beyond the tables
    key = tl.sort(tl.where((chunk >= 0) & (chunk < C), chunk * T + nth, NO_LINK))
    here = (head * blocks + block) * T + nth
    tl.store(key_ptr + here, key)
    tl.debug_barrier()  # neighbours are read back
    before = tl.load(key_ptr + here - 1, mask=nth > 0, other=-1)
    after = tl.load(key_ptr + here + 1, mask=nth < T - 1, other=NO_LINK)
    ok = key != NO_LINK
    cell = (head * C + key // T) * blocks + block
    tl.store(start_ptr + cell, nth, mask=ok & ((nth == 0) | (before // T != key // T)))
    tl.debug_barrier()
    last = ok & ((nth == T - 1) | (after // T != key // T))
    start = tl.load(start_ptr + cell, mask=last, other=0)
    tl.store(count_ptr + cell, nth - start + 1, mask=last)


@triton.jit
def scatter_kernel(key_ptr, start_ptr, count_ptr, sum_ptr, slots, per_head, blocks, C, T: tl.constexpr):
    """Moves the sorted links of a block to their places among those of all blocks."""
    block, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    nth = tl.arange(0, T)
    key = tl.load(key_ptr + (head * blocks + block) * T + nth)
    ok = key != NO_LINK
    cell = (head * C + key // T) * blocks + block
    place = tl.load(sum_ptr + cell, mask=ok, other=0) - tl.load(count_ptr + cell, mask=ok, other=0)
    place += nth - tl.load(start_ptr + cell, mask=ok, other=0)
    slot = head * per_head + block * T + key % T
    tl.store(slots + place, slot.to(slots.dtype.element_ty), mask=ok)


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


def slots_per_block(per_head: int, num_chunks: int) -> int:
    """Slots of a head that one program sorts; results do not depend on it."""
    least = SORTED_AT_ONCE if per_head > FEW_SLOTS else SORTED_AT_ONCE // 2
    return min(8192, max(least, triton.next_power_of_2(num_chunks)))


def make_plan(indices_BHQW: Tensor, num_chunks: int, tile: int) -> Plan:
    """Plan of `indices` [B, H, Lq, W] int32, -1 for empty slots; links of a group keep the order of their slots."""
    batch, heads, rows, width = indices_BHQW.shape
    device, total = indices_BHQW.device, indices_BHQW.numel()
    indices = indices_BHQW.contiguous()
    groups, per_head = batch * heads * num_chunks, rows * width
    whole = torch.int32 if total <= INT32_MAX else torch.int64
    # counts take about as much memory as the links, more where there are more chunks than slots in a block
    block = slots_per_block(per_head, num_chunks)
    if num_chunks > INT32_MAX // block - 1:
        raise NotImplementedError(f"plans hold at most {INT32_MAX // block - 1} chunks, got {num_chunks}")
    blocks = max(1, triton.cdiv(per_head, block))
    grid = (blocks, batch * heads)
    counts = torch.zeros(groups * blocks, dtype=torch.int32, device=device)
    starts = torch.empty_like(counts)
    keys = torch.empty(batch * heads * blocks * block, dtype=torch.int32, device=device)
    slots = torch.empty(total, dtype=whole, device=device)
    edges = torch.empty(groups + 1, dtype=whole, device=device)
    tile_edges = torch.empty(groups + 1, dtype=whole, device=device)
    warps = max(1, block // 1024)
    sort_kernel[grid](indices, keys, starts, counts, per_head, blocks, num_chunks, T=block, num_warps=warps)
    sums = counts.cumsum(0, dtype=whole)
    edges_kernel[(1,)](sums, edges, tile_edges, groups, blocks, tile, 0, S=SCANNED_AT_ONCE, HAS_SUM=True, num_warps=8)
    scatter_kernel[grid](keys, starts, counts, sums, slots, per_head, blocks, num_chunks, T=block, num_warps=warps)
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

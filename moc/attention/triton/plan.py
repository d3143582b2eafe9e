"""The index plan: routed links sorted by the chunk they lead to, and cut into tiles.

All on the device, at sizes known beforehand: no host synchronisation, so a CUDA graph that captured a plan replays it
with other routes. A link is one slot of `Routing.indices`; a group is one (batch row, head, chunk).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """Links in groups and tiles. P = B H Lq W slots, G = B H C groups, M links a tile.

    Attributes:
        slots: [P] int64 flat positions in [B, H, Lq, W], group after group, the empty ones last.
        edges: [G + 1] int64 first link of each group.
        tile_edges: [G + 1] int64 first tile of each group.
        tile_group: [ceil(P / M) + G] int32 group of each tile, G where a tile has no work.
        tile: M.
    """

    slots: Tensor
    edges: Tensor
    tile_edges: Tensor
    tile_group: Tensor
    tile: int


def make_plan(indices_BHQW: Tensor, num_chunks: int, tile: int) -> Plan:
    """Plan of `indices` [B, H, Lq, W] int32, -1 for empty slots; links of a group keep the order of their rows."""
    batch, heads, rows, width = indices_BHQW.shape
    device = indices_BHQW.device
    groups = batch * heads * num_chunks
    first = torch.arange(0, groups, num_chunks, device=device, dtype=torch.int32).view(batch, heads, 1, 1)
    group = torch.where(indices_BHQW < 0, groups, indices_BHQW + first).flatten()
    ordered, slots = group.sort(stable=True)
    edges = torch.searchsorted(ordered, torch.arange(groups + 1, device=device, dtype=torch.int32))
    tiles = (edges.diff() + tile - 1) // tile
    tile_edges = torch.zeros(groups + 1, dtype=torch.int64, device=device)
    torch.cumsum(tiles, 0, out=tile_edges[1:])
    capacity = -(-batch * heads * rows * width // tile) + groups
    tile_group = torch.searchsorted(tile_edges, torch.arange(capacity, device=device), right=True) - 1
    return Plan(slots, edges, tile_edges, tile_group.int(), tile)

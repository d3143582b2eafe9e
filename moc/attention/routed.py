"""Routed links, grouped: all queries of one batch row and head that picked the same chunk stand together.

A link is one slot of `Routing.indices`. Sorted by (batch row, head, chunk), links form groups; a group's queries
attend the same keys, so that the work is plain matrix products however the routes fall.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Links:
    """The links of a call, grouped. G = B H C groups, many of them empty.

    Attributes:
        slots: [T] int64 flat positions of the valid links in [B, H, Lq, W], group after group.
        edges: [G + 1] int64 start of each group among the links, on the device.
        width: W.
        num_slots: B H Lq W, links and empty slots.
    """

    slots: Tensor
    edges: Tensor
    width: int
    num_slots: int

    @property
    def rows(self) -> Tensor:
        """[T] int64 flat query row, in [B, H, Lq], of each link."""
        return self.slots // self.width


def group_links(indices: Tensor, num_chunks: int) -> Links:
    """Groups the links of `indices` [B, H, Lq, W]; -1 slots fall away. The order within a group is the slots' own."""
    batch, heads, _, width = indices.shape
    groups = batch * heads * num_chunks
    first = torch.arange(batch * heads, device=indices.device, dtype=torch.int32).mul_(num_chunks)
    group = torch.where(indices < 0, groups, indices + first.view(batch, heads, 1, 1)).flatten()
    ordered, slots = group.sort(stable=True)
    edges = torch.searchsorted(ordered, torch.arange(groups + 1, device=indices.device, dtype=torch.int32))
    return Links(slots[: int(edges[-1])], edges, width, indices.numel())

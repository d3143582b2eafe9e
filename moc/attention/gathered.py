"""The routed part by one FlashAttention-4 call: queries gathered so that each (batch row, head, chunk) is a sequence.

Another way to what the Triton kernels do without gathering (`moc.attention.triton.routed`), with the same arguments and
results, so that the two can be held against each other. It pays a copy of k times the queries, there and back, for the
dense kernel's higher rate. On one H200 the Triton kernels won at every shape of docs/performance.md, forward and
backward, so nothing but the benchmark calls it. Nothing waits for the device: the sequences' edges come from the plan,
and slots without a link stand behind the last sequence.

Keys are read where they lie when they are contiguous [B, H, L, D]; else they are copied once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moc.attention import varlen
from moc.attention.triton.tiles import longest_chunk
from moc.attention.varlen import Packing
from moc.layout import TokenLayout


def links_forward(
    q_BHQD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    slots_P: Tensor,
    edges_G: Tensor,
    links: int,
    layout: TokenLayout,
    scale: float,
    *,
    kernel: str = "fa4",
) -> tuple[Tensor, Tensor]:
    """Attention of every link to its chunk alone.

    Args:
        slots_P: [P = B H Lq W] positions in [B, H, Lq, W], links of one group together; only the first `edges_G[-1]`
            are read.
        edges_G: [B H C + 1] first link of each group.
        links: W.
        kernel: "fa4" or "fa2"; the latter's grid is as long as the longest group could be, for every group.

    Returns:
        [P, D] outputs in q's dtype and [P] float32 LSE, each at its slot; other slots hold nothing of use.
    """
    place, rows = _rows(slots_P, edges_G, links)
    q, k, v = _by_rows(q_BHQD)[rows], _by_rows(k_BHLD), _by_rows(v_BHLD)
    packing = _packing(edges_G, q_BHQD.shape[2], k_BHLD.shape[:2].numel(), layout)
    out, lse = varlen.forward_with(kernel, q, k, v, packing, scale)
    count = len(slots_P)
    at_slots = torch.empty(count + 1, q.shape[-1], dtype=q.dtype, device=q.device)
    lse_at_slots = torch.empty(count + 1, dtype=lse.dtype, device=q.device)
    at_slots.index_copy_(0, place, out[:, 0])
    lse_at_slots.index_copy_(0, place, lse[0])
    return at_slots[:-1], lse_at_slots[:-1]


def links_backward(
    q_BHQD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    dout_BHQD: Tensor,
    out_BHQD: Tensor,
    lse_BHQ: Tensor,
    dlse_BHQ: Tensor | None,
    slots_P: Tensor,
    edges_G: Tensor,
    links: int,
    layout: TokenLayout,
    scale: float,
    *,
    kernel: str = "fa4",
    deterministic: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients through all links, given the output and LSE of the whole attention.

    Returns:
        [P, D] query gradients in q's dtype at their slots, zero where there is no link, and [B, H, L, D] key and value
        gradients in float32, zero for chunks that nobody chose.
    """
    place, rows = _rows(slots_P, edges_G, links)
    q, dout, out = (_by_rows(x)[rows] for x in (q_BHQD, dout_BHQD, out_BHQD))
    k, v = _by_rows(k_BHLD), _by_rows(v_BHLD)
    lse = lse_BHQ.reshape(-1)[rows][None]
    dlse = None if dlse_BHQ is None else dlse_BHQ.reshape(-1)[rows][None]
    packing = _packing(edges_G, q_BHQD.shape[2], k_BHLD.shape[:2].numel(), layout)
    dq, dk, dv = varlen.backward_with(
        kernel, dout, q, k, v, out, lse, dlse, packing, scale, deterministic=deterministic
    )
    at_slots = torch.zeros(len(slots_P) + 1, q.shape[-1], dtype=q.dtype, device=q.device)
    at_slots.index_copy_(0, place, dq[:, 0])
    # The kernel may leave keys that nobody picked unwritten.
    nobody = packing.q_edges.diff() == 0
    unread = nobody.repeat_interleave(packing.k_edges.diff(), output_size=len(k))[:, None]
    wide = torch.promote_types(k.dtype, torch.float32)
    dk, dv = (x[:, 0].to(wide).masked_fill(unread, 0).view(k_BHLD.shape) for x in (dk, dv))
    return at_slots[:-1], dk, dv


def _rows(slots: Tensor, edges: Tensor, links: int) -> tuple[Tensor, Tensor]:
    """Where each link's result goes, one past the end for what is no link, and its query row in [B, H, Lq]."""
    real = torch.arange(len(slots), device=slots.device) < edges[-1]
    slots = slots.long()
    return torch.where(real, slots, len(slots)), torch.where(real, slots, 0) // links


def _by_rows(x_BHLD: Tensor) -> Tensor:
    """[B, H, L, D] -> [B H L, 1, D]."""
    return x_BHLD.reshape(-1, 1, x_BHLD.shape[-1])


def _packing(edges_G: Tensor, rows: int, heads: int, layout: TokenLayout) -> Packing:
    """Groups as sequences; a row picks a chunk at most once, so no group is longer than the rows."""
    where = edges_G.device
    k_edges, longest = layout.cached(("gathered", heads, where), lambda: _key_edges(layout, heads, where))
    return Packing(edges_G.int(), k_edges, rows, longest)


def _key_edges(layout: TokenLayout, heads: int, where: torch.device) -> tuple[Tensor, int]:
    bounds = layout.to(where).chunk_bounds
    first = torch.arange(heads, device=where)[:, None] * layout.length
    edges = torch.cat([(first + bounds[:-1]).flatten(), bounds.new_full((1,), heads * layout.length)])
    return edges.int(), longest_chunk(layout)

"""The routed part by one FlashAttention-4 call: queries gathered so that each (batch row, head, chunk) is a sequence.

Another way to what the Triton kernels do without gathering (`moc.attention.triton.routed`), with the same arguments and
results, so that the two can be held against each other. It pays a copy of k times the queries, there and back, for the
dense kernel's higher rate, which is worth it for gradients of long chunks (`takes_gradients`). Nothing waits for the
device: the sequences' edges come from the plan, and slots without a link stand behind the last sequence.

Keys are read where they lie when they are contiguous [B, H, L, D]; else they are copied once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moc.attention import varlen
from moc.attention.probes import probe, wanted
from moc.attention.triton.tiles import longest_chunk
from moc.attention.varlen import Packing
from moc.layout import TokenLayout

if TYPE_CHECKING:
    from moc.attention.triton.routed import Plans

LONG = 512
"""Tokens of the longest chunk from which gradients by gathered queries are faster than Triton's."""

_forced: str | None = None


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


def takes_gradients(q: Tensor, layout: TokenLayout) -> bool:
    """The rule: gradients of the routed part are FlashAttention-4's where it is, chunks are long, and nobody asked for
    Triton's (`use`, or the environment variable MOC_ROUTED=triton)."""
    asked = _forced or os.environ.get("MOC_ROUTED") or "auto"
    if asked not in ("auto", "triton", "fa4"):
        raise ValueError(f"MOC_ROUTED must be one of auto, triton, fa4, got {asked!r}")
    if asked == "triton" or not q.is_cuda:
        return False
    if asked == "auto" and (longest_chunk(layout) < LONG or wanted() not in ("auto", "fa4")):
        return False
    bits = torch.are_deterministic_algorithms_enabled()
    return probe("fa4", q, ragged=True, backward=True, deterministic=bits).ok


@contextmanager
def use(name: str) -> Iterator[None]:
    """Inside, gradients of the routed part run on "triton", on "fa4" where it is, or by the rule for "auto"."""
    global _forced
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def add_gradients(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, own_dq: Tensor,
    dk: Tensor, dv: Tensor, indices: Tensor, plans: Plans, layout: TokenLayout, scale: float,
) -> Tensor:  # fmt: skip
    """Adds the routed part's key and value gradients to the float32 dk and dv, returns [B, H, Lq, D] query gradients of
    both parts. Heads and batch rows go through in the groups of the plans."""
    from moc.attention.triton.routed import sum_queries

    dq = torch.empty_like(q)
    own_dq = own_dq if own_dq.stride(-1) == 1 else own_dq.contiguous()
    bits = torch.are_deterministic_algorithms_enabled()
    for where, plan in plans.parts:
        chosen = indices[where].contiguous()
        dlse_part = None if dlse is None else dlse[where]
        part, dk_part, dv_part = links_backward(
            q[where], k[where], v[where], dout[where], out[where], lse[where], dlse_part, plan.slots, plan.edges,
            chosen.shape[-1], layout, scale, deterministic=bits,
        )  # fmt: skip
        sum_queries(part, chosen, own_dq[where], dq[where])
        dk[where] += dk_part
        dv[where] += dv_part
    return dq


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
    return edges.int(), int(bounds.diff().max())

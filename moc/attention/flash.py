"""Both parts through FlashAttention-2 with ragged sequences, on CUDA in bfloat16 and float16.

Mandatory part: heads stay together, each (batch row, group) is a sequence. Routed part: heads fold into the batch,
each (batch row, head, chunk) is a sequence of gathered queries against keys that already lie side by side.
Partial results and gradients leave the kernel in the inputs' dtype and are summed in float32 by the callers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from moc.attention import varlen
from moc.attention.mandatory import Mandatory
from moc.attention.routed import Links
from moc.attention.varlen import Packing
from moc.layout import TokenLayout

_LINKS_AT_ONCE = 1 << 23  # bounds the gathered queries, not the result


def mandatory_forward(
    q_BHQD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, links: Mandatory, scale: float
) -> tuple[Tensor, Tensor]:
    """[B, H, Lq, D] outputs in the inputs' dtype and [B, H, Lq] float32 LSE of the mandatory part."""
    batch, heads, rows, _ = q_BHQD.shape
    outs, lses = [], []
    for part, packing in _batches(batch, links):
        q, k, v = _packed(q_BHQD[part]), _packed(k_BHLD[part], links.key_index), _packed(v_BHLD[part], links.key_index)
        out, lse = varlen.forward(q, k, v, packing, scale)
        outs.append(out.view(-1, rows, heads, out.shape[-1]))
        lses.append(lse.view(heads, -1, rows))
    return _joined(outs).transpose(1, 2), _joined(lses, 1).transpose(0, 1)


def mandatory_backward(
    q_BHQD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    dout_BHQD: Tensor,
    out_BHQD: Tensor,
    lse_BHQ: Tensor,
    dlse_BHQ: Tensor | None,
    links: Mandatory,
    scale: float,
    dk_BHLD: Tensor,
    dv_BHLD: Tensor,
) -> Tensor:
    """Adds key and value gradients to the float32 tensors given, returns [B, H, Lq, D] query gradients."""
    batch, heads, rows, _ = q_BHQD.shape
    dqs = []
    for part, packing in _batches(batch, links):
        k, v = _packed(k_BHLD[part], links.key_index), _packed(v_BHLD[part], links.key_index)
        q, dout, out = _packed(q_BHQD[part]), _packed(dout_BHQD[part]), _packed(out_BHQD[part])
        lse = lse_BHQ[part].transpose(0, 1).reshape(heads, -1)
        dlse = None if dlse_BHQ is None else dlse_BHQ[part].transpose(0, 1).reshape(heads, -1)
        dq, dk, dv = varlen.backward(dout, q, k, v, out, lse, dlse, packing, scale)
        dqs.append(dq.reshape(-1, rows, heads, dq.shape[-1]))
        for total, packed in ((dk_BHLD, dk), (dv_BHLD, dv)):
            packed = packed.reshape(len(dqs[-1]), -1, heads, packed.shape[-1])
            total[part].index_add_(2, links.key_index, packed.transpose(1, 2).to(total.dtype))
    return _joined(dqs).transpose(1, 2)


def routed_forward(
    q_RD: Tensor, k_KD: Tensor, v_KD: Tensor, links: Links, layout: TokenLayout, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of every link to its chunk alone; see `tiles.forward` for the shapes of what comes back."""
    count = len(links.slots)
    out = torch.empty(count + 1, q_RD.shape[1], dtype=q_RD.dtype, device=q_RD.device)
    lse = torch.empty(count + 1, dtype=torch.float32, device=q_RD.device)
    out[-1], lse[-1] = 0, -torch.inf
    rows = links.rows
    for slab in _slabs(links, layout):
        q = q_RD.index_select(0, rows[slab.links])[:, None]
        block, block_lse = varlen.forward(q, k_KD[slab.keys, None], v_KD[slab.keys, None], slab.packing, scale)
        out[slab.links], lse[slab.links] = block[:, 0], block_lse[0]
    return out, lse, _place_of_slots(links)


def routed_backward(
    q_RD: Tensor,
    k_KD: Tensor,
    v_KD: Tensor,
    dout_RD: Tensor,
    out_RD: Tensor,
    lse_R: Tensor,
    dlse_R: Tensor | None,
    links: Links,
    layout: TokenLayout,
    scale: float,
    dk_KD: Tensor,
    dv_KD: Tensor,
) -> tuple[Tensor, Tensor]:
    """Adds key and value gradients to the float32 tensors given; returns [T + 1, D] query gradients of the links, the
    last one zero, and the [B H Lq W] link of each slot."""
    dq = torch.empty(len(links.slots) + 1, q_RD.shape[1], dtype=q_RD.dtype, device=q_RD.device)
    dq[-1] = 0
    rows = links.rows
    for slab in _slabs(links, layout):
        row = rows[slab.links]
        q, dout, out = (x.index_select(0, row)[:, None] for x in (q_RD, dout_RD, out_RD))
        dlse = None if dlse_R is None else dlse_R[row][None]
        k, v = k_KD[slab.keys, None], v_KD[slab.keys, None]
        dq_links, dk, dv = varlen.backward(dout, q, k, v, out, lse_R[row][None], dlse, slab.packing, scale)
        dq[slab.links] = dq_links[:, 0]
        # The kernel may leave keys that nobody picked unwritten.
        keys = slab.packing.k_edges.diff()
        unread = (slab.packing.q_edges.diff() == 0).repeat_interleave(keys, output_size=len(k))[:, None]
        dk_KD[slab.keys] += dk[:, 0].masked_fill(unread, 0)
        dv_KD[slab.keys] += dv[:, 0].masked_fill(unread, 0)
    return dq, _place_of_slots(links)


@dataclass(frozen=True)
class _Slab:
    """Neighbouring groups that run in one call: their links, their key rows in [B H L], and where each starts."""

    links: slice
    keys: slice
    packing: Packing


def _slabs(links: Links, layout: TokenLayout) -> Iterator[_Slab]:
    edges = links.edges.cpu()
    groups, chunks = len(edges) - 1, layout.num_chunks
    chunk_edges = layout.chunk_edges()
    longest = max(b - a for a, b in pairwise(chunk_edges))
    bounds = layout.to(links.edges.device).chunk_bounds
    heads = torch.arange(groups // chunks, device=bounds.device)[:, None] * layout.length
    k_edges = torch.cat([(heads + bounds[:-1]).flatten(), bounds.new_full((1,), groups // chunks * layout.length)])
    first = 0
    while first < groups:
        full = int(torch.searchsorted(edges, edges[first] + _LINKS_AT_ONCE, right=True)) - 1
        last = min(groups, first + varlen.MAX_SEQUENCES, max(full, first + 1))
        if edges[last] > edges[first]:
            keys = slice(*(g // chunks * layout.length + chunk_edges[g % chunks] for g in (first, last)))
            packing = Packing(
                q_edges=(links.edges[first : last + 1] - links.edges[first]).int(),
                k_edges=(k_edges[first : last + 1] - keys.start).int(),
                max_q=int(edges[first : last + 1].diff().max()),
                max_k=longest,
            )
            yield _Slab(slice(int(edges[first]), int(edges[last])), keys, packing)
        first = last


def _place_of_slots(links: Links) -> Tensor:
    """[B H Lq W] link of each slot, the one past the last where there is none."""
    place = torch.full((links.num_slots,), len(links.slots), device=links.slots.device)
    return place.index_copy_(0, links.slots, torch.arange(len(links.slots), device=place.device))


def _batches(batch: int, links: Mandatory) -> Iterator[tuple[slice, Packing]]:
    """Batch rows that fit one call, and the packing of their groups."""
    step = max(1, varlen.MAX_SEQUENCES // max(1, len(links.groups)))
    max_q = max((g.q_stop - g.q_start for g in links.groups), default=0)
    max_k = max((g.num_keys for g in links.groups), default=0)
    for a in range(0, batch, step):
        b = min(a + step, batch)
        edges = [_repeat(e, b - a).int() for e in (links.q_edges, links.k_edges)]
        yield slice(a, b), Packing(edges[0], edges[1], max_q, max_k)


def _repeat(edges: Tensor, times: int) -> Tensor:
    """[G + 1] edges of one batch row -> [times G + 1] of several."""
    shift = torch.arange(times, device=edges.device)[:, None] * edges[-1]
    return torch.cat([edges[:1], (shift + edges[1:]).flatten()])


def _joined(parts: list[Tensor], dim: int = 0) -> Tensor:
    """One tensor of all parts; a single one as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _packed(x_BHLD: Tensor, index: Tensor | None = None) -> Tensor:
    """[B, H, L, D] -> [B L, H, D], or the rows of `index` alone."""
    x_BLHD = x_BHLD.transpose(1, 2)
    if index is not None:
        x_BLHD = x_BLHD.index_select(1, index)
    return x_BLHD.reshape(-1, *x_BLHD.shape[2:])

"""Both parts through dense kernels, on CUDA in bfloat16 and float16.

Mandatory part: heads stay together, each (batch row, group) is a sequence. Without text, queries and keys are views of
the stream: a plain batch where groups are equal, else ragged sequences; with text, each group's keys are gathered, text
included, so that the text costs no partial result of its own. Routed part: heads fold into the batch,
each (batch row, head, chunk) is a sequence of gathered queries against keys that already lie side by side.
Partial results and gradients leave the kernel in the inputs' dtype and are summed in float32 by the callers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from moc.attention import dense, varlen
from moc.attention.mandatory import Mandatory
from moc.attention.probes import own_kernel
from moc.attention.routed import Links
from moc.attention.varlen import Packing
from moc.layout import TokenLayout

_LINKS_AT_ONCE = 1 << 23  # bounds the gathered queries, not the result


def mandatory_forward(
    q_BHQD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, links: Mandatory, scale: float
) -> tuple[Tensor, Tensor]:
    """[B, H, Lq, D] outputs in the inputs' dtype and [B, H, Lq] float32 LSE of the mandatory part."""
    if links.slabs:
        parts = [_one_slab(q_BHQD[:, :, rows], k_BHLD, v_BHLD, slab, scale) for rows, slab in links.slabs]
        return _joined([out for out, _ in parts], 2), _joined([lse for _, lse in parts], 2)
    batch, heads, rows, _ = q_BHQD.shape
    kernel = own_kernel(q_BHQD, equal=True, run=rows // len(links.groups)) if links.equal else "fa2"
    if kernel != "fa2":
        keys = slice(*links.key_run) if links.key_run else slice(None)
        runs = [_runs(x, links) for x in (q_BHQD, k_BHLD[:, :, keys], v_BHLD[:, :, keys])]
        out, lse = dense.KERNELS[kernel].forward(runs[0], runs[1], runs[2], scale)
        return _stream(out, batch), _stream(lse, batch)
    outs, lses = [], []
    for part, packing in _batches(batch, links):
        q, k, v = _packed(q_BHQD[part]), _keys(k_BHLD[part], links), _keys(v_BHLD[part], links)
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
    if links.slabs:
        dqs = []
        for at, slab in links.slabs:
            q, dout, out, lse = (x[:, :, at] for x in (q_BHQD, dout_BHQD, out_BHQD, lse_BHQ))
            dlse = None if dlse_BHQ is None else dlse_BHQ[:, :, at]
            dqs.append(_one_slab_backward(q, dout, out, lse, dlse, k_BHLD, v_BHLD, slab, scale, dk_BHLD, dv_BHLD))
        return _joined(dqs, 2)
    batch, heads, rows, _ = q_BHQD.shape
    kernel = _backward_kernel(q_BHQD, links, dlse_BHQ is not None)
    if kernel != "fa2":
        keys = slice(*links.key_run) if links.key_run else slice(None)
        dout, q, out, lse = (_runs(x, links) for x in (dout_BHQD, q_BHQD, out_BHQD, lse_BHQ))
        k, v = (_runs(x[:, :, keys], links) for x in (k_BHLD, v_BHLD))
        dlse = None if dlse_BHQ is None else _runs(dlse_BHQ, links)
        dq, dk, dv = dense.KERNELS[kernel].backward(
            dout, q, k, v, out, lse, dlse, scale, torch.are_deterministic_algorithms_enabled()
        )
        dk_BHLD[:, :, keys] += _stream(dk, batch)
        dv_BHLD[:, :, keys] += _stream(dv, batch)
        return _stream(dq, batch)
    dqs = []
    for part, packing in _batches(batch, links):
        k, v = _keys(k_BHLD[part], links), _keys(v_BHLD[part], links)
        q, dout, out = _packed(q_BHQD[part]), _packed(dout_BHQD[part]), _packed(out_BHQD[part])
        lse = lse_BHQ[part].transpose(0, 1).reshape(heads, -1)
        dlse = None if dlse_BHQ is None else dlse_BHQ[part].transpose(0, 1).reshape(heads, -1)
        dq, dk, dv = varlen.backward(dout, q, k, v, out, lse, dlse, packing, scale)
        dqs.append(dq.reshape(-1, rows, heads, dq.shape[-1]))
        for total, packed in ((dk_BHLD, dk), (dv_BHLD, dv)):
            packed = packed.reshape(len(dqs[-1]), -1, heads, packed.shape[-1]).transpose(1, 2)
            if links.key_run:
                total[part][:, :, slice(*links.key_run)] += packed
            else:
                _bring_home(total[part], packed, links)
    return _joined(dqs).transpose(1, 2)


def _bring_home(total_BHLD: Tensor, packed_BHPD: Tensor, links: Mandatory) -> None:
    """Adds the gradients of packed keys to the rows that they are copies of. Where few tables say which those are,
    every row is written once, in order: less to move than `index_add_`, and no atomics."""
    if links.homes is None:
        total_BHLD.index_add_(2, links.key_index, packed_BHPD.to(total_BHLD.dtype))
        return
    for home in links.homes:
        copies = packed_BHPD.index_select(2, home.packed.flatten()).unflatten(2, home.packed.shape)
        once = len(home.packed) == 1
        total_BHLD[:, :, home.rows] += copies[:, :, 0] if once else copies.sum(2, dtype=total_BHLD.dtype)


def _one_slab(q: Tensor, k: Tensor, v: Tensor, links: Mandatory, scale: float) -> tuple[Tensor, Tensor]:
    """The part of `mandatory_forward` of one slab; a single group, which may attend all keys, runs as a plain batch."""
    kernel = own_kernel(q, equal=True, run=q.shape[2]) if len(links.groups) == 1 and not links.equal else "fa2"
    if kernel == "fa2":
        return mandatory_forward(q, k, v, links, scale)
    keys, values = (x.index_select(2, links.key_index) for x in (k, v))
    return dense.KERNELS[kernel].forward(q, keys, values, scale)


def _one_slab_backward(
    q: Tensor, dout: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, k: Tensor, v: Tensor, links: Mandatory,
    scale: float, dk_BHLD: Tensor, dv_BHLD: Tensor,
) -> Tensor:  # fmt: skip
    """The part of `mandatory_backward` of one slab."""
    stable = torch.are_deterministic_algorithms_enabled()
    kernel = "fa2"
    if len(links.groups) == 1 and not links.equal:
        kernel = own_kernel(q, equal=True, run=q.shape[2], backward=True, deterministic=stable, lse=dlse is not None)
    if kernel == "fa2":
        return mandatory_backward(q, k, v, dout, out, lse, dlse, links, scale, dk_BHLD, dv_BHLD)
    keys, values = (x.index_select(2, links.key_index) for x in (k, v))
    dq, dk, dv = dense.KERNELS[kernel].backward(dout, q, keys, values, out, lse, dlse, scale, stable)
    at = 0
    for a, b in links.groups[0].keys:
        dk_BHLD[:, :, a:b] += dk[:, :, at : at + b - a]
        dv_BHLD[:, :, a:b] += dv[:, :, at : at + b - a]
        at += b - a
    return dq


def _backward_kernel(q: Tensor, links: Mandatory, lse: bool) -> str:
    if not links.equal:
        return "fa2"
    stable = torch.are_deterministic_algorithms_enabled()
    run = q.shape[2] // len(links.groups)
    return own_kernel(q, equal=True, run=run, backward=True, deterministic=stable, lse=lse)


def _runs(x: Tensor, links: Mandatory) -> Tensor:
    """[B, H, L] + rest -> [B G, H, L / G] + rest for G equal groups; a view for one batch row and for tensors whose
    heads lie inside the length."""
    return x.unflatten(2, (len(links.groups), -1)).transpose(1, 2).flatten(0, 1)


def _stream(x: Tensor, batch: int) -> Tensor:
    """The way back of `_runs`."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)


def routed_forward(
    q_RD: Tensor, k_KD: Tensor, v_KD: Tensor, links: Links, layout: TokenLayout, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of every link to its chunk alone; what comes back is shaped as that of `tiles.forward`, without the
    tops: outputs are weighted means of the values."""
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


def _batches(batch: int, links: Mandatory) -> list[tuple[slice, Packing]]:
    """Batch rows that fit one call, and the packing of their groups; made once."""
    if batch not in links.notes:
        step = max(1, varlen.MAX_SEQUENCES // max(1, len(links.groups)))
        max_q = links.longest_run
        max_k = max((g.num_keys for g in links.groups), default=0)
        parts = []
        for a in range(0, batch, step):
            b = min(a + step, batch)
            edges = [_repeat(e, b - a).int() for e in (links.q_edges, links.k_edges)]
            parts.append((slice(a, b), Packing(edges[0], edges[1], max_q, max_k)))
        links.notes[batch] = parts
    parts_of_batch: list[tuple[slice, Packing]] = links.notes[batch]
    return parts_of_batch


def _repeat(edges: Tensor, times: int) -> Tensor:
    """[G + 1] edges of one batch row -> [times G + 1] of several."""
    shift = torch.arange(times, device=edges.device)[:, None] * edges[-1]
    return torch.cat([edges[:1], (shift + edges[1:]).flatten()])


def _joined(parts: list[Tensor], dim: int = 0) -> Tensor:
    """One tensor of all parts; a single one as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _keys(x_BHLD: Tensor, links: Mandatory) -> Tensor:
    """[B, H, L, D] -> [B P, H, D] packed keys of the groups; gathered only where they don't lie in one run."""
    if links.key_run:
        return _packed(x_BHLD[:, :, slice(*links.key_run)])
    return _packed(x_BHLD, links.key_index)


def _packed(x_BHLD: Tensor, index: Tensor | None = None) -> Tensor:
    """[B, H, L, D] -> [B L, H, D], or the rows of `index` alone."""
    x_BLHD = x_BHLD.transpose(1, 2)
    if index is not None:
        x_BLHD = x_BLHD.index_select(1, index)
    return x_BLHD.reshape(-1, *x_BLHD.shape[2:])

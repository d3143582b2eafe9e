"""Attention of the mandatory and the routed part in plain torch: any device, forward and backward.

Each part is computed on its own and the two merge by their log-sum-exps into one softmax. The backward pass hands
the final output and log-sum-exp to every part: with P = exp(s - LSE) a part's weights are shares of the whole
softmax, and its gradients simply add up. On CUDA in half precision both parts run on FlashAttention-2, elsewhere on
matrix products. Memory is linear in length: links times head width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from moc.attention import flash, runs, tiles, varlen
from moc.attention.call import Call, differentiable_once
from moc.attention.mandatory import Mandatory, mandatory
from moc.attention.routed import Links, group_links
from moc.attention.varlen import deterministic_algorithms
from moc.config import MoCConfig
from moc.layout import TokenLayout

_ROWS_AT_ONCE = {"cpu": 1 << 14}
_ROWS_AT_ONCE_ELSEWHERE = 1 << 22


def attend_portable(
    q_BHQD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    indices: Tensor | None,
    config: MoCConfig,
    q_range: tuple[int, int],
    scale: float | None = None,
    *,
    deterministic: bool = False,
    matmul: bool = False,
) -> tuple[Tensor, Tensor]:
    """One softmax over everything that a query attends.

    Args:
        q_BHQD: [B, H, Lq, D]; k_BHLD, v_BHLD: [B, H, L, D].
        indices: [B, H, Lq, W] routes, None for none.
        deterministic: makes the backward pass bit-stable on CUDA too.
        matmul: keeps to matrix products where FlashAttention-2 would do, as a check on it.

    Returns:
        [B, H, Lq, D] outputs in the queries' dtype and their [B, H, Lq] natural-log LSE; both carry gradients.
    """
    if indices is not None and indices.shape[-1] == 0:
        indices = None
    call = Call.of(q_BHQD, layout, config, q_range, scale, deterministic)
    return _Attend.apply(q_BHQD, k_BHLD, v_BHLD, indices, call, matmul)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, indices: Tensor | None, call: Call, matmul: bool
    ) -> tuple[Tensor, Tensor]:
        out, lse, links = forward(q, k, v, indices, call, matmul=matmul)
        saved = [] if links is None else [links.slots.int() if links.num_slots < 1 << 31 else links.slots, links.edges]
        ctx.save_for_backward(q, k, v, out, lse, *saved)
        ctx.links = None if links is None else (links.width, links.num_slots)
        ctx.call, ctx.matmul = call, matmul
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, *saved = ctx.saved_tensors
        links = Links(saved[0].long(), saved[1], *ctx.links) if saved else None
        return *backward(dout, dlse, q, k, v, out, lse, links, ctx.call, matmul=ctx.matmul), None, None, None


def forward(
    q: Tensor, k: Tensor, v: Tensor, indices: Tensor | None, call: Call, *, matmul: bool = False
) -> tuple[Tensor, Tensor, Links | None]:
    """The forward pass alone: output, log-sum-exp, and the links for the backward pass."""
    own = mandatory(call.layout, call.config, call.q_range, q.device)
    fused = _fused(q, own, matmul)
    with torch.autocast(q.device.type, enabled=False):
        if fused and own.groups:
            out, lse = flash.mandatory_forward(q, k, v, own, call.scale)
        else:
            out, lse = runs.forward(q, k, v, own, call.q_range[0], call.scale)
        links = links_of(indices, call)
        if links is not None and len(links.slots):
            q_rows, k_rows, v_rows = _rows(q), _rows(k), _rows(v)
            if fused:
                parts, parts_lse, place = flash.routed_forward(q_rows, k_rows, v_rows, links, call.layout, call.scale)
                unit = None
            else:
                tiling = tiles.tile(links)
                parts, parts_lse, unit, place = tiles.forward(
                    q_rows, k_rows, v_rows, links, tiling, call.layout, call.scale
                )
            out_rows, lse_rows = _merge(_rows(out), lse.reshape(-1), parts, parts_lse, unit, place, q.dtype)
            out, lse = out_rows.view(q.shape), lse_rows.view(q.shape[:3])
        return out.to(q.dtype), lse.contiguous(), links


def links_of(indices: Tensor | None, call: Call) -> Links | None:
    """The links that `forward` gave, made anew for a backward pass without them."""
    return None if indices is None else group_links(indices, call.layout.num_chunks)


def backward(
    dout: Tensor | None,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    links: Links | None,
    call: Call,
    *,
    matmul: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv from the gradients of output and log-sum-exp, None for none, and what the forward pass gave."""
    links = links if links is not None and len(links.slots) else None
    dout = torch.zeros_like(out) if dout is None else dout
    with torch.autocast(q.device.type, enabled=False), deterministic_algorithms(call.deterministic and q.is_cuda):
        dq, dk, dv = _gradients(dout, dlse, q, k, v, out, lse, links, call, matmul)
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def _fused(q: Tensor, own: Mandatory, matmul: bool) -> bool:
    return varlen.supported(q) and not matmul and len(own.groups) <= varlen.MAX_SEQUENCES


def _gradients(
    dout: Tensor,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    links: Links | None,
    call: Call,
    matmul: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv in the working dtype."""
    layout, scale = call.layout, call.scale
    own = mandatory(layout, call.config, call.q_range, q.device)
    wide = torch.promote_types(q.dtype, torch.float32)
    dk, dv = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (k, v))
    # An extra value column carries dLSE, see `varlen.backward`; the widest heads leave it no room.
    fused = _fused(q, own, matmul) and own.groups and (dlse is None or q.shape[-1] < 256)
    if fused:
        dq = flash.mandatory_backward(q, k, v, dout, out, lse, dlse, own, scale, dk, dv)
    else:
        delta = (dout.to(wide) * out.to(wide)).sum(-1)
        delta = delta if dlse is None else delta - dlse
        dq = runs.backward(q, k, v, dout, lse, delta, own, call.q_range[0], scale, dk, dv)
    dq = dq.to(wide)
    if links is None:
        return dq, dk, dv
    inputs = _rows(q), _rows(k), _rows(v), _rows(dout)
    into = dk.view(-1, dk.shape[-1]), dv.view(-1, dv.shape[-1])
    if fused:
        flat = None if dlse is None else dlse.reshape(-1)
        routed = flash.routed_backward(*inputs, _rows(out), lse.view(-1), flat, links, layout, scale, *into)
    else:
        routed = tiles.backward(
            *inputs, lse.view(-1), delta.reshape(-1), links, tiles.tile(links), layout, scale, *into
        )
    return _add_slots(dq.reshape(-1, dq.shape[-1]), *routed).view(q.shape), dk, dv


def _merge(
    out_RD: Tensor,
    lse_R: Tensor,
    parts_PD: Tensor,
    parts_lse: Tensor,
    unit: Tensor | None,
    place: Tensor,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """One softmax from a mandatory result per row and W routed ones, slot after slot.

    Args:
        out_RD, lse_R: the mandatory part.
        parts_PD, parts_lse, unit: routed results, their log-sum-exps, and what they are in units of, as a logarithm:
            None for weighted means of values, whose unit is their log-sum-exp, `tiles.forward`'s tops for its sums.
        place: [R W] names those of each row, the last of them standing for none.

    Returns:
        [R, D] in `dtype`, and [R] log-sum-exp.
    """
    place = place.view(len(lse_R), -1)
    slots_lse = parts_lse[place]
    lse = torch.logsumexp(torch.cat([lse_R[:, None], slots_lse], 1), 1)
    own = (lse_R - lse).exp_()
    shares = (slots_lse if unit is None else unit[place]).sub_(lse[:, None]).exp_()
    if out_RD.device.type == "cpu" and parts_PD.dtype == shares.dtype == lse.dtype:  # a row's slots in one pass; W > 0
        total = F.embedding_bag(place, parts_PD, per_sample_weights=shares, mode="sum")
        return total.addcmul_(out_RD.to(lse.dtype), own[:, None]).to(dtype), lse
    merged = torch.empty_like(out_RD, dtype=dtype)
    for block in _row_blocks(out_RD):
        total = out_RD[block].to(lse.dtype) * own[block, None]
        for slot in range(place.shape[1]):
            total.addcmul_(parts_PD.index_select(0, place[block, slot]).to(lse.dtype), shares[block, slot, None])
        merged[block] = total
    return merged, lse


def _add_slots(dq_RD: Tensor, parts_PD: Tensor, place: Tensor) -> Tensor:
    """Adds the routed query gradients of each row's slots, in place."""
    place = place.view(len(dq_RD), -1)
    for block in _row_blocks(dq_RD):
        for slot in range(place.shape[1]):
            dq_RD[block] += parts_PD.index_select(0, place[block, slot])
    return dq_RD


def _row_blocks(x_RD: Tensor) -> list[slice]:
    step = _ROWS_AT_ONCE.get(x_RD.device.type, _ROWS_AT_ONCE_ELSEWHERE)
    return [slice(a, a + step) for a in range(0, len(x_RD), step)]


def _rows(x_BHLD: Tensor) -> Tensor:
    return x_BHLD.reshape(-1, x_BHLD.shape[-1])

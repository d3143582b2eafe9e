"""Routed attention on CUDA: launches of the kernels, forward and backward.

The own part (text and own shot) is somebody else's work and comes in as output and log-sum-exp; here the routed parts
are computed, merged with it into one softmax, and taken back. q, k and v may have any strides but the last.
"""

from __future__ import annotations

import math
import os
from itertools import pairwise

import torch
import triton
from torch import Tensor

from moc.attention.triton import kernels
from moc.attention.triton.plan import Plan, make_plan
from moc.layout import TokenLayout

INTERPRETING = os.environ.get("TRITON_INTERPRET", "0") == "1"
LOG2E = math.log2(math.e)
TILE = 64
ROWS = 16


def _keys_per_tile(layout: TokenLayout) -> int:
    """Short chunks waste less of a short tile."""
    longest = max(b - a for a, b in pairwise(layout.chunk_edges()))
    return 32 if longest <= 32 or 64 < longest <= 96 else 64


def _widths(x: Tensor) -> dict[str, int]:
    return {"D": x.shape[-1], "DP": max(16, triton.next_power_of_2(x.shape[-1]))}


def _strides(*tensors: Tensor) -> list[int]:
    return [s for x in tensors for s in x.stride()[:3]]


def _last_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def merged_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    own_out: Tensor,
    own_lse: Tensor,
    indices: Tensor,
    layout: TokenLayout,
    scale: float,
) -> tuple[Tensor, Tensor, Plan]:
    """One softmax over the own part and the routed chunks.

    Args:
        q: [B, H, Lq, D]; k, v: [B, H, L, D].
        own_out: [B, H, Lq, D] output of the own part; own_lse: [B, H, Lq] its natural-log LSE, float32, -inf for none.
        indices: [B, H, Lq, W] int32 routes.

    Returns:
        [B, H, Lq, D] output in q's dtype and strides, [B, H, Lq] float32 LSE, and the plan for the backward pass.
    """
    batch, heads, rows, width = q.shape
    links = indices.shape[-1]
    indices = indices.contiguous()
    plan = make_plan(indices, layout.num_chunks, TILE)
    part = torch.empty(indices.numel(), width, dtype=q.dtype, device=q.device)
    part_lse = torch.empty(indices.numel(), dtype=torch.float32, device=q.device)
    q, k, v, own_out = (_last_contiguous(x) for x in (q, k, v, own_out))
    bounds = layout.to(q.device).chunk_bounds
    kernels.forward_kernel[(len(plan.tile_group),)](
        q, k, v, part, part_lse, plan.slots, plan.edges, plan.tile_edges, plan.tile_group, bounds,
        *_strides(q, k, v), batch * heads * layout.num_chunks, layout.num_chunks, heads, links, rows, scale * LOG2E,
        **_widths(q), M=TILE, N=_keys_per_tile(layout), UPCAST=_upcast(q), num_warps=4, num_stages=2,
    )  # fmt: skip
    out = torch.empty_like(q)
    lse = torch.empty(batch, heads, rows, dtype=torch.float32, device=q.device)
    count = batch * heads * rows
    kernels.merge_kernel[(triton.cdiv(count, ROWS),)](
        part, part_lse, indices, own_out, own_lse.contiguous(), out, lse,
        *_strides(own_out, out), count, heads, rows, W=links, **_widths(q), R=ROWS, num_warps=4,
    )  # fmt: skip
    return out, lse, plan


def delta_of(out: Tensor, dout: Tensor, dlse: Tensor | None) -> Tensor:
    """rowsum(dO * O) - dLSE, [B, H, Lq] float32."""
    batch, heads, rows, _ = out.shape
    out, dout = _last_contiguous(out), _last_contiguous(dout)
    delta = torch.empty(batch, heads, rows, dtype=torch.float32, device=out.device)
    count = batch * heads * rows
    kernels.delta_kernel[(triton.cdiv(count, ROWS),)](
        out, dout, delta if dlse is None else dlse.float().contiguous(), delta, *_strides(out, dout),
        count, heads, rows,
        HAS_DLSE=dlse is not None, **_widths(out), R=ROWS, num_warps=4,
    )  # fmt: skip
    return delta


def dq_with_links(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, lse: Tensor, delta: Tensor, own_dq: Tensor, indices: Tensor,
    plan: Plan, layout: TokenLayout, scale: float,
) -> Tensor:  # fmt: skip
    """[B, H, Lq, D] query gradients in q's dtype: `own_dq` of the own part plus all links; LSE and delta are final."""
    batch, heads, rows, width = q.shape
    links, chunks = indices.shape[-1], layout.num_chunks
    indices = indices.contiguous()
    q, k, v, dout, own_dq = (_last_contiguous(x) for x in (q, k, v, dout, own_dq))
    part = torch.empty(indices.numel(), width, dtype=torch.float32, device=q.device)
    kernels.dq_kernel[(len(plan.tile_group),)](
        q, k, v, dout, lse, delta, part, plan.slots, plan.edges, plan.tile_edges, plan.tile_group,
        layout.to(q.device).chunk_bounds, *_strides(q, k, v, dout), batch * heads * chunks, chunks, heads, links, rows,
        scale * LOG2E, **_widths(q), M=TILE, N=_keys_per_tile(layout), UPCAST=_upcast(q), num_warps=4, num_stages=2,
    )  # fmt: skip
    dq = torch.empty_like(q)
    count = batch * heads * rows
    kernels.dq_sum_kernel[(triton.cdiv(count, ROWS),)](
        part, indices, own_dq, dq, *_strides(own_dq, dq), count, heads, rows,
        W=links, **_widths(q), R=ROWS, num_warps=4,
    )  # fmt: skip
    return dq


def key_gradients(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, lse: Tensor, delta: Tensor, indices: Tensor, plan: Plan,
    layout: TokenLayout, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """[B, H, L, D] float32 key and value gradients of the routed part, every element written."""
    batch, heads, rows, width = q.shape
    length, chunks = k.shape[2], layout.num_chunks
    q, k, v, dout = (_last_contiguous(x) for x in (q, k, v, dout))
    dk, dv = (torch.empty(batch, heads, length, width, dtype=torch.float32, device=q.device) for _ in range(2))
    longest, keys = max(b - a for a, b in pairwise(layout.chunk_edges())), _keys_per_tile(layout)
    kernels.dkdv_kernel[(batch * heads * chunks, triton.cdiv(longest, keys))](
        q, k, v, dout, lse, delta, dk, dv, plan.slots, plan.edges, layout.to(q.device).chunk_bounds,
        *_strides(q, k, v, dout), length, chunks, heads, indices.shape[-1], rows, scale * LOG2E,
        **_widths(q), M=TILE, N=keys, UPCAST=_upcast(q), num_warps=4, num_stages=2,
    )  # fmt: skip
    return dk, dv


def _upcast(x: Tensor) -> bool:
    return INTERPRETING or x.dtype == torch.float32

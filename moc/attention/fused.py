"""The CUDA backend: the own part on FlashAttention-2, the routed part and the merge in Triton.

Every part of the backward pass works with the final output and log-sum-exp, so gradients of the parts add up to those
of one softmax. Sums over parts are in float32 and rounded once; no atomics, so both passes are bit-stable as far as
FlashAttention-2 is (its backward is with `deterministic`).
"""

from __future__ import annotations

import importlib.util
import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from moc.attention import flash, varlen
from moc.attention.mandatory import mandatory
from moc.attention.portable import deterministic_algorithms
from moc.attention.triton.tiles import shared_memory
from moc.config import MoCConfig
from moc.layout import TokenLayout

BACKWARD_ROOM = 160 << 10  # bytes of shared memory that FlashAttention-2's backward pass takes for wide heads


@lru_cache(maxsize=1)
def _triton_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def refusal(q: Tensor, layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int]) -> str | None:
    """Why this backend can't take these inputs, in one sentence; None where it can."""
    if not q.is_cuda:
        return f'backend "triton" needs tensors on CUDA, got {q.device}'
    if not _triton_installed():
        return 'backend "triton" needs the package triton, which is not installed'
    if not varlen.supported(q):
        return (
            f'backend "triton" takes bfloat16 and float16 with head_dim a multiple of 8 up to 256, got {q.dtype} and '
            f"{q.shape[-1]}"
        )
    room = shared_memory(q.device)
    if q.shape[-1] > 192 and 0 < room < BACKWARD_ROOM and torch.is_grad_enabled() and q.requires_grad:
        return (
            f'backend "triton" needs {BACKWARD_ROOM >> 10} KiB of shared memory for gradients at head_dim above 192, '
            f"got head_dim {q.shape[-1]} and {room >> 10} KiB"
        )
    groups = len(mandatory(layout, config, q_range, q.device).groups)
    if not 0 < groups <= varlen.MAX_SEQUENCES:
        return f'backend "triton" takes 1 to {varlen.MAX_SEQUENCES} query groups, the range {q_range} has {groups}'
    return None


def attend_fused(
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
) -> tuple[Tensor, Tensor]:
    """One softmax over everything that a query attends; arguments and results as `attend_portable`."""
    scale = 1 / math.sqrt(q_BHQD.shape[-1]) if scale is None else scale
    if indices is not None and indices.shape[-1] == 0:
        indices = None
    return _Fused.apply(q_BHQD, k_BHLD, v_BHLD, indices, layout, config, q_range, scale, deterministic)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        indices: Tensor | None,
        layout: TokenLayout,
        config: MoCConfig,
        q_range: tuple[int, int],
        scale: float,
        deterministic: bool,
    ) -> tuple[Tensor, Tensor]:
        from moc.attention.triton.routed import merged_forward

        own = mandatory(layout, config, q_range, q.device)
        out, lse = flash.mandatory_forward(q, k, v, own, scale)
        plan = None
        if indices is not None:
            out, lse, plan = merged_forward(q, k, v, out, lse, indices, layout, scale)
        ctx.save_for_backward(q, k, v, out, lse, *(() if indices is None else (indices,)))
        ctx.plan = plan
        ctx.own, ctx.layout, ctx.scale, ctx.deterministic = own, layout, scale, deterministic
        ctx.set_materialize_grads(False)
        return out, lse.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Tensor | None, ...]:
        from moc.attention.triton.routed import delta_of, dq_with_links, key_gradients

        q, k, v, out, lse, *rest = ctx.saved_tensors
        dout = torch.zeros_like(out) if dout is None else dout
        with torch.autocast("cuda", enabled=False), deterministic_algorithms(ctx.deterministic):
            if rest:
                delta = delta_of(out, dout, dlse)
                dk, dv = key_gradients(q, k, v, dout, lse, delta, rest[0].shape[-1], ctx.plan, ctx.layout, ctx.scale)
            else:
                dk, dv = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (k, v))
            dq = flash.mandatory_backward(q, k, v, dout, out, lse, dlse, ctx.own, ctx.scale, dk, dv)
            if rest:
                dq = dq_with_links(q, k, v, dout, lse, delta, dq, rest[0], ctx.plan, ctx.layout, ctx.scale)
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), *([None] * 6)

"""The CUDA backend: the own part on FlashAttention-2, the routed part and the merge in Triton.

Every part of the backward pass works with the final output and log-sum-exp, so gradients of the parts add up to those
of one softmax. Sums over parts are in float32 and rounded once; no atomics, so both passes are bit-stable as far as
FlashAttention-2 is (its backward is with `deterministic`).
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from moc.attention import flash, runs, varlen
from moc.attention.call import Call, differentiable_once
from moc.attention.mandatory import Mandatory, mandatory
from moc.attention.portable import deterministic_algorithms
from moc.attention.triton.tiles import shared_memory
from moc.config import MoCConfig
from moc.layout import TokenLayout

if TYPE_CHECKING:
    from moc.attention.triton.routed import Plans

BACKWARD_ROOM = 160 << 10  # bytes of shared memory that FlashAttention-2's backward pass takes for wide heads
WIDEST_WITH_LSE = 248  # beyond it FlashAttention-2 has no column for a gradient of the LSE; plain products have


@lru_cache(maxsize=1)
def _triton_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def refusal(
    q: Tensor, layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int], gradients: bool | None = None
) -> str | None:
    """Why this backend can't take these inputs, in one sentence; None where it can.

    Args:
        gradients: whether gradients will be asked for; None reads it off the queries.
    """
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
    wide = q.shape[-1] > 192 and 0 < room < BACKWARD_ROOM
    if wide and (torch.is_grad_enabled() and q.requires_grad if gradients is None else gradients):
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
    if indices is not None and indices.shape[-1] == 0:
        indices = None
    return _Fused.apply(q_BHQD, k_BHLD, v_BHLD, indices, Call.of(q_BHQD, layout, config, q_range, scale, deterministic))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, indices: Tensor | None, call: Call) -> tuple[Tensor, Tensor]:
        out, lse, plans = forward(q, k, v, indices, call, keep_plans=any(ctx.needs_input_grad))
        # The plan's tensors are saved as tensors, so that checkpointing and offloading see them.
        tables, ctx.unpack = ([], None) if plans is None else plans.flat()
        ctx.save_for_backward(q, k, v, out, lse, indices, *tables)
        ctx.call = call
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, indices, *tables = ctx.saved_tensors
        plans = None if ctx.unpack is None else ctx.unpack(tables)
        return *backward(dout, dlse, q, k, v, out, lse, indices, plans, ctx.call), None, None


def forward(
    q: Tensor, k: Tensor, v: Tensor, indices: Tensor | None, call: Call, *, keep_plans: bool = False
) -> tuple[Tensor, Tensor, Plans | None]:
    """The forward pass alone: output, log-sum-exp, and the plans of the routed part for the backward pass, if kept."""
    from moc.attention.triton import routed

    out, lse = flash.mandatory_forward(q, k, v, _own(q, call), call.scale)
    if indices is None:
        return out, lse.contiguous(), None
    out, lse, plans = routed.merged_forward(q, k, v, out, lse, indices, call.layout, call.scale, keep=keep_plans)
    return out, lse, plans if keep_plans else None


def plans_of(indices: Tensor | None, q: Tensor, call: Call) -> Plans | None:
    """The plans that `forward` gave, made anew for a backward pass without them."""
    from moc.attention.triton.routed import backward_plans

    return None if indices is None else backward_plans(indices, call.layout, q.shape[-1])


def backward(
    dout: Tensor | None,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    indices: Tensor | None,
    plans: Plans | None,
    call: Call,
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk, dv from the gradients of output and log-sum-exp, None for none, and what the forward pass gave."""
    from moc.attention.triton.routed import delta_of, dq_with_links, key_gradients

    dout = torch.zeros_like(out) if dout is None else dout
    layout, scale = call.layout, call.scale
    with torch.autocast("cuda", enabled=False), deterministic_algorithms(call.deterministic):
        if indices is not None:
            assert plans is not None  # or the links' gradients would be missing without a word
            delta = delta_of(out, dout, dlse)
            dk, dv = key_gradients(q, k, v, dout, lse, delta, indices.shape[-1], plans, layout, scale)
        else:
            dk, dv = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (k, v))
        dq = _own_backward(q, k, v, dout, out, lse, dlse, call, dk, dv)
        if indices is not None and plans is not None:  # both or neither, as said above
            dq = dq_with_links(q, k, v, dout, lse, delta, dq, indices, plans, layout, scale)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def _own_backward(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, call: Call,
    dk: Tensor, dv: Tensor,
) -> Tensor:  # fmt: skip
    """Adds the own part's key and value gradients to dk and dv, returns its query gradients."""
    own = _own(q, call)
    if dlse is not None and q.shape[-1] > WIDEST_WITH_LSE:
        delta = (dout.float() * out.float()).sum(-1) - dlse
        return runs.backward(q, k, v, dout, lse, delta, own, call.q_range[0], call.scale, dk, dv)
    return flash.mandatory_backward(q, k, v, dout, out, lse, dlse, own, call.scale, dk, dv)


def _own(q: Tensor, call: Call) -> Mandatory:
    return mandatory(call.layout, call.config, call.q_range, q.device)

"""moc::attend with its gradient, and moc::allowed, the mask under which the reference backend is plain torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from moc.attention import checks, fused, portable, reference
from moc.attention.call import ONCE, Call, last_in_line
from moc.attention.ops.making import operator
from moc.config import MoCConfig
from moc.devices import on_device_of
from moc.handles import handle_for, layout_of
from moc.layout import TokenLayout
from moc.routing import resolve_range


def attend(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    indices: Tensor | None,
    config: MoCConfig,
    q_range: tuple[int, int] | None,
    scale: float | None,
    backend: str,
    deterministic: bool,
) -> tuple[Tensor, Tensor]:
    """`moc.attend` as an operator: [B, H, Lq, D] outputs in the memory layout of the queries, [B, H, Lq] LSE."""
    start, stop = (None, None) if q_range is None else q_range
    inputs = (q_BHLD, k_BHLD, v_BHLD)
    gradients = checks.wants_gradients(*inputs)
    out, lse = attend_op(
        *inputs,
        indices,
        handle_for(q_BHLD, layout),
        config.encoded,
        start,
        stop,
        scale,
        backend,
        deterministic,
        gradients,
    )
    return out, lse


@operator("attend")
def attend_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
    scale: float | None,
    backend: str,
    deterministic: bool,
    gradients: bool,
) -> tuple[Tensor, Tensor]:
    """Outputs and LSE; `gradients` says whether a backward pass will follow, which some kernels can't have."""
    call = _call(q, layout, config, start, stop, scale, deterministic)
    checks.check(q, k, v, call.layout, indices, call.config, call.q_range)
    kernel = checks.kernel_for(backend, q, call.layout, call.config, call.q_range, gradients)
    indices = None if indices is None or indices.shape[-1] == 0 else indices
    run = fused.forward if kernel == "triton" else portable.forward
    q_line, k_line, v_line = last_in_line(q, k, v)
    with on_device_of(q):
        out, lse, _ = run(q_line, k_line, v_line, indices, call)
    return _like(out, q), lse


@attend_op.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
    scale: float | None,
    backend: str,
    deterministic: bool,
    gradients: bool,
) -> tuple[Tensor, Tensor]:
    checks.check_tensors(q, k, v)
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.promote_types(q.dtype, torch.float32))


@operator("attend_backward")
def backward_op(
    dout: Tensor | None,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    indices: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
    scale: float | None,
    backend: str,
    deterministic: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values. Links are grouped anew: how many there are, no graph could know."""
    call = _call(q, layout, config, start, stop, scale, deterministic)
    kernel = checks.kernel_for(backend, q, call.layout, call.config, call.q_range, True)
    indices = None if indices is None or indices.shape[-1] == 0 else indices
    q_line, k, v, out = last_in_line(q, k, v, out)
    with on_device_of(q):
        if kernel == "triton":
            plans = fused.plans_of(indices, q, call)
            dq, dk, dv = fused.backward(dout, dlse, q_line, k, v, out, lse, indices, plans, call)
        else:
            links = portable.links_of(indices, call)
            dq, dk, dv = portable.backward(dout, dlse, q_line, k, v, out, lse, links, call)
    return _like(dq, q), dk.contiguous(), dv.contiguous()


@backward_op.register_fake
def _(
    dout: Tensor | None,
    dlse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    indices: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
    scale: float | None,
    backend: str,
    deterministic: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, indices, layout, *ctx.rest, _ = inputs
    ctx.save_for_backward(q, k, v, *output, indices, layout)
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Tensor | None, ...]:
    dq, dk, dv = backward_op(dout, dlse, *ctx.saved_tensors, *ctx.rest)
    return dq, dk, dv, *[None] * 9


def _refuse(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError(ONCE)


attend_op.register_autograd(_gradient, setup_context=_setup)
backward_op.register_autograd(_refuse)


def allowed(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    indices: Tensor | None,
    config: MoCConfig,
    q_range: tuple[int, int] | None,
) -> Tensor:
    """The mask of `moc.attention.reference` as an operator: [B, H, Lq, L] bool, [Lq, L] without routes."""
    start, stop = (None, None) if q_range is None else q_range
    inputs = (x.detach() for x in (q_BHLD, k_BHLD, v_BHLD))
    return allowed_op(*inputs, indices, handle_for(q_BHLD, layout), config.encoded, start, stop)


@operator("allowed")
def allowed_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
) -> Tensor:
    """Which keys each query attends; the values are there to be checked with the rest."""
    call = _call(q, layout, config, start, stop, None, False)
    checks.check(q, k, v, call.layout, indices, call.config, call.q_range)
    return reference.allowed(call.layout.to(q.device), indices, call.config, call.q_range)


@allowed_op.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
) -> Tensor:
    checks.check_tensors(q, k, v)
    shape = (*(() if indices is None else q.shape[:2]), q.shape[2], k.shape[2])
    return q.new_empty(shape, dtype=torch.bool)


def _call(
    q: Tensor, handle: Tensor, config: str, start: int | None, stop: int | None, scale: float | None, stable: bool
) -> Call:
    layout = layout_of(handle)
    q_range = resolve_range(layout, None if start is None or stop is None else (start, stop))
    return Call.of(q, layout, MoCConfig.decode(config), q_range, scale, stable)


def _like(x: Tensor, q: Tensor) -> Tensor:
    """`x` in the memory layout that the fake implementation promises: that of a new tensor like the queries."""
    promised = torch.empty_like(q, device="meta").stride()
    if x.stride() == promised:
        return x
    return torch.empty_strided(x.shape, promised, dtype=x.dtype, device=x.device).copy_(x)

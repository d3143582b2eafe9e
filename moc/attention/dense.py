"""Dense attention by every kernel that is really here, each under one signature, with output and log-sum-exp.

MoC attention takes its own part from here where shots are equal, and benchmarks take what MoC is held against:

    fa4    FlashAttention-4, package flash-attn-4          Hopper and newer
    fa3    FlashAttention-3, module flash_attn_interface   Hopper
    cudnn  cuDNN's, inside torch
    fa2    FlashAttention-2, inside torch
    sdpa   plain products in float32, torch's CPU kernel on a CPU: any device and dtype

`attend` is a differentiable function; `KERNELS` has the single passes. Every backward pass takes output and LSE as
arguments, so that they may belong to an attention of which the call is a part. Shapes are [B, H, L, D], any strides
but the last.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from moc.attention import fa4, runs, varlen
from moc.attention.call import differentiable_once
from moc.attention.mandatory import Group, Mandatory
from moc.attention.probes import LABELS, NAMES, Probe, probe

__all__ = ["KERNELS", "Kernel", "attend", "available", "best"]

Grads = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Kernel:
    """A dense kernel.

    Attributes:
        name: one of `NAMES`. label: its name in tables.
        forward: (q, k, v, scale) -> output [B, H, Lq, D], float32 LSE [B, H, Lq].
        backward: (dout, q, k, v, out, lse, dlse or None, scale, deterministic) -> dq, dk, dv.
    """

    name: str
    label: str
    forward: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, float, bool], Grads]


def attend(
    q_BHQD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    *,
    kernel: str = "auto",
    scale: float | None = None,
    return_lse: bool = False,
    deterministic: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Every query attends every key.

    Args:
        kernel: one of `NAMES`, or "auto" for the first of them that works here.
        scale: softmax scale, 1 / sqrt(D) when None.
        return_lse: also return the natural-log log-sum-exp, [B, H, Lq] in float32. Gradients flow through both.
        deterministic: asks for a bit-stable backward pass.

    Raises:
        ValueError: no kernel has that name.
        NotImplementedError: the kernel is not here or can't take these tensors; the sentence says why.
    """
    chosen = best(q_BHQD) if kernel == "auto" else _checked(kernel, q_BHQD)
    scale = 1 / math.sqrt(q_BHQD.shape[-1]) if scale is None else scale
    out, lse = _Dense.apply(q_BHQD, k_BHLD, v_BHLD, chosen, scale, deterministic)
    return (out, lse) if return_lse else out


def best(like: Tensor, *, backward: bool = False) -> Kernel:
    """The first of `NAMES` that works on tensors like this one."""
    return next(KERNELS[found.name] for found in available(like, backward=backward) if found.ok)


def available(like: Tensor, *, backward: bool = False) -> list[Probe]:
    """A probe of every kernel, in the order of `NAMES`."""
    return [probe(name, like, backward=backward) for name in NAMES]


def _checked(name: str, like: Tensor) -> Kernel:
    if name not in KERNELS:
        raise ValueError(f"kernel must be one of auto, {', '.join(NAMES)}, got {name!r}")
    found = probe(name, like)
    if not found.ok:
        raise NotImplementedError(f"{LABELS[name]} can't run here: {found.why}")
    return KERNELS[name]


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, scale: float, deterministic: bool
    ) -> tuple[Tensor, Tensor]:
        out, lse = kernel.forward(q, k, v, scale)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.kernel, ctx.scale, ctx.deterministic = kernel, scale, deterministic
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        dout = torch.zeros_like(out) if dout is None else dout
        with varlen.deterministic_algorithms(ctx.deterministic):
            grads = ctx.kernel.backward(dout, q, k, v, out, lse, dlse, ctx.scale, ctx.deterministic)
        return *grads, None, None, None


def _swapped(*tensors: Tensor) -> list[Tensor]:
    """[B, H, L, D] <-> [B, L, H, D], and a last dimension without gaps."""
    return [x.transpose(1, 2) if x.stride(-1) == 1 else x.transpose(1, 2).contiguous() for x in tensors]


def _only_cuda_halves(q: Tensor) -> None:
    if not varlen.supported(q):
        raise NotImplementedError(
            f"takes bfloat16 and float16 on CUDA with head_dim a multiple of 8 up to 256, got {q.dtype} on "
            f"{q.device.type} with {q.shape[-1]}"
        )


def _fa4_forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    _only_cuda_halves(q)
    q, k, v = _swapped(q, k, v)
    out, lse = fa4.forward(q, k, v, scale)
    return out.transpose(1, 2), lse


def _fa4_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, scale: float,
    deterministic: bool,
) -> Grads:  # fmt: skip
    dout, q, k, v, out = _swapped(dout, q, k, v, out)
    dq, dk, dv = _swapped(*fa4.backward(dout, q, k, v, out, lse, dlse, scale, deterministic=deterministic))
    return dq, dk, dv


@cache
def _fa3() -> Any:
    return import_module("flash_attn_interface")


def _called(function: Any, **given: Any) -> Any:
    """Calls a function whose signature changed from release to release: by name, None for what has no default."""
    parameters = inspect.signature(function).parameters.values()
    needed = {p.name: None for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    names = {p.name for p in parameters}
    return function(**(needed | {name: value for name, value in given.items() if name in names}))


def _fa3_forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    _only_cuda_halves(q)
    q, k, v = _swapped(q, k, v)
    result = _called(_fa3().flash_attn_func, q=q, k=k, v=v, softmax_scale=scale, return_attn_probs=True)
    if not isinstance(result, tuple):
        raise NotImplementedError("this release of FlashAttention-3 does not return the log-sum-exp")
    return result[0].transpose(1, 2), result[1]


def _fa3_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, scale: float,
    deterministic: bool,
) -> Grads:  # fmt: skip
    width = q.shape[-1]
    if dlse is not None:
        dout, q, k, v, out = varlen.with_lse_column(dout, q, k, v, out, dlse)
    dout, q, k, v, out = _swapped(dout, q, k, v, out)
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    _called(
        _fa3()._flash_attn_backward, dout=dout, q=q, k=k, v=v, out=out, softmax_lse=lse.contiguous(), dq=dq, dk=dk,
        dv=dv, softmax_scale=scale, is_causal=False, causal=False, deterministic=deterministic,
    )  # fmt: skip
    dq, dk, dv = (x.transpose(1, 2)[..., :width] for x in (dq, dk, dv))
    return dq, dk, dv


def _cudnn_forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    _only_cuda_halves(q)
    out, lse, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, scale=scale)
    return out, lse.reshape(q.shape[:3])


def _cudnn_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, scale: float,
    deterministic: bool,
) -> Grads:  # fmt: skip
    if dlse is not None or deterministic:
        raise NotImplementedError("cuDNN gives no gradient of the log-sum-exp and no bit-stable backward pass here")
    state = torch.zeros((), dtype=torch.int64, device=q.device)  # of dropout, which is off
    grads: Grads = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        dout, q, k, v, out, lse.contiguous()[..., None], state, state, None, None, None, q.shape[2], k.shape[2], 0.0,
        False, scale=scale,
    )  # fmt: skip
    return grads


def _fa2_forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    _only_cuda_halves(q)
    rows, keys = q.shape[2], k.shape[2]
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        *_swapped(q, k, v), None, None, rows, keys, 0.0, False, False, scale=scale
    )
    return out.transpose(1, 2), lse


def _fa2_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, scale: float,
    deterministic: bool,
) -> Grads:  # fmt: skip
    width, rows, keys = q.shape[-1], q.shape[2], k.shape[2]
    if dlse is not None:
        dout, q, k, v, out = varlen.with_lse_column(dout, q, k, v, out, dlse)
    state = torch.zeros(2, dtype=torch.uint64, device=q.device)  # of dropout, which is off
    grads = torch.ops.aten._flash_attention_backward(
        *_swapped(dout, q, k, v, out), lse.contiguous(), None, None, rows, keys, 0.0, False, state,
        torch.empty(0, device=q.device), scale=scale,
    )  # fmt: skip
    dq, dk, dv = (x.transpose(1, 2)[..., :width] for x in grads)
    return dq, dk, dv


def _everything(q: Tensor, k: Tensor) -> Mandatory:
    return Mandatory((Group(0, q.shape[2], ((0, k.shape[2]),)),), q.device)


def _plain_forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    if not q.numel() or not k.numel():  # torch's CPU kernel ends the process there
        return torch.zeros_like(q), torch.full(q.shape[:3], -torch.inf, device=q.device)
    out, lse = runs.forward(q, k, v, _everything(q, k), 0, scale)
    return out.to(q.dtype), lse


def _plain_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, scale: float,
    deterministic: bool,
) -> Grads:  # fmt: skip
    if not q.numel() or not k.numel():
        return torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    wide = torch.promote_types(q.dtype, torch.float32)
    delta = (dout.to(wide) * out.to(wide)).sum(-1)
    if dlse is not None:
        delta = delta - dlse
    dk, dv = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (k, v))
    dq = runs.backward(q, k, v, dout, lse, delta, _everything(q, k), 0, scale, dk, dv)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


_PASSES = {
    "fa4": (_fa4_forward, _fa4_backward),
    "fa3": (_fa3_forward, _fa3_backward),
    "cudnn": (_cudnn_forward, _cudnn_backward),
    "fa2": (_fa2_forward, _fa2_backward),
    "sdpa": (_plain_forward, _plain_backward),
}

KERNELS = {name: Kernel(name, LABELS[name], *_PASSES[name]) for name in NAMES}
"""Every kernel by name, here or not."""

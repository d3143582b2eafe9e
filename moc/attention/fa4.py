"""Calls of FlashAttention-4 (`flash-attn-4`, module flash_attn.cute), whole or ragged, forward and backward.

The forward pass is the package's public function. The backward pass is the function beneath it, the only one that
takes output and log-sum-exp of an attention of which this call is a part; it folds a gradient of the log-sum-exp into
rowsum(dO O) - dLSE itself. Written against version 4.0.0b36. Tensors may have any strides that are multiples of 16
bytes; the last one is 1.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from moc.attention.varlen import Packing


@cache
def _interface() -> Any:
    return import_module("flash_attn.cute.interface")


def forward(q: Tensor, k: Tensor, v: Tensor, scale: float, packing: Packing | None = None) -> tuple[Tensor, Tensor]:
    """Attention of [B, L, H, D] tensors (length before heads), or of [T, H, D] ones with a packing.

    Returns:
        Output in the shape of `q`, and [B, H, L] or [H, T] float32 natural-log LSE.

    Raises:
        ImportError: the package is missing.
    """
    if packing is None:
        out, lse, *_ = _interface().flash_attn_func(q, k, v, softmax_scale=scale, return_lse=True)
    else:
        out, lse, *_ = _interface().flash_attn_varlen_func(
            q, k, v, softmax_scale=scale, return_lse=True, **_edges(packing)
        )
    return out, lse


def backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    dlse: Tensor | None,
    scale: float,
    packing: Packing | None = None,
    *,
    deterministic: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values, given the final output and log-sum-exp; shapes as in `forward`."""
    dq, dk, dv, *_ = _interface()._flash_attn_bwd(
        q,
        k,
        v,
        out,
        dout,
        lse.contiguous(),
        softmax_scale=scale,
        deterministic=deterministic,
        dlse=None if dlse is None else dlse.float().contiguous(),
        **({} if packing is None else _edges(packing)),
    )
    return dq, dk, dv


def _edges(packing: Packing) -> dict[str, Any]:
    return {
        "cu_seqlens_q": packing.q_edges,
        "cu_seqlens_k": packing.k_edges,
        "max_seqlen_q": packing.max_q,
        "max_seqlen_k": packing.max_k,
    }

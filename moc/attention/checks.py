"""What `attend` refuses, in one sentence and before any work, and which backend takes a call."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from moc.attention import fused
from moc.config import MoCConfig
from moc.layout import TokenLayout
from moc.routing import MOST_HEADS, refuse_grouped

BACKENDS = ("auto", "reference", "portable", "triton")
"""What `backend` may be; "auto" takes the fastest one that is exact on the inputs' device."""

MOST_CHUNKS = 262_142  # of a plan of the Triton kernels, whose sort keys are 32 bits wide

Backend = Literal["auto", "reference", "portable", "triton"]


def check_backend(backend: str) -> None:
    """Raises ValueError for a name that no backend has."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")


def check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    """What queries, keys and values alone tell.

    Raises:
        ValueError: a shape, dtype or device is none that any backend takes.
    """
    for name, x in (("queries", q), ("keys", k), ("values", v)):
        if x.ndim != 4:
            raise ValueError(f"{name} must be [batch, heads, length, head_dim], got {list(x.shape)}")
        if not x.is_floating_point() or x.dtype.itemsize < 2:
            raise ValueError(f"{name} must be bfloat16, float16, float32 or float64, got {x.dtype}")
        if x.dtype != q.dtype or x.device != q.device:
            raise ValueError(f"{name} are {x.dtype} on {x.device}, the queries {q.dtype} on {q.device}")
    if 0 in (q.shape[0], q.shape[1], q.shape[3]):
        raise ValueError(f"queries must hold at least one batch row, head and channel, got {list(q.shape)}")
    refuse_grouped(q, k)


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: TokenLayout,
    indices: Tensor | None,
    config: MoCConfig,
    q_range: tuple[int, int],
) -> None:
    """What no backend can do.

    Raises:
        ValueError: the inputs don't fit together; the sentence gives both values.
    """
    check_tensors(q, k, v)
    batch, heads, _, width = q.shape
    rows = q_range[1] - q_range[0]
    if q.shape[2] != rows:
        raise ValueError(f"queries must be {[batch, heads, rows, width]} for rows {q_range[0]}:{q_range[1]}, got "
                         f"{list(q.shape)}")  # fmt: skip
    for name, x in (("keys", k), ("values", v)):
        if x.shape != (batch, heads, layout.length, width):
            raise ValueError(f"{name} must be {[batch, heads, layout.length, width]}, got {list(x.shape)}")
    if config.chunk_tokens != layout.chunk_tokens:
        raise ValueError(
            f"the layout is cut into chunks of {layout.chunk_tokens}, the config asks for {config.chunk_tokens}"
        )
    if indices is None:
        return
    fits = indices.ndim == 4 and indices.shape[:3] == q.shape[:3]
    if not fits or indices.dtype != torch.int32 or indices.device != q.device:
        raise ValueError(
            f"routing must be int32 {[batch, heads, rows]} + [width] on {q.device}, got {indices.dtype} "
            f"{list(indices.shape)} on {indices.device}"
        )
    # on a GPU the look would wait for the queue; routes of `route` need none
    if indices.numel() and not indices.is_cuda and int(indices.max()) >= layout.num_chunks:
        raise ValueError(f"routing names chunk {int(indices.max())}, the layout has {layout.num_chunks}")


def wants_gradients(*inputs: Tensor) -> bool:
    """Whether a backward pass may follow a call on these tensors."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs)


def kernel_for(
    backend: str, q: Tensor, layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int], gradients: bool
) -> str:
    """The backend that takes a call, "auto" resolved.

    Args:
        gradients: whether a backward pass may follow.

    Raises:
        NotImplementedError: the backend asked for can't take it.
    """
    if backend not in ("auto", "triton"):
        return backend
    refused = fused.refusal(q, layout, config, q_range, gradients)
    heads, chunks = q.shape[0] * q.shape[1], layout.num_chunks
    if refused is None and (heads > MOST_HEADS or chunks > MOST_CHUNKS):
        refused = (
            f'backend "triton" takes up to {MOST_HEADS} heads of all batch rows and {MOST_CHUNKS} chunks, got {heads} '
            f"and {chunks}"
        )
    if refused is None:
        return "triton"
    if backend == "triton":
        raise NotImplementedError(refused)
    return "portable"

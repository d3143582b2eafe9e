"""attend(): one softmax over text, own shot and routed chunks. The one door to every backend."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from moc.attention import fused
from moc.attention.portable import attend_portable
from moc.attention.reference import attend_reference
from moc.config import MoCConfig
from moc.layout import TokenLayout
from moc.routing import Routing, resolve_range, route

__all__ = ["BACKENDS", "attend", "moc_attention"]

BACKENDS = ("auto", "reference", "portable", "triton")
"""What `backend` may be; "auto" takes the fastest one that is exact on the inputs' device."""

Backend = Literal["auto", "reference", "portable", "triton"]


@overload
def attend(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    routing: Routing | None,
    config: MoCConfig,
    *,
    q_range: tuple[int, int] | None = ...,
    scale: float | None = ...,
    backend: Backend = ...,
    return_lse: Literal[False] = ...,
    deterministic: bool = ...,
) -> Tensor: ...


@overload
def attend(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    routing: Routing | None,
    config: MoCConfig,
    *,
    q_range: tuple[int, int] | None = ...,
    scale: float | None = ...,
    backend: Backend = ...,
    return_lse: Literal[True],
    deterministic: bool = ...,
) -> tuple[Tensor, Tensor]: ...


def attend(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    routing: Routing | None,
    config: MoCConfig,
    *,
    q_range: tuple[int, int] | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
    return_lse: bool = False,
    deterministic: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attends each query's mandatory links and routed chunks under one softmax (Eq. 2 of arXiv 2508.21058).

    Args:
        q_BHLD: [B, H, Lq, D] queries, the rows of `q_range`.
        k_BHLD: [B, H, L, D] keys of the whole stream.
        v_BHLD: [B, H, L, D] values of the whole stream.
        layout: layout of the stream.
        routing: routes of the same rows; None attends mandatory links alone.
        config: settings; `intra`, `window_chunks` and `text_links` decide the mandatory links.
        q_range: start:stop of the stream that the query rows stand for, the whole stream when None.
        scale: softmax scale, 1 / sqrt(D) when None.
        backend: one of `BACKENDS`.
        return_lse: also return the natural-log log-sum-exp of each query's scores.
        deterministic: makes the backward pass bit-stable on CUDA; the forward pass always is.

    Returns:
        [B, H, Lq, D] in the queries' dtype; with `return_lse` also [B, H, Lq] in float32 (float64 for float64
        inputs). Gradients flow through both.

    Raises:
        ValueError: shapes, dtypes, devices or settings don't fit together; the sentence gives both values.
        NotImplementedError: the backend can't do what is asked.
    """
    resolved = resolve_range(layout, q_range)
    _check(q_BHLD, k_BHLD, v_BHLD, layout, routing, resolved)
    if config.chunk_tokens != layout.chunk_tokens:
        raise ValueError(
            f"the layout is cut into chunks of {layout.chunk_tokens}, the config asks for {config.chunk_tokens}"
        )
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    indices = None if routing is None else routing.indices
    refused = fused.refusal(q_BHLD, layout, config, resolved) if backend in ("auto", "triton") else None
    if backend == "triton" and refused:
        raise NotImplementedError(refused)
    if backend == "reference":
        with torch.autocast(q_BHLD.device.type, enabled=False):
            out, lse = attend_reference(q_BHLD, k_BHLD, v_BHLD, layout, indices, config, resolved, scale)
    elif backend == "portable" or refused:
        out, lse = attend_portable(
            q_BHLD, k_BHLD, v_BHLD, layout, indices, config, resolved, scale, deterministic=deterministic
        )
    else:
        out, lse = fused.attend_fused(
            q_BHLD, k_BHLD, v_BHLD, layout, indices, config, resolved, scale, deterministic=deterministic
        )
    return (out, lse) if return_lse else out


def moc_attention(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    config: MoCConfig,
    *,
    q_range: tuple[int, int] | None = None,
    descriptors: Tensor | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
    deterministic: bool = False,
    seed: int | None = None,
    layer: int = 0,
    head_offset: int = 0,
    batch_offset: int = 0,
) -> Tensor:
    """`route`, then `attend`: [B, H, Lq, D]. See both for the arguments and errors."""
    routing = route(
        q_BHLD,
        k_BHLD,
        layout,
        config,
        q_range=q_range,
        descriptors=descriptors,
        seed=seed,
        layer=layer,
        head_offset=head_offset,
        batch_offset=batch_offset,
    )
    return attend(
        q_BHLD,
        k_BHLD,
        v_BHLD,
        layout,
        routing,
        config,
        q_range=q_range,
        scale=scale,
        backend=backend,
        deterministic=deterministic,
    )


def _check(
    q: Tensor, k: Tensor, v: Tensor, layout: TokenLayout, routing: Routing | None, q_range: tuple[int, int]
) -> None:
    """Refuses what no backend can do, in one sentence, before any work."""
    for name, x in (("queries", q), ("keys", k), ("values", v)):
        if x.ndim != 4:
            raise ValueError(f"{name} must be [batch, heads, length, head_dim], got {list(x.shape)}")
        if not x.is_floating_point() or x.dtype.itemsize < 2:
            raise ValueError(f"{name} must be bfloat16, float16, float32 or float64, got {x.dtype}")
        if x.dtype != q.dtype or x.device != q.device:
            raise ValueError(f"{name} are {x.dtype} on {x.device}, the queries {q.dtype} on {q.device}")
    batch, heads, _, width = q.shape
    if k.shape[1] != heads:
        raise ValueError(
            f"grouped-query heads are not supported: {heads} query heads against {k.shape[1]} key heads; "
            "repeat the keys and values first"
        )
    rows = q_range[1] - q_range[0]
    if q.shape[2] != rows:
        raise ValueError(f"queries must be {[batch, heads, rows, width]} for rows {q_range[0]}:{q_range[1]}, got "
                         f"{list(q.shape)}")  # fmt: skip
    for name, x in (("keys", k), ("values", v)):
        if x.shape != (batch, heads, layout.length, width):
            raise ValueError(f"{name} must be {[batch, heads, layout.length, width]}, got {list(x.shape)}")
    if routing is not None:
        indices = routing.indices
        if indices.shape[:3] != q.shape[:3] or indices.dtype != torch.int32 or indices.device != q.device:
            raise ValueError(
                f"routing must be int32 {[batch, heads, rows]} + [width] on {q.device}, got {indices.dtype} "
                f"{list(indices.shape)} on {indices.device}"
            )
        # on a GPU the look would wait for the queue; routes of `route` need none
        if indices.numel() and not indices.is_cuda and int(indices.max()) >= layout.num_chunks:
            raise ValueError(f"routing names chunk {int(indices.max())}, the layout has {layout.num_chunks}")

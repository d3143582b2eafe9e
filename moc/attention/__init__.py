"""attend(): one softmax over text, own shot and routed chunks. The one door to every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from moc.attention import checks, fused, ops, ragged_batch
from moc.attention.call import last_in_line
from moc.attention.checks import BACKENDS, Backend
from moc.attention.portable import attend_portable
from moc.attention.reference import attend_allowed, attend_reference
from moc.config import MoCConfig
from moc.devices import on_device_of
from moc.handles import traced
from moc.layout import TokenLayout
from moc.routing import Routing, resolve_range, route

__all__ = ["BACKENDS", "attend", "moc_attention"]


@overload
def attend(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout | Sequence[TokenLayout],
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
    layout: TokenLayout | Sequence[TokenLayout],
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
    layout: TokenLayout | Sequence[TokenLayout],
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
        layout: layout of the stream, or a sequence of B layouts, one for each batch row. Rows are then padded at the
            end, queries, keys and values to one length L = Lq; padding is never read.
        routing: routes of the same rows; None attends mandatory links alone.
        config: settings; `intra`, `window_chunks` and `text_links` decide the mandatory links.
        q_range: start:stop of the stream that the query rows stand for, the whole stream when None, as it must be
            beside a sequence of layouts.
        scale: softmax scale, 1 / sqrt(D) when None.
        backend: one of `BACKENDS`.
        return_lse: also return the natural-log log-sum-exp of each query's scores.
        deterministic: makes the backward pass bit-stable on CUDA; the forward pass always is.

    Returns:
        [B, H, Lq, D] in the queries' dtype; with `return_lse` also [B, H, Lq] in float32 (float64 for float64
        inputs). Gradients flow through both. In the padding outputs and gradients are 0, the LSE -inf.

    Raises:
        TypeError: the layout is neither a layout nor a list or tuple of them.
        ValueError: shapes, dtypes, devices or settings don't fit together; the sentence gives both values.
        NotImplementedError: the backend can't do what is asked.
    """
    checks.check_backend(backend)
    indices = None if routing is None else routing.indices
    settings = q_range, scale, backend, deterministic
    if isinstance(layout, TokenLayout):
        out, lse = _attend(q_BHLD, k_BHLD, v_BHLD, layout, indices, config, *settings)
    else:
        out, lse = ragged_batch.attend_each(_attend, q_BHLD, k_BHLD, v_BHLD, layout, indices, config, *settings)
    return (out, lse) if return_lse else out


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: TokenLayout,
    indices: Tensor | None,
    config: MoCConfig,
    q_range: tuple[int, int] | None,
    scale: float | None,
    backend: str,
    deterministic: bool,
) -> tuple[Tensor, Tensor]:
    """Output and LSE for one layout, as an operator where somebody looks at operators."""
    if traced(q):
        if backend != "reference":
            return ops.attend(q, k, v, layout, indices, config, q_range, scale, backend, deterministic)
        mask = ops.allowed(q, k, v, layout, indices, config, q_range)  # plain torch, which any tracer follows
        with torch.autocast(q.device.type, enabled=False):
            return attend_allowed(q, k, v, mask, scale)
    rows = resolve_range(layout, q_range)
    checks.check(q, k, v, layout, indices, config, rows)
    kernel = checks.kernel_for(backend, q, layout, config, rows, checks.wants_gradients(q, k, v))
    if kernel == "reference":
        with torch.autocast(q.device.type, enabled=False):
            return attend_reference(q, k, v, layout, indices, config, rows, scale)
    run = fused.attend_fused if kernel == "triton" else attend_portable
    q, k, v = last_in_line(q, k, v)
    with on_device_of(q):
        return run(q, k, v, layout, indices, config, rows, scale, deterministic=deterministic)


def moc_attention(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout | Sequence[TokenLayout],
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
    """`route`, then `attend`: [B, H, Lq, D]. See both for arguments, several layouts among them, and errors."""
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

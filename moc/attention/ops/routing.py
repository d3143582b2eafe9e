"""moc::pool and moc::route. No gradient flows through the choice: the operators have no backward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from moc import recording, routing
from moc.attention import patterns
from moc.attention.ops.making import operator
from moc.attention.patterns import moc_uniform
from moc.candidates import Candidates
from moc.config import MoCConfig
from moc.handles import handle_for, layout_of
from moc.layout import TokenLayout

_UNKNOWN = -1  # a size that only the layout tells


def pool(k_BHLD: Tensor, layout: TokenLayout, token_range: tuple[int, int] | None) -> Tensor:
    """`moc.pool` as an operator; a range makes a tensor whose size a compiled graph doesn't know."""
    start, stop = (None, None) if token_range is None else token_range
    if token_range is None:
        chunks = layout.num_chunks
    elif torch.compiler.is_compiling():
        chunks = _UNKNOWN
    else:
        first, last = routing.chunk_span(layout, *token_range)
        chunks = last - first
    return pool_op(k_BHLD.detach(), handle_for(k_BHLD, layout), start, stop, chunks)


@operator("pool")
def pool_op(k: Tensor, layout: Tensor, start: int | None, stop: int | None, chunks: int) -> Tensor:
    """[B, H, chunks, D] descriptors of tokens start:stop; `chunks` is -1 where only the layout knows."""
    return routing.pooled(k, layout_of(layout), _span(start, stop)).contiguous()


@pool_op.register_fake
def _(k: Tensor, layout: Tensor, start: int | None, stop: int | None, chunks: int) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size() if chunks == _UNKNOWN else chunks
    return k.new_empty(k.shape[0], k.shape[1], size, k.shape[3])


def route(
    q_BHLD: Tensor,
    k_BHLD: Tensor | None,
    layout: TokenLayout,
    config: MoCConfig,
    *,
    q_range: tuple[int, int] | None,
    descriptors: Tensor | None,
    candidates: Candidates | None,
    seed: int | None,
    layer: int,
    head_offset: int,
    batch_offset: int,
) -> routing.Routing:
    """`moc.route` as an operator."""
    start, stop = (None, None) if q_range is None else q_range
    limits = (None,) * 3 if candidates is None else (candidates.limit, candidates.low, candidates.high)
    if seed is None and config.pattern != "random" and not recording.active():
        layer = 0  # nothing asks for it: one graph serves all layers of a model
    indices = route_op(
        q_BHLD.detach(),
        None if k_BHLD is None or descriptors is not None else k_BHLD.detach(),
        None if descriptors is None else descriptors.detach(),
        handle_for(q_BHLD, layout),
        config.encoded,
        start,
        stop,
        *limits,
        seed,
        layer,
        head_offset,
        batch_offset,
        width_of(layout, config, seed),
    )
    return routing.Routing(indices)


def width_of(layout: TokenLayout, config: MoCConfig, seed: int | None) -> int:
    """W, -1 in a compiled graph where it depends on the layout."""
    if patterns.is_fixed(config):
        return 0
    width = config.top_k
    if seed is not None and config.drop_in_rate > 0:
        width += config.drop_in_max
    if config.pattern != "moc-uniform":
        return width
    return _UNKNOWN if torch.compiler.is_compiling() else width * moc_uniform.most_pieces(layout)


@operator("route")
def route_op(
    q: Tensor,
    k: Tensor | None,
    descriptors: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
    limit: Tensor | None,
    low: Tensor | None,
    high: Tensor | None,
    seed: int | None,
    layer: int,
    head_offset: int,
    batch_offset: int,
    width: int,
) -> Tensor:
    """[B, H, Lq, width] int32 routes; limit, low and high are candidates, all three or none."""
    candidates = None
    if limit is not None and low is not None and high is not None:
        candidates = Candidates(limit, low, high)
    chosen = routing.chosen(
        q,
        k,
        layout_of(layout),
        MoCConfig.decode(config),
        q_range=_span(start, stop),
        descriptors=descriptors,
        candidates=candidates,
        seed=seed,
        layer=layer,
        head_offset=head_offset,
        batch_offset=batch_offset,
    )
    return chosen.indices.contiguous()


@route_op.register_fake
def _(
    q: Tensor,
    k: Tensor | None,
    descriptors: Tensor | None,
    layout: Tensor,
    config: str,
    start: int | None,
    stop: int | None,
    limit: Tensor | None,
    low: Tensor | None,
    high: Tensor | None,
    seed: int | None,
    layer: int,
    head_offset: int,
    batch_offset: int,
    width: int,
) -> Tensor:
    if q.ndim != 4:
        raise ValueError(f"queries must be [B, H, Lq, D], got {list(q.shape)}")
    size = torch.library.get_ctx().new_dynamic_size() if width == _UNKNOWN else width
    return q.new_empty(q.shape[0], q.shape[1], q.shape[2], size, dtype=torch.int32)


def _span(start: int | None, stop: int | None) -> tuple[int, int] | None:
    return None if start is None or stop is None else (start, stop)

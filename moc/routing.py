"""Routing: which chunks each query token picks (sec. 3.1 of arXiv 2508.21058).

`pool` makes one descriptor per chunk, `route` scores every video query against the admissible ones and keeps the best
few per head. Shapes: B batch, H heads, L tokens of the stream, Lq query rows, C chunks, D head width, W routing width.
No gradient flows through the choice: attention to the chosen tokens is the only path that learns.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from moc.candidates import Candidates, candidates_of, video_chunks
from moc.config import MoCConfig
from moc.devices import on_device_of
from moc.drops import Draw, drop_in, drop_off
from moc.handles import traced
from moc.layout import TokenLayout
from moc.recording import observed

__all__ = ["Candidates", "Routing", "candidates_of", "pool", "resolve_range", "route", "top_chunks"]

SCORES_AT_ONCE = 1 << 24  # scores held at a time, 64 MiB of float32
MOST_HEADS = 65_535  # heads of all batch rows, a grid dimension of the kernels
NONE = -1
_KERNEL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Routing:
    """The chunks that queries picked.

    Attributes:
        indices: [B, H, Lq, W] int32 chunk ids, best first; -1 where fewer were admissible or one was dropped, drop-in
            last. Text rows are -1. Every slot counts in `attend`, so hand-made indices must neither repeat a chunk
            nor name a mandatory one.
    """

    indices: Tensor

    def counts(self, layout: TokenLayout, q_range: tuple[int, int] | None = None) -> Tensor:
        """Routed links from query chunk to key chunk, summed over the batch.

        Args:
            layout: the layout that was routed on.
            q_range: the rows that were routed, all of them when None.

        Returns:
            [H, Cq, C] int64. Row i stands for chunk `layout.chunk_ids[start] + i`; with every row, Cq = C.
        """
        start, stop = resolve_range(layout, q_range)
        _, heads, rows, _ = self.indices.shape
        if rows != stop - start:
            raise ValueError(f"this routing has {rows} rows, the query range {start}:{stop} has {stop - start}")
        chunks = layout.num_chunks
        if rows == 0:
            return torch.zeros(heads, 0, chunks, dtype=torch.int64, device=self.indices.device)
        of_row = layout.to(self.indices.device).chunk_ids[start:stop]
        first, last = _chunk_at(layout, start), _chunk_at(layout, stop - 1)
        of_row = of_row - first
        q_chunks = last - first + 1
        head = torch.arange(heads, device=of_row.device)
        cell = (head[:, None, None] * q_chunks + of_row[:, None]) * chunks + self.indices
        cell = torch.where(self.indices >= 0, cell, heads * q_chunks * chunks)
        # Heads before the batch sum: bincount is one pass over the links, whatever the number of cells.
        counts = torch.bincount(cell.flatten(), minlength=heads * q_chunks * chunks + 1)
        return counts[:-1].view(heads, q_chunks, chunks)


def pool(k_BHLD: Tensor, layout: TokenLayout, *, token_range: tuple[int, int] | None = None) -> Tensor:
    """Descriptors: the mean of each chunk's keys, as they enter attention (sec. 3.1).

    Args:
        k_BHLD: [B, H, L, D] keys, after norm and RoPE.
        layout: layout of the stream.
        token_range: start:stop when `k_BHLD` holds only these tokens; both must be chunk edges. Descriptors of
            finished chunks don't change, so a stream pools new tokens alone.

    Returns:
        [B, H, C', D] in the keys' dtype: a float32 (float64 for float64) mean, rounded once. No gradient.

    Raises:
        ValueError: the range is off the stream or off the chunk edges, or the keys have another length.
    """
    if traced(k_BHLD):
        from moc.attention import ops

        return ops.pool(k_BHLD, layout, token_range)
    return pooled(k_BHLD, layout, token_range)


def pooled(k_BHLD: Tensor, layout: TokenLayout, token_range: tuple[int, int] | None = None) -> Tensor:
    """`pool` itself, whoever asks."""
    start, stop = (0, layout.length) if token_range is None else token_range
    first, last = chunk_span(layout, start, stop)
    edges = layout.chunk_edges()
    if k_BHLD.shape[2] != stop - start:
        raise ValueError(f"keys hold {k_BHLD.shape[2]} tokens, the range {start}:{stop} has {stop - start}")
    with torch.no_grad(), on_device_of(k_BHLD):
        k_BHLD = k_BHLD.detach()
        few = k_BHLD.shape[0] * k_BHLD.shape[1] <= MOST_HEADS
        if k_BHLD.is_cuda and k_BHLD.dtype in _KERNEL_DTYPES and few and _has_triton():
            from moc.attention.triton.pooling import pool_fused

            return pool_fused(k_BHLD, layout.to(k_BHLD.device).chunk_bounds, (first, last), start)
        wide = torch.promote_types(k_BHLD.dtype, torch.float32)
        batch, heads, _, width = k_BHLD.shape
        means = k_BHLD.new_empty(batch, heads, last - first, width, dtype=wide)
        # Chunks of one length lie in one strided view when they are neighbours: a mean without any gather.
        for a, b, tokens in _equal_runs(edges[first : last + 1]):
            run = k_BHLD[:, :, edges[first + a] - start : edges[first + b] - start]
            means[:, :, a:b] = run.unflatten(2, (b - a, tokens)).mean(dim=3, dtype=wide)
        return means.to(k_BHLD.dtype)


def route(
    q_BHLD: Tensor,
    k_BHLD: Tensor | None,
    layout: TokenLayout | Sequence[TokenLayout],
    config: MoCConfig,
    *,
    q_range: tuple[int, int] | None = None,
    descriptors: Tensor | None = None,
    candidates: Candidates | None = None,
    seed: int | None = None,
    layer: int = 0,
    head_offset: int = 0,
    batch_offset: int = 0,
) -> Routing:
    """Picks up to `config.top_k` chunks for every video query of every head (Eq. 3, causal mask of sec. 3.2).

    That is pattern "moc"; under another `config.pattern` its file in `moc.attention.patterns` picks, or nothing is to
    be picked and the routing has width 0.

    A video query may pick any video chunk outside its mandatory links and, when causal, not of a later shot. Scores
    are float32 dot products of query and descriptor, unscaled; ties go to the lowest chunk id.

    Args:
        q_BHLD: [B, H, Lq, D] queries as they enter attention.
        k_BHLD: [B, H, L, D] keys as they enter attention; None when `descriptors` are given.
        layout: layout of the stream, or a sequence of B layouts, one for each batch row. Rows are then padded at the
            end, queries and keys to one length L = Lq; padding is never read, and `q_range`, `descriptors` and
            `candidates` can't be given.
        config: the method's settings; `chunk_tokens` must be the layout's.
        q_range: start:stop of the stream that the query rows stand for, the whole stream when None.
        descriptors: [B, H, C, D] from `pool`, when they are at hand.
        candidates: which chunks each row may pick, when that is not what the layout and the config say.
        seed: turns on drop-off and drop-in (training) and seeds them; give every step its own.
        layer: index of the layer, part of the random key.
        head_offset: global index of head 0, where heads are split over devices.
        batch_offset: global index of batch row 0, where the batch is split over devices.

    Returns:
        Routing of width `top_k`, or `top_k + drop_in_max` where drop-in acts, best chunk first; for "moc-uniform" a
        multiple of that, since a block may lie in several chunks. Padding is -1.

    Raises:
        TypeError: the layout is neither a layout nor a list or tuple of them.
        ValueError: shapes, ranges or chunk sizes don't fit together; the sentence gives both values.
    """
    run = chosen
    if traced(q_BHLD):
        from moc.attention import ops

        run = ops.route
    options: dict[str, Any] = {
        "q_range": q_range,
        "descriptors": descriptors,
        "candidates": candidates,
        "seed": seed,
        "layer": layer,
        "head_offset": head_offset,
        "batch_offset": batch_offset,
    }
    if isinstance(layout, TokenLayout):
        return run(q_BHLD, k_BHLD, layout, config, **options)
    from moc.attention import ragged_batch  # which imports this module

    return Routing(ragged_batch.route_each(run, q_BHLD, k_BHLD, layout, config, **options))


def chunk_span(layout: TokenLayout, start: int, stop: int) -> tuple[int, int]:
    """Chunks first:last of tokens start:stop.

    Raises:
        ValueError: the range does not start and stop at chunk edges.
    """
    edges = layout.chunk_edges()
    if start not in edges or stop not in edges or start > stop:
        raise ValueError(f"token_range must start and stop at chunk edges of the layout, got {start}:{stop}")
    return edges.index(start), edges.index(stop)


@observed
def chosen(
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
) -> Routing:
    """`route` itself, whoever asks."""
    from moc.attention import patterns  # which imports this module

    start, stop = resolve_range(layout, q_range)
    if config.chunk_tokens != layout.chunk_tokens:
        raise ValueError(
            f"the layout is cut into chunks of {layout.chunk_tokens}, the config asks for {config.chunk_tokens}"
        )
    refused = patterns.refusal(layout, config, (start, stop))
    if refused:
        raise ValueError(refused)
    if q_BHLD.ndim != 4 or q_BHLD.shape[2] != stop - start:
        raise ValueError(f"queries must be [B, H, {stop - start}, D], got {list(q_BHLD.shape)}")
    if 0 in (q_BHLD.shape[0], q_BHLD.shape[1], q_BHLD.shape[3]):
        raise ValueError(f"queries must hold at least one batch row, head and channel, got {list(q_BHLD.shape)}")
    if patterns.is_fixed(config):  # nothing is left to choose
        return Routing(q_BHLD.new_empty(*q_BHLD.shape[:3], 0, dtype=torch.int32))
    if descriptors is None:
        if k_BHLD is None:
            raise ValueError("route needs the keys or their descriptors, got neither")
        if k_BHLD.ndim != 4:
            raise ValueError(f"keys must be [B, H, L, D], got {list(k_BHLD.shape)}")
        refuse_grouped(q_BHLD, k_BHLD)
        descriptors = pooled(k_BHLD, layout)
    batch, heads, rows, width = q_BHLD.shape
    if descriptors.shape != (batch, heads, layout.num_chunks, width):
        raise ValueError(
            f"descriptors must be {[batch, heads, layout.num_chunks, width]}, got {list(descriptors.shape)}"
        )
    if candidates is None:
        candidates = candidates_of(layout, config, (start, stop), q_BHLD.device)
    elif len(candidates.limit) != rows:
        raise ValueError(f"candidates are given for {len(candidates.limit)} rows, the queries have {rows}")
    off = torch.autocast(q_BHLD.device.type, enabled=False)  # scores stay float32
    with torch.no_grad(), off, on_device_of(q_BHLD):
        table = video_chunks(layout, q_BHLD.device)
        keys = descriptors.detach()
        if len(table) < layout.num_chunks:
            keys = keys.index_select(2, table)
        own = config.pattern in ("moc", "moc-no-causal")
        kept = seed is None or (config.drop_off_max == 0 and config.drop_in_rate * config.drop_in_max == 0)
        if own and kept and _fused(q_BHLD, config.top_k):
            return Routing(_choose_fused(q_BHLD.detach(), keys, candidates, config.top_k, table))

        def draw(seed: int) -> Draw:
            ranges = (batch_offset, batch_offset + batch), (head_offset, head_offset + heads), (start, stop)
            return Draw.of(
                seed=seed, layer=layer, batch=ranges[0], heads=ranges[1], rows=ranges[2], device=table.device
            )

        def drops(chosen: Tensor, draw: Draw, candidates: Candidates) -> Tensor:
            ranks = chosen
            if config.drop_off_max > 0:
                ranks = drop_off(chosen, draw, config.drop_off_max)
            if config.drop_in_rate > 0 and config.drop_in_max > 0:
                added = drop_in(chosen, draw, config.drop_in_rate, config.drop_in_max, candidates)
                ranks = torch.cat([ranks, added], -1)
            return ranks

        q = q_BHLD.detach()
        ask = patterns.Ask(q, keys, candidates, layout, config, (start, stop), _choose, drops, draw, seed)
        ranks = patterns.choose(ask)
        if not len(table):
            return Routing(ranks.int())
        return Routing(torch.where(ranks >= 0, table[ranks.clamp(min=0)], NONE).int())


def _choose(q_BHLD: Tensor, keys_BHND: Tensor, candidates: Candidates, k: int) -> Tensor:
    """[B, H, Lq, k] int64 ranks of the best candidates, best first, -1 where fewer are admissible."""
    batch, heads, rows, _ = q_BHLD.shape
    if _fused(q_BHLD, k):
        return _choose_fused(q_BHLD, keys_BHND, candidates, k).long()
    wide = torch.promote_types(q_BHLD.dtype, torch.float32)
    ranks = torch.full((batch, heads, rows, k), NONE, dtype=torch.int64, device=q_BHLD.device)
    if k == 0:
        return ranks
    keys_BHND = keys_BHND.to(wide)
    for first, last, limit, masked in candidates.runs:
        if limit == 0:
            continue
        block = max(1, SCORES_AT_ONCE // (batch * heads * limit))
        for a in range(first, last, block):
            b = min(a + block, last)
            scores = q_BHLD[:, :, a:b].to(wide) @ keys_BHND[:, :, :limit].mT
            if masked:
                rank = torch.arange(limit, device=scores.device)
                own = (rank >= candidates.low[a:b, None]) & (rank < candidates.high[a:b, None])
                scores.masked_fill_(own, -torch.inf)
            ranks[:, :, a:b] = top_chunks(scores, k)
    return ranks


def _choose_fused(
    q_BHLD: Tensor, keys_BHND: Tensor, candidates: Candidates, k: int, table: Tensor | None = None
) -> Tensor:
    """[B, H, Lq, k] int32 ranks, or chunks by the table, from the one-pass kernel: the choice of `_choose`."""
    from moc.attention.triton.topk import top_chunks_fused

    return top_chunks_fused(q_BHLD, keys_BHND, candidates.limit, candidates.low, candidates.high, k, table)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _fused(q: Tensor, k: int) -> bool:
    """Whether the one-pass kernel takes these queries: it makes the same choice without ever writing the scores."""
    fits = 0 < k <= 64 and q.shape[-1] <= 256 and q.shape[0] * q.shape[1] <= MOST_HEADS
    return q.is_cuda and q.dtype in _KERNEL_DTYPES and fits and _has_triton()


def top_chunks(scores: Tensor, k: int) -> Tensor:
    """The k best candidates of each row, best first; equal scores in order of rank.

    Args:
        scores: [..., n], -inf where a candidate is not admissible.

    Returns:
        [..., k] int64 ranks, -1 where fewer are admissible.
    """
    n = scores.shape[-1]
    kept = min(k, n)
    # One more than asked shows whether the cut runs through equal scores, which topk orders as it likes.
    values, ranks = scores.topk(min(k + 1, n), dim=-1)
    tied = ((values[..., 1:] == values[..., :-1]) & (values[..., 1:] > -torch.inf)).any(-1)
    values, ranks = values[..., :kept], ranks[..., :kept]
    if tied.any():
        ordered = scores[tied].sort(dim=-1, descending=True, stable=True)
        values, ranks = values.contiguous(), ranks.contiguous()
        values[tied], ranks[tied] = ordered.values[:, :kept], ordered.indices[:, :kept]
    ranks = torch.where(values == -torch.inf, NONE, ranks)
    return torch.nn.functional.pad(ranks, (0, k - kept), value=NONE)


def refuse_grouped(q: Tensor, k: Tensor) -> None:
    """Raises ValueError where heads of queries share heads of keys."""
    if k.shape[1] != q.shape[1]:
        raise ValueError(
            f"grouped-query heads are not supported: {q.shape[1]} query heads against {k.shape[1]} key heads; "
            "repeat the keys and values first"
        )


def resolve_range(layout: TokenLayout, q_range: tuple[int, int] | None) -> tuple[int, int]:
    """`q_range` as start, stop, the whole stream for None.

    Raises:
        ValueError: the range is not within the stream.
    """
    if q_range is None:
        return 0, layout.length
    start, stop = q_range
    if not 0 <= start <= stop <= layout.length:
        raise ValueError(f"q_range must lie within 0:{layout.length}, got {start}:{stop}")
    return start, stop


def _chunk_at(layout: TokenLayout, token: int) -> int:
    return bisect_right(layout.chunk_edges(), token) - 1


def _equal_runs(edges: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Runs first:last of neighbouring chunks of one length, and that length."""
    first = 0
    for chunk in range(1, len(edges)):
        ends = chunk == len(edges) - 1
        if ends or edges[chunk + 1] - edges[chunk] != edges[first + 1] - edges[first]:
            yield first, chunk, edges[first + 1] - edges[first]
            first = chunk

"""Scoring and top-k in one pass: no [rows, chunks] matrix ever reaches memory. Many chunks go to `topk_many`.

One program takes a block of query rows of one head, walks over the candidates in tiles, and keeps the best k of each
row in registers. Every row carries its own candidate range and its own forbidden range, so the causal mask, the
own-shot, own-chunk and window links cost nothing extra and one launch serves a whole stream.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from moc.attention.triton import topk_many
from moc.attention.triton.launching import strides, upcast, widths

ROWS = 64
TILE = 64
MOST_K = 64


NOTHING: tl.constexpr = tl.constexpr(-(2**63))


@triton.jit
def _key(score, rank):
    """int64 that orders as (score, then lower rank) does; scores are floats without negative zeros."""
    bits = score.to(tl.int32, bitcast=True)
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    return (ordered << 32) | (0x7FFFFFFF - rank).to(tl.int64)


@triton.jit
def _topk_kernel(
    q_ptr, d_ptr, limit_ptr, low_ptr, high_ptr, table_ptr, out_ptr,
    rows, candidates, H, q_b, q_h, q_l, d_b, d_h, d_l,
    K: tl.constexpr, KEPT: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    UPCAST: tl.constexpr, HAS_TABLE: tl.constexpr,
):  # fmt: skip
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // H, bh % H
    row = tl.program_id(0) * M + tl.arange(0, M)
    inside = row < rows
    d = tl.arange(0, DP)
    at = b * q_b + h * q_h + row[:, None].to(tl.int64) * q_l + d[None, :]
    q = tl.load(q_ptr + at, mask=inside[:, None] & (d[None, :] < D), other=0.0)
    limit = tl.load(limit_ptr + row, mask=inside, other=0)
    low = tl.load(low_ptr + row, mask=inside, other=0)
    high = tl.load(high_ptr + row, mask=inside, other=0)
    slot = tl.arange(0, KEPT)
    # empty slots differ, so that the least of a row is one; slots beyond k never lose
    best = tl.where(slot < K, NOTHING + 1 + slot.to(tl.int64), 0x7FFFFFFFFFFFFFFF - slot.to(tl.int64))
    best = tl.broadcast_to(best[None, :], (M, KEPT))
    if UPCAST:
        q = q.to(tl.float32)
    for start in range(0, tl.max(limit, 0), N):
        c = start + tl.arange(0, N)
        of = b * d_b + h * d_h + c[None, :].to(tl.int64) * d_l + d[:, None]
        desc = tl.load(d_ptr + of, mask=(c[None, :] < candidates) & (d[:, None] < D), other=0.0)
        if UPCAST:
            desc = desc.to(tl.float32)
        score = tl.dot(q, desc, input_precision="ieee")
        score = tl.where(score == 0.0, 0.0, score)  # one zero only
        open_to = (c[None, :] < limit[:, None]) & ((c[None, :] < low[:, None]) | (c[None, :] >= high[:, None]))
        score = tl.where(open_to, score, float("-inf"))
        more = start >= 0
        taken = 0
        while more & (taken < K):
            top = tl.max(score, 1)
            at_top = tl.where(score == top[:, None], c[None, :], 2147483647)
            rank = tl.min(at_top, 1)  # ties: the lowest rank
            key = tl.where(top > float("-inf"), _key(top, rank), NOTHING)
            worst = tl.min(best, 1)
            # what is kept already has lower ranks, which the keys know
            best = tl.where((best == worst[:, None]) & (key > worst)[:, None], key[:, None], best)
            score = tl.where(c[None, :] == rank[:, None], float("-inf"), score)
            more = tl.max((key > worst).to(tl.int32), 0) > 0
            taken += 1
    best = tl.where(slot[None, :] < K, best, NOTHING)
    for j in range(K):  # best first
        top = tl.max(best, 1)
        rank = 0x7FFFFFFF - (top & 0x7FFFFFFF).to(tl.int32)
        found = top > NOTHING + 1 + KEPT
        chosen = rank
        if HAS_TABLE:
            chosen = tl.load(table_ptr + rank, mask=inside & found, other=-1).to(tl.int32)
        tl.store(out_ptr + (bh * rows + row) * K + j, tl.where(found, chosen, -1), mask=inside)
        best = tl.where(best == top[:, None], NOTHING, best)


def top_chunks_fused(
    q_BHLD: Tensor,
    descriptors_BHCD: Tensor,
    limit: Tensor,
    low: Tensor,
    high: Tensor,
    k: int,
    table: Tensor | None = None,
) -> Tensor:
    """The k best candidates of each query row: float32 scores of the inputs as they are, ties to the lowest rank.

    Args:
        q_BHLD: `[B, H, L, D]` queries.
        descriptors_BHCD: `[B, H, C, D]` descriptors of the candidates, in order of rank.
        limit: `[L]` int32, ranks 0:limit are candidates of the row.
        low, high: `[L]` int32, ranks low:high are taken out of them.
        k: at most `MOST_K`.
        table: `[C]` chunk of each rank; ranks themselves are written when None.

    Returns:
        `[B, H, L, k]` int32 chunks or ranks, best first, -1 where fewer are admissible.
    """
    batch, heads, rows, _ = q_BHLD.shape
    candidates = descriptors_BHCD.shape[2]
    out = torch.empty(batch, heads, rows, k, dtype=torch.int32, device=q_BHLD.device)
    if not rows:
        return out
    if not candidates:
        return out.fill_(-1)
    q = q_BHLD if q_BHLD.stride(-1) == 1 else q_BHLD.contiguous()
    desc = descriptors_BHCD if descriptors_BHCD.stride(-1) == 1 else descriptors_BHCD.contiguous()
    size = topk_many.group_size(candidates, k) if candidates >= topk_many.FEWEST else None
    if size is not None:
        topk_many.launch(q, desc, limit, low, high, k, table, out, size, upcast(q))
        return out
    grid = (triton.cdiv(rows, ROWS), batch * heads)
    _topk_kernel[grid](
        q, desc, limit, low, high, limit if table is None else table, out,
        rows, candidates, heads, *strides(q, desc),
        K=k, KEPT=max(2, triton.next_power_of_2(k)), **widths(q), M=ROWS, N=TILE,
        UPCAST=upcast(q), HAS_TABLE=table is not None, num_warps=4,
    )  # fmt: skip
    return out

"""Scoring and top-k in one pass: no [rows, chunks] matrix ever reaches memory.

One program takes a block of query rows of one head, walks over the candidates in tiles, and keeps the best k of each
row in registers. A tile is searched until no row finds a candidate above the worst that it keeps: k times in the first
tile, seldom in late ones. Few candidates for a small k fit into one tile, of which each round takes the best: nothing
is kept at all. Every row carries its own candidate range and its own forbidden range, so the causal mask, the own-shot,
own-chunk and window links cost nothing extra and one launch serves a whole stream.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from moc.attention.triton.launching import strides, upcast, widths

ROWS = 64
MOST_K = 64
STAGES = 3  # of the loop over tiles
FEW_CANDIDATES = 32
FEW_ROUNDS = 8  # k of which the rounds are worth writing one after another


@triton.jit
def _scores(
    q, d_ptr, c, candidates, limit, low, high, d, D: tl.constexpr, d_l, masked, UPCAST: tl.constexpr,
):  # fmt: skip
    """[M, N] float32 scores of the candidates `c`; where `masked`, -inf of those that a row may not take."""
    at = c[None, :].to(tl.int64) * d_l + d[:, None]
    desc = tl.load(d_ptr + at, mask=(c[None, :] < candidates) & (d[:, None] < D), other=0.0)
    if UPCAST:
        desc = desc.to(tl.float32)
    score = tl.dot(q, desc, input_precision="ieee")
    if masked:
        open_to = (c[None, :] < limit[:, None]) & ((c[None, :] < low[:, None]) | (c[None, :] >= high[:, None]))
        score = tl.where(open_to, score, float("-inf"))
    return score


@triton.jit
def _store_choice(out_ptr, table_ptr, at, rank, found, inside, HAS_TABLE: tl.constexpr):
    chosen = rank
    if HAS_TABLE:
        chosen = tl.load(table_ptr + rank, mask=inside & found, other=-1).to(tl.int32)
    tl.store(out_ptr + at, tl.where(found, chosen, -1), mask=inside)


@triton.jit
def topk_kernel(
    q_ptr, d_ptr, limit_ptr, low_ptr, high_ptr, table_ptr, out_ptr,
    rows, candidates, H, q_b, q_h, q_l, d_b, d_h, d_l,
    K: tl.constexpr, KEPT: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    UPCAST: tl.constexpr, HAS_TABLE: tl.constexpr, ONE: tl.constexpr,
):  # fmt: skip
    """The K best candidates of M rows of one head, best first; arguments as `top_chunks_fused` has them.

    ONE: one tile holds all candidates. `best` and `rank_of` keep the K best so far in KEPT columns.
    """
    nowhere: tl.constexpr = 2147483647
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // H, bh % H
    row = tl.program_id(0) * M + tl.arange(0, M)
    inside = row < rows
    d = tl.arange(0, DP)
    at = b * q_b + h * q_h + row[:, None].to(tl.int64) * q_l + d[None, :]
    q = tl.load(q_ptr + at, mask=inside[:, None] & (d[None, :] < D), other=0.0)
    if UPCAST:
        q = q.to(tl.float32)
    limit = tl.load(limit_ptr + row, mask=inside, other=0)
    low = tl.load(low_ptr + row, mask=inside, other=0)
    high = tl.load(high_ptr + row, mask=inside, other=0)
    d_ptr += b * d_b + h * d_h
    to = (bh * rows + row) * K
    if ONE:
        c = tl.arange(0, N)
        score = _scores(q, d_ptr, c, candidates, limit, low, high, d, D, d_l, True, UPCAST)
        for j in tl.static_range(K):
            top = tl.max(score, 1)
            rank = tl.min(tl.where(score == top[:, None], c[None, :], nowhere), 1)  # ties: the lowest rank
            _store_choice(out_ptr, table_ptr, to + j, rank, top > float("-inf"), inside, HAS_TABLE)
            score = tl.where(c[None, :] == rank[:, None], float("-inf"), score)
    else:
        closed = inside & (low < high)
        all_below = tl.min(tl.where(inside, limit, nowhere), 0)
        lowest, highest = tl.min(tl.where(closed, low, nowhere), 0), tl.max(tl.where(closed, high, 0), 0)
        slot = tl.arange(0, KEPT)[None, :]
        # What is kept, in no order. Slots beyond k never lose; empty ones lose to anything and differ in rank.
        best = tl.broadcast_to(tl.where(slot < K, float("-inf"), float("inf")), (M, KEPT))
        rank_of = tl.broadcast_to(nowhere - 1 - slot, (M, KEPT))
        for start in range(0, tl.max(limit, 0), N):
            c = start + tl.arange(0, N)
            masked = (start + N > all_below) | ((start + N > lowest) & (start < highest))
            score = _scores(q, d_ptr, c, candidates, limit, low, high, d, D, d_l, masked, UPCAST)
            top, worst = tl.max(score, 1), tl.min(best, 1)
            while tl.max((top > worst).to(tl.int32), 0) > 0:
                rank = tl.min(tl.where(score == top[:, None], c[None, :], nowhere), 1)
                # Equal scores that are kept have lower ranks, so the newcomer must be better; of equal worst ones, the
                # highest rank goes.
                loser = tl.max(tl.where(best == worst[:, None], rank_of, -1), 1)
                goes = (rank_of == loser[:, None]) & (top > worst)[:, None]
                best = tl.where(goes, top[:, None], best)
                rank_of = tl.where(goes, rank[:, None], rank_of)
                score = tl.where(c[None, :] == rank[:, None], float("-inf"), score)
                top, worst = tl.max(score, 1), tl.min(best, 1)
        best = tl.where(slot < K, best, float("-inf"))
        for j in range(K):  # best first
            top = tl.max(best, 1)
            rank = tl.min(tl.where(best == top[:, None], rank_of, nowhere), 1)
            _store_choice(out_ptr, table_ptr, to + j, rank, top > float("-inf"), inside, HAS_TABLE)
            best = tl.where(rank_of == rank[:, None], float("-inf"), best)


def candidates_per_tile(candidates: int, k: int) -> int:
    """32 or 64: where few are looked for, scoring takes longest, and goes faster by wide tiles."""
    return 32 if candidates <= FEW_CANDIDATES or k >= 8 else 64


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
    grid = (triton.cdiv(rows, ROWS), batch * heads)
    tile = candidates_per_tile(candidates, k)
    one = candidates <= tile == FEW_CANDIDATES and k <= FEW_ROUNDS
    topk_kernel[grid](
        q, desc, limit, low, high, limit if table is None else table, out,
        rows, candidates, heads, *strides(q, desc),
        K=k, KEPT=max(2, triton.next_power_of_2(k)), **widths(q), M=ROWS,
        N=tile, UPCAST=upcast(q), HAS_TABLE=table is not None, ONE=one, num_warps=4, num_stages=1 if one else STAGES,
    )  # fmt: skip
    return out

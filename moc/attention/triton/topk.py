"""Scoring and top-k in one pass: no [rows, chunks] matrix ever reaches memory.

One program takes a block of query rows of one head, walks over the candidates in tiles, and keeps the best k of each
row in registers. Every row carries its own candidate range and its own forbidden range, so the causal mask, the
own-shot, own-chunk and window links cost nothing extra and one launch serves a whole stream.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETING = os.environ.get("TRITON_INTERPRET", "0") == "1"
ROWS = 64
TILE = 64
MOST_K = 64


@triton.jit
def _topk_kernel(
    q_ptr, d_ptr, limit_ptr, low_ptr, high_ptr, out_ptr,
    rows, candidates, q_row, q_head, d_row, d_head,
    K: tl.constexpr, KEPT: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * M + tl.arange(0, M)
    inside = row < rows
    d = tl.arange(0, D)
    q = tl.load(q_ptr + head * q_head + row[:, None].to(tl.int64) * q_row + d[None, :], mask=inside[:, None], other=0.0)
    limit = tl.load(limit_ptr + row, mask=inside, other=0)
    low = tl.load(low_ptr + row, mask=inside, other=0)
    high = tl.load(high_ptr + row, mask=inside, other=0)
    slot = tl.arange(0, KEPT)
    best = tl.full((M, KEPT), float("-inf"), tl.float32)
    who = tl.full((M, KEPT), -1, tl.int32)
    # slots beyond k never lose, so that they are never replaced
    best = tl.where(slot[None, :] < K, best, float("inf"))
    if UPCAST:
        q = q.to(tl.float32)
    for start in range(0, tl.max(limit, 0), N):
        c = start + tl.arange(0, N)
        desc = tl.load(
            d_ptr + head * d_head + c[None, :].to(tl.int64) * d_row + d[:, None],
            mask=c[None, :] < candidates,
            other=0.0,
        )
        if UPCAST:
            desc = desc.to(tl.float32)
        score = tl.dot(q, desc, input_precision="ieee")
        open_to = (c[None, :] < limit[:, None]) & ((c[None, :] < low[:, None]) | (c[None, :] >= high[:, None]))
        score = tl.where(open_to, score, float("-inf"))
        for _ in range(K):
            top = tl.max(score, 1)
            at = tl.min(tl.where(score == top[:, None], c[None, :], 2147483647), 1)  # ties: the lowest id
            worst = tl.min(best, 1)
            # an earlier tile has lower ids, so an equal newcomer stays out
            enters = top > worst
            place = tl.min(tl.where(best == worst[:, None], slot[None, :], KEPT), 1)
            # among equals the highest id leaves first: it sits in the latest-filled slot of that value
            oldest = tl.max(tl.where(best == worst[:, None], who, -2), 1)
            tied = tl.min(tl.where((best == worst[:, None]) & (who == oldest[:, None]), slot[None, :], KEPT), 1)
            place = tl.where(worst == float("-inf"), place, tied)
            hit = (slot[None, :] == place[:, None]) & enters[:, None]
            best = tl.where(hit, top[:, None], best)
            who = tl.where(hit, at[:, None], who)
            score = tl.where(c[None, :] == at[:, None], float("-inf"), score)
    best = tl.where(slot[None, :] < K, best, float("-inf"))
    for j in range(K):  # best first, ties in order of id
        top = tl.max(best, 1)
        at = tl.min(tl.where((best == top[:, None]) & (who >= 0), who, 2147483647), 1)
        at = tl.where(at == 2147483647, -1, at)
        tl.store(out_ptr + (head * rows + row) * K + j, at, mask=inside)
        gone = (who == at[:, None]) & (best == top[:, None])
        best = tl.where(gone, float("-inf"), best)
        who = tl.where(gone, -1, who)


def top_chunks_fused(
    q_BHLD: Tensor, descriptors_BHCD: Tensor, limit: Tensor, low: Tensor, high: Tensor, k: int
) -> Tensor:
    """The k best candidates of each query row: float32 scores of the inputs as they are, ties to the lowest rank.

    Args:
        q_BHLD: `[B, H, L, D]` queries; the last axis contiguous.
        descriptors_BHCD: `[B, H, C, D]` descriptors of the candidates, in order of rank.
        limit: `[L]` int32, ranks 0:limit are candidates of the row.
        low, high: `[L]` int32, ranks low:high are taken out of them.
        k: at most `MOST_K`.

    Returns:
        `[B, H, L, k]` int32 ranks, best first, -1 where fewer are admissible.
    """
    batch, heads, rows, width = q_BHLD.shape
    candidates = descriptors_BHCD.shape[2]
    out = torch.empty(batch, heads, rows, k, dtype=torch.int32, device=q_BHLD.device)
    if not rows:
        return out
    if not candidates:
        return out.fill_(-1)
    q = q_BHLD.reshape(batch * heads, rows, width)
    desc = descriptors_BHCD.reshape(batch * heads, candidates, width)
    if q.stride(-1) != 1:
        q = q.contiguous()
    if desc.stride(-1) != 1:
        desc = desc.contiguous()
    grid = (triton.cdiv(rows, ROWS), batch * heads)
    _topk_kernel[grid](
        q, desc, limit, low, high, out,
        rows, candidates, q.stride(1), q.stride(0), desc.stride(1), desc.stride(0),
        K=k, KEPT=max(2, triton.next_power_of_2(k)), D=width, M=ROWS, N=TILE,
        UPCAST=INTERPRETING or q.dtype == torch.float32, num_warps=4,
    )  # fmt: skip
    return out

"""Top-k of many candidates in two rounds, for hundreds to thousands of chunks.

Candidates form groups of neighbours. The k groups with the highest maxima hold the k best candidates: a candidate of
any other group is beaten by the maximum of each of those k groups, ties included, since ties go to the lowest rank in
either round and groups stand in order of rank. So a row looks for k maxima among its groups, and for k among the
members of those, instead of holding every candidate against the best so far.

Scores wait in a scratch that the card's cache holds: programs are as many as run at once, and each takes one block of
rows after another. Maxima lie there with rows side by side, so that one thread holds all groups of a row and looks for
the best without asking its neighbours; their pitch is no multiple of 16 bytes, or the compiler would give four rows to
a thread and share out the groups.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

FEWEST = 192
"""Candidates from which the two rounds are faster than one pass."""
ROWS, TILE, WARPS, PER_SM = 128, 64, 4, 2
WIDEST = 128  # groups, or members of the k best groups, that a thread holds


def group_size(candidates: int, k: int) -> int | None:
    """Neighbours a group, so that both rounds are short; None where there are too many candidates."""
    kept = triton.next_power_of_2(k)
    for size in (8, 16, 32):
        if triton.cdiv(candidates, size) <= WIDEST and kept * size <= WIDEST:
            return size
    return None


@triton.jit
def topk_many_kernel(
    q_ptr, d_ptr, limit_ptr, low_ptr, high_ptr, table_ptr, out_ptr, score_ptr, maxima_ptr, pick_ptr,
    rows, candidates, H, blocks, jobs, q_b, q_h, q_l, d_b, d_h, d_l, padded,
    K: tl.constexpr, KEPT: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    GROUP: tl.constexpr, GROUPS: tl.constexpr, UPCAST: tl.constexpr, HAS_TABLE: tl.constexpr,
):  # fmt: skip
    nowhere: tl.constexpr = 2147483647
    pitch: tl.constexpr = M + 1
    program = tl.program_id(0)
    nth, d = tl.arange(0, M), tl.arange(0, DP)
    mine = program.to(tl.int64)
    score_row = score_ptr + (mine * M + nth) * padded
    maxima_row = maxima_ptr + mine * GROUPS * pitch + nth
    pick_row = pick_ptr + mine * KEPT * pitch + nth
    for job in range(program, jobs, tl.num_programs(0)):
        bh = (job // blocks).to(tl.int64)
        row = (job % blocks) * M + nth
        inside = row < rows
        at = bh // H * q_b + bh % H * q_h + row[:, None].to(tl.int64) * q_l + d[None, :]
        q = tl.load(q_ptr + at, mask=inside[:, None] & (d[None, :] < D), other=0.0)
        if UPCAST:
            q = q.to(tl.float32)
        limit = tl.load(limit_ptr + row, mask=inside, other=0)
        low = tl.load(low_ptr + row, mask=inside, other=0)
        high = tl.load(high_ptr + row, mask=inside, other=0)
        most = tl.max(limit, 0)
        for start in range(0, most, N):
            c = start + tl.arange(0, N)
            of = bh // H * d_b + bh % H * d_h + c[None, :].to(tl.int64) * d_l + d[:, None]
            desc = tl.load(d_ptr + of, mask=(c[None, :] < candidates) & (d[:, None] < D), other=0.0)
            if UPCAST:
                desc = desc.to(tl.float32)
            score = tl.dot(q, desc, input_precision="ieee")
            open_to = (c[None, :] < limit[:, None]) & ((c[None, :] < low[:, None]) | (c[None, :] >= high[:, None]))
            score = tl.where(open_to, score, float("-inf"))
            tl.store(score_row[:, None] + c[None, :], score)
            maxima = tl.max(tl.reshape(score, (M, N // GROUP, GROUP)), 2)
            first = start // GROUP + tl.arange(0, N // GROUP)
            tl.store(maxima_row[:, None] + first[None, :] * pitch, maxima)
        tl.debug_barrier()  # other threads read them back
        g = tl.arange(0, GROUPS)[:, None]
        seen = (most + N - 1) // N * (N // GROUP)
        maxima = tl.load(maxima_row[None, :] + g * pitch, mask=g < seen, other=float("-inf"))
        for j in range(K):
            top = tl.max(maxima, 0)
            pick = tl.min(tl.where(maxima == top[None, :], g, nowhere), 0)
            tl.store(pick_row + j * pitch, tl.where(top > float("-inf"), pick, -1))
            maxima = tl.where(g == pick[None, :], float("-inf"), maxima)
        tl.debug_barrier()
        member = tl.arange(0, KEPT * GROUP)[:, None]
        group = tl.load(pick_row[None, :] + member // GROUP * pitch, mask=member // GROUP < K, other=-1)
        # Members out of order, or lanes would share out a row's: they are told by their numbers.
        c = group * GROUP + member * 3 % GROUP
        score = tl.load(score_row[None, :] + c, mask=group >= 0, other=float("-inf"))
        out = out_ptr + (bh * rows + row) * K
        for j in range(K):  # best first
            top = tl.max(score, 0)
            rank = tl.min(tl.where(score == top[None, :], c, nowhere), 0)
            found = inside & (top > float("-inf"))
            chosen = rank
            if HAS_TABLE:
                chosen = tl.load(table_ptr + rank, mask=found, other=-1).to(tl.int32)
            tl.store(out + j, tl.where(found, chosen, -1), mask=inside)
            score = tl.where(c == rank[None, :], float("-inf"), score)
        tl.debug_barrier()  # the next job writes over what others still read


def launch(
    q_BHLD: Tensor, descriptors_BHCD: Tensor, limit: Tensor, low: Tensor, high: Tensor, k: int, table: Tensor | None,
    out_BHLK: Tensor, size: int, upcast: bool,
) -> None:  # fmt: skip
    """Fills `out_BHLK`; arguments as `topk.top_chunks_fused` gives them, `size` as `group_size` does."""
    batch, heads, rows, width = q_BHLD.shape
    candidates, device = descriptors_BHCD.shape[2], q_BHLD.device
    blocks = triton.cdiv(rows, ROWS)
    jobs = blocks * batch * heads
    programs = min(jobs, _programs(device))
    padded = triton.cdiv(candidates, TILE) * TILE
    groups = max(TILE // size, triton.next_power_of_2(padded // size))
    kept = max(2, triton.next_power_of_2(k))
    score = torch.empty(programs * ROWS * padded, dtype=torch.float32, device=device)
    pitch = ROWS + 1
    maxima = torch.empty(programs * pitch * groups, dtype=torch.float32, device=device)
    pick = torch.empty(programs * pitch * kept, dtype=torch.int32, device=device)
    topk_many_kernel[(programs,)](
        q_BHLD, descriptors_BHCD, limit, low, high, limit if table is None else table, out_BHLK, score, maxima, pick,
        rows, candidates, heads, blocks, jobs, *q_BHLD.stride()[:3], *descriptors_BHCD.stride()[:3], padded,
        K=k, KEPT=kept, D=width, DP=max(16, triton.next_power_of_2(width)), M=ROWS, N=TILE, GROUP=size, GROUPS=groups,
        UPCAST=upcast, HAS_TABLE=table is not None, num_warps=WARPS,
    )  # fmt: skip


def _programs(device: torch.device) -> int:
    """As many programs as the card runs at once; few where kernels are interpreted."""
    if device.type != "cuda":
        return 2
    return PER_SM * torch.cuda.get_device_properties(device).multi_processor_count

"""Kernels of routed attention, forward. One program serves queries that picked the same chunk, gathered by pointer.

Letters: M links of a tile, N keys of a tile, D head width (padded to DP). Scores are kept in base 2: `scale` comes
multiplied by log2(e); log-sum-exps in memory are natural. Every program owns what it writes, so results are bit-stable.
The interpreter gets bf16 products wrong, hence UPCAST.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def _rows_of(x, batch, head, s_b, s_h, s_l, row, d, D: tl.constexpr, ok, UPCAST: tl.constexpr):
    at = batch.to(tl.int64) * s_b + head.to(tl.int64) * s_h + row[:, None].to(tl.int64) * s_l + d[None, :]
    value = tl.load(x + at, mask=ok[:, None] & (d[None, :] < D), other=0.0)
    return value.to(tl.float32) if UPCAST else value


@triton.jit
def _all_rows_of(x, batch, head, s_b, s_h, s_l, row, d, D: tl.constexpr, DP: tl.constexpr, UPCAST: tl.constexpr):
    """The same of rows that are all there."""
    at = batch.to(tl.int64) * s_b + head.to(tl.int64) * s_h + row[:, None].to(tl.int64) * s_l + d[None, :]
    value = tl.load(x + at) if D == DP else tl.load(x + at, mask=d[None, :] < D, other=0.0)
    return value.to(tl.float32) if UPCAST else value


@triton.jit
def _links_of(slots, first, last, bh, W: tl.constexpr, LQ, M: tl.constexpr):
    """M links from `first` on: their slots, their rows (0 where there is no link), and which there are."""
    link = first + tl.arange(0, M)
    ok = link < last
    slot = tl.load(slots + link, mask=ok, other=0)
    row = slot // W - bh.to(slot.dtype) * LQ
    return slot, tl.where(ok, row, 0), ok


@triton.jit
def _tile_of(tile_group, tile_edges, edges, slots, groups, C, H, W: tl.constexpr, LQ, M: tl.constexpr):
    """Group of this program and its links: group, batch row, head, chunk, slots [M], rows [M], which are real [M]."""
    t = tl.program_id(0)
    g = tl.load(tile_group + t)
    real = g < groups
    g = tl.where(real, g, 0)
    first = tl.load(edges + g) + (t - tl.load(tile_edges + g)) * M
    last = tl.where(real, tl.load(edges + g + 1), 0)
    bh = g // C
    slot, row, ok = _links_of(slots, first, last, bh, W, LQ, M)
    return bh // H, bh % H, g % C, slot, row, ok, real


@triton.jit
def _absorb(q, k, v, there, scale, most, total, acc, FOREIGN: tl.constexpr, MASKED: tl.constexpr):
    """One tile of keys into the running softmax; the maximum is taken before scaling, so that scores cost one
    fused multiply-add each. `scale` is not negative. MASKED: some keys are not `there`; FOREIGN: their scores may not
    even raise the maximum."""
    s = tl.dot(q, tl.trans(k), input_precision="ieee")
    if FOREIGN:
        s = tl.where(there[None, :], s, float("-inf"))
    higher = tl.maximum(most, tl.max(s, 1) * scale)
    p = tl.exp2(s * scale - higher[:, None])
    if MASKED:
        p = tl.where(there[None, :], p, 0.0)  # a scale of zero makes nothing of -inf
    shrink = tl.exp2(most - higher)
    total = total * shrink + tl.sum(p, 1)
    acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
    return higher, total, acc


@triton.jit
def _store_links(
    out_ptr, lse_ptr, slot, ok, d, most, total, acc, D: tl.constexpr, DP: tl.constexpr, HINT: tl.constexpr
):
    """Results of links at their slots; HINT: what becomes of them in the cache."""
    wide = ok[:, None] if D == DP else ok[:, None] & (d[None, :] < D)
    at = slot[:, None].to(tl.int64) * D + d[None, :]
    inverse = 1.0 / total  # a division for each row, not for each number
    tl.store(out_ptr + at, (acc * inverse[:, None]).to(out_ptr.dtype.element_ty), mask=wide, eviction_policy=HINT)
    tl.store(lse_ptr + slot, (most + tl.log2(total)) * LN2, mask=ok)


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, slots, edges, tile_edges, tile_group, bounds,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, groups, C, H, LQ, scale,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
    NEGATE: tl.constexpr,
):  # fmt: skip
    """M links of one chunk, whose keys pass by in tiles of N; a negative scale comes as NEGATE."""
    b, h, c, slot, row, ok, real = _tile_of(tile_group, tile_edges, edges, slots, groups, C, H, W, LQ, M)
    if real:
        d = tl.arange(0, DP)
        q = _rows_of(q_ptr, b, h, q_b, q_h, q_l, row, d, D, ok, UPCAST)
        if NEGATE:
            q = -q
        start, stop = tl.load(bounds + c), tl.load(bounds + c + 1)
        whole = start + (stop - start) // N * N
        most = tl.full((M,), float("-inf"), tl.float32)
        total = tl.zeros((M,), tl.float32)
        acc = tl.zeros((M, DP), tl.float32)
        nth = tl.arange(0, N)
        for n in range(start, whole, N):
            k = _all_rows_of(k_ptr, b, h, k_b, k_h, k_l, n + nth, d, D, DP, UPCAST)
            v = _all_rows_of(v_ptr, b, h, v_b, v_h, v_l, n + nth, d, D, DP, UPCAST)
            most, total, acc = _absorb(q, k, v, nth < N, scale, most, total, acc, False, False)
        if whole < stop:
            there = whole + nth < stop
            k = _rows_of(k_ptr, b, h, k_b, k_h, k_l, whole + nth, d, D, there, UPCAST)
            v = _rows_of(v_ptr, b, h, v_b, v_h, v_l, whole + nth, d, D, there, UPCAST)
            most, total, acc = _absorb(q, k, v, there, scale, most, total, acc, True, True)
        _store_links(out_ptr, lse_ptr, slot, ok, d, most, total, acc, D, DP, "")


@triton.jit
def blocks_forward_kernel(
    q_ptr, k_blocks, v_blocks, out_ptr, lse_ptr, slots, edges, tile_edges, tile_group, bounds,
    q_b, q_h, q_l, k_batch, k_head, k_column, v_batch, v_head, v_column, groups, C, H, LQ, scale,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
    NEGATE: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """`forward_kernel` with keys and values by the copy engine, in blocks of N; see `descriptors.Blocks`.

    OVERLAP: no chunk is shorter than N, so the last block may start early enough to end with its chunk. Keys that it
    holds again have been counted, and add nothing: no tail, no other chunk's keys.
    """
    b, h, c, slot, row, ok, real = _tile_of(tile_group, tile_edges, edges, slots, groups, C, H, W, LQ, M)
    if real:
        d = tl.arange(0, DP)
        q = _rows_of(q_ptr, b, h, q_b, q_h, q_l, row, d, D, ok, UPCAST)
        if NEGATE:
            q = -q
        start, stop = tl.load(bounds + c).to(tl.int32), tl.load(bounds + c + 1).to(tl.int32)
        k_row, v_row = (b * k_batch + h * k_head).to(tl.int32), (b * v_batch + h * v_head).to(tl.int32)
        k_at, v_at = (h * k_column).to(tl.int32), (h * v_column).to(tl.int32)
        most = tl.full((M,), float("-inf"), tl.float32)
        total = tl.zeros((M,), tl.float32)
        acc = tl.zeros((M, DP), tl.float32)
        nth = tl.arange(0, N)
        if OVERLAP:
            for n in range(start, stop, N):
                at = tl.minimum(n, stop - N)
                k, v = k_blocks.load([k_row + at, k_at]), v_blocks.load([v_row + at, v_at])
                if UPCAST:
                    k, v = k.to(tl.float32), v.to(tl.float32)
                most, total, acc = _absorb(q, k, v, nth >= n - at, scale, most, total, acc, False, True)
        else:
            whole = start + (stop - start) // N * N
            for n in range(start, whole, N):
                k, v = k_blocks.load([k_row + n, k_at]), v_blocks.load([v_row + n, v_at])
                if UPCAST:
                    k, v = k.to(tl.float32), v.to(tl.float32)
                most, total, acc = _absorb(q, k, v, nth < N, scale, most, total, acc, False, False)
            if whole < stop:
                there = whole + nth < stop
                k, v = k_blocks.load([k_row + whole, k_at]), v_blocks.load([v_row + whole, v_at])
                v = tl.where(there[:, None], v, 0.0)  # the block reaches into the next chunk, where anything may stand
                if UPCAST:
                    k, v = k.to(tl.float32), v.to(tl.float32)
                most, total, acc = _absorb(q, k, v, there, scale, most, total, acc, True, True)
        _store_links(out_ptr, lse_ptr, slot, ok, d, most, total, acc, D, DP, "")


@triton.jit
def short_forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, slots, edges, span_edges, span_group, bounds,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, groups, span, C, H, LQ, scale,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
    NEGATE: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """A span of the links of one chunk of at most N keys, which stay while the links pass by in tiles of M.

    The next tile's queries and the slots of the one after it are on their way, in registers, while this one's are at
    work. Left to itself the compiler would send for queries, whose rows come from memory as well, at the end of a round
    and wait for them at the start of the next. WHOLE: every chunk has N keys.
    """
    s = tl.program_id(0)
    g = tl.load(span_group + s)
    if g < groups:
        bh, c = g // C, g % C
        b, h = bh // H, bh % H
        d, nth, mth = tl.arange(0, DP), tl.arange(0, N), tl.arange(0, M)
        low = tl.load(edges + g) + (s - tl.load(span_edges + g)) * span
        last = tl.minimum(low + span, tl.load(edges + g + 1))
        above = bh.to(slots.dtype.element_ty) * LQ
        # A span has at least one link. Beyond its last one, that one is read again, so that no load needs a mask.
        slot = tl.load(slots + tl.minimum(low + mth, last - 1))
        after = tl.load(slots + tl.minimum(low + M + mth, last - 1))
        q = _all_rows_of(q_ptr, b, h, q_b, q_h, q_l, slot // W - above, d, D, DP, UPCAST)
        start, stop = tl.load(bounds + c), tl.load(bounds + c + 1)
        there = start + nth < stop
        k = _rows_of(k_ptr, b, h, k_b, k_h, k_l, start + nth, d, D, there, UPCAST)
        v = _rows_of(v_ptr, b, h, v_b, v_h, v_l, start + nth, d, D, there, UPCAST)
        if NEGATE:
            k = -k
        for first in range(low, last, M):
            next_q = _all_rows_of(q_ptr, b, h, q_b, q_h, q_l, after // W - above, d, D, DP, UPCAST)
            later = tl.load(slots + tl.minimum(first + 2 * M + mth, last - 1))
            score = tl.dot(q, tl.trans(k), input_precision="ieee")
            if not WHOLE:
                score = tl.where(there[None, :], score, float("-inf"))
            most = tl.max(score, 1) * scale
            p = tl.exp2(score * scale - most[:, None])
            if not WHOLE:
                p = tl.where(there[None, :], p, 0.0)  # a scale of zero makes nothing of -inf
            acc = tl.dot(p.to(v.dtype), v, input_precision="ieee")
            # partial results are read once, much later: queries are worth more in the cache
            ok = first + mth < last
            _store_links(out_ptr, lse_ptr, slot, ok, d, most, tl.sum(p, 1), acc, D, DP, "evict_first")
            q, slot, after = next_q, after, later


@triton.jit
def _is_link(index, ok, C):
    """Whether a slot names a chunk: the plan passes over all others, so nothing was written for them."""
    chunk = tl.load(index, mask=ok, other=-1)
    return ok & (chunk >= 0) & (chunk < C)


@triton.jit
def merge_kernel(
    part_ptr, part_lse_ptr, index_ptr, own_ptr, own_lse_ptr, out_ptr, lse_ptr,
    o_b, o_h, o_l, r_b, r_h, r_l, rows, C, H, LQ,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """One softmax out of the own part and up to W routed parts of each row, in the order of the slots.

    One pass with a running maximum, so that every number is read once.
    """
    in_flight: tl.constexpr = 8 if W >= 8 else 4  # links whose loads are sent for together
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    ok = r < rows
    d = tl.arange(0, DP)
    wide = ok[:, None] & (d[None, :] < D)
    bh, row = r // LQ, r % LQ
    b, h = bh // H, bh % H
    most = tl.load(own_lse_ptr + r, mask=ok, other=0.0)
    some = most != float("-inf")
    at = b * o_b + h * o_h + row * o_l
    own = tl.load(own_ptr + at[:, None] + d[None, :], mask=wide, other=0.0, eviction_policy="evict_first")
    acc = tl.where(some[:, None], own.to(tl.float32), 0.0)
    total = tl.where(some, 1.0, 0.0)
    for j in tl.range(W, loop_unroll_factor=in_flight):
        there = _is_link(index_ptr + r * W + j, ok, C)
        lse = tl.load(part_lse_ptr + r * W + j, mask=there, other=float("-inf"))
        of = (r * W + j)[:, None] * D + d[None, :]
        part = tl.load(part_ptr + of, mask=wide & there[:, None], other=0.0, eviction_policy="evict_first")
        higher = tl.maximum(most, lse)
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        shrink, weight = tl.exp(most - safe), tl.exp(lse - safe)
        acc = acc * shrink[:, None] + part.to(tl.float32) * weight[:, None]
        total = total * shrink + weight
        most = higher
    inverse = 1.0 / tl.where(total > 0, total, 1.0)
    out = acc * inverse[:, None]
    at = b * r_b + h * r_h + row * r_l
    tl.store(out_ptr + at[:, None] + d[None, :], out.to(out_ptr.dtype.element_ty), mask=wide)
    tl.store(lse_ptr + r, most + tl.log(total), mask=ok)

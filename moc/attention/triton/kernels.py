"""Kernels of routed attention. One program serves queries that picked the same chunk, gathered by pointer.

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
def _absorb(q, k, v, there, scale, most, total, acc, MASKED: tl.constexpr):
    """One tile of keys into the running softmax; the maximum is taken before scaling, so that scores cost one
    fused multiply-add each. `scale` is not negative."""
    s = tl.dot(q, tl.trans(k), input_precision="ieee")
    if MASKED:
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
            most, total, acc = _absorb(q, k, v, nth < N, scale, most, total, acc, False)
        if whole < stop:
            there = whole + nth < stop
            k = _rows_of(k_ptr, b, h, k_b, k_h, k_l, whole + nth, d, D, there, UPCAST)
            v = _rows_of(v_ptr, b, h, v_b, v_h, v_l, whole + nth, d, D, there, UPCAST)
            most, total, acc = _absorb(q, k, v, there, scale, most, total, acc, True)
        _store_links(out_ptr, lse_ptr, slot, ok, d, most, total, acc, D, DP)


@triton.jit
def blocks_forward_kernel(
    q_ptr, k_blocks, v_blocks, out_ptr, lse_ptr, slots, edges, tile_edges, tile_group, bounds,
    q_b, q_h, q_l, k_batch, k_head, k_column, v_batch, v_head, v_column, groups, C, H, LQ, scale,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
    NEGATE: tl.constexpr,
):  # fmt: skip
    """`forward_kernel` with keys and values by the copy engine, in blocks of N; see `descriptors.Blocks`."""
    b, h, c, slot, row, ok, real = _tile_of(tile_group, tile_edges, edges, slots, groups, C, H, W, LQ, M)
    if real:
        d = tl.arange(0, DP)
        q = _rows_of(q_ptr, b, h, q_b, q_h, q_l, row, d, D, ok, UPCAST)
        if NEGATE:
            q = -q
        start, stop = tl.load(bounds + c).to(tl.int32), tl.load(bounds + c + 1).to(tl.int32)
        whole = start + (stop - start) // N * N
        k_row, v_row = (b * k_batch + h * k_head).to(tl.int32), (b * v_batch + h * v_head).to(tl.int32)
        k_at, v_at = (h * k_column).to(tl.int32), (h * v_column).to(tl.int32)
        most = tl.full((M,), float("-inf"), tl.float32)
        total = tl.zeros((M,), tl.float32)
        acc = tl.zeros((M, DP), tl.float32)
        nth = tl.arange(0, N)
        for n in range(start, whole, N):
            k, v = k_blocks.load([k_row + n, k_at]), v_blocks.load([v_row + n, v_at])
            if UPCAST:
                k, v = k.to(tl.float32), v.to(tl.float32)
            most, total, acc = _absorb(q, k, v, nth < N, scale, most, total, acc, False)
        if whole < stop:
            there = whole + nth < stop
            k, v = k_blocks.load([k_row + whole, k_at]), v_blocks.load([v_row + whole, v_at])
            v = tl.where(there[:, None], v, 0.0)  # the block reaches into the next chunk, where anything may stand
            if UPCAST:
                k, v = k.to(tl.float32), v.to(tl.float32)
            most, total, acc = _absorb(q, k, v, there, scale, most, total, acc, True)
        _store_links(out_ptr, lse_ptr, slot, ok, d, most, total, acc, D, DP)


@triton.jit
def _store_links(out_ptr, lse_ptr, slot, ok, d, most, total, acc, D: tl.constexpr, DP: tl.constexpr):
    wide = ok[:, None] if D == DP else ok[:, None] & (d[None, :] < D)
    at = slot[:, None].to(tl.int64) * D + d[None, :]
    inverse = 1.0 / total  # a division for each row, not for each number
    tl.store(out_ptr + at, (acc * inverse[:, None]).to(out_ptr.dtype.element_ty), mask=wide)
    tl.store(lse_ptr + slot, (most + tl.log2(total)) * LN2, mask=ok)


@triton.jit
def short_forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, slots, edges, span_edges, span_group, bounds,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, groups, span, C, H, LQ, scale,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
    NEGATE: tl.constexpr,
):  # fmt: skip
    """A span of the links of one chunk of at most N keys, which stay while the links pass by in tiles of M."""
    s = tl.program_id(0)
    g = tl.load(span_group + s)
    if g < groups:
        bh, c = g // C, g % C
        b, h = bh // H, bh % H
        d, nth = tl.arange(0, DP), tl.arange(0, N)
        start, stop = tl.load(bounds + c), tl.load(bounds + c + 1)
        there = start + nth < stop
        k = _rows_of(k_ptr, b, h, k_b, k_h, k_l, start + nth, d, D, there, UPCAST)
        v = _rows_of(v_ptr, b, h, v_b, v_h, v_l, start + nth, d, D, there, UPCAST)
        low = tl.load(edges + g) + (s - tl.load(span_edges + g)) * span
        last = tl.minimum(low + span, tl.load(edges + g + 1))
        full = stop - start == N
        for first in range(low, last, M):
            slot, row, ok = _links_of(slots, first, last, bh, W, LQ, M)
            q = _rows_of(q_ptr, b, h, q_b, q_h, q_l, row, d, D, ok, UPCAST)
            if NEGATE:
                q = -q
            score = tl.dot(q, tl.trans(k), input_precision="ieee")
            if not full:
                score = tl.where(there[None, :], score, float("-inf"))
            most = tl.max(score, 1) * scale
            p = tl.exp2(score * scale - most[:, None])
            if not full:
                p = tl.where(there[None, :], p, 0.0)  # a scale of zero makes nothing of -inf
            acc = tl.dot(p.to(v.dtype), v, input_precision="ieee")
            _store_links(out_ptr, lse_ptr, slot, ok, d, most, tl.sum(p, 1), acc, D, DP)


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
    """One softmax out of the own part and up to W routed parts of each row, in the order of the slots."""
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    ok = r < rows
    d = tl.arange(0, DP)
    wide = ok[:, None] & (d[None, :] < D)
    bh, row = r // LQ, r % LQ
    b, h = bh // H, bh % H
    most = tl.load(own_lse_ptr + r, mask=ok, other=0.0)
    own_lse = most
    for j in tl.range(W, loop_unroll_factor=4):  # loads of several links in flight
        there = _is_link(index_ptr + r * W + j, ok, C)
        most = tl.maximum(most, tl.load(part_lse_ptr + r * W + j, mask=there, other=float("-inf")))
    safe = tl.where(most == float("-inf"), 0.0, most)
    weight = tl.exp(own_lse - safe)
    total = weight
    at = b * o_b + h * o_h + row * o_l
    own = tl.load(own_ptr + at[:, None] + d[None, :], mask=wide, other=0.0).to(tl.float32)
    acc = tl.where(weight[:, None] > 0, own, 0.0) * weight[:, None]
    for j in tl.range(W, loop_unroll_factor=4):  # loads of several links in flight
        there = _is_link(index_ptr + r * W + j, ok, C)
        weight = tl.exp(tl.load(part_lse_ptr + r * W + j, mask=there, other=float("-inf")) - safe)
        part = tl.load(part_ptr + (r * W + j)[:, None] * D + d[None, :], mask=wide & there[:, None], other=0.0)
        acc += part.to(tl.float32) * weight[:, None]
        total += weight
    inverse = 1.0 / tl.where(total > 0, total, 1.0)
    out = acc * inverse[:, None]
    at = b * r_b + h * r_h + row * r_l
    tl.store(out_ptr + at[:, None] + d[None, :], out.to(out_ptr.dtype.element_ty), mask=wide)
    tl.store(lse_ptr + r, safe + tl.log(total), mask=ok)


@triton.jit
def _dq_of(q, do, k, v, there, scale, lse, delta, MASKED: tl.constexpr):
    """Unscaled query gradients by one tile of keys."""
    s = tl.dot(q, tl.trans(k), input_precision="ieee")
    p = tl.exp2(s * scale - lse[:, None])
    if MASKED:
        p = tl.where(there[None, :], p, 0.0)
    dp = tl.dot(do, tl.trans(v), input_precision="ieee")
    ds = p * (dp - delta[:, None])
    return tl.dot(ds.to(k.dtype), k, input_precision="ieee")


@triton.jit
def dq_kernel(
    q_ptr, k_ptr, v_ptr, do_ptr, lse_ptr, delta_ptr, part_ptr, slots, edges, tile_edges, tile_group, bounds,
    q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, g_b, g_h, g_l, groups, C, H, LQ, scale,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Query gradient of every link, in float32, at its slot."""
    b, h, c, slot, row, ok, real = _tile_of(tile_group, tile_edges, edges, slots, groups, C, H, W, LQ, M)
    if real:
        d = tl.arange(0, DP)
        q = _rows_of(q_ptr, b, h, q_b, q_h, q_l, row, d, D, ok, UPCAST)
        do = _rows_of(do_ptr, b, h, g_b, g_h, g_l, row, d, D, ok, UPCAST)
        flat = (b * H + h).to(tl.int64) * LQ + row
        lse = tl.load(lse_ptr + flat, mask=ok, other=0.0) * LOG2E
        delta = tl.load(delta_ptr + flat, mask=ok, other=0.0)
        start, stop = tl.load(bounds + c), tl.load(bounds + c + 1)
        whole = start + (stop - start) // N * N
        acc = tl.zeros((M, DP), tl.float32)
        nth = tl.arange(0, N)
        for n in range(start, whole, N):
            k = _all_rows_of(k_ptr, b, h, k_b, k_h, k_l, n + nth, d, D, DP, UPCAST)
            v = _all_rows_of(v_ptr, b, h, v_b, v_h, v_l, n + nth, d, D, DP, UPCAST)
            acc += _dq_of(q, do, k, v, nth < N, scale, lse, delta, False)
        if whole < stop:
            there = whole + nth < stop
            k = _rows_of(k_ptr, b, h, k_b, k_h, k_l, whole + nth, d, D, there, UPCAST)
            v = _rows_of(v_ptr, b, h, v_b, v_h, v_l, whole + nth, d, D, there, UPCAST)
            acc += _dq_of(q, do, k, v, there, scale, lse, delta, True)
        at = slot[:, None].to(tl.int64) * D + d[None, :]
        tl.store(part_ptr + at, acc * (scale * LN2), mask=ok[:, None] & (d[None, :] < D))


@triton.jit
def dq_sum_kernel(
    part_ptr, index_ptr, own_ptr, out_ptr, o_b, o_h, o_l, r_b, r_h, r_l, rows, C, H, LQ,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """Query gradient of each row: its own part plus its links, summed in float32 and rounded once."""
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    ok = r < rows
    d = tl.arange(0, DP)
    wide = ok[:, None] & (d[None, :] < D)
    bh, row = r // LQ, r % LQ
    b, h = bh // H, bh % H
    at = b * o_b + h * o_h + row * o_l
    acc = tl.load(own_ptr + at[:, None] + d[None, :], mask=wide, other=0.0).to(tl.float32)
    for j in tl.range(W, loop_unroll_factor=4):  # loads of several links in flight
        there = _is_link(index_ptr + r * W + j, ok, C)
        acc += tl.load(part_ptr + (r * W + j)[:, None] * D + d[None, :], mask=wide & there[:, None], other=0.0)
    at = b * r_b + h * r_h + row * r_l
    tl.store(out_ptr + at[:, None] + d[None, :], acc.to(out_ptr.dtype.element_ty), mask=wide)


@triton.jit
def dkdv_kernel(
    q_ptr, k_ptr, v_ptr, do_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, more_ptr, slots, edges, span_edges, span_group,
    bounds, q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, g_b, g_h, g_l, r_b, r_h, r_l, groups, span, longest, C, H,
    LQ, scale,
    W: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Key and value gradients of a tile of one chunk, over a span of the links that lead to it, in float32.

    A chunk's first span writes the result, further ones write to `more` [spans beyond the first, 2, longest, D].
    """
    s, tile = tl.program_id(0), tl.program_id(1)
    g = tl.load(span_group + s)
    real = g < groups
    g = tl.where(real, g, 0)
    bh, c = g // C, g % C
    b, h = bh // H, bh % H
    start, stop = tl.load(bounds + c), tl.load(bounds + c + 1)
    nth = tile * N + tl.arange(0, N)
    if real & (start + tile * N < stop):
        d = tl.arange(0, DP)
        key = start + nth
        there = key < stop
        k = _rows_of(k_ptr, b, h, k_b, k_h, k_l, key, d, D, there, UPCAST)
        v = _rows_of(v_ptr, b, h, v_b, v_h, v_l, key, d, D, there, UPCAST)
        dk = tl.zeros((N, DP), tl.float32)
        dv = tl.zeros((N, DP), tl.float32)
        earlier = s - tl.load(span_edges + g)
        low = tl.load(edges + g) + earlier * span
        last = tl.minimum(low + span, tl.load(edges + g + 1))
        for first in range(low, last, M):
            slot, row, ok = _links_of(slots, first, last, bh, W, LQ, M)
            flat = slot // W
            q = _rows_of(q_ptr, b, h, q_b, q_h, q_l, row, d, D, ok, UPCAST)
            do = _rows_of(do_ptr, b, h, g_b, g_h, g_l, row, d, D, ok, UPCAST)
            lse = tl.load(lse_ptr + flat, mask=ok, other=0.0) * LOG2E
            delta = tl.load(delta_ptr + flat, mask=ok, other=0.0)
            score = tl.dot(k, tl.trans(q), input_precision="ieee") * scale
            p = tl.where(ok[None, :], tl.exp2(score - lse[None, :]), 0.0)
            dv += tl.dot(p.to(do.dtype), do, input_precision="ieee")
            dp = tl.dot(v, tl.trans(do), input_precision="ieee")
            ds = p * (dp - delta[None, :])
            dk += tl.dot(ds.to(q.dtype), q, input_precision="ieee")
        dk *= scale * LN2
        wide = there[:, None] & (d[None, :] < D)
        if earlier == 0:
            at = b.to(tl.int64) * r_b + h.to(tl.int64) * r_h + key[:, None].to(tl.int64) * r_l + d[None, :]
            tl.store(dk_ptr + at, dk, mask=wide)
            tl.store(dv_ptr + at, dv, mask=wide)
        else:
            at = (s - g - 1).to(tl.int64) * (2 * D) * longest + nth[:, None] * D + d[None, :]
            tl.store(more_ptr + at, dk, mask=wide)
            tl.store(more_ptr + at + longest * D, dv, mask=wide)


@triton.jit
def dkdv_sum_kernel(
    more_ptr, dk_ptr, dv_ptr, span_edges, bounds, r_b, r_h, r_l, longest, C, H,
    D: tl.constexpr, DP: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Adds the spans beyond the first of each chunk, in their order."""
    g, tile = tl.program_id(0), tl.program_id(1)
    first, last = tl.load(span_edges + g), tl.load(span_edges + g + 1)
    c, bh = g % C, g // C
    start, stop = tl.load(bounds + c), tl.load(bounds + c + 1)
    if (last - first > 1) & (start + tile * N < stop):
        d = tl.arange(0, DP)
        nth = tile * N + tl.arange(0, N)
        key = start + nth
        wide = (key < stop)[:, None] & (d[None, :] < D)
        at = (bh // H).to(tl.int64) * r_b + (bh % H).to(tl.int64) * r_h + key[:, None].to(tl.int64) * r_l + d[None, :]
        dk = tl.load(dk_ptr + at, mask=wide, other=0.0)
        dv = tl.load(dv_ptr + at, mask=wide, other=0.0)
        for s in range(first + 1, last):
            more = more_ptr + (s - g - 1).to(tl.int64) * (2 * D) * longest + nth[:, None] * D + d[None, :]
            dk += tl.load(more, mask=wide, other=0.0)
            dv += tl.load(more + longest * D, mask=wide, other=0.0)
        tl.store(dk_ptr + at, dk, mask=wide)
        tl.store(dv_ptr + at, dv, mask=wide)


@triton.jit
def delta_kernel(
    out_ptr, do_ptr, dlse_ptr, delta_ptr, o_b, o_h, o_l, g_b, g_h, g_l, rows, H, LQ,
    HAS_DLSE: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """rowsum(dO * O) - dLSE: what every dP is measured against."""
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    ok = r < rows
    d = tl.arange(0, DP)
    wide = ok[:, None] & (d[None, :] < D)
    bh, row = r // LQ, r % LQ
    b, h = bh // H, bh % H
    out = tl.load(out_ptr + (b * o_b + h * o_h + row * o_l)[:, None] + d[None, :], mask=wide, other=0.0)
    do = tl.load(do_ptr + (b * g_b + h * g_h + row * g_l)[:, None] + d[None, :], mask=wide, other=0.0)
    delta = tl.sum(out.to(tl.float32) * do.to(tl.float32), 1)
    if HAS_DLSE:
        delta -= tl.load(dlse_ptr + r, mask=ok, other=0.0)
    tl.store(delta_ptr + r, delta, mask=ok)

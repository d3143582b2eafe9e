"""Kernels of routed attention, backward: letters and rules as in `kernels`."""

from __future__ import annotations

import triton
import triton.language as tl

from moc.attention.triton.kernels import LN2, LOG2E, _all_rows_of, _is_link, _links_of, _rows_of, _tile_of


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

"""Descriptors: the float32 mean of each chunk's keys, rounded once, for chunks of any lengths in one launch."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

TOKENS = 64
CHANNELS = 128  # whatever the chunks: the order of a sum, and so its last bit, may depend on it


@triton.jit
def pool_kernel(
    k_ptr, out_ptr, bounds, first, origin, H, k_b, k_h, k_l, chunks,
    D: tl.constexpr, DB: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """One program takes DB channels of one chunk of one head. `bounds` count from `origin`, the first key given."""
    c, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    d = tl.program_id(2) * DB + tl.arange(0, DB)
    start, stop = tl.load(bounds + first + c) - origin, tl.load(bounds + first + c + 1) - origin
    here = k_ptr + bh // H * k_b + bh % H * k_h
    total = tl.zeros((N, DB), tl.float32)
    for n in range(start, stop, N):
        token = (n + tl.arange(0, N)).to(tl.int64)
        ok = (token < stop)[:, None] & (d[None, :] < D)
        total += tl.load(here + token[:, None] * k_l + d[None, :], mask=ok, other=0.0).to(tl.float32)
    mean = tl.sum(total, 0) / (stop - start).to(tl.float32)
    tl.store(out_ptr + (bh * chunks + c) * D + d, mean.to(out_ptr.dtype.element_ty), mask=d < D)


def pool_fused(k_BHLD: Tensor, bounds: Tensor, chunks: tuple[int, int], origin: int) -> Tensor:
    """[B, H, last - first, D] means of chunks first:last in the keys' dtype.

    Args:
        k_BHLD: [B, H, L', D] keys from token `origin` of the stream on; bfloat16, float16 or float32.
        bounds: [C + 1] int64 edges of all chunks of the stream.
        chunks: first and last. None of them is empty.
    """
    k = k_BHLD if k_BHLD.stride(-1) == 1 else k_BHLD.contiguous()
    batch, heads, _, width = k.shape
    first, last = chunks
    out = k.new_empty(batch, heads, last - first, width)
    if out.numel():
        block = min(CHANNELS, max(16, triton.next_power_of_2(width)))
        pool_kernel[(last - first, batch * heads, triton.cdiv(width, block))](
            k, out, bounds, first, origin, heads, *k.stride()[:3], last - first, D=width, DB=block, N=TOKENS,
            num_warps=4,
        )  # fmt: skip
    return out

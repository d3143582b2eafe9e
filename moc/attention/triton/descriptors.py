"""Which keys and values the card's own copy engine can fetch, block by block: tensor descriptors of two dimensions.

A descriptor is a matrix in memory from which [rows, D] blocks are copied to shared memory by one instruction, without
an address for each element. [B, H, L, D] tensors fit that picture in two ways: each head a run of rows of its own, or,
as projections leave them, heads side by side in the columns. Everything else goes by pointers, to the same results.
Made on the host without asking the device, so a CUDA graph can capture the launch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from moc.attention.triton.launching import INTERPRETING

ALIGNED = 16  # bytes, of the base and of every step between rows and heads
MOST_ROWS = 2**31 - 2**10  # coordinates are int32; the last block may reach beyond the end


@dataclass(frozen=True)
class Blocks:
    """A matrix over [B, H, L, D]: token n of a head is row `b * batch_rows + h * head_rows + n`, from column
    `h * head_columns` on.

    Attributes:
        descriptor: the matrix, in blocks of [rows asked for, D].
        batch_rows, head_rows: rows between batch rows and between heads.
        head_columns: columns between heads.
    """

    descriptor: Any
    batch_rows: int
    head_rows: int
    head_columns: int

    @property
    def steps(self) -> list[int]:
        """What kernels take beside the descriptor."""
        return [self.batch_rows, self.head_rows, self.head_columns]


@cache
def _engine(device: torch.device) -> bool:
    """Whether there is a copy engine: Hopper and newer. The interpreter plays one."""
    return INTERPRETING or (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0))


def blocks_of(x: Tensor, rows: int) -> Blocks | None:
    """The matrix over `x` [B, H, L, D] whose blocks hold `rows` tokens of one head; None where there can't be one.

    It takes a card with the engine, 2-byte elements (any in the interpreter), D = 64, 128 or 256 next to one another
    (16 and 32 too in the interpreter), base and steps of whole 16 bytes, and batch rows and heads whole rows apart, or
    heads side by side within a row. The matrix ends where `x` ends: blocks that reach beyond are filled with zeros.
    """
    batch, heads, length, width = x.shape
    size = x.element_size()
    if not x.numel() or x.stride(3) != 1 or not _engine(x.device) or (size != 2 and not INTERPRETING):
        return None
    if width not in (64, 128, 256) and not (INTERPRETING and width in (16, 32)):
        return None
    # a step that is never made may be any
    s_l = x.stride(2)
    s_b, s_h = (x.stride(d) if x.shape[d] > 1 else 0 for d in (0, 1))
    if s_l < width or any(step * size % ALIGNED for step in (s_l, s_h)) or x.data_ptr() % ALIGNED or s_b % s_l:
        return None
    batch_rows, head_rows, head_columns = s_b // s_l, s_h // s_l, 0
    if s_h % s_l:
        head_rows, head_columns = 0, s_h
        if (heads - 1) * s_h + width > s_l:
            return None
    shape = [(batch - 1) * batch_rows + (heads - 1) * head_rows + length, (heads - 1) * head_columns + width]
    if shape[0] > MOST_ROWS:
        return None
    from triton.tools.tensor_descriptor import TensorDescriptor

    return Blocks(TensorDescriptor(x, shape, [s_l, 1], [rows, width]), batch_rows, head_rows, head_columns)

"""What launches of the kernels have in common."""

from __future__ import annotations

import math
import os

import torch
import triton
from torch import Tensor

from moc.attention.triton.tiles import Tiles

INTERPRETING = os.environ.get("TRITON_INTERPRET", "0") == "1"
LOG2E = math.log2(math.e)


def widths(x: Tensor) -> dict[str, int]:
    """Head width, and what it is padded to."""
    return {"D": x.shape[-1], "DP": max(16, triton.next_power_of_2(x.shape[-1]))}


def launch_shape(shape: Tiles) -> dict[str, int]:
    """Arguments that a kernel's shape stands for."""
    return {"M": shape.M, "N": shape.N, "num_warps": shape.num_warps, "num_stages": shape.num_stages}


def strides(*tensors: Tensor) -> list[int]:
    """Strides of all but the last dimension, which is contiguous."""
    return [s for x in tensors for s in x.stride()[:3]]


def upcast(x: Tensor) -> bool:
    """Whether products are made in float32: the interpreter gets those of bfloat16 wrong."""
    return INTERPRETING or x.dtype == torch.float32

"""The current device of a call."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Inside, the device of `x` is the current one: kernels that don't come from torch, Triton's among them, start on
    the current device and its stream, wherever their tensors lie."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()

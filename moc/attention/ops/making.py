"""How the operators are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.library import CustomOpDef


def operator(name: str) -> Callable[[Callable[..., Any]], CustomOpDef]:
    """Registers a function as moc::name. No operator changes its inputs.

    Compilers must not capture one in a CUDA graph of theirs: it reads the layout's handle on the CPU, which a replay
    would not, and the next layout would be attended as the one before. Whoever captures a graph by hand knows that it
    is for one layout.
    """
    return torch.library.custom_op(f"moc::{name}", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))

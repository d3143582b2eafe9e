"""The dense attention that MoC is held against, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from moc.errors import InputError

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

# names of torch's own kernels; "dense" is whatever torch chooses
_TORCH = {
    "dense": None,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "fa2": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def dense_kernel(name: str) -> Attention:
    """A function of q, k, v [B, H, L, D] that attends everything.

    Raises:
        InputError: no kernel has that name.
    """
    if name not in _TORCH:
        raise InputError(f"--against: unknown dense kernel '{name}', known are {', '.join(_TORCH)}.")
    backend = _TORCH[name]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if backend is None:
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    return attend


def available(device: torch.device, dtype: torch.dtype, head_dim: int) -> tuple[str, ...]:
    """The named kernels that run here, the fastest first as far as known beforehand; found by calling them."""
    x = torch.randn(1, 1, 128, head_dim, device=device, dtype=dtype)
    found = []
    for name in (*(name for name in _TORCH if name in ("cudnn", "fa2")), "dense"):
        try:
            dense_kernel(name)(x, x, x)
        except RuntimeError:
            continue
        found.append(name)
    return tuple(found)

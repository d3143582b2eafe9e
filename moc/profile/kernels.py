"""The dense attention that MoC is held against, by name: what is here is found by trying, never by a device's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from moc.attention import dense
from moc.attention.probes import probe
from moc.errors import InputError
from moc.profile.settings import DENSE

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]

_TORCH = {"torch": None, "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
_LABELS = {"torch": "torch's choice", "efficient": "torch's memory-efficient kernel", "math": "torch's plain products"}


@dataclass(frozen=True)
class DenseKernel:
    """A function of q, k, v [B, H, L, D] that attends everything, with gradients, and what it is in words."""

    attend: Attention
    label: str


def dense_kernel(name: str, like: Tensor, *, backward: bool = False) -> DenseKernel:
    """The kernel called `name`, tried on tensors of the device, dtype and head width of `like`.

    Args:
        name: one of `DENSE`. "dense" is the first of FlashAttention-4, -3, cuDNN and FlashAttention-2 that works, and
            what torch chooses where none does.
        like: [B, H, L, D].
        backward: its gradients are wanted, too.

    Raises:
        InputError: it does not run here, or has no such name.
    """
    if name == "dense":
        found = [p.name for p in dense.available(like, backward=backward) if p.ok and p.name != "sdpa"]
        name = found[0] if found else "torch"
    if name in _TORCH:
        kernel = DenseKernel(_of_torch(_TORCH[name]), _LABELS[name])
        try:
            kernel.attend(like, like, like)
        except RuntimeError as error:
            why = " ".join(str(error).split()).partition(". ")[0].rstrip(".")  # the first sentence
            raise InputError(f"--against {name}: {kernel.label} does not run here ({why}).") from error
        return kernel
    if name not in DENSE:
        raise InputError(f"--against: unknown dense kernel '{name}', known are {', '.join(DENSE)}.")
    tried = probe(name, like, backward=backward)
    label = dense.KERNELS[name].label
    if not tried.ok:
        raise InputError(f"--against {name}: {label} does not run here ({tried.why}).")

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = dense.attend(q, k, v, kernel=name)
        assert isinstance(out, Tensor)
        return out

    return DenseKernel(attend, label)


def _of_torch(backend: SDPBackend | None) -> Attention:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if backend is None:
            return scaled_dot_product_attention(q, k, v)
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(q, k, v)

    return attend


def available(device: torch.device, dtype: torch.dtype, head_dim: int) -> tuple[str, ...]:
    """Names of the dense kernels that run here, the fastest first as far as known; "torch" for want of any."""
    like = torch.randn(1, 1, 128, head_dim, device=device, dtype=dtype)
    found = tuple(p.name for p in dense.available(like) if p.ok and p.name != "sdpa")
    return found or ("torch",)

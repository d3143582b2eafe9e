"""Attention of ragged sequences on CUDA in bfloat16 and float16: FlashAttention-4 where it works, else torch's own 2.

Sequences are packed: tokens of all of them stand one after another in [T, H, D], and `edges` tells where each starts.
The backward pass takes the log-sum-exp and output of the whole attention, of which the call may be only a part.
`moc.attention.probes` has the rule for which kernel runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from moc.attention import fa4
from moc.attention.probes import own_kernel

MAX_SEQUENCES = 65_535  # sequences are a grid dimension of the kernel
_flash_forward = torch.ops.aten._flash_attention_forward
_flash_backward = torch.ops.aten._flash_attention_backward
_PAD = 8  # head widths are multiples of 8
_WIDEST = 256


@dataclass(frozen=True)
class Packing:
    """Where packed sequences start, and the longest of each side.

    Attributes:
        q_edges: [N + 1] int32 on the device; k_edges likewise.
        max_q: longest query sequence; max_k likewise.
    """

    q_edges: Tensor
    k_edges: Tensor
    max_q: int
    max_k: int

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return len(self.q_edges) - 1


def packing_of(q_edges: Sequence[int], k_edges: Sequence[int], device: torch.device) -> Packing:
    """The packing of sequences that start at these places, the end of the last included."""
    edges = [torch.tensor(e, dtype=torch.int32, device=device) for e in (q_edges, k_edges)]
    longest = [max((b - a for a, b in pairwise(e)), default=0) for e in (q_edges, k_edges)]
    return Packing(edges[0], edges[1], longest[0], longest[1])


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Torch's own switch, for kernels that add up gradients in the order they finish.

    Where it was off, new memory is not filled on its account: whoever takes it here writes all of it.
    """
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    if wanted:
        memory.fill_uninitialized_memory = filled and before[0]
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        if wanted:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            memory.fill_uninitialized_memory = filled


@contextmanager
def _strict() -> Iterator[None]:
    """Where determinism is asked for with warnings alone, asks for it in earnest: otherwise this kernel ignores it."""
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    if lenient:
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        if lenient:
            torch.use_deterministic_algorithms(True, warn_only=True)


def supported(q: Tensor) -> bool:
    """Whether the kernel takes tensors of this device, dtype and head width."""
    return q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= _WIDEST


def forward(q_THD: Tensor, k_SHD: Tensor, v_SHD: Tensor, packing: Packing, scale: float) -> tuple[Tensor, Tensor]:
    """Attention of each query sequence to its key sequence.

    Returns:
        [T, H, D] outputs in the inputs' dtype and [H, T] float32 natural-log LSE.
    """
    return forward_with(own_kernel(q_THD, equal=False, run=packing.max_q), q_THD, k_SHD, v_SHD, packing, scale)


def forward_with(
    kernel: str, q_THD: Tensor, k_SHD: Tensor, v_SHD: Tensor, packing: Packing, scale: float
) -> tuple[Tensor, Tensor]:
    """`forward` on the kernel named, "fa4" or "fa2"."""
    if kernel == "fa4":
        return fa4.forward(q_THD, k_SHD, v_SHD, scale, packing)
    out, lse, *_ = _flash_forward(
        q_THD,
        k_SHD,
        v_SHD,
        packing.q_edges,
        packing.k_edges,
        packing.max_q,
        packing.max_k,
        0.0,
        False,
        False,
        scale=scale,
    )
    return out, lse


def backward(
    dout_THD: Tensor,
    q_THD: Tensor,
    k_SHD: Tensor,
    v_SHD: Tensor,
    out_THD: Tensor,
    lse_HT: Tensor,
    dlse_HT: Tensor | None,
    packing: Packing,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values, given the final output and log-sum-exp.

    Raises:
        NotImplementedError: a gradient of the log-sum-exp, and heads too wide for one more column (FA2 alone).
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    kernel = own_kernel(
        q_THD, equal=False, run=packing.max_q, backward=True, deterministic=deterministic, lse=dlse_HT is not None
    )
    return backward_with(
        kernel, dout_THD, q_THD, k_SHD, v_SHD, out_THD, lse_HT, dlse_HT, packing, scale, deterministic=deterministic
    )


def backward_with(
    kernel: str,
    dout_THD: Tensor,
    q_THD: Tensor,
    k_SHD: Tensor,
    v_SHD: Tensor,
    out_THD: Tensor,
    lse_HT: Tensor,
    dlse_HT: Tensor | None,
    packing: Packing,
    scale: float,
    *,
    deterministic: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`backward` on the kernel named, "fa4" or "fa2"; the latter is bit-stable where torch's own switch says so."""
    if kernel == "fa4":
        return fa4.backward(
            dout_THD,
            q_THD,
            k_SHD,
            v_SHD,
            out_THD,
            lse_HT,
            dlse_HT,
            scale,
            packing,
            deterministic=deterministic,
        )
    width = q_THD.shape[-1]
    if dlse_HT is not None:
        dout_THD, q_THD, k_SHD, v_SHD, out_THD = with_lse_column(dout_THD, q_THD, k_SHD, v_SHD, out_THD, dlse_HT.mT)
    state = torch.zeros(2, dtype=torch.uint64, device=q_THD.device)  # of dropout, which is off
    with _strict():
        dq, dk, dv = _flash_backward(
            dout_THD,
            q_THD,
            k_SHD,
            v_SHD,
            out_THD,
            lse_HT.contiguous(),
            packing.q_edges,
            packing.k_edges,
            packing.max_q,
            packing.max_k,
            0.0,
            False,
            state,
            torch.empty(0, device=q_THD.device),
            scale=scale,
        )
    return dq[..., :width], dk[..., :width], dv[..., :width]


def with_lse_column(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, dlse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Tensors one padded column wider, so that a kernel without a gradient of the log-sum-exp gives it.

    A gradient of the log-sum-exp rides on an extra value column: with V' = [V, 1] and dO' = [dO, dLSE] the kernel's
    dP' is dP + dLSE, and with O' = [O, 0] its rowsum(dO' O') stays as it was.

    Raises:
        NotImplementedError: heads too wide for one more column.
    """
    width = q.shape[-1]
    if width + _PAD > _WIDEST:
        raise NotImplementedError(
            f"a gradient of the log-sum-exp takes head_dim up to {_WIDEST - _PAD} in half precision, got {width}"
        )
    pad = torch.nn.functional.pad
    v = pad(torch.cat([v, torch.ones_like(v[..., :1])], -1), (0, _PAD - 1))
    dout = pad(torch.cat([dout, dlse[..., None].to(dout.dtype)], -1), (0, _PAD - 1))
    q, k, out = (pad(x, (0, _PAD)) for x in (q, k, out))
    return dout, q, k, v, out

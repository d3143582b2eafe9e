"""The one place that calls torch's FlashAttention-2 with ragged sequences (CUDA, bfloat16 and float16).

Sequences are packed: tokens of all of them stand one after another in [T, H, D], and `edges` tells where each starts.
The backward pass takes the log-sum-exp and output of the whole attention, of which the call may be only a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

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


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Torch's own switch, for kernels that add up gradients in the order they finish."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if wanted:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        if wanted:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


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

    A gradient of the log-sum-exp rides on an extra value column: with V' = [V, 1] and dO' = [dO, dLSE] the kernel's
    dP' is dP + dLSE, and with O' = [O, 0] its rowsum(dO' O') stays as it was.

    Raises:
        NotImplementedError: a gradient of the log-sum-exp, and heads too wide for one more column.
    """
    width = q_THD.shape[-1]
    if dlse_HT is not None:
        if width + _PAD > _WIDEST:
            raise NotImplementedError(
                f"a gradient of the log-sum-exp takes head_dim up to {_WIDEST - _PAD} in half precision, got {width}"
            )
        pad = torch.nn.functional.pad
        ones = torch.ones_like(v_SHD[..., :1])
        v_SHD = pad(torch.cat([v_SHD, ones], -1), (0, _PAD - 1))
        dout_THD = pad(torch.cat([dout_THD, dlse_HT.mT[..., None].to(dout_THD.dtype)], -1), (0, _PAD - 1))
        q_THD, k_SHD, out_THD = (pad(x, (0, _PAD)) for x in (q_THD, k_SHD, out_THD))
    state = torch.zeros(2, dtype=torch.uint64, device=q_THD.device)  # of dropout, which is off
    with _strict():
        dq, dk, dv = _flash_backward(
            dout_THD,
            q_THD,
            k_SHD,
            v_SHD,
            out_THD,
            lse_HT,
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

"""What a call of attention is besides its tensors, and what its backward pass refuses. Shared by the backends."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from moc.config import MoCConfig
from moc.layout import TokenLayout

Grads = tuple[Tensor | None, ...]
ONCE = "this attention can be differentiated once, not twice: its backward pass has no gradient of its own"


@dataclass(frozen=True)
class Call:
    """One call of attention.

    Attributes:
        layout: layout of the stream.
        config: settings; they decide the mandatory links.
        q_range: start:stop of the stream that the query rows stand for.
        scale: softmax scale.
        deterministic: whether the backward pass must be bit-stable on CUDA.
    """

    layout: TokenLayout
    config: MoCConfig
    q_range: tuple[int, int]
    scale: float
    deterministic: bool = False

    @staticmethod
    def of(
        q: Tensor,
        layout: TokenLayout,
        config: MoCConfig,
        q_range: tuple[int, int],
        scale: float | None,
        deterministic: bool = False,
    ) -> Call:
        """The call for queries [B, H, Lq, D], whose scale is 1 / sqrt(D) unless given."""
        return Call(layout, config, q_range, 1 / math.sqrt(q.shape[-1]) if scale is None else scale, deterministic)


def last_in_line(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, copied where neighbours in the last dimension don't lie side by side: kernels take that for granted,
    torch's own for CPUs without a word."""
    return tuple(x if x.stride(-1) == 1 else x.contiguous() for x in tensors)


def differentiable_once(backward: Callable[..., Grads]) -> Callable[..., Grads]:
    """A `backward` of an autograd function whose results refuse a second derivative in one sentence.

    Torch's own `once_differentiable` lets results through as constants where the incoming gradient is one: a gradient
    penalty on a linear loss would lose its gradient without a word.
    """

    @functools.wraps(backward)
    def once(ctx: Any, *grads: Tensor | None) -> Grads:
        with torch.no_grad():
            results = backward(ctx, *grads)
        if not torch.is_grad_enabled():
            return results
        refuse = torch._C._functions.DelayedError(ONCE, len(results))
        aliases = (None if x is None else x.detach().requires_grad_() for x in results)
        return cast(Grads, refuse(*aliases))  # type: ignore[arg-type]

    return once

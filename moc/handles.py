"""Descriptions as tensors: how a layout goes into an operator of a compiled graph.

A graph may be compiled for one layout and run with the next, so it must hold nothing of either. What it takes is a
handle, a small tensor on the CPU whose bytes spell the layout's description; the operator reads it when it runs. A
handle says all by itself: it may be copied, saved with an exported program and outlive its layout.

Handles come in few lengths, so that graphs of static shapes serve layouts of one length class alike.
"""

from __future__ import annotations

from ast import literal_eval
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

if TYPE_CHECKING:
    from moc.layout import TokenLayout

SHORTEST = 1024
"""Bytes of the shortest handle, enough for some 30 shots; each further length is twice the one before."""

_PLAIN = (Tensor, torch.nn.Parameter)
_alive: WeakValueDictionary[bytes, TokenLayout] = WeakValueDictionary()


def traced(x: Tensor) -> bool:
    """Whether a call on this tensor must be an operator: somebody compiles, counts, records or caches operators, or the
    tensor holds no data."""
    return (
        torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0 or type(x) not in _PLAIN or x.is_meta
    )


def handle_for(x: Tensor, layout: TokenLayout) -> Tensor:
    """The layout's handle as an operator on `x` takes it: fake where `x` is and its mode wants nothing real."""
    if torch.compiler.is_compiling() or type(x) in _PLAIN:
        return layout.handle
    mode = getattr(x, "fake_mode", None)
    if mode is None or mode.allow_non_fake_inputs:
        return layout.handle
    fake: Tensor = mode.from_tensor(layout.handle)
    fake.layout_behind = layout  # type: ignore[attr-defined]
    return fake


def handle_of(layout: TokenLayout) -> Tensor:
    """[n] uint8 handle of a layout, n a power of two from `SHORTEST` on; remembers which layout it stands for."""
    even = None if layout.even is None else (layout.even.tokens, layout.even.starts)
    shots = tuple((shot.text, shot.frames, shot.tokens_per_frame) for shot in layout.shots)
    text = repr(
        (
            layout.global_text,
            shots,
            layout.chunk_tokens,
            layout.shot_numbers,
            _runs(layout.chunk_origin),
            even,
            layout.history,
        )
    ).encode()
    size = max(SHORTEST, 1 << (len(text) - 1).bit_length())
    padded = bytearray(text.ljust(size))
    _alive.setdefault(bytes(padded), layout)
    with torch.inference_mode(False):  # operators save it for the backward pass
        return torch.frombuffer(padded, dtype=torch.uint8)


def layout_of(handle: Tensor) -> TokenLayout:
    """The layout that a handle describes: the one that it was made from while that lives, else an equal one.

    Raises:
        ValueError: the tensor is no handle.
    """
    behind: TokenLayout | None = getattr(handle, "layout_behind", None)
    if behind is not None:
        return behind
    if handle.dtype != torch.uint8 or handle.device.type != "cpu":
        raise ValueError(f"a layout's handle is a uint8 tensor on the CPU, got {handle.dtype} on {handle.device}")
    key = handle.numpy().tobytes()
    layout = _alive.get(key)
    return _rebuilt(key) if layout is None else layout


@lru_cache(maxsize=64)
def _rebuilt(key: bytes) -> TokenLayout:
    from moc.layout import Even, Shot, TokenLayout

    try:
        global_text, shots, chunk_tokens, numbers, origin, even, history = literal_eval(key.decode().strip())
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"this tensor of {len(key)} bytes is no handle of a layout") from error
    return TokenLayout(
        global_text=global_text,
        shots=tuple(Shot(*shot) for shot in shots),
        chunk_tokens=chunk_tokens,
        shot_numbers=numbers,
        chunk_origin=tuple(chunk for first, last in origin for chunk in range(first, last)),
        even=None if even is None else Even(*even),
        history=history,
    )


def _runs(ids: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Ascending ids as runs first:last."""
    runs: list[list[Any]] = []
    for i in ids:
        if runs and runs[-1][1] == i:
            runs[-1][1] += 1
        else:
            runs.append([i, i + 1])
    return tuple((a, b) for a, b in runs)

"""The next piece of data, drawn and rendered on a GPU while it still computes the gradients of the one before.

Drawing is many small kernels, and launching them takes the host longer than the GPU takes to run them. A thread of
their own launches them while the host waits for the backward pass, on a stream of their own, where they fill what the
network leaves idle. Pieces are pure functions of (seed, step, piece), so nothing changes but when they are made.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields

import torch
from torch import Tensor

from moc.training.data import Piece
from moc.training.lessons import Shown


class Ahead:
    """Makes pieces, one ahead of time where `prepare` is told which comes next.

    Args:
        make: piece `number` of optimiser step `step`, on `device`, from (step, number).
        device: of this process.
    """

    def __init__(self, make: Callable[[int, int], Piece], device: torch.device) -> None:
        self.make, self.device = make, device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, "data") if self.stream else None
        self._ready: tuple[int, int, Future[Piece]] | None = None
        self._begun: torch.cuda.Event | None = None

    def prepare(self, step: int, number: int) -> None:
        """Begin to make piece `number` of optimiser step `step`, where there is a GPU."""
        if self._thread is not None:
            settings = contextvars.copy_context()  # those of the compiler count for one thread alone
            job = self._thread.submit(settings.run, self._make_aside, step, number, self._begun)
            self._ready = step, number, job

    def _make_aside(self, step: int, number: int, begun: torch.cuda.Event | None) -> Piece:
        assert self.stream is not None
        if begun is not None:  # tables that the renderer keeps may have been made right before
            self.stream.wait_event(begun)
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            return self.make(step, number)

    def take(self, step: int, number: int) -> Piece:
        """That piece, which is made now if it was not prepared."""
        ready, self._ready = self._ready, None
        if self.stream is None:
            return self.make(step, number)
        current = torch.cuda.current_stream(self.device)
        if ready is None or ready[:2] != (step, number):
            if ready is not None and not ready[2].cancel():
                ready[2].exception()  # waits: two threads at once would share what the renderer keeps
            piece = self.make(step, number)
        else:
            piece = ready[2].result()
            current.wait_stream(self.stream)
            for tensor in tensors_of(piece):
                if tensor.is_cuda:
                    tensor.record_stream(current)  # or its memory could be taken again while it is read here
        self._begun = current.record_event()
        return piece


def tensors_of(piece: Piece | Shown) -> list[Tensor]:
    """All tensors of a piece."""
    found: list[Tensor] = []
    for field in fields(piece):
        value = getattr(piece, field.name)
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Shown):
            found += tensors_of(value)
    return found

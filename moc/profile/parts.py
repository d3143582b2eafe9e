"""How long each part of MoC takes: the functions of the engine are timed where they run.

The parts are not rebuilt here, which would measure a copy of the engine that drifts from it: for the length of a
measurement the engine's own functions are wrapped, so that the sum of the parts is the call itself. What no wrapped
function covers is `rest`: checks, copies between the parts, Python. A function inside another counts for itself alone.
A name that the engine no longer has is left out, and its time falls to the rest.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any, Protocol

import torch

from moc.profile.columns import TIME_PARTS as PARTS
from moc.profile.timing import more, synchronize

# part, module, attribute; the attribute is looked up at each call by the code that runs
PLACES = (
    ("pool", "moc.routing", "pooled"),
    ("route", "moc.attention", "route"),
    ("own", "moc.attention.flash", "mandatory_forward"),
    ("own", "moc.attention.runs", "forward"),
    ("plan", "moc.attention.portable", "group_links"),
    ("plan", "moc.attention.tiles", "tile"),
    ("routed", "moc.attention.tiles", "forward"),
    ("routed", "moc.attention.flash", "routed_forward"),
    ("merge", "moc.attention.portable", "_merge"),
    ("plan", "moc.attention.triton.routed", "make_plan"),
    ("routed", "moc.attention.triton.routed", "links_forward"),
    ("merge", "moc.attention.triton.routed", "merge"),
)


class _Clock:
    """Exclusive times of nested parts, in seconds or as pairs of CUDA events."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        self.spans: list[tuple[str, Any, Any]] = []
        self._inside = ["rest"]
        self.start()

    def start(self) -> None:
        """Counts from now on."""
        self._since = self._now()

    def _now(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def turn(self) -> None:
        """Ends the span of the part that runs now."""
        now = self._now()
        self.spans.append((self._inside[-1], self._since, now))
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What runs inside counts for `name`."""
        self.turn()
        self._inside.append(name)
        try:
            yield
        finally:
            self.turn()
            self._inside.pop()

    def milliseconds(self) -> dict[str, float]:
        """Time by part."""
        synchronize(self.device)
        total = dict.fromkeys(PARTS, 0.0)
        for name, start, stop in self.spans:
            total[name] += start.elapsed_time(stop) if self.cuda else (stop - start) * 1e3
        return total


def part_times(run: Callable[[], object], device: torch.device, *, warm: bool = False) -> dict[str, float]:
    """Median milliseconds of each of `PARTS` over repeated calls of `run`, one forward pass of the engine.

    `warm` if it was called before.
    """
    samples: list[dict[str, float]] = []
    if not warm:
        run()
    while more([sum(sample.values()) / 1e3 for sample in samples]):
        clock = _Clock(device)
        with wrapped(clock):
            synchronize(device)
            clock.start()  # wrapping looks modules up, which is no part of a call
            run()
            clock.turn()
        samples.append(clock.milliseconds())
    return {name: statistics.median(sample[name] for sample in samples) for name in PARTS}


def clocked(
    run: Callable[[Callable[..., Any]], object], attention: Callable[..., Any], device: torch.device, repeats: int
) -> float:
    """Median milliseconds that `attention` takes inside `run`, which is handed a timed copy of it."""
    samples = []
    for _ in range(repeats):
        synchronize(device)
        clock = _Clock(device)
        run(_timed(clock, "own", attention))
        samples.append(clock.milliseconds()["own"])
    return statistics.median(samples)


class Watch(Protocol):
    """Whatever is told of a part that runs, as a context around it."""

    def part(self, name: str) -> AbstractContextManager[None]: ...


@contextmanager
def wrapped(clock: Watch) -> Iterator[None]:
    """The engine's functions, with the clock around each."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for name, place, attribute in PLACES:
            try:
                module = import_module(place)
            except ImportError:  # Triton is not everywhere
                continue
            inner = getattr(module, attribute, None)
            if inner is not None:
                before.append((module, attribute, inner))
                setattr(module, attribute, _timed(clock, name, inner))
        yield
    finally:
        for module, attribute, inner in before:
            setattr(module, attribute, inner)


def _timed(clock: Watch, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with clock.part(name):
            return inner(*args, **kwargs)

    return run

"""What counting routes costs: a run of the built-in model, and `moc.record_routes` around attention.

    python benchmarks/recording.py [--story storyboards/two_friends.yaml] [--steps 2] [--runs 3] [--device auto]

The run is drawn in turn with its counting and with the counting taken out; beside their medians stands the time spent
inside the counting functions of the recorded runs, which noise of the machine does not touch (on CUDA it holds the
waiting for work that was queued before, and is an upper bound). Clips are not encoded, so that the share is one of
drawing alone, and no ffmpeg is needed. Attention is timed with and without the recorder. Where one of the two fails,
the other is measured all the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import moc
from moc.attention import moc_attention
from moc.backbones.pocket.rendering import RouteCounts
from moc.profile import base_settings, make_settings, timing
from moc.run import Request, assemble, render
from moc.run.device import resolve_device
from moc.storyboard import Storyboard, load_storyboard

STORIES = Path(__file__).parents[1] / "storyboards"
METHODS = ("add", "table", "choices")


@contextmanager
def patched(**methods: Callable[..., Any]) -> Iterator[None]:
    """`RouteCounts` with other methods."""
    before = {name: getattr(RouteCounts, name) for name in methods}
    try:
        for name, method in methods.items():
            setattr(RouteCounts, name, method)
        yield
    finally:
        for name, method in before.items():
            setattr(RouteCounts, name, method)


@contextmanager
def clocked() -> Iterator[list[float]]:
    """Seconds of every call of the counting functions."""
    spent: list[float] = []

    def timed(inner: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                spent.append(time.perf_counter() - began)

        return run

    with patched(**{name: timed(getattr(RouteCounts, name)) for name in METHODS}):
        yield spent


def without() -> Any:
    """The same run, with nothing counted: its tables are zeros."""
    return patched(
        add=lambda self, *args: None,
        choices=lambda self, size, n=8: np.zeros((len(self.by_token) // int(np.prod(size.grid)), *size.grid, n, 2),
                                                 np.uint32),
    )  # fmt: skip


@contextmanager
def unfilmed() -> Iterator[None]:
    """Runs whose video files are empty."""

    def empty(_: object, path: Path, **__: object) -> int:
        path.write_bytes(b"")
        return 0

    with mock.patch.object(assemble, "write_mp4", empty), mock.patch.object(assemble, "concat_mp4", empty):
        yield


def drawn(story: Storyboard, steps: int, device: str) -> float:
    """Seconds of a run into a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            story=story, story_path="story.yaml", out=Path(folder) / "run", device=device,
            overrides={"sampling.steps": str(steps)},
        )  # fmt: skip
        with unfilmed():
            began = time.perf_counter()
            render(request)
            return time.perf_counter() - began


def of_a_run(story: Storyboard, steps: int, runs: int, device: str) -> None:
    """Prints what counting costs of a run."""
    drawn(replace(story, shots=story.shots[:1]), 1, device)  # loads and compiles what is needed
    recorded, plain, inside = [], [], []
    for _ in range(runs):
        with clocked() as spent:
            recorded.append(drawn(story, steps, device))
        inside.append(sum(spent))
        with without():
            plain.append(drawn(story, steps, device))
    with_it, less = statistics.median(recorded), statistics.median(plain)
    share = statistics.median(a / b for a, b in zip(inside, recorded, strict=True))
    spread = ", ".join(f"{min(times):.2f}-{max(times):.2f}" for times in (recorded, plain))
    print(f"run of {len(story.shots)} shots, {steps} steps: {with_it:.2f} s recorded, {less:.2f} s not "
          f"({with_it / less - 1:+.1%}; spread {spread}); inside the counting: {share:.2%}")  # fmt: skip


def of_attention(device: str) -> None:
    """Prints what `record_routes` costs one call of attention, and the memory of its table."""
    large = device.startswith("cuda")
    options: dict[str, Any] = {"heads": 3} if large else {"tokens_per_shot": 900, "chunk": "50"}
    settings = make_settings(base_settings("paper-multi-shot", None, None), shots="8", **options)
    layout, size = settings.layout(8), settings.geometry
    dtype = torch.bfloat16 if large else torch.float32
    shape = (1, size.heads, layout.length, size.head_dim)
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    here, times = torch.device(device), {}
    for name, recorder in (("not", nullcontext), ("recorded", moc.record_routes)):

        def run(recorder: Callable[[], Any] = recorder) -> None:
            with torch.no_grad(), recorder():
                moc_attention(q, k, v, layout, settings.config)

        times[name] = timing.measure(run, here)
    ratio = times["recorded"].median_ms / times["not"].median_ms - 1
    table = size.heads * layout.num_chunks**2 * 4 / 2**20
    print(f"attention over {layout.length:,} tokens, {size.heads} heads: {times['not'].median_ms:.2f} ms, "
          f"{times['recorded'].median_ms:.2f} ms recorded ({ratio:+.1%}); {table:.2f} MiB a layer")  # fmt: skip


def main() -> None:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--story", type=Path, default=STORIES / "two_friends.yaml")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = resolve_device(args.device)
    print(timing.machine(torch.device(device)))
    failed = 0
    for measure in (
        lambda: of_attention(device),
        lambda: of_a_run(load_storyboard(args.story), args.steps, args.runs, device),
    ):
        try:
            measure()
        except Exception:  # an unattended run tells of it and goes on
            traceback.print_exc()
            failed += 1
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

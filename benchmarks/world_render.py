"""Frames a second of the story world's renderer: python benchmarks/world_render.py [--device cuda] [--threads 2].

The case that matters is a training step's worth of pictures, 48 stories x 8 shots x 16 frames, drawn while a model
trains; the others show what batch size, masks and drawing the atlas cost. Medians of `--repeat` runs after a warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from moc.world import sprites
from moc.world.render import render
from moc.world.sampler import sample_stories

CASES = (  # stories, shots, frames, masks
    (1, 8, 64, False),
    (4, 8, 16, False),
    (4, 8, 16, True),
    (48, 8, 16, False),
    (48, 8, 16, True),
)


def _seconds(work: object, repeat: int, device: torch.device) -> float:
    assert callable(work)
    times = []
    for _ in range(repeat + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)

    begin = time.perf_counter()
    sheets = sprites.atlas(device)
    drawn = time.perf_counter() - begin
    size = sum(s.codes.numel() for s in (sheets.places, sheets.bodies, sheets.headwear, sheets.props)) / 2**20
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{options.threads} CPU threads"
    print(f"{name}, torch {torch.__version__}; atlas drawn in {drawn:.1f} s, {size:.0f} MiB\n")
    print("| stories | shots | frames | masks | ms | frames/s | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for stories, shots, frames, masks in CASES:
        if device.type == "cpu" and stories > 4:
            continue
        batch = sample_stories(stories, shots, generator=torch.Generator().manual_seed(0)).to(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

        def work(batch=batch, frames=frames, masks=masks) -> None:
            render(batch, frames=frames, masks=masks)

        seconds = _seconds(work, options.repeat, device)
        peak = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}" if device.type == "cuda" else "-"
        count = stories * shots * frames
        print(f"| {stories} | {shots} | {frames} | {'yes' if masks else 'no'} | {seconds * 1e3:.1f} | "
              f"{count / seconds:,.0f} | {peak} |")  # fmt: skip


if __name__ == "__main__":
    main()

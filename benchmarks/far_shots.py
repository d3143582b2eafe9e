"""Does a shot far down a stream still draw what its caption names, with distances as they are and as they are bounded?

    python benchmarks/far_shots.py                      # 16 stories of 64 half-second shots: minutes on two cores
    python benchmarks/far_shots.py --stories 32 --latent-frames 4 --device cuda

All shots but those asked about are the ground truth, so errors can't add up along the stream. Training shows earlier
shots up to `REACH` shots back; "as they are" lets positions tell the true distance, which is what was done at first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from moc.backbones.pocket import positions
from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.backbones.pocket.world_stream import stream_world
from moc.config import MoCConfig
from moc.metrics.memory_experiment import readings
from moc.world.reader import load_reader
from moc.world.recurrence import recurring_stories

DRAWN = (8, 16, 24, 32, 36, 40, 48, 56, 64)


@contextmanager
def reach(shots: int) -> Iterator[None]:
    """Positions that tell distances of up to so many shots."""
    before, positions.REACH = positions.REACH, shots
    try:
        yield
    finally:
        positions.REACH = before


def measure(args: argparse.Namespace, far: int) -> pd.DataFrame:
    """Readings of the drawn shots."""
    device = torch.device(args.device)
    model, reader = load_model(args.weights, args.device), load_reader(args.device)
    config = MoCConfig.preset("pocket")
    config = config if args.top_k is None else replace(config, top_k=args.top_k)
    stories, _ = recurring_stories(args.stories, args.shots, generator=torch.Generator().manual_seed(args.seed))
    drawn = [number for number in DRAWN if number <= args.shots]
    planted = torch.ones(args.stories, args.shots, dtype=torch.bool)
    planted[:, [number - 1 for number in drawn]] = False
    with reach(far), torch.inference_mode():
        made = stream_world(
            model, stories.to(device), config, latent_frames=args.latent_frames, steps=args.steps, seed=args.seed,
            planted=planted,
        )  # fmt: skip
    rows = readings(stories, made.frames, reader, open_hats=True)
    return rows[rows["shot"].isin([number - 1 for number in drawn])].assign(right=lambda r: r["truth"] == r["read"])


def main() -> None:
    """Both ways, a row a drawn shot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=16)
    parser.add_argument("--shots", type=int, default=64)
    parser.add_argument("--latent-frames", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    ways = {"as they are": args.shots, f"at most {positions.REACH}": positions.REACH}
    print(
        f"{args.stories} stories of {args.shots} shots of {args.latent_frames} latent frames, {args.steps} steps, "
        f"seed {args.seed}, weights {fingerprint(args.weights)[:16]}, torch {torch.__version__}, {args.device}"
    )
    columns = {}
    for way, far in ways.items():
        rows = measure(args, far)
        named, open_ = rows[rows["named"]], rows[~rows["named"] & rows["pair"]]
        columns[f"named right, {way}"] = 100 * named.groupby("shot")["right"].mean()
        columns[f"recall, {way}"] = 100 * open_.groupby("shot")["right"].mean()
        columns["readings"] = named.groupby("shot").size()
    table = pd.DataFrame(columns).rename(index=lambda n: n + 1)
    print(table.round(1).to_string())


if __name__ == "__main__":
    main()

"""Does a shot far down a stream still draw what its caption names, with distances as they are and as they are bounded?

    python benchmarks/far_shots.py                      # 8 stories of 64 half-second shots: minutes on two cores
    python benchmarks/far_shots.py --stories 32 --latent-frames 4 --device cuda

All shots but those asked about are the ground truth, so errors can't add up along the stream; none is guided. Training
shows earlier shots up to `reach` shots back; "as they are" lets positions tell the true distance.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.backbones.pocket.world_stream import stream_world
from moc.config import MoCConfig
from moc.metrics.world import readings
from moc.world.reader import load_reader
from moc.world.recurrence import recurring_stories

DRAWN = (8, 16, 24, 32, 36, 40, 48, 56, 64)


def measure(args: argparse.Namespace, reach: int | None) -> pd.DataFrame:
    """Readings of what captions name in the drawn shots."""
    model, reader = load_model(args.weights, args.device), load_reader(args.device)
    if reach is not None:
        model.config = replace(model.config, reach=reach)
    config = MoCConfig.preset("pocket")
    config = config if args.top_k is None else config.replace(top_k=args.top_k)
    stories, _ = recurring_stories(args.stories, args.shots, generator=torch.Generator().manual_seed(args.seed))
    drawn = [number for number in DRAWN if number <= args.shots]
    planted = torch.ones(args.stories, args.shots, dtype=torch.bool)
    planted[:, [number - 1 for number in drawn]] = False
    with torch.inference_mode():
        made = stream_world(
            model, stories.to(args.device), config, latent_frames=args.latent_frames, steps=args.steps, seed=args.seed,
            planted=planted, guidance=1.0,
        )  # fmt: skip
    rows = readings(stories, made.frames, reader, open_hats=True)
    rows = rows[rows["named"] & rows["shot"].isin([number - 1 for number in drawn])]
    return rows.assign(right=rows["truth"] == rows["read"])


def main() -> None:
    """Both ways, a row for each shot that is drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=8)
    parser.add_argument("--shots", type=int, default=64)
    parser.add_argument("--latent-frames", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    print(
        f"{args.stories} stories of {args.shots} shots of {args.latent_frames} latent frames, {args.steps} steps, "
        f"seed {args.seed}, weights {fingerprint(args.weights)[:16]}, torch {torch.__version__}, {args.device}"
    )
    columns: dict[str, pd.Series] = {}
    for way, reach in {"as they are": args.shots, "bounded": None}.items():
        by_shot = measure(args, reach).groupby("shot")["right"]
        columns |= {"readings": by_shot.size(), f"% named right, distances {way}": 100 * by_shot.mean()}
    print(pd.DataFrame(columns).rename(index=lambda n: n + 1).round(1).to_string())


if __name__ == "__main__":
    main()

"""Recall, named attributes and motion of one set of weights under several ways to sample it.

    python benchmarks/sampling_grids.py OUT --ways 10:6:1,6:6:1,6:10:1,6:10:0.99 --stories 128     # one H200: 3 minutes

A way is STEPS:SHIFT:TO, with :FROM and :LAST behind where they are not 0: denoising steps, shift of their grid, the
timesteps between which guidance acts, and the last timestep where the grid is not to be even. Everything else is as the
weights say. Each way ends in OUT/WAY.json and OUT/WAY.csv.gz; those that are there already are told again, and all are
held against the first, story by story.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from memory import Progress
from memory_apart import named, recalled
from memory_patterns import points
from memory_tables import markdown, percent

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.config import MoCConfig
from moc.metrics.memory import OPEN, TABLES, estimate, estimate_dict, resamples
from moc.metrics.memory_experiment import Experiment, report, run
from moc.world.reader import Reader, load_reader


@dataclass(frozen=True)
class Way:
    """How to sample; `name` is that of its files."""

    name: str
    steps: int
    shift: float
    guidance_to: float
    guidance_from: float = 0.0
    last_step: float = 0.0

    @staticmethod
    def of(text: str) -> Way:
        """From STEPS:SHIFT:TO[:FROM[:LAST]]."""
        try:
            steps, *others = text.split(":")
            return Way(text.replace(":", "_"), int(steps), *(float(x) for x in others))
        except (TypeError, ValueError):
            raise argparse.ArgumentTypeError(f"{text!r} is no STEPS:SHIFT:TO[:FROM[:LAST]]") from None

    def told_to(self, size: PocketConfig) -> PocketConfig:
        """The model `size`, sampled in this way."""
        return replace(
            size, shift=self.shift, guidance_to=self.guidance_to, guidance_from=self.guidance_from,
            last_step=self.last_step,
        )  # fmt: skip


def ways(text: str) -> list[Way]:
    """Several, with commas between."""
    return [Way.of(part) for part in text.split(",")]


def measure(way: Way, model: PocketDiT, reader: Reader, args: argparse.Namespace) -> None:
    """Render, read, keep."""
    own = model.config
    model.config = way.told_to(own)
    experiment = Experiment(
        table=TABLES[0], stories=args.stories, shots=args.shots, latent_frames=args.latent_frames,
        config=args.config, steps=way.steps, guidance=args.guidance, motion=True, seed=args.seed,
    )  # fmt: skip
    try:
        result = run(experiment, model, reader, device=args.device, on_shot=Progress())
    finally:
        model.config = own
    result.rows.to_csv(args.out / f"{way.name}.csv.gz", index=False)
    told = {**report(experiment, result), "weights_sha256": fingerprint(args.weights)}
    (args.out / f"{way.name}.json").write_text(json.dumps(told, allow_nan=False), encoding="utf-8")


def refuse_other(way: Way, args: argparse.Namespace) -> None:
    """Ends the program where what lies there of this way was measured under other settings."""
    place = args.out / f"{way.name}.json"
    if not place.exists():
        return
    told = json.loads(place.read_text(encoding="utf-8"))["experiment"]
    wanted = {"guidance": args.guidance, "stories": args.stories, "shots": args.shots}
    wanted |= {"latent_frames": args.latent_frames}
    attention = {"chunk_tokens": args.config.chunk_tokens, "top_k": args.config.top_k}
    other = [key for key, value in wanted.items() if told[key] != value]
    other += [key for key, value in attention.items() if told["config"][key] != value]
    if other:
        sys.exit(f"error: {place} was measured with another {other[0]}; choose another OUT")


def table(kept: list[Way], out: Path, stories: int) -> str:
    """Every way beside the first."""
    rows = [["steps", "shift", "guided", "people", "apart", "places", "apart", "named right", "apart", "goes as told"]]
    weights, first = resamples(stories), pd.read_csv(out / f"{kept[0].name}.csv.gz")
    for way in kept:
        told: dict[str, Any] = json.loads((out / f"{way.name}.json").read_text(encoding="utf-8"))
        looks = pd.read_csv(out / f"{way.name}.csv.gz")
        cells = []
        for values in (
            *([recalled(x, TABLES[0], names, weights) for x in (looks, first)] for names in OPEN.values()),
            [named(x, weights, heldout=False) for x in (looks, first)],
        ):
            apart = "" if way is kept[0] else points(estimate_dict(estimate(values[0] - values[1])))
            cells += [percent(float(values[0][0])), apart]
        guided = f"{way.guidance_from:g} to {way.guidance_to:g}"
        goes = (told["motion"] or {}).get("moves_as_told")  # None where nobody can be read
        steps = str(way.steps) if not way.last_step else f"{way.steps}, the last at {way.last_step:g}"
        rows.append([steps, f"{way.shift:g}", guided, *cells, "" if goes is None else percent(goes)])
    return markdown(rows)


def main() -> None:
    """Parse, measure what is missing, print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("out", type=Path)
    asked.add_argument("--ways", type=ways, required=True)
    asked.add_argument("--stories", type=int, default=128)
    asked.add_argument("--seed", type=int, default=2024, help="of stories and noise (default: that of the tables)")
    asked.add_argument("--shots", type=int, default=8)
    asked.add_argument("--latent-frames", type=int, default=16)
    asked.add_argument("--weights", type=Path, default=SHIPPED)
    asked.add_argument("--guidance", type=float, metavar="SCALE", help="of all ways (default: the model's own)")
    asked.add_argument("--chunk-tokens", type=int, metavar="N", help="of all ways (default: that of the preset)")
    asked.add_argument("--top-k", type=int, metavar="K", help="likewise")
    asked.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = asked.parse_args()
    asked_for = {"chunk_tokens": args.chunk_tokens, "top_k": args.top_k}
    args.config = MoCConfig.preset("pocket").replace(**{k: v for k, v in asked_for.items() if v is not None})
    args.out.mkdir(parents=True, exist_ok=True)
    for way in args.ways:
        refuse_other(way, args)
    missing = [way for way in args.ways if not (args.out / f"{way.name}.json").exists()]
    if missing:
        model, reader = load_model(args.weights, args.device), load_reader(args.device)
        for way in missing:
            measure(way, model, reader, args)
    print(table(args.ways, args.out, args.stories))


if __name__ == "__main__":
    main()

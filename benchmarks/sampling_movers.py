"""How well figures that run or jump are drawn under several ways to sample, which is where few steps show first.

    python benchmarks/sampling_movers.py OUT --ways 6:10:0.99,7:10:0.99,7:10:0.99:0.5:0.25      # two cores: 8 minutes

Single shots of 8 s, each with somebody who runs or jumps, everything named; ways as in `sampling_grids.py`. Each way
ends in OUT/movers_WAY.csv.gz, every reading, and movers_WAY.json, what it was measured with; those that are there
already are told again. Intervals are over shots; `apart` is the difference from the first way, shot by shot.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd
import torch
from memory_apart import right_share
from memory_patterns import points
from memory_tables import markdown, ranged
from sampling_grids import Way, ways

from moc.backbones.pocket.config import LONGEST_SHOT, PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.precision import fast_products
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.backbones.pocket.world_stream import stream_world
from moc.config import MoCConfig
from moc.metrics.memory import estimate, estimate_dict, resamples
from moc.metrics.world import readings
from moc.world.reader import Reader, load_reader
from moc.world.recurrence import recurring_stories
from moc.world.schema import ACTIONS
from moc.world.story import StoryBatch

FAST = tuple(ACTIONS.index(name) for name in ("run", "jump"))
POOL = 3000  # stories that shots are chosen from
OF_SHOTS = ("scene", "cast", "action", "camera", "time", "weather", "prop", "free")
AT = ["story", "slot"]
HELD = ("kinds of runners", "figures as named", "places as named")


def movers(shots: int, seed: int) -> StoryBatch:
    """`shots` stories of one shot, held out from training, in which somebody runs or jumps.

    Raises:
        ValueError: there are fewer in the pool.
    """
    drawn, _ = recurring_stories(POOL, 2, generator=torch.Generator().manual_seed(seed), named=1.0)
    fast = torch.isin(drawn.action[:, 0], torch.tensor(FAST)) & (drawn.cast[:, 0] >= 0)
    kept = fast.any(-1).nonzero().flatten()[:shots]
    if len(kept) < shots:
        raise ValueError(f"{POOL} stories hold {len(kept)} shots with somebody who runs or jumps, fewer than {shots}")
    values = {f.name: getattr(drawn, f.name)[kept] for f in fields(drawn)}
    return StoryBatch(**{name: x[:, :1] if name in OF_SHOTS else x for name, x in values.items()})


def part(stories: StoryBatch, first: int, count: int) -> StoryBatch:
    """`count` of the stories from `first` on."""
    return StoryBatch(**{f.name: getattr(stories, f.name)[first : first + count] for f in fields(stories)})


@torch.no_grad()
def measure(
    way: Way, stories: StoryBatch, model: PocketDiT, reader: Reader, *, latent_frames: int, batch: int, seed: int
) -> pd.DataFrame:
    """Every reading of the shots drawn in this way."""
    own, device, tables = model.config, model.patch_in.weight.device, []
    model.config = way.told_to(own)
    try:
        with fast_products(model):
            for first in range(0, stories.stories, batch):
                some = part(stories, first, batch).to(device)
                drawn = stream_world(
                    model, some, MoCConfig.preset("pocket"), latent_frames=latent_frames, steps=way.steps, seed=seed,
                    first_story=first,
                )  # fmt: skip
                rows = readings(some, drawn.frames, reader, open_hats=True)
                tables.append(rows.assign(story=rows["story"] + first))
    finally:
        model.config = own
    return pd.concat(tables, ignore_index=True)


def shares(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is told of a way: readings, by the heading of their cell."""
    people = rows[rows["owner"] == "character"]
    does = people[people["attribute"] == "action"].set_index(AT)["truth"].rename("does")
    people = people.join(does, on=AT)
    kinds, other = people[people["attribute"] == "kind"], ~people["attribute"].isin(["kind", "action"])
    names = {"kinds of runners": kinds["does"] == FAST[0], "of jumpers": kinds["does"] == FAST[1]}
    told = {name: kinds[mask] for name, mask in names.items()}
    told["of others"] = kinds[~kinds["does"].isin(FAST)]
    told["figures as named"] = people[other & people["named"]]
    told["places as named"] = rows[(rows["owner"] != "character") & rows["named"]]
    return told


def passes(way: Way, guidance: float) -> int:
    """Passes through the network for a shot: one a step and one more where guidance acts."""
    size = way.told_to(PocketConfig(guidance=guidance))
    return sum(1 + (guidance != 1 and size.guides(t)) for t in size.timesteps(way.steps)[:-1])


def table(kept: list[Way], out: Path) -> str:
    """Every way, a row, held against the first."""
    rows, first = [], {}
    heads = ["timesteps", "passes"]
    for way in kept:
        settings = json.loads(file_of(out, way, "json").read_text(encoding="utf-8"))
        shots, told = settings["shots"], shares(pd.read_csv(file_of(out, way, "csv.gz")))
        weights = resamples(shots)
        steps = ", ".join(f"{t:.2g}" for t in way.told_to(PocketConfig()).timesteps(way.steps)[:-1])
        cells = [steps, str(passes(way, settings["guidance"]))]
        for name, part in told.items():
            right = right_share(part, weights)
            found = estimate_dict(estimate(right))  # None where there is nobody of the kind
            cells.append(ranged(found["value"], (found["low"], found["high"])))
            if not rows:
                first[name] = right
                heads += [f"{name} ({len(part)})", *(["apart"] * (name in HELD))]
            if name in HELD:
                cells.append(points(estimate_dict(estimate(right - first[name]))) if rows else "")
        rows.append(cells)
    return markdown([heads, *rows])


def file_of(out: Path, way: Way, kind: str) -> Path:
    """Where the readings of a way ("csv.gz") and its settings ("json") are kept."""
    return out / f"movers_{way.name}.{kind}"


def main() -> None:
    """Parse, measure what is missing, print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("out", type=Path)
    asked.add_argument("--ways", type=ways, required=True)
    asked.add_argument("--shots", type=int, default=48)
    asked.add_argument("--latent-frames", type=int, default=LONGEST_SHOT)
    asked.add_argument("--batch", type=int, default=8)
    asked.add_argument("--seed", type=int, default=3, help="of the noise")
    asked.add_argument("--stories-seed", type=int, default=77)
    asked.add_argument("--weights", type=Path, default=SHIPPED)
    asked.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = asked.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_model(args.weights, args.device)
    settings = {
        "weights_sha256": fingerprint(args.weights), "guidance": model.config.guidance, "shots": args.shots,
        "latent_frames": args.latent_frames, "seed": args.seed, "stories_seed": args.stories_seed,
    }  # fmt: skip
    reader, stories = load_reader(args.device), movers(args.shots, args.stories_seed)
    for way in args.ways:
        kept = file_of(args.out, way, "json")
        if kept.exists():
            told = json.loads(kept.read_text(encoding="utf-8"))
            if settings.items() - told.items():
                sys.exit(f"error: {kept} was measured with {told}, not with {settings}; choose another folder")
            continue
        rows = measure(way, stories, model, reader, latent_frames=args.latent_frames, batch=args.batch, seed=args.seed)
        rows.to_csv(file_of(args.out, way, "csv.gz"), index=False)
        kept.write_text(json.dumps({**settings, "device": args.device, "torch": torch.__version__}), encoding="utf-8")
    print(table(args.ways, args.out))


if __name__ == "__main__":
    main()

"""How well figures that run or jump are drawn under several ways to sample, which is where few steps show first.

    python benchmarks/sampling_movers.py OUT --ways 6:10:0.99,7:10:0.99,7:10:0.99:0.5:0.25      # two cores: 8 minutes

Single shots of 8 s, each with somebody who runs or jumps, everything named; ways as in `sampling_grids.py`. Each way
ends in OUT/movers_WAY.csv.gz, every reading; those that are there already are told again. Intervals are over shots.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from memory_tables import markdown
from sampling_grids import Way, ways

from moc.backbones.pocket.config import LONGEST_SHOT, PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.precision import fast_products
from moc.backbones.pocket.weights import SHIPPED, load_model
from moc.backbones.pocket.world_stream import stream_world
from moc.config import MoCConfig
from moc.metrics.world import readings
from moc.world.reader import Reader, load_reader
from moc.world.recurrence import recurring_stories
from moc.world.schema import ACTIONS
from moc.world.story import StoryBatch

FAST = tuple(ACTIONS.index(name) for name in ("run", "jump"))
POOL = 3000  # stories that shots are chosen from
OF_SHOTS = ("scene", "cast", "action", "camera", "time", "weather", "prop", "free")
AT = ["story", "slot"]


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
    model.config = replace(
        own, shift=way.shift, guidance_to=way.guidance_to, guidance_from=way.guidance_from, last_step=way.last_step
    )
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
    """What is told of a way: readings with a column `right`, by the heading of their cell."""
    rows = rows.assign(right=rows["read"] == rows["truth"])
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


def interval(rows: pd.DataFrame, draws: int = 2000) -> str:
    """`49% (34 to 65)`: the share that is right, and its 95 % interval when shots are drawn anew."""
    if rows.empty:
        return ""
    by = rows.groupby("story")["right"].agg(["sum", "size"]).to_numpy(float)
    picks = np.random.default_rng(0).integers(0, len(by), (draws, len(by)))
    total = by[picks].sum(1)
    low, high = np.percentile(100 * total[:, 0] / total[:, 1], [2.5, 97.5])
    return f"{100 * by[:, 0].sum() / by[:, 1].sum():.0f}% ({low:.0f} to {high:.0f})"


def size_of(way: Way) -> PocketConfig:
    """A model that is sampled in this way."""
    return PocketConfig(
        shift=way.shift, guidance=2.0, guidance_from=way.guidance_from, guidance_to=way.guidance_to,
        last_step=way.last_step,
    )  # fmt: skip


def passes(way: Way) -> int:
    """Passes through the network for a shot: one a step and one more where guidance acts."""
    size = size_of(way)
    return sum(1 + size.guides(t) for t in size.timesteps(way.steps)[:-1])


def table(kept: list[Way], out: Path) -> str:
    """Every way, a row."""
    rows = []
    for way in kept:
        told = shares(pd.read_csv(file_of(out, way)))
        if not rows:
            rows.append(["timesteps", "passes", *(f"{name} ({len(part)})" for name, part in told.items())])
        steps = ", ".join(f"{t:.2g}" for t in size_of(way).timesteps(way.steps)[:-1])
        rows.append([steps, str(passes(way)), *map(interval, told.values())])
    return markdown(rows)


def file_of(out: Path, way: Way) -> Path:
    """Where the readings of a way are kept."""
    return out / f"movers_{way.name}.csv.gz"


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
    missing = [way for way in args.ways if not file_of(args.out, way).exists()]
    if missing:
        model, reader = load_model(args.weights, args.device), load_reader(args.device)
        stories = movers(args.shots, args.stories_seed)
        for way in missing:
            rows = measure(
                way, stories, model, reader, latent_frames=args.latent_frames, batch=args.batch, seed=args.seed
            )
            rows.to_csv(file_of(args.out, way), index=False)
    print(table(args.ways, args.out))


if __name__ == "__main__":
    main()

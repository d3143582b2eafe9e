"""Renders held-out stories with a pocket model and prints how often each attribute reads as its caption says.

    python benchmarks/named_attributes.py --stories 64 --weights moc/backbones/pocket/pocket.safetensors

Half of the actions and named coats of these stories are combinations that training never showed. "mixed up" is the
share of readings, in shots of two characters that differ in the attribute, that show the partner's value. "recall" is
for attributes that no caption names: does the character look as it did when it was first seen?
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.precision import fast_products
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.config import MoCConfig
from moc.metrics.world import UNREAD, accuracy, interval, readings
from moc.training.samples import stream_stories
from moc.world.reader import load_reader
from moc.world.sampler import sample_stories
from moc.world.schema import CHARACTER_OPEN, PLACE_OPEN


def render_and_read(args: argparse.Namespace) -> pd.DataFrame:
    """All readings of `args.stories` stories."""
    device = torch.device(args.device)
    model = load_model(args.weights, args.device)
    reader = load_reader(args.device)
    for name in ("guidance_from", "guidance_to"):
        if getattr(args, name) is not None:
            model.config = replace(model.config, **{name: getattr(args, name)})
    moc = MoCConfig.preset("pocket")
    if args.top_k is not None:
        moc = moc.replace(top_k=args.top_k)
    tables = []
    generator = torch.Generator(device=device).manual_seed(args.seed)
    done = 0
    while done < args.stories:
        count = min(args.batch, args.stories - done)
        stories = sample_stories(count, args.shots, generator=generator, device=device, split=args.split)
        with fast_products(model):
            frames = stream_stories(
                model, stories, latent_frames=args.latent_frames, steps=args.steps, seed=args.seed + done, moc=moc,
                planted=args.planted, guidance=args.guidance,
            )  # fmt: skip
        table = readings(stories, frames, reader)
        table["planted"] = table["shot"] < args.planted  # taken from the truth: a first appearance, no achievement
        table["story"] += done
        tables.append(table)
        done += count
    return pd.concat(tables, ignore_index=True)


def named_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of what captions name, per attribute, with the share of partner's values."""
    named = rows[rows["named"] & ~rows["planted"]]
    lines = []
    for attribute, part in named.groupby("attribute", sort=False):
        low, high = interval(part)
        differ = part[part["pair"] & (part["other"] >= 0) & (part["other"] != part["truth"])]
        # a character is found by its kind, so it can't be read as its partner's
        known = len(differ) > 0 and attribute != "kind"
        mixed = float((differ["read"] == differ["other"]).mean()) if known else float("nan")
        lines.append((attribute, len(part), accuracy(part), low, high, mixed))
    return pd.DataFrame(lines, columns=["attribute", "readings", "right", "low", "high", "mixed_up"])


def recall_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Agreement of open attributes with what was seen at the first appearance, by gap since last seen."""
    open_rows = rows[~rows["named"] & rows["attribute"].isin([*CHARACTER_OPEN, *PLACE_OPEN])]
    first = open_rows[open_rows["gap"] < 0].set_index(["story", "owner", "slot", "attribute"])["read"]
    later = open_rows[open_rows["gap"] > 0].join(first.rename("first"), on=["story", "owner", "slot", "attribute"])
    later = later[(later["first"] != UNREAD) & later["first"].notna()]
    later = later.assign(right=later["read"] == later["first"], near=later["gap"].clip(upper=3))
    shares = later.pivot_table(index="attribute", columns="near", values="right", aggfunc="mean", sort=False)
    shares.columns = [f"gap {int(gap)}{'+' if gap == 3 else ''}" for gap in shares.columns]
    counts = later.groupby("attribute", sort=False).size().rename("readings")
    drawn = open_rows[(open_rows["gap"] < 0) & ~open_rows["planted"]].groupby("attribute", sort=False)["read"]
    usual = drawn.agg(lambda v: v[v != UNREAD].value_counts(normalize=True).max()).rename("commonest draw")
    unread = drawn.agg(lambda v: (v == UNREAD).mean()).rename("unread")
    return shares.join(counts).join(usual).join(unread).reset_index()


def main() -> None:
    """Parse, render, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=64)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--latent-frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--planted", type=int, default=0)
    parser.add_argument("--guidance", type=float, help="(default: the model's own)")
    parser.add_argument("--guidance-from", type=float, help="the least guided timestep (default: the model's own)")
    parser.add_argument("--guidance-to", type=float, help="the most guided timestep (default: the model's own)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--split", choices=["train", "heldout", "any"], default="heldout")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save", type=Path, help="csv of every reading")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = render_and_read(args)
    if args.save:
        rows.to_csv(args.save, index=False)
    named, recall = named_table(rows), recall_table(rows)
    counted = rows[rows["named"] & ~rows["planted"]]
    overall = accuracy(counted)
    asked = (
        "stories",
        "shots",
        "latent_frames",
        "steps",
        "top_k",
        "guidance",
        "guidance_from",
        "guidance_to",
        "planted",
        "split",
        "seed",
    )
    source = {"weights": fingerprint(args.weights), "device": args.device, "torch": torch.__version__}
    source |= {name: getattr(args, name) for name in asked}
    if args.json:
        print(json.dumps({"source": source, "overall": overall, "named": named.to_dict("records"),
                          "recall": recall.to_dict("records")}))  # fmt: skip
        return
    with pd.option_context("display.width", 120, "display.float_format", "{:.3f}".format):
        print(" ".join(f"{name}={value}" for name, value in source.items()))
        print(f"named attributes right: {overall:.3f} of {len(counted)} readings, {args.stories} stories")
        print(named.to_string(index=False))
        print(recall.to_string(index=False))


if __name__ == "__main__":
    main()

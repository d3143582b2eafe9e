"""Pictures for somebody who is to name what a rendered shot shows, and what it does show.

    python benchmarks/world_glance.py OUT         # OUT/01.png to 30.png: six moments of a shot each; OUT/truth.json

Show the pictures without the truth, ask for place, characters and actions in free words, and compare.
`benchmarks/results/world-glance/` has the answers that docs/world.md counts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from PIL import Image

from moc.world import schema
from moc.world.render import render
from moc.world.sampler import sample_stories

MOMENTS = (8, 14, 20, 26, 32, 44)


def main() -> None:
    """Draw, render, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stories", type=int, default=30)
    parser.add_argument("--seed", type=int, default=77)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    stories = sample_stories(args.stories, 3, generator=torch.Generator().manual_seed(args.seed))
    frames = render(stories, frames=64).frames
    kinds, places = schema.CHARACTER_ATTRIBUTES["kind"], schema.PLACE_ATTRIBUTES["place"]
    truth = []
    for i in range(args.stories):
        s = i % 3
        shot = frames[i, s].permute(0, 2, 3, 1).numpy()
        sheet = Image.new("RGB", (1460, 650), "white")
        for k, moment in enumerate(MOMENTS):
            picture = Image.fromarray(shot[moment]).resize((480, 320), Image.Resampling.NEAREST)
            sheet.paste(picture, (k % 3 * 490, k // 3 * 330))
        sheet.save(args.out / f"{i + 1:02d}.png")
        cast = [(int(c), int(a)) for c, a in zip(stories.cast[i, s], stories.action[i, s], strict=True) if c >= 0]
        truth.append({
            "shot": i + 1,
            "place": places[int(stories.scenes[i, int(stories.scene[i, s]), 0])],
            "cast": [[kinds[int(stories.characters[i, c, 0])], schema.ACTIONS[a]] for c, a in cast],
        })  # fmt: skip
    (args.out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

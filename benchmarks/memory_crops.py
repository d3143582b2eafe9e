"""A sheet of what the reader looked at, each crop beside what it read there, to be checked by eye.

    python benchmarks/memory_crops.py crops.png                       # 100 characters of 16 stories, on a GPU
    python benchmarks/memory_crops.py crops.png --stories 2 --latent-frames 4 --count 24   # on a CPU

Every number of docs/memory.md is what the reader says. On the renderer's pictures its error is counted; on a model's
pictures only a person can tell. Characters are chosen at random, those that it does not find among them (the whole
frame is shown then).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.precision import fast_products
from moc.backbones.pocket.weights import SHIPPED, load_model
from moc.backbones.pocket.world_stream import stream_world
from moc.config import MoCConfig
from moc.metrics.memory_motion import CELL
from moc.world.reader import CHARACTER_LABELS, VIEWS, Reading, load_reader, read, views
from moc.world.recurrence import recurring_stories
from moc.world.schema import CHARACTER_ATTRIBUTES, KINDS
from moc.world.story import StoryBatch

SIDE, SCALE, LINE = 48, 3, 14
_PAPER, _INK, _BAD = (247, 243, 234), (44, 40, 52), (190, 40, 40)


@dataclass(frozen=True)
class Look:
    """A character in a shot: what is seen, and what is said of it."""

    picture: np.ndarray
    lines: tuple[str, ...]
    found: bool


def looks_of(stories: StoryBatch, frames: Tensor, reading: Reading, count: int, seed: int) -> list[Look]:
    """`count` characters at random, fewer where there are not as many.

    Args:
        frames: uint8 `[B, S, F, 3, H, W]`; reading: of its B x S shots.
    """
    column = list(CHARACTER_ATTRIBUTES).index("kind")
    who = [
        (b, s, int(slot))
        for b in range(stories.stories) for s in range(stories.shots) for slot in stories.cast[b, s] if slot >= 0
    ]  # fmt: skip
    random.Random(seed).shuffle(who)
    found = []
    for b, s, slot in who[:count]:
        row, kind = b * stories.shots + s, int(stories.characters[b, slot, column])
        view = VIEWS // 2
        frame = views(frames[b, s][None])[0, view].permute(1, 2, 0).numpy()
        there = bool(reading.present[row, kind] > 0)
        read_as = {name: CHARACTER_LABELS[name][int(reading.character[name][row, kind].argmax())]
                   for name in CHARACTER_LABELS}  # fmt: skip
        lines = (
            f"{b + 1}:{s + 1} {KINDS[kind]}, {read_as['action']}",
            f"{read_as['hair']} hair, {read_as['size']}",
            f"{read_as['pattern']} {read_as['coat']} coat",
            "no hat" if read_as["hat"] == "none" else f"{read_as['hat_color']} {read_as['hat']}",
            "no scarf" if read_as["scarf"] == "none" else f"{read_as['scarf']} scarf",
        )
        picture = crop(frame, reading.maps[row, view, kind]) if there else frame
        found.append(Look(picture, lines if there else (lines[0], "not found"), there))
    return found


def crop(frame: np.ndarray, heat: Tensor) -> np.ndarray:
    """The square around the peak of a map `[H/4, W/4]`, within the frame `[H, W, 3]`."""
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    top, left = (
        max(0, min(size - SIDE, at * CELL + CELL // 2 - SIDE // 2))
        for at, size in ((row, frame.shape[0]), (column, frame.shape[1]))
    )
    return frame[top : top + SIDE, left : left + SIDE]


def sheet(looks: Sequence[Look], columns: int = 10) -> Image.Image:
    """Crops in rows, each with its lines below it."""
    side, tall = SIDE * SCALE, SIDE * SCALE + 5 * LINE + 10
    rows = -(-len(looks) // columns)
    picture = Image.new("RGB", (8 + columns * (side + 8), 8 + rows * tall), _PAPER)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for i, look in enumerate(looks):
        x, y = 8 + i % columns * (side + 8), 8 + i // columns * tall
        height, width = look.picture.shape[:2]
        scale = min(side / width, side / height)
        cell = Image.fromarray(look.picture).resize(
            (round(width * scale), round(height * scale)), Image.Resampling.NEAREST
        )
        picture.paste(cell, (x, y))
        for n, line in enumerate(look.lines):
            pen.text((x, y + side + 2 + n * LINE), line, _INK if look.found else _BAD, font)
    return picture


def main() -> None:
    """Render, read, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stories", type=int, default=16)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--latent-frames", type=int, default=16)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    stories, _ = recurring_stories(args.stories, 8, generator=torch.Generator().manual_seed(args.seed))
    model = load_model(args.weights, args.device)
    with torch.no_grad(), fast_products(model):
        frames = stream_world(
            model, stories.to(args.device), MoCConfig.preset("pocket"),
            latent_frames=args.latent_frames, steps=STEPS, seed=args.seed,
        ).frames  # fmt: skip
    with torch.no_grad():
        reading = read(load_reader(args.device), frames.flatten(0, 1))
    sheet(looks_of(stories, frames, reading, args.count, args.seed)).save(args.out)


if __name__ == "__main__":
    main()

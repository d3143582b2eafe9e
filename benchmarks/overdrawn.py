"""How much of a figure does the network predict, and how well? Noised truth, one pass, by timestep and action.

    python benchmarks/overdrawn.py --stories 32 --latent-frames 8
    python benchmarks/overdrawn.py --weights runs/train/mine/weights.safetensors --json

A prediction is a mean over all that might be. Where noise hides where somebody is, it shows him faintly wherever he may
stand, and all of it together is as much of him as there is in the truth. More than that is drawn in two places at once.

Of every shot there are two pictures, with its figure and without. Along the mean difference of their colours, the
prediction's difference from the empty picture is summed over the whole shot and divided by that of the truth. Shots are
wide, with one character each and everything named; sums are taken over all shots before they are divided.

How well: PSNR of the prediction within the figures, and of the noisy input, which no prediction should fall behind.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from moc.attention import attend
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.noise import draw_noise
from moc.backbones.pocket.patches import patchify, unpatchify
from moc.backbones.pocket.positions import rotation_table, rotations, stream_positions
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.config import MoCConfig
from moc.errors import MocError
from moc.training.data import story_layout
from moc.world.render import render
from moc.world.sampler import sample_stories
from moc.world.schema import ACTIONS, CAMERAS
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch

TIMES = (0.99, 0.97, 0.95, 0.93, 0.9, 0.85, 0.8, 0.6, 0.4, 0.2, 0.1)
AT_ONCE = 16
RANGE = 2.0  # of colours, -1 to 1


@dataclass(frozen=True)
class Look:
    """Of the figures at one timestep: predicted over true amount, and PSNR in dB of prediction and of input."""

    share: float
    psnr: float
    input_psnr: float


def shots_of(action: str, count: int, device: torch.device) -> StoryBatch:
    """Wide shots of one character each, who does `action`."""
    generator = torch.Generator(device=device).manual_seed(6)
    stories = sample_stories(count, 1, generator=generator, device=device, split="any", named=1.0, characters=1)
    cast = stories.cast.clone()
    cast[:, 0, 0], cast[:, 0, 1] = stories.cast[:, 0].amax(-1), -1
    return replace(
        stories, cast=cast, action=torch.full_like(stories.action, ACTIONS.index(action)),
        camera=torch.full_like(stories.camera, CAMERAS.index("wide")), prop=torch.zeros_like(stories.prop),
    )  # fmt: skip


@torch.no_grad()
def looks(
    model: PocketDiT, action: str, count: int, latent_frames: int, times: Sequence[float], device: torch.device
) -> list[Look]:
    """How much of the figures is predicted and how well, at every timestep."""
    size, stories = model.config, shots_of(action, count, device)
    frames = latent_frames * size.patch_frames
    full = render(stories, frames=frames, masks=True)
    empty = render(replace(stories, cast=torch.full_like(stories.cast, -1)), frames=frames).frames[:, 0]
    seen, bare = (x.float() / 127.5 - 1 for x in (full.frames[:, 0], empty))
    assert full.masks is not None
    inside = (full.masks[:, 0] > 0)[:, :, None].float()
    colour = ((seen - bare) * inside).sum((1, 3, 4)) / inside.sum((1, 3, 4)).clamp_min(1)

    def amount(pictures: Tensor) -> Tensor:
        return ((pictures - bare) * colour[:, None, :, None, None]).sum((1, 2, 3, 4))

    clean = patchify(full.frames, size).float() / 127.5 - 1
    generator = torch.Generator(device=device).manual_seed(7)
    noise = draw_noise((count, 1), latent_frames, size, generator=generator, device=device)
    text, captions = encode_batch(stories)
    positions = stream_positions(size, [(1, latent_frames, 0)]).to(device)
    cos, sin = rotations(positions, rotation_table(size).to(device), torch.zeros(count, device=device))
    config = MoCConfig.preset("pocket")
    layout = story_layout(1, latent_frames, config.chunk_tokens, size)

    def psnr(pictures: Tensor) -> float:
        square = ((pictures - seen).square() * inside).sum() / (3 * inside.sum()).clamp_min(1)
        return float(-10 * torch.log10(square / RANGE**2))

    def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, layout, None, config)

    found = []
    for t in times:
        z, made = torch.lerp(clean, noise, t), []
        for first in range(0, count, AT_ONCE):
            part = slice(first, first + AT_ONCE)
            at = torch.full((len(text[part]), 1), t, device=device)
            made.append(model(text[part], captions[part], z[part], at, cos[part], sin[part], attention).float())
        predicted, given = (unpatchify(x[:, 0].float(), size).view_as(seen) for x in (torch.cat(made), z))
        found.append(Look(float(amount(predicted).sum() / amount(seen).sum()), psnr(predicted), psnr(given)))
    return found


def main() -> None:
    """Parse, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--weights", type=Path, default=SHIPPED)
    asked.add_argument("--stories", type=int, default=16)
    asked.add_argument("--latent-frames", type=int, default=8)
    asked.add_argument("--actions", default="run,walk,stand")
    asked.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked.add_argument("--json", action="store_true")
    args = asked.parse_args()
    actions, device = args.actions.split(","), torch.device(args.device)
    unknown = [name for name in actions if name not in ACTIONS]
    if unknown:
        asked.error(f"no action {', '.join(unknown)}; there are {', '.join(ACTIONS)}")
    if min(args.stories, args.latent_frames) < 1:
        asked.error(f"--stories {args.stories} and --latent-frames {args.latent_frames} must be at least 1")
    try:
        model = load_model(args.weights, args.device)
    except MocError as error:
        sys.exit(f"error: {error}")
    table = {name: looks(model, name, args.stories, args.latent_frames, TIMES, device) for name in actions}
    if args.json:
        told = {name: [asdict(look) for look in found] for name, found in table.items()}
        print(json.dumps({"weights": fingerprint(args.weights), "times": TIMES, "looks": told}))
        return
    for title, key in (
        ("predicted over true amount of figure, by timestep", "share"),
        ("PSNR of predictions within figures, dB", "psnr"),
        ("PSNR of the noisy input there, dB", "input_psnr"),
    ):
        print(title)
        print(f"{'':8}", *(f"{t:6.2f}" for t in TIMES))
        for action, found in table.items():
            print(f"{action:8}", *(f"{getattr(look, key):6.2f}" for look in found))


if __name__ == "__main__":
    main()

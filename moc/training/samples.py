"""Pictures of what a model in training makes: held-out stories, streamed or joint, beside their ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moc.attention import moc_attention
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.noise import draw_noise
from moc.backbones.pocket.planning import alone
from moc.backbones.pocket.positions import rotation_table, rotations, stream_positions
from moc.backbones.pocket.rendering import no_text
from moc.backbones.pocket.stream import Memory
from moc.backbones.pocket.world_stream import stream_world, to_uint8
from moc.config import MoCConfig
from moc.run.files import atomic
from moc.sampling import Solver
from moc.world.story import StoryBatch

if TYPE_CHECKING:
    from moc.training.loop import Trainer


SHOTS = 8  # of a sample story


@torch.no_grad()
def stream_stories(
    model: PocketDiT,
    stories: StoryBatch,
    *,
    latent_frames: int,
    steps: int,
    seed: int,
    moc: MoCConfig,
    planted: int = 0,
    guidance: float | None = None,
) -> Tensor:
    """Stream a batch of world stories (`stream_world`) with noise from one generator, so that it depends on the batch.

    Args:
        latent_frames: of every shot.
        steps: sampling steps.
        seed: of all noise.
        moc: attention.
        planted: so many first shots are taken from the ground truth instead of being sampled.
        guidance: scale of classifier-free guidance, 1 for none (default: the model's own).

    Returns:
        uint8 `[B, S, F, 3, H, W]`.
    """
    device = stories.scene.device
    generator = torch.Generator(device=device).manual_seed(seed)

    def draw(number: int) -> Tensor:
        return draw_noise((stories.stories,), latent_frames, model.config, generator=generator, device=device)

    given = (torch.arange(stories.shots, device="cpu") < planted).expand(stories.stories, -1)
    streamed = stream_world(
        model, stories, moc, latent_frames=latent_frames, steps=steps, seed=seed, planted=given, guidance=guidance,
        draw=draw, peaks=False,  # a training counts its own peak
    )  # fmt: skip
    return streamed.frames.to(device)


@torch.no_grad()
def joint_stories(
    model: PocketDiT, stories: StoryBatch, *, latent_frames: int, steps: int, seed: int, moc: MoCConfig,
    guidance: float | None = None,
) -> Tensor:  # fmt: skip
    """All shots of a batch of world stories denoised together; arguments and result as `stream_stories`."""
    from moc.world.tokens import encode_batch

    device = stories.scene.device
    size = model.config
    generator = torch.Generator(device=device).manual_seed(seed)
    text = encode_batch(stories, generator=generator, shuffle=False)
    guidance = size.guidance if guidance is None else guidance
    passes = [(*text, moc)] + [(no_text(text[0]), no_text(text[1]), alone(moc))] * (guidance != 1.0)
    positions = stream_positions(size, [(n, latent_frames, 0) for n in range(1, stories.shots + 1)])
    cos, sin = rotations(positions.to(device), rotation_table(size).to(device))
    z = draw_noise((stories.stories, stories.shots), latent_frames, size, generator=generator, device=device)

    def predict(first: Tensor, captions: Tensor, config: MoCConfig, t: Tensor) -> Tensor:
        layout = Memory.layout_of(model, config, [latent_frames] * stories.shots)

        def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return moc_attention(q, k, v, layout, config, layer=layer)

        return model(first, captions, z, t, cos, sin, attention).float()

    grid = size.timesteps(steps)
    solver = Solver(grid)
    for index in range(steps):
        t = torch.full(z.shape[:2], grid[index], device=device)
        made = [predict(*one, t) for one in passes]
        z = solver.step(index, z, made[-1] + guidance * (made[0] - made[-1]) if len(made) > 1 else made[0])
    return to_uint8(z.clamp(-1, 1), model)


def sheet(rows: list[Tensor], scale: int = 2) -> Tensor:
    """Tile uint8 rows of pictures, each `[n, 3, H, W]`, into one picture `[H', W', 3]`."""
    lines = [torch.cat(list(row), dim=2) for row in rows]
    picture = torch.cat(lines, dim=1).permute(1, 2, 0)
    return picture.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def write_samples(trainer: Trainer, path: Path, stories: int = 3, steps: int = 10) -> None:
    """Draw a few held-out stories with the averaged weights; truth above, sample below, one column a shot. They are
    streamed where the attention of the stage allows it.

    Writes a still of the middle of every shot to `path` (PNG) and the whole video beside it (animated WebP, which needs
    no encoder that a training machine may lack).
    """
    from PIL import Image

    from moc.world.render import render
    from moc.world.sampler import sample_stories

    _, stage = trainer.config.stage_at(trainer.step)
    generator = torch.Generator(device=trainer.device).manual_seed(1234)
    drawn = sample_stories(stories, SHOTS, generator=generator, device=trainer.device, split="heldout")
    model = averaged(trainer)
    moc = trainer.config.attention(stage)
    draw = stream_stories if moc.causal and moc.text_links == "own" else joint_stories
    with torch.autocast(trainer.device.type, dtype=torch.bfloat16, enabled=trainer.device.type == "cuda"):
        made = draw(model, drawn, latent_frames=stage.latent_frames, steps=steps, seed=7, moc=moc)
    truth = render(drawn, frames=stage.latent_frames * model.config.patch_frames, device=trainer.device).frames
    shown = truth.shape[2]
    frames = [sheet([x[story, :, t] for story in range(stories) for x in (truth, made)]) for t in range(shown)]
    pictures = [Image.fromarray(frame.cpu().numpy()) for frame in frames]
    with atomic(path) as temporary:
        pictures[shown // 2].save(temporary, format="PNG")
    with atomic(path.with_suffix(".webp")) as temporary:
        pictures[0].save(
            temporary,
            format="WEBP",
            save_all=True,
            append_images=pictures[1:],
            duration=1000 // model.config.fps,
            loop=0,
            quality=80,
        )


def averaged(trainer: Trainer) -> PocketDiT:
    """A copy of the network with the averaged weights, in eval mode."""
    model = PocketDiT(trainer.model_config).to(trainer.device)
    model.load_state_dict(trainer.ema)
    return model.eval()

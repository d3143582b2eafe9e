"""Stories that a training or a benchmark streams in batches: their noise, and shots that are given."""

from __future__ import annotations

import torch
from training_cases import TINY

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.noise import draw_noise
from moc.backbones.pocket.world_stream import stream_world
from moc.config import MoCConfig
from moc.training import samples
from moc.world.render import render
from moc.world.sampler import sample_stories


def test_samples_have_noise_of_their_batch() -> None:
    """From one generator, shot after shot, none for planted ones: benchmarks name seeds of it."""
    stories = sample_stories(2, 3, generator=torch.Generator().manual_seed(0))
    model = PocketDiT(PocketConfig(**TINY["model"])).eval()  # type: ignore[arg-type]
    torch.nn.init.normal_(model.head_down.weight, std=0.1)  # a new network draws nothing but grey
    moc = MoCConfig.preset("pocket")
    generator = torch.Generator().manual_seed(9)
    noise = [draw_noise((2,), 1, model.config, generator=generator) for _ in range(2)]
    shots = iter(noise)
    given = torch.tensor([[True, False, False]] * 2)
    wanted = stream_world(
        model, stories, moc, latent_frames=1, steps=2, seed=0, planted=given, draw=lambda number: next(shots)
    )
    made = samples.stream_stories(model, stories, latent_frames=1, steps=2, seed=9, moc=moc, planted=1)
    assert torch.equal(made, wanted.frames)
    assert not list(shots)
    other = samples.stream_stories(model, stories, latent_frames=1, steps=2, seed=8, moc=moc, planted=1)
    assert not torch.equal(made, other)


def test_planted_shots_are_the_truth() -> None:
    stories = sample_stories(1, 3, generator=torch.Generator().manual_seed(0))
    model = PocketDiT(PocketConfig(**TINY["model"])).eval()  # type: ignore[arg-type]
    made = samples.stream_stories(
        model, stories, latent_frames=1, steps=1, seed=1, moc=MoCConfig.preset("pocket"), planted=2
    )
    truth = render(stories, frames=4).frames
    assert torch.equal(made[:, :2], truth[:, :2])
    assert not torch.equal(made[:, 2], truth[:, 2])

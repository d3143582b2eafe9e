"""Tests of the renderer."""

from __future__ import annotations

import pytest
import torch

from moc.errors import MocError
from moc.world.render import render
from moc.world.sampler import sample_stories
from moc.world.schema import HEIGHT, MAX_CAST, WIDTH
from moc.world.story import StoryBatch


def _stories(batch: int = 3, shots: int = 4, seed: int = 0) -> StoryBatch:
    return sample_stories(batch, shots, generator=torch.Generator().manual_seed(seed), split="any")


def test_shapes_and_determinism() -> None:
    stories = _stories()
    first, second = (render(stories, frames=3, masks=True) for _ in range(2))
    assert first.frames.shape == (3, 4, 3, 3, HEIGHT, WIDTH)
    assert first.masks is not None and first.masks.shape == (3, 4, 3, HEIGHT, WIDTH)
    assert first.boxes is not None and first.boxes.shape == (3, 4, 3, MAX_CAST, 4)
    assert torch.equal(first.frames, second.frames)


def test_window_is_a_slice() -> None:
    stories = _stories(seed=1)
    full = render(stories, frames=24, masks=True)
    window = render(stories, frames=4, start=9, masks=True)
    assert torch.equal(window.frames, full.frames[:, :, 9:13])
    start = torch.randint(0, 20, (3, 4), generator=torch.Generator().manual_seed(5))
    mixed = render(stories, frames=4, start=start)
    for b in range(3):
        for s in range(4):
            at = int(start[b, s])
            assert torch.equal(mixed.frames[b, s], full.frames[b, s, at : at + 4])
    assert torch.equal(render(stories, frames=2, shots=slice(1, 3)).frames, full.frames[:, 1:3, :2])


def test_refuses_nonsense() -> None:
    with pytest.raises(MocError, match="frames must be at least 1, got 0"):
        render(_stories(), frames=0)
    with pytest.raises(MocError, match="start must not be negative, got -2"):
        render(_stories(), start=-2)

"""Shots that go on without a cut: the same picture, later on its time line."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch

from moc.world.continuation import continue_shots, say_continued
from moc.world.render import render
from moc.world.sampler import sample_stories
from moc.world.schema import COLUMNS, FACT_ID
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch

OF_STORY = ("characters", "characters_named", "scenes", "scenes_named")


def _stories(batch: int = 3, shots: int = 6, seed: int = 0) -> StoryBatch:
    return sample_stories(batch, shots, generator=torch.Generator().manual_seed(seed))


def _continued(stories: StoryBatch, share: float, seed: int = 1) -> tuple[StoryBatch, torch.Tensor]:
    return continue_shots(stories, share, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_run_shows_what_its_first_shot_shows(share: float) -> None:
    stories = _stories()
    before = copy.deepcopy(stories)
    made, run = _continued(stories, share)
    assert run.dtype == torch.int64
    assert not run[:, 0].any()
    for field in fields(StoryBatch):
        original, new = getattr(stories, field.name), getattr(made, field.name)
        assert torch.equal(original, getattr(before, field.name)), "the stories given are not changed"
        assert new.dtype == original.dtype
        if field.name in OF_STORY:
            assert torch.equal(new, original)
            continue
        for b in range(stories.stories):
            for s in range(stories.shots):
                assert torch.equal(new[b, s], original[b, s - int(run[b, s])]), field.name
    for b in range(stories.stories):
        for s in range(1, stories.shots):
            assert int(run[b, s]) in (0, int(run[b, s - 1]) + 1)


def test_share_of_continued_shots() -> None:
    stories = _stories(batch=400, shots=8)
    assert not _continued(stories, 0.0)[1].any()
    assert torch.equal(_continued(stories, 1.0)[1], torch.arange(8).expand(400, 8))
    goes_on = _continued(stories, 0.3)[1][:, 1:] > 0
    assert goes_on.float().mean() == pytest.approx(0.3, abs=0.03)


def test_pictures_go_on_where_they_stopped() -> None:
    stories, run = _continued(_stories(batch=2, shots=3), 1.0)
    frames = 4
    cut = render(stories, frames=frames, start=run * frames).frames
    whole = render(stories, frames=3 * frames).frames[:, 0]
    assert torch.equal(cut.flatten(1, 2), whole)
    assert (cut[:, 0] != cut[:, 1]).any()  # time goes on


def test_the_caption_says_so() -> None:
    stories, run = _continued(_stories(), 0.5)
    _, captions = encode_batch(stories)
    said = say_continued(captions, run > 0)
    assert run.any()
    assert torch.equal(said[:, :, 0, COLUMNS["cut"]] == FACT_ID["cut", "continue"], run > 0)
    assert not captions[:, :, 0, COLUMNS["cut"]].any()  # the ones given stay as they were
    said[:, :, 0, COLUMNS["cut"]] = 0
    assert torch.equal(said, captions)

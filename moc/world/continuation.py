"""Shots that go on without a cut: the same picture, later on its time line."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from moc.world.schema import COLUMNS, FACT_ID
from moc.world.story import StoryBatch

_OF_SHOT = ("scene", "cast", "action", "camera", "time", "weather", "prop", "free")


def continue_shots(stories: StoryBatch, share: float, generator: torch.Generator) -> tuple[StoryBatch, Tensor]:
    """Turn some shots into continuations of the ones before them.

    Args:
        stories: drawn stories; not changed.
        share: of the shots after the first that continue.
        generator: on the stories' device.

    Returns:
        The stories, and `[B, S]` int64: how many shots ago the run without a cut began (0 for a cut). A shot's time
        line starts that many shot lengths into the run.
    """
    device = stories.scene.device
    goes_on = torch.rand(stories.scene.shape, generator=generator, device=device) < share
    run = torch.zeros_like(stories.scene)
    source = torch.arange(stories.shots, device=device).expand_as(run).clone()
    for s in range(1, stories.shots):
        run[:, s] = torch.where(goes_on[:, s], run[:, s - 1] + 1, 0)
        source[:, s] = torch.where(goes_on[:, s], source[:, s - 1], source[:, s])
    changed = {}
    for name in _OF_SHOT:
        values = getattr(stories, name)
        index = source.view(*source.shape, *(1,) * (values.ndim - 2)).expand_as(values)
        changed[name] = values.gather(1, index)
    return replace(stories, **changed), run


def say_continued(captions: Tensor, goes_on: Tensor) -> Tensor:
    """Captions `[B, S, CAPTION_TOKENS, TOKEN_SIZE]` that say (cut, continue) where `goes_on` `[B, S]`."""
    captions = captions.clone()
    captions[:, :, 0, COLUMNS["cut"]] = FACT_ID["cut", "continue"] * goes_on
    return captions

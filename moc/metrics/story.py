"""What a rendered story of the built-in world shows, read back from its pixels, beside what its words ask for.

A story file becomes a `StoryBatch` of one: what its words say is the truth, what they leave open is unknown (-1). Then
`moc.metrics.world.readings` reads every shot. The reader's own error (docs/model-card.md) bounds what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from moc.backbones.pocket.planning import read_words
from moc.metrics.world import readings
from moc.world.language import encode
from moc.world.reader import VIEWS, Reader
from moc.world.schema import (
    CHARACTER_ATTRIBUTES,
    COLUMNS,
    FACT_OFFSET,
    MAX_CAST,
    MAX_CHARACTERS,
    MAX_SCENES,
    PLACE_ATTRIBUTES,
    character_slot,
    scene_slot,
)
from moc.world.story import StoryBatch

if TYPE_CHECKING:
    import pandas as pd

    from moc.storyboard import Storyboard

UNKNOWN = -1
_SHOT = ("camera", "time", "weather", "prop")


def story_batch(story: Storyboard) -> StoryBatch:
    """What the story's words say, as the world writes it: B = 1, S its shots; -1 for whatever they leave open.

    Raises:
        InputError: the story has no room in the world.
    """
    whole, captions = encode(read_words(story))
    shots = len(captions)
    characters = torch.full((1, MAX_CHARACTERS, len(CHARACTER_ATTRIBUTES)), UNKNOWN)
    scenes = torch.full((1, MAX_SCENES, len(PLACE_ATTRIBUTES)), UNKNOWN)
    scene = torch.zeros(1, shots, dtype=torch.int64)
    cast = torch.full((1, shots, MAX_CAST), UNKNOWN)
    action = torch.full((1, shots, MAX_CAST), UNKNOWN)
    of_shot = {name: torch.full((1, shots), UNKNOWN) for name in _SHOT}
    for token in [*whole, *(token for caption in captions for token in caption[1:])]:
        if token[0] >= scene_slot(0):
            _describe(scenes[0, token[0] - scene_slot(0)], token, tuple(PLACE_ATTRIBUTES))
        elif token[0]:
            _describe(characters[0, token[0] - character_slot(0)], token, tuple(CHARACTER_ATTRIBUTES))
    for number, (shown, where, *who) in enumerate(captions):
        for name in _SHOT:
            of_shot[name][0, number] = _value(shown, name)
        scene[0, number] = max(0, where[0] - scene_slot(0))
        for role, token in enumerate(token for token in who if token[0]):
            cast[0, number, role] = token[0] - character_slot(0)
            action[0, number, role] = _value(token, "action")
    return StoryBatch(
        characters=characters, characters_named=characters != UNKNOWN, scenes=scenes, scenes_named=scenes != UNKNOWN,
        scene=scene, cast=cast, action=action, free=torch.zeros(1, shots, 16), **of_shot,
    )  # fmt: skip


def _value(token: tuple[int, ...], attribute: str) -> int:
    """Index of what a text token says of an attribute, -1 for nothing."""
    fact = token[COLUMNS[attribute]]
    return fact - FACT_OFFSET[attribute] if fact else UNKNOWN


def _describe(row: Tensor, token: tuple[int, ...], attributes: tuple[str, ...]) -> None:
    """Enter what a token says; what was said first counts."""
    for column, name in enumerate(attributes):
        if int(row[column]) == UNKNOWN:
            row[column] = _value(token, name)


def read_story(story: Storyboard, shots: Mapping[int, np.ndarray], reader: Reader) -> pd.DataFrame:
    """Read every shot of a rendered story.

    Args:
        story: what was asked for, every shot of it rendered.
        shots: uint8 `[F, H, W, 3]` by shot number.
        reader: the trained reader.

    Returns:
        rows of `moc.metrics.world.readings`, with `truth` -1 where the words leave something open, and without rows of
        camera, time, weather, prop and action that no word speaks of.
    """
    seen = []
    for shot in story.shots:
        frames = shots[shot.number]
        index = np.linspace(0, len(frames) - 1, VIEWS).round().astype(int)
        seen.append(torch.from_numpy(frames[index]).permute(0, 3, 1, 2))
    rows = readings(story_batch(story), torch.stack(seen)[None], reader)
    told = (rows["truth"] != UNKNOWN) | ~rows["named"]
    return rows[told].reset_index(drop=True)

"""Stories as text tokens, the only language the built-in model reads: one token a thing, with all that is said of it.

A token is `(slot, fact id, fact id, ...)`: who or what, and the value of each attribute that is said, else 0.
"Character 2 is a woman, wears a red coat and runs" is one token. A shot's caption names people by id, as the paper's
protocol wants; resolving an id to its description is the text encoder's work, so the description's facts stand in the
caption's tokens as well. Names never reach the model, so any name works.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moc.world.schema import (
    CHARACTER_ATTRIBUTES,
    COLUMNS,
    FACT_OFFSET,
    GLOBAL_TOKENS,
    MAX_CHARACTERS,
    MAX_SCENES,
    PLACE_ATTRIBUTES,
    TOKEN_SIZE,
    character_slot,
    scene_slot,
)
from moc.world.story import StoryBatch


def encode_batch(
    stories: StoryBatch,
    *,
    generator: torch.Generator | None = None,
    shuffle: bool = False,
    omit: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Text tokens of a batch: global `[B, GLOBAL_TOKENS, TOKEN_SIZE]`, captions `[B, S, CAPTION_TOKENS, TOKEN_SIZE]`.

    The global caption tells kind and named attributes of every character, place and named attributes of every scene,
    each at the place of its slot. A shot's caption tells, in this order: camera, time, weather and prop; its scene;
    each of its cast with the action. Unused places are all zero.

    Args:
        generator: chance for `shuffle` and `omit`, on the device of the stories (default: torch's own).
        shuffle: gives characters and scenes random slots, so that every slot is met in training.
        omit: probability that the global caption leaves out a character or scene (as it does those that only a shot's
            prompt mentions), and that a shot's caption leaves out one of their named attributes.
    """
    device = stories.scene.device
    people = _described(stories.characters, stories.characters_named, tuple(CHARACTER_ATTRIBUTES))
    scenes = _described(stories.scenes, stories.scenes_named, tuple(PLACE_ATTRIBUTES))
    people[..., 0] = _slots(stories.stories, MAX_CHARACTERS, character_slot(0), shuffle, generator, device)
    scenes[..., 0] = _slots(stories.stories, MAX_SCENES, scene_slot(0), shuffle, generator, device)

    whole = torch.zeros(stories.stories, 1 + GLOBAL_TOKENS, TOKEN_SIZE, dtype=torch.int64, device=device)
    listed = torch.cat([people, scenes], 1)
    told = (listed[..., 1:] > 0).any(-1)
    if omit > 0:
        told = told & (torch.rand(told.shape, generator=generator, device=device) >= omit)
    whole.scatter_(1, (listed[..., :1] * told[..., None]).expand_as(listed), listed)  # place 0 takes what is not told

    shot = torch.zeros(*stories.scene.shape, TOKEN_SIZE, dtype=torch.int64, device=device)
    for name in ("camera", "time", "weather", "prop"):
        shot[..., COLUMNS[name]] = FACT_OFFSET[name] + getattr(stories, name)
    shot[..., COLUMNS["prop"]] *= stories.prop > 0
    rows = torch.arange(stories.stories, device=device)
    where = scenes[rows[:, None], stories.scene]
    who = people[rows[:, None, None], stories.cast.clamp_min(0)]
    who[..., COLUMNS["action"]] = FACT_OFFSET["action"] + stories.action
    who = who * (stories.cast >= 0)[..., None]
    if omit > 0:
        for token, column, last in (
            (where, COLUMNS["wall"], COLUMNS["feature"]),
            (who, COLUMNS["hair"], COLUMNS["size"]),
        ):
            said = token[..., column : last + 1]
            said *= torch.rand(said.shape, generator=generator, device=device) >= omit
    return whole[:, 1:].contiguous(), torch.cat([shot[:, :, None], where[:, :, None], who], 2)


def _described(table: Tensor, named: Tensor, attributes: tuple[str, ...]) -> Tensor:
    """`[B, n, attributes]` values -> `[B, n, TOKEN_SIZE]` tokens of what is named, still without slots."""
    tokens = torch.zeros(*table.shape[:2], TOKEN_SIZE, dtype=torch.int64, device=table.device)
    for i, name in enumerate(attributes):
        tokens[..., COLUMNS[name]] = (FACT_OFFSET[name] + table[..., i]) * named[..., i]
    return tokens


def _slots(
    batch: int, count: int, first: int, shuffle: bool, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """`[batch, count]` slot ids, in order or in random order."""
    if not shuffle:
        return torch.arange(first, first + count, device=device).expand(batch, count)
    return first + torch.rand(batch, count, generator=generator, device=device).argsort(1)

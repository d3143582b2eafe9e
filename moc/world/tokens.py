"""Stories as text tokens: pairs (slot, fact id), the only language the built-in model reads.

A fact such as "character 2 wears a red coat" is one token: the slot says who or what, the fact id says which value of
which attribute. Names never reach the model, so any name works. The order of tokens carries no meaning; training
shuffles it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moc.world.schema import (
    CAPTION_TOKENS,
    CHARACTER_ATTRIBUTES,
    CHARACTER_OPEN,
    FACT_OFFSET,
    FACT_PAD,
    GLOBAL_TOKENS,
    PLACE_ATTRIBUTES,
    SLOT_NONE,
    character_slot,
    scene_slot,
)
from moc.world.story import StoryBatch


def encode_batch(
    stories: StoryBatch,
    *,
    generator: torch.Generator | None = None,
    shuffle: bool = True,
    restate: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Text tokens of a batch: global `[B, GLOBAL_TOKENS, 2]` and captions `[B, S, CAPTION_TOKENS, 2]`, int64.

    The last axis is (slot, fact id), padding is (0, `FACT_PAD`) and comes last. The global caption tells kind and
    named attributes of every character, place and named attributes of every scene. A shot's caption tells its place
    (under the scene's slot), camera, time, weather, the prop unless there is none, and kind and action of each cast
    character.

    Args:
        generator: chance for `shuffle` and `restate`, on the device of the stories (default: torch's own).
        shuffle: puts the tokens of each caption in random order.
        restate: probability that a shot's caption repeats a named attribute of a cast character, as people do
            when they write ("she, in her red coat, ...").

    Raises:
        ValueError: when a story has more facts than `GLOBAL_TOKENS` (only for batches on the CPU; on CUDA it is a
            device-side assertion, to spare a synchronisation each step).
    """
    device = stories.scene.device
    whole_BN2 = torch.cat(
        [
            _facts_of(stories.characters, tuple(CHARACTER_ATTRIBUTES), character_slot(0)).flatten(1, 2),
            _facts_of(stories.scenes, tuple(PLACE_ATTRIBUTES), scene_slot(0)).flatten(1, 2),
        ],
        1,
    )
    said = torch.cat([stories.characters_named.flatten(1), stories.scenes_named.flatten(1)], 1)
    _refuse_overflow(said, GLOBAL_TOKENS)

    # Captions: scene, camera, time, weather, prop, then kind, action and restated attributes of each role.
    place_BS = stories.scenes[..., 0].gather(1, stories.scene)
    shot_BSN2 = torch.stack(
        [
            _pair(scene_slot(0) + stories.scene, FACT_OFFSET["place"] + place_BS),
            *(
                _pair(torch.full_like(value, SLOT_NONE), FACT_OFFSET[name] + value)
                for name, value in (
                    ("camera", stories.camera),
                    ("time", stories.time),
                    ("weather", stories.weather),
                    ("prop", stories.prop),
                )
            ),
        ],
        2,
    )
    always = torch.ones_like(stories.scene, dtype=torch.bool)
    shot_said = torch.stack([always, always, always, always, stories.prop > 0], 2)

    who_BSR = stories.cast.clamp_min(0)
    there = stories.cast >= 0
    rows = torch.arange(stories.stories, device=device).view(-1, 1, 1)
    person_BSRN2 = _facts_of(stories.characters, tuple(CHARACTER_ATTRIBUTES), character_slot(0))[rows, who_BSR]
    action = _pair(character_slot(0) + who_BSR, FACT_OFFSET["action"] + stories.action)
    told = stories.characters_named[rows, who_BSR]
    if restate > 0:
        again = torch.rand(told.shape, generator=generator, device=device) < restate
        again[..., : len(CHARACTER_ATTRIBUTES) - len(CHARACTER_OPEN)] = True
        told = told & again
        person, person_said = person_BSRN2, told & there[..., None]
    else:
        person, person_said = person_BSRN2[..., :1, :], there[..., None]
    captions = torch.cat([shot_BSN2, person.flatten(2, 3), action], 2)
    caption_said = torch.cat([shot_said, person_said.flatten(2), there], 2)
    return (
        _arrange(whole_BN2, said, GLOBAL_TOKENS, generator, shuffle),
        _arrange(captions, caption_said, CAPTION_TOKENS, generator, shuffle),
    )


def _pair(slot: Tensor, fact: Tensor) -> Tensor:
    return torch.stack([slot, fact], -1)


def _facts_of(table: Tensor, attributes: tuple[str, ...], first_slot: int) -> Tensor:
    """`[B, slots, attributes]` values -> `[B, slots, attributes, 2]` tokens."""
    offset = torch.stack([torch.full_like(table[..., 0], FACT_OFFSET[name]) for name in attributes], -1)
    slot = first_slot + torch.arange(table.shape[1], device=table.device).view(1, -1, 1)
    return _pair(slot.expand_as(table), offset + table)


def _refuse_overflow(said: Tensor, limit: int) -> None:
    if said.shape[1] <= limit:
        return
    most = said.sum(1).max()
    if said.device.type == "cpu":
        if int(most) > limit:
            raise ValueError(f"a story states {int(most)} facts, its global caption holds {limit}")
    else:
        torch._assert_async(most <= limit)


def _arrange(tokens: Tensor, said: Tensor, width: int, generator: torch.Generator | None, shuffle: bool) -> Tensor:
    """Said tokens first (in random or given order), then padding, cut or padded to `width` along axis -2."""
    if shuffle:
        keys = torch.rand(said.shape, generator=generator, device=said.device)
    else:
        keys = torch.arange(said.shape[-1], device=said.device).expand(said.shape) / said.shape[-1]
    order = torch.argsort(keys + (~said) * 2, dim=-1, stable=True)[..., :width]
    pad = torch.tensor((SLOT_NONE, FACT_PAD)).to(said.device, non_blocking=True)
    tokens = torch.where(said[..., None], tokens, pad)
    tokens = tokens.gather(-2, order[..., None].expand(*order.shape, 2))
    missing = width - tokens.shape[-2]
    if missing <= 0:
        return tokens
    return torch.cat([tokens, pad.expand(*tokens.shape[:-2], missing, 2)], -2)

"""Stories that test memory: people and places that go away for a known number of shots, and others in between.

`moc.world.sampler` draws stories to learn from, in which long absences are rare. Here the timetable comes first:

    shot     1    2    3    4    5    6    7    8
    first    A    .    .    .    .    .    .    A     the gap is drawn, long ones as often as short ones
    second   B    B    .    .    B    .    .    .     enters with A
    late     .    .    .    C    .    .    C    .     enters alone, for one shot, and comes back
    others   .    D    D    .    D    D    .    D     a distractor, at times of A's kind, never beside A

and the same for two places with two others between them. A and B, C, and the places that they are first seen in, are
*planted*: a benchmark may give the model these shots from the ground truth. Everything else of a story (attributes,
actions, words) is drawn by `moc.world.sampler.furnish`, independently of the timetable.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from moc.world.sampler import MOST_DRAWN, SPLITS, Split, furnish
from moc.world.schema import MAX_CAST, MAX_CHARACTERS, MAX_SCENES
from moc.world.story import StoryBatch

GAPS = (1, 2, 3, 4, 5, 6, 7, 15, 31)
"""Gaps, in shots since last seen, that stories aim at. A delayed return makes others."""
NAMED = 0.25
"""Share of open attributes that captions name, so that every story tests words and memory at once."""

_WEIGHT = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.2, 5: 1.6, 6: 2.4, 7: 8.0, 15: 8.0, 31: 8.0}
_FIRST, _OTHER, _SECOND, _LATE = range(MOST_DRAWN)  # the sampler may make the second of a list like the first
_PAIR_UP = 0.6  # of the distractor with somebody who is there alone


def recurring_stories(
    batch: int,
    shots: int,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    split: Split = "heldout",
    named: float = NAMED,
) -> tuple[StoryBatch, Tensor]:
    """Draws `batch` stories of `shots` shots with planned returns.

    Args:
        generator: the only source of chance.
        device: where the results go.
        split: see `sample_stories`.
        named: share of open attributes that captions name.

    Returns:
        The stories, and `[B, S]` bool: the shots in which somebody tracked is first seen.

    Raises:
        ValueError: fewer than two shots, no story, or a split or share that does not exist.
    """
    if batch < 1 or shots < 2:
        raise ValueError(f"stories of memory need at least 1 story of 2 shots, got {batch} of {shots}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if not 0 <= named <= 1:
        raise ValueError(f"named must lie between 0 and 1, got {named}")
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    rng = random.Random(seed)  # timetables are short lists of special cases, which tensors say badly
    tables = [_timetable(rng, shots) for _ in range(batch)]
    here = generator.device
    cast = torch.tensor([cast for cast, _, _ in tables], device=here)
    scene = torch.tensor([scene for _, scene, _ in tables], device=here)
    planted = torch.tensor([planted for _, _, planted in tables], device=here)

    order = _slots(generator, batch, MAX_CHARACTERS)
    scene_order = _slots(generator, batch, MAX_SCENES)
    cast = torch.where(cast >= 0, order[:, None].expand(-1, shots, -1).gather(2, cast.clamp_min(0)), -1)
    scene = scene_order.gather(1, scene)
    p_named = torch.full((batch,), float(named), device=here)
    stories = furnish(generator, scene_order, scene, order, cast, p_named, split)
    return stories.to(device), planted.to(device)


def _slots(generator: torch.Generator, batch: int, slots: int) -> Tensor:
    """`[batch, MOST_DRAWN]` distinct slots in random order."""
    return torch.rand(batch, slots, generator=generator, device=generator.device).argsort(-1)[:, :MOST_DRAWN]


def _timetable(rng: random.Random, shots: int) -> tuple[list[list[int]], list[int], list[bool]]:
    """Cast `[S][MAX_CAST]`, scene `[S]` and planted `[S]` of one story; people and places by their place in the order.

    A return for which a shot has no room left is put off to the next one.
    """
    entry = rng.randint(1, max(1, shots // 2 - 1))  # leaves room for a return
    people: list[list[int]] = [[] for _ in range(shots)]
    people[0], people[entry] = [_FIRST, _SECOND], [_LATE]
    closed = {entry}  # nobody joins the late one at its entry
    for who, first in ((_FIRST, 0), (_LATE, entry), (_SECOND, 0)):
        for at in _returns(rng, first, shots):
            room = next((s for s in range(at, shots) if s not in closed and _fits(people[s], who)), None)
            if room is not None:
                people[room].append(who)
    for s in range(1, shots):
        alone = len(people[s]) == 1 and people[s] != [_FIRST] and s not in closed
        if not people[s] or (alone and rng.random() < _PAIR_UP):
            people[s].append(_OTHER)

    places: list[int | None] = [None] * shots
    places[0], places[entry] = _FIRST, _LATE
    for where, first in ((_FIRST, 0), (_LATE, entry)):
        for at in _returns(rng, first, shots):
            free = next((s for s in range(at, shots) if places[s] is None), None)
            if free is not None:
                places[free] = where
    scene = [rng.choice((_OTHER, _SECOND)) if place is None else place for place in places]

    cast = []
    for someone in people:
        rng.shuffle(someone)
        cast.append(someone + [-1] * (MAX_CAST - len(someone)))
    return cast, scene, [s in (0, entry) for s in range(shots)]


def _fits(people: list[int], who: int) -> bool:
    return len(people) < MAX_CAST and who not in people


def _returns(rng: random.Random, first: int, shots: int) -> list[int]:
    """Shots in which somebody first seen in shot `first` comes back, by gaps drawn from `GAPS` while they fit."""
    found, at = [], first
    while fitting := [gap for gap in GAPS if at + gap < shots]:
        at += rng.choices(fitting, [_WEIGHT[gap] for gap in fitting])[0]
        found.append(at)
    return found

"""Stories as tokens: what is said of whom, and where it stands."""

from __future__ import annotations

import pytest
import torch

from moc.world.sampler import sample_stories
from moc.world.schema import (
    ACTIONS,
    CAPTION_TOKENS,
    CHARACTER_ATTRIBUTES,
    COLUMNS,
    FACT_ID,
    FACTS,
    GLOBAL_TOKENS,
    PLACE_ATTRIBUTES,
    TOKEN_SIZE,
    character_slot,
    scene_slot,
)
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch

Said = set[tuple[str, str]]


@pytest.fixture(scope="module")
def stories() -> StoryBatch:
    return sample_stories(40, 5, generator=torch.Generator().manual_seed(2), split="any")


def said(token: torch.Tensor) -> Said:
    """What a token says; every fact must stand in the column of its attribute."""
    facts = [(column, FACTS[fact]) for column, fact in enumerate(token.tolist()) if column and fact]
    assert all(COLUMNS[attribute] == column for column, (attribute, _) in facts)
    return {fact for _, fact in facts}


def expected(stories: StoryBatch, b: int) -> dict[int, Said]:
    """By slot, what the story names of each character and scene, from its tables."""
    things: dict[int, Said] = {}
    for table, named, attributes, slot_of in (
        (stories.characters, stories.characters_named, CHARACTER_ATTRIBUTES, character_slot),
        (stories.scenes, stories.scenes_named, PLACE_ATTRIBUTES, scene_slot),
    ):
        for i in range(table.shape[1]):
            facts = {
                (attribute, values[table[b, i, column]])
                for column, (attribute, values) in enumerate(attributes.items())
                if named[b, i, column]
            }
            if facts:
                things[slot_of(i)] = facts
    return things


def test_global_caption_states_kinds_places_and_named_attributes(stories: StoryBatch) -> None:
    tokens, _ = encode_batch(stories)
    assert tokens.shape == (40, GLOBAL_TOKENS, TOKEN_SIZE)
    for b in range(40):
        assert {int(t[0]): said(t) for t in tokens[b] if t.any()} == expected(stories, b)
        assert all(int(t[0]) in (0, place) for place, t in enumerate(tokens[b], 1))


def test_captions_state_the_shot_its_scene_and_its_cast(stories: StoryBatch) -> None:
    _, tokens = encode_batch(stories)
    assert tokens.shape == (40, 5, CAPTION_TOKENS, TOKEN_SIZE)
    for b in range(40):
        things = expected(stories, b)
        for s in range(5):
            shot, where, *who = tokens[b, s]
            assert int(shot[0]) == 0
            assert {attribute for attribute, _ in said(shot)} - {"prop"} == {"camera", "time", "weather"}
            assert ("prop" in {attribute for attribute, _ in said(shot)}) == bool(stories.prop[b, s] > 0)
            slot = scene_slot(int(stories.scene[b, s]))
            assert (int(where[0]), said(where)) == (slot, things[slot])
            for role, token in enumerate(who):
                character = int(stories.cast[b, s, role])
                if character < 0:
                    assert not token.any()
                    continue
                slot = character_slot(character)
                action = ("action", ACTIONS[stories.action[b, s, role]])
                assert (int(token[0]), said(token)) == (slot, things[slot] | {action})


def test_shuffling_only_renames_slots(stories: StoryBatch) -> None:
    ordered, ordered_captions = encode_batch(stories)
    shuffled, captions = encode_batch(stories, generator=torch.Generator().manual_seed(0), shuffle=True)
    assert not torch.equal(ordered, shuffled)
    assert torch.equal(ordered_captions[..., 1:], captions[..., 1:])
    for b in range(40):
        assert sorted(t[1:].tolist() for t in shuffled[b]) == sorted(t[1:].tolist() for t in ordered[b])
        told = {tuple(t) for t in shuffled[b].tolist()}
        assert {tuple(t) for t in captions[b, :, 1].tolist()} <= told  # a caption's scene has its slot there as well
        slots = [int(t[0]) for t in shuffled[b] if t.any()]
        assert len(set(slots)) == len(slots) == sum(bool(t.any()) for t in ordered[b])
    assert set(shuffled[..., 0].flatten().tolist()) == set(range(GLOBAL_TOKENS + 1))  # every slot is met


def test_omitted_facts_are_missing_and_nothing_else_changes(stories: StoryBatch) -> None:
    whole, captions = encode_batch(stories)
    fewer, shorter = encode_batch(stories, generator=torch.Generator().manual_seed(1), omit=0.5)
    gone = (fewer == 0).all(-1) & (whole != 0).any(-1)
    assert 0.3 < gone.sum() / (whole != 0).any(-1).sum() < 0.7
    assert torch.equal(fewer[~gone], whole[~gone])
    left_out = (shorter == 0) & (captions != 0)
    assert torch.equal(shorter[~left_out], captions[~left_out])
    kept = [0, COLUMNS["kind"], COLUMNS["action"]]
    assert left_out.any()
    assert not left_out[:, :, 0].any()
    assert not left_out[:, :, 1, : COLUMNS["wall"]].any()
    assert not left_out[:, :, 2:, kept].any()


def test_fact_ids_are_one_to_one() -> None:
    assert len(FACT_ID) == len(FACTS) == len(set(FACTS))

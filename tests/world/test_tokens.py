"""Stories as tokens: what is said, how it is arranged."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from moc.world.sampler import sample_stories
from moc.world.schema import (
    CAMERAS,
    CAPTION_TOKENS,
    CHARACTER_ATTRIBUTES,
    FACT_ID,
    FACTS,
    GLOBAL_TOKENS,
    PLACE_ATTRIBUTES,
    character_slot,
    scene_slot,
)
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch


@pytest.fixture(scope="module")
def stories() -> StoryBatch:
    return sample_stories(40, 5, generator=torch.Generator().manual_seed(2), split="any")


def facts(tokens: torch.Tensor) -> Counter[tuple[int, str, str]]:
    return Counter((slot, *FACTS[fact]) for slot, fact in tokens.tolist() if fact)


def expected_global(stories: StoryBatch, b: int) -> Counter[tuple[int, str, str]]:
    said: Counter[tuple[int, str, str]] = Counter()
    for table, named, attributes, slot_of in (
        (stories.characters, stories.characters_named, CHARACTER_ATTRIBUTES, character_slot),
        (stories.scenes, stories.scenes_named, PLACE_ATTRIBUTES, scene_slot),
    ):
        for i in range(table.shape[1]):
            for column, (attribute, values) in enumerate(attributes.items()):
                if named[b, i, column]:
                    said[slot_of(i), attribute, values[table[b, i, column]]] += 1
    return said


def test_global_caption_states_kinds_places_and_named_attributes(stories: StoryBatch) -> None:
    tokens, _ = encode_batch(stories)
    assert tokens.shape == (40, GLOBAL_TOKENS, 2)
    for b in range(40):
        assert facts(tokens[b]) == expected_global(stories, b)


def test_captions_state_the_shot(stories: StoryBatch) -> None:
    _, tokens = encode_batch(stories)
    assert tokens.shape == (40, 5, CAPTION_TOKENS, 2)
    for b in range(40):
        for s in range(5):
            said = facts(tokens[b, s])
            cast = [c for c in stories.cast[b, s].tolist() if c >= 0]
            assert said[0, "camera", CAMERAS[stories.camera[b, s]]] == 1
            assert sum(n for (_, attribute, _), n in said.items() if attribute in ("time", "weather")) == 2
            assert sum(n for (_, attribute, _), n in said.items() if attribute == "prop") == (stories.prop[b, s] > 0)
            assert {slot for slot, attribute, _ in said if attribute == "kind"} == {character_slot(c) for c in cast}
            assert {slot for slot, attribute, _ in said if attribute == "action"} == {character_slot(c) for c in cast}
            assert [slot for slot, attribute, _ in said if attribute == "place"] == [scene_slot(stories.scene[b, s])]
            assert said.total() == 4 + int(stories.prop[b, s] > 0) + 2 * len(cast)


def test_shuffling_moves_tokens_and_keeps_padding_last(stories: StoryBatch) -> None:
    ordered, ordered_captions = encode_batch(stories, shuffle=False)
    shuffled, captions = encode_batch(stories, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(ordered, shuffled)
    for one, two in ((ordered, shuffled), (ordered_captions.flatten(0, 1), captions.flatten(0, 1))):
        for a, b in zip(one, two, strict=True):
            assert facts(a) == facts(b)
            padding = b[:, 1] == 0
            assert torch.equal(padding, padding.sort().values)
            assert (b[padding] == 0).all()


def test_restated_attributes_are_named_ones_of_the_cast(stories: StoryBatch) -> None:
    _, plain = encode_batch(stories, shuffle=False)
    _, restated = encode_batch(stories, shuffle=False, restate=1.0)
    extra = 0
    for b in range(40):
        known = expected_global(stories, b)
        for s in range(5):
            more = facts(restated[b, s]) - facts(plain[b, s])
            assert all(known[fact] == 1 for fact in more)
            extra += more.total()
    assert extra > 0


def test_too_many_facts_are_refused_on_the_cpu(stories: StoryBatch) -> None:
    full = stories[:1]
    crowded = StoryBatch(**{**vars(full), "characters": full.characters.clamp_min(0)})
    crowded.characters_named = torch.ones_like(full.characters_named)
    crowded.scenes_named = torch.ones_like(full.scenes_named)
    crowded.scenes = full.scenes.clamp_min(0)
    with pytest.raises(ValueError, match=f"72 facts, its global caption holds {GLOBAL_TOKENS}"):
        encode_batch(crowded)


def test_fact_ids_are_one_to_one() -> None:
    assert len(FACT_ID) == len(FACTS) == len(set(FACTS))

"""Captions: what they say is exactly what the tokens say, however it is worded."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moc.world.captions import NAMES, write_captions
from moc.world.language import Understanding, encode, understand_story
from moc.world.sampler import SPLITS, sample_stories
from moc.world.schema import MAX_CHARACTERS, MAX_SCENES, SLOT_NONE, character_slot, scene_slot
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch
from moc.world.vocabulary import DETERMINERS, LEXICON

Tokens = list[tuple[int, ...]]


def drawn_facts(stories: StoryBatch, index: int) -> list[Tokens]:
    """Sorted tokens of the global caption and of each shot, with the used slots counted from the first."""
    slots = {SLOT_NONE: SLOT_NONE}
    for table, count, slot_of in (
        (stories.characters, MAX_CHARACTERS, character_slot),
        (stories.scenes, MAX_SCENES, scene_slot),
    ):
        used = [i for i in range(count) if table[index, i, 0] >= 0]
        slots |= {slot_of(i): slot_of(rank) for rank, i in enumerate(used)}
    whole, captions = encode_batch(stories[index : index + 1], shuffle=False)
    return [
        sorted((slots[slot], *facts) for slot, *facts in t.tolist() if any(facts)) for t in (whole[0], *captions[0])
    ]


def read_facts(understood: Understanding) -> list[Tokens]:
    whole, captions = encode(understood)
    return [sorted(token for token in tokens if any(token)) for tokens in (whole, *captions)]


@pytest.mark.parametrize("split", SPLITS)
def test_round_trip_over_many_stories(split: str) -> None:
    stories = sample_stories(150, 5, generator=torch.Generator().manual_seed(11), split=split)  # type: ignore[arg-type]
    for index in range(stories.stories):
        text = write_captions(stories, index, Random(index))
        understood = understand_story(text)
        assert understood.problems == [], text
        assert all(not words.unknown for words in understood.words), text
        assert read_facts(understood) == drawn_facts(stories, index), text


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**40), shots=st.integers(1, 12), named=st.sampled_from([None, 0.0, 1.0]))
def test_round_trip_of_any_story(seed: int, shots: int, named: float | None) -> None:
    stories = sample_stories(1, shots, generator=torch.Generator().manual_seed(seed), named=named, split="any")
    text = write_captions(stories, 0, Random(seed))
    assert read_facts(understand_story(text)) == drawn_facts(stories, 0), text


def test_the_round_trip_notices_a_changed_word() -> None:
    stories = sample_stories(1, 3, generator=torch.Generator().manual_seed(0), named=1.0)
    text = write_captions(stories, 0, Random(0))
    name = next(iter(text.characters))
    text.characters = {**text.characters, name: "a robot in a plain coat"}
    assert read_facts(understand_story(text)) != drawn_facts(stories, 0)


def test_wording_varies_and_is_decided_by_the_seed() -> None:
    stories = sample_stories(1, 8, generator=torch.Generator().manual_seed(1))
    texts = [str(write_captions(stories, 0, Random(seed))) for seed in range(20)]
    assert len(set(texts)) == 20
    assert texts[3] == str(write_captions(stories, 0, Random(3)))


def test_names_are_no_words_of_the_vocabulary() -> None:
    assert len(set(NAMES)) == len(NAMES) >= MAX_CHARACTERS
    assert all((name,) not in LEXICON and name not in DETERMINERS for name in NAMES)

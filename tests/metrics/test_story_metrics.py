"""Consistency and named attributes: tables written by hand, and a story that the world's own renderer draws."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moc.metrics.attributes import named_right
from moc.metrics.consistency import CHARACTERS, PLACES, chance, consistency
from moc.metrics.story import UNKNOWN, read_story, story_batch
from moc.storyboard import Storyboard
from moc.storyboard.model import Shot
from moc.world.reader import READER_WEIGHTS, load_reader
from moc.world.render import render
from moc.world.schema import CHARACTER_ATTRIBUTES, HAT, PLACE_ATTRIBUTES

Look = tuple[int, str, int, str, int, bool]


def table(looks: list[Look]) -> pd.DataFrame:
    """Rows of (shot, owner, slot, attribute, read, named)."""
    rows = pd.DataFrame(looks, columns=["shot", "owner", "slot", "attribute", "read", "named"])
    return rows.assign(truth=rows["read"].where(rows["named"], UNKNOWN))


def of_one(attribute: str, reads: list[int], *, owner: str = "character", slot: int = 0, named: bool = False):  # type: ignore[no-untyped-def]
    return [(shot, owner, slot, attribute, value, named) for shot, value in enumerate(reads)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1, 2), min_size=2, max_size=6))
def test_consistency_is_agreement_of_all_pairs(reads: list[int]) -> None:
    """What can't be read agrees with nothing."""
    expected = np.mean([a == b and a >= 0 for a, b in combinations(reads, 2)])
    assert consistency(table(of_one("scarf", reads)), CHARACTERS) == pytest.approx(expected)


def test_owners_and_attributes_count_alike() -> None:
    often = of_one("scarf", [1] * 9) + of_one("hair", [1, 2])
    assert consistency(table(often), CHARACTERS) == 0.5
    two = of_one("scarf", [1] * 9) + of_one("scarf", [1, 2], slot=1)
    assert consistency(table(two), CHARACTERS) == 0.5


def test_only_what_no_caption_names_counts() -> None:
    rows = table(of_one("scarf", [1, 2], named=True) + of_one("action", [3, 4]))
    assert consistency(rows, CHARACTERS) is None
    assert consistency(table(of_one("scarf", [1])), CHARACTERS) is None, "once is no consistency"
    walls = table(of_one("wall", [2, 2, 3], owner="scene"))
    assert consistency(walls, PLACES) == pytest.approx(1 / 3)
    assert consistency(walls, CHARACTERS) is None


def test_colour_of_no_hat_is_no_reading() -> None:
    bare, cap = HAT.index("none"), HAT.index("none") + 1
    hats = of_one("hat", [bare, bare, bare])
    assert consistency(table(hats + of_one("hat_color", [1, 2, 3])), CHARACTERS) == 1
    worn = of_one("hat", [cap, cap, bare]) + of_one("hat_color", [1, 2, 2])
    assert consistency(table(worn), CHARACTERS) == pytest.approx((1 / 3 + 0) / 2)


def test_chance_is_agreement_across_drawings() -> None:
    """Two drawings that are consistent, each with a scarf of its own, agree with each other in nothing."""
    one, other = table(of_one("scarf", [1, 1])), table(of_one("scarf", [2, 2]))
    assert (consistency(one, CHARACTERS), consistency(other, CHARACTERS)) == (1, 1)
    assert chance([one, other], CHARACTERS) == 0
    assert chance([one, one, other], CHARACTERS) == pytest.approx(1 / 3)
    assert chance([one], CHARACTERS) is None
    always = table(of_one("scarf", [0, 0]))
    assert chance([always, always], CHARACTERS) == 1, "a model that draws everybody alike needs no memory"


def test_chance_of_the_colour_of_a_hat_that_one_drawing_has() -> None:
    bare, cap = HAT.index("none"), HAT.index("none") + 1
    worn = table(of_one("hat", [cap, cap]) + of_one("hat_color", [1, 2]))
    none = table(of_one("hat", [bare, bare]) + of_one("hat_color", [1, 2]))
    assert chance([worn, none], CHARACTERS) == chance([none, worn], CHARACTERS) == 0, "of the hat alone"


def test_named_right() -> None:
    rows = table(of_one("coat", [3, 3, 3, 3], named=True) + of_one("scarf", [0, 1, 0, 1]))
    assert named_right(rows) == 1
    rows.loc[0, "read"] = 4
    assert named_right(rows) == 0.75
    assert named_right(table(of_one("scarf", [0, 1]))) is None


# A whole story, from its words to what the reader sees in pictures of the ground truth.

STORY = Storyboard(
    title="Known",
    characters={"mira": "a woman in a yellow raincoat", "rex": "a dog"},
    scenes={"cafe": "a corner cafe with a red awning", "river": "a riverbank"},
    shots=(
        Shot(1, "a", "{mira} waves", 2.0, scene="cafe", camera="medium"),
        Shot(2, "b", "{rex} sits", 2.0, scene="river", camera="medium"),
        Shot(3, "c", "{mira} reads", 2.0, scene="cafe", camera="medium"),
        Shot(4, "d", "{rex} waves", 2.0, scene="river", camera="medium"),
    ),
)


def value(attribute: str, word: str) -> int:
    return (CHARACTER_ATTRIBUTES | PLACE_ATTRIBUTES)[attribute].index(word)


def test_words_become_truth() -> None:
    batch = story_batch(STORY)
    mira, rex = (batch.characters[0, slot].tolist() for slot in (0, 1))
    columns = list(CHARACTER_ATTRIBUTES)
    assert mira[columns.index("kind")] == value("kind", "woman")
    assert mira[columns.index("coat")] == value("coat", "yellow")
    assert mira[columns.index("scarf")] == UNKNOWN
    assert rex[columns.index("kind")] == value("kind", "dog")
    assert batch.cast[0, :, 0].tolist() == [0, 1, 0, 1]
    assert batch.scene[0].tolist() == [0, 1, 0, 1]
    assert batch.scenes[0, 0, list(PLACE_ATTRIBUTES).index("accent")] == value("accent", "red")
    assert batch.scenes_named[0, 1].tolist() == [True, False, False, False]


@pytest.mark.skipif(not READER_WEIGHTS.is_file(), reason=f"the reader's weights are missing: {READER_WEIGHTS}")
def test_pictures_of_the_truth_read_as_consistent_and_forgetful_ones_do_not() -> None:
    """Everything open is filled with the same values in all shots, then with other ones in the later two."""
    reader = load_reader("cpu")

    def drawn(*fills: int) -> pd.DataFrame:
        shots = {}
        for number in range(1, 5):
            batch = story_batch(STORY)
            fill = fills[(number - 1) // 2]
            for values in (batch.characters, batch.scenes):
                values[values == UNKNOWN] = fill
            for values in (batch.camera, batch.time, batch.weather, batch.prop, batch.action):
                values.clamp_(min=0)
            batch.free = torch.full_like(batch.free, 0.5)
            frames = render(batch, frames=16).frames[0, number - 1]
            shots[number] = frames.permute(0, 2, 3, 1).numpy()
        return read_story(STORY, shots, reader)

    same, changed = drawn(1, 1), drawn(1, 2)
    for rows in (same, changed):
        assert named_right(rows) > 0.9  # type: ignore[operator]
    assert consistency(same, CHARACTERS) > 0.9  # type: ignore[operator]
    assert consistency(same, PLACES) > 0.9  # type: ignore[operator]
    assert consistency(changed, CHARACTERS) < 0.3  # type: ignore[operator]
    assert consistency(changed, PLACES) < 0.1  # type: ignore[operator]
    assert chance([same, same], CHARACTERS) > 0.9  # type: ignore[operator]

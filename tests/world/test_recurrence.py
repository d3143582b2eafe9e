"""Stories that test memory: who comes back when, and that nothing but memory tells what they look like."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from moc.world.recurrence import GAPS, recurring_stories
from moc.world.sampler import first_seen, gap_since_seen, scene_gap_since_seen
from moc.world.schema import (
    CHARACTER_ATTRIBUTES,
    CHARACTER_OPEN,
    MAX_CAST,
    PLACE_ATTRIBUTES,
    PLACE_OPEN,
)
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch

KIND = list(CHARACTER_ATTRIBUTES).index("kind")


def draw(batch: int = 400, shots: int = 8, seed: int = 0, **options: object) -> tuple[StoryBatch, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return recurring_stories(batch, shots, generator=generator, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def drawn() -> tuple[StoryBatch, torch.Tensor]:
    return draw()


def cast_of(stories: StoryBatch, b: int, s: int) -> list[int]:
    return [c for c in stories.cast[b, s].tolist() if c >= 0]


@pytest.mark.parametrize("shots", [2, 3, 8, 24, 64])
def test_every_shot_has_somebody(shots: int) -> None:
    stories, planted = draw(40, shots)
    assert stories.cast.shape == (40, shots, MAX_CAST)
    assert planted.shape == (40, shots)
    for b in range(40):
        assert planted[b, 0]
        assert planted[b].sum() == 2
        for s in range(shots):
            cast = cast_of(stories, b, s)
            assert 1 <= len(set(cast)) == len(cast)
            assert all(stories.characters[b, c, KIND] >= 0 for c in cast)
            assert stories.scenes[b, stories.scene[b, s], 0] >= 0


def test_the_late_one_enters_alone_and_briefly(drawn: tuple[StoryBatch, torch.Tensor]) -> None:
    stories, planted = drawn
    first = first_seen(stories)
    comes_back = 0
    for b in range(stories.stories):
        entry = int(planted[b, 1:].int().argmax()) + 1
        (late,) = cast_of(stories, b, entry)
        assert first[b, late] == entry
        assert late not in cast_of(stories, b, entry - 1)
        later = [s for s in range(entry + 1, stories.shots) if late in cast_of(stories, b, s)]
        comes_back += bool(later)
    assert comes_back > 0.9 * stories.stories


def test_distractors_are_there_and_never_beside_the_first(drawn: tuple[StoryBatch, torch.Tensor]) -> None:
    """Somebody else, who looks different, is seen while the first one is away; at times of the same kind."""
    stories, planted = drawn
    with_distractor, of_its_kind = 0, 0
    for b in range(stories.stories):
        given = {c for s in planted[b].nonzero().flatten().tolist() for c in cast_of(stories, b, s)}
        heroes = cast_of(stories, b, 0)
        others = {c for s in range(stories.shots) for c in cast_of(stories, b, s)} - given
        with_distractor += bool(others)
        kinds = {int(stories.characters[b, c, KIND]) for c in others}
        of_its_kind += bool(kinds & {int(stories.characters[b, c, KIND]) for c in heroes})
        for s in range(1, stories.shots):
            cast = cast_of(stories, b, s)
            assert len({int(stories.characters[b, c, KIND]) for c in cast}) == len(cast), "told apart by their kind"
    assert with_distractor > 0.9 * stories.stories
    assert 0.05 * stories.stories < of_its_kind < 0.3 * stories.stories


def test_gaps_of_every_length(drawn: tuple[StoryBatch, torch.Tensor]) -> None:
    people, places = gap_since_seen(drawn[0]), scene_gap_since_seen(drawn[0])
    for gaps in (people, places):
        counts = Counter(gaps[gaps > 0].tolist())
        assert all(counts[gap] >= 30 for gap in range(1, 8)), counts
    for shots, gap in ((24, 15), (64, 15), (64, 31)):
        found = gap_since_seen(draw(30, shots)[0])
        assert (found == gap).sum() >= 15
    assert set(GAPS) == {1, 2, 3, 4, 5, 6, 7, 15, 31}


def test_captions_tell_nothing_of_what_stays_open(drawn: tuple[StoryBatch, torch.Tensor]) -> None:
    """Redraw everything that no caption names: every token that the model reads stays the same."""
    stories, _ = drawn
    generator = torch.Generator().manual_seed(1)
    other = {}
    for name, attributes in (("characters", CHARACTER_ATTRIBUTES), ("scenes", PLACE_ATTRIBUTES)):
        table, named = getattr(stories, name), getattr(stories, f"{name}_named")
        anew = torch.stack(
            [torch.randint(len(v), table.shape[:2], generator=generator) for v in attributes.values()], -1
        )
        other[name] = torch.where(named | (table[..., :1] < 0), table, anew)
    changed = replace(stories, **other)
    assert (changed.characters != stories.characters).float().mean() > 0.2
    for a, b in zip(encode_batch(stories), encode_batch(changed), strict=True):
        assert torch.equal(a, b)


def test_open_attributes_are_drawn_independently_of_each_other(drawn: tuple[StoryBatch, torch.Tensor]) -> None:
    """Two people of a story agree as often as chance has it: nothing is drawn to be distinct."""
    stories, _ = draw(1500, 8, 3)
    for table, named, attributes, open_names in (
        (stories.characters, stories.characters_named, CHARACTER_ATTRIBUTES, CHARACTER_OPEN),
        (stories.scenes, stories.scenes_named, PLACE_ATTRIBUTES, PLACE_OPEN),
    ):
        used = table[..., 0] >= 0
        for name in open_names:
            if name in ("hat", "coat"):  # bent where a caption names them or the hat's colour; tested with the sampler
                continue
            column = list(attributes).index(name)
            agree = pairs = 0
            for i in range(used.shape[1]):
                for j in range(i):
                    both = used[:, i] & used[:, j] & ~named[:, i, column] & ~named[:, j, column]
                    agree += int((table[both, i, column] == table[both, j, column]).sum())
                    pairs += int(both.sum())
            expected = 1 / len(attributes[name])
            assert abs(agree / pairs - expected) < 4 * (expected * (1 - expected) / pairs) ** 0.5, name


def test_the_seed_decides() -> None:
    one, again, other = (draw(5, 8, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one.characters, again.characters)
    assert torch.equal(one.cast, again.cast)
    assert not torch.equal(one.characters, other.characters)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch": 0}, "at least 1 story of 2 shots, got 0 of 8"), ({"shots": 1}, "got 400 of 1"),
        ({"named": 1.5}, "named must lie between 0 and 1, got 1.5"), ({"split": "all"}, "split must be one of"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw(**wrong)  # type: ignore[arg-type]

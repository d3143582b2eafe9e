"""Readings of story videos against the ground truth, with a reader that knows it, and the bootstrap interval."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moc.metrics.world import UNREAD, accuracy, interval, readings, values_of
from moc.world.reader import CHARACTER_LABELS, READER_WEIGHTS, SHOT_LABELS, Reader, Reading, load_reader
from moc.world.reader_training import labels
from moc.world.render import render
from moc.world.sampler import gap_since_seen, sample_stories, scene_gap_since_seen
from moc.world.schema import CHARACTER_ATTRIBUTES, HAT, KINDS, PLACE_ATTRIBUTES
from moc.world.story import StoryBatch

KIND, HAT_COLUMN = (list(CHARACTER_ATTRIBUTES).index(name) for name in ("kind", "hat"))


class Oracle(nn.Module):
    """Answers from the ground truth, shot after shot, whatever the pixels show."""

    def __init__(self, stories: StoryBatch) -> None:
        super().__init__()
        self.device_of = nn.Parameter(torch.zeros(()))
        shot, present, character = labels(stories)
        self.shot = {name: self._sure(value, len(SHOT_LABELS[name])) for name, value in shot.items()}
        self.present = present.float() - 0.5
        self.character = {n: self._sure(value, len(CHARACTER_LABELS[n])) for n, value in character.items()}
        self.at = 0

    @staticmethod
    def _sure(value: Tensor, count: int) -> Tensor:
        return F.one_hot(value.clamp_min(0), count).float()

    def forward(self, seen: Tensor) -> Reading:
        part = slice(self.at, self.at + len(seen))
        self.at += len(seen)
        return Reading(
            shot={name: value[part] for name, value in self.shot.items()},
            present=self.present[part],
            character={name: value[part] for name, value in self.character.items()},
            maps=torch.zeros(len(seen), 1),
        )


def _stories(batch: int = 12, shots: int = 6, seed: int = 0) -> StoryBatch:
    return sample_stories(batch, shots, generator=torch.Generator().manual_seed(seed), split="any")


def _read(stories: StoryBatch, oracle: Oracle) -> pd.DataFrame:
    frames = torch.zeros(stories.stories, stories.shots, 2, 3, 8, 8, dtype=torch.uint8)
    return readings(stories, frames, oracle)  # type: ignore[arg-type]


def test_the_truth_reads_as_the_truth() -> None:
    """72 shots, more than the reader takes at once: none is mixed up with another."""
    stories = _stories()
    rows = _read(stories, Oracle(stories))
    assert accuracy(rows) == 1.0
    assert interval(rows) == (1.0, 1.0)
    assert (rows["truth"] >= 0).all()
    assert set(rows["attribute"]) == {*SHOT_LABELS, *CHARACTER_LABELS, "kind"}
    for attribute, part in rows.groupby("attribute"):
        assert part["truth"].max() < len(values_of(str(attribute)))


def test_every_row_is_there_once() -> None:
    stories = _stories()
    rows = _read(stories, Oracle(stories))
    assert not rows.duplicated(["story", "shot", "owner", "slot", "attribute"]).any()
    expected = 0
    for b in range(stories.stories):
        for s in range(stories.shots):
            cast = [int(c) for c in stories.cast[b, s] if c >= 0]
            kinds = [int(stories.characters[b, c, KIND]) for c in cast]
            bare = [int(stories.characters[b, c, HAT_COLUMN]) == HAT.index("none") for c in cast]
            expected += len(SHOT_LABELS)
            if len(set(kinds)) == len(kinds):
                expected += sum(1 + len(CHARACTER_LABELS) - none for none in bare)
    assert len(rows) == expected


def test_what_is_known_of_each_reading() -> None:
    stories = _stories()
    rows = _read(stories, Oracle(stories))
    gaps, scene_gaps = gap_since_seen(stories), scene_gap_since_seen(stories)
    columns = list(CHARACTER_ATTRIBUTES)
    twins = 0
    for row in rows.to_dict("records"):
        b, s, slot, name = row["story"], row["shot"], row["slot"], row["attribute"]
        cast = [int(c) for c in stories.cast[b, s] if c >= 0]
        assert row["pair"] == (len(cast) == 2)
        if row["owner"] == "shot":
            assert (slot, row["gap"], row["named"], row["other"]) == (-1, -1, True, -1)
            assert row["truth"] == getattr(stories, name)[b, s]
        elif row["owner"] == "scene":
            column = list(PLACE_ATTRIBUTES).index(name)
            assert slot == stories.scene[b, s]
            assert row["truth"] == stories.scenes[b, slot, column]
            assert row["named"] == stories.scenes_named[b, slot, column]
            assert row["gap"] == scene_gaps[b, s]
        else:
            role = cast.index(slot)
            partner = cast[1 - role] if len(cast) == 2 else None
            assert row["gap"] == gaps[b, s, role]
            if name == "action":
                truth, named = int(stories.action[b, s, role]), True
                other = -1 if partner is None else int(stories.action[b, s, 1 - role])
            else:
                column = columns.index(name)
                truth, named = int(stories.characters[b, slot, column]), bool(stories.characters_named[b, slot, column])
                other = -1 if partner is None else int(stories.characters[b, partner, column])
            assert (row["truth"], row["named"], row["other"]) == (truth, named, other)
            twins += partner is not None
    assert twins
    assert rows.loc[rows["attribute"].isin(["kind", "place", "action"]), "named"].all()
    assert not rows["named"].all()


def test_two_of_a_kind_are_left_out() -> None:
    """The world draws no such shots; whoever brings them gets no made-up readings."""
    stories = _stories()
    b, s = (int(x) for x in (stories.cast >= 0).all(-1).nonzero()[0])
    first, second = stories.cast[b, s].tolist()
    stories.characters[b, second, KIND] = stories.characters[b, first, KIND]
    rows = _read(stories, Oracle(stories))
    for other in range(stories.shots):
        cast = [int(c) for c in stories.cast[b, other] if c >= 0]
        kinds = stories.characters[b, cast, KIND].tolist()
        here = rows[(rows["story"] == b) & (rows["shot"] == other)]
        told_apart = len(set(kinds)) == len(kinds)
        assert set(here.loc[here["owner"] == "character", "slot"]) == (set(cast) if told_apart else set())
        assert (here["owner"] == "shot").sum() == 4


def test_a_character_that_is_not_found_is_wrong_everywhere() -> None:
    stories = _stories()
    oracle = Oracle(stories)
    oracle.present[:] = -1
    rows = _read(stories, oracle)
    of_character = rows["owner"] == "character"
    assert (rows.loc[of_character, "read"] == UNREAD).all()
    assert accuracy(rows[of_character]) == 0
    assert accuracy(rows[~of_character]) == 1


@pytest.mark.parametrize(("name", "owner"), [("camera", "shot"), ("wall", "scene"), ("coat", "character")])
def test_one_wrong_answer_is_one_wrong_row(name: str, owner: str) -> None:
    stories = _stories()
    right = _read(stories, Oracle(stories))
    target = right[(right["attribute"] == name) & (right["story"] > 0)].iloc[0]
    oracle = Oracle(stories)
    shot = int(target["story"]) * stories.shots + int(target["shot"])
    if owner == "character":
        kind = int(stories.characters[int(target["story"]), int(target["slot"]), KIND])
        logits = oracle.character[name][shot, kind]
    else:
        logits = oracle.shot[name][shot]
    wrong = (int(target["truth"]) + 1) % len(logits)
    logits[wrong] = 5
    rows = _read(stories, oracle)
    off = rows[rows["read"] != rows["truth"]]
    assert len(off) == 1
    assert off.iloc[0][["story", "shot", "owner", "attribute"]].tolist() == [
        target["story"], target["shot"], owner, name,
    ]  # fmt: skip
    assert off.iloc[0]["read"] == wrong
    assert accuracy(rows) == pytest.approx(1 - 1 / len(rows))


def test_names_of_values() -> None:
    assert values_of("kind") == KINDS
    assert values_of("hat") == HAT
    assert values_of("camera") == SHOT_LABELS["camera"]
    with pytest.raises(KeyError):
        values_of("mood")


# The interval.


def _table(stories: list[list[bool]]) -> pd.DataFrame:
    rows = [(number, int(right), 1) for number, part in enumerate(stories) for right in part]
    return pd.DataFrame(rows, columns=["story", "read", "truth"])


def test_interval_resamples_whole_stories() -> None:
    """Hundred stories that are right or wrong as a whole: the interval of a share of 100, not of 1,000."""
    rows = _table([[number < 70] * 10 for number in range(100)])
    low, high = interval(rows)
    assert low < accuracy(rows) == 0.7 < high
    half = 1.96 * math.sqrt(0.7 * 0.3 / 100)
    assert low == pytest.approx(0.7 - half, abs=0.03)
    assert high == pytest.approx(0.7 + half, abs=0.03)
    mixed = _table([[i < 7 for i in range(10)] for _ in range(100)])
    assert interval(mixed) == pytest.approx((0.7, 0.7))


def test_interval_weighs_stories_by_their_readings() -> None:
    rows = _table([[True] * 90, [False] * 10])
    low, high = interval(rows)
    assert (low, high) == (0.0, 1.0)  # two stories say little
    assert interval(_table([[True, True, False, True]])) == pytest.approx((0.75, 0.75))


def test_interval_is_the_same_for_the_same_seed() -> None:
    rows = _table([[(3 * a + b) % 5 < 3 for b in range(4 + a % 3)] for a in range(30)])
    assert interval(rows, draws=200) == interval(rows, draws=200)
    assert interval(rows, draws=200, seed=1) != interval(rows, draws=200)


def test_nothing_to_read_is_no_number() -> None:
    empty = _table([])
    assert math.isnan(accuracy(empty))
    assert all(math.isnan(x) for x in interval(empty))


# The trained reader.

needs_weights = pytest.mark.skipif(
    not READER_WEIGHTS.is_file(), reason=f"the reader's weights are missing: {READER_WEIGHTS}"
)


@needs_weights
def test_the_trained_reader_reads_renders() -> None:
    stories = sample_stories(3, 8, generator=torch.Generator().manual_seed(5), split="heldout")
    reader = load_reader()
    frames = render(stories, frames=16).frames
    rows = readings(stories, frames, reader)
    assert accuracy(rows) > 0.96  # its own report, on far more stories, says 0.99
    grey = readings(stories, torch.full_like(frames[:, :, :1], 128), reader)
    assert accuracy(grey) < 0.4


def test_readings_do_not_depend_on_the_batch() -> None:
    """A small random reader: a shot reads the same alone and among others."""
    torch.manual_seed(0)
    reader = Reader(width=16).eval()
    stories = _stories(batch=2, shots=2)
    frames = render(stories, frames=4).frames
    rows = readings(stories, frames, reader)
    part = readings(stories[1:], frames[1:], reader)
    assert (rows[rows["story"] == 1]["read"].to_numpy() == part["read"].to_numpy()).all()

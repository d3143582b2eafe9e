"""Motion beside the truth's: the truth itself, frozen and shaken pictures, and numbers by hand."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from torch import Tensor

from moc.metrics.memory_motion import CELL, extents_of, motion_rows, motion_summary
from moc.world.reader import Reader, load_reader
from moc.world.recurrence import recurring_stories
from moc.world.render import render
from moc.world.schema import ACTIONS
from moc.world.story import StoryBatch

STORIES = 4


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load_reader("cpu")


@pytest.fixture(scope="module")
def stories() -> StoryBatch:
    return recurring_stories(STORIES, 3, generator=torch.Generator().manual_seed(1))[0]


@pytest.fixture(scope="module")
def truth(stories: StoryBatch) -> Tensor:
    return render(stories, frames=16).frames


def test_extents_by_hand() -> None:
    """A spot that goes from cell (1, 1) to (4, 5), three cells down and four to the right: five cells; one that stays;
    one that is seen in a single view of four; none."""
    maps = torch.full((1, 4, 4, 8, 8), -9.0)
    for view, (row, column) in enumerate(((1, 1), (2, 3), (4, 5), (4, 5))):
        maps[0, view, 0, row, column] = 9
        maps[0, view, 1, 2, 2] = 9
    maps[0, 0, 2, 6, 6] = 9
    found = extents_of(maps)[0].tolist()
    assert found[:2] == pytest.approx([5 * CELL, 0])
    assert math.isnan(found[2])
    assert math.isnan(found[3])


def test_the_truth_moves_as_told(stories: StoryBatch, truth: Tensor, reader: Reader) -> None:
    rows = motion_rows(stories, truth, truth, reader)
    assert list(rows.columns) == [
        "story", "shot", "role", "action", "camera", "moved", "moved_truth", "lively", "lively_truth",
    ]  # fmt: skip
    assert len(rows) == len(rows.drop_duplicates(["story", "shot", "role"]))
    found = motion_summary(rows, stories=STORIES, draws=50)
    assert found["characters"] > 4
    assert found["moves_as_told"] == 1
    assert found["displacement_ratio"] == pytest.approx(1)
    assert found["liveliness_ratio"] == pytest.approx(1)
    assert found["correlation"] == pytest.approx(1)
    assert found["frozen"] == found["restless"] == 0
    assert sum(part["characters"] for part in found["by_action"].values()) <= len(rows)


def test_a_frozen_picture_is_found_out(stories: StoryBatch, truth: Tensor, reader: Reader) -> None:
    """In its pose everybody reads as running; but nobody gets anywhere."""
    frozen = truth[:, :, :1].expand_as(truth).contiguous()
    rows = motion_rows(stories, frozen, truth, reader)
    found = motion_summary(rows, stories=STORIES, draws=50)
    assert found["frozen"] == 1
    assert found["liveliness_ratio"] == 0
    assert found["displacement_ratio"] in (None, pytest.approx(0, abs=0.1))
    assert (rows["moved"].dropna() < 2).all()


def test_a_shaken_picture_is_found_out(stories: StoryBatch, truth: Tensor, reader: Reader) -> None:
    noise = torch.randint(-60, 61, truth.shape, generator=torch.Generator().manual_seed(0))
    shaken = (truth.int() + noise).clamp(0, 255).to(torch.uint8)
    found = motion_summary(motion_rows(stories, shaken, truth, reader), stories=STORIES, draws=50)
    assert found["restless"] > 0.9
    json.dumps(found, allow_nan=False)


def rows_of(*characters: tuple[float, float], action: str = "walk", lively: float = 1.0) -> pd.DataFrame:
    """(moved, moved in truth) of characters, each in a story of its own."""
    return pd.DataFrame(
        [
            {"story": b, "shot": 0, "role": 0, "action": ACTIONS.index(action), "camera": 0, "moved": moved,
             "moved_truth": real, "lively": lively, "lively_truth": 1.0}
            for b, (moved, real) in enumerate(characters)
        ]
    )  # fmt: skip


def test_summary_by_hand() -> None:
    """Goes, stays, stays where it should go, goes where it should stay, lost, unclear in truth, not found in truth."""
    lost = math.nan
    rows = rows_of((12, 10), (1, 2), (3, 20), (9, 0), (lost, 15), (5, 6), (5, lost), lively=0.3)
    found = motion_summary(rows, stories=7, draws=50)
    assert found["characters"] == 5
    assert found["moves_as_told"] == pytest.approx(2 / 5)
    assert found["displacement_ratio"] == pytest.approx((12 + 3) / (10 + 20))
    assert found["frozen"] == 1
    assert found["by_action"] == {"walk": {"made": pytest.approx(6), "truth": pytest.approx(7.6), "characters": 5}}


def test_nothing_to_judge() -> None:
    assert motion_summary(rows_of()[:0], stories=3) == {"characters": 0}
    unclear = motion_summary(rows_of((5, 6), (5, 6)), stories=2, draws=5)
    assert unclear["moves_as_told"] is None
    json.dumps(unclear, allow_nan=False)


def test_pictures_must_fit(stories: StoryBatch, truth: Tensor, reader: Reader) -> None:
    with pytest.raises(ValueError, match="one shape"):
        motion_rows(stories, truth[:, :, :4], truth, reader)

"""Crops with what the reader read in them: of the renderer's pictures it reads the truth, at the right place."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from moc.world.reader import load_reader, read
from moc.world.recurrence import recurring_stories
from moc.world.render import render
from moc.world.schema import CHARACTER_ATTRIBUTES, COAT, PATTERN

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import memory_crops

    return memory_crops


def test_crops_show_the_peak_and_stay_inside(script: ModuleType) -> None:
    frame = np.arange(64 * 96, dtype=np.int64).reshape(64, 96, 1)
    for row, column, top, left in ((8, 12, 10, 26), (0, 0, 0, 0), (15, 23, 16, 48)):
        heat = torch.full((16, 24), -5.0)
        heat[row, column] = 5
        part = script.crop(frame, heat)
        assert part.shape == (48, 48, 1)
        assert part[0, 0, 0] == top * 96 + left


def test_what_is_read_stands_beside_it(script: ModuleType) -> None:
    stories, _ = recurring_stories(1, 4, generator=torch.Generator().manual_seed(2))
    frames = render(stories, frames=8).frames
    reading = read(load_reader("cpu"), frames.flatten(0, 1))
    looks = script.looks_of(stories, frames, reading, 100, 0)
    assert len(looks) == int((stories.cast >= 0).sum())
    said = {line for look in looks for line in look.lines}
    names = list(CHARACTER_ATTRIBUTES)
    for slot in {int(c) for c in stories.cast.flatten() if c >= 0}:
        who = stories.characters[0, slot]
        assert f"{PATTERN[who[names.index('pattern')]]} {COAT[who[names.index('coat')]]} coat" in said
    assert len(script.looks_of(stories, frames, reading, 2, 0)) == 2
    lost = script.Look(np.zeros((64, 96, 3), np.uint8), ("1:1 dog, run", "not found"), False)
    picture = script.sheet([*looks, lost], columns=3)
    assert picture.width == 8 + 3 * (48 * 3 + 8)

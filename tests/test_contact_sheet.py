"""The contact sheet: readable for any number of shots, any script and any length of text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from moc.contact_sheet import Card, contact_sheet, plain_caption


def cards(count: int, caption: str = "Mira waves", load: Callable[[], np.ndarray] | None = None) -> list[Card]:
    frames = np.zeros((8, 64, 96, 3), np.uint8)
    frames[:] = np.linspace(0, 255, 8).astype(np.uint8)[:, None, None, None]
    return [Card(n, f"shot_{n}", caption, 8.0, load or (lambda: frames)) for n in range(1, count + 1)]


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (7, 2), (24, 2), (25, 3)])
def test_grid(count: int, columns: int) -> None:
    one = contact_sheet(cards(1), title="A tale")
    sheet = contact_sheet(cards(count), title="A tale")
    assert round(sheet.width / one.width) == columns
    assert round((sheet.height - one.height) / 238) == -(-count // columns) - 1


def test_frames_come_from_the_middle_of_quarters() -> None:
    sheet = np.asarray(contact_sheet(cards(1), title=""))
    row = sheet[36 + 16 + 30 + 64]
    seen = [row[36 + 16 + 96 + i * 200, 0] for i in range(4)]
    np.testing.assert_array_equal(seen, np.linspace(0, 255, 8).astype(np.uint8)[[1, 3, 5, 7]])


def test_one_frame_is_enough() -> None:
    contact_sheet(cards(1, load=lambda: np.zeros((1, 80, 128, 3), np.uint8)), title="x")


@pytest.mark.parametrize(
    "text", ["word " * 400, "x" * 3000, "", "Σίσυφος στο ποτάμι", "猫在河边", "🐈 tab\tnewline\n", "{unclosed"]
)
def test_any_text_fits(text: str) -> None:
    short = contact_sheet(cards(2), title="A tale", subtitle="two shots")
    sheet = contact_sheet(cards(2, plain_caption(text)), title=text, subtitle="two shots")
    assert sheet.width == short.width


def test_same_story_same_picture() -> None:
    pictures = [contact_sheet(cards(3), title="A tale").tobytes() for _ in range(2)]
    assert pictures[0] == pictures[1]


def test_captions_read_like_sentences() -> None:
    assert plain_caption("{mira} waves at\n  {old_leo}.") == "Mira waves at Old Leo."


def test_no_shots() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], title="x")

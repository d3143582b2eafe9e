"""The side-by-side video, the sheet and the page, from footage that is made up."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from compare_cases import arm, report
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moc.compare.footage import Footage
from moc.compare.page import page, write_page
from moc.compare.side_by_side import _BAR, _PAPER, Grid, sheet, side_by_side, write_side_by_side
from moc.errors import InputError
from moc.video import read_frames


class Film(Mapping[int, np.ndarray]):
    """What pictures need of footage: shots of one colour each."""

    def __init__(self, colours: list[int], frames: int = 4, fps: float = 8.0, size: tuple[int, int] = (48, 32)) -> None:
        self.fps, self.size = fps, size
        self._shots = {
            n: np.full((frames, size[1], size[0], 3), colour, np.uint8) for n, colour in enumerate(colours, start=1)
        }
        self.ids = {n: f"shot{n}" for n in self._shots}
        self.lengths = dict.fromkeys(self._shots, frames)

    def __getitem__(self, number: int) -> np.ndarray:
        return self._shots[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._shots)

    def __len__(self) -> int:
        return len(self._shots)


def films(**by_label: Film) -> dict[str, Footage]:
    return cast(dict[str, Footage], by_label)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(16, 2000), st.integers(16, 2000))
def test_grids_are_even_and_hold_all(count: int, width: int, height: int) -> None:
    grid = Grid.of(count, (width, height))
    assert grid.columns * grid.rows >= count > grid.columns * (grid.rows - 1)
    whole = grid.size
    assert whole[0] % 2 == whole[1] % 2 == grid.width % 2 == grid.height % 2 == 0
    assert whole[0] <= 1300
    places = [grid.place(i) for i in range(count)]
    assert len(set(places)) == count
    for left, top in places:
        assert left + grid.width <= whole[0]
        assert top >= _BAR
        assert top + grid.height <= whole[1] - _BAR


def test_everyone_cuts_at_once() -> None:
    """A shot that is shorter in one run waits with its last frame; a run with fewer shots leaves its place empty."""
    runs = films(long=Film([40, 80, 120], frames=6), short=Film([200, 240], frames=3))
    grid = Grid.of(2, (48, 32))
    frames = list(side_by_side(runs))
    assert len(frames) == 3 * 6

    def middle(frame: np.ndarray, index: int) -> np.ndarray:
        left, top = grid.place(index)
        return frame[top + grid.height // 2, left + grid.width // 2]

    assert [int(middle(frame, 0)[0]) for frame in frames] == [40] * 6 + [80] * 6 + [120] * 6
    assert [int(middle(frame, 1)[0]) for frame in frames[:12]] == [200] * 6 + [240] * 6
    assert (middle(frames[-1], 1) == _PAPER).all()
    above = frames[0][: grid.place(0)[1]]
    assert (above > 200).any(), "labels are bright"


def test_rates_are_followed_by_the_clock() -> None:
    slow, fast = Film([0], frames=4, fps=8), Film([0], frames=8, fps=16)
    for film in (slow, fast):
        film[1][:] = np.arange(len(film[1]), dtype=np.uint8)[:, None, None, None] * 16
    grid = Grid.of(2, (48, 32))
    frames = list(side_by_side(films(slow=slow, fast=fast)))
    tops = [grid.place(i) for i in (0, 1)]
    seen = [[int(frame[top + 8, left + 8, 0]) for left, top in tops] for frame in frames]
    assert seen == [[16 * (i // 2), 16 * i] for i in range(8)]


def test_the_video_is_h264_that_reads_back(tmp_path: Path) -> None:
    runs = films(a=Film([50, 100]), b=Film([150, 200]), c=Film([20, 220]))
    write_side_by_side(runs, tmp_path / "out.mp4")
    assert b"avc1" in (tmp_path / "out.mp4").read_bytes()
    frames = np.stack(list(read_frames(tmp_path / "out.mp4")))
    grid = Grid.of(3, (48, 32))
    assert frames.shape == (8, grid.size[1], grid.size[0], 3)
    for index, colour in enumerate((100, 200, 220)):
        left, top = grid.place(index)
        assert np.abs(frames[7, top + 4 : top + 20, left + 4 : left + 20].astype(int) - colour).mean() < 4
    with pytest.raises(ValueError, match="at least one run"):
        next(side_by_side({}))


def test_the_sheet_has_a_row_a_shot_and_a_column_a_run() -> None:
    image = np.asarray(sheet(films(**{"dense": Film([60, 90]), "moc": Film([160, 190, 210])}), "Tale"))
    assert image.ndim == 3
    columns = [int(c) for c in (60, 90, 160, 190)]
    assert all((image == colour).all(axis=-1).sum() > 5000 for colour in columns)
    assert not (image == 210).all(axis=-1).sum() > 5000, "a shot that the first run doesn't have"
    wide = sheet(films(**{"a-label-that-is-far-too-long-for-its-column": Film([60])}), "")
    assert wide.size[0] < 600


def test_labels_of_the_sheet_that_differ_in_their_ends() -> None:
    labels = ("moc:top_k=2:chunk_tokens=48", "moc:top_k=2:chunk_tokens=96")
    image = np.asarray(sheet(films(**{label: Film([60]) for label in labels}), ""))
    head = image[: image.shape[0] - 168 - 24]
    column = 224 + 8
    side = image.shape[1] - 2 * 24 - 2 * column + 8
    one, other = (head[:, 24 + side + i * column :][:, :224] for i in (0, 1))
    assert (one != other).any()
    assert one.shape == other.shape
    many = sheet(films(**{":".join("abcdefgh" * 8): Film([60])}), "")
    assert many.size[1] < image.shape[0] + 100, "four lines at most"


# The page.

VALUES = {"named_right": 0.9, "psnr": None, "sparsity": 0.5}


def two_arms(**more: Any) -> tuple[dict[str, Any], dict[str, Footage]]:
    runs = films(**{"dense": Film([60, 90]), "moc:top_k=2": Film([160, 190], frames=6)})
    told = report(arm("dense", VALUES, summary="all of it"), arm("moc:top_k=2", VALUES, summary=""), **more)
    return told, runs


def test_the_page_is_whole_in_itself(tmp_path: Path) -> None:
    told, runs = two_arms(title="</script><b>Tale</b>", notes=["x < y"])
    write_page(told, runs, tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text()
    assert text.count("<video ") == text.count("data:video/mp4;base64,") == 2
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", text)
    assert "http" not in re.sub("base64,[^']*", "", text)
    assert "<b>Tale</b>" not in text
    assert "x &lt; y" in text
    assert "90.0%" in text
    assert "@" not in re.sub("base64,[^']*", "", text).replace("@media", ""), "no place of the template is left"
    with pytest.raises(InputError, match=r"\.html"):
        write_page(told, runs, tmp_path / "out.txt")


def test_videos_cut_at_the_same_moment() -> None:
    told, runs = two_arms()
    text = page(told, runs)
    shots = json.loads(re.search(r"const shots = (\[.*?\]);", text)[1])  # type: ignore[index]
    assert [(shot["start"], shot["end"]) for shot in shots] == [(0, 0.75), (0.75, 1.5)], "as long as the longest"
    starts = [json.loads(found) for found in re.findall(r"data-starts='(.*?)'", text)]
    assert starts == [[[0, 0.5], [0.5, 1]], [[0, 0.75], [0.75, 1.5]]]


def test_embedded_videos_are_small() -> None:
    """A minute of noise, which no codec likes, at the built-in model's size."""
    rng = np.random.default_rng(0)
    film = Film([0], frames=512, size=(96, 64))
    film[1][:] = np.kron(rng.integers(0, 256, (512, 8, 12, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    text = page(report(arm("a", VALUES)), films(a=film))
    assert len(text) < 20_000_000


@pytest.mark.slow
def test_the_page_plays_in_a_browser(tmp_path: Path) -> None:
    """Going to a time puts every video where its own shot is then, without an error."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser")
    told, runs = two_arms()
    check = """<script>
      const errors = []; addEventListener("error", (event) => errors.push(event.message));
      seek(0.8); const at = videos.map((video) => video.currentTime.toFixed(3));
      toggle(); toggle(); chips[0].click();
      document.title = JSON.stringify({at, errors, now, lit: chips.map((chip) => chip.className)});
    </script>"""
    (tmp_path / "page.html").write_text(page(told, runs).replace("</body>", check + "</body>"))
    said = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    title = json.loads(re.search(r"<title>(.*?)</title>", said.stdout, re.DOTALL)[1])  # type: ignore[index]
    assert title == {"at": ["0.550", "0.800"], "errors": [], "now": 0, "lit": ["on", ""]}


def test_pictures_open(tmp_path: Path) -> None:
    from moc.compare.side_by_side import write_sheet

    write_sheet(films(a=Film([60])), tmp_path / "sheet.png", "Tale")
    assert Image.open(tmp_path / "sheet.png").format == "PNG"

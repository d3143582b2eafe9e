"""Several runs in one picture: the video that plays them side by side, and the sheet with a row a shot. Torch-free.

Shots are lined up by number: where one is shorter in some run, its last frame stays until the longest is over, so all
arms cut at the same moment. Runs of other sizes and rates are shown at one size and by the clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from moc.compare.footage import Footage
from moc.contact_sheet import _fit as fit
from moc.contact_sheet import _font as font

_PAPER = (24, 22, 28)
_INK = (244, 240, 232)
_QUIET = (168, 160, 152)
_ACCENT = (232, 120, 84)
_WIDEST = 1240  # pixels of all columns
_CELL, _TALLEST = 576, 432  # pixels of one picture at most
_BAR, _GAP, _LINE = 36, 8, 26
_SHEET_CELL, _SHEET_TALLEST, _SHEET_LABEL = 224, 168, 120
_MARGIN = 24


@dataclass(frozen=True)
class Grid:
    """Where the pictures of n runs go.

    Attributes:
        columns, rows: of cells; width, height: of a picture.
    """

    columns: int
    rows: int
    width: int
    height: int

    @staticmethod
    def of(count: int, size: tuple[int, int]) -> Grid:
        """For `count` pictures of (width, height) `size`: 2 by 2 for four, else up to three in a row."""
        columns = 2 if count in (2, 4) else min(count, 3)
        widest = min(_CELL, (_WIDEST - (columns + 1) * _GAP) // columns)
        scale = min(widest / size[0], _TALLEST / size[1])
        scale = int(scale) if scale >= 1 else scale  # whole pixels stay even
        width, height = (max(1, round(side * scale / 2)) * 2 for side in size)
        return Grid(columns, -(-count // columns), width, height)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole, even."""
        width = self.columns * self.width + (self.columns + 1) * _GAP
        return width, self.rows * (self.height + _BAR) + self.rows * _GAP + _BAR

    def place(self, index: int) -> tuple[int, int]:
        """Left upper corner of a picture."""
        row, column = divmod(index, self.columns)
        return _GAP + column * (self.width + _GAP), _BAR + row * (self.height + _BAR + _GAP)


def write_side_by_side(runs: Mapping[str, Footage], path: Path) -> None:
    """Write the labelled video of all runs as H.264, whole or not at all.

    Raises:
        ValueError: no runs. MocError: ffmpeg failed, or the disk is full.
    """
    from moc.run.files import atomic
    from moc.video import write_mp4

    with atomic(path) as temporary:
        write_mp4(side_by_side(runs), temporary, fps=max(run.fps for run in runs.values()))


def side_by_side(runs: Mapping[str, Footage]) -> Iterator[np.ndarray]:
    """The frames of that video, uint8 `[H, W, 3]`.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("a comparison needs at least one run, got none")
    first = next(iter(runs.values()))
    grid = Grid.of(len(runs), first.size)
    fps = max(run.fps for run in runs.values())
    page = Image.new("RGB", grid.size, _PAPER)
    draw = ImageDraw.Draw(page)
    for index, label in enumerate(runs):
        left, top = grid.place(index)
        _label(draw, label, (left + 2, top - _BAR // 2), grid.width - 4)
    for number, shot_id in first.ids.items():
        shots = [run.get(number) for run in runs.values()]
        seconds = max(len(s) / run.fps for s, run in zip(shots, runs.values(), strict=True) if s is not None)
        titled = page.copy()
        _label(ImageDraw.Draw(titled), f"shot {number} of {len(first)}: {shot_id}",
               (_GAP + 2, grid.size[1] - _BAR // 2), grid.size[0] - 2 * _GAP, _QUIET)  # fmt: skip
        for frame in range(round(seconds * fps)):
            picture = titled.copy()
            for index, (shot, run) in enumerate(zip(shots, runs.values(), strict=True)):
                if shot is not None:
                    at = min(int(frame / fps * run.fps + 1e-6), len(shot) - 1)
                    picture.paste(resized(shot[at], (grid.width, grid.height)), grid.place(index))
            yield np.asarray(picture)


def write_sheet(runs: Mapping[str, Footage], path: Path, title: str) -> None:
    """Write the sheet as PNG, whole or not at all. Raises MocError for a full disk."""
    from moc.run.files import atomic

    image = sheet(runs, title)
    with atomic(path) as temporary:
        image.save(temporary, format="PNG", optimize=False)


def sheet(runs: Mapping[str, Footage], title: str) -> Image.Image:
    """A row a shot, a column a run, the middle frame of each; labels above, numbers and ids at the left.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("a comparison needs at least one run, got none")
    first = next(iter(runs.values()))
    scale = min(_SHEET_CELL / first.size[0], _SHEET_TALLEST / first.size[1])
    size = (max(1, round(first.size[0] * scale)), max(1, round(first.size[1] * scale)))
    height, stride = size[1], max(size[0], _SHEET_LABEL) + _GAP
    names = [f"{number}  {shot_id}" for number, shot_id in first.ids.items()]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    side = min(180, round(max(measure.textlength(name, font(18, name)) for name in names)) + 16)
    labels = [_broken(measure, label, stride - _GAP - 4) for label in runs]
    head = _MARGIN + (44 if title else 0) + _BAR + _LINE * (max(map(len, labels)) - 1)
    width = 2 * _MARGIN + side + len(runs) * stride - _GAP
    page = Image.new("RGB", (width, head + len(names) * (height + _GAP) - _GAP + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((_MARGIN, _MARGIN - 4), fit(draw, title, font(28, title), width - 2 * _MARGIN), _INK, font(28, title))
    for column, lines in enumerate(labels):
        left = _MARGIN + side + column * stride
        for up, line in enumerate(reversed(lines)):
            _label(draw, line, (left + 2, head - _BAR // 2 - up * _LINE), stride - _GAP - 4)
    for row, (number, name) in enumerate(zip(first.ids, names, strict=True)):
        top = head + row * (height + _GAP)
        text = fit(draw, name, font(18, name), side - 8)
        draw.text((_MARGIN, top + height // 2), text, _QUIET, font(18, text), anchor="lm")
        for column, run in enumerate(runs.values()):
            if (shot := run.get(number)) is not None:
                picture = resized(shot[len(shot) // 2], size)
                page.paste(picture, (_MARGIN + side + column * stride, top))
    return page


def _broken(draw: ImageDraw.ImageDraw, label: str, width: int) -> list[str]:
    """A label in lines of at most `width` pixels, broken after a colon, slash or space: arms may differ in the end."""
    lines: list[str] = []
    for part in re.findall(r"[^:/ ]*[:/ ]|[^:/ ]+", label):
        whole = lines[-1] + part if lines else part
        if lines and draw.textlength(whole, font(20, whole, bold=True)) <= width:
            lines[-1] = whole
        else:
            lines.append(part)
    return [*lines[:3], "".join(lines[3:])] if len(lines) > 4 else lines


def resized(frame: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A uint8 `[H, W, 3]` frame at another size."""
    image = Image.fromarray(frame)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _label(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], width: int, ink: Sequence[int] = _INK) -> None:
    letters = font(20, text, bold=True)
    draw.text(at, fit(draw, text, letters, width), tuple(ink), letters, anchor="lm")

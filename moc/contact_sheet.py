"""The contact sheet: a story at a glance, one card a shot with its number, four frames and its caption.

Drawn with Pillow and the fonts that Pillow and matplotlib bring along, so equal stories give equal bytes on a machine.
Torch-free.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FRAMES = 4

_PAPER = (247, 243, 234)
_CARD = (255, 254, 250)
_EDGE = (224, 216, 200)
_INK = (44, 40, 52)
_QUIET = (132, 122, 116)
_ACCENT = (196, 78, 52)
_FRAME_WIDTH = 192
_PAD = 16
_GAP = 8
_MARGIN = 36
_CAPTION_LINES = 2
_LINE = 22
_LONGEST = 500  # letters; no line holds more, and measuring long texts takes time

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Card:
    """One shot of the sheet.

    Attributes:
        number, id: of the shot; caption: its prompt.
        seconds: length of its video.
        load: reads its frames, uint8 `[F, H, W, 3]`, when the card is drawn, so that one shot is in memory at a time.
    """

    number: int
    id: str
    caption: str
    seconds: float
    load: Callable[[], np.ndarray]


def contact_sheet(cards: Iterable[Card], *, title: str, subtitle: str = "") -> Image.Image:
    """Draw the sheet.

    Cards stand in reading order, in one column for one shot, two up to 24 shots, then three. Each shows the frames in
    the middle of its quarters.

    Raises:
        ValueError: no cards.
    """
    shots = list(cards)
    if not shots:
        raise ValueError("a contact sheet needs at least one shot, got none")
    title, subtitle = (" ".join(text.split()) for text in (title, subtitle))
    columns = 1 if len(shots) == 1 else 2 if len(shots) <= 24 else 3
    first = shots[0].load()
    frame_height = round(_FRAME_WIDTH * first.shape[1] / first.shape[2])
    card_width = FRAMES * _FRAME_WIDTH + (FRAMES - 1) * _GAP + 2 * _PAD
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    text_width = card_width - 2 * _PAD
    captions = [_wrap(measure, card.caption, _font(17, card.caption), text_width, _CAPTION_LINES) for card in shots]
    card_height = _PAD + 30 + frame_height + 12 + max(map(len, captions)) * _LINE + _PAD - 4
    rows = -(-len(shots) // columns)
    width = 2 * _MARGIN + columns * card_width + (columns - 1) * _MARGIN // 2
    head = _MARGIN + (44 if title else 0) + (28 if subtitle else 0) + (16 if title or subtitle else 0)
    height = head + rows * card_height + (rows - 1) * _MARGIN // 2 + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    if title:
        draw.text((_MARGIN, top - 8), _fit(draw, title, _font(36, title), width - 2 * _MARGIN), _INK, _font(36, title))
        top += 44
    if subtitle:
        draw.text((_MARGIN, top), subtitle, _QUIET, _font(18, subtitle))
    for index, card in enumerate(shots):
        x = _MARGIN + index % columns * (card_width + _MARGIN // 2)
        y = head + index // columns * (card_height + _MARGIN // 2)
        frames = first if index == 0 else card.load()
        _draw_card(sheet, draw, card, captions[index], frames, (x, y, card_width, card_height))
    return sheet


def plain_caption(prompt: str) -> str:
    """A prompt as a person reads it: `{mira}` becomes Mira, spaces and line breaks become single spaces."""
    named = re.sub(r"\{([^{}]+)\}", lambda match: match[1].replace("_", " ").title(), prompt)
    return " ".join(named.split())


def _draw_card(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    card: Card,
    caption: list[str],
    frames: np.ndarray,
    box: tuple[int, int, int, int],
) -> None:
    x, y, width, height = box
    draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), 12, _CARD, _EDGE, 1)
    x, y, width = x + _PAD, y + _PAD - 2, width - 2 * _PAD
    number = str(card.number)
    bold = _font(16, number, bold=True)
    badge = max(26, round(draw.textlength(number, bold)) + 14)
    sheet.paste(_ACCENT, (x, y), _pill(badge, 24))
    draw.text((x + badge / 2, y + 12), number, "white", bold, anchor="mm")
    length = f"{card.seconds:.4g} s"
    draw.text((x + badge + 10, y + 12), card.id, _INK, _font(17, card.id, bold=True), anchor="lm")
    draw.text((x + width, y + 12), length, _QUIET, _font(16, length), anchor="rm")
    y += 32
    size = (_FRAME_WIDTH, round(_FRAME_WIDTH * frames.shape[1] / frames.shape[2]))
    for i in range(FRAMES):
        frame = Image.fromarray(frames[(2 * i + 1) * len(frames) // (2 * FRAMES)])
        sheet.paste(frame.resize(size, Image.Resampling.LANCZOS), (x + i * (size[0] + _GAP), y))
    y += size[1] + 10
    font = _font(17, card.caption)
    for row, text in enumerate(caption):
        draw.text((x, y + row * _LINE), text, _INK, font)


def _pill(width: int, height: int) -> Image.Image:
    """A mask with round ends, drawn large and shrunk, because Pillow's own edges are hard."""
    large = Image.new("L", (width * 4, height * 4), 0)
    ImageDraw.Draw(large).rounded_rectangle((0, 0, width * 4 - 1, height * 4 - 1), height * 2, 255)
    return large.resize((width, height), Image.Resampling.LANCZOS)


def _wrap(draw: ImageDraw.ImageDraw, text: str, font: _Font, width: int, lines: int) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels; what does not fit ends in an ellipsis."""
    wrapped = [""]
    for word in text.split():
        longer = f"{wrapped[-1]} {word}".strip()
        if draw.textlength(longer, font) <= width or not wrapped[-1]:
            wrapped[-1] = longer
        else:
            wrapped.append(word)
    if len(wrapped) > lines:
        wrapped[lines - 1 :] = [f"{wrapped[lines - 1]} …"]
    return [_fit(draw, row, font, width) for row in wrapped]


def _fit(draw: ImageDraw.ImageDraw, text: str, font: _Font, width: int) -> str:
    """`text`, or as much of it as fits into `width` pixels before an ellipsis."""
    if len(text) <= _LONGEST and draw.textlength(text, font) <= width:
        return text
    text = text[:_LONGEST].removesuffix(" …")
    lengths = range(len(text) + 1)
    fitting = bisect.bisect_right(lengths, width, key=lambda n: int(draw.textlength(f"{text[:n]} …", font))) - 1
    return f"{text[: max(fitting, 0)].rstrip()} …"


_fonts: dict[tuple[int, bool, bool], _Font] = {}


def _font(size: int, text: str, *, bold: bool = False) -> _Font:
    """Pillow's own font for western text, DejaVu Sans (matplotlib's) for bold and for other scripts."""
    western = all(ord(letter) < 0x250 or letter in "…–—‘’“”" for letter in text)
    key = (size, bold, western)
    if key not in _fonts:
        _fonts[key] = ImageFont.load_default(size) if western and not bold else _dejavu(size, bold)
    return _fonts[key]


def _dejavu(size: int, bold: bool) -> _Font:
    from importlib.util import find_spec

    spec = find_spec("matplotlib")  # locates the fonts without importing the package
    folders: Sequence[str] = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), round(size * 0.92))  # DejaVu is wide for its size
    return ImageFont.load_default(size)

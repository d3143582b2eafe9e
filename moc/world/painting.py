"""The part of rendering that touches every sample: part codes looked up, laid over one another, and coloured.

All of it is arithmetic on whole numbers, so it may be compiled without changing a bit. Where each sample of a frame
falls in each sprite is found before, per row and per column (`render.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moc.world.parts import FRONT, PARTS, ROLE, Part, Scene
from moc.world.schema import HEIGHT, MAX_CAST, WIDTH

AT_ONCE = {"cpu": 16, "cuda": 2048}  # frames painted at once: fits the cache, or a GPU's appetite


@dataclass
class Spots:
    """Where the samples of n frames fall in a sheet: sample (y, x) reads code `row[:, y] + column[:, x]`.

    Attributes:
        codes: uint8, the flat sheet. row: int32 `[n, SAMPLES_Y]`. column: int32 `[n, SAMPLES_X]`.
    """

    codes: Tensor
    row: Tensor
    column: Tensor

    def read(self) -> Tensor:
        """Codes `[n, SAMPLES_Y, SAMPLES_X]`."""
        at = self.row[:, :, None] + self.column[:, None, :]
        return self.codes.index_select(0, at.flatten()).view(at.shape)  # several times faster than codes[at]


@dataclass
class Figure:
    """One character a frame: its body, what it wears on its head, and `role` `[n]`."""

    body: Spots
    headwear: Spots
    role: Tensor


@dataclass
class Layers:
    """What n frames are made of, from back to front.

    Attributes:
        fall: rain and snow, which show only over codes up to `reach` uint8 `[n]` past those of the sky.
        colours: int32 `[n]`, where the palette of each frame begins.
        patterned: bool `[n, MAX_CAST]`, whether the coat has a pattern.
    """

    place: Spots
    fall: Spots
    reach: Tensor
    prop: Spots
    figures: list[Figure]
    colours: Tensor
    patterned: Tensor


def paint(layers: Layers, palette: Tensor, masks: bool, worn: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Pictures, masks and worn things of n frames.

    Args:
        palette: int32, colours of the codes of every shot, three of ten bits each.

    Returns:
        uint8 `[n, 3, HEIGHT, WIDTH]`; uint8 `[n, HEIGHT, WIDTH]` or None; bool likewise or None (`Rendered`).
    """
    codes = compose(layers)
    pictures = _colour(palette, codes, layers.colours)
    return pictures, _mask(codes) if masks else None, _worn(codes, layers.patterned) if worn else None


def compose(layers: Layers) -> Tensor:
    """Part codes, uint8 `[n, SAMPLES_Y, SAMPLES_X]`."""
    codes = layers.place.read()
    falling = layers.fall.read()
    open_sky = codes - int(Scene.SKY_0) <= layers.reach[:, None, None]
    codes = torch.where((falling > 0) & open_sky, falling, codes)
    thing = layers.prop.read()
    codes = torch.where(thing > 0, thing, codes)
    for one in layers.figures:
        figure, hat = one.body.read(), one.headwear.read()
        figure = torch.where((hat > 0) & (figure < FRONT), hat, figure)
        figure = figure | ((figure >> 1) & (one.role * PARTS).to(torch.uint8)[:, None, None])
        codes = torch.where(figure > 0, figure, codes)
    return codes


def _colour(palette: Tensor, codes: Tensor, begin: Tensor) -> Tensor:
    """Pixels: the mean colour of each 2 x 2 samples, rounded half up."""
    n = codes.shape[0]
    at = codes + begin[:, None, None]
    quads = palette.index_select(0, at.flatten()).view(n, HEIGHT, 2, WIDTH, 2)
    rows = quads[:, :, 0] + quads[:, :, 1]
    total = rows[..., 0] + rows[..., 1]  # three sums of four bytes, ten bits each
    shifts = torch.tensor([0, 10, 20], dtype=torch.int32, device=codes.device)
    return ((((total[:, None] >> shifts[:, None, None]) & 1023) + 2) >> 2).to(torch.uint8)


def _mask(codes: Tensor) -> Tensor:
    """A pixel is a character's where at least half of its samples are."""
    n = codes.shape[0]
    owner = (codes >> 6).view(n, HEIGHT, 2, WIDTH, 2)
    counts = []
    for role in range(MAX_CAST):
        hit = (owner == 2 + role).to(torch.uint8)
        rows = hit[:, :, 0] + hit[:, :, 1]
        counts.append(rows[..., 0] + rows[..., 1])
    first, second = counts
    mask = (second >= 2).to(torch.uint8) * 2
    return mask.masked_fill((first >= 2) & (first >= second), 1)


def _worn(codes: Tensor, patterned: Tensor) -> Tensor:
    """Whether half of a pixel's samples are a hat, a scarf or a coat with a pattern."""
    part = codes & (PARTS - 1)
    first = int(Part.HAT) - ROLE
    clothes = (part >= first) & (part <= int(Part.SCARF_DARK) - ROLE)
    second = codes >= ROLE + PARTS
    of_two = torch.where(second, patterned[:, 1, None, None], patterned[:, 0, None, None])
    shown = (codes >= ROLE) & (clothes | ((part < int(Part.SKIN) - ROLE) & of_two))
    quads = shown.to(torch.uint8).view(len(codes), HEIGHT, 2, WIDTH, 2)
    rows = quads[:, :, 0] + quads[:, :, 1]
    return rows[..., 0] + rows[..., 1] >= 2

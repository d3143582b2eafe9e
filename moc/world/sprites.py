"""The atlas: every sprite of the world in flat tensors that a renderer can look up by index.

All sprites are drawn once, at first use (a second or two), and kept per device. Each sprite carries a border of one
empty sample, so that coordinates outside it can be clamped onto nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from moc.world.bodies import BODY_BOX, figure
from moc.world.canvas import RES, Codes
from moc.world.effects import PHASES
from moc.world.heads import HAT_BOX, headwear
from moc.world.parts import Scene
from moc.world.places import place_map, with_feature
from moc.world.scenery import PLACE_BOX
from moc.world.schema import ACTIONS, FEATURE, HAT, HEIGHT, KINDS, PLACES, PROPS, WIDTH
from moc.world.things import THING_BOX, prop

SUPERSAMPLE = 2  # samples a pixel, each way
SLEEPERS = len(KINDS) * len(ACTIONS) * PHASES  # first sprite of the mirrored sleepers
SAMPLES_X, SAMPLES_Y = WIDTH * SUPERSAMPLE, HEIGHT * SUPERSAMPLE


@dataclass(frozen=True)
class Sheet:
    """Sprites of one size: `codes` uint8 of n * rows * columns, borders included; `box` in units, without them."""

    codes: Tensor
    rows: int
    columns: int
    box: tuple[float, float, float, float]

    @property
    def size(self) -> int:
        """Samples of one sprite."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Atlas:
    """All sprites on one device.

    Attributes:
        places: sprite place * len(FEATURE) + feature.
        bodies: sprite (kind * len(ACTIONS) + action) * PHASES + phase; then `SLEEPERS` + kind * PHASES + phase, the
            sleepers that will be mirrored.
        head: `[bodies, 2]` float32, x and y of the head's middle in each body, in samples.
        headwear: sprite hat * 2 + (1 with a scarf).
        props: sprite prop (0 is empty).
        weather: uint8 `[weathers, SAMPLES_Y, SAMPLES_X]`, tiles in both directions, 0 where nothing falls.
    """

    places: Sheet
    bodies: Sheet
    head: Tensor
    headwear: Sheet
    props: Sheet
    weather: Tensor


def _sheet(maps: list[Codes], box: tuple[float, float, float, float]) -> Sheet:
    rows, columns = maps[0].shape[0] + 2, maps[0].shape[1] + 2
    codes = np.zeros((len(maps), rows, columns), np.uint8)
    for i, m in enumerate(maps):
        codes[i, 1:-1, 1:-1] = m
    return Sheet(torch.from_numpy(codes).flatten(), rows, columns, box)


def _weather_tiles() -> Codes:
    """Nothing, rain streaks and snow flakes, on fixed pseudo-random spots."""
    tiles = np.zeros((3, SAMPLES_Y, SAMPLES_X), np.uint8)
    for i in range(46):
        x, y = (i * 97 + 13 * (i // 7)) % SAMPLES_X, (i * 61 + 29 * (i // 5)) % SAMPLES_Y
        for step in range(11):
            tiles[1, (y + step) % SAMPLES_Y, (x - step // 3) % SAMPLES_X] = Scene.RAIN
            tiles[1, (y + step) % SAMPLES_Y, (x + 1 - step // 3) % SAMPLES_X] = Scene.RAIN
    for i in range(54):
        x, y = (i * 83 + 17 * (i // 6)) % SAMPLES_X, (i * 59 + 31 * (i // 4)) % SAMPLES_Y
        for dy, dx in (
            (0, 0),
            (0, 1),
            (0, 2),
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (2, 2),
            (-1, 1),
            (3, 1),
            (1, -1),
            (1, 3),
        ):
            tiles[2, (y + dy) % SAMPLES_Y, (x + dx) % SAMPLES_X] = Scene.FLAKE
    return tiles


@lru_cache(maxsize=1)
def _drawn() -> Atlas:
    """The atlas on the CPU."""
    places = []
    for name in PLACES:
        background = place_map(name)
        places += [with_feature(background, name, feature).codes for feature in FEATURE]
    figures = [figure(k, a, p) for k in KINDS for a in ACTIONS for p in range(PHASES)]
    figures += [figure(k, "sleep", p, mirrored=True) for k in KINDS for p in range(PHASES)]
    x0, y0 = BODY_BOX[:2]
    head = torch.tensor([((x - x0) * RES, (y - y0) * RES) for _, (x, y) in figures], dtype=torch.float32)
    return Atlas(
        places=_sheet(places, PLACE_BOX),
        bodies=_sheet([c.codes for c, _ in figures], BODY_BOX),
        head=head.round(),
        headwear=_sheet([headwear(hat, scarf).codes for hat in HAT for scarf in (False, True)], HAT_BOX),
        props=_sheet([prop(name).codes for name in PROPS], THING_BOX),
        weather=torch.from_numpy(_weather_tiles()),
    )


@lru_cache(maxsize=8)
def atlas(device: torch.device) -> Atlas:
    """The atlas on `device`; drawn at the first call."""
    drawn = _drawn()

    def move(sheet: Sheet) -> Sheet:
        return Sheet(sheet.codes.to(device), sheet.rows, sheet.columns, sheet.box)

    return Atlas(
        places=move(drawn.places),
        bodies=move(drawn.bodies),
        head=drawn.head.to(device),
        headwear=move(drawn.headwear),
        props=move(drawn.props),
        weather=drawn.weather.to(device),
    )

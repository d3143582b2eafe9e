"""Things that stand about: the six landmark features of places, and the props of shots.

Origin at the middle of the foot, y down. Landmarks are about 20 units tall and 14 wide and carry their own stand, so
that they make sense indoors and out. Their colours never change with the hour.
"""

from __future__ import annotations

from functools import lru_cache

from moc.world.canvas import Canvas, ellipse, line, polygon, rect
from moc.world.parts import Scene
from moc.world.schema import FEATURE, PROPS

THING_BOX = (-16.0, -32.0, 16.0, 4.0)
INK = Scene.INK


def _clock(c: Canvas) -> None:
    c.draw(rect(-1.2, -8, 1.2, 0), Scene.PROP_METAL, INK)
    c.draw(rect(-3.6, -1.6, 3.6, 0, 0.5), Scene.PROP_METAL, INK)
    c.draw(ellipse(0, -13, 7.2, 7.2), Scene.GOLD, INK)
    c.draw(ellipse(0, -13, 5.6, 5.6), Scene.IVORY, INK, 0.4)
    for dx, dy in ((0, -4.4), (4.4, 0), (0, 4.4), (-4.4, 0)):
        c.draw(ellipse(dx, -13 + dy, 0.6, 0.6), INK)
    c.draw(line((0, -13), (0, -16.6), width=1.0), INK)
    c.draw(line((0, -13), (2.9, -11.4), width=1.0), INK)


def _plant(c: Canvas) -> None:
    leaves = (((-6.4, -12.0), 0.9), ((-3.6, -17.6), 0.2), ((0.2, -19.6), 0.0), ((4.0, -17.4), 0.2), ((6.6, -11.6), 0.9))
    for (x, y), _ in leaves:
        blade = ellipse(x, y, 2.6, 3.6) | line((0, -6), (x, y), width=1.4)
        c.draw(blade, Scene.LEAFY, INK)
    for (x, y), _ in leaves:
        c.draw(line((0, -6.5), (x, y + 0.5), width=0.7), Scene.LEAFY_DARK)
    c.draw(ellipse(0, -11, 3.2, 4.2), Scene.LEAFY, INK)
    c.draw(line((0, -7), (0, -13), width=0.7), Scene.LEAFY_DARK)
    c.draw(polygon((-4.4, -6.6), (4.4, -6.6), (3.4, 0), (-3.4, 0)), Scene.TERRACOTTA, INK)
    c.draw(rect(-5.2, -7.6, 5.2, -5.4, 0.4), Scene.TERRACOTTA, INK)


def _lantern(c: Canvas) -> None:
    c.draw(line((6.4, 0), (6.4, -19.5), (0, -19.5), width=1.3), Scene.PROP_METAL, INK)
    c.draw(rect(4.0, -1.4, 8.8, 0, 0.4), Scene.PROP_METAL, INK)
    c.draw(line((0, -19), (0, -16), width=0.6), INK)
    c.draw(ellipse(0, -10.6, 5.6, 5.4), Scene.LAMP_RED, INK)
    c.draw(ellipse(0, -10.6, 2.4, 5.2), Scene.LAMP_GLOW)
    c.draw(rect(-2.6, -16.8, 2.6, -15.0), Scene.GOLD, INK, 0.4)
    c.draw(rect(-2.6, -6.2, 2.6, -4.6), Scene.GOLD, INK, 0.4)
    for x in (-1.0, 1.0):
        c.draw(line((x, -4.4), (x, -2.0), width=0.6), Scene.LAMP_RED)


def _flag(c: Canvas) -> None:
    c.draw(rect(-3.4, -1.6, -0.6, 0, 0.3).at(-3, 0), Scene.PROP_METAL, INK)
    c.draw(line((-5, -0.5), (-5, -21), width=1.0), Scene.IVORY, INK)
    c.draw(ellipse(-5, -21.6, 1.1, 1.1), Scene.GOLD, INK, 0.4)
    cloth = polygon((-4.4, -20.4), (1.0, -19.4), (8.0, -20.6), (7.0, -15.6), (8.0, -10.4), (1.0, -9.4), (-4.4, -10.4))
    c.draw(cloth, Scene.TEAL, INK)
    c.draw(rect(-5, -17.0, 9, -13.4), Scene.IVORY, clip=cloth)
    c.draw(rect(-1.2, -22, 2.2, -8), Scene.IVORY, clip=cloth)


def _statue(c: Canvas) -> None:
    c.draw(rect(-5.0, -5.4, 5.0, 0, 0.3), Scene.MARBLE_DARK, INK)
    c.draw(rect(-6.0, -6.4, 6.0, -4.8, 0.3), Scene.MARBLE, INK, 0.4)
    c.draw(polygon((-3.4, -6.6), (-2.8, -13.4), (2.8, -13.4), (3.4, -6.6)).grow(0.3), Scene.MARBLE, INK)
    c.draw(line((2.2, -12.6), (5.4, -15.4), (5.0, -19.6), width=1.9), Scene.MARBLE, INK)
    c.draw(line((-2.4, -12.6), (-4.6, -9.8), (-2.8, -8.4), width=1.9), Scene.MARBLE, INK)
    c.draw(ellipse(0, -16.4, 2.8, 2.9), Scene.MARBLE, INK)
    c.draw(line((-0.6, -12), (-1.0, -7), width=0.7), Scene.MARBLE_DARK)
    c.draw(line((1.0, -11), (1.2, -7), width=0.7), Scene.MARBLE_DARK)


def _painting(c: Canvas) -> None:
    for x in (-1, 1):
        c.draw(line((x * 3.0, -4), (x * 5.6, 0), width=1.1), Scene.PROP_WOOD_DARK, INK, 0.4)
    c.draw(rect(-8.2, -19.4, 8.2, -4.6, 0.5), Scene.GOLD, INK)
    frame = rect(-6.2, -17.4, 6.2, -6.6)
    c.draw(frame, Scene.PAINT_SKY, INK, 0.4)
    c.draw(ellipse(3.2, -15.0, 1.6, 1.6), Scene.LAMP_GLOW)
    c.draw(polygon((-7, -6), (-2.6, -13.6), (1.4, -6)), Scene.PROP_BLUE, clip=frame)
    c.draw(polygon((-1.4, -6), (3.2, -11.6), (7.6, -6)), Scene.LEAFY, clip=frame)


def _bench(c: Canvas) -> None:
    for x in (-8.6, 8.6):
        c.draw(line((x, -12), (x, 0), width=1.3), Scene.PROP_METAL, INK, 0.4)
    for y in (-12.0, -8.8):
        c.draw(rect(-10.6, y, 10.6, y + 2.2, 0.5), Scene.PROP_WOOD, INK)
    c.draw(rect(-11.2, -5.6, 11.2, -3.2, 0.6), Scene.PROP_WOOD, INK)


def _bicycle(c: Canvas) -> None:
    for x in (-7.0, 7.0):
        c.draw(ellipse(x, -4.8, 5.0, 5.0) - ellipse(x, -4.8, 3.8, 3.8), INK)
        c.draw(ellipse(x, -4.8, 0.9, 0.9), INK)
    frame = line((-7, -4.8), (-3.4, -11.2), (4.6, -11.2), (-0.6, -4.8), (-7, -4.8), width=1.2)
    c.draw(frame, Scene.PROP_RED, INK, 0.45)
    c.draw(line((7, -4.8), (4.2, -13.4), (6.6, -14.2), width=1.2), Scene.PROP_RED, INK, 0.45)
    c.draw(line((-0.6, -4.8), (-3.8, -12.4), width=1.2), Scene.PROP_RED, INK, 0.45)
    c.draw(rect(-6.4, -13.8, -1.6, -12.2, 0.7), Scene.PROP_BROWN, INK, 0.4)


def _lamp(c: Canvas) -> None:
    c.draw(line((0, -1), (0, -22), width=1.3), Scene.PROP_METAL, INK, 0.45)
    c.draw(rect(-3.4, -1.6, 3.4, 0, 0.6), Scene.PROP_METAL, INK, 0.45)
    c.draw(polygon((-2.6, -28.2), (2.6, -28.2), (5.4, -20.4), (-5.4, -20.4)), Scene.LAMP_GLOW, INK)


def _balloon(c: Canvas) -> None:
    c.draw(line((0, 0), (-0.8, -6), (0.5, -12), width=0.6), INK)
    c.draw(polygon((-1.4, -10.8), (1.4, -10.8), (0, -13)), Scene.PROP_RED, INK, 0.4)
    c.draw(ellipse(0, -18.4, 5.4, 6.6), Scene.PROP_RED, INK)
    c.draw(ellipse(-2.0, -21.0, 1.1, 1.7), Scene.IVORY)


def _suitcase(c: Canvas) -> None:
    c.draw(rect(-2.8, -12.2, 2.8, -8, 1) - rect(-1.6, -11, 1.6, -8), Scene.PROP_WOOD_DARK, INK, 0.4)
    c.draw(rect(-7.6, -10.0, 7.6, 0, 1.4), Scene.PROP_BROWN, INK)
    for x in (-4.8, 4.8):
        c.draw(rect(x - 0.9, -10, x + 0.9, 0), Scene.GOLD, INK, 0.3)


def _flowers(c: Canvas) -> None:
    spots = ((-4.4, -9.4, Scene.PROP_PINK), (4.4, -9.0, Scene.PROP_PINK), (0, -12.4, Scene.LAMP_GLOW),
             (-1.8, -7.4, Scene.PROP_RED), (2.4, -6.6, Scene.IVORY))  # fmt: skip
    for x, y, _ in spots:
        c.draw(line((x * 0.5, 0), (x, y), width=0.9), Scene.LEAFY_DARK)
    c.draw(ellipse(-3, -2.2, 2.6, 1.6) | ellipse(3, -2.2, 2.6, 1.6), Scene.LEAFY, INK, 0.4)
    for x, y, colour in spots:
        petals = ellipse(x - 1.3, y, 1.5, 1.3) | ellipse(x + 1.3, y, 1.5, 1.3) | ellipse(x, y - 1.3, 1.3, 1.5)
        c.draw(petals | ellipse(x, y + 1.3, 1.3, 1.5), colour, INK, 0.4)
        c.draw(ellipse(x, y, 0.8, 0.8), Scene.GOLD)


def _ball(c: Canvas) -> None:
    ball = ellipse(0, -4.6, 4.6, 4.6)
    c.draw(ball, Scene.PROP_BLUE, INK)
    c.draw(ellipse(0, -4.6, 1.7, 5.2), Scene.IVORY, clip=ball)
    c.draw(rect(-6, -5.4, 6, -3.8), Scene.PROP_RED, clip=ball)
    c.draw(ellipse(0, -4.6, 1.4, 1.4), Scene.IVORY)


def _table(c: Canvas) -> None:
    for x in (-6.2, 6.2):
        c.draw(line((x * 0.9, -9), (x, 0), width=1.4), Scene.PROP_WOOD_DARK, INK, 0.45)
    c.draw(rect(-10.0, -11.4, 10.0, -8.8, 0.6), Scene.PROP_WOOD, INK)
    c.draw(rect(-4.2, -15.4, 0.4, -11.6, 0.8), Scene.IVORY, INK, 0.5)
    c.draw(ellipse(4.6, -13.2, 1.8, 1.7), Scene.PROP_RED, INK, 0.5)


_FEATURES = {
    "clock": _clock,
    "plant": _plant,
    "lantern": _lantern,
    "flag": _flag,
    "statue": _statue,
    "painting": _painting,
}
_PROPS = {
    "none": lambda c: None,
    "bench": _bench,
    "bicycle": _bicycle,
    "lamp": _lamp,
    "balloon": _balloon,
    "suitcase": _suitcase,
    "flowers": _flowers,
    "ball": _ball,
    "table": _table,
}
assert tuple(_FEATURES) == FEATURE
assert tuple(_PROPS) == PROPS


@lru_cache(maxsize=8)
def feature(name: str) -> Canvas:
    """The landmark `name`."""
    c = Canvas(THING_BOX)
    _FEATURES[name](c)
    return c


@lru_cache(maxsize=16)
def prop(name: str) -> Canvas:
    """The prop `name`; "none" is empty."""
    c = Canvas(THING_BOX)
    _PROPS[name](c)
    return c

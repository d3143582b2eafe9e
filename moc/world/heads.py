"""Heads of the nine kinds, and the hats and scarves that go on them.

Everything here has its origin in the middle of the head and looks to the right. All heads have about the same size, so
that one hat fits all; ears, antennae and pigtails are `FRONT` parts and poke through hats. Hats end above the brow, so
that hair or fur stays in sight under each of them.
"""

from __future__ import annotations

from functools import lru_cache

from moc.world.canvas import Canvas, Shape, ellipse, line, polygon, rect
from moc.world.parts import Part
from moc.world.schema import HAT, PEOPLE

HEAD_BOX = (-14.0, -20.0, 14.0, 16.0)
RX, RY = 7.2, 6.5  # the head's radii
FACES = ("open", "blink", "down", "happy")
LINE = Part.LINE


@lru_cache(maxsize=256)
def head_back(kind: str) -> Canvas:
    """What hangs behind head and shoulders: long hair, ears that stand up."""
    c = Canvas(HEAD_BOX)
    if kind == "woman":
        c.draw(ellipse(0, -0.5, 8.6, 8.2) | rect(-8.8, -1, 8.8, 12.5, 3.6), Part.HAIR_DARK, LINE)
    return c


@lru_cache(maxsize=256)
def head_front(kind: str, face: str) -> Canvas:
    """The head with its face; `face` is one of `FACES`."""
    c = Canvas(HEAD_BOX)
    if kind in PEOPLE:
        _person(c, kind, face)
    elif kind == "robot":
        _robot(c, face)
    else:
        _animal(c, kind, face)
    return c


def _eyes(c: Canvas, face: str, x: float = 1.2, gap: float = 2.9, y: float = 0.6, whites: bool = False) -> None:
    """Two eyes around `x`; closed ones hang (asleep) or arch (happy). `whites` make them seen on dark fur."""
    for ex in (x - gap, x + gap):
        if whites:
            lid = Part.SHINE if face in ("open", "down") else Part.MUZZLE
            c.draw(ellipse(ex, y, 1.75, 2.0), lid)
        if face == "open":
            c.draw(ellipse(ex + 0.3 * whites, y, 1.0, 1.35), Part.EYE)
            c.draw(ellipse(ex + 0.3 + 0.3 * whites, y - 0.5, 0.38, 0.38), Part.SHINE)
        elif face == "down":
            c.draw(ellipse(ex + 0.4, y + 0.2, 1.1, 1.35) & rect(ex - 2, y, ex + 3, y + 3), Part.EYE)
            c.draw(line((ex - 1.3, y + 0.2), (ex + 0.2, y - 0.3), (ex + 1.6, y + 0.2), width=0.5), Part.EYE)
        else:
            bend = 0.9 if face == "blink" else -1.0
            c.draw(line((ex - 1.4, y), (ex, y + bend), (ex + 1.4, y), width=0.75), Part.EYE)


def _cheeks(c: Canvas, x: float = 1.2, y: float = 2.7) -> None:
    for cx in (x - 4.6, x + 4.6):
        c.draw(ellipse(cx, y, 1.15, 0.8), Part.CHEEK, clip=ellipse(0, 0, RX - 0.3, RY))


def _smile(c: Canvas, face: str, x: float = 1.2, y: float = 3.4) -> None:
    if face == "happy":
        c.draw(ellipse(x, y, 1.3, 1.2) & rect(x - 2, y - 0.2, x + 2, y + 3), Part.MOUTH)
    elif face == "blink":
        c.draw(ellipse(x, y + 0.2, 0.6, 0.55), Part.MOUTH)
    else:
        c.draw(line((x - 1.1, y - 0.1), (x, y + 0.45), (x + 1.1, y - 0.1), width=0.6), Part.MOUTH)


def _person(c: Canvas, kind: str, face: str) -> None:
    skull = ellipse(0, 0, RX, RY)
    if kind == "girl":
        for side in (-1, 1):
            c.draw(ellipse(side * 9.6, 0.8, 3.0, 4.0) | ellipse(side * 9.9, 4.4, 1.8, 2.6), Part.FRONT_HAIR,
                   Part.FRONT_LINE)  # fmt: skip
            c.draw(ellipse(side * 7.6, -2.2, 1.1, 1.1), Part.CHEEK, Part.FRONT_LINE, 0.4)
    if kind in ("man", "boy"):
        for side in (-1, 1):
            c.draw(ellipse(side * 7.2, 0.9, 1.4, 1.7), Part.SKIN, LINE)
    c.draw(skull, Part.SKIN, LINE)
    if kind == "woman":
        hair = ellipse(0, -0.4, 7.9, 7.2) - ellipse(1.8, 3.0, 6.0, 6.3)
        c.draw(hair | polygon((-8.2, -1), (-6.0, -2), (-5.2, 6.5), (-8.4, 7.5)), Part.HAIR, LINE)
        c.draw(polygon((6.7, -2), (8.2, -1), (8.4, 7.5), (6.9, 6.0)), Part.HAIR, LINE, 0.4)
    elif kind == "man":
        c.draw(ellipse(0, -0.6, 7.6, 7.0) - ellipse(1.4, 3.2, 6.4, 6.0), Part.HAIR, LINE)
        c.draw((ellipse(0, 0.6, 7.3, 6.6) - ellipse(1.2, 0.2, 5.6, 5.0)) & rect(-9, 1.2, 9, 9), Part.HAIR, LINE, 0.4)
    elif kind == "girl":
        c.draw(ellipse(0, -0.5, 7.7, 7.0) - ellipse(1.6, 4.2, 6.6, 6.6), Part.HAIR, LINE)
        c.draw(polygon((-3, -4), (5.4, -4), (4.4, -1.2), (3.0, -2.2), (1.4, -1.0), (0, -2.2), (-1.6, -1.0)), Part.HAIR)
    else:
        spikes = polygon(
            (-7.4, 0), (-7.8, -4.5), (-6.0, -4.6), (-5.6, -8.0), (-2.6, -6.6), (-0.4, -9.2), (1.8, -6.8),
            (5.0, -8.0), (5.2, -5.0), (7.8, -4.4), (7.3, 0), (5.6, -2.6), (3.4, -1.6), (1.0, -3.0), (-1.6, -1.6),
            (-4.4, -2.8),
        )  # fmt: skip
        c.draw(ellipse(0, -0.6, 7.6, 7.0) - ellipse(1.2, 3.0, 5.9, 6.6), Part.HAIR, LINE)
        c.draw(spikes, Part.HAIR, LINE)
    _eyes(c, face)
    _cheeks(c)
    if kind == "woman" and face in ("open", "down"):
        for ex in (-1.7, 4.1):
            c.draw(line((ex - 1.5, -0.9), (ex, -1.3), (ex + 1.5, -0.6), width=0.5), Part.EYE)
    if kind == "man":
        for ex in (-1.7, 4.1):
            c.draw(line((ex - 1.3, -2.2), (ex + 1.3, -2.2), width=0.8), Part.HAIR_DARK)
        c.draw(ellipse(0.2, 3.2, 2.0, 1.15) | ellipse(2.4, 3.2, 2.0, 1.15), Part.HAIR, LINE, 0.4)
        c.draw(line((0.4, 5.1), (2.2, 5.1), width=0.6), Part.MOUTH)
    else:
        _smile(c, face)


def _ear(c: Canvas, outer: Shape, inner: Shape) -> None:
    c.draw(outer, Part.FRONT_HAIR, Part.FRONT_LINE)
    c.draw(inner, Part.INNER_EAR)


def _animal(c: Canvas, kind: str, face: str) -> None:
    if kind == "cat":
        for s in (-1, 1):
            _ear(c, polygon((s * 7.6, -1.5), (s * 7.4, -10.8), (s * 1.6, -5.4)),
                 polygon((s * 6.5, -4.0), (s * 6.5, -8.6), (s * 3.4, -5.4)))  # fmt: skip
    elif kind == "rabbit":
        for s in (-1, 1):
            _ear(c, line((s * 5.0, -4.0), (s * 6.6, -9.5), (s * 7.2, -15.4), width=4.2),
                 line((s * 6.2, -8.5), (s * 7.0, -14.8), width=1.7))  # fmt: skip
    elif kind == "bear":
        for s in (-1, 1):
            _ear(c, ellipse(s * 6.0, -5.6, 3.1, 3.1), ellipse(s * 6.0, -5.5, 1.5, 1.5))
    wide = {"bear": 0.8, "cat": 0.6}.get(kind, 0.0)
    c.draw(ellipse(0, 0.2, RX + wide, RY), Part.HAIR, LINE)
    if kind == "dog":
        c.draw(ellipse(3.0, -0.4, 2.4, 3.0), Part.HAIR_DARK)  # a patch around one eye
    big = {"bear": (3.6, 2.7), "dog": (3.9, 2.9), "cat": (2.9, 1.9), "rabbit": (2.7, 1.9)}[kind]
    c.draw(ellipse(1.4, 3.3, *big), Part.MUZZLE, clip=ellipse(0, 0.2, RX + wide, RY))
    _eyes(c, face, gap=3.2, y=-0.4, whites=True)
    if kind == "cat":
        c.draw(polygon((0.5, 2.0), (2.3, 2.0), (1.4, 3.0)), Part.CHEEK, LINE, 0.3)
        c.draw(line((-0.2, 4.0), (0.7, 4.4), (1.4, 3.5), (2.1, 4.4), (3.0, 4.0), width=0.5), Part.EYE)
        for s in (-1, 1):
            for dy in (-0.9, 0.7):
                c.draw(line((1.4 + s * 3.6, 3.2 + dy * 0.5), (1.4 + s * 8.2, 2.8 + dy * 1.6), width=0.45), Part.EYE)
    elif kind == "rabbit":
        c.draw(ellipse(1.4, 2.3, 0.9, 0.6), Part.CHEEK, LINE, 0.3)
        c.draw(rect(0.6, 4.0, 2.2, 5.9, 0.3), Part.SHINE, LINE, 0.35)
        _cheeks(c, 1.4, 2.6)
    else:
        nose = (1.9, 1.35) if kind == "bear" else (1.8, 1.25)
        c.draw(ellipse(1.6, 2.2, *nose), Part.EYE)
        c.draw(ellipse(1.2, 1.8, 0.45, 0.3), Part.SHINE)
        c.draw(line((1.6, 3.0), (1.6, 4.3), width=0.45), Part.EYE)
        c.draw(line((0.2, 4.2), (1.6, 4.8), (3.0, 4.2), width=0.5), Part.EYE)
    if kind == "dog":
        c.draw(ellipse(2.1, 5.9, 1.0, 1.2), Part.MOUTH, LINE, 0.3)
        for s in (-1, 1):
            drop = polygon(
                (s * 4.2, -6.0), (s * 8.0, -5.2), (s * 10.4, 1.6), (s * 9.2, 4.6), (s * 6.9, 3.4), (s * 6.6, -1.5)
            )
            c.draw(drop, Part.HAIR_DARK, Part.FRONT_LINE)


def _robot(c: Canvas, face: str) -> None:
    c.draw(line((0, -6.5), (0, -11.0), width=0.9), Part.FRONT_LINE)
    c.draw(ellipse(0, -11.6, 1.7, 1.7), Part.COVER, Part.FRONT_LINE)
    for s in (-1, 1):
        c.draw(rect(min(s * 7.0, s * 9.2), -2.4, max(s * 7.0, s * 9.2), 2.6, 0.8), Part.HAIR_DARK, LINE)
    c.draw(rect(-7.4, -6.4, 7.4, 6.2, 1.6), Part.HAIR, LINE)
    c.draw(rect(-5.2, -3.0, 6.6, 4.2, 1.2), Part.EYE, Part.HAIR_DARK, 0.5)
    for ex in (-2.0, 3.4):
        if face in ("open", "down"):
            y = 0.0 if face == "open" else 0.9
            c.draw(rect(ex - 1.2, y - 1.4, ex + 1.2, y + 1.0, 0.4), Part.GLOW)
        else:
            bend = 0.8 if face == "blink" else -1.0
            c.draw(line((ex - 1.4, 0), (ex, bend), (ex + 1.4, 0), width=0.8), Part.GLOW)
    c.draw(line((-1.0, 2.6), (2.4, 2.6), width=0.7), Part.GLOW)


HAT_BOX = (-14.0, -16.0, 14.0, 16.0)


@lru_cache(maxsize=32)
def headwear(hat: str, scarf: bool) -> Canvas:
    """Hat and scarf, drawn over everything below `FRONT`."""
    c = Canvas(HAT_BOX)
    if scarf:
        c.draw(polygon((-4.8, 6.4), (-1.8, 6.4), (-2.0, 12.4), (-5.2, 12.4)), Part.SCARF, LINE)
        for x in (-4.6, -3.6, -2.6):
            c.draw(line((x, 11.4), (x, 12.6), width=0.5), Part.SCARF_DARK)
        c.draw(rect(-6.4, 4.9, 6.4, 8.3, 1.6), Part.SCARF, LINE)
        c.draw(line((-5.4, 7.2), (5.4, 7.2), width=0.45), Part.SCARF_DARK)
    _HATS[hat](c)
    return c


def _cap(c: Canvas) -> None:
    c.draw(rect(2.0, -5.0, 12.2, -2.8, 1.0), Part.HAT_DARK, LINE)
    c.draw(ellipse(0, -3.4, 7.7, 6.4) & rect(-9, -12, 9, -3.2), Part.HAT, LINE)
    c.draw(ellipse(0, -9.8, 1.0, 0.7), Part.HAT_DARK, LINE, 0.4)


def _beanie(c: Canvas) -> None:
    c.draw(ellipse(0, -12.0, 2.5, 2.4), Part.HAT_DARK, LINE)
    c.draw(ellipse(0, -4.0, 7.5, 7.4) & rect(-9, -14, 9, -4.2), Part.HAT, LINE)
    c.draw(rect(-8.1, -6.6, 8.1, -3.3, 1.3), Part.HAT, LINE)
    for x in (-5.4, -2.7, 0.0, 2.7, 5.4):
        c.draw(line((x, -5.9), (x, -4.0), width=0.5), Part.HAT_DARK)


def _top_hat(c: Canvas) -> None:
    c.draw(polygon((-5.4, -5.0), (-5.9, -14.2), (5.9, -14.2), (5.4, -5.0)), Part.HAT, LINE)
    c.draw(polygon((-5.4, -5.6), (-5.6, -7.6), (5.6, -7.6), (5.4, -5.6)), Part.HAT_DARK)
    c.draw(rect(-9.4, -5.4, 9.4, -3.2, 1.1), Part.HAT, LINE)


def _sun_hat(c: Canvas) -> None:
    c.draw(ellipse(0, -5.2, 12.6, 2.5), Part.HAT, LINE)
    c.draw(ellipse(0, -5.8, 6.7, 5.8) & rect(-8, -13, 8, -5.6), Part.HAT, LINE)
    c.draw(rect(-6.8, -6.9, 6.8, -5.1, 0.8), Part.HAT_DARK)


def _crown(c: Canvas) -> None:
    points = ((-6.8, -3.4), (-7.6, -11.4), (-3.9, -7.8), (0, -12.8), (3.9, -7.8), (7.6, -11.4), (6.8, -3.4))
    c.draw(polygon(*points), Part.HAT, LINE)
    c.draw(rect(-6.7, -5.0, 6.7, -3.4), Part.HAT_DARK)
    for x, y in ((-7.5, -11.4), (0, -12.8), (7.5, -11.4)):
        c.draw(ellipse(x, y, 1.1, 1.1), Part.PAGE, LINE, 0.4)


def _bow(c: Canvas) -> None:
    for s in (-1, 1):
        c.draw(polygon((0, -7.2), (s * 6.2, -12.2), (s * 8.0, -10.6), (s * 8.0, -5.4), (s * 6.4, -3.9)), Part.HAT, LINE)
        c.draw(line((s * 2.4, -7.5), (s * 5.2, -8.4), width=0.6), Part.HAT_DARK)
    c.draw(ellipse(0, -7.4, 2.0, 2.3), Part.HAT_DARK, LINE)


_HATS = {
    "none": lambda c: None,
    "cap": _cap,
    "beanie": _beanie,
    "top hat": _top_hat,
    "sun hat": _sun_hat,
    "crown": _crown,
    "bow": _bow,
}
assert tuple(_HATS) == HAT

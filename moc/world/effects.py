"""Little drawings that go with actions: notes, snores, steam, dust, sweat. They are the scene's, not a character's."""

from __future__ import annotations

from collections.abc import Callable

from moc.world.canvas import Canvas, Shape, ellipse, line, polygon
from moc.world.parts import Scene

Drawing = Callable[[Canvas], None]
PHASES = 8  # pictures of an action's cycle


def note(x: float, y: float) -> Drawing:
    """A quaver at (x, y)."""

    def draw(c: Canvas) -> None:
        shape = ellipse(x, y, 1.7, 1.25) | line((x + 1.3, y), (x + 1.3, y - 5), (x + 3.3, y - 3.6), width=0.8)
        c.draw(shape, Scene.NOTE, Scene.INK, 0.6)

    return draw


def snore(x: float, y: float, size: float, mirrored: bool) -> Drawing:
    """The letter Z, or its mirror image for sprites that will be mirrored."""

    def draw(c: Canvas) -> None:
        a = size / 2
        b = -a if mirrored else a
        shape = line((x - b, y - a), (x + b, y - a), (x - b, y + a), (x + b, y + a), width=1.1)
        c.draw(shape, Scene.NOTE, Scene.INK, 0.7)

    return draw


def puff(x: float, y: float, r: float) -> Drawing:
    """A cloud of dust."""
    shape = ellipse(x, y, r, r * 0.8) | ellipse(x - r, y + r * 0.3, r * 0.6, r * 0.5)
    return lambda c: c.draw(shape, Scene.DUST, Scene.SHADOW, 0.35)


def drop(x: float, y: float) -> Drawing:
    """A drop of sweat flying off."""
    shape = ellipse(x, y, 1.0, 1.0) | polygon((x - 0.7, y + 0.6), (x + 0.8, y - 0.7), (x + 2.0, y + 0.7))
    return lambda c: c.draw(shape, Scene.PAINT_SKY, Scene.INK, 0.4)


def steam(x: float, y: float, k: int) -> Drawing:
    """Two little clouds rising from (x, y)."""

    def draw(c: Canvas) -> None:
        for i in range(2):
            rise = (k / PHASES + i / 2) % 1.0
            r = 1.5 - 0.7 * rise
            c.draw(ellipse(x + (0.9 if i else -0.7), y - 5.5 * rise, r, r), Scene.STEAM, Scene.INK, 0.4)

    return draw


def strokes(shapes: list[Shape]) -> Drawing:
    """White strokes: speed, a swing of the arm."""

    def draw(c: Canvas) -> None:
        for shape in shapes:
            c.draw(shape, Scene.NOTE, Scene.INK, 0.4)

    return draw

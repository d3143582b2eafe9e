"""What the places share: their canvas, the sky at every hour, windows, trees, house fronts.

All places share one composition, so that everything that a story may leave open stays in sight of every camera,
characters or not: the landmark stands in the middle (x = 48, its foot near y = 32) on something of the wall's colour,
the wall and the accent lie beside it above the characters' shoulders and again below it, all within x 16..80 and
y 6..48, the part that even the close camera shows. The ground begins near y = 44.
"""

from __future__ import annotations

from moc.world.canvas import Canvas, Shape, ellipse, polygon, rect
from moc.world.parts import Scene as S

PLACE_BOX = (-16.0, 0.0, 112.0, 64.0)  # wider than the frame, so that the camera can slide
LEFT, RIGHT = PLACE_BOX[0], PLACE_BOX[2]
EDGE = S.EDGE


def band(top: float, bottom: float) -> Shape:
    """All of the canvas between two heights."""
    return rect(LEFT - 2, top, RIGHT + 2, bottom)


def sky(c: Canvas, clouds: tuple[tuple[float, float], ...] = ((12, 7), (66, 6), (98, 9))) -> None:
    """Three bands of sky with the lights of every hour; the palette shows those of the shot's."""
    c.draw(band(0, 12), S.SKY_0)
    c.draw(band(12, 22), S.SKY_1)
    c.draw(band(22, 50), S.SKY_2)
    for i in range(16):
        x, y = LEFT + 4 + i * 8.1, 2.0 + (i * 5) % 9
        c.draw(ellipse(x, y, 0.75, 0.75), S.STAR_0)
        c.draw(ellipse(x + 4, y + 12.2 - (i * 3) % 3, 0.6, 0.6), S.STAR_1)
    c.draw(ellipse(30, 6.4, 4.2, 4.2), S.SUN_0)
    c.draw(ellipse(62, 21, 5.6, 5.6) & band(12, 22), S.LOW_SUN_1)
    c.draw(ellipse(62, 21, 5.6, 5.6) & band(22, 40), S.LOW_SUN_2)
    for x, y in clouds:
        c.draw(
            ellipse(x, y, 5.5, 1.9) | ellipse(x - 1.5, y - 1.5, 2.8, 2.0) | ellipse(x + 2, y - 1.0, 2.2, 1.6), S.CLOUD
        )
    c.draw(ellipse(73, 6.6, 4.4, 4.4) - ellipse(75, 5.4, 3.7, 3.7), S.MOON_0)


def window(c: Canvas, x0: float, y0: float, x1: float, y1: float, frame: S = S.WOOD_DARK) -> None:
    """A window of a room: the sky outside in bands, with the light of the hour, and a cross of bars."""
    pane, h, mx = rect(x0, y0, x1, y1), y1 - y0, (x0 + x1) / 2
    c.draw(pane, S.SKY_0, frame, 1.2)
    c.draw(rect(x0, y0 + h * 0.55, x1, y0 + h * 0.8), S.SKY_1)
    c.draw(rect(x0, y0 + h * 0.8, x1, y1), S.SKY_2)
    c.draw(ellipse(x0 + (x1 - x0) * 0.27, y0 + h * 0.26, 2.6, 2.6), S.SUN_0, clip=pane)
    moon = ellipse(x0 + (x1 - x0) * 0.75, y0 + h * 0.26, 2.9, 2.9)
    c.draw(moon - moon.at(1.5, -0.9), S.MOON_0, clip=pane)
    for fx, fy in ((0.12, 0.12), (0.4, 0.4), (0.6, 0.1), (0.88, 0.46), (0.15, 0.48)):
        c.draw(ellipse(x0 + (x1 - x0) * fx, y0 + h * fy, 0.55, 0.55), S.STAR_0)
    c.draw(
        ellipse(x0 + (x1 - x0) * 0.7, y0 + h * 0.8, 3.4, 3.4) & rect(x0, y0 + h * 0.55, x1, y0 + h * 0.8), S.LOW_SUN_1
    )
    c.draw(rect(mx - 0.5, y0, mx + 0.5, y1), frame)


def tree(c: Canvas, x: float, foot: float, size: float = 1.0) -> None:
    """A round tree."""
    c.draw(rect(x - 1.6 * size, foot - 10 * size, x + 1.6 * size, foot), S.TRUNK, EDGE)
    crown = ellipse(x, foot - 16 * size, 8 * size, 8 * size)
    for side in (-1, 1):
        crown = crown | ellipse(x + side * 5.5 * size, foot - 12.5 * size, 5 * size, 4.6 * size)
    c.draw(crown, S.LEAF, EDGE)
    c.draw(ellipse(x + 2.5 * size, foot - 11.5 * size, 5 * size, 2.6 * size), S.LEAF_DARK, clip=crown)


def pine(c: Canvas, x: float, foot: float, size: float = 1.0) -> None:
    """A fir tree of three tiers."""
    c.draw(rect(x - 1.3 * size, foot - 6 * size, x + 1.3 * size, foot), S.TRUNK, EDGE)
    for i in range(3):
        y, w = foot - (5 + 7 * i) * size, (9.0 - 2.0 * i) * size
        tier = polygon((x - w, y), (x, y - 11.5 * size), (x + w, y))
        c.draw(tier, S.PINE, EDGE)
        c.draw(polygon((x, y - 11.5 * size), (x + w, y), (x + w * 0.25, y)), S.PINE_DARK)


def settle(c: Canvas, x: float, foot: float) -> None:
    """A small painted seat."""
    for side in (-1, 1):
        c.draw(rect(x + side * 7 - 0.6, foot - 4, x + side * 7 + 0.6, foot), S.METAL_DARK, S.INK, 0.3)
    c.draw(rect(x - 9, foot - 9, x + 9, foot - 5.4, 0.5), S.ACCENT, S.INK, 0.5)
    c.draw(rect(x - 9.6, foot - 4.4, x + 9.6, foot - 2.4, 0.5), S.ACCENT, S.INK, 0.5)


def checkers(c: Canvas, top: float) -> None:
    """A floor of tiles from `top` down."""
    c.draw(band(top, 66), S.TILE)
    rows = (top, top + 3.5, top + 8.5, 66)
    for r in range(3):
        for x in range(-24, 120, 12):
            shift = 6 * (r % 2)
            c.draw(rect(x + shift, rows[r], x + shift + 6, rows[r + 1]), S.TILE_DARK)


def house(c: Canvas, x0: float, x1: float, top: float, front: S, roof: S) -> None:
    """A house front with a gable."""
    mid = (x0 + x1) / 2
    c.draw(rect(x0, top, x1, 45), front, EDGE)
    c.draw(polygon((x0 - 1.5, top), (mid, top - 9), (x1 + 1.5, top)), roof, EDGE)


def pane(c: Canvas, x: float, y: float, w: float = 6, h: float = 7, shutter: S | None = None) -> None:
    """A window seen from outside, lit at night, with shutters if they have a colour."""
    if shutter is not None:
        c.draw(rect(x - 2.6, y, x + w + 2.6, y + h), shutter, S.INK, 0.4)
    c.draw(rect(x, y, x + w, y + h), S.WINDOW, S.PAINT_WHITE, 0.7)
    c.draw(rect(x + w / 2 - 0.3, y, x + w / 2 + 0.3, y + h), S.PAINT_WHITE)
    c.draw(rect(x, y + h / 2 - 0.3, x + w, y + h / 2 + 0.3), S.PAINT_WHITE)

"""The ten places: one background map per place and landmark.

A map is wider than the frame (`PLACE_BOX`), so that the camera can slide along it. All places share one composition,
so that everything that a story may leave open stays in sight of every camera, characters or not: the landmark stands
in the middle (x = 48, foot at `FEATURE_FOOT`), the wall and the accent lie beside it above the characters' shoulders,
within x 16..80 and y 6..46, the part that even the close camera shows. The ground begins near y = 44.
"""

from __future__ import annotations

from collections.abc import Callable

from moc.world.canvas import Canvas, Shape, ellipse, line, polygon, rect
from moc.world.parts import Scene as S
from moc.world.schema import PLACES
from moc.world.things import feature

PLACE_BOX = (-16.0, 0.0, 112.0, 64.0)
LEFT, RIGHT = PLACE_BOX[0], PLACE_BOX[2]
FEATURE_X = 48.0
EDGE = S.EDGE


def _band(top: float, bottom: float) -> Shape:
    return rect(LEFT - 2, top, RIGHT + 2, bottom)


def sky(c: Canvas, clouds: tuple[tuple[float, float], ...] = ((12, 7), (66, 6), (98, 9))) -> None:
    """Three bands of sky with the lights of every hour; the palette shows those of the shot's."""
    c.draw(_band(0, 12), S.SKY_0)
    c.draw(_band(12, 22), S.SKY_1)
    c.draw(_band(22, 50), S.SKY_2)
    for i in range(16):
        x, y = LEFT + 4 + i * 8.1, 2.0 + (i * 5) % 9
        c.draw(ellipse(x, y, 0.75, 0.75), S.STAR_0)
        c.draw(ellipse(x + 4, y + 12.2 - (i * 3) % 3, 0.6, 0.6), S.STAR_1)
    c.draw(ellipse(30, 6.4, 4.2, 4.2), S.SUN_0)
    c.draw(ellipse(62, 21, 5.6, 5.6) & _band(12, 22), S.LOW_SUN_1)
    c.draw(ellipse(62, 21, 5.6, 5.6) & _band(22, 40), S.LOW_SUN_2)
    for x, y in clouds:
        band = S.CLOUD_0 if y < 12 else S.CLOUD_1
        c.draw(ellipse(x, y, 5.5, 1.9) | ellipse(x - 1.5, y - 1.5, 2.8, 2.0) | ellipse(x + 2, y - 1.0, 2.2, 1.6), band)
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
    crown = (ellipse(x, foot - 16 * size, 8 * size, 8 * size) | ellipse(x - 5.5 * size, foot - 12.5 * size, 5 * size, 4.6 * size)
             | ellipse(x + 5.5 * size, foot - 12.5 * size, 5 * size, 4.6 * size))  # fmt: skip
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


def _settle(c: Canvas, x: float, foot: float) -> None:
    """A small painted seat."""
    for side in (-1, 1):
        c.draw(rect(x + side * 7 - 0.6, foot - 4, x + side * 7 + 0.6, foot), S.METAL_DARK, S.INK, 0.3)
    c.draw(rect(x - 9, foot - 9, x + 9, foot - 5.4, 0.5), S.ACCENT, S.INK, 0.5)
    c.draw(rect(x - 9.6, foot - 4.4, x + 9.6, foot - 2.4, 0.5), S.ACCENT, S.INK, 0.5)


def _cafe(c: Canvas) -> None:
    c.draw(_band(0, 50), S.PLASTER)
    c.draw(rect(38, 0, 66, 46), S.WALL, S.WOOD, 0.8)
    window(c, -10, 4, 10, 33)
    window(c, 15, 4, 35, 33)
    for x in range(-14, 38, 6):  # awning
        flap = rect(x, 2, x + 6, 11) | ellipse(x + 3, 11, 3, 2.6)
        c.draw(flap, S.ACCENT if (x // 6) % 2 == 0 else S.CHINA, S.INK, 0.5)
    c.draw(rect(-16, 0, 39, 4), S.ACCENT, S.INK, 0.5)
    c.draw(rect(70, 4, 94, 19, 0.8), S.BOARD, S.WOOD_DARK, 1.2)  # menu
    c.draw(ellipse(76, 10, 2.6, 2.2) | rect(73.4, 7.6, 78.6, 10), S.CHINA)
    for i, y in enumerate((7.5, 10.5, 13.5, 16.0)):
        c.draw(line((82, y), (90 - i, y), width=0.8), S.CHINA)
    c.draw(rect(98, 8, 112, 10), S.WOOD_DARK)
    c.draw(rect(98, 18, 112, 20), S.WOOD_DARK)
    for x in (100, 104, 108):
        c.draw(rect(x, 4.4, x + 2.6, 8, 0.5), S.CHINA, EDGE, 0.4)
        c.draw(rect(x, 13, x + 2.6, 18, 0.5), S.BOOK_A, EDGE, 0.4)
    c.draw(rect(69, 21, 83, 33, 1), S.STEEL, S.INK, 0.5)  # coffee machine
    c.draw(rect(71, 23, 81, 26, 0.5), S.STEEL_DARK)
    c.draw(rect(72, 29.5, 75, 33, 0.4), S.CHINA, S.INK, 0.4)
    c.draw(rect(77.5, 29.5, 80.5, 33, 0.4), S.CHINA, S.INK, 0.4)
    c.draw(ellipse(90, 32, 5.4, 6) & rect(84, 24, 96, 32.5), S.FOAM, S.INK, 0.5)  # cake under glass
    c.draw(rect(86.6, 29, 93.4, 32.6), S.BOOK_C, S.INK, 0.4)
    c.draw(rect(86.6, 28, 93.4, 29.6), S.FLOWER)
    c.draw(rect(40, 33, 114, 36, 0.6), S.WOOD_LIGHT, S.INK, 0.5)  # counter
    c.draw(rect(41, 36, 114, 48), S.WOOD, S.INK, 0.5)
    for x in range(44, 112, 11):
        c.draw(rect(x, 38.5, x + 8, 46, 0.5), S.WOOD_DARK)
    _checkers(c, 47)
    c.draw(rect(4.6, 44, 6.4, 56), S.WOOD_DARK, S.INK, 0.4)  # table with a cup
    c.draw(ellipse(5.5, 57, 4.5, 1.2), S.WOOD_DARK, S.INK, 0.4)
    c.draw(ellipse(5.5, 43.5, 9.5, 2.2), S.WOOD_LIGHT, S.INK, 0.5)
    c.draw(rect(3, 38.6, 8, 43, 0.9), S.CHINA, S.INK, 0.5)


def _checkers(c: Canvas, top: float) -> None:
    c.draw(_band(top, 66), S.TILE)
    rows = (top, top + 3.5, top + 8.5, 66)
    for r in range(3):
        for x in range(-24, 120, 12):
            shift = 6 * (r % 2)
            c.draw(rect(x + shift, rows[r], x + shift + 6, rows[r + 1]), S.TILE_DARK)


def _river(c: Canvas) -> None:
    sky(c)
    hill = (ellipse(20, 36, 34, 22) | ellipse(82, 36, 40, 19)) & _band(0, 31)
    c.draw(hill, S.WALL, EDGE, 0.5)
    c.draw(_band(29.5, 47), S.WATER, EDGE, 0.4)
    for x, y in ((-10, 33), (6, 38), (26, 34), (34, 41), (62, 42), (70, 34), (90, 40), (104, 34), (14, 43), (80, 44)):
        c.draw(line((x - 3, y), (x + 3, y), width=0.9), S.WATER_LIGHT)
    arch = (polygon((84, 32), (88, 25), (114, 25), (114, 32)) | rect(84, 28, 114, 37)) - ellipse(98, 38, 8, 8)
    c.draw(arch, S.STONE, EDGE)
    c.draw(rect(84, 23.5, 114, 26), S.STONE_DARK, EDGE)
    c.draw(polygon((57.5, 28), (85, 28), (80, 37), (62.5, 37)), S.ACCENT, S.INK)  # boat
    c.draw(rect(58.2, 28, 84.3, 29.8), S.ACCENT_SHADE)
    c.draw(line((71, 29), (71, 9), width=1.0), S.TRUNK, S.INK, 0.4)
    c.draw(polygon((72.4, 10), (72.4, 26.5), (81, 26.5)), S.ACCENT, S.INK, 0.5)
    c.draw(polygon((69.6, 13), (69.6, 26.5), (62.5, 26.5)), S.PAINT_WHITE, S.INK, 0.5)
    c.draw(rect(39, 29.4, 57, 39, 0.6), S.WALL, EDGE)  # a pier under the landmark
    c.draw(rect(37.5, 29, 58.5, 31.4, 0.4), S.STONE, EDGE, 0.5)
    c.draw(polygon((39, 40.5), (58, 40.5), (54.5, 46), (42.5, 46)), S.ACCENT, S.INK, 0.5)  # rowing boat
    c.draw(rect(39.6, 40.5, 57.4, 42), S.ACCENT_SHADE)
    bank = ellipse(16, 62, 60, 16.5) | ellipse(90, 62, 50, 16) | _band(50, 66)
    c.draw(bank, S.GRASS, EDGE, 0.5)
    for x, y in ((8, 50), (36, 53), (64, 51), (88, 52), (-6, 54), (104, 54)):
        c.draw(line((x - 1.4, y), (x - 1.8, y - 2.4), width=0.7) | line((x, y), (x, y - 3), width=0.7)
               | line((x + 1.4, y), (x + 1.8, y - 2.4), width=0.7), S.GRASS_DARK)  # fmt: skip
    for x in (-8, -5, -2, 16, 19):  # reeds
        c.draw(line((x, 48), (x + 0.6, 35), width=0.8), S.LEAF_DARK)
        c.draw(ellipse(x + 0.6, 35, 1.0, 2.4), S.TRUNK)
    c.draw(ellipse(52, 60, 9, 1.6), S.PUDDLE_GRASS)


def _house(c: Canvas, x0: float, x1: float, top: float, front: S, roof: S) -> None:
    mid = (x0 + x1) / 2
    c.draw(rect(x0, top, x1, 45), front, EDGE)
    c.draw(polygon((x0 - 1.5, top), (mid, top - 9), (x1 + 1.5, top)), roof, EDGE)


def _pane(c: Canvas, x: float, y: float, w: float = 6, h: float = 7, shutter: S | None = None) -> None:
    if shutter is not None:
        c.draw(rect(x - 2.6, y, x + w + 2.6, y + h), shutter, S.INK, 0.4)
    c.draw(rect(x, y, x + w, y + h), S.WINDOW, S.PAINT_WHITE, 0.7)
    c.draw(rect(x + w / 2 - 0.3, y, x + w / 2 + 0.3, y + h), S.PAINT_WHITE)
    c.draw(rect(x, y + h / 2 - 0.3, x + w, y + h / 2 + 0.3), S.PAINT_WHITE)


def _street(c: Canvas) -> None:
    sky(c, ((8, 6), (52, 5), (98, 7)))
    _house(c, -20, 12, 20, S.BRICK, S.ROOF_DARK)
    _house(c, 88, 116, 18, S.BRICK_DARK, S.ROOF)
    for x in (-12, 0):
        _pane(c, x, 25)
        _pane(c, x, 35)
    for x in (93, 103):
        _pane(c, x, 23)
        _pane(c, x, 34)
    _house(c, 13, 42, 16, S.WALL, S.ROOF)
    _house(c, 57, 87, 16, S.WALL, S.ROOF)
    c.draw(rect(42.6, 24, 56.4, 45), S.WALL, EDGE)
    c.draw(rect(45.5, 33, 53.5, 43), S.WINDOW, S.PAINT_WHITE, 0.7)
    c.draw(polygon((43, 26.4), (56, 26.4), (58, 33), (41, 33)), S.ACCENT, S.INK, 0.5)  # awning
    for x in (45.5, 51.2):
        c.draw(polygon((x, 26.4), (x + 2.2, 26.4), (x + 2.4, 33), (x - 0.6, 33)), S.PAINT_WHITE)
    c.draw(rect(44.5, 42.4, 54.5, 45, 0.4), S.ACCENT, S.INK, 0.5)  # flower box
    c.draw(rect(42, 22.5, 57, 25), S.ROOF_DARK, EDGE)
    for x in (18, 31):
        _pane(c, x, 20, shutter=S.ACCENT)
    _pane(c, 19, 33, 7, 8)
    _pane(c, 62.5, 18.6, 5, 6)
    _pane(c, 76.5, 18.6, 5, 6)
    door = rect(65, 31, 79, 45) | ellipse(72, 31, 7, 5)
    c.draw(door, S.ACCENT, S.INK, 0.8)  # door
    c.draw(ellipse(76.4, 38, 0.9, 0.9), S.GOLD, S.INK, 0.3)
    c.draw(rect(67.2, 33, 71, 37.6, 0.4) | rect(67.2, 39.4, 71, 43.6, 0.4), S.ACCENT_SHADE)
    c.draw(rect(72.6, 39.8, 76.8, 43.6, 0.4), S.ACCENT_SHADE)
    c.draw(_band(45, 51.5), S.PAVE, EDGE, 0.4)
    for x in range(-16, 116, 10):
        c.draw(line((x, 45.6), (x - 2, 51), width=0.4), S.STONE_DARK)
    c.draw(_band(51.5, 66), S.ROAD, EDGE, 0.5)
    for x in range(-14, 116, 16):
        c.draw(rect(x, 56.8, x + 9, 58.6), S.PAINT_WHITE)
    c.draw(ellipse(24, 61.2, 10, 1.5), S.PUDDLE_ROAD)
    c.draw(ellipse(80, 49, 7, 1.1), S.PUDDLE_PAVE)


def _kitchen(c: Canvas) -> None:
    c.draw(_band(0, 50), S.PLASTER)
    c.draw(rect(33, 0, 66, 34), S.WALL, S.WOOD, 0.6)
    window(c, 16, 7, 31, 24, S.CHINA)
    for x0, x1 in ((-16, -3), (-2, 11), (68, 81), (82, 95)):  # wall cupboards
        c.draw(rect(x0, 2, x1, 16, 0.6), S.ACCENT, S.INK)
        c.draw(rect(x0 + 2, 4, x1 - 2, 14, 0.4), S.ACCENT_SHADE)
        c.draw(rect(x0 + 2.7, 4.7, x1 - 2.7, 13.3, 0.3), S.ACCENT)
        c.draw(ellipse(x1 - 1.3, 12, 0.7, 0.7), S.GOLD)
    c.draw(rect(-14, 22, 12, 23.6), S.WOOD_DARK)  # shelf with plates
    for x in (-10, -3, 4):
        c.draw(ellipse(x, 18.8, 3, 3), S.CHINA, S.INK, 0.4)
        c.draw(ellipse(x, 18.8, 1.6, 1.6), S.TILE_DARK)
    c.draw(rect(98, 6, 116, 47, 1.5), S.CHINA, S.INK)  # fridge
    c.draw(rect(98, 22, 116, 22.8), S.STEEL_DARK)
    c.draw(rect(100, 14, 101.2, 20) | rect(100, 25, 101.2, 33), S.STEEL_DARK)
    c.draw(rect(-18, 30.5, 66, 33.6, 0.4), S.WOOD_LIGHT, S.INK, 0.5)  # worktop
    c.draw(rect(-18, 33.6, 66, 48), S.WOOD, S.INK, 0.5)
    for x in range(-14, 64, 13):
        c.draw(rect(x, 36, x + 10.5, 46, 0.5), S.WOOD_LIGHT, S.WOOD_DARK, 0.4)
    c.draw(line((22, 30.4), (22, 25.6), (26, 25.6), (26, 27.4), width=1.2), S.STEEL, S.INK, 0.4)  # tap
    c.draw(rect(67, 30.5, 96, 48, 0.5), S.STEEL, S.INK)  # stove
    c.draw(rect(67, 30.5, 96, 34), S.STEEL_DARK)
    for x in (70.5, 75.5, 87.5, 92.5):
        c.draw(ellipse(x, 32.4, 1.0, 1.0), S.CHINA)
    c.draw(rect(71, 37, 92, 45.5, 0.8), S.INK, S.STEEL_DARK, 0.7)
    c.draw(ellipse(81.5, 45, 7.5, 3.4) & rect(71, 37, 92, 45), S.FIRE)
    c.draw(rect(70, 23.5, 80, 30.4, 1), S.STEEL, S.INK, 0.6)  # pots
    c.draw(rect(69, 22.4, 81, 24.4, 0.6), S.STEEL_DARK, S.INK, 0.5)
    c.draw(ellipse(75, 21.6, 1, 0.9), S.STEEL_DARK)
    c.draw(rect(84, 26.4, 93, 30.4, 0.6), S.STEEL_DARK, S.INK, 0.5)
    c.draw(line((93, 27.6), (99, 26.6), width=1.2), S.WOOD_DARK, S.INK, 0.3)
    _checkers(c, 47.5)


def _forest(c: Canvas) -> None:
    sky(c, ((40, 5), (100, 6)))
    c.draw(_band(33, 46), S.PINE_DARK)
    for x, foot, size in ((-8, 43, 1.15), (8, 41, 1.0), (92, 42, 1.05), (106, 43, 1.2), (43, 42, 1.05), (55, 42, 1.1)):
        pine(c, x, foot, size)
    c.draw(_band(41.5, 66), S.SOIL, EDGE, 0.4)
    c.draw(rect(15.5, 17, 41, 43), S.WALL, EDGE)  # hut
    c.draw(polygon((12, 18), (28, 6), (44, 18)), S.ROOF, EDGE)
    c.draw(rect(33, 31, 39, 43), S.WOOD_DARK, EDGE, 0.4)
    _pane(c, 24, 22, 6.6, 7)
    tent = polygon((56, 43), (69, 15), (82.5, 43))
    c.draw(tent, S.ACCENT, S.INK)  # tent
    c.draw(polygon((64, 43), (69, 24), (74, 43)), S.ACCENT_SHADE, S.INK, 0.4)
    c.draw(polygon((66.5, 43), (69, 30), (71.5, 43)), S.INK)
    c.draw(rect(40.5, 34, 55.5, 44), S.WALL, EDGE)  # a well's wall under the landmark
    c.draw(rect(39.5, 33, 56.5, 35, 0.3), S.STONE, EDGE, 0.5)
    c.draw(polygon((42, 46), (56, 46), (59, 51), (40, 51)), S.ACCENT, S.INK, 0.5)  # picnic cloth
    for x in (41.4, 54.4):
        c.draw(polygon((x + 1, 46), (x + 2.6, 46), (x + 3, 51), (x + 0.6, 51)), S.PAINT_WHITE)
    for x, foot, size in ((12.5, 50, 1.2), (89.5, 50, 1.25), (-9, 51, 1.3), (107, 51, 1.3)):
        pine(c, x, foot, size)
    for x, y in ((20, 52), (44, 56), (74, 53), (88, 58), (10, 60), (62, 61), (-8, 57), (108, 58)):
        c.draw(line((x, y), (x - 2.4, y - 3), width=0.9) | line((x, y), (x, y - 4), width=0.9)
               | line((x, y), (x + 2.4, y - 3), width=0.9), S.PINE)  # fmt: skip
    for x, y in ((30, 51), (84, 50), (54, 50)):  # toadstools
        c.draw(rect(x - 0.8, y - 2, x + 0.8, y + 0.8), S.PAINT_WHITE, EDGE, 0.4)
        c.draw(ellipse(x, y - 2.2, 2.6, 2.2) & rect(x - 3, y - 5, x + 3, y - 1.6), S.LAMP_RED, EDGE, 0.4)
    c.draw(ellipse(52, 59, 9, 1.5), S.PUDDLE_SOIL)


def _beach(c: Canvas) -> None:
    sky(c)
    c.draw(_band(24, 44), S.WATER, EDGE, 0.3)
    for x, y in ((-8, 27), (10, 32), (44, 28), (56, 35), (88, 27), (100, 34), (78, 38)):
        c.draw(line((x - 4, y), (x + 4, y), width=0.8), S.WATER_LIGHT)
    c.draw(polygon((88, 24), (100, 24), (98, 26.4), (90, 26.4)), S.PAINT_WHITE, EDGE, 0.4)
    c.draw(polygon((94, 23), (94, 12), (100, 22)), S.PAINT_WHITE, EDGE, 0.4)
    shore = ellipse(16, 58, 62, 19.5) | ellipse(92, 60, 52, 19) | _band(50, 66)
    c.draw(shore.grow(1.6), S.FOAM)
    c.draw(shore, S.SAND)
    c.draw(rect(13, 17, 40, 42), S.WALL, EDGE)  # hut
    c.draw(polygon((9.5, 18), (26.5, 7), (43.5, 18)), S.WOOD_LIGHT, EDGE)
    for y in (11.0, 14.4):
        c.draw(line((26.5 - (y - 7) * 1.4, y), (26.5 + (y - 7) * 1.4, y), width=0.5), S.WOOD_DARK)
    c.draw(rect(16.5, 28, 24, 42), S.WOOD_DARK, EDGE, 0.5)
    _pane(c, 29, 24, 6.4, 6.4)
    c.draw(polygon((7.4, 50), (5, 30), (2.4, 18), (5.2, 17.4), (8, 30), (10.8, 50)), S.TRUNK, EDGE)  # palm
    for dx, dy in ((-12, 2), (-9, -6), (0, -9), (9, -6), (11, 2)):
        x, y = 4, 17
        frond = polygon(
            (x, y - 1), (x + dx * 0.6, y + dy * 0.9 - 2), (x + dx, y + dy + 2.5), (x + dx * 0.5, y + dy * 0.5 + 1.6)
        )
        c.draw(frond.grow(0.7), S.LEAF, EDGE, 0.5)
    c.draw(line((72, 47), (69.5, 14), width=1.4), S.PAINT_WHITE, S.INK, 0.4)
    dome = ellipse(69.5, 26, 16, 17) & rect(53, 8, 87, 25)
    c.draw(dome, S.ACCENT, S.INK)  # sun umbrella
    c.draw(ellipse(69.5, 26, 4.4, 17), S.PAINT_WHITE, clip=dome)
    c.draw(polygon((78, 44), (94, 44), (97, 48), (79, 48)), S.ACCENT, S.INK, 0.5)
    c.draw(rect(39.5, 34, 56.5, 41), S.WALL, EDGE)  # a platform under the landmark
    c.draw(rect(38, 33, 58, 35, 0.3), S.WOOD_LIGHT, EDGE, 0.5)
    c.draw(polygon((42, 42.5), (56, 42.5), (59, 49), (40, 49)), S.ACCENT, S.INK, 0.5)  # towel
    for x in (41.4, 54.4):
        c.draw(polygon((x + 1, 42.5), (x + 2.6, 42.5), (x + 3.2, 49), (x + 0.4, 49)), S.PAINT_WHITE)
    for x, y in ((30, 52), (86, 56), (14, 60), (60, 50)):
        c.draw(ellipse(x, y, 1.3, 0.7), S.STONE)
    for angle in ((0, -2.4), (2.3, -0.8), (1.4, 2.0), (-1.4, 2.0), (-2.3, -0.8)):
        c.draw(line((22, 57), (22 + angle[0], 57 + angle[1]), width=1.3), S.FLOWER)
    c.draw(ellipse(66, 59, 9, 1.5), S.PUDDLE_SAND)


def _library(c: Canvas) -> None:
    c.draw(_band(0, 50), S.PLASTER)
    c.draw(rect(35, 0, 61, 46), S.WALL, S.WOOD, 0.8)
    for x0, x1 in ((-18, 15), (62, 86), (87, 114)):
        _bookcase(c, x0, x1)
    arch = rect(20, 14, 32, 40) | ellipse(26, 14, 6, 6)
    c.draw(arch, S.SKY_0, S.WOOD_DARK, 1.2)
    c.draw(rect(20, 26, 32, 33), S.SKY_1)
    c.draw(rect(20, 33, 32, 40), S.SKY_2)
    c.draw(ellipse(23, 15, 2.1, 2.1), S.SUN_0)
    c.draw(ellipse(29, 16, 2.4, 2.4) - ellipse(30.2, 15.2, 2.0, 2.0), S.MOON_0)
    for x, y in ((22, 20), (26, 11), (30.5, 22), (24, 24)):
        c.draw(ellipse(x, y, 0.55, 0.55), S.STAR_0)
    c.draw(ellipse(29, 33, 2.8, 2.8) & rect(20, 26, 32, 33), S.LOW_SUN_1)
    c.draw(rect(25.6, 8, 26.4, 40), S.WOOD_DARK)
    c.draw(rect(20, 25.6, 32, 26.4), S.WOOD_DARK)
    c.draw(rect(38, 34, 58, 36.4, 0.4), S.WOOD_LIGHT, S.INK, 0.5)  # table under the landmark
    c.draw(rect(40, 36.4, 42.4, 47) | rect(53.6, 36.4, 56, 47), S.WOOD, S.INK, 0.5)
    for x in (91, 101):  # ladder
        c.draw(line((x - 3, 47), (x, 3), width=1.2), S.WOOD_LIGHT, S.INK, 0.4)
    for y in (10, 18, 26, 34, 42):
        c.draw(line((100.4 - y * 0.06 - 9.4, y), (100.6 - y * 0.06, y), width=1.0), S.WOOD_LIGHT, S.INK, 0.3)
    c.draw(_band(46, 66), S.WOOD, S.WOOD_DARK, 0.5)
    for y in (50, 56):
        c.draw(_band(y, y + 0.5), S.WOOD_DARK)
    c.draw(ellipse(48, 57.5, 34, 5.5), S.BOOK_A)
    c.draw(ellipse(48, 57.5, 31, 4.5), S.BOOK_C)
    c.draw(ellipse(48, 57.5, 29.5, 3.9), S.BOOK_A)


def _bookcase(c: Canvas, x0: float, x1: float) -> None:
    c.draw(rect(x0, 1.5, x1, 47, 0.5), S.ACCENT, S.INK)
    spines = (S.BOOK_C, S.BOOK_A, S.BOOK_B, S.CHINA, S.BOOK_D, S.BOOK_A, S.BOOK_C, S.BOOK_B)
    for shelf, top in enumerate((4.0, 15.0, 26.0, 37.0)):
        hole = rect(x0 + 2, top, x1 - 2, top + 8.6)
        c.draw(hole, S.SHELF_BACK)
        x, i = x0 + 2.4, shelf * 3 + int(abs(x0))
        while x < x1 - 4:
            w, h = 2.2 + (i * 7 % 3) * 0.5, 6.2 + (i * 5 % 4) * 0.6
            c.draw(rect(x, top + 8.6 - h, x + w, top + 8.6), spines[i % 8])
            if i % 3 == 0:
                c.draw(rect(x, top + 10.2 - h, x + w, top + 11.0 - h), S.GOLD)
            x, i = x + w + 0.35, i + 1


def _station(c: Canvas) -> None:
    sky(c, ((4, 6), (86, 6)))
    c.draw(rect(-20, 14, 57, 45), S.WALL, EDGE)  # station house
    c.draw(polygon((-20, 15), (-20, 9), (55, 9), (60.5, 15)), S.ROOF, EDGE)
    for x in (-10, 6, 20):
        arch = rect(x, 26, x + 9, 44) | ellipse(x + 4.5, 26, 4.5, 4.5)
        c.draw(arch, S.WINDOW, S.PAINT_WHITE, 0.8)
        c.draw(rect(x + 4.2, 21.5, x + 4.8, 44), S.PAINT_WHITE)
    c.draw(rect(38, 37, 57.5, 45), S.WALL, EDGE)  # a plinth under the landmark
    c.draw(rect(39, 34, 56.5, 37, 0.3), S.STONE, EDGE, 0.5)
    _settle(c, 48, 46.5)
    c.draw(rect(60, 16, 118, 42, 4), S.ACCENT, S.INK)  # train
    c.draw(polygon((60, 42), (60, 22), (64, 16.5), (70, 16), (70, 42)).grow(0.2), S.ACCENT)
    c.draw(rect(62, 20, 69.5, 28, 1), S.WINDOW, S.INK, 0.6)
    for x in (74, 86, 98, 110):
        c.draw(rect(x, 20.5, x + 8.5, 28, 1), S.WINDOW, S.INK, 0.6)
    c.draw(rect(59.6, 31.5, 118, 34), S.PAINT_WHITE)
    c.draw(ellipse(63.6, 38, 1.6, 1.6), S.LAMP_GLOW, S.INK, 0.5)
    c.draw(rect(61, 41, 118, 44), S.METAL_DARK)
    for x in (68, 78, 96, 106):
        c.draw(ellipse(x, 44, 3, 3), S.METAL_DARK, S.INK, 0.5)
        c.draw(ellipse(x, 44, 1.2, 1.2), S.METAL)
    c.draw(_band(46, 66), S.PAVE, EDGE, 0.5)
    c.draw(_band(48, 50.2), S.PAINT_YELLOW)
    for x in range(-18, 116, 12):
        c.draw(line((x, 50.6), (x - 5, 64), width=0.4), S.STONE_DARK)
    c.draw(_band(57, 57.4), S.STONE_DARK)
    c.draw(ellipse(34, 61, 9, 1.4), S.PUDDLE_PAVE)


def _rooftop(c: Canvas) -> None:
    sky(c, ((6, 7), (50, 5), (100, 6)))
    for x, top, w in ((-16, 20, 12), (-2, 15, 9), (9, 22, 12), (38, 24, 9), (50, 19, 8), (86, 17, 10), (99, 23, 15)):
        c.draw(rect(x, top, x + w, 46), S.TOWER_FAR)
    for x, top, w in ((-10, 27, 13), (40, 29, 9), (51, 27, 9), (80, 26, 12), (94, 29, 14)):
        c.draw(rect(x, top, x + w, 46), S.TOWER)
        for i in range(int(w // 3) - 1):
            for y in (top + 2, top + 6, top + 10):
                if (i * 3 + int(y) + int(x)) % 4:
                    c.draw(rect(x + 2 + 3 * i, y, x + 3.4 + 3 * i, y + 1.8), S.WINDOW)
    c.draw(rect(14, 17, 38, 46), S.WALL, EDGE)  # stair house
    c.draw(rect(12.5, 14.4, 39.5, 17.6, 0.3), S.STONE_DARK, EDGE)
    c.draw(rect(18, 29, 27, 45), S.METAL_DARK, EDGE)
    c.draw(ellipse(25.4, 37, 0.7, 0.7), S.GOLD)
    _pane(c, 30, 23, 5, 5)
    for x in (62, 72, 82):  # water tank
        c.draw(line((x * 0.9 + 7.2, 31), (x, 45), width=1.4), S.METAL_DARK, EDGE, 0.4)
    c.draw(line((63, 44), (80, 33), width=0.7) | line((81, 44), (64, 33), width=0.7), S.METAL_DARK)
    c.draw(polygon((60, 15), (72, 6.5), (84, 15)), S.ACCENT_SHADE, S.INK)
    c.draw(rect(61, 15, 83, 32, 1), S.ACCENT, S.INK)
    for y in (19.5, 27):
        c.draw(rect(61, y, 83, y + 1.0), S.ACCENT_SHADE)
    c.draw(_band(39.5, 47), S.WALL, EDGE)  # parapet
    c.draw(_band(38, 40), S.STONE, EDGE, 0.4)
    c.draw(rect(41, 33.6, 55, 38.4, 0.4), S.WALL, EDGE)
    c.draw(rect(41.5, 36.6, 54.5, 45, 0.4), S.ACCENT, S.INK, 0.5)  # rug hung out
    c.draw(rect(41.5, 43, 54.5, 44), S.PAINT_WHITE)
    c.draw(_band(46.5, 66), S.PAVE, EDGE, 0.5)
    for y in (51, 57):
        c.draw(_band(y, y + 0.4), S.STONE_DARK)
    for x in range(-20, 116, 14):
        c.draw(line((x + 4, 46.8), (x - 4, 64), width=0.4), S.STONE_DARK)
    c.draw(ellipse(58, 60, 10, 1.5), S.PUDDLE_PAVE)


def _park(c: Canvas) -> None:
    sky(c)
    c.draw(ellipse(10, 38, 40, 13) | ellipse(80, 38, 50, 12), S.LEAF_DARK)
    c.draw(_band(34, 66), S.GRASS, EDGE, 0.3)
    for x, foot, size in ((-6, 40, 1.15), (104, 40, 1.2), (12, 37, 0.8)):
        tree(c, x, foot, size)
    c.draw(rect(15, 24, 42, 37), S.WALL, EDGE)  # garden wall
    c.draw(rect(13.5, 22, 43, 24.6, 0.3), S.STONE, EDGE, 0.5)
    c.draw(rect(60, 18, 86, 39), S.WALL, EDGE)  # pavilion
    for x in (63, 71.5, 80):
        c.draw(rect(x, 25, x + 4.6, 39) | ellipse(x + 2.3, 25, 2.3, 2.6), S.STONE_DARK, EDGE, 0.4)
    c.draw(polygon((56.5, 19), (61, 12), (73, 6.5), (85, 12), (89.5, 19)), S.ACCENT, S.INK)
    c.draw(polygon((68, 19), (73, 6.5), (78, 19)), S.ACCENT_SHADE)
    c.draw(ellipse(73, 5.6, 1.3, 1.3), S.GOLD, S.INK, 0.4)
    c.draw(rect(57.5, 38, 88.5, 40.6), S.STONE, EDGE, 0.5)
    c.draw(ellipse(12, 46, 24, 4.6), S.WATER, EDGE, 0.5)  # pond
    for x, y in ((4, 45), (16, 47.4), (22, 45)):
        c.draw(line((x - 2.4, y), (x + 2.4, y), width=0.7), S.WATER_LIGHT)
    path = polygon((66, 40.6), (80, 40.6), (74, 48), (60, 54), (50, 66), (14, 66), (34, 54), (58, 47))
    c.draw(path, S.SAND, S.GRASS_DARK, 0.5)
    c.draw(rect(41, 32, 55, 39, 0.3), S.WALL, EDGE)
    c.draw(rect(40, 31.4, 56, 33.4, 0.3), S.STONE, EDGE, 0.5)
    _settle(c, 48, 44.5)
    for x, y in ((8, 56), (88, 54), (94, 60), (16, 60), (-8, 58), (106, 56), (80, 60)):
        c.draw(ellipse(x - 1, y, 1, 0.9) | ellipse(x + 1, y, 1, 0.9) | ellipse(x, y - 1, 1, 0.9), S.FLOWER)
        c.draw(ellipse(x, y, 0.6, 0.6), S.PAINT_YELLOW)
    c.draw(ellipse(84, 50, 8, 1.3), S.PUDDLE_GRASS)
    c.draw(ellipse(40, 60, 8, 1.3), S.PUDDLE_SAND)


_PLACES: dict[str, tuple[Callable[[Canvas], None], float]] = {  # drawing, and where the landmark's foot stands
    "cafe": (_cafe, 33.0),
    "river": (_river, 29.5),
    "street": (_street, 22.6),
    "kitchen": (_kitchen, 30.5),
    "forest": (_forest, 34.2),
    "beach": (_beach, 33.6),
    "library": (_library, 34.0),
    "station": (_station, 34.0),
    "rooftop": (_rooftop, 33.8),
    "park": (_park, 32.0),
}
assert tuple(_PLACES) == PLACES


def place_map(place: str) -> Canvas:
    """The background of `place`, without its landmark."""
    c = Canvas(PLACE_BOX)
    _PLACES[place][0](c)
    return c


def with_feature(background: Canvas, place: str, name: str) -> Canvas:
    """A copy of the background with the landmark `name` standing in its spot."""
    c = Canvas(PLACE_BOX)
    c.codes[:] = background.codes
    c.paste(feature(name), FEATURE_X, _PLACES[place][1])
    return c

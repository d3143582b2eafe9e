"""The places with a roof: cafe, kitchen, library. The composition is told in `moc.world.scenery`."""

from __future__ import annotations

from moc.world.canvas import Canvas, ellipse, line, rect
from moc.world.parts import Scene as S
from moc.world.scenery import EDGE, band, checkers, window


def cafe(c: Canvas) -> None:
    """A counter with cakes and a coffee machine; the awning is the accent."""
    c.draw(band(0, 50), S.PLASTER)
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
    for x in range(65, 112, 11):
        c.draw(rect(x, 38.5, x + 8, 46, 0.5), S.WOOD_DARK)
    c.draw(rect(42, 37.6, 60, 46.6, 0.5), S.SHELF_BACK, S.CHINA, 0.7)  # cakes in the counter
    for left, icing in ((43.4, S.FLOWER), (49, S.FOAM), (54.6, S.PAINT_YELLOW)):
        c.draw(rect(left, 42, left + 4.2, 45.6, 0.4), S.BOOK_C)
        c.draw(rect(left, 40.6, left + 4.2, 42.6, 0.6), icing)
        c.draw(ellipse(left + 2.1, 39.8, 0.9, 0.9), S.LAMP_RED)
    checkers(c, 47)
    c.draw(rect(4.6, 44, 6.4, 56), S.WOOD_DARK, S.INK, 0.4)  # table with a cup
    c.draw(ellipse(5.5, 57, 4.5, 1.2), S.WOOD_DARK, S.INK, 0.4)
    c.draw(ellipse(5.5, 43.5, 9.5, 2.2), S.WOOD_LIGHT, S.INK, 0.5)
    c.draw(rect(3, 38.6, 8, 43, 0.9), S.CHINA, S.INK, 0.5)


def kitchen(c: Canvas) -> None:
    """Cupboards (the accent), a sink, a stove with pots."""
    c.draw(band(0, 50), S.PLASTER)
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
    for cx in (70.5, 75.5, 87.5, 92.5):
        c.draw(ellipse(cx, 32.4, 1.0, 1.0), S.CHINA)
    c.draw(rect(71, 37, 92, 45.5, 0.8), S.INK, S.STEEL_DARK, 0.7)
    c.draw(ellipse(81.5, 45, 7.5, 3.4) & rect(71, 37, 92, 45), S.FIRE)
    c.draw(rect(70, 23.5, 80, 30.4, 1), S.STEEL, S.INK, 0.6)  # pots
    c.draw(rect(69, 22.4, 81, 24.4, 0.6), S.STEEL_DARK, S.INK, 0.5)
    c.draw(ellipse(75, 21.6, 1, 0.9), S.STEEL_DARK)
    c.draw(rect(84, 26.4, 93, 30.4, 0.6), S.STEEL_DARK, S.INK, 0.5)
    c.draw(line((93, 27.6), (99, 26.6), width=1.2), S.WOOD_DARK, S.INK, 0.3)
    checkers(c, 47.5)


def library(c: Canvas) -> None:
    """Painted bookcases (the accent), a tall window, a rug."""
    c.draw(band(0, 50), S.PLASTER)
    c.draw(rect(35, 0, 61, 46), S.WALL, S.WOOD, 0.8)
    for x0, x1 in ((-18, 19.5), (62, 86), (87, 114)):
        _bookcase(c, x0, x1)
    arch = rect(22.5, 13, 32.5, 40) | ellipse(27.5, 13, 5, 5)
    c.draw(arch, S.SKY_0, S.WOOD_DARK, 1.2)
    c.draw(rect(22.5, 26, 32.5, 33), S.SKY_1)
    c.draw(rect(22.5, 33, 32.5, 40), S.SKY_2)
    c.draw(ellipse(25, 15, 1.9, 1.9), S.SUN_0)
    c.draw(ellipse(30, 16, 2.2, 2.2) - ellipse(31.1, 15.3, 1.8, 1.8), S.MOON_0)
    for sx, sy in ((24, 20), (26, 11), (31, 22), (25.5, 24)):
        c.draw(ellipse(sx, sy, 0.55, 0.55), S.STAR_0)
    c.draw(ellipse(30, 33, 2.4, 2.4) & rect(22, 26, 33, 33), S.LOW_SUN_1)
    c.draw(rect(27.1, 8, 27.9, 40), S.WOOD_DARK)
    c.draw(rect(22.5, 25.6, 32.5, 26.4), S.WOOD_DARK)
    _bookcase(c, 37, 59, (36.2,))
    c.draw(rect(35.8, 33.6, 60.2, 35.6, 0.3), S.WOOD_LIGHT, S.INK, 0.5)  # the landmark stands on a low bookcase
    for x in (91, 101):  # ladder
        c.draw(line((x - 3, 47), (x, 3), width=1.2), S.WOOD_LIGHT, S.INK, 0.4)
    for y in (10, 18, 26, 34, 42):
        c.draw(line((100.4 - y * 0.06 - 9.4, y), (100.6 - y * 0.06, y), width=1.0), S.WOOD_LIGHT, S.INK, 0.3)
    c.draw(band(46, 66), S.WOOD, S.WOOD_DARK, 0.5)
    for y in (50, 56):
        c.draw(band(y, y + 0.5), S.WOOD_DARK)
    c.draw(ellipse(48, 57.5, 34, 5.5), S.BOOK_A)
    c.draw(ellipse(48, 57.5, 31, 4.5), S.BOOK_C)
    c.draw(ellipse(48, 57.5, 29.5, 3.9), S.BOOK_A)


def _bookcase(c: Canvas, x0: float, x1: float, shelves: tuple[float, ...] = (4.0, 15.0, 26.0, 37.0)) -> None:
    c.draw(rect(x0, shelves[0] - 2.5, x1, 47, 0.5), S.ACCENT, S.INK)
    spines = (S.BOOK_C, S.BOOK_A, S.BOOK_B, S.CHINA, S.BOOK_D, S.BOOK_A, S.BOOK_C, S.BOOK_B)
    for shelf, top in enumerate(shelves):
        hole = rect(x0 + 2, top, x1 - 2, top + 8.6)
        c.draw(hole, S.SHELF_BACK)
        x, i = x0 + 2.4, shelf * 3 + int(abs(x0))
        while x < x1 - 4:
            w, h = 2.2 + (i * 7 % 3) * 0.5, 6.2 + (i * 5 % 4) * 0.6
            c.draw(rect(x, top + 8.6 - h, x + w, top + 8.6), spines[i % 8])
            if i % 3 == 0:
                c.draw(rect(x, top + 10.2 - h, x + w, top + 11.0 - h), S.GOLD)
            x, i = x + w + 0.35, i + 1

"""The places under the sky. The composition is told in `moc.world.scenery`."""

from __future__ import annotations

from moc.world.canvas import Canvas, ellipse, line, polygon, rect
from moc.world.parts import Scene as S
from moc.world.scenery import EDGE, band, house, pane, pine, settle, sky, tree


def river(c: Canvas) -> None:
    """A sailing boat and a rowing boat (the accents) on the water; the hills and a pier are the wall."""
    sky(c)
    hill = (ellipse(20, 36, 34, 22) | ellipse(82, 36, 40, 19)) & band(0, 31)
    c.draw(hill, S.WALL, EDGE, 0.5)
    c.draw(band(29.5, 47), S.WATER, EDGE, 0.4)
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
    bank = ellipse(16, 62, 60, 16.5) | ellipse(90, 62, 50, 16) | band(50, 66)
    c.draw(bank, S.GRASS, EDGE, 0.5)
    for x, y in ((8, 50), (36, 53), (64, 51), (88, 52), (-6, 54), (104, 54)):
        c.draw(line((x - 1.4, y), (x - 1.8, y - 2.4), width=0.7) | line((x, y), (x, y - 3), width=0.7)
               | line((x + 1.4, y), (x + 1.8, y - 2.4), width=0.7), S.GRASS_DARK)  # fmt: skip
    for x in (-8, -5, -2, 16, 19):  # reeds
        c.draw(line((x, 48), (x + 0.6, 35), width=0.8), S.LEAF_DARK)
        c.draw(ellipse(x + 0.6, 35, 1.0, 2.4), S.TRUNK)
    c.draw(ellipse(52, 60, 9, 1.6), S.PUDDLE_GRASS)


def street(c: Canvas) -> None:
    """A row of houses (the wall) with door, shutters and awning (the accent) along a road."""
    sky(c, ((8, 6), (52, 5), (98, 7)))
    house(c, -20, 12, 20, S.BRICK, S.ROOF_DARK)
    house(c, 88, 116, 18, S.BRICK_DARK, S.ROOF)
    for x in (-12, 0):
        pane(c, x, 25)
        pane(c, x, 35)
    for x in (93, 103):
        pane(c, x, 23)
        pane(c, x, 34)
    house(c, 13, 42, 16, S.WALL, S.ROOF)
    house(c, 57, 87, 16, S.WALL, S.ROOF)
    c.draw(rect(42.6, 24, 56.4, 45), S.WALL, EDGE)
    c.draw(rect(45.5, 33, 53.5, 43), S.WINDOW, S.PAINT_WHITE, 0.7)
    c.draw(polygon((43, 26.4), (56, 26.4), (58, 33), (41, 33)), S.ACCENT, S.INK, 0.5)  # awning
    for cx in (45.5, 51.2):
        c.draw(polygon((cx, 26.4), (cx + 2.2, 26.4), (cx + 2.4, 33), (cx - 0.6, 33)), S.PAINT_WHITE)
    c.draw(rect(44.5, 42.4, 54.5, 45, 0.4), S.ACCENT, S.INK, 0.5)  # flower box
    c.draw(rect(42, 22.5, 57, 25), S.ROOF_DARK, EDGE)
    for x in (18, 31):
        pane(c, x, 20, shutter=S.ACCENT)
    pane(c, 19, 33, 7, 8)
    pane(c, 62.5, 18.6, 5, 6)
    pane(c, 76.5, 18.6, 5, 6)
    door = rect(65, 31, 79, 45) | ellipse(72, 31, 7, 5)
    c.draw(door, S.ACCENT, S.INK, 0.8)  # door
    c.draw(ellipse(76.4, 38, 0.9, 0.9), S.GOLD, S.INK, 0.3)
    c.draw(rect(67.2, 33, 71, 37.6, 0.4) | rect(67.2, 39.4, 71, 43.6, 0.4), S.ACCENT_SHADE)
    c.draw(rect(72.6, 39.8, 76.8, 43.6, 0.4), S.ACCENT_SHADE)
    c.draw(band(45, 51.5), S.PAVE, EDGE, 0.4)
    for x in range(-16, 116, 10):
        c.draw(line((x, 45.6), (x - 2, 51), width=0.4), S.STONE_DARK)
    c.draw(band(51.5, 66), S.ROAD, EDGE, 0.5)
    for x in range(-14, 116, 16):
        c.draw(rect(x, 56.8, x + 9, 58.6), S.PAINT_WHITE)
    c.draw(ellipse(24, 61.2, 10, 1.5), S.PUDDLE_ROAD)
    c.draw(ellipse(80, 49, 7, 1.1), S.PUDDLE_PAVE)


def forest(c: Canvas) -> None:
    """Firs around a hut (the wall) and a tent (the accent)."""
    sky(c, ((40, 5), (100, 6)))
    c.draw(band(33, 46), S.PINE_DARK)
    for x, foot, size in ((-8, 43, 1.15), (8, 41, 1.0), (92, 42, 1.05), (106, 43, 1.2), (43, 42, 1.05), (55, 42, 1.1)):
        pine(c, x, foot, size)
    c.draw(band(41.5, 66), S.SOIL, EDGE, 0.4)
    c.draw(rect(15.5, 17, 41, 43), S.WALL, EDGE)  # hut
    c.draw(polygon((12, 18), (28, 6), (44, 18)), S.ROOF, EDGE)
    c.draw(rect(33, 31, 39, 43), S.WOOD_DARK, EDGE, 0.4)
    pane(c, 24, 22, 6.6, 7)
    tent = polygon((56, 43), (69, 15), (82.5, 43))
    c.draw(tent, S.ACCENT, S.INK)  # tent
    c.draw(polygon((64, 43), (69, 24), (74, 43)), S.ACCENT_SHADE, S.INK, 0.4)
    c.draw(polygon((66.5, 43), (69, 30), (71.5, 43)), S.INK)
    c.draw(rect(40.5, 34, 55.5, 44), S.WALL, EDGE)  # a well's wall under the landmark
    c.draw(rect(39.5, 33, 56.5, 35, 0.3), S.STONE, EDGE, 0.5)
    c.draw(polygon((42, 46), (56, 46), (59, 51), (40, 51)), S.ACCENT, S.INK, 0.5)  # picnic cloth
    for cx in (41.4, 54.4):
        c.draw(polygon((cx + 1, 46), (cx + 2.6, 46), (cx + 3, 51), (cx + 0.6, 51)), S.PAINT_WHITE)
    for cx, foot, size in ((12.5, 50, 1.2), (89.5, 50, 1.25), (-9, 51, 1.3), (107, 51, 1.3)):
        pine(c, cx, foot, size)
    for x, y in ((20, 52), (44, 56), (74, 53), (88, 58), (10, 60), (62, 61), (-8, 57), (108, 58)):
        c.draw(line((x, y), (x - 2.4, y - 3), width=0.9) | line((x, y), (x, y - 4), width=0.9)
               | line((x, y), (x + 2.4, y - 3), width=0.9), S.PINE)  # fmt: skip
    for x, y in ((30, 51), (84, 50), (54, 50)):  # toadstools
        c.draw(rect(x - 0.8, y - 2, x + 0.8, y + 0.8), S.PAINT_WHITE, EDGE, 0.4)
        c.draw(ellipse(x, y - 2.2, 2.6, 2.2) & rect(x - 3, y - 5, x + 3, y - 1.6), S.LAMP_RED, EDGE, 0.4)
    c.draw(ellipse(52, 59, 9, 1.5), S.PUDDLE_SOIL)


def beach(c: Canvas) -> None:
    """Palm, hut (the wall), sun umbrella and towels (the accent) by the sea."""
    sky(c)
    c.draw(band(24, 44), S.WATER, EDGE, 0.3)
    for x, y in ((-8, 27), (10, 32), (44, 28), (56, 35), (88, 27), (100, 34), (78, 38)):
        c.draw(line((x - 4, y), (x + 4, y), width=0.8), S.WATER_LIGHT)
    c.draw(polygon((88, 24), (100, 24), (98, 26.4), (90, 26.4)), S.PAINT_WHITE, EDGE, 0.4)
    c.draw(polygon((94, 23), (94, 12), (100, 22)), S.PAINT_WHITE, EDGE, 0.4)
    shore = ellipse(16, 58, 62, 19.5) | ellipse(92, 60, 52, 19) | band(50, 66)
    c.draw(shore.grow(1.6), S.FOAM)
    c.draw(shore, S.SAND)
    c.draw(rect(13, 17, 40, 42), S.WALL, EDGE)  # hut
    c.draw(polygon((9.5, 18), (26.5, 7), (43.5, 18)), S.WOOD_LIGHT, EDGE)
    for cy in (11.0, 14.4):
        c.draw(line((26.5 - (cy - 7) * 1.4, cy), (26.5 + (cy - 7) * 1.4, cy), width=0.5), S.WOOD_DARK)
    c.draw(rect(16.5, 28, 24, 42), S.WOOD_DARK, EDGE, 0.5)
    pane(c, 29, 24, 6.4, 6.4)
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
    for cx in (41.4, 54.4):
        c.draw(polygon((cx + 1, 42.5), (cx + 2.6, 42.5), (cx + 3.2, 49), (cx + 0.4, 49)), S.PAINT_WHITE)
    for x, y in ((30, 52), (86, 56), (14, 60), (60, 50)):
        c.draw(ellipse(x, y, 1.3, 0.7), S.STONE)
    for angle in ((0, -2.4), (2.3, -0.8), (1.4, 2.0), (-1.4, 2.0), (-2.3, -0.8)):
        c.draw(line((22, 57), (22 + angle[0], 57 + angle[1]), width=1.3), S.FLOWER)
    c.draw(ellipse(66, 59, 9, 1.5), S.PUDDLE_SAND)


def station(c: Canvas) -> None:
    """A station house (the wall) and a train (the accent) at the platform."""
    sky(c, ((4, 6), (86, 6)))
    c.draw(rect(-20, 14, 57, 45), S.WALL, EDGE)  # station house
    c.draw(polygon((-20, 15), (-20, 9), (55, 9), (60.5, 15)), S.ROOF, EDGE)
    for x in (-10, 6, 20):
        arch = rect(x, 26, x + 9, 44) | ellipse(x + 4.5, 26, 4.5, 4.5)
        c.draw(arch, S.WINDOW, S.PAINT_WHITE, 0.8)
        c.draw(rect(x + 4.2, 21.5, x + 4.8, 44), S.PAINT_WHITE)
    c.draw(rect(38, 37, 57.5, 45), S.WALL, EDGE)  # a plinth under the landmark
    c.draw(rect(39, 34, 56.5, 37, 0.3), S.STONE, EDGE, 0.5)
    settle(c, 48, 46.5)
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
    c.draw(band(46, 66), S.PAVE, EDGE, 0.5)
    c.draw(band(48, 50.2), S.PAINT_YELLOW)
    for x in range(-18, 116, 12):
        c.draw(line((x, 50.6), (x - 5, 64), width=0.4), S.STONE_DARK)
    c.draw(band(57, 57.4), S.STONE_DARK)
    c.draw(ellipse(34, 61, 9, 1.4), S.PUDDLE_PAVE)


def rooftop(c: Canvas) -> None:
    """A water tank (the accent) above the skyline; stair house and parapet are the wall."""
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
    pane(c, 30, 23, 5, 5)
    for x in (62, 72, 82):  # water tank
        c.draw(line((x * 0.9 + 7.2, 31), (x, 45), width=1.4), S.METAL_DARK, EDGE, 0.4)
    c.draw(line((63, 44), (80, 33), width=0.7) | line((81, 44), (64, 33), width=0.7), S.METAL_DARK)
    c.draw(polygon((60, 15), (72, 6.5), (84, 15)), S.ACCENT_SHADE, S.INK)
    c.draw(rect(61, 15, 83, 32, 1), S.ACCENT, S.INK)
    for cy in (19.5, 27):
        c.draw(rect(61, cy, 83, cy + 1.0), S.ACCENT_SHADE)
    c.draw(band(39.5, 47), S.WALL, EDGE)  # parapet
    c.draw(band(38, 40), S.STONE, EDGE, 0.4)
    c.draw(rect(41, 33.6, 55, 38.4, 0.4), S.WALL, EDGE)
    c.draw(rect(41.5, 36.6, 54.5, 45, 0.4), S.ACCENT, S.INK, 0.5)  # rug hung out
    c.draw(rect(41.5, 43, 54.5, 44), S.PAINT_WHITE)
    c.draw(band(46.5, 66), S.PAVE, EDGE, 0.5)
    for y in (51, 57):
        c.draw(band(y, y + 0.4), S.STONE_DARK)
    for x in range(-20, 116, 14):
        c.draw(line((x + 4, 46.8), (x - 4, 64), width=0.4), S.STONE_DARK)
    c.draw(ellipse(58, 60, 10, 1.5), S.PUDDLE_PAVE)


def park(c: Canvas) -> None:
    """A pavilion with a painted roof (the accent), a garden wall (the wall), a pond and a path."""
    sky(c)
    c.draw(ellipse(10, 38, 40, 13) | ellipse(80, 38, 50, 12), S.LEAF_DARK)
    c.draw(band(34, 66), S.GRASS, EDGE, 0.3)
    for x, foot, size in ((-6, 40, 1.15), (104, 40, 1.2), (12, 37, 0.8)):
        tree(c, x, foot, size)
    c.draw(rect(15, 24, 42, 37), S.WALL, EDGE)  # garden wall
    c.draw(rect(13.5, 22, 43, 24.6, 0.3), S.STONE, EDGE, 0.5)
    c.draw(rect(60, 18, 86, 39), S.WALL, EDGE)  # pavilion
    for cx in (63, 71.5, 80):
        c.draw(rect(cx, 25, cx + 4.6, 39) | ellipse(cx + 2.3, 25, 2.3, 2.6), S.STONE_DARK, EDGE, 0.4)
    c.draw(polygon((56.5, 19), (61, 12), (73, 6.5), (85, 12), (89.5, 19)), S.ACCENT, S.INK)
    c.draw(polygon((68, 19), (73, 6.5), (78, 19)), S.ACCENT_SHADE)
    c.draw(ellipse(73, 5.6, 1.3, 1.3), S.GOLD, S.INK, 0.4)
    c.draw(rect(57.5, 38, 88.5, 40.6), S.STONE, EDGE, 0.5)
    c.draw(ellipse(12, 46, 24, 4.6), S.WATER, EDGE, 0.5)  # pond
    for cx, cy in ((4, 45), (16, 47.4), (22, 45)):
        c.draw(line((cx - 2.4, cy), (cx + 2.4, cy), width=0.7), S.WATER_LIGHT)
    path = polygon((66, 40.6), (80, 40.6), (74, 48), (60, 54), (50, 66), (14, 66), (34, 54), (58, 47))
    c.draw(path, S.SAND, S.GRASS_DARK, 0.5)
    c.draw(rect(41, 32, 55, 39, 0.3), S.WALL, EDGE)
    c.draw(rect(40, 31.4, 56, 33.4, 0.3), S.STONE, EDGE, 0.5)
    settle(c, 48, 44.5)
    for x, y in ((8, 56), (88, 54), (94, 60), (16, 60), (-8, 58), (106, 56), (80, 60)):
        c.draw(ellipse(x - 1, y, 1, 0.9) | ellipse(x + 1, y, 1, 0.9) | ellipse(x, y - 1, 1, 0.9), S.FLOWER)
        c.draw(ellipse(x, y, 0.6, 0.6), S.PAINT_YELLOW)
    c.draw(ellipse(84, 50, 8, 1.3), S.PUDDLE_GRASS)
    c.draw(ellipse(40, 60, 8, 1.3), S.PUDDLE_SAND)

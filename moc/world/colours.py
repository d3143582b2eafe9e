"""The colour of every part, as tables: characters by their attributes, scenes by time and weather.

Wall, accent, landmarks, props and everything a character wears keep their colours at any hour, so that attributes can
be read off any picture; light and weather change the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moc.world.parts import PARTS, ROLE, Part, Scene
from moc.world.schema import ACCENT, COAT, HAIR, HAT_COLOR, PATTERN, RGB, SCARF, TIMES, WALL, WEATHER

_CHARACTER_RGB: dict[Part, tuple[int, int, int]] = {
    Part.SKIN: (250, 208, 172),
    Part.LINE: (44, 32, 42),
    Part.EYE: (34, 26, 38),
    Part.SHINE: (255, 255, 255),
    Part.CHEEK: (244, 150, 140),
    Part.MOUTH: (190, 70, 74),
    Part.SHOE: (86, 58, 52),
    Part.PANTS: (66, 72, 104),
    Part.CANOPY: (226, 64, 88),
    Part.CANOPY_LIGHT: (255, 226, 120),
    Part.WOOD: (176, 116, 66),
    Part.WOOD_DARK: (128, 80, 48),
    Part.FRONT_LINE: (44, 32, 42),
    Part.INNER_EAR: (244, 166, 166),
    Part.PAGE: (255, 252, 240),
    Part.COVER: (150, 44, 60),
    Part.PHONE: (30, 30, 40),
    Part.GLOW: (110, 244, 250),
    Part.GUITAR: (222, 140, 60),
    Part.GUITAR_DARK: (110, 58, 34),
    Part.BLANKET: (112, 132, 186),
}

# The second colour of a patterned coat: far from the coat in lightness, so that two pixels are enough to see it.
_TRIM = {"yellow": (120, 66, 40), "pink": (134, 36, 92), "white": (70, 78, 110), "orange": (255, 246, 214)}
_LIGHT_TRIM = (255, 250, 232)
_FIXED_RGB: dict[Scene, tuple[int, int, int]] = {
    Scene.INK: (52, 40, 48),
    Scene.GOLD: (222, 172, 62),
    Scene.IVORY: (252, 248, 232),
    Scene.LEAFY: (58, 148, 66),
    Scene.LEAFY_DARK: (30, 98, 52),
    Scene.TERRACOTTA: (190, 92, 58),
    Scene.MARBLE: (206, 208, 214),
    Scene.MARBLE_DARK: (142, 146, 158),
    Scene.LAMP_RED: (222, 62, 44),
    Scene.LAMP_GLOW: (255, 226, 120),
    Scene.TEAL: (28, 150, 156),
    Scene.PAINT_SKY: (130, 196, 232),
    Scene.PROP_WOOD: (170, 110, 62),
    Scene.PROP_WOOD_DARK: (120, 74, 44),
    Scene.PROP_METAL: (96, 102, 116),
    Scene.PROP_RED: (228, 58, 62),
    Scene.PROP_BLUE: (52, 112, 206),
    Scene.PROP_PINK: (244, 122, 172),
    Scene.PROP_BROWN: (142, 86, 52),
    Scene.DUST: (232, 222, 204),
    Scene.STEAM: (250, 250, 252),
    Scene.NOTE: (255, 255, 255),
    Scene.SHADOW: (70, 62, 72),
    Scene.RAIN: (212, 232, 250),
    Scene.FLAKE: (255, 255, 255),
}
_OUTDOOR_RGB: dict[Scene, tuple[int, int, int]] = {
    Scene.GRASS: (134, 186, 92),
    Scene.GRASS_DARK: (104, 158, 74),
    Scene.SAND: (240, 218, 164),
    Scene.PAVE: (198, 192, 184),
    Scene.ROAD: (108, 108, 120),
    Scene.SOIL: (128, 138, 78),
    Scene.EDGE: (84, 72, 78),
    Scene.LEAF: (92, 162, 82),
    Scene.LEAF_DARK: (64, 128, 68),
    Scene.PINE: (44, 112, 80),
    Scene.PINE_DARK: (30, 84, 66),
    Scene.TRUNK: (118, 82, 58),
    Scene.WATER: (72, 148, 208),
    Scene.WATER_LIGHT: (138, 198, 234),
    Scene.FOAM: (236, 246, 250),
    Scene.STONE: (172, 168, 164),
    Scene.STONE_DARK: (128, 124, 124),
    Scene.ROOF: (146, 84, 74),
    Scene.ROOF_DARK: (110, 64, 62),
    Scene.BRICK: (186, 128, 104),
    Scene.BRICK_DARK: (156, 102, 84),
    Scene.TOWER: (122, 138, 164),
    Scene.TOWER_FAR: (158, 176, 200),
    Scene.METAL: (150, 156, 166),
    Scene.METAL_DARK: (84, 88, 100),
    Scene.PAINT_WHITE: (244, 242, 236),
    Scene.PAINT_YELLOW: (246, 206, 84),
    Scene.FLOWER: (244, 150, 170),
}
_INDOOR_RGB: dict[Scene, tuple[int, int, int]] = {
    Scene.WOOD: (164, 112, 72),
    Scene.WOOD_DARK: (110, 72, 50),
    Scene.WOOD_LIGHT: (206, 160, 112),
    Scene.PLASTER: (216, 206, 198),
    Scene.TILE: (236, 230, 220),
    Scene.TILE_DARK: (178, 158, 142),
    Scene.BOARD: (50, 64, 62),
    Scene.CHINA: (248, 246, 240),
    Scene.STEEL: (176, 182, 190),
    Scene.STEEL_DARK: (96, 100, 110),
    Scene.FIRE: (250, 140, 60),
    Scene.BOOK_A: (128, 66, 60),
    Scene.BOOK_B: (86, 96, 116),
    Scene.BOOK_C: (196, 172, 128),
    Scene.BOOK_D: (92, 110, 84),
    Scene.SHELF_BACK: (78, 54, 44),
}
_SKY_RGB = {
    "day": ((104, 182, 238), (146, 206, 246), (194, 228, 248)),
    "sunset": ((124, 88, 158), (232, 122, 112), (255, 190, 110)),
    "night": ((16, 20, 54), (28, 36, 82), (46, 58, 108)),
}
_CLOUD_RGB = {"day": (250, 252, 255), "sunset": (255, 170, 150), "night": (62, 72, 118)}
_WINDOW_RGB = {"day": (136, 170, 190), "sunset": (255, 196, 104), "night": (255, 222, 118)}
_LIGHT = {  # multiplier and offset of lit surfaces: outdoors, indoors
    "day": ((1.0, 1.0, 1.0), (0, 0, 0), (1.0, 1.0, 1.0), (0, 0, 0)),
    "sunset": ((0.90, 0.72, 0.62), (22, 2, 4), (1.0, 0.88, 0.76), (6, 0, 0)),
    "night": ((0.44, 0.50, 0.66), (4, 6, 18), (0.70, 0.62, 0.60), (4, 2, 8)),
}
_GROUNDS = {
    Scene.PUDDLE_GRASS: Scene.GRASS,
    Scene.PUDDLE_SAND: Scene.SAND,
    Scene.PUDDLE_PAVE: Scene.PAVE,
    Scene.PUDDLE_ROAD: Scene.ROAD,
    Scene.PUDDLE_SOIL: Scene.SOIL,
}
_SNOWY = {  # how white snow makes a surface
    Scene.GRASS: 0.92, Scene.GRASS_DARK: 0.78, Scene.SAND: 0.9, Scene.PAVE: 0.9, Scene.ROAD: 0.62, Scene.SOIL: 0.9,
    Scene.LEAF: 0.5, Scene.LEAF_DARK: 0.3, Scene.PINE: 0.4, Scene.PINE_DARK: 0.15, Scene.ROOF: 0.85,
    Scene.TOWER: 0.2, Scene.TOWER_FAR: 0.3, Scene.FLOWER: 0.8,
}  # fmt: skip

Bytes = NDArray[np.uint8]


def scene_palette() -> Bytes:
    """Colours of the scene parts, `[times, weathers, 2, 128, 3]`; the third axis is outdoors, indoors.

    `WALL*` and `ACCENT*` stay black: the caller fills them per story. Time changes light and sky, never the landmarks,
    props and effects; snow whitens grounds and crowns, rain greys the sky and fills the puddles.
    """
    table = np.zeros((len(TIMES), len(WEATHER), 2, ROLE, 3), np.float64)
    for t, time in enumerate(TIMES):
        scale_out, add_out, scale_in, add_in = (np.array(v, np.float64) for v in _LIGHT[time])
        for w, weather in enumerate(WEATHER):
            for indoors in range(2):
                rgb = table[t, w, indoors]
                for part, colour in _FIXED_RGB.items():
                    rgb[part] = colour
                for part, colour in _INDOOR_RGB.items():
                    rgb[part] = np.array(colour) * scale_in + add_in
                for part, colour in _OUTDOOR_RGB.items():
                    base = np.array(colour, np.float64)
                    if weather == "snow":
                        base += (np.array((244, 248, 255)) - base) * _SNOWY.get(part, 0.0)
                    elif weather == "rain":
                        base *= 0.86
                    rgb[part] = base * scale_out + add_out
                _paint_sky(rgb, time, weather)
                rgb[Scene.WINDOW] = _WINDOW_RGB[time]
                for puddle, ground in _GROUNDS.items():
                    rgb[puddle] = rgb[Scene.WATER_LIGHT] * 0.5 + rgb[Scene.SKY_2] * 0.5
                    if weather != "rain":
                        rgb[puddle] = rgb[ground]
    return table.round().clip(0, 255).astype(np.uint8)


def _paint_sky(rgb: NDArray[np.float64], time: str, weather: str) -> None:
    """Set the sky codes of one palette: overcast skies drift to grey and hide sun, moon and stars."""
    grey = {"clear": None, "rain": np.array((122, 134, 152.0)), "snow": np.array((198, 206, 220.0))}[weather]
    if grey is not None:
        grey = grey * {"day": 1.0, "sunset": 0.82, "night": 0.34}[time]
    bands = [np.array(c, np.float64) for c in _SKY_RGB[time]]
    cloud = np.array(_CLOUD_RGB[time], np.float64)
    if grey is not None:
        keep = 0.25 if time == "day" else 0.45
        bands = [b * keep + grey * (1 - keep) for b in bands]
        cloud = cloud * keep + grey * 0.86 * (1 - keep)
    rgb[Scene.SKY_0], rgb[Scene.SKY_1], rgb[Scene.SKY_2] = bands
    rgb[Scene.CLOUD] = cloud
    clear = weather == "clear"
    shown = {
        Scene.SUN_0: (time == "day" and clear, (255, 236, 120), 0),
        Scene.LOW_SUN_1: (time == "sunset" and clear, (255, 240, 170), 1),
        Scene.LOW_SUN_2: (time == "sunset" and clear, (255, 240, 170), 2),
        Scene.MOON_0: (time == "night", (250, 246, 214), 0),
        Scene.STAR_0: (time == "night" and clear, (255, 252, 224), 0),
        Scene.STAR_1: (time == "night" and clear, (255, 252, 224), 1),
    }
    for part, (visible, colour, band) in shown.items():
        rgb[part] = colour if visible else bands[band]


def named(values: tuple[str, ...], factor: float = 1.0) -> Bytes:
    """Colours of schema values by name, `[len(values), 3]`; "none" is black."""
    rgb = np.array([RGB.get(v, (0, 0, 0)) for v in values], np.float64) * factor
    return rgb.round().clip(0, 255).astype(np.uint8)


def character_palette() -> Bytes:
    """Colours of a character's parts that no story changes, `[PARTS, 3]`."""
    table = np.zeros((PARTS, 3), np.uint8)
    for part, colour in _CHARACTER_RGB.items():
        table[part - ROLE] = colour
    return table


def coat_palette() -> Bytes:
    """Colours of the 32 coat codes, `[patterns, coats, 32, 3]`."""
    table = np.zeros((len(PATTERN), len(COAT), 32, 3), np.uint8)
    codes = np.arange(32)
    for p in range(len(PATTERN)):
        second = np.zeros(32, bool) if p == 0 else (codes >> (p - 1) & 1).astype(bool)
        for c, coat in enumerate(COAT):
            table[p, c] = np.where(second[:, None], _TRIM.get(coat, _LIGHT_TRIM), RGB[coat])
    return table


def hair_palettes() -> tuple[Bytes, Bytes, Bytes]:
    """Hair, its shade (darker, but lighter for black), and the muzzle of each hair colour, `[hairs, 3]` each."""
    hair = named(HAIR)
    muzzle = (hair * 0.4 + np.array((255, 244, 230)) * 0.6).round().astype(np.uint8)
    dark = named(HAIR, 0.74)
    dark[HAIR.index("black")] = (78, 74, 92)
    return hair, dark, muzzle


def wall_palettes() -> tuple[Bytes, Bytes]:
    """Wall and its shade, `[walls, 3]` each."""
    return named(WALL), named(WALL, 0.86)


def accent_palettes() -> tuple[Bytes, Bytes]:
    """Accent and its shade, `[accents, 3]` each."""
    return named(ACCENT), named(ACCENT, 0.72)


def hat_palettes() -> tuple[Bytes, Bytes]:
    """Hat and its band, `[hat colours, 3]` each; black is banded lighter, so that the band is seen."""
    band = named(HAT_COLOR, 0.66)
    band[HAT_COLOR.index("black")] = (96, 92, 108)
    return named(HAT_COLOR), band


def scarf_palettes() -> tuple[Bytes, Bytes]:
    """Scarf and its fringe, `[scarves, 3]` each."""
    return named(SCARF), named(SCARF, 0.72)

"""The parts that pictures are made of, as codes.

A pixel of the story world is one uint8 code:

    0           empty
    1..127      scene and effects (`Scene`), coloured per shot by place, time and weather
    128..191    the first role's character (`Part`), coloured per story
    192..255    the second role's character (`Part` + 64)

Sprites are drawn with `Part`s; the compositor sets bit 6 for the second role. Parts from `FRONT` on (hands, ears,
things held) are never covered by a hat or a scarf. What colour a code has: `moc.world.colours`.
"""

from __future__ import annotations

from enum import IntEnum, auto

ROLE = 128  # bit that marks a character's pixel
PARTS = 64  # parts of a character


class Part(IntEnum):
    """Parts of the first role's character.

    `COAT` to `COAT` + 31 are the coat: bit i is set where pattern i + 1 shows its second colour.
    """

    COAT = ROLE
    SKIN = ROLE + 32
    HAIR = auto()
    HAIR_DARK = auto()
    MUZZLE = auto()
    LINE = auto()
    EYE = auto()
    SHINE = auto()
    CHEEK = auto()
    MOUTH = auto()
    SHOE = auto()
    PANTS = auto()
    HAT = auto()
    HAT_DARK = auto()
    SCARF = auto()
    SCARF_DARK = auto()
    CANOPY = auto()
    CANOPY_LIGHT = auto()
    WOOD = auto()
    WOOD_DARK = auto()
    FRONT_LINE = auto()
    SLEEVE = auto()
    HAND = auto()
    FRONT_HAIR = auto()
    INNER_EAR = auto()
    PAGE = auto()
    COVER = auto()
    PHONE = auto()
    GLOW = auto()
    GUITAR = auto()
    GUITAR_DARK = auto()
    BLANKET = auto()


FRONT = int(Part.FRONT_LINE)


class Scene(IntEnum):
    """Parts of places, props and effects."""

    WALL = 1
    WALL_SHADE = auto()
    ACCENT = auto()
    ACCENT_SHADE = auto()
    # landmarks, props and effects: the same at any hour
    INK = auto()
    GOLD = auto()
    IVORY = auto()
    LEAFY = auto()
    LEAFY_DARK = auto()
    TERRACOTTA = auto()
    MARBLE = auto()
    MARBLE_DARK = auto()
    LAMP_RED = auto()
    LAMP_GLOW = auto()
    TEAL = auto()
    PAINT_SKY = auto()
    PROP_WOOD = auto()
    PROP_WOOD_DARK = auto()
    PROP_METAL = auto()
    PROP_RED = auto()
    PROP_BLUE = auto()
    PROP_PINK = auto()
    PROP_BROWN = auto()
    DUST = auto()
    STEAM = auto()
    NOTE = auto()
    SHADOW = auto()
    RAIN = auto()
    FLAKE = auto()
    # sky: three bands from the zenith down, and what shows in them at some hours only
    SKY_0 = auto()
    SKY_1 = auto()
    SKY_2 = auto()
    CLOUD = auto()
    SUN_0 = auto()
    LOW_SUN_1 = auto()
    LOW_SUN_2 = auto()
    MOON_0 = auto()
    STAR_0 = auto()
    STAR_1 = auto()
    # grounds, and their puddles
    GRASS = auto()
    GRASS_DARK = auto()
    SAND = auto()
    PAVE = auto()
    ROAD = auto()
    SOIL = auto()
    PUDDLE_GRASS = auto()
    PUDDLE_SAND = auto()
    PUDDLE_PAVE = auto()
    PUDDLE_ROAD = auto()
    PUDDLE_SOIL = auto()
    # outdoor things that the light changes
    EDGE = auto()
    LEAF = auto()
    LEAF_DARK = auto()
    PINE = auto()
    PINE_DARK = auto()
    TRUNK = auto()
    WATER = auto()
    WATER_LIGHT = auto()
    FOAM = auto()
    STONE = auto()
    STONE_DARK = auto()
    ROOF = auto()
    ROOF_DARK = auto()
    BRICK = auto()
    BRICK_DARK = auto()
    TOWER = auto()
    TOWER_FAR = auto()
    METAL = auto()
    METAL_DARK = auto()
    PAINT_WHITE = auto()
    PAINT_YELLOW = auto()
    WINDOW = auto()
    FLOWER = auto()
    # indoor things
    WOOD = auto()
    WOOD_DARK = auto()
    WOOD_LIGHT = auto()
    PLASTER = auto()
    TILE = auto()
    TILE_DARK = auto()
    BOARD = auto()
    CHINA = auto()
    STEEL = auto()
    STEEL_DARK = auto()
    FIRE = auto()
    BOOK_A = auto()
    BOOK_B = auto()
    BOOK_C = auto()
    BOOK_D = auto()
    SHELF_BACK = auto()

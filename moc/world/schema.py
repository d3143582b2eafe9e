"""What can exist in the story world: every attribute, its values, its colours. Torch-free.

This is the one table that the sampler, the renderer, the captions, the text encoder and the reader share.
A *fact* is (owner, attribute, value): "character 2 wears a red coat", "this shot is wide". Facts are the text
tokens of the built-in model; captions are sentences that say facts, and `moc.world.language` reads them back.

Attributes under `CHARACTER_OPEN` and `PLACE_OPEN` may stay open: when no caption names them, the world draws them
uniformly, once per story, independently of everything else. `KINDS` and `PLACES` are always named.
"""

from __future__ import annotations

from dataclasses import dataclass

# ------------------------------------------------------------------ characters
KINDS = ("woman", "man", "girl", "boy", "cat", "dog", "rabbit", "bear", "robot")
PEOPLE = KINDS[:4]

HAIR = ("ginger", "brown", "black", "white", "golden", "blue")  # hair of people, fur of animals, metal of robots
COAT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
PATTERN = ("plain", "stripes", "pinstripes", "dots", "checks", "star")
HAT = ("none", "cap", "beanie", "top hat", "sun hat", "crown", "bow")
HAT_COLOR = ("red", "yellow", "green", "blue", "purple", "white", "black")  # unseen when hat is "none"
SCARF = ("none", "red", "yellow", "green", "blue", "purple", "white")
SIZE = ("small", "medium", "tall")

# ---------------------------------------------------------------------- places
PLACES = ("cafe", "river", "street", "kitchen", "forest", "beach", "library", "station", "rooftop", "park")
INTERIORS = ("cafe", "kitchen", "library")
WALL = ("cream", "rose", "sage", "sky", "lilac", "sand")  # large quiet surface: wall, house row, hill, pavilion
ACCENT = ("red", "orange", "yellow", "green", "blue", "purple")  # one bright fitting: awning, boat, door, train, tent
FEATURE = ("clock", "plant", "lantern", "flag", "statue", "painting")  # one landmark object of the place

# ----------------------------------------------------------------------- shots
ACTIONS = (
    "stand", "walk", "run", "sit", "wave", "dance", "jump", "drink", "read", "phone", "guitar", "umbrella", "sleep",
)  # fmt: skip
CAMERAS = ("wide", "medium", "close", "pan", "zoom")
TIMES = ("day", "sunset", "night")  # "day" unless a caption says otherwise
WEATHER = ("clear", "rain", "snow")  # "clear" unless a caption says otherwise
PROPS = ("none", "bench", "bicycle", "lamp", "balloon", "suitcase", "flowers", "ball", "table")

CHARACTER_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "hair": HAIR,
    "coat": COAT,
    "pattern": PATTERN,
    "hat": HAT,
    "hat_color": HAT_COLOR,
    "scarf": SCARF,
    "size": SIZE,
}
PLACE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "place": PLACES,
    "wall": WALL,
    "accent": ACCENT,
    "feature": FEATURE,
}
SHOT_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "action": ACTIONS,
    "camera": CAMERAS,
    "time": TIMES,
    "weather": WEATHER,
    "prop": PROPS,
}
CHARACTER_OPEN = ("hair", "coat", "pattern", "hat", "hat_color", "scarf", "size")
PLACE_OPEN = ("wall", "accent", "feature")

MAX_CHARACTERS = 6  # character slots of a story
MAX_SCENES = 6  # scene slots of a story
MAX_CAST = 2  # characters seen in one shot

# --------------------------------------------------------------------- colours
RGB: dict[str, tuple[int, int, int]] = {
    "red": (214, 45, 50),
    "orange": (242, 135, 35),
    "yellow": (252, 212, 50),
    "green": (52, 160, 76),
    "blue": (45, 105, 220),
    "purple": (138, 70, 200),
    "pink": (247, 140, 190),
    "white": (246, 245, 240),
    "black": (38, 36, 46),
    "ginger": (208, 96, 38),
    "brown": (116, 72, 44),
    "golden": (238, 190, 88),
    # quiet surfaces
    "cream": (246, 228, 190),
    "rose": (232, 168, 164),
    "sage": (164, 194, 154),
    "sky": (150, 196, 232),
    "lilac": (190, 170, 220),
    "sand": (214, 178, 120),
}

# ---------------------------------------------------------- slots and fact ids
# Slots say who or what a text token speaks of. Slot 0 is the shot itself.
SLOT_NONE = 0
N_SLOTS = 1 + MAX_CHARACTERS + MAX_SCENES


def character_slot(index: int) -> int:
    """Slot id of character `index` (0-based, below `MAX_CHARACTERS`)."""
    return 1 + index


def scene_slot(index: int) -> int:
    """Slot id of scene `index` (0-based, below `MAX_SCENES`)."""
    return 1 + MAX_CHARACTERS + index


@dataclass(frozen=True, order=True)
class Fact:
    """One statement: the thing in `slot` has `attribute` = `value` (e.g. slot 1, "coat", "red")."""

    slot: int
    attribute: str
    value: str


FACT_PAD = 0
_TABLES: dict[str, tuple[str, ...]] = {**CHARACTER_ATTRIBUTES, **PLACE_ATTRIBUTES, **SHOT_ATTRIBUTES}
FACTS: tuple[tuple[str, str], ...] = (
    ("pad", "pad"),
    *((attribute, value) for attribute, values in _TABLES.items() for value in values),
    ("cut", "continue"),  # said by a shot that goes on where the one before it stopped; a cut is not said
)
FACT_ID: dict[tuple[str, str], int] = {fact: i for i, fact in enumerate(FACTS)}
FACT_OFFSET: dict[str, int] = {attribute: FACT_ID[attribute, values[0]] for attribute, values in _TABLES.items()}
N_FACTS = len(FACTS)

# A text token is one thing and all that is said of it: (slot, fact, fact, ...), 0 where nothing is said. Every
# attribute has a column of its own. Fixed places, so that every story of one shape shares a layout: the global caption
# has a token for each character and scene slot, a shot's caption one for the shot, its scene and each of its cast.
COLUMNS: dict[str, int] = {
    **{name: 1 + i for i, name in enumerate((*CHARACTER_ATTRIBUTES, "action"))},
    **{name: 1 + i for i, name in enumerate(PLACE_ATTRIBUTES)},
    **{name: 1 + i for i, name in enumerate(("camera", "time", "weather", "prop", "cut"))},
}
TOKEN_SIZE = 1 + max(COLUMNS.values())
GLOBAL_TOKENS = MAX_CHARACTERS + MAX_SCENES
CAPTION_TOKENS = 2 + MAX_CAST

# --------------------------------------------------------------------- picture
WIDTH, HEIGHT, FPS = 96, 64, 8

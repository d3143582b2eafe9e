"""Palettes: the colour of every part code in every shot of a batch of stories."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from moc.world import colours
from moc.world.parts import PARTS, ROLE, Part, Scene
from moc.world.schema import CHARACTER_ATTRIBUTES, INTERIORS, KINDS, MAX_CAST, PEOPLE, PLACES
from moc.world.story import StoryBatch

COLUMN = {name: i for i, name in enumerate(CHARACTER_ATTRIBUTES)}
_GROUND = {  # what a shadow falls on
    "cafe": Scene.TILE_DARK, "river": Scene.GRASS, "street": Scene.ROAD, "kitchen": Scene.TILE_DARK,
    "forest": Scene.SOIL, "beach": Scene.SAND, "library": Scene.WOOD, "station": Scene.PAVE, "rooftop": Scene.PAVE,
    "park": Scene.GRASS,
}  # fmt: skip


def pick(table: Tensor, slots: Tensor) -> Tensor:
    """Rows of `table` `[B, slots, A]` named by `slots` `[B, ...]` (negative ones give row 0)."""
    flat = slots.clamp(min=0).flatten(1)
    rows = table.gather(1, flat[..., None].expand(-1, -1, table.shape[-1]))
    return rows.view(*slots.shape, table.shape[-1])


@lru_cache(maxsize=8)
def _colours(device: torch.device) -> dict[str, Tensor]:
    """The colour tables of `moc.world.parts`, packed, on `device`."""

    def pack(table: colours.Bytes) -> Tensor:
        rgb = torch.from_numpy(table).to(device=device, dtype=torch.int32)
        return rgb[..., 0] | rgb[..., 1] << 10 | rgb[..., 2] << 20

    hair, hair_dark, muzzle = colours.hair_palettes()
    scene = colours.scene_palette()
    ground = [_GROUND[p] for p in PLACES]
    shadow = (scene[:, :, [int(p in INTERIORS) for p in PLACES], ground] * 0.74).astype("uint8")
    wall, wall_dark = colours.wall_palettes()
    accent, accent_dark = colours.accent_palettes()
    hat, hat_dark = colours.hat_palettes()
    scarf, scarf_dark = colours.scarf_palettes()
    tables = {
        "scene": scene,
        "shadow": shadow,
        "character": colours.character_palette(),
        "coat": colours.coat_palette(),
        "hair": hair,
        "hair_dark": hair_dark,
        "muzzle": muzzle,
        "wall": wall,
        "wall_dark": wall_dark,
        "accent": accent,
        "accent_dark": accent_dark,
        "hat": hat,
        "hat_dark": hat_dark,
        "scarf": scarf,
        "scarf_dark": scarf_dark,
    }
    return {name: pack(table) for name, table in tables.items()}


def shot_palettes(stories: StoryBatch) -> Tensor:
    """The colour of every code in every shot, `[B, S, 256]` int32: red, green and blue in ten bits each, red lowest."""
    colour = _colours(stories.scene.device)
    scene = pick(stories.scenes, stories.scene)
    place, wall, accent = scene[..., 0], scene[..., 1], scene[..., 2]
    indoors = torch.tensor([p in INTERIORS for p in PLACES], device=place.device).long()[place]
    palette = torch.empty((*place.shape, 256), dtype=torch.int32, device=place.device)
    palette[..., :ROLE] = colour["scene"][stories.time, stories.weather, indoors]
    palette[..., Scene.SHADOW] = colour["shadow"][stories.time, stories.weather, place]
    palette[..., Scene.WALL] = colour["wall"][wall]
    palette[..., Scene.WALL_SHADE] = colour["wall_dark"][wall]
    palette[..., Scene.ACCENT] = colour["accent"][accent]
    palette[..., Scene.ACCENT_SHADE] = colour["accent_dark"][accent]

    who = pick(stories.characters, stories.cast).clamp(min=0)
    look = {name: who[..., column] for name, column in COLUMN.items()}
    block = palette[..., ROLE:].unflatten(-1, (MAX_CAST, PARTS))
    block[:] = colour["character"]
    block[..., : Part.SKIN - ROLE] = colour["coat"][look["pattern"], look["coat"]]
    coat, hair = colour["coat"][0, look["coat"], 0], colour["hair"][look["hair"]]
    person = torch.tensor([k in PEOPLE for k in KINDS], device=place.device)[look["kind"]]
    values = {
        Part.HAIR: hair,
        Part.FRONT_HAIR: hair,
        Part.HAIR_DARK: colour["hair_dark"][look["hair"]],
        Part.MUZZLE: colour["muzzle"][look["hair"]],
        Part.SLEEVE: coat,
        Part.HAND: torch.where(person, colour["character"][Part.SKIN - ROLE], hair),
        Part.HAT: colour["hat"][look["hat_color"]],
        Part.HAT_DARK: colour["hat_dark"][look["hat_color"]],
        Part.SCARF: colour["scarf"][look["scarf"]],
        Part.SCARF_DARK: colour["scarf_dark"][look["scarf"]],
    }
    for part, value in values.items():
        block[..., part - ROLE] = value
    return palette

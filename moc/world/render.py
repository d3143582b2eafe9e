"""Renders stories: a batch of integer tables in, pictures out, vectorised on CPU and CUDA.

Every picture is first composed as part codes on a grid of 2 x 2 samples a pixel: a place, the weather, a prop, and up
to two characters with their headwear, each one table look-up whose row and column offsets are found per frame (all
transforms are scalings and mirrorings, so rows and columns separate). A palette per shot then turns codes into colours,
and four samples make a pixel. Masks and boxes are read off the same codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moc.errors import MocError
from moc.world import painting
from moc.world.canvas import RES
from moc.world.effects import PHASES
from moc.world.motion import PLACE_FOCUS, Motion, motion
from moc.world.painting import Figure, Layers, Spots
from moc.world.palette import COLUMN, pick, shot_palettes
from moc.world.parts import Scene
from moc.world.schema import ACTIONS, FEATURE, HEIGHT, INTERIORS, MAX_CAST, PLACES, WIDTH
from moc.world.sprites import SAMPLES_X, SAMPLES_Y, SLEEPERS, SUPERSAMPLE, Atlas, Sheet, atlas
from moc.world.story import StoryBatch


@dataclass
class Rendered:
    """Pictures of B stories, S shots and F frames, and where the characters are in them.

    Attributes:
        frames: uint8 `[B, S, F, 3, HEIGHT, WIDTH]`, RGB.
        masks: uint8 `[B, S, F, HEIGHT, WIDTH]` or None: 0 scene, 1 + role where that character is seen (things it
            holds included, puffs and notes not).
        worn: bool `[B, S, F, HEIGHT, WIDTH]` or None: whether a pixel shows a hat, a scarf or a coat with a pattern.
        boxes: float32 `[B, S, F, MAX_CAST, 4]` or None: x0, y0, x1, y1 in pixels around each character's mask, x1 and
            y1 exclusive; -1 where nobody is seen.
    """

    frames: Tensor
    masks: Tensor | None = None
    boxes: Tensor | None = None
    worn: Tensor | None = None


def render(
    stories: StoryBatch,
    *,
    frames: int = 64,
    start: int | Tensor = 0,
    device: torch.device | str | None = None,
    shots: slice | None = None,
    masks: bool = False,
    worn: bool = False,
) -> Rendered:
    """Pictures of `stories`, a deterministic function of the batch.

    Args:
        stories: B stories of S shots.
        frames: F, frames per shot.
        start: first frame within each shot's own time line, one for all or a tensor that broadcasts to `[B, S]` (S
            after `shots`). Frames `start` to `start + frames` equal that slice of a longer render.
        device: where to render; the batch's own device by default.
        shots: which shots to render; all by default.
        masks: whether to return masks and boxes as well.
        worn: whether to return `Rendered.worn` as well.

    Raises:
        MocError: if `frames` is below 1 or `start` is negative.
    """
    if frames < 1:
        raise MocError(f"frames must be at least 1, got {frames}")
    device = torch.device(device) if device is not None else stories.scene.device
    stories = stories.to(device)
    if shots is not None:
        stories = _of_shots(stories, shots)
    b, s = stories.scene.shape
    start = torch.as_tensor(start, device=device, dtype=torch.int64)
    if bool((start < 0).any()):
        raise MocError(f"start must not be negative, got {int(start.min())}")
    time = (start.expand(b, s)[..., None] + torch.arange(frames, device=device)).flatten()
    shot = torch.arange(b * s, device=device).repeat_interleave(frames)

    sprites = atlas(device)
    looks = _looks(stories)
    palette = shot_palettes(stories).flatten()
    out = torch.empty((b * s * frames, 3, HEIGHT, WIDTH), dtype=torch.uint8, device=device)
    mask = torch.empty((b * s * frames, HEIGHT, WIDTH), dtype=torch.uint8, device=device) if masks else None
    shows = torch.empty((b * s * frames, HEIGHT, WIDTH), dtype=torch.bool, device=device) if worn else None
    step = painting.AT_ONCE.get(device.type, 64)
    for first in range(0, len(time), step):
        part = slice(first, first + step)
        layers = _layers(sprites, looks, time[part], shot[part])
        out[part], seen, dressed = painting.paint(layers, palette, masks, worn)
        if mask is not None and seen is not None:
            mask[part] = seen
        if shows is not None and dressed is not None:
            shows[part] = dressed
    shape = (b, s, frames)
    result = Rendered(out.view(*shape, 3, HEIGHT, WIDTH))
    if mask is not None:
        result.masks = mask.view(*shape, HEIGHT, WIDTH)
        result.boxes = _boxes(mask).view(*shape, MAX_CAST, 4)
    if shows is not None:
        result.worn = shows.view(*shape, HEIGHT, WIDTH)
    return result


def _of_shots(stories: StoryBatch, shots: slice) -> StoryBatch:
    return StoryBatch(
        characters=stories.characters,
        characters_named=stories.characters_named,
        scenes=stories.scenes,
        scenes_named=stories.scenes_named,
        **{name: getattr(stories, name)[:, shots] for name in _SHOT_FIELDS},
    )


_SHOT_FIELDS = ("scene", "cast", "action", "camera", "time", "weather", "prop", "free")


@dataclass
class _Looks:
    """What each shot shows, flat over shots (N = B * S); R = MAX_CAST."""

    place: Tensor  # [N] sprite of the place
    outdoors: Tensor  # [N] bool
    weather: Tensor  # [N]
    prop: Tensor  # [N]
    camera: Tensor  # [N]
    present: Tensor  # [N, R] bool
    kind: Tensor  # [N, R]
    action: Tensor  # [N, R]
    size: Tensor  # [N, R]
    headwear: Tensor  # [N, R] sprite of hat and scarf
    patterned: Tensor  # [N, R] bool, whether the coat has a pattern
    free: Tensor  # [N, 16]


def _looks(stories: StoryBatch) -> _Looks:
    scene = pick(stories.scenes, stories.scene).flatten(0, 1)
    who = pick(stories.characters, stories.cast).flatten(0, 1).clamp(min=0)
    device = scene.device
    indoors = torch.tensor([p in INTERIORS for p in PLACES], device=device)
    return _Looks(
        place=scene[:, 0] * len(FEATURE) + scene[:, 3],
        outdoors=~indoors[scene[:, 0]],
        weather=stories.weather.flatten(),
        prop=stories.prop.flatten(),
        camera=stories.camera.flatten(),
        present=stories.cast.flatten(0, 1) >= 0,
        kind=who[..., COLUMN["kind"]],
        action=stories.action.flatten(0, 1),
        size=who[..., COLUMN["size"]],
        headwear=who[..., COLUMN["hat"]] * 2 + (who[..., COLUMN["scarf"]] > 0),
        patterned=who[..., COLUMN["pattern"]] > 0,
        free=stories.free.flatten(0, 1),
    )


def _samples(count: int, device: torch.device) -> Tensor:
    """Centres of the samples along an axis, in pixels."""
    return (torch.arange(count, device=device, dtype=torch.float32) + 0.5) / SUPERSAMPLE


def _sample(sheet: Sheet, u: Tensor, v: Tensor, sprite: Tensor) -> Spots:
    """Spots of one sprite `[n]` a frame.

    u `[n, SAMPLES_X]` and v `[n, SAMPLES_Y]` are where the samples of a frame fall in the sprite, in its own samples.
    """
    column = (u.floor() + 1).clamp(0, sheet.columns - 1).to(torch.int32)
    row = (v.floor() + 1).clamp(0, sheet.rows - 1).to(torch.int32) * sheet.columns
    return Spots(sheet.codes, row + (sprite * sheet.size).to(torch.int32)[:, None], column)


def _layers(sprites: Atlas, looks: _Looks, time: Tensor, shot: Tensor) -> Layers:
    """What n frames are made of; `time` and `shot` are `[n]`."""
    device = time.device
    present, action, kind = looks.present[shot], looks.action[shot], looks.kind[shot]
    free = looks.free[shot]
    m = motion(time, looks.camera[shot], action, present, kind, looks.size[shot], free)
    xs, ys = _samples(SAMPLES_X, device), _samples(SAMPLES_Y, device)

    box = sprites.places.box
    u = ((xs - m.place_x[:, None]) / m.place_scale[:, None] + (PLACE_FOCUS[0] - box[0])) * RES
    v = ((ys - m.place_y[:, None]) / m.place_scale[:, None] + (PLACE_FOCUS[1] - box[1])) * RES
    place = _sample(sprites.places, u, v, looks.place[shot])

    box = sprites.props.box
    u = ((xs - m.prop_x[:, None]) / m.prop_scale[:, None] - box[0]) * RES
    v = ((ys - m.prop_y[:, None]) / m.prop_scale[:, None] - box[1]) * RES
    prop = _sample(sprites.props, u, v, looks.prop[shot])

    body = (kind * len(ACTIONS) + action) * PHASES + m.phase
    asleep = (action == ACTIONS.index("sleep")) & (m.flip < 0)
    body = torch.where(asleep, SLEEPERS + kind * PHASES + m.phase, body)
    figures = []
    for layer in range(MAX_CAST):
        role = (m.far_role + layer) % MAX_CAST
        figures.append(_figure(sprites, m, role, body, looks.headwear[shot], present, xs, ys))
    return Layers(
        place=place,
        fall=_fall(sprites, looks.weather[shot], time, free[:, 14]),
        # indoors rain and snow show in the windows: over codes of the sky alone
        reach=torch.where(looks.outdoors[shot], 255, Scene.STAR_1 - Scene.SKY_0).to(torch.uint8),
        prop=prop,
        figures=figures,
        colours=(shot * 256).to(torch.int32),
        patterned=looks.patterned[shot],
    )


def _figure(
    sprites: Atlas, m: Motion, role: Tensor, body: Tensor, wear: Tensor, present: Tensor, xs: Tensor, ys: Tensor
) -> Figure:
    """Each frame's character in `role` `[n]`."""

    def of(values: Tensor) -> Tensor:
        return values.gather(1, role[:, None])

    x, y, scale, flip, body = of(m.x), of(m.y), of(m.scale), of(m.flip), of(body)
    box, hat_box = sprites.bodies.box, sprites.headwear.box
    u = ((xs - x) * flip / scale - box[0]) * RES
    v = ((ys - y) / scale - box[1]) * RES
    u = torch.where(of(present), u, -2.0)  # nobody: onto the empty borders
    figure = _sample(sprites.bodies, u, v, body[:, 0])
    head = sprites.head[body[:, 0]]
    u = u.floor() - (head[:, :1] + hat_box[0] * RES)
    v = v.floor() - (head[:, 1:] + hat_box[1] * RES)
    return Figure(figure, _sample(sprites.headwear, u, v, of(wear)[:, 0]), role)


def _fall(sprites: Atlas, weather: Tensor, time: Tensor, shift: Tensor) -> Spots:
    """Rain and snow."""
    device = time.device
    start = (shift * SAMPLES_Y).floor().long()
    down = torch.where(weather == 1, 22, 4)
    across = torch.where(weather == 1, -7, 1)
    row = (torch.arange(SAMPLES_Y, device=device) - (down * time + start)[:, None]) % SAMPLES_Y
    column = (torch.arange(SAMPLES_X, device=device) - (across * time)[:, None]) % SAMPLES_X
    row = row + weather[:, None] * SAMPLES_Y
    return Spots(sprites.weather.flatten(), (row * SAMPLES_X).to(torch.int32), column.to(torch.int32))


def _boxes(mask: Tensor) -> Tensor:
    """Boxes `[n, MAX_CAST, 4]` of the masks `[n, HEIGHT, WIDTH]`."""
    boxes = []
    for role in range(MAX_CAST):
        seen = mask == role + 1
        edges = []
        for axis, length in ((1, WIDTH), (2, HEIGHT)):
            line = seen.any(axis)
            where = torch.arange(length, device=mask.device)
            edges.append((torch.where(line, where, length).amin(-1), torch.where(line, where, -2).amax(-1) + 1))
        (x0, x1), (y0, y1) = edges
        box = torch.stack([x0, y0, x1, y1], -1).float()
        boxes.append(torch.where(x1[:, None] > 0, box, -1.0))
    return torch.stack(boxes, 1)

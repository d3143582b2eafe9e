"""Where everything is in every frame: cameras, positions, facing and phases, as tensors.

All of it is a function of the frame's number within its shot, so any window of a shot equals the same slice of the
whole. What no caption tells comes from `StoryBatch.free`. N is the number of frames in flat order (story, shot, frame),
R = `MAX_CAST` the roles; lengths are pixels of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moc.world.effects import PHASES
from moc.world.schema import ACTIONS, CAMERAS, KINDS, SIZE, WIDTH

SHOT_FRAMES = 64  # a pan or zoom takes this long, then runs back
PAN = 13.0  # how far a pan reaches to either side
ZOOM_LEVEL = 1.3

# A camera's level: 0 wide, 1 medium, 2 close; between them everything is interpolated.
_LEVEL = {"wide": 0.0, "medium": 1.0, "close": 2.0, "pan": 0.0, "zoom": 0.0}
_FIGURE_SCALE, _FIGURE_SCALE_TWO = (1.0, 1.48, 2.05), (1.0, 1.44, 1.8)
_FOOT, _FOOT_TWO = (59.0, 62.5, 76.0), (59.0, 62.0, 72.0)  # y of the ground under a medium-sized character
_FOOT_BY_SIZE = (0.0, 6.0, 25.0)  # tall ones stand lower in near shots, so that heads stay in the frame
_APART_ONE, _APART_ONE_JITTER = (4.0, 21.0, 24.0), (15.0, 4.0, 1.5)  # from the middle, one character
_APART_TWO, _APART_TWO_JITTER = (18.0, 23.5, 25.5), (5.0, 2.0, 0.7)  # two characters
_STRIDE_ONE, _STRIDE_TWO = (30.0, 9.0, 4.0), (7.0, 6.0, 3.0)  # how far walkers go from their place
_PROP_SCALE, _PROP_FOOT = (1.0, 1.25, 1.5), (55.5, 60.0, 63.0)
_PLACE_SCALE, _PLACE_SHIFT = (1.0, 1.2, 1.42), (0.0, 1.0, 2.0)
PLACE_FOCUS = (48.0, 22.0)

_SIZE = {"small": 0.8, "medium": 1.0, "tall": 1.2}
_KIND = {"girl": 0.93, "boy": 0.93, "bear": 1.03}
_RATE = {"stand": 0.5, "walk": 1.0, "run": 1.0, "sit": 0.5, "wave": 1.0, "dance": 1.0, "jump": 0.5, "drink": 0.5,
         "read": 0.5, "phone": 1.0, "guitar": 1.0, "umbrella": 0.5, "sleep": 0.5}  # phases a frame  # fmt: skip
_SPEED = {"walk": (1.25, 1.1, 0.6), "run": (1.9, 1.6, 0.9)}  # pixels a frame, by level
_CLOSE_DROP = {
    "guitar": -5.0,
    "read": -2.0,
    "sit": -4.0,
    "umbrella": 4.0,
    "jump": 6.0,
    "sleep": -4.0,
}  # keeps things in the frame
_INWARD = (
    "wave",
    "drink",
    "phone",
    "guitar",
    "umbrella",
    "sleep",
)  # turned to the middle in close shots: arms reach far
_TRACKING = (0.0, 1.0, 2.5)  # how much of a stride the camera follows: the place slides by


@dataclass
class Motion:
    """Everything that moves, one row a frame.

    Attributes:
        place_scale: `[N]`, place_x, place_y `[N]`: frame = (place - focus) * scale + (x, y).
        x, y: `[N, R]` ground point of each role; scale, `[N, R]`, pixels a sprite unit; flip `[N, R]` -1 or 1.
        phase: `[N, R]` int64 phase of the action.
        far_role: `[N]` the role to draw first.
        prop_x, prop_y, prop_scale: `[N]`.
    """

    place_scale: Tensor
    place_x: Tensor
    place_y: Tensor
    x: Tensor
    y: Tensor
    scale: Tensor
    flip: Tensor
    phase: Tensor
    far_role: Tensor
    prop_x: Tensor
    prop_y: Tensor
    prop_scale: Tensor


def _triangle(u: Tensor) -> Tensor:
    """Triangle wave of period 1 between -1 and 1, rising through 0 at u = 0."""
    return 1.0 - 4.0 * ((u + 0.25) % 1.0 - 0.5).abs()


def _at(level: Tensor, knots: tuple[float, float, float]) -> Tensor:
    """Piecewise linear value of `knots` at levels 0, 1, 2."""
    low = level.clamp(0, 1)
    return knots[0] + low * (knots[1] - knots[0]) + (level - low) * (knots[2] - knots[1])


def _table(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def motion(
    time: Tensor, camera: Tensor, action: Tensor, present: Tensor, kind: Tensor, size: Tensor, free: Tensor
) -> Motion:
    """Positions in every frame.

    Args:
        time: `[N]` int64 frame number within the shot.
        camera: `[N]`; action, kind, size `[N, R]`: indices into the schema (any value where nobody is).
        present: `[N, R]` bool, whether the role is cast.
        free: `[N, 16]` the shot's free numbers.
    """
    device = time.device
    t = time.to(torch.float32)
    there_and_back = 0.5 - 0.5 * _triangle(t / (2 * (SHOT_FRAMES - 1)) + 0.25)  # 0 at the start, 1 at frame 63
    zoom = camera == CAMERAS.index("zoom")
    pan = camera == CAMERAS.index("pan")
    level = _table([_LEVEL[c] for c in CAMERAS], device)[camera] + zoom * ZOOM_LEVEL * there_and_back
    slide = pan * PAN * (2 * there_and_back - 1) * torch.where(free[:, 1] < 0.5, -1.0, 1.0)

    two = present.all(-1)
    swap = torch.where(free[:, 0] < 0.5, -1.0, 1.0)
    side = torch.stack([swap, -swap], -1)  # -1 left, 1 right
    spread = free[:, 2:4]
    apart_one = _at(level, _APART_ONE)[:, None] + _at(level, _APART_ONE_JITTER)[:, None] * spread
    apart_two = _at(level, _APART_TWO)[:, None] + _at(level, _APART_TWO_JITTER)[:, None] * (spread - 0.5)
    base = WIDTH / 2 + side * torch.where(two[:, None], apart_two, apart_one)

    x, heading, track = _stride(t, level, zoom, action, two, free, base)
    face = torch.where(free[:, 4:6] < 0.5, -1.0, 1.0)
    reaches = _table([float(a in _INWARD) for a in ACTIONS], device)[action] > 0
    face = torch.where(reaches & (level > 1.5)[:, None], -side, face)
    flip = torch.where(heading != 0, heading, face)

    bigness = _table([_SIZE[s] for s in SIZE], device)[size]
    near = torch.where(two, _at(level, _FIGURE_SCALE_TWO), _at(level, _FIGURE_SCALE))[:, None]
    scale = near * bigness * _table([_KIND.get(k, 1.0) for k in KINDS], device)[kind]
    drop = _table([_CLOSE_DROP.get(a, 0.0) for a in ACTIONS], device)[action] * (level - 1).clamp(0, 1)[:, None]
    y = (
        torch.where(two, _at(level, _FOOT_TWO), _at(level, _FOOT))[:, None]
        + _at(level, _FOOT_BY_SIZE)[:, None] * (bigness - 1)
        + drop
        + 2.4 * free[:, 10:12]
        - 1.2
    )

    rate = _table([_RATE[a] for a in ACTIONS], device)[action]
    phase = (t[:, None] * rate + (PHASES * free[:, 6:8]).floor()).floor().long() % PHASES

    prop_side = torch.where(present[:, 0] & ~two, -swap, torch.where(free[:, 12] < 0.5, -1.0, 1.0))
    prop_apart = torch.where(two, 3.0 * (free[:, 13] - 0.5), prop_side * (17.0 + 4.0 * free[:, 13]))
    return Motion(
        place_scale=_at(level, _PLACE_SCALE),
        place_x=PLACE_FOCUS[0] - slide - track,
        place_y=PLACE_FOCUS[1] + _at(level, _PLACE_SHIFT),
        x=x - slide[:, None],
        y=y,
        scale=scale,
        flip=flip,
        phase=phase,
        far_role=(y[:, 0] > y[:, 1]).long(),
        prop_x=WIDTH / 2 + prop_apart - slide,
        prop_y=_at(level, _PROP_FOOT),
        prop_scale=_at(level, _PROP_SCALE),
    )


def _stride(
    t: Tensor, level: Tensor, zoom: Tensor, action: Tensor, two: Tensor, free: Tensor, base: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of walkers and runners, who go to and fro; their heading (0 for those who stay); camera tracking.

    The camera follows in near shots when all who are there go the same way, so that walking is seen without legs.
    """
    moving = torch.zeros_like(action, dtype=torch.bool)
    speed = torch.zeros_like(base)
    start_level = torch.where(zoom, 0.0, level)
    for name, knots in _SPEED.items():
        here = action == ACTIONS.index(name)
        moving |= here
        speed = torch.where(here, _at(start_level, knots)[:, None], speed)
    reach = torch.where(two, _at(level, _STRIDE_TWO), _at(level, _STRIDE_ONE))[:, None]
    reach_0 = torch.where(two, _at(start_level, _STRIDE_TWO), _at(start_level, _STRIDE_ONE))[:, None]
    together = two & (action[:, 0] == action[:, 1])
    shift = torch.stack([free[:, 8], torch.where(together, free[:, 8], free[:, 9])], -1)
    u = shift + t[:, None] * speed / (4 * reach_0)
    # one walker crosses a wide picture, so the way is around the middle
    centre = torch.where(
        two[:, None], base, torch.lerp(torch.full_like(base, WIDTH / 2), base, level.clamp(0, 1)[:, None])
    )
    x = torch.where(moving, centre + reach * _triangle(u), base)
    rising = torch.where((u + 0.25) % 1.0 < 0.5, 1.0, -1.0)
    follow = moving[:, 0] & (together | ~two)
    track = torch.where(follow, _at(level, _TRACKING) * reach[:, 0] * _triangle(u[:, 0]), 0.0)
    return x, torch.where(moving, rising, 0.0), track

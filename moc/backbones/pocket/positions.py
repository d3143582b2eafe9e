"""Rotary positions of the pocket model: shot, frame within the shot, row, column; some channels unrotated.

3D RoPE that advances shot after shot (LCT, section 3). Frames count from the start of their own shot and a separate
low-frequency index counts shots, so a stream longer than training keeps every frame position in distribution; the
unrotated pairs let a pooled key match by content alone. Both choices are ours; the paper does not say.

Training shows stories of eight shots, at any place up to shot 64. Later shots of a stream, and earlier shots that lie
further back than any did in training, are put where training has shown some: `seat` and `seen_from`. The paper's outer
loop (App. I) is after the same, positions within the trained length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moc.backbones.pocket.config import PocketConfig

# Rotation per step of the shot index: 64 shots turn the fastest pair by one full circle.
_SHOT_RATES = (0.1, 0.05, 0.025, 0.0125)


def _axis_rates(pairs: int, longest: float) -> Tensor:
    """Geometric angular rates from 1 radian a step down to one turn in about `longest` steps."""
    slowest = 2 * torch.pi / longest
    return torch.logspace(0, torch.log10(torch.tensor(slowest)).item(), pairs)


def rotation_table(config: PocketConfig) -> Tensor:
    """Angular rates `[pairs, 4]`: what one step of (shot, frame, row, column) adds to each rotated pair.

    Of every 32 pairs, 8 stay unrotated, 4 follow the shot, 6 the frame, 7 the row and 7 the column.
    """
    pairs = config.head_dim // 2
    shot = max(1, pairs * 4 // 32)
    frame = max(1, pairs * 6 // 32)
    space = max(1, pairs * 7 // 32)
    table = torch.zeros(pairs, 4)
    at = pairs - (shot + frame + 2 * space)
    rates = torch.tensor(_SHOT_RATES)
    table[at : at + shot, 0] = rates[torch.arange(shot) % len(rates)]
    table[at + shot : at + shot + frame, 1] = _axis_rates(frame, 64.0)
    table[at + shot + frame : at + shot + frame + space, 2] = _axis_rates(space, 32.0)
    table[at + shot + frame + space :, 3] = _axis_rates(space, 48.0)
    return table


REACH = 7  # shots back that training has shown
LAST_SEAT = 64  # the highest shot index that training has shown


def seat(number: int) -> int:
    """The shot index that shot `number` of a stream gets while it is drawn, and its stored keys with it."""
    return min(number, LAST_SEAT)


def seen_from(number: int, earlier: int) -> int:
    """The shot index at which shot `number` sees the `earlier` one: at most `REACH` shots back."""
    return seat(number) - min(number - earlier, REACH)


def move(x_BHLD: Tensor, table: Tensor, shots: int) -> Tensor:
    """Keys, or means of keys, of one shot, turned as if its index were higher by `shots`. Exact up to rounding."""
    if not shots:
        return x_BHLD
    (pairs,) = table[:, 0].nonzero(as_tuple=True)
    angle = shots * table[pairs, 0]
    other = pairs + x_BHLD.shape[-1] // 2
    first, second = x_BHLD[..., pairs].float(), x_BHLD[..., other].float()
    moved = x_BHLD.clone()
    moved[..., pairs] = (first * angle.cos() - second * angle.sin()).to(x_BHLD.dtype)
    moved[..., other] = (second * angle.cos() + first * angle.sin()).to(x_BHLD.dtype)
    return moved


def shot_positions(config: PocketConfig, shot: int, latent_frames: int, first_frame: int = 0) -> Tensor:
    """Positions `[caption_tokens + video tokens, 4]` of one shot; its caption sits at (shot, 0, 0, 0)."""
    rows, columns = config.grid
    caption = torch.zeros(config.caption_tokens, 4)
    caption[:, 0] = shot
    frame = torch.arange(first_frame, first_frame + latent_frames, dtype=torch.float32)
    grid = torch.stack(
        torch.meshgrid(
            torch.tensor([float(shot)]),
            frame,
            torch.arange(rows, dtype=torch.float32) + 1,
            torch.arange(columns, dtype=torch.float32) + 1,
            indexing="ij",
        ),
        dim=-1,
    )
    return torch.cat([caption, grid.reshape(-1, 4)])


def stream_positions(config: PocketConfig, shots: Sequence[tuple[int, int, int]]) -> Tensor:
    """Positions `[L, 4]` of a whole stream: the global text at the origin, then each (shot, frames, first frame)."""
    parts = [torch.zeros(config.global_tokens, 4)]
    parts += [shot_positions(config, shot, frames, first) for shot, frames, first in shots]
    return torch.cat(parts)


def rotations(positions: Tensor, table: Tensor, shot_offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotation of every token.

    Args:
        positions: `[L, 4]`.
        table: `[pairs, 4]` of `rotation_table`.
        shot_offset: `[B]` added to the shot index of every token but the global text (training draws it at random,
            so that later shots of long streams are in distribution).

    Returns:
        Two `[1 or B, L, 1, pairs]` float32 tensors.
    """
    angle = (positions @ table.T)[None]
    if shot_offset is not None:
        in_shot = (positions[:, 0] > 0).to(angle.dtype)
        angle = angle + shot_offset[:, None, None] * in_shot[None, :, None] * table[:, 0]
    angle = angle[:, :, None]
    return angle.cos(), angle.sin()


def rotate(x_BLHD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate channel pairs (i, i + D/2) of `[B, L, H, D]` by the given angles."""
    first, second = x_BLHD.chunk(2, dim=-1)
    cos, sin = cos.to(x_BLHD.dtype), sin.to(x_BLHD.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

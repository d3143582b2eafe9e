"""Rotary positions of the pocket model: shot, frame within the shot, row, column; some channels unrotated.

3D RoPE that advances shot after shot (LCT, section 3). Frames count from the start of their own shot and a separate
low-frequency index counts shots, so a stream longer than training keeps every frame position in distribution; the
unrotated pairs let a pooled key match by content alone. Both choices are ours; the paper does not say.

Training shows stories of a few shots (eight in the shipped weights'), at any place up to shot 64. Later shots of a
stream, and earlier ones further back than any were in training (`PocketConfig.reach`), are put where it has shown some:
`seat` and `nearer`. The paper's outer loop (App. I) is after the same, positions within the trained length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moc.backbones.pocket.config import MAX_TRAINED_SHOT, PocketConfig

# Rotation per step of the shot index: 64 shots turn the fastest pair by one full circle.
_SHOT_RATES = (0.1, 0.05, 0.025, 0.0125)


def _axis_rates(pairs: int, longest: float) -> Tensor:
    """Geometric angular rates from 1 radian a step down to one turn in about `longest` steps."""
    slowest = 2 * torch.pi / longest
    return torch.logspace(0, torch.log10(torch.tensor(slowest)).item(), pairs)


def _pairs(pairs: int) -> tuple[int, int, int]:
    """How many of a head's pairs follow the shot, the frame, and the row or the column."""
    return max(1, pairs * 4 // 32), max(1, pairs * 6 // 32), max(1, pairs * 7 // 32)


def _shot_pairs(pairs: int) -> slice:
    """The pairs that follow the shot; those before are not rotated."""
    shot, frame, space = _pairs(pairs)
    at = pairs - (shot + frame + 2 * space)
    return slice(at, at + shot)


def rotation_table(config: PocketConfig) -> Tensor:
    """Angular rates `[pairs, 4]`: what one step of (shot, frame, row, column) adds to each rotated pair.

    Of every 32 pairs, 8 stay unrotated, 4 follow the shot, 6 the frame, 7 the row and 7 the column.
    """
    pairs = config.head_dim // 2
    shot, frame, space = _pairs(pairs)
    table = torch.zeros(pairs, 4)
    at = _shot_pairs(pairs).start
    rates = torch.tensor(_SHOT_RATES)
    table[at : at + shot, 0] = rates[torch.arange(shot) % len(rates)]
    table[at + shot : at + shot + frame, 1] = _axis_rates(frame, 64.0)
    table[at + shot + frame : at + shot + frame + space, 2] = _axis_rates(space, 32.0)
    table[at + shot + frame + space :, 3] = _axis_rates(space, 48.0)
    return table


def seat(number: int) -> int:
    """The shot index that shot `number` of a stream gets while it is drawn, and its stored keys with it."""
    return min(number, MAX_TRAINED_SHOT)


def nearer(number: int, earlier: int, reach: int) -> int:
    """How far the stored keys of shot `earlier` must move so that shot `number` sees them at most `reach` shots back.

    Training has no shots further apart. All that would lie there are seen at the same distance.
    """
    return seat(number) - min(number - earlier, reach) - seat(earlier)


def move(x: Tensor, table: Tensor, shots: Tensor | int) -> Tensor:
    """Keys, or means of keys of one shot, `[..., n, D]`, turned as if their shot's index were higher by `shots`.

    Args:
        table: of `rotation_table`, on the device of `x`.
        shots: of each of the n, or of all.

    Returns:
        The same up to one rounding of what turns.
    """
    first = _shot_pairs(table.shape[0])
    second = slice(first.start + table.shape[0], first.stop + table.shape[0])
    angle = torch.as_tensor(shots, device=x.device)[..., None] * table[first, 0]
    a, b = x[..., first].float(), x[..., second].float()
    moved = x.clone()
    moved[..., first] = (a * angle.cos() - b * angle.sin()).to(x.dtype)
    moved[..., second] = (b * angle.cos() + a * angle.sin()).to(x.dtype)
    return moved


def shot_positions(config: PocketConfig, shot: int, latent_frames: int, first_frame: int = 0) -> Tensor:
    """Positions `[caption_tokens + video tokens, 4]` of one shot, (shot, frame, row, column); its caption sits at
    (shot, 0, 0, 0), and video stands in the order of `patchify`, rows and columns counted from 1."""
    rows, columns = config.grid
    caption = torch.zeros(config.caption_tokens, 4)
    caption[:, 0] = shot
    frame = torch.arange(first_frame, first_frame + latent_frames, dtype=torch.float32)
    at, column, row = torch.meshgrid(
        frame,
        torch.arange(columns, dtype=torch.float32) + 1,
        torch.arange(rows, dtype=torch.float32) + 1,
        indexing="ij",
    )
    grid = torch.stack([torch.full_like(at, shot), at, row, column], dim=-1)
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
    if x_BLHD.device.type == "cpu" and not torch.is_grad_enabled():  # without the four products in between
        half = torch.broadcast_shapes(first.shape, cos.shape)
        out = x_BLHD.new_empty(*half[:-1], 2 * half[-1])
        one, other = out.chunk(2, dim=-1)
        torch.mul(first, cos, out=one).addcmul_(second, sin, value=-1)
        torch.mul(second, cos, out=other).addcmul_(first, sin)
        return out
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

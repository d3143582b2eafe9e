"""What moved where between frames, by comparing blocks of pixels: no weights, exact for whole-pixel shifts.

Frames become grey and, where they are large, small: the shorter side at most `SIDE` pixels, so that a displacement
means the same for every size of picture. Blocks are 8x8 pixels, one every 4. A displacement is whole pixels, at most
`REACH` each way; equal matches go to the smaller one, through a price a pixel that is below what a real edge costs.
Blocks that a displacement would carry over the frame's edge are left out, so nothing is invented there. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SIDE = 64
CELL = 4
REACH = 6
PRICE = 0.25  # grey levels a pixel of displacement
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def grey(frames: np.ndarray) -> np.ndarray:
    """float32 `[F, h, w]` grey frames in 0 to 255, their shorter side at most `SIDE` pixels, averaged down.

    Args:
        frames: uint8 `[F, H, W, 3]`, RGB.

    Raises:
        ValueError: another dtype or shape, or a side below 24 pixels, where no block has room to move.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [F, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    height, width = frames.shape[1:3]
    factor = SIDE / min(height, width)
    if factor >= 1:
        small = frames.astype(np.float32) @ _LUMA
    else:
        from PIL import Image

        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = np.stack(
            [np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BOX), np.float32) @ _LUMA for f in frames]
        )
    if min(small.shape[1:]) < 2 * REACH + 3 * CELL:
        raise ValueError(f"frames must be at least {2 * REACH + 3 * CELL} pixels a side, got {width}x{height}")
    return small


def displacements() -> Iterator[tuple[int, int]]:
    """Every (dy, dx), the smaller first."""
    span = range(-REACH, REACH + 1)
    yield from sorted(((dy, dx) for dy in span for dx in span), key=lambda d: (abs(d[0]) + abs(d[1]), d))


def shifted(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """`[..., h', w']`: what lies (dy, dx) beside each pixel of the inner picture, a margin of `REACH` left out."""
    height, width = inner_size(images)
    top, left = REACH + dy, REACH + dx
    return images[..., top : top + height, left : left + width]


def inner_size(images: np.ndarray) -> tuple[int, int]:
    """Height and width of the inner picture: whole cells."""
    height, width = ((side - 2 * REACH) // CELL * CELL for side in images.shape[-2:])
    return height, width


def block_means(values: np.ndarray) -> np.ndarray:
    """`[..., h, w]` per pixel to `[..., h / 4 - 1, w / 4 - 1]`: the mean of each block of 2x2 cells."""
    *rest, height, width = values.shape
    cells = values.reshape(*rest, height // CELL, CELL, width // CELL, CELL).mean(axis=(-3, -1))
    tall = cells[..., 1:, :] + cells[..., :-1, :]
    blocks: np.ndarray = (tall[..., 1:] + tall[..., :-1]) / 4
    return blocks


@dataclass(frozen=True)
class Flow:
    """Displacements between frames, per block.

    Attributes:
        dy, dx: int `[F - 1, rows, columns]`, pixels of the small picture, from a frame to the next.
        cost: float32, mean grey difference that is left after the displacement.
    """

    dy: np.ndarray
    dx: np.ndarray
    cost: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """float32 `[F - 1, rows, columns]`, pixels."""
        return np.hypot(self.dy, self.dx).astype(np.float32)


def block_flow(images: np.ndarray) -> Flow:
    """Where each block of a frame went to in the next one.

    Args:
        images: float32 `[F, h, w]` of `grey`, at least two frames.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(images) < 2:
        raise ValueError(f"flow needs at least two frames, got {len(images)}")
    here = shifted(images[:-1], 0, 0)
    best: np.ndarray | None = None
    for dy, dx in displacements():
        cost = block_means(np.abs(here - shifted(images[1:], dy, dx)))
        price = cost + PRICE * (abs(dy) + abs(dx))
        if best is None:
            best, left = price, cost
            flow_y, flow_x = np.zeros(cost.shape, np.int16), np.zeros(cost.shape, np.int16)
            continue
        better = price < best
        np.copyto(best, price, where=better)
        np.copyto(left, cost, where=better)
        flow_y[better], flow_x[better] = dy, dx
    return Flow(flow_y, flow_x, left)

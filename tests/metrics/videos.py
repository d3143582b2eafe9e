"""Videos with known answers: still, panned by whole pixels, noise, a jump."""

from __future__ import annotations

import numpy as np


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 `[height, width, 3]`: soft random spots, different everywhere, so that a shift can be found."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3)).astype(np.float32)
    fine = np.kron(coarse, np.ones((4, 4, 1), np.float32))
    soft = (fine[:-4, :-4] + fine[4:, :-4] + fine[:-4, 4:] + fine[2:-2, 2:-2]) / 4
    return soft[:height, :width].astype(np.uint8)


def pan(frames: int, height: int = 64, width: int = 96, dy: int = 0, dx: int = 0, seed: int = 0) -> np.ndarray:
    """uint8 `[frames, height, width, 3]`: a camera over a large still texture, moved (dy, dx) pixels a frame."""
    down, right = abs(dy) * frames, abs(dx) * frames
    whole = texture(height + down, width + right, seed)
    starts = [(i * dy if dy >= 0 else down + i * dy, i * dx if dx >= 0 else right + i * dx) for i in range(frames)]
    return np.stack([whole[y : y + height, x : x + width] for y, x in starts])


def still(frames: int, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """The same picture all the time."""
    return pan(frames, height, width, seed=seed)


def noise(frames: int, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """Every pixel of every frame drawn anew."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3)).astype(np.uint8)

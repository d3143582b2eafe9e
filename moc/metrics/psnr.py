"""PSNR to another video of the same story: agreement with it, not quality. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from moc.metrics.metric import Metric

PSNR = Metric(
    "psnr", "PSNR\nto ref",
    "peak signal-to-noise ratio to the reference's video: agreement with it, not quality; 100 stands for equal",
    0.0, 100.0, "neither", source="ITU-T J.340", form="{:.1f}", unit="dB",
)  # fmt: skip

EQUAL = 100.0
"""Stands for infinity, which JSON and means can't hold; a single different byte in a minute of video is below it."""


def psnr(shots: Iterable[np.ndarray], reference: Iterable[np.ndarray]) -> float:
    """10 log10(255^2 / mean squared difference) over every byte of both videos, at most `EQUAL`.

    Args:
        shots, reference: uint8 `[F, H, W, 3]` a shot, of the same shapes, held one at a time.

    Raises:
        ValueError: the shapes differ.
    """
    squares, count = 0.0, 0
    for one, other in zip(shots, reference, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"videos must be of one shape, got {list(one.shape)} and {list(other.shape)}")
        squares += float(np.square(one.astype(np.float32) - other).sum(dtype=np.float64))
        count += one.size
    return EQUAL if squares == 0 else min(EQUAL, 10 * math.log10(255**2 * count / squares))

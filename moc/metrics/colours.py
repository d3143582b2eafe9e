"""Colours of places, ours: do shots of one place have the same colours? For any video; needs no weights.

A light stand-in where the story world's reader can't read. It sees walls and lights, and the size of people in front of
them: a close shot differs from a wide one of the same place, with every kind of attention. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from moc.metrics.metric import Metric

PLACE_COLOURS = Metric(
    "place_colours", "place\ncolours",
    "overlap of the colour histograms of shots that play in one scene, the mean over all pairs of such shots",
    0.0, 1.0, "higher",
)  # fmt: skip

BINS = 8  # of each of red, green and blue


def histogram(frames: np.ndarray) -> np.ndarray:
    """float64 `[512]`, sums to 1: how often each of 8x8x8 colours is seen in uint8 `[F, H, W, 3]`."""
    low = (frames // (256 // BINS)).astype(np.int32)
    index = (low[..., 0] * BINS + low[..., 1]) * BINS + low[..., 2]
    counts = np.bincount(index.ravel(), minlength=BINS**3)
    return counts / counts.sum()


def place_colours(shots: Mapping[int, np.ndarray], scenes: Mapping[int, str | None]) -> float | None:
    """The mean overlap (sum of the smaller shares) between shots of the same scene.

    Args:
        shots: uint8 `[F, H, W, 3]` by shot number.
        scenes: the scene of each shot, None where the story does not say.

    Returns:
        0 (no colour in common) to 1; None where no scene has two shots.
    """
    named = {number: histogram(frames) for number, frames in shots.items() if scenes.get(number)}
    overlaps = [
        float(np.minimum(named[one], named[other]).sum())
        for one, other in combinations(named, 2)
        if scenes[one] == scenes[other]
    ]
    return float(np.mean(overlaps)) if overlaps else None

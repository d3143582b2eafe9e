"""SSIM to another video of the same story: agreement in structure, not quality. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from moc.metrics.metric import Metric

SSIM = Metric(
    "ssim", "SSIM\nto ref",
    "structural similarity to the reference's video, frame by frame: agreement with it, not quality",
    -1.0, 1.0, "neither", source="Wang et al., IEEE TIP 2004",
)  # fmt: skip

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_RADIUS, _SIGMA = 5, 1.5
_WEIGHTS = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
_WEIGHTS /= _WEIGHTS.sum()


def ssim(shots: Iterable[np.ndarray], reference: Iterable[np.ndarray]) -> float:
    """The mean over all frames of the mean SSIM of their grey pictures.

    As the authors have it: a Gaussian window of 11 pixels with sigma 1.5, C1 and C2 from 0.01 and 0.03, windows that
    reach over the edge left out. Sums weigh values as they are, without the correction for small samples.

    Args:
        shots, reference: uint8 `[F, H, W, 3]` a shot, of the same shapes, at least 11 pixels a side; held one at a
            time.

    Raises:
        ValueError: the shapes differ or are too small.
    """
    values: list[float] = []
    for one, other in zip(shots, reference, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"videos must be of one shape, got {list(one.shape)} and {list(other.shape)}")
        if min(one.shape[1:3]) <= 2 * _RADIUS:
            raise ValueError(f"SSIM needs at least {2 * _RADIUS + 1} pixels a side, got {list(one.shape[1:3])}")
        values += [_frame(x @ _LUMA, y @ _LUMA) for x, y in zip(one, other, strict=True)]
    return float(np.mean(values))


def _frame(x: np.ndarray, y: np.ndarray) -> float:
    """Of two grey pictures, float64 `[H, W]` in 0 to 255: in float32 the variances would drown in their squares."""
    mean_x, mean_y = _blur(x), _blur(y)
    # clipped: rounding may leave a flat picture a variance a little below zero
    var_x = np.maximum(_blur(x * x) - mean_x**2, 0)
    var_y = np.maximum(_blur(y * y) - mean_y**2, 0)
    shared = _blur(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * shared + _C2) / (var_x + var_y + _C2)
    return float((light * structure).mean())


def _blur(x: np.ndarray) -> np.ndarray:
    """Gaussian mean around each pixel whose window is whole."""
    for axis in (0, 1):
        size = x.shape[axis] - 2 * _RADIUS
        x = np.add.reduce([w * x.take(np.arange(i, i + size), axis) for i, w in enumerate(_WEIGHTS)])
    return x

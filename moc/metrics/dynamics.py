"""Dynamic degree, ours: the share of shots in which something really moves.

The rule is VBench's (Huang et al., CVPR 2024): look at eight frames a second; a frame moves when the mean of its
largest twentieth of displacements exceeds 6 pixels for a picture of 256 pixels height; a shot is dynamic when a quarter
of its frames move. VBench estimates displacements with a network (RAFT); here blocks are matched. Neither high nor low
is good: a story of sleepers should be low. Noise counts as motion, which the smoothness gives away. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moc.metrics.flow import SIDE, block_flow, grey
from moc.metrics.metric import Metric

DYNAMIC_DEGREE = Metric(
    "dynamic_degree", "dynamic\ndegree",
    "share of shots in which something moves, by VBench's rule on displacements of blocks; not VBench's number",
    0.0, 1.0, "neither", form="{:.2f}",
)  # fmt: skip
MOTION = Metric(
    "motion", "motion",
    "how far the most mobile twentieth of the picture moves a second, in heights of the picture",
    0.0, None, "neither", form="{:.3f}", unit="heights/s",
)  # fmt: skip

RATE = 8.0  # frames a second that are looked at
LIMIT = 6.0 * SIDE / 256  # pixels of the small picture
MOST_MOBILE = 0.05


def mobility(frames: np.ndarray, fps: float) -> np.ndarray:
    """float `[n]`: pixels that the most mobile twentieth of each frame that is looked at moves, in the small picture.

    Args:
        frames: uint8 `[F, H, W, 3]`; fps: frames a second.

    Returns:
        one a pair of neighbours among the frames looked at; empty for fewer than two.
    """
    seen = frames[:: max(1, round(fps / RATE))]
    if len(seen) < 2:
        return np.zeros(0, np.float32)
    images = grey(seen)
    length = block_flow(images).length.reshape(len(images) - 1, -1)
    most = max(1, round(length.shape[1] * MOST_MOBILE))
    # displacements are of the picture at its working size, which is smaller than SIDE for tiny pictures
    top = np.sort(length, axis=1)[:, -most:].mean(axis=1) * (SIDE / min(images.shape[1:]))
    return np.asarray(top)


def dynamic_degree(moved: Sequence[np.ndarray]) -> float | None:
    """The share of shots that are dynamic.

    Args:
        moved: `mobility` of each shot.

    Returns:
        0 to 1; None where no shot has two frames.
    """
    dynamic = [int((one > LIMIT).sum()) >= max(1, round((len(one) + 1) / 4)) for one in moved if len(one)]
    return float(np.mean(dynamic)) if dynamic else None


def motion(moved: Sequence[np.ndarray], fps: float) -> float | None:
    """Heights of the picture a second, the mean over all frames; None where no shot has two frames."""
    every = [one for one in moved if len(one)]
    if not every:
        return None
    rate = fps / max(1, round(fps / RATE))
    return float(np.concatenate(every).mean()) / SIDE * rate

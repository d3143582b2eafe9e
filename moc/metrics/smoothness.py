"""Motion smoothness, ours: how well each frame lies between its neighbours.

As in VBench's motion smoothness (Huang et al., CVPR 2024), a frame is foretold from the two around it, and the score is
(255 - mean difference) / 255. There a network interpolates; here blocks are matched: the displacement under which
the frame before and the one after agree best is halfway there, so their mean foretells the block between. Smooth
motion at a steady pace scores 1 whatever its speed, as long as it is within six pixels a frame at 64 pixels height;
flicker, jumps and noise score less. A still video scores 1 too: read it beside the dynamic degree. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from moc.metrics.flow import PRICE, block_means, displacements, grey, shifted
from moc.metrics.metric import Metric

SMOOTHNESS = Metric(
    "motion_smoothness", "smooth-\nness",
    "how well each frame is foretold by its two neighbours, along the motion; without weights, not VBench's number",
    0.0, 1.0, "higher", form="{:.4f}",
)  # fmt: skip


def motion_smoothness(shots: Iterable[np.ndarray]) -> float | None:
    """The mean over all frames that have two neighbours in their shot; cuts don't count.

    Args:
        shots: uint8 `[F, H, W, 3]` a shot, held one at a time.

    Returns:
        0 to 1; None where no shot has three frames.
    """
    errors = [shot_errors(grey(frames)) for frames in shots if len(frames) >= 3]
    return 1 - float(np.concatenate(errors).mean()) / 255 if errors else None


def shot_errors(images: np.ndarray) -> np.ndarray:
    """float32 `[F - 2]`: mean grey difference between each inner frame and what its neighbours foretell."""
    before, between, after = images[:-2], shifted(images[1:-1], 0, 0), images[2:]
    best: np.ndarray | None = None
    for dy, dx in displacements():
        first, last = shifted(before, -dy, -dx), shifted(after, dy, dx)
        price = block_means(np.abs(first - last)) + PRICE * (abs(dy) + abs(dx))
        error = block_means(np.abs(between - (first + last) / 2))
        if best is None:
            best, chosen = price, error
            continue
        better = price < best
        np.copyto(best, price, where=better)
        np.copyto(chosen, error, where=better)
    errors: np.ndarray = chosen.mean(axis=(1, 2))
    return errors

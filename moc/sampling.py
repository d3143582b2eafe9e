"""Rectified-flow sampling with x-prediction: timestep grids and the solver step, for any backbone.

z_t = (1 - t) x + t noise (LCT, SD3), t = 1 is noise. A model predicts x; one step from t to t' keeps that prediction
fixed: z' = (t'/t) z + (1 - t'/t) x, which is both Euler on the velocity and first-order DPM-Solver++. The second-order
step extrapolates x from the last two predictions in log signal-to-noise (DPM-Solver++ 2M).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


REVISION = 5
"""Counts changes after which the same story, seed and weights give other videos: runs of before are drawn anew."""


def timesteps(steps: int, shift: float = 1.0, last: float = 0.0) -> list[float]:
    """`steps + 1` timesteps from 1 down to 0, evenly spaced in u and shifted: t = s u / (1 + (s - 1) u).

    Args:
        steps: model evaluations.
        shift: above 1 spends more of them near noise (SD3, equation 23).
        last: timestep of the last evaluation, and the others are a grid of one step less; 0, or what is no lower than
            that grid ends by itself, for an even grid. With a high shift and few steps the last evaluation would see
            mostly noise, and what it can't tell from that, such as the limbs of who runs, it blurs.

    Raises:
        ValueError: fewer than one step, a shift that is not positive, or a last timestep that is not in [0, 1).
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not shift > 0 or not math.isfinite(shift):
        raise ValueError(f"shift must be a positive number, got {shift}")
    if not 0 <= last < 1:
        raise ValueError(f"the last timestep must be at least 0 and below 1, got {last}")
    if last and steps > 1:
        others = timesteps(steps - 1, shift)[:-1]
        if last < others[-1]:
            return [*others, last, 0.0]
    grid = [1 - i / steps for i in range(steps + 1)]
    return [shift * u / (1 + (shift - 1) * u) for u in grid]


@dataclass
class Solver:
    """Advances one latent over a timestep grid; keeps the last prediction for the second-order step.

    Attributes:
        grid: `timesteps(...)`.
        second_order: use the 2M extrapolation (the first and the last step are first-order).
    """

    grid: list[float]
    second_order: bool = True
    _last: tuple[float, Tensor] | None = field(default=None, repr=False)

    def step(self, index: int, z: Tensor, x: Tensor) -> Tensor:
        """From `grid[index]` to `grid[index + 1]`: latent `z` and prediction `x`, same shape, to the next latent."""
        t, target = self.grid[index], self.grid[index + 1]
        estimate = x
        if self.second_order and self._last is not None and target > 0:
            before, x_before = self._last
            if before < 1:
                ratio = (_log_snr(t) - _log_snr(before)) / (_log_snr(target) - _log_snr(t))
                estimate = x + (x - x_before) / (2 * ratio)
        self._last = (t, x)
        share = target / t
        return share * z + (1 - share) * estimate


def _log_snr(t: float) -> float:
    return math.log((1 - t) / t)

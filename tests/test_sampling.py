"""Timesteps and the solver."""

from __future__ import annotations

import math

import pytest
import torch

from moc.backbones.pocket.config import PocketConfig
from moc.sampling import Solver, timesteps


def test_timesteps_run_from_noise_to_clean() -> None:
    assert timesteps(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    shifted = timesteps(4, 3.0)
    assert shifted[0] == 1
    assert shifted[-1] == 0
    assert shifted[2] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    for steps, shift, words in ((0, 1.0, "0"), (3, 0.0, "0"), (3, math.nan, "nan"), (3, math.inf, "inf")):
        with pytest.raises(ValueError, match=words):
            timesteps(steps, shift)


def test_a_last_step_of_its_own_follows_a_grid_of_one_less() -> None:
    even = timesteps(6, 10.0)
    assert timesteps(7, 10.0, 0.25) == [*even[:-1], 0.25, 0.0]
    assert timesteps(2, 10.0, 0.25) == [1.0, 0.25, 0.0]
    assert timesteps(1, 10.0, 0.25) == [1.0, 0.0], "one step is the first and the last"
    assert timesteps(7, 10.0, 0.9) == timesteps(7, 10.0), "an even grid ends lower by itself"
    for last in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="last timestep must be at least 0 and below 1"):
            timesteps(7, 10.0, last)
        with pytest.raises(ValueError, match="last_step must be at least 0 and below 1"):
            PocketConfig(last_step=last)
    assert PocketConfig(shift=10.0, last_step=0.25).timesteps(7) == timesteps(7, 10.0, 0.25)


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_perfect_prediction_arrives_exactly(steps: int, second_order: bool) -> None:
    clean, noise = torch.randn(2, 7, dtype=torch.float64)
    grid = timesteps(steps, 3.0)
    solver, z = Solver(grid, second_order), noise
    for index in range(steps):
        z = solver.step(index, z, clean)
        torch.testing.assert_close(z, (1 - grid[index + 1]) * clean + grid[index + 1] * noise)


def test_the_second_order_step_is_more_exact() -> None:
    """A known flow: data N(m, s^2), where the best prediction is linear in z and the ODE has a closed form."""
    mean, deviation = 0.4, 0.3
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def predict(z: torch.Tensor, t: float) -> torch.Tensor:
        variance = (1 - t) ** 2 * deviation**2 + t**2
        return mean + (1 - t) * deviation**2 * (z - (1 - t) * mean) / variance

    def error(second_order: bool, steps: int) -> float:
        grid = timesteps(steps, 3.0)
        solver, z = Solver(grid, second_order), noise
        for index in range(steps):
            z = solver.step(index, z, predict(z, grid[index]))
        return float((z - (mean + deviation * noise)).abs().max())

    assert error(True, 8) < error(False, 8)
    assert error(True, 32) < 0.3 * error(False, 32)
    assert error(True, 64) < 0.3 * error(True, 32) < 0.01

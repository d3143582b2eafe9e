"""PSNR, SSIM and the overlap of colours: identical, shifted, brighter, and by their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import noise, pan, still, texture

from moc.metrics.colours import histogram, place_colours
from moc.metrics.psnr import EQUAL, psnr
from moc.metrics.ssim import ssim


def flat(level: int, frames: int = 2) -> np.ndarray:
    return np.full((frames, 32, 40, 3), level, np.uint8)


def test_equal_videos() -> None:
    shots = [pan(3, dx=1), still(2)]
    assert psnr(shots, shots) == EQUAL
    assert ssim(shots, shots) == pytest.approx(1, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255))
def test_flat_pictures_by_their_formulas(one: int, other: int) -> None:
    a, b = [flat(one)], [flat(other)]
    if one != other:
        assert psnr(a, b) == pytest.approx(20 * math.log10(255 / abs(one - other)))
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * one * other + c1) / (one**2 + other**2 + c1), abs=1e-6)


def test_psnr_weighs_every_byte_alike() -> None:
    """A long equal shot and a short one that is 10 off: a fifth of all bytes."""
    shots, reference = [flat(50, 8), flat(60, 2)], [flat(50, 8), flat(50, 2)]
    assert psnr(shots, reference) == pytest.approx(10 * math.log10(255**2 / (100 / 5)))


def test_ssim_by_its_definition() -> None:
    """Every window by hand, with weights of Wang et al.: 11 pixels, sigma 1.5."""
    rng = np.random.default_rng(3)
    x, y = (rng.integers(0, 256, (1, 16, 18, 3)).astype(np.uint8) for _ in range(2))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    grey_x, grey_y = ((v[0] @ np.array([0.299, 0.587, 0.114])) for v in (x, y))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for top in range(6):
        for left in range(8):
            a, b = (g[top : top + 11, left : left + 11] for g in (grey_x, grey_y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            both = (window * (a - mean_a) * (b - mean_b)).sum()
            found.append(
                (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    assert ssim([x], [y]) == pytest.approx(np.mean(found), abs=1e-6)


def test_a_shift_costs_agreement() -> None:
    one, shifted = pan(3, dx=0), pan(3, dx=0)
    shifted = np.roll(shifted, 4, axis=2)
    assert psnr([one], [shifted]) < 30
    assert ssim([one], [shifted]) < 0.9
    assert ssim([noise(2)], [noise(2, seed=1)]) == pytest.approx(0, abs=0.05)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr([still(2)], [still(3)])
    with pytest.raises(ValueError, match="one shape"):
        ssim([still(2)], [still(3)])
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim([still(2)[:, :10]], [still(2)[:, :10]])
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        psnr([still(2)], [])


def test_colours_of_a_place() -> None:
    day, night = still(2), still(2) // 8
    assert histogram(day).sum() == pytest.approx(1)
    scenes = {1: "cafe", 2: "park", 3: "cafe", 4: None}
    assert place_colours({1: day, 2: night, 3: day, 4: night}, scenes) == pytest.approx(1)
    assert place_colours({1: flat(0), 3: flat(255)}, scenes) == 0
    assert place_colours({1: day, 2: night}, scenes) is None
    half = flat(0)
    half[:, :16] = 255
    assert place_colours({1: flat(0), 3: half}, scenes) == pytest.approx(0.5)
    mirrored = texture(64, 96)[None, :, ::-1]
    assert place_colours({1: still(1), 3: mirrored}, scenes) == pytest.approx(1), "where things are doesn't matter"

"""Block matching, smoothness and dynamic degree on videos whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import noise, pan, still

from moc.metrics.dynamics import LIMIT, dynamic_degree, mobility, motion
from moc.metrics.flow import REACH, SIDE, block_flow, grey
from moc.metrics.smoothness import motion_smoothness

shifts = st.integers(-REACH, REACH)


@settings(max_examples=12, deadline=None)
@given(shifts, shifts, st.integers(0, 99))
def test_flow_finds_every_whole_shift(dy: int, dx: int, seed: int) -> None:
    """What the camera passes goes the other way."""
    flow = block_flow(grey(pan(3, dy=dy, dx=dx, seed=seed)))
    assert (flow.dy == -dy).all()
    assert (flow.dx == -dx).all()
    assert flow.cost.max() < 1e-3


def test_flow_is_local() -> None:
    """A square that crosses a still picture moves, the rest does not."""
    frames = still(4)
    square = pan(1, 24, 24, seed=9)[0]
    for i in range(4):
        frames[i, 20:44, 20 + 4 * i : 44 + 4 * i] = square
    flow = block_flow(grey(frames))
    moved = flow.dx == 4
    assert moved.any(axis=(1, 2)).all()
    assert moved.mean() < 0.35
    assert (flow.length[:, :, -3:] == 0).all(), "the right edge is never touched"


def test_flow_needs_frames_of_some_size() -> None:
    with pytest.raises(ValueError, match="at least two frames, got 1"):
        block_flow(grey(still(1)))
    with pytest.raises(ValueError, match=r"uint8 \[F, H, W, 3\], got float32"):
        grey(still(2).astype(np.float32))
    with pytest.raises(ValueError, match="at least 24 pixels a side, got 96x20"):
        grey(still(2, 20, 96))


def test_grey_makes_large_pictures_small() -> None:
    frames = pan(2, 256, 384)
    small = grey(frames)
    assert small.shape == (2, SIDE, 96)
    weights = np.array([0.299, 0.587, 0.114])
    assert small[0, 0, 0] == pytest.approx((frames[0, :4, :4].mean(axis=(0, 1)) @ weights), abs=0.6)


@settings(max_examples=8, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3))
def test_steady_pan_is_perfectly_smooth(dy: int, dx: int) -> None:
    assert motion_smoothness([pan(6, dy=dy, dx=dx)]) == pytest.approx(1, abs=1e-6)


def test_smoothness_orders_videos() -> None:
    steady = motion_smoothness([pan(8, dx=2)])
    stuttering = motion_smoothness([pan(8, dx=2)[[0, 1, 1, 3, 3, 5, 5, 7]]])
    flickering = motion_smoothness([np.stack([frame // (1 + i % 2) for i, frame in enumerate(still(8))])])
    noisy = motion_smoothness([noise(8)])
    assert None not in (steady, stuttering, flickering, noisy)
    assert steady > stuttering > flickering  # type: ignore[operator]
    assert steady > noisy > 0  # type: ignore[operator]
    # a frame at half the light between two whole ones, and the reverse: half of the mean grey, everywhere
    expected = 1 - float(grey(still(1)).mean()) / 2 / 255
    assert flickering == pytest.approx(expected, abs=0.02)


def test_cuts_are_no_motion() -> None:
    """Two shots that have nothing in common are as smooth as each alone; joined to one they are not."""
    one, other = pan(6, dx=1), pan(6, dx=1, seed=5)
    assert motion_smoothness([one, other]) == pytest.approx(1, abs=1e-6)
    assert motion_smoothness([np.concatenate([one, other])]) < 0.99  # type: ignore[operator]
    assert motion_smoothness([still(2), still(1)]) is None


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("fps", [8.0, 16.0])
def test_motion_is_in_heights_a_second(scale: int, fps: float) -> None:
    """3 of 64 pixels a looked-at frame, eight of which make a second; the size of the picture doesn't matter."""
    every = round(fps / 8)
    frames = pan(9, 64 * scale, 96 * scale, dx=3 * scale).repeat(every, axis=0)
    moved = mobility(frames, fps)
    assert moved == pytest.approx(np.full(8, 3.0), abs=1e-3)
    assert motion([moved], fps) == pytest.approx(3 / 64 * 8, abs=1e-3)
    assert dynamic_degree([moved]) == 1


def test_still_and_noise() -> None:
    nothing = mobility(still(9), 8)
    assert dynamic_degree([nothing]) == 0
    assert motion([nothing], 8) == 0
    assert dynamic_degree([mobility(noise(9), 8)]) == 1, "noise counts as motion; the smoothness gives it away"


def test_dynamic_is_a_share_of_shots() -> None:
    """As VBench has it: a quarter of the frames must move by more than 6 pixels of 256."""
    assert LIMIT == 1.5
    moves, rests = np.float32(LIMIT + 0.1), np.float32(LIMIT)
    assert dynamic_degree([np.full(15, rests)]) == 0
    assert dynamic_degree([np.array([moves] * 4 + [rests] * 11)]) == 1
    assert dynamic_degree([np.array([moves] * 3 + [rests] * 12)]) == 0
    assert dynamic_degree([np.full(7, moves), np.full(7, rests), np.zeros(0)]) == 0.5
    assert dynamic_degree([np.zeros(0)]) is None
    assert motion([np.zeros(0)], 8) is None

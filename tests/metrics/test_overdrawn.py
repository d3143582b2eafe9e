"""`benchmarks/overdrawn.py`: who predicts the truth predicts as much as there is."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from moc.backbones.pocket.config import PocketConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import overdrawn

    return overdrawn


class Sure:
    """Predicts its input, which at t = 0 is the truth; of a `share` of the shots, the same picture all over instead."""

    config = PocketConfig()

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, text: Any, captions: Any, z: torch.Tensor, *rest: Any) -> torch.Tensor:
        q = torch.randn(len(z), 1, text.shape[1] + captions.shape[2] + z.shape[2], 8)
        assert rest[-1](0, q, q, q).shape == q.shape  # the attention that it is given fits its stream
        return z * self.share


def test_the_truth_is_as_much_as_there_is(script: ModuleType) -> None:
    for action in ("run", "stand"):
        (found,) = script.looks(Sure(1.0), action, 3, 1, (0.0,), torch.device("cpu"))
        assert found.share == pytest.approx(1.0)
        assert found.psnr == found.input_psnr > 60  # the truth itself
    (nothing,) = script.looks(Sure(0.0), "stand", 3, 1, (0.0,), torch.device("cpu"))
    assert nothing.share != pytest.approx(1.0, abs=0.05)
    assert nothing.psnr < 15 < nothing.input_psnr


def test_noise_is_told_in_decibels(script: ModuleType) -> None:
    """Half noise of unit variance over half of the truth."""
    (found,) = script.looks(Sure(1.0), "stand", 3, 1, (0.5,), torch.device("cpu"))
    assert found.psnr == found.input_psnr
    assert 6 < found.input_psnr < 13


def test_shots_are_what_is_asked_for(script: ModuleType) -> None:
    shots = script.shots_of("run", 5, torch.device("cpu"))
    assert (shots.cast[:, 0][:, 0] >= 0).all()
    assert (shots.cast[:, 0][:, 1] < 0).all()
    assert set(shots.camera.flatten().tolist()) == {script.CAMERAS.index("wide")}

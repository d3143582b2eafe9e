"""`moc train --fit`: as many steps as the time allows, and the learning rate at nothing when they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_cases import TINY

from moc.backbones.pocket.weights import read_metadata
from moc.errors import InputError
from moc.training import loop
from moc.training.config import parse
from moc.training.loop import Trainer
from moc.training.run import train

CPU = torch.device("cpu")


def test_steps_that_fit_into_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that each step takes a second of: 8 steps are planned, 4 of them decay, 100 seconds are given."""
    config = parse({**TINY, "checkpoint_minutes": 100})
    trainer = Trainer(config, tmp_path, CPU)
    now = 0.0
    rates = []
    optimise = trainer.optimise

    def second() -> dict[str, float]:
        nonlocal now
        now += 1
        info = optimise()
        rates.append(info["lr"])
        return info

    monkeypatch.setattr(trainer, "optimise", second)
    monkeypatch.setattr(loop.time, "monotonic", lambda: now)
    rows: list[dict[str, float]] = []
    assert trainer.train_to(config.steps, rows.append, deadline=40.0, fit=True)
    # fitted at step 5, the second row of the last stage, into 98 % of the 35 seconds left
    assert trainer.step == trainer.config.steps == len(rows) == 5 + 34
    assert trainer.config.stages[0] == config.stages[0]
    assert trainer.config.stages[1].steps == 36
    assert trainer.config.decay == round(4 * 39 / 8)
    assert rates[20 - 1] > rates[30] > rates[-1] > 0
    assert rates[-1] < 0.1 * config.lr
    card = json.loads(read_metadata(tmp_path / "weights.safetensors")["card"])
    assert card["config"]["stages"][1]["steps"] == 36


def test_fitting_needs_a_time(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--fit needs --minutes"):
        train(tmp_path / "any.yaml", tmp_path / "run", fit=True)


def test_a_time_too_short_to_fit_anything(tmp_path: Path) -> None:
    config = parse({**TINY, "checkpoint_minutes": 100})
    trainer = Trainer(config, tmp_path, CPU)
    assert not trainer.train_to(config.steps, lambda row: None, deadline=0.0, fit=True)
    assert trainer.step == 1


def test_a_stage_too_short_for_a_second_row_is_fitted_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse({**TINY, "checkpoint_minutes": 100, "log_every": 100})
    trainer = Trainer(config, tmp_path, CPU)
    steps: list[int] = []

    def fitted(seconds: float, left: float) -> int:
        steps.append(trainer.step)
        assert 0 < seconds < left
        return trainer.step + 2

    monkeypatch.setattr(trainer, "_fit", fitted)
    trainer.train_to(config.steps, lambda row: None, deadline=loop.time.monotonic() + 1000, fit=True)
    assert steps == [config.steps], "once"
    assert trainer.step == config.steps + 2

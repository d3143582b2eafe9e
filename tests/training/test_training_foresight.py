"""Weights of the loss that could be foreseen: a mean that is not bent, and a training with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_cases import TINY

from moc.backbones.pocket.config import PocketConfig
from moc.training.config import parse
from moc.training.foresight import Foresight, weigh
from moc.training.loop import Trainer

SIZE = PocketConfig(width=16, heads=1, layers=1)


def test_it_begins_with_one() -> None:
    found = Foresight(SIZE)(torch.randn(2, 3, 5, 16))
    assert found.shape == (2, 3, 5)
    assert torch.allclose(found, torch.ones(2, 3, 5))


def test_features_learn_nothing() -> None:
    features = torch.randn(4, 16, requires_grad=True)
    foresight = Foresight(SIZE)
    torch.nn.init.normal_(foresight.down.weight)
    foresight(features).sum().backward()
    assert features.grad is None
    assert foresight.up.weight.grad is not None


def settled(foreseen: bool) -> float:
    """Where a prediction settles that can't tell a figure (1, weight 7, three times in ten) from none (0, weight 1)."""
    torch.manual_seed(0)
    value, foresight = torch.zeros((), requires_grad=True), Foresight(SIZE)
    truth = (torch.arange(10) < 3).float().view(1, 1, 10, 1)
    importance, features = 1 + 6 * truth, torch.ones(1, 1, 10, 16)
    optimizer = torch.optim.Adam([value, *foresight.parameters()], 0.02)
    for _ in range(400):
        square = (value - truth).square()
        if foreseen:
            error, guess = weigh(square, importance, foresight(features))
            loss = error.sum() + guess
        else:
            loss = (square * importance).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if foreseen:
        assert torch.allclose(foresight(features), importance.mean().expand(1, 1, 10), atol=0.02)
    return value.item()


def test_the_mean_is_not_bent() -> None:
    assert settled(True) == pytest.approx(0.3, abs=0.005)
    bent = 3 * 7 / (3 * 7 + 7 * 1)
    assert settled(False) == pytest.approx(bent, abs=0.005), "what foreseen weights are there for"


def test_a_training_with_them(tmp_path: Path) -> None:
    config = parse({**TINY, "foreseen_weights": True, "character_weight": 6.0, "worn_weight": 1.0})
    device = torch.device("cpu")
    trainer = Trainer(config, tmp_path, device)
    assert trainer.foresight is not None
    before = {n: p.clone() for n, p in trainer.foresight.named_parameters()}
    for _ in range(2):
        trainer.optimise()
    assert all(not torch.equal(p, before[n]) for n, p in trainer.foresight.named_parameters() if n.startswith("down"))
    again = Trainer(config, tmp_path / "again", device)
    again.restore(trainer.state())
    for one in (trainer, again):
        one.optimise()
    assert torch.equal(trainer._latest, again._latest), "a run that is resumed goes on as if it had never stopped"

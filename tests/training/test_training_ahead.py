"""Pieces that are made ahead of time are the pieces that would be made now."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_cases import TINY

from moc.training import ahead
from moc.training.ahead import Ahead, tensors_of
from moc.training.config import parse
from moc.training.data import make_piece
from moc.training.loop import Trainer

CPU = torch.device("cpu")


def test_every_tensor_of_a_piece_is_found() -> None:
    config = parse({**TINY, "recognition": 0.1})
    piece = make_piece(config, config.network(), config.stages[1], 0, 0, CPU)
    assert piece.shown is not None
    found = [id(x) for x in tensors_of(piece)]
    assert {id(piece.patches), id(piece.cos), id(piece.shown.owner), id(piece.shown.taught)} <= set(found)
    assert len(found) == 10 + 4 == len(set(found))


def test_on_a_cpu_nothing_is_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(TINY)
    made = []
    monkeypatch.setattr(ahead, "make_piece", lambda *given: made.append(given[3:5]))
    pieces = Ahead(config, config.network(), CPU)
    pieces.prepare(1, 0)
    assert made == []
    pieces.take(1, 0)
    assert made == [(1, 0)]


def test_pieces_are_asked_for_in_the_order_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is prepared is what is taken next, over pieces, steps and stages; nothing past the last."""
    config = parse({**TINY, "micro_stories": 1})
    trainer = Trainer(config, tmp_path, CPU)
    asked: list[tuple[str, int, int]] = []
    take = trainer.ahead.take

    def taken(step: int, number: int) -> object:
        asked.append(("take", step, number))
        return take(step, number)

    monkeypatch.setattr(trainer.ahead, "take", taken)
    monkeypatch.setattr(trainer.ahead, "prepare", lambda step, number: asked.append(("prepare", step, number)))
    while trainer.step < config.steps:
        trainer.optimise()
    pairs = list(zip(asked[1::2], asked[2::2], strict=False))
    assert len(asked) == 2 * sum(stage.steps * stage.stories for stage in config.stages) - 1
    assert all(a[0] == "prepare" and b[0] == "take" and a[1:] == b[1:] for a, b in pairs)


@pytest.mark.gpu
def test_a_piece_made_ahead_on_a_gpu_is_the_same() -> None:
    config = parse({**TINY, "recognition": 0.1, "noisiest": 0.5})
    device = torch.device("cuda", 0)
    pieces = Ahead(config, config.network(), device)
    for step in range(3):
        piece = pieces.take(step, 0)
        busy = torch.randn(2048, 2048, device=device)
        for _ in range(20):
            busy = busy @ busy * 0.01
        pieces.prepare(step + 1, 0)
        now = make_piece(config, config.network(), config.stage_at(step)[1], step, 0, device)
        assert all(torch.equal(a, b) for a, b in zip(tensors_of(piece), tensors_of(now), strict=True))

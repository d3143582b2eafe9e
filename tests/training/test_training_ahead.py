"""Pieces that are made ahead of time are the pieces that would be made now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_cases import TINY

from moc.training.ahead import Ahead, tensors_of
from moc.training.config import TrainConfig, parse
from moc.training.data import Piece, make_piece
from moc.training.loop import Trainer

CPU = torch.device("cpu")


def test_every_tensor_of_a_piece_is_found() -> None:
    config = parse({**TINY, "recognition": 0.1})
    piece = make_piece(config, config.network(), config.stages[1], 0, 0, CPU)
    assert piece.shown is not None
    found = [id(x) for x in tensors_of(piece)]
    assert {id(piece.patches), id(piece.cos), id(piece.shown.owner), id(piece.shown.taught)} <= set(found)
    assert len(found) == 10 + 4 == len(set(found))


def made_on(config: TrainConfig, device: torch.device) -> Callable[[int, int], Piece]:
    """Pieces of a training, made now."""
    return lambda step, number: make_piece(config, config.network(), config.stage_at(step)[1], step, number, device)


def test_on_a_cpu_nothing_is_made_ahead() -> None:
    made = []
    pieces = Ahead(lambda *asked: made.append(asked), CPU)  # type: ignore[arg-type, return-value, func-returns-value]
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


def test_several_processes_make_the_first_piece_of_a_stage_when_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse(TINY)
    trainer = Trainer(config, tmp_path, CPU)
    trainer.world = 2
    monkeypatch.setattr(trainer, "_begin_stage", lambda stage: None)
    monkeypatch.setattr("moc.training.loop.dist.all_reduce", lambda tensor: None)
    asked: list[int] = []
    monkeypatch.setattr(trainer.ahead, "prepare", lambda step, number: asked.append(step))
    while trainer.step < config.steps:
        trainer.optimise()
    assert asked == [step for step in range(1, config.steps) if step != config.stages[0].steps]


@pytest.mark.gpu
def test_a_piece_is_not_read_before_it_is_made() -> None:
    """The stream of data is far behind when the piece is taken, and taking does not make the host wait."""
    config = parse({**TINY, "recognition": 0.1, "noisiest": 0.5})
    device = torch.device("cuda", 0)
    pieces = Ahead(made_on(config, device), device)
    wanted = tensors_of(made_on(config, device)(1, 0))
    pieces.take(0, 0)
    assert pieces.stream is not None
    pieces.prepare(1, 0)
    assert pieces._ready is not None
    made = tensors_of(pieces._ready[2].result())
    with torch.cuda.stream(pieces.stream):  # as if it were made only after a long time
        truth = [x.clone() for x in made if x.is_cuda]
        for x in made:
            if x.is_cuda:
                x.zero_()
        torch.cuda._sleep(200_000_000)
        for x, value in zip([x for x in made if x.is_cuda], truth, strict=True):
            x.copy_(value)
    copies = [x.clone() for x in tensors_of(pieces.take(1, 0))]
    assert all(torch.equal(a, b) for a, b in zip(copies, wanted, strict=True))


@pytest.mark.gpu
def test_a_mistake_while_making_is_met_when_the_piece_is_taken() -> None:
    device = torch.device("cuda", 0)

    def broken(step: int, number: int) -> Piece:
        raise RuntimeError(f"no piece {number} of step {step}")

    pieces = Ahead(broken, device)
    pieces.prepare(3, 1)
    with pytest.raises(RuntimeError, match="no piece 1 of step 3"):
        pieces.take(3, 1)


@pytest.mark.gpu
def test_memory_of_a_piece_is_kept_while_it_is_read() -> None:
    """The piece is let go while the stream that reads it is still busy; what is made next must not lie on top of it."""
    config = parse({**TINY, "recognition": 0.1})
    device = torch.device("cuda", 0)
    pieces = Ahead(made_on(config, device), device)
    pieces.take(0, 0)
    pieces.prepare(1, 0)
    piece = pieces.take(1, 0)
    wanted = piece.patches.clone()
    torch.cuda.synchronize(device)
    torch.cuda._sleep(200_000_000)
    read = piece.patches * 1.0  # waits behind the sleep
    del piece
    for number in (1, 2, 3):
        pieces.prepare(2, number)
        assert pieces._ready is not None
        pieces._ready[2].result()
    assert torch.equal(read, wanted)

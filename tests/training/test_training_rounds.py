"""A training that goes through its stages in rounds: in which order, resumed, fitted into a time, among processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_cases import TINY, log_of, write_config

from moc.training import checkpoint, loop
from moc.training.config import load, parse
from moc.training.loop import Trainer
from moc.training.run import train

CPU = torch.device("cpu")
STAGES = [
    {"steps": 2, "stories": 4, "latent_frames": 2, "shots": 2, "top_k": 1},
    {"steps": 1, "stories": 2, "latent_frames": 1, "shots": 3, "top_k": 2},
]
ROUNDS = {**TINY, "rounds": 3, "stages": STAGES}


def test_stages_come_by_turns() -> None:
    config = parse(ROUNDS)
    assert (config.steps_of_a_round, config.steps) == (3, 9)
    assert [config.stage_at(step)[0] for step in range(11)] == [0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="rounds = 0 must be at least 1"):
        parse({**ROUNDS, "rounds": 0})


def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    train(write_config(tmp_path, **{k: ROUNDS[k] for k in ("rounds", "stages")}), tmp_path / "whole", device="cpu")
    config = load(tmp_path / "tiny.yaml")
    trainer = Trainer(config, tmp_path / "parts", CPU)
    while trainer.step < 4:  # in the middle of a round
        trainer.optimise()
    (tmp_path / "parts").mkdir()
    trainer.save()
    train(tmp_path / "tiny.yaml", tmp_path / "parts", resume=True, device="cpu")
    whole, parts = log_of(tmp_path / "whole"), log_of(tmp_path / "parts")
    assert [row[1] for row in whole] == list("001001001")
    assert parts == whole[4:]


def test_what_may_change_when_it_goes_on() -> None:
    before = parse(ROUNDS).to_dict()
    checkpoint.refuse_other_settings(before, parse({**ROUNDS, "rounds": 7, "decay": 9}), 4)
    checkpoint.refuse_other_settings(parse({**ROUNDS, "rounds": 1}).to_dict(), parse(ROUNDS), 4)
    checkpoint.refuse_other_settings(before, parse({**ROUNDS, "stages": STAGES[:1]}), 0)  # nothing is done yet
    longer = [STAGES[0], {**STAGES[1], "steps": 2}]
    for stages in (longer, STAGES[:1], STAGES[::-1]):
        with pytest.raises(ValueError, match="goes through its stages in rounds"):
            checkpoint.refuse_other_settings(before, parse({**ROUNDS, "stages": stages}), 4)
    with pytest.raises(ValueError, match="gone through 7 steps, more than the 6 that are asked for"):
        checkpoint.refuse_other_settings(before, parse({**ROUNDS, "rounds": 2}), 7)
    older = {key: value for key, value in parse(TINY).to_dict().items() if key != "rounds"}
    checkpoint.refuse_other_settings(older, parse(TINY), 4)


@pytest.mark.parametrize("log_every", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("seconds", [(1.0, 4.0), (0.3, 3.0), (3.0, 0.3)])
@pytest.mark.parametrize("steps", [(2, 1), (9, 3), (3, 9)])
def test_as_many_rounds_as_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_every: int,
    seconds: tuple[float, float],
    steps: tuple[int, int],
) -> None:
    """Rows of the log may lie in one stage alone, so rounds are timed, whatever `log_every` is."""
    stages = [{**stage, "steps": count} for stage, count in zip(STAGES, steps, strict=True)]
    config = parse({**ROUNDS, "rounds": 100, "decay": 50, "log_every": log_every, "stages": stages})
    trainer = Trainer(config, tmp_path, CPU)
    now, rates = 50.0, []

    def timed() -> dict[str, float]:
        nonlocal now
        index, stage = trainer.config.stage_at(trainer.step)
        rates.append(trainer.learning_rate(trainer.step))
        compiling = 0.0 if index in trainer._begun else 20.0
        trainer._begun.add(index)
        trainer._latest = torch.zeros(6)
        now += compiling + seconds[index]
        trainer.step += 1
        return {"stage": index, "lr": rates[-1], "stories": stage.stories}

    monkeypatch.setattr(trainer, "optimise", timed)
    monkeypatch.setattr(trainer, "save", lambda: None)
    monkeypatch.setattr(loop.time, "monotonic", lambda: now)
    assert trainer.train_to(config.steps, lambda row: None, deadline=650.0, fit=True), "the end comes first"
    a_round = sum(count * each for count, each in zip(steps, seconds, strict=True))
    assert 650 - 0.02 * 600 - 2 * a_round < now <= 650, "and what is left is no more than a round and the spare"
    assert trainer.step == trainer.config.steps == trainer.config.rounds * sum(steps)
    assert trainer.config.decay == pytest.approx(50 * trainer.config.steps / config.steps, abs=0.5)
    assert rates[-1] < 0.15 * config.lr
    assert [one.steps for one in trainer.config.stages] == list(steps)


def test_a_round_that_has_begun_is_gone_through(tmp_path: Path) -> None:
    trainer = Trainer(parse({**ROUNDS, "rounds": 10}), tmp_path, CPU)
    trainer.step = 4
    assert trainer._fit(1.0, 0.1) == 6
    assert trainer.config.rounds == 2


def test_among_several_processes_a_stage_begins_once_in_all_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(parse(ROUNDS), rounds=2)
    trainer = Trainer(config, tmp_path, CPU)
    trainer.world = 2
    trainer.config = replace(config, stages=tuple(replace(s, micro_stories=1) for s in config.stages))
    began: list[int] = []
    asked: list[int] = []
    monkeypatch.setattr(trainer, "_begin_stage", lambda stage: began.append(trainer.step))
    monkeypatch.setattr("moc.training.loop.dist.all_reduce", lambda tensor: None)
    monkeypatch.setattr(trainer.ahead, "prepare", lambda step, number: asked.append(step))
    while trainer.step < config.steps:
        trainer.optimise()
    assert began == [0, 2]
    own = [step for step in range(trainer.step) for _ in range(trainer.config.stage_at(step)[1].stories // 2 - 1)]
    assert sorted(asked) == sorted([*own, *(step for step in range(1, 6) if step != 2)]), (
        "its first piece is not made ahead"
    )

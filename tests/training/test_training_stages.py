"""Where one stage of a training ends and the next begins: settings of its own, resumes, several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from training_cases import TINY

from moc.training import checkpoint, loop
from moc.training.config import Stage, parse
from moc.training.loop import Trainer

CPU = torch.device("cpu")


def test_among_several_processes_a_stage_begins_without_its_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one of two processes, whose stages begin with a piece that leaves nothing behind; after a resume as well."""
    config = parse(TINY)
    trainer, plain = (Trainer(config, tmp_path, CPU) for _ in range(2))
    trainer.world = 2
    monkeypatch.setattr(loop.dist, "all_reduce", lambda tensor: None)
    alone: list[int] = []

    @contextmanager
    def no_sync() -> Iterator[None]:
        before = [p.grad for p in trainer.model.parameters()]
        yield
        alone.append(trainer.step)
        assert all(grad is None for grad in before)

    trainer.network.no_sync = no_sync  # type: ignore[assignment]
    begin = trainer._begin_stage

    def checked(stage: Stage) -> None:
        begin(stage)
        assert all(p.grad is None for p in trainer.model.parameters())

    monkeypatch.setattr(trainer, "_begin_stage", checked)
    made = [x.clone() for x in trainer.model.parameters()]
    trainer._begin_stage(config.stages[0])
    assert all(torch.equal(x, y) for x, y in zip(trainer.model.parameters(), made, strict=True))
    alone.clear()
    plain.ahead = trainer.ahead
    while trainer.step < config.steps:
        trainer.optimise()
    assert alone == [0, config.stages[0].steps], "once a stage"
    plain.world = 2
    plain.network.no_sync = no_sync  # type: ignore[assignment]
    plain.restore(trainer.state() | {"step": 1})
    alone.clear()
    plain.optimise()
    assert len(alone) == 1, "and where a resumed run begins"


def test_a_stage_may_drop_otherwise() -> None:
    stages = [{**TINY["stages"][0], "drop_off_max": 0.0}, TINY["stages"][1]]  # type: ignore[index]
    config = parse({**TINY, "drop_off_max": 0.75, "stages": stages})
    assert [config.attention(stage).drop_off_max for stage in config.stages] == [0.0, 0.75]
    with pytest.raises(ValueError, match=r"drop_off_max = 1.5 must lie in 0 to 1"):
        parse({**TINY, "stages": [{**TINY["stages"][0], "drop_off_max": 1.5}]})  # type: ignore[index]
    for wrong in ("much", [0.5], True):
        with pytest.raises(ValueError, match=r"stages\[1\]: drop_off_max = .* must be a number"):
            parse({**TINY, "stages": [{**TINY["stages"][0], "drop_off_max": wrong}]})  # type: ignore[index]
    text = parse({**TINY, "stages": [{**TINY["stages"][0], "drop_off_max": "5e-1"}]})  # type: ignore[index]
    assert text.stages[0].drop_off_max == 0.5, "YAML 1.1 reads 5e-1 as a text"


def test_a_checkpoint_of_before_a_setting_was_there_goes_on() -> None:
    """Older ones say nothing of it: it has its default, and only that fits."""
    config = parse(TINY)
    known = config.to_dict()
    known["stages"] = [{k: v for k, v in asdict(stage).items() if k != "drop_off_max"} for stage in config.stages]
    checkpoint.refuse_other_settings(known, config, 2)
    stages = [{**TINY["stages"][0], "drop_off_max": 0.0}, TINY["stages"][1]]  # type: ignore[index]
    with pytest.raises(ValueError, match="can't become"):
        checkpoint.refuse_other_settings(known, parse({**TINY, "stages": stages}), 2)


def test_what_a_grid_is_made_of_may_change_only_where_none_is_trained() -> None:
    sampled = {"sampled_shift": 10.0, "last_step": 0.2, "sampled_steps": 7}
    for on_grid, changes in ((0.0, sampled), (0.5, {"guidance_to": 0.9})):
        before = parse({**TINY, "on_grid": on_grid})
        checkpoint.refuse_other_settings(before.to_dict(), parse({**TINY, "on_grid": on_grid, **changes}), 1)
    before = parse({**TINY, "on_grid": 0.5})
    for name, value in sampled.items():
        with pytest.raises(ValueError, match=f"began with {name}"):
            checkpoint.refuse_other_settings(before.to_dict(), parse({**TINY, "on_grid": 0.5, name: value}), 1)

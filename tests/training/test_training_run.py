"""`moc train` as a whole: a killed run resumes as if nothing had been, logs, weights, samples, several processes."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from training_cases import TINY, OneThread, environment, log_of, process, write_config

from moc.backbones.base import load_backbone
from moc.backbones.pocket.backbone import PocketBackbone
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.weights import load_model
from moc.errors import InputError, MocError
from moc.run.files import TEMPORARY
from moc.run.lock import locked
from moc.storyboard import Storyboard
from moc.training import checkpoint, loop, samples
from moc.training.config import Stage, parse
from moc.training.data import RoutedAttention, make_piece
from moc.training.loop import LOG_COLUMNS, Trainer
from moc.training.run import read_config, train

CPU = torch.device("cpu")
STEPS = 8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with OneThread():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the tiny config."""
    folder = tmp_path_factory.mktemp("whole")
    with OneThread():
        train(write_config(folder), folder / "run")
    return folder / "run"


def assert_same_run(out: Path, other: Path) -> None:
    assert log_of(out) == log_of(other)
    assert (out / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    a, b = (checkpoint.load_state(path / "checkpoint.pt") for path in (out, other))
    assert a["step"] == b["step"]
    for part in ("model", "ema"):
        for name, value in a[part].items():
            assert torch.equal(value, b[part][name]), name
    for number, moments in a["optimizers"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, b["optimizers"][0]["state"][number][name])
    assert not list(out.rglob(f"{TEMPORARY}*"))


def test_log(undisturbed: Path) -> None:
    table = pd.read_csv(undisturbed / "log.csv")
    assert tuple(table.columns) == LOG_COLUMNS
    assert table["step"].tolist() == list(range(1, STEPS + 1))
    assert table["stage"].tolist() == [0] * 3 + [1] * 5
    assert table.notna().all().all()
    assert (table[["loss", "loss_x", "grad_norm", "lr", "stories_per_s"]] > 0).all().all()
    # two steps of warm-up, a plateau, four of decay; a step is logged with the rate it was made with
    assert table["lr"].tolist() == pytest.approx([0.5e-3, 1e-3, 1e-3, 1e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_training_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over and over the same pictures: the error falls well below that of a network that predicts nothing."""
    config = parse({**TINY, "lr": 5e-3, "decay": 1, "stages": [{"steps": 40, "stories": 2, "shots": 1,
                                                                "latent_frames": 1}]})  # fmt: skip
    trainer = Trainer(config, tmp_path, CPU)
    piece = make_piece(config, trainer.model_config, config.stages[0], 0, 0, CPU)
    monkeypatch.setattr(loop, "make_piece", lambda *_: piece)
    errors = []
    for _ in range(config.steps):
        trainer.optimise()
        errors.append(float(trainer._latest[1]))
    assert errors[0] == pytest.approx(float(piece.target.square().mean()), rel=1e-4)
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_killed_run_resumes_with_the_same_bytes(tmp_path: Path, undisturbed: Path, rows: int) -> None:
    config, out = write_config(tmp_path), tmp_path / "run"
    child = subprocess.Popen(process(config, out), env=environment(), stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 100
        while not (out / "checkpoint.pt").exists() or len(log_of(out)) < rows:
            assert child.poll() is None, child.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        if child.stderr:
            child.stderr.close()
    assert child.returncode == -signal.SIGKILL  # it had not finished
    # what a kill in the middle of a write leaves behind
    (out / f"{TEMPORARY}1234-checkpoint.pt").write_bytes(b"half")
    with (out / "log.csv").open("a") as file:
        file.write("7,1,0.5")
    train(config, out, resume=True)
    assert_same_run(out, undisturbed)


def test_stopping_at_the_deadline_and_resuming(tmp_path: Path, undisturbed: Path) -> None:
    config, out = write_config(tmp_path), tmp_path / "run"
    train(config, out, minutes=1e-9)
    assert len(log_of(out)) == 1
    rows: list[tuple[dict[str, float], int]] = []
    train(config, out, resume=True, on_row=lambda row, steps: rows.append((row, steps)))
    assert_same_run(out, undisturbed)
    assert [row["step"] for row, _ in rows] == list(range(2, STEPS + 1))
    assert {steps for _, steps in rows} == {STEPS}
    train(config, out, resume=True)  # there is nothing left to do
    assert_same_run(out, undisturbed)


def test_a_failed_write_keeps_the_last_checkpoint(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save_state(path, {"step": 3})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(MocError, match=r"checkpoint\.pt can't be written: the disk is full"):
            checkpoint.save_state(path, {"step": 4})
    assert checkpoint.load_state(path) == {"step": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_weights_are_a_model_that_renders(undisturbed: Path) -> None:
    path = undisturbed / "weights.safetensors"
    backbone = load_backbone(str(path))
    assert isinstance(backbone, PocketBackbone)
    assert backbone.size == PocketConfig(**TINY["model"])  # type: ignore[arg-type]
    state = checkpoint.load_state(undisturbed / "checkpoint.pt")
    loaded = dict(load_model(path, "cpu").named_parameters())
    assert loaded.keys() == state["ema"].keys()
    for name, value in state["ema"].items():
        assert torch.equal(loaded[name], value.bfloat16().float())
    assert any(not torch.equal(value, state["model"][name]) for name, value in state["ema"].items())
    story = Storyboard.from_dict(
        {"version": 1, "sampling": {"steps": 1}, "shots": [{"id": "a", "duration": 0.5, "prompt": "a cat sleeps"}]}
    )
    (result,) = backbone.generate(
        story, seed=0, device="cpu", mode="stream", shots=[1], memory={}, on_step=lambda *_: None
    )
    assert result.frames.shape == (4, 64, 96, 3)
    assert path.stat().st_mode & 0o044 == 0o044 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_starting_from_other_weights(tmp_path: Path, undisturbed: Path) -> None:
    weights = undisturbed / "weights.safetensors"
    config = parse({**TINY, "init": str(weights)})
    trainer = Trainer(config, tmp_path, CPU)
    for name, value in load_model(weights, "cpu").named_parameters():
        assert torch.equal(dict(trainer.model.named_parameters())[name], value)
        assert torch.equal(trainer.ema[name], value)
    with pytest.raises(InputError, match="nothing"):
        train(write_config(tmp_path, init="nothing.safetensors"), tmp_path / "run")
    with pytest.raises(InputError, match=r"init: the model in .* has other sizes .*: width: \d+ instead of 64"):
        train(write_config(tmp_path, init=str(weights), model={"width": 64}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_without_a_skip_can_get_one(tmp_path: Path, undisturbed: Path) -> None:
    weights = undisturbed / "weights.safetensors"
    config = parse({**TINY, "init": str(weights), "model": {**TINY["model"], "skip": True}})
    trainer = Trainer(config, tmp_path, CPU)
    assert trainer.model.skip is not None
    assert not trainer.model.skip.into.any()
    trainer.optimise()
    assert trainer.model.skip.gate.weight.any()  # it learns
    trainer.save()
    assert load_model(tmp_path / "weights.safetensors", "cpu").config.skip
    with pytest.raises(ValueError, match="other sizes"):  # what has learned to lean on one can't go without
        Trainer(parse({**TINY, "init": str(tmp_path / "weights.safetensors")}), tmp_path, CPU)


def test_resuming_does_not_need_the_weights_it_began_with(tmp_path: Path, undisturbed: Path) -> None:
    start = tmp_path / "start.safetensors"
    start.write_bytes((undisturbed / "weights.safetensors").read_bytes())
    config = write_config(tmp_path, init=str(start))
    train(config, tmp_path / "run", minutes=1e-9)
    start.unlink()
    train(config, tmp_path / "run", resume=True)
    assert len(log_of(tmp_path / "run")) == STEPS


def test_refusals(tmp_path: Path, undisturbed: Path) -> None:
    config = write_config(tmp_path)
    with pytest.raises(InputError, match="already holds a training run"):
        train(config, undisturbed)
    with pytest.raises(InputError, match=r"nothing to resume: .*checkpoint\.pt"):
        train(config, tmp_path / "empty", resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "checkpoint.pt").write_bytes((undisturbed / "checkpoint.pt").read_bytes())
    with pytest.raises(InputError, match="model of other sizes"):
        train(write_config(tmp_path, model={"width": 64, "heads": 1}), other, resume=True)
    (other / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(config, other, resume=True)
    torch.save({"weights": 1}, other / "checkpoint.pt")
    with pytest.raises(InputError, match="not a checkpoint of `moc train`"):
        train(config, other, resume=True)
    assert sorted(p.name for p in other.iterdir()) == ["checkpoint.pt"]


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    config = write_config(tmp_path, lr=1e30, clip=1e30, warmup=0)
    with pytest.raises(MocError, match=r"at step \d+ the loss is .* the last checkpoint stands"):
        train(config, tmp_path / "run")
    state = checkpoint.load_state(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == len(log_of(tmp_path / "run"))


def test_steps_are_logged_to_the_last_digit(tmp_path: Path, undisturbed: Path) -> None:
    """Six digits are enough for a loss, not for a step."""
    config = write_config(tmp_path, stages=[{**TINY["stages"][0], "steps": 1_234_568}])  # type: ignore[index]
    state = checkpoint.load_state(undisturbed / "checkpoint.pt") | {"step": 1_234_567}
    checkpoint.save_state(tmp_path / "run" / "checkpoint.pt", state)
    train(config, tmp_path / "run", resume=True)
    assert [row[0] for row in log_of(tmp_path / "run")] == ["1234568"]


# Averages, pieces, processes.


def test_averaged_weights(tmp_path: Path) -> None:
    config = parse({**TINY, "ema": 0.5})
    trainer = Trainer(config, tmp_path, CPU)
    expected = {name: value.clone() for name, value in trainer.ema.items()}
    for step in range(3):
        trainer.optimise()
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in trainer.model.named_parameters():
            expected[name] += (1 - decay) * (value.detach() - expected[name])
            torch.testing.assert_close(trainer.ema[name], expected[name])


def _loss(trainer: Trainer, stage: Stage, number: int) -> torch.Tensor:
    """The loss of a piece from its definition: squared errors, characters and late steps counting more."""
    piece = make_piece(trainer.config, trainer.model_config, stage, 0, number, CPU)
    attention = RoutedAttention(trainer.config, stage, trainer.model_config, 0, piece)
    made = trainer.model(
        piece.global_tokens, piece.captions, piece.patches, piece.t, piece.cos, piece.sin, attention,
        predict_from=stage.shots - 1,
    )  # fmt: skip
    t = piece.t[:, stage.shots - 1 :, None, None]
    return ((made - piece.target) ** 2 * piece.importance / t.clamp_min(0.08) ** 2).mean()


def test_gradients_of_pieces_add_up_to_those_of_the_batch(tmp_path: Path) -> None:
    """The mean over pieces, each with its own data; the norm is clipped once, over all."""
    config = parse({**TINY, "clip": 1e-4})
    trainer, truth = (Trainer(config, tmp_path, CPU) for _ in range(2))
    parameters = list(truth.model.parameters())
    losses = [_loss(truth, config.stages[0], number) for number in range(2)]
    grads = torch.autograd.grad(torch.stack(losses).mean(), parameters)
    total = torch.cat([g.flatten() for g in grads])
    seen: list[torch.Tensor] = []
    trainer.optimizers[0].register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]))
    )
    trainer.optimise()
    loss, *_, norm = trainer._latest.tolist()
    assert loss == pytest.approx(sum(one.item() for one in losses) / 2, rel=1e-4)
    assert norm == pytest.approx(float(total.norm()), rel=1e-4)
    torch.testing.assert_close(seen[0], total * 1e-4 / total.norm(), rtol=1e-3, atol=1e-9)


def test_processes_must_divide_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(loop.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(loop.dist, "get_world_size", lambda: 3)
    with pytest.raises(ValueError, match=r"stages\[1\]: 2 pieces of 2 stories do not divide over 3 processes"):
        Trainer(parse(TINY), tmp_path, CPU)


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path: Path, undisturbed: Path) -> None:
    config = write_config(tmp_path)
    done = subprocess.run(
        process(config, tmp_path / "run", torchrun=2), env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    one, two = (np.array(log_of(out), dtype=float) for out in (undisturbed, tmp_path / "run"))
    np.testing.assert_allclose(two, one, rtol=1e-4)  # sums in another order
    a, b = (load_model(out / "weights.safetensors", "cpu") for out in (undisturbed, tmp_path / "run"))
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0.02, atol=1e-3)
    again = tmp_path / "again"
    again.mkdir()
    # what one process began, two go on with
    train(write_config(again, checkpoint_minutes=60), again / "run", minutes=1e-9)
    done = subprocess.run(
        process(write_config(again), again / "run", resume=True, torchrun=2),
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.array(log_of(again / "run"), dtype=float), one, rtol=1e-4)


# Samples.


def test_sample_sheets_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = samples.write_samples
    monkeypatch.setattr(samples, "write_samples", lambda trainer, path: written(trainer, path, stories=2, steps=1))
    stage = {**TINY["stages"][0], "steps": 2}  # type: ignore[index]
    config = write_config(tmp_path, sample_every=2, stages=[stage], decay=1)
    train(config, tmp_path / "run")
    path, video = sorted((tmp_path / "run" / "samples").iterdir())
    assert (path.name, video.name) == ("step_0000002.png", "step_0000002.webp")
    with Image.open(video) as moving:
        assert moving.n_frames == 4 * stage["latent_frames"]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(float)
    # truth and sample of two stories below each other, eight shots beside each other, twice the size
    assert pixels.shape == (2 * 2 * 64 * 2, 8 * 96 * 2, 3)
    truth, made = pixels[:128], pixels[128:256]
    assert truth.std() > 20
    assert np.abs(truth - made).mean() > 5


def test_sampling_leaves_training_alone(tmp_path: Path, undisturbed: Path) -> None:
    """Chance, weights and the loss curve are what they were without samples."""
    config = write_config(tmp_path, sample_every=4, checkpoint_minutes=60)
    train(config, tmp_path / "run")
    assert len(list((tmp_path / "run" / "samples").glob("*.png"))) == 2
    assert log_of(tmp_path / "run") == log_of(undisturbed)
    # the card tells of `sample_every`, so the file is another; the weights in it are not
    a, b = (load_model(out / "weights.safetensors", "cpu") for out in (undisturbed, tmp_path / "run"))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_one_process_writes_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    config = write_config(tmp_path)
    with locked(out):
        for resume in (False, True):
            with pytest.raises(MocError, match=r"run is being written by another moc \(process \d+\)") as caught:
                train(config, out, resume)
            assert not isinstance(caught.value, InputError)
        monkeypatch.setenv("RANK", "1")  # under torchrun the first process holds the lock
        with pytest.raises(InputError, match="nothing to resume"):
            train(config, out, resume=True)
        monkeypatch.delenv("RANK")
    with pytest.raises(InputError, match="nothing to resume"):
        train(config, out, resume=True)
    assert not out.exists()


def test_restore_without_moments(tmp_path: Path, undisturbed: Path) -> None:
    """A compact checkpoint: the optimiser starts afresh, everything else goes on."""
    state = checkpoint.load_state(undisturbed / "checkpoint.pt")
    del state["optimizers"]
    trainer = Trainer(dataclasses.replace(parse(TINY), seed=5), tmp_path, CPU)
    trainer.restore(state)
    assert trainer.step == STEPS
    assert not trainer.optimizers[0].state
    for name, value in state["model"].items():
        assert torch.equal(dict(trainer.model.named_parameters())[name], value)


def test_broken_gradients_never_reach_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(write_config(tmp_path, checkpoint_minutes=0, log_every=1))
    trainer = Trainer(config, tmp_path / "run", CPU)
    whole = trainer._piece_gradients

    def poisoned(*args: object, **kwargs: object) -> torch.Tensor:
        result = whole(*args, **kwargs)  # type: ignore[arg-type]
        if trainer.step == 2:
            next(p for p in trainer.model.parameters() if p.grad is not None).grad.mul_(float("nan"))  # type: ignore[union-attr]
        return result

    monkeypatch.setattr(trainer, "_piece_gradients", poisoned)
    with pytest.raises(FloatingPointError, match="norm of the gradients nan"):
        trainer.train_to(config.steps, lambda row: None)
    state = checkpoint.load_state(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 2
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    train(config, tmp_path / "run", minutes=0.0)
    with pytest.raises(InputError, match=r"began with lr = 0\.\d+, not 0\.5"):
        train(config, tmp_path / "run", resume=True, overrides={"lr": 0.5})


@pytest.mark.parametrize("saved", [True, False])
def test_what_ctrl_c_says_depends_on_what_is_there(
    saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is sent to a checkpoint that isn't there."""
    from moc_cli.train import train as command

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("moc.training.run.train", stopped)
    if saved:
        (tmp_path / "checkpoint.pt").touch()
    says = (
        "Go on from the last checkpoint .* with --resume"
        if saved
        else "Stopped before the first checkpoint .*start again"
    )
    with pytest.raises(KeyboardInterrupt, match=says):
        command(write_config(tmp_path), out=tmp_path, overrides=[], minutes=None, device="cpu", seed=None, quiet=True)

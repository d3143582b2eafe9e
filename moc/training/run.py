"""`moc train`: reads the config, resumes, logs, samples. The log is a CSV that pandas reads."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from moc.errors import InputError, MocError
from moc.run.files import disk_error, remove_leftovers, write_bytes
from moc.run.lock import locked
from moc.training.config import TrainConfig, load

OnRow = Callable[[dict[str, float], int], None]


def read_config(path: Path, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """The training config at `path`.

    Raises:
        InputError: unreadable, unknown keys or values out of range, in one sentence.
    """
    try:
        return load(path, overrides)
    except ValueError as error:
        raise InputError(str(error)) from error


def _trim_log(path: Path, columns: Sequence[str], step: int) -> None:
    """Drop rows past `step`, and half a row: a killed run had logged beyond its last checkpoint."""
    rows = list(csv.reader(path.open(newline=""))) if path.exists() else []
    kept = [list(columns)]
    if rows[:1] == kept:
        kept += [row for row in rows[1:] if len(row) == len(columns) and int(row[0]) <= step]
    text = io.StringIO()
    csv.writer(text).writerows(kept)
    write_bytes(path, text.getvalue().encode())


def train(
    config_path: Path,
    out: Path,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    *,
    on_row: OnRow | None = None,
    minutes: float | None = None,
    fit: bool = False,
    device: str = "auto",
) -> Path:
    """Train a pocket model; returns the path of the averaged weights.

    Args:
        config_path: YAML of `TrainConfig`.
        out: folder for `checkpoint.pt`, `weights.safetensors`, `log.csv` and `samples/`.
        resume: continue from `out/checkpoint.pt`.
        overrides: top-level settings that replace the file's.
        on_row: called with each log row and the total number of steps.
        device: "auto" takes CUDA where there is one; "cpu", "cuda" or "cuda:1" are taken at their word.
        minutes: stop (saving) after about this long, for machines with time limits.
        fit: give the last stage as many steps, or the training as many rounds, as fit into `minutes`, the decay of the
            learning rate included.

    Raises:
        InputError: bad config, nothing to resume, `out` holds a run and `resume` is off, or `fit` without `minutes`.
        MocError: the loss is no longer finite, the disk is full or can't be written, or another process writes `out`.
    """
    if fit and not minutes:
        raise InputError(
            "--fit needs --minutes: it makes the last stage, or all rounds together, as long as the time allows."
        )
    config = read_config(config_path, overrides)
    first = os.environ.get("RANK", "0") == "0"  # under torchrun the first process alone writes
    with locked(out) if first else nullcontext():
        return _train(config, out, resume, on_row, minutes, fit, device)


def _train(
    config: TrainConfig, out: Path, resume: bool, on_row: OnRow | None, minutes: float | None, fit: bool, device: str
) -> Path:
    existing = out / "checkpoint.pt"
    if existing.exists() and not resume:
        raise InputError(f"{out} already holds a training run; add --resume to continue it or choose another --out.")
    if resume and not existing.exists():
        raise InputError(f"nothing to resume: {existing} does not exist.")

    from moc.run.device import resolve_device
    from moc.training.checkpoint import load_state, refuse_other_settings
    from moc.training.loop import LOG_COLUMNS, Trainer, start_processes

    began = time.monotonic()
    where = start_processes(resolve_device(device))
    try:
        trainer = Trainer(config, out, where, fresh=not resume)
        if resume:
            state = load_state(existing)
            refuse_other_settings(state["config"], config, int(state["step"]))
            trainer.restore(state)
    except ValueError as error:
        raise InputError(str(error)) from error

    log_path = out / "log.csv"
    if trainer.rank == 0:
        remove_leftovers(out, out / "samples")
        _trim_log(log_path, LOG_COLUMNS, trainer.step)

    def log(row: dict[str, float]) -> None:
        values = [row[name] for name in LOG_COLUMNS]
        try:
            with log_path.open("a", newline="") as file:
                csv.writer(file).writerow([v if isinstance(v, int) else f"{v:.6g}" for v in values])
        except OSError as error:
            raise disk_error(error, log_path) from error
        if on_row:
            on_row(row, trainer.config.steps)

    def sample(step: int) -> None:
        from moc.training.samples import write_samples

        write_samples(trainer, out / "samples" / f"step_{step:07d}.png")

    deadline = began + 60 * minutes if minutes else None
    try:
        trainer.train_to(config.steps, log, on_sample=sample, deadline=deadline, fit=fit)
    except FloatingPointError as error:
        raise MocError(str(error)) from error
    finally:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()
    return out / "weights.safetensors"

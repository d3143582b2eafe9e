"""`moc train`: reads the config, resumes, logs, samples. The log is a CSV that pandas reads."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moc.errors import InputError, MocError
from moc.training.config import TrainConfig, load

OnRow = Callable[[dict[str, float], int], None]


def read_config(path: Path, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """The training config at `path`.

    Raises:
        InputError: unreadable, unknown keys or values out of range, in one sentence.
    """
    try:
        return load(path, overrides)
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error


def _trim_log(path: Path, step: int) -> None:
    """Drop rows past `step`: a killed run had logged beyond its last checkpoint."""
    rows = list(csv.reader(path.open(newline=""))) if path.exists() else []
    kept = rows[:1] + [row for row in rows[1:] if row and int(float(row[0])) <= step]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w", newline="") as file:
        csv.writer(file).writerows(kept)
    os.replace(temporary, path)


def train(
    config_path: Path,
    out: Path,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    *,
    on_row: OnRow | None = None,
    minutes: float | None = None,
) -> Path:
    """Train a pocket model; returns the path of the averaged weights.

    Args:
        config_path: YAML of `TrainConfig`.
        out: folder for `checkpoint.pt`, `weights.safetensors`, `log.csv` and `samples/`.
        resume: continue from `out/checkpoint.pt`.
        overrides: top-level settings that replace the file's.
        on_row: called with each log row and the total number of steps.
        minutes: stop (saving) after about this long, for machines on a short lease.

    Raises:
        InputError: bad config, nothing to resume, or `out` holds a run and `resume` is off.
        MocError: the loss is no longer finite.
    """
    config = read_config(config_path, overrides)
    existing = out / "checkpoint.pt"
    if existing.exists() and not resume:
        raise InputError(f"{out} already holds a training run; add --resume to continue it or choose another --out.")
    if resume and not existing.exists():
        raise InputError(f"nothing to resume: {existing} does not exist.")

    from moc.training.checkpoint import load_state
    from moc.training.loop import LOG_COLUMNS, Trainer, start_processes

    began = time.monotonic()
    device = start_processes()
    try:
        trainer = Trainer(config, out, device)
        if resume:
            trainer.restore(load_state(existing))
    except ValueError as error:
        raise InputError(str(error)) from error

    log_path = out / "log.csv"
    if trainer.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        _trim_log(log_path, trainer.step)

    def log(row: dict[str, float]) -> None:
        fresh = not log_path.exists() or log_path.stat().st_size == 0
        with log_path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(LOG_COLUMNS)
            writer.writerow([f"{row[name]:.6g}" for name in LOG_COLUMNS])
        if on_row:
            on_row(row, config.steps)

    def sample(step: int) -> None:
        from moc.training.samples import write_samples

        write_samples(trainer, out / "samples" / f"step_{step:07d}.png")

    deadline = began + 60 * minutes if minutes else None
    try:
        trainer.train_to(config.steps, log, on_sample=sample, deadline=deadline)
    except FloatingPointError as error:
        raise MocError(str(error)) from error
    finally:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()
    return out / "weights.safetensors"

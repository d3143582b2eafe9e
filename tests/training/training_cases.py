"""A training run of toy size, and how to start one as a process."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

ROOT = Path(__file__).parents[2]
TINY = {
    "seed": 1,
    "model": {"width": 32, "layers": 2, "heads": 1, "mlp": 48, "head": 48},
    "micro_stories": 2,
    "warmup": 2,
    "decay": 4,
    "lr": 1e-3,
    "log_every": 1,
    "checkpoint_minutes": 0,  # after every logged step
    "sample_every": 0,
    "stages": [
        {"steps": 3, "stories": 4, "latent_frames": 1, "shots": 2, "chunk_tokens": 48, "top_k": 2},
        {"steps": 5, "stories": 4, "latent_frames": 1, "shots": 3, "chunk_tokens": "frame", "top_k": 1},
    ],
}
EXACT = ("step", "stage", "loss", "loss_x", "grad_norm", "lr")  # the columns that are no timings


def write_config(folder: Path, **changes: Any) -> Path:
    """The tiny config as a file; `changes` replace top-level keys."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


def log_of(out: Path) -> list[tuple[str, ...]]:
    """The exact columns of a run's log, as text."""
    with (out / "log.csv").open(newline="") as file:
        return [tuple(row[name] for name in EXACT) for row in csv.DictReader(file)]


def process(config: Path, out: Path, *, resume: bool = False, torchrun: int = 0) -> list[str]:
    """Command of a process that trains."""
    script = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path; from moc.training.run import train;"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), resume=sys.argv[3] == 'resume')"
    )
    arguments = [str(config), str(out), "resume" if resume else "fresh"]
    if not torchrun:
        return [sys.executable, "-c", script, *arguments]
    runner = out.parent / "train.py"
    runner.write_text(script.replace("; ", "\n").replace(";", "\n"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(torchrun)]
    return [*launch, str(runner), *arguments]


def environment() -> dict[str, str]:
    """Variables of such a process."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class OneThread:
    """Sums come out in the same order only on the same number of threads."""

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)

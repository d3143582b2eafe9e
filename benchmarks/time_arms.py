"""Seconds of a training step of each arm of a plan, alone on the device: what equal steps cost under each pattern.

    python benchmarks/time_arms.py benchmarks/patterns/arms.yaml --out step_time.json

Takes the arms marked `time: true`, in one process, so that all share what is compiled; their last stage, after some
steps to warm up. Median, fastest and slowest of the steps timed, data included, and the peak of memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from arms import Arm, read_plan

from moc.run.device import resolve_device
from moc.run.files import write_json
from moc.training.loop import Trainer, compiling


def timed(arm: Arm, device: torch.device, steps: int, warm: int) -> dict[str, Any]:
    """Seconds a step of the arm's last stage."""
    config = arm.config
    trainer = Trainer(config, Path(), device, fresh=False)
    trainer.step = config.steps - config.stages[-1].steps
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    with compiling(trainer.compiled):
        for number in range(warm + steps):
            began = time.perf_counter()
            trainer.optimise()
            if cuda:
                torch.cuda.synchronize()
            if number >= warm:
                seconds.append(time.perf_counter() - began)
    return {
        "seconds": median(seconds), "fastest": min(seconds), "slowest": max(seconds), "steps": steps,
        "stories": config.stages[-1].stories,
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
    }  # fmt: skip


def main() -> None:
    """Parse, time, write."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("plan", type=Path)
    found.add_argument("--out", type=Path, required=True, metavar="JSON")
    found.add_argument("--device", default="auto")
    found.add_argument("--steps", type=int, default=15)
    found.add_argument("--warm", type=int, default=4)
    args = found.parse_args()
    device = torch.device(resolve_device(args.device))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    arms = [arm for arm in read_plan(args.plan).arms.values() if arm.time]
    if not arms:
        sys.exit(f"error: no arm of {args.plan} has time: true")
    told: dict[str, Any] = {"device": name, "torch": torch.__version__, "first": arms[0].name, "arms": {}}
    for arm in arms:
        try:
            told["arms"][arm.name] = one = timed(arm, device, args.steps, args.warm)
            print(f"{arm.name}: {1000 * one['seconds']:.1f} ms a step", flush=True)
        except (RuntimeError, NotImplementedError, ValueError) as error:  # the other arms still count
            print(f"{arm.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        write_json(args.out, told)


if __name__ == "__main__":
    main()

"""Trains the arms of a plan side by side on one GPU or several, measures each, and goes on where it was stopped.

    python benchmarks/train_arms.py benchmarks/patterns/arms.yaml --out runs/patterns
    python benchmarks/train_arms.py benchmarks/patterns/arms.yaml --out runs/patterns --minutes 9 --fit --pack results

Small models keep a GPU half busy at best, so several processes share one. Everything of an arm lies in its folder:
the config as it was run, checkpoint, weights, log, what the process said, what was measured. The same command again
goes on with what is missing; an arm that fails leaves the others alone. `--minutes` saves and stops after about so
long; `--fit` scales the steps of all arms that build on another by one factor, found by timing them first
(`time_arms.py`), so that they fit into what is left. What is in a plan: `arms.py`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from arms import MEMORY, RECORD, WEIGHTS, Arm, Plan, is_trained, read_plan
from arms_table import pack, write_table

from moc.run.files import write_bytes, write_json

HERE = Path(__file__).resolve().parent
SECONDS_TO_MEASURE = 12.0  # of one arm, on a GPU that it shares: what `--fit` keeps free
SECONDS_TO_START = 25.0
MOST_SCALE = 2.0


@dataclass
class Job:
    """A process of an arm: "train" or "measure", on a GPU (None on a CPU)."""

    arm: Arm
    kind: str
    gpu: int | None
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)


class Runner:
    """Starts what is ready while there is room, until nothing is left."""

    def __init__(self, plan: Plan, args: argparse.Namespace) -> None:
        self.plan, self.args, self.out = plan, args, args.out
        self.gpus: list[int | None] = [None] if args.device == "cpu" else _gpus(args.gpus)
        self.deadline = time.monotonic() + 60 * args.minutes if args.minutes else None
        self.running: list[Job] = []
        self.failed: set[str] = set()
        self.stopped = False
        self.compiled: set[str] = set()
        self.trained = {name for name, arm in plan.arms.items() if is_trained(self.out / name)}

    def run(self) -> None:
        """Everything."""
        said = 0.0
        try:
            while True:
                self._collect()
                self._start()
                if not self.running:
                    return
                if time.monotonic() - said > self.args.every:
                    said = time.monotonic()
                    print(f"[{self._clock()}] " + "; ".join(self._state(job) for job in self.running), flush=True)
                time.sleep(0.2)
        finally:
            for job in self.running:
                job.process.terminate()

    # What there is to do.

    def _ready(self) -> Iterator[tuple[Arm, str]]:
        busy = {job.arm.name for job in self.running}
        for name, arm in self.plan.arms.items():
            if name in busy or name in self.failed:
                continue
            if name in self.trained:
                if arm.measure and not self.args.no_measure and not (self.out / name / MEMORY).exists():
                    yield arm, "measure"
            elif not arm.after or arm.after in self.trained:
                yield arm, "train"

    def _start(self) -> None:
        for arm, kind in list(self._ready()):
            left = None if self.deadline is None else self.deadline - time.monotonic()
            if left is not None and left < 5:
                self.stopped = True
                return
            gpu = self._free_gpu()
            if gpu == -1:
                return
            if kind == "train" and self._waits_for_kernels(arm):
                continue
            command = self._train(arm, left) if kind == "train" else self._measure(arm)
            environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": str(self.args.threads)}
            environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")  # every process keeps so many at hand
            if gpu is not None:
                environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
            with (self.out / arm.name / f"{kind}.txt").open("ab") as said:
                process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
            self.running.append(Job(arm, kind, gpu, process))
            print(f"[{self._clock()}] {kind} {arm.name}" + ("" if gpu is None else f" on GPU {gpu}"), flush=True)

    def _collect(self) -> None:
        for job in [job for job in self.running if job.process.poll() is not None]:
            self.running.remove(job)
            code = job.process.returncode
            if job.kind == "train":
                self.compiled.add(_shapes(job.arm))
                if is_trained(self.out / job.arm.name):
                    self.trained.add(job.arm.name)
                elif code == 0:
                    self.stopped = True  # out of time; a checkpoint is there
                    self.failed.add(job.arm.name)
            if code:
                self.failed.add(job.arm.name)
                text = (self.out / job.arm.name / f"{job.kind}.txt").read_text(errors="replace")
                print(
                    f"{job.kind} {job.arm.name} failed with {code}:\n" + "\n".join(text.splitlines()[-12:]), flush=True
                )
            else:
                took = time.monotonic() - job.began
                print(f"[{self._clock()}] {job.kind} {job.arm.name}: {took:.0f} s", flush=True)

    def _free_gpu(self) -> int | None:
        """The GPU with the most room, None for the CPU, -1 where all are full."""
        load = {gpu: sum(job.gpu == gpu for job in self.running) for gpu in self.gpus}
        gpu = min(self.gpus, key=lambda g: load[g])
        return gpu if load[gpu] < (self.args.at_once or self.plan.at_once) else -1

    def _waits_for_kernels(self, arm: Arm) -> bool:
        """Whether another arm is compiling what this one needs, and will find on the disk from the other's first log
        row on."""
        same = [job for job in self.running if job.kind == "train" and _shapes(job.arm) == _shapes(arm)]
        if self.gpus == [None] or _shapes(arm) in self.compiled or not same:
            return False
        if any(_rows(self.out / job.arm.name) for job in same) or time.monotonic() - same[0].began > 90:
            self.compiled.add(_shapes(arm))
            return False
        return True

    # Commands.

    def _train(self, arm: Arm, left: float | None) -> list[str]:
        folder = self.out / arm.name
        values = dict(arm.scaled(self._scale(arm, left)).values)
        if arm.after:
            values["init"] = str(self.out / arm.after / WEIGHTS)
        record = folder / RECORD
        text = yaml.safe_dump(values, sort_keys=False)
        if record.exists() and yaml.safe_load(record.read_text(encoding="utf-8")) != values:
            sys.exit(f"error: {record} is not what the plan says now; choose another --out or remove {folder}")
        write_bytes(record, text.encode())
        resume = ["--resume"] if (folder / "checkpoint.pt").exists() else []
        minutes = [] if left is None else ["--minutes", f"{max(0.01, (left - 8) / 60):.3f}"]
        command = [sys.executable, "-m", "moc_cli", "train", str(record), "--out", str(folder), "--quiet"]
        return [*command, "--device", self.args.device, *resume, *minutes]

    def _measure(self, arm: Arm) -> list[str]:
        sizes = [x for name, value in self.plan.sizes.items() for x in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, str(HERE / "measure_arm.py"), str(self.out / arm.name), "--device", self.args.device]
        return [*command, *sizes, *(["--joint"] if arm.joint else [])]

    def _scale(self, arm: Arm, left: float | None) -> float:
        """The factor of this arm's steps: `--scale`; for arms that build on another also what `--fit` found once, and
        with `--equal time` what brings its time to that of the first arm that was timed."""
        if not arm.after:
            return float(self.args.scale)
        scale = self.args.scale * self._share(arm)
        if self.args.fit:
            place = self.out / "fit.json"
            if not place.exists():
                write_json(place, self._fitted(left))
            scale *= json.loads(place.read_text())["scale"]
        return float(scale)

    def _share(self, arm: Arm) -> float:
        seconds = step_seconds(self.out)
        if self.args.equal == "steps" or not seconds:
            return 1.0
        first = next(iter(seconds.values()))
        return first / seconds.get(arm.name, first)

    def _fitted(self, left: float | None) -> dict[str, Any]:
        if left is None:
            sys.exit("error: --fit needs --minutes")
        seconds = step_seconds(self.out)
        usual = sum(seconds.values()) / len(seconds) if seconds else 0.06
        todo = [arm for name, arm in self.plan.arms.items() if arm.after and name not in self.trained]
        work = sum(arm.config.steps * seconds.get(arm.name, usual) * self._share(arm) for arm in todo) * self.args.scale
        measured = sum(arm.measure for arm in todo) * SECONDS_TO_MEASURE * (not self.args.no_measure)
        room = self.args.overlap * len(self.gpus) * (left - SECONDS_TO_START) - measured
        scale = min(MOST_SCALE, max(0.05, room / work))
        print(f"{work:.0f} s of training, {room:.0f} s of room: steps are scaled by {scale:.2f}", flush=True)
        return {"scale": round(scale, 3), "work_seconds": work, "room_seconds": room}

    # What is said.

    def _state(self, job: Job) -> str:
        rows = _rows(self.out / job.arm.name) if job.kind == "train" else []
        if not rows:
            return f"{job.arm.name} {job.kind}"
        last = rows[-1]
        return f"{job.arm.name} {last['step']} loss {float(last['loss']):.4f} {float(last['stories_per_s']):.0f}/s"

    def _clock(self) -> str:
        return f"{time.monotonic() - self.args.began:5.0f} s"


def step_seconds(out: Path) -> dict[str, float]:
    """Seconds a step of the arms that were timed."""
    try:
        arms = json.loads((out / "step_time.json").read_text())["arms"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: float(one["seconds"]) for name, one in arms.items()}


def _gpus(wanted: str | None) -> list[int | None]:
    if wanted:
        return [int(n) for n in wanted.split(",")]
    import torch

    return list(range(torch.cuda.device_count())) or [None]


def _shapes(arm: Arm) -> str:
    """What a compilation of this arm is for."""
    config = arm.config
    stages = [(config.micro_of(stage), stage.latent_frames, stage.shots) for stage in config.stages]
    return json.dumps([arm.values.get("model", {}), stages])


def _rows(folder: Path) -> list[dict[str, str]]:
    with suppress(OSError), (folder / "log.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]
    return []


def only(plan: Plan, names: str | None) -> Plan:
    """The plan with some arms alone, and those that they come after."""
    if not names:
        return plan
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in plan.arms]
    if unknown:
        sys.exit(f"error: no arm is named {unknown[0]!r}; there are {', '.join(plan.arms)}")
    kept = {*wanted, *(plan.arms[name].after for name in wanted)}
    return replace(plan, arms={name: arm for name, arm in plan.arms.items() if name in kept})


def main() -> int:
    """Parse, run, put together; 1 where something is missing in the end."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("plan", type=Path)
    found.add_argument("--out", type=Path, required=True)
    found.add_argument("--only", metavar="A,B", help="these arms, and what they build on")
    found.add_argument("--at-once", type=int, help="processes on one GPU (default: the plan's)")
    found.add_argument("--gpus", metavar="0,1", help="GPUs to use (default: all)")
    found.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    found.add_argument("--minutes", type=float, help="save and stop after about so long")
    found.add_argument("--fit", action="store_true", help="scale the arms' steps to what is left of --minutes")
    found.add_argument("--equal", choices=["steps", "time"], default="steps", help="what arms have equal of")
    found.add_argument("--overlap", type=float, default=1.0, help="for --fit: how much faster arms are side by side")
    found.add_argument("--scale", type=float, default=1.0, help="multiply all steps")
    found.add_argument("--no-time", action="store_true", help="don't time the steps first")
    found.add_argument("--no-measure", action="store_true")
    found.add_argument("--pack", type=Path, metavar="FOLDER", help="archives of results and of weights, 15 MiB at most")
    found.add_argument("--threads", type=int, default=2, help="CPU threads of a process")
    found.add_argument("--every", type=float, default=20, help="seconds between lines of progress")
    args = found.parse_args()
    args.began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    try:
        plan = only(read_plan(args.plan), args.only)
    except ValueError as error:
        sys.exit(f"error: {error}")
    for name in plan.arms:
        (args.out / name).mkdir(parents=True, exist_ok=True)
    runner = Runner(plan, args)
    times = args.out / "step_time.json"
    if not args.no_time and not times.exists() and any(arm.time for arm in plan.arms.values()):
        command = [sys.executable, str(HERE / "time_arms.py"), str(args.plan), "--out", str(times)]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        subprocess.run([*command, "--device", args.device], env=environment, check=False)
    try:
        runner.run()
    finally:
        write_table(plan, args.out, step_seconds(args.out))
        if args.pack:
            pack(plan, args.out, args.pack)
    missing = [name for name in plan.arms if name not in runner.trained]
    if missing:
        print(f"not trained to the end: {', '.join(missing)}; the same command goes on", flush=True)
    return int(bool(missing or runner.failed))


if __name__ == "__main__":
    sys.exit(main())

"""Trains the arms of a plan side by side on one GPU or several, measures each, and goes on where it was stopped.

    python benchmarks/train_arms.py benchmarks/patterns/arms.yaml --out runs/patterns
    python benchmarks/train_arms.py benchmarks/patterns/arms.yaml --out runs/patterns --minutes 9 --fit --pack results

Small models keep a GPU half busy at best, so several processes share one. Everything of an arm lies in its folder:
the config as it was run, checkpoint, weights, log, what the process said, what was measured. The same command again
goes on with what is missing. An arm that fails is tried once more when the others have begun, and leaves them alone.
`--minutes` saves and stops after about so long, and half a minute later at most; `--fit` scales the steps of all arms
that build on another by one factor, found by timing them first (`time_arms.py`), so that they fit into what is left.
`--equal both` gives the arms twins that have as much time as the first one instead of as many steps. What is in a plan:
`arms.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import yaml
from arms import MEMORY, RECORD, WEIGHTS, Arm, Plan, is_trained, read_plan, with_equal, with_seeds
from arms_fit import SECONDS_TO_LOAD, fitted, share, step_times
from arms_table import log_rows, pack, write_table

from moc.run.files import write_bytes, write_json

HERE = Path(__file__).resolve().parent
TIMES = "step_time.json"
TO_SAVE = 12.0  # seconds before the end when trainings stop: they look at the clock when they log
GRACE = 30.0  # seconds after it when what still runs is ended
TRIES = 2


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
        self.gpus = gpus_of(args.gpus, args.device)
        self.deadline = time.monotonic() + 60 * args.minutes if args.minutes else None
        self.running: list[Job] = []
        self.failed: set[str] = set()
        self.unfinished: set[str] = set()  # out of time, with a checkpoint
        self.tries: dict[str, int] = {}
        self.compiled: set[str] = set()
        self.timing: subprocess.Popen[bytes] | None = None
        self.timed_by = args.began + 20 * args.minutes if args.minutes else float("inf")  # a third of what there is
        self.trained = {name for name, arm in plan.arms.items() if is_trained(self.out / name)}

    def run(self) -> None:
        """Everything."""
        said = 0.0
        try:
            self._time()
            while True:
                self._collect()
                if self._left() < -GRACE:
                    print(f"[{self._clock()}] time is up; what still runs is ended", flush=True)
                    return
                self._start()
                if not self.running and self.timing is None:
                    return
                if time.monotonic() - said > self.args.every:
                    said = time.monotonic()
                    print(f"[{self._clock()}] " + "; ".join(self._state(job) for job in self.running), flush=True)
                time.sleep(0.2)
        finally:
            end([job.process for job in self.running] + ([self.timing] if self.timing else []))

    def _left(self) -> float:
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    # What there is to do.

    def _ready(self) -> Iterator[tuple[Arm, str]]:
        """What can start; what has failed before comes last."""
        busy = {job.arm.name for job in self.running}
        for name, arm in sorted(self.plan.arms.items(), key=lambda item: self.tries.get(item[0], 0)):
            if name in busy or name in self.failed or name in self.unfinished:
                continue
            if name in self.trained:
                if arm.measure and not self.args.no_measure and not (self.out / name / MEMORY).exists():
                    yield arm, "measure"
            elif not arm.after or (arm.after in self.trained and self.timing is None):
                yield arm, "train"

    def _start(self) -> None:
        for arm, kind in list(self._ready()):
            if self._left() < (SECONDS_TO_LOAD if kind == "measure" else 2 * TO_SAVE):
                continue
            gpu = self._free_gpu()
            if gpu == -1:
                return
            if kind == "train" and self._waits_for_kernels(arm):
                continue
            try:
                command = self._train(arm) if kind == "train" else self._measure(arm)
            except ValueError as error:
                self.failed.add(arm.name)
                print(f"{kind} {arm.name} failed: {error}", flush=True)
                continue
            self.tries[arm.name] = self.tries.get(arm.name, 0) + 1
            with (self.out / arm.name / f"{kind}.txt").open("ab") as said:
                process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=self._environment(gpu))
            self.running.append(Job(arm, kind, gpu, process))
            print(f"[{self._clock()}] {kind} {arm.name}" + ("" if gpu is None else f" on GPU {gpu}"), flush=True)

    def _collect(self) -> None:
        if self.timing and (self.timing.poll() is not None or time.monotonic() > self.timed_by):
            end([self.timing])
            self.timing = None
            timed = step_times(self.out).seconds
            self.compiled |= {_shapes(arm) for name, arm in self.plan.arms.items() if name in timed}
            print(f"[{self._clock()}] steps timed: {', '.join(timed) or 'none'}", flush=True)
        for job in [job for job in self.running if job.process.poll() is not None]:
            self.running.remove(job)
            name, code = job.arm.name, job.process.returncode
            took = time.monotonic() - job.began
            if job.kind == "train":
                self.compiled.add(_shapes(job.arm))
                if is_trained(self.out / name):
                    self.trained.add(name)
                elif code == 0:
                    self.unfinished.add(name)
            if code:
                if self.tries[name] >= TRIES:
                    self.failed.add(name)
                text = (self.out / name / f"{job.kind}.txt").read_text(errors="replace")
                print(f"{job.kind} {name} failed with {code}:\n" + "\n".join(text.splitlines()[-12:]), flush=True)
            else:
                self.tries[name] = 0
                print(f"[{self._clock()}] {job.kind} {name}: {took:.0f} s", flush=True)

    def _free_gpu(self) -> int | None:
        """The GPU with the most room, None for the CPU, -1 where all are full; the last one is left to timing."""
        gpus = self.gpus[:-1] if self.timing else self.gpus
        load = {gpu: sum(job.gpu == gpu for job in self.running) for gpu in gpus}
        gpu = min(gpus, key=lambda g: load[g], default=-1)
        return gpu if gpu != -1 and load[gpu] < (self.args.at_once or self.plan.at_once) else -1

    def _waits_for_kernels(self, arm: Arm) -> bool:
        """Whether another arm is compiling what this one needs, and will find on the disk from the other's first log
        row on."""
        same = [job for job in self.running if job.kind == "train" and _shapes(job.arm) == _shapes(arm)]
        if self.gpus == [None] or _shapes(arm) in self.compiled or not same:
            return False
        if any(log_rows(self.out / job.arm.name) for job in same) or time.monotonic() - same[0].began > 90:
            self.compiled.add(_shapes(arm))
            return False
        return True

    # Commands.

    def _environment(self, gpu: int | None) -> dict[str, str]:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": str(self.args.threads)}
        environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")  # every process keeps so many at hand
        return environment if gpu is None else environment | {"CUDA_VISIBLE_DEVICES": str(gpu)}

    def _time(self) -> None:
        """Starts timing steps, on the last GPU, while what others build on is trained on the rest."""
        place = self.out / TIMES
        if self.args.no_time or place.exists() or not any(arm.time for arm in self.plan.arms.values()):
            return
        command = [sys.executable, str(HERE / "time_arms.py"), str(self.args.plan), "--out", str(place)]
        command += ["--device", self.args.device]
        with (self.out / "time.txt").open("ab") as said:
            environment = self._environment(self.gpus[-1])
            self.timing = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)

    def _train(self, arm: Arm) -> list[str]:
        folder = self.out / arm.name
        values = dict(arm.scaled(self._scale(arm)).values)
        if arm.after:
            values["init"] = str(self.out / arm.after / WEIGHTS)
        record = folder / RECORD
        text = yaml.safe_dump(values, sort_keys=False)
        if record.exists() and yaml.safe_load(record.read_text(encoding="utf-8")) != values:
            raise ValueError(f"{record} is not what the plan says now; choose another --out or remove {folder}")
        write_bytes(record, text.encode())
        resume = ["--resume"] if (folder / "checkpoint.pt").exists() else []
        minutes = [] if self.deadline is None else ["--minutes", f"{max(0.01, (self._left() - TO_SAVE) / 60):.3f}"]
        command = [sys.executable, "-m", "moc_cli", "train", str(record), "--out", str(folder), "--quiet"]
        return [*command, "--device", self.args.device, *resume, *minutes]

    def _measure(self, arm: Arm) -> list[str]:
        sizes = [x for name, value in self.plan.sizes.items() for x in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, str(HERE / "measure_arm.py"), str(self.out / arm.name), "--device", self.args.device]
        return [*command, *sizes, *(["--joint"] if arm.joint else [])]

    def _scale(self, arm: Arm) -> float:
        """The factor of this arm's steps: `--scale`; for arms that build on another also what `--fit` found once, and
        with equal time what brings its time to that of the first arm that was timed."""
        if not arm.after:
            return float(self.args.scale)
        scale = self.args.scale * share(arm, step_times(self.out))
        return float(scale * self._fit() if self.args.fit else scale)

    def _fit(self) -> float:
        """What `--fit` multiplies all steps by, found when the first arm starts that builds on another, and kept."""
        place = self.out / "fit.json"
        if not place.exists():
            todo = [
                arm.scaled(self.args.scale)
                for name, arm in self.plan.arms.items()
                if arm.after and name not in self.trained
            ]
            fit = fitted(
                todo, step_times(self.out), self._left(), gpus=len(self.gpus), overlap=self.args.overlap,
                measure=not self.args.no_measure,
            )  # fmt: skip
            print(
                f"{fit.work_seconds:.0f} s of training on the busiest of {len(self.gpus)} GPUs, "
                f"{fit.room_seconds:.0f} s of room: steps are scaled by {fit.scale:.2f}",
                flush=True,
            )
            write_json(place, asdict(fit))
        return float(json.loads(place.read_text())["scale"])

    # What is said.

    def _state(self, job: Job) -> str:
        rows = log_rows(self.out / job.arm.name) if job.kind == "train" else []
        if not rows:
            return f"{job.arm.name} {job.kind}"
        last = rows[-1]
        return f"{job.arm.name} {last['step']:.0f} loss {last['loss']:.4f} {last['stories_per_s']:.0f}/s"

    def _clock(self) -> str:
        return f"{time.monotonic() - self.args.began:5.0f} s"


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ends them, by force after five seconds."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + 5
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def gpus_of(wanted: str | None, device: str) -> list[int | None]:
    """Numbers of the GPUs to use, all that there are where none is named; None stands for the CPU."""
    if device == "cpu":
        return [None]
    if wanted:
        return [int(n) for n in wanted.split(",")]
    import torch

    return list(range(torch.cuda.device_count())) or [None]


def _shapes(arm: Arm) -> str:
    """What a compilation of this arm is for."""
    config = arm.config
    stages = [(config.micro_of(stage), stage.latent_frames, stage.shots) for stage in config.stages]
    return json.dumps([arm.values.get("model", {}), stages])


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
    found.add_argument("--equal", choices=["steps", "time", "both"], default="steps", help="what arms have equal of")
    found.add_argument("--seeds", type=int, metavar="N", help="at most so many seeds of an arm (default: the plan's)")
    found.add_argument("--overlap", type=float, default=1.0, help="for --fit: how much faster arms are side by side")
    found.add_argument("--scale", type=float, default=1.0, help="multiply all steps")
    found.add_argument("--no-time", action="store_true", help="don't time the steps first")
    found.add_argument("--no-measure", action="store_true")
    found.add_argument("--pack", type=Path, metavar="FOLDER", help="archives of results and weights, 15 MiB at most")
    found.add_argument("--threads", type=int, default=2, help="CPU threads of a process")
    found.add_argument("--every", type=float, default=20, help="seconds between lines of progress")
    args = found.parse_args()
    args.began = time.monotonic()
    if args.fit and not args.minutes:
        sys.exit("error: --fit needs --minutes")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    try:
        plan = read_plan(args.plan)
        plan = only(with_equal(with_seeds(plan, args.seeds) if args.seeds else plan, args.equal), args.only)
    except ValueError as error:
        sys.exit(f"error: {error}")
    for name in plan.arms:
        (args.out / name).mkdir(parents=True, exist_ok=True)
    runner = Runner(plan, args)
    try:
        runner.run()
    finally:
        try:
            write_table(plan, args.out, step_times(args.out))
        finally:  # a table that can't be made must not cost what was trained
            if args.pack:
                pack(plan, args.out, args.pack)
    missing = [name for name in plan.arms if name not in runner.trained]
    if missing:
        print(f"not trained to the end: {', '.join(missing)}; the same command goes on", flush=True)
    return int(bool(missing or runner.failed))


if __name__ == "__main__":
    sys.exit(main())

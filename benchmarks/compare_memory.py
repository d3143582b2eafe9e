"""`moc compare --suite memory` on several GPUs: an arm a process, one process a GPU, one table in the end.

    python benchmarks/compare_memory.py --out runs/memory-patterns --minutes 9 --pack results
    python benchmarks/compare_memory.py --out /tmp/look --attention dense,moc,local --stories 1 --shots 3 \\
        --latent-frames 2 --steps 2 --device cpu

Every pattern with the shipped weights on the same planted stories, and MoC beside random routes with fewer links: one
and two for each token of each head, where a blind draw no longer covers the story. The same command goes on with the
arms that are missing, and an arm that fails leaves the others alone. `compare.json`, `table.csv`, `table.md` and
`plot.png` hold the arms that are done. What is measured: `docs/memory.md`.

Weights of one's own under other attention than they were trained with tell what the choice is worth, apart from the
training (`train_arms.py`):

    python benchmarks/compare_memory.py --out runs/swapped --weights runs/patterns/moc/weights.safetensors \\
        --attention moc:top_k=8,dense,random:top_k=8 --latent-frames 4
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arms_plot import Arm as PlottedArm
from arms_plot import Point, write_plot
from arms_table import piles, write_archive
from train_arms import end, gpus_of

from moc.compare.arms import REFERENCE, Arm
from moc.compare.costs import GFLOP
from moc.compare.memory_columns import OWNERS
from moc.compare.save import write
from moc.compare.suite import Benchmark, all_arms, compare_memory, refuse_others
from moc.errors import MocError
from moc.run.files import write_json

HERE = Path(__file__).resolve().parent
ARMS = (
    "moc,dense,moc:top_k=40,local,random,first-frame,moc:top_k=2,random:top_k=2,moc:top_k=1,random:top_k=1,moc-block,"
    "moc-uniform,radial"
)
"""In the order of what is asked first, for a machine whose time ends early."""
KINDS = ("json", "csv", "md", "txt", "png")
SIZES = ("stories", "shots", "latent_frames", "steps")


def benchmark(args: argparse.Namespace, arms: tuple[Arm, ...]) -> Benchmark:
    """What is asked of the arms."""
    return Benchmark(
        arms, args.out, device=args.device, force=args.force, **{name: getattr(args, name) for name in SIZES}
    )


def measure_all(args: argparse.Namespace, arms: tuple[Arm, ...]) -> list[str]:
    """Measures what is missing, side by side; labels of the arms that failed or were cut off."""
    gpus = gpus_of(args.gpus, args.device)
    deadline = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    waiting = list(arms)
    running: dict[int | None, tuple[Arm, subprocess.Popen[bytes], float]] = {}
    failed = []
    try:
        while (waiting or running) and time.monotonic() < deadline:
            for gpu in gpus:
                if gpu not in running and waiting:
                    arm = waiting.pop(0)
                    running[gpu] = arm, _start(args, arm, gpu), time.monotonic()
            for gpu, (arm, process, began) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[gpu]
                took = time.monotonic() - began
                print(f"{arm.label}: {took:.0f} s" + (f", failed with {process.returncode}" * bool(process.returncode)))
                if process.returncode:
                    failed.append(arm.label)
                    said = (args.out / f"{arm.folder}.txt").read_text(errors="replace")
                    print("\n".join(said.splitlines()[-12:]), flush=True)
            sys.stdout.flush()
            time.sleep(0.2)
    finally:
        end([process for _, process, _ in running.values()])
    return [*failed, *(arm.label for arm, _, _ in running.values()), *(arm.label for arm in waiting)]


def _start(args: argparse.Namespace, arm: Arm, gpu: int | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__).resolve()), "--out", str(args.out), "--device", args.device]
    command += ["--attention", args.attention, "--one", arm.label]
    command += ["--weights", args.weights] if args.weights else []
    command += ["--force"] if args.force else []
    for name in SIZES:
        if (value := getattr(args, name)) is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    with (args.out / f"{arm.folder}.txt").open("wb") as said:
        return subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)


def tell(args: argparse.Namespace, arms: tuple[Arm, ...], missing: list[str]) -> None:
    """The table of the arms that are done, as files and on stdout; their numbers are read, not measured again."""
    done = tuple(arm for arm in arms if arm.label not in missing)
    if not done:
        sys.exit("error: no arm was measured")
    held = next((arm.label for arm in done if arm.label.split()[-1] == REFERENCE), done[0].label)
    report = compare_memory(benchmark(args, done), reference=held)
    write_json(args.out / "compare.json", report)
    for name in ("table.csv", "table.md"):
        write(report, args.out / name)
    try:
        write_plot([_drawn(arm) for arm in report["arms"]], args.out / "plot.png", title=report["title"],
                   cost="GFLOP of attention a story, one pass")  # fmt: skip
    except ImportError as error:
        print(f"no plot.png: {error}", flush=True)
    print((args.out / "table.md").read_text(), flush=True)


def _drawn(told: dict[str, Any]) -> PlottedArm:
    values, intervals = told["values"], told["intervals"]
    points = {}
    for whose in OWNERS:
        found = intervals.get(f"recall_{whose}")
        points[f"recall of {whose}"] = Point(
            values[f"recall_{whose}"], None if found is None else (found[0], found[1]), values[f"chance_{whose}"]
        )
    return PlottedArm(told["label"], points, values[GFLOP.key])


def main() -> int:
    """Parse, measure, tell, pack; 1 where an arm is missing."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, required=True)
    found.add_argument("-a", "--attention", default=ARMS, metavar="NAMES", help="arms, as moc compare names them")
    found.add_argument("--weights", metavar="A,B", help="models or files of weights (default: the shipped ones)")
    found.add_argument("--gpus", metavar="0,1", help="GPUs to use (default: all)")
    found.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    found.add_argument("--minutes", type=float, help="end what still runs after so long")
    for name in SIZES:
        found.add_argument(f"--{name.replace('_', '-')}", type=int)
    found.add_argument("--force", action="store_true", help="measure anew what was measured otherwise")
    found.add_argument("--pack", type=Path, metavar="FOLDER", help="archives of all numbers and readings")
    found.add_argument("--one", metavar="LABEL", help=argparse.SUPPRESS)  # what a process of its own measures
    args = found.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    try:
        arms = all_arms(args.attention, args.weights)
        if args.one:
            compare_memory(benchmark(args, tuple(arm for arm in arms if arm.label == args.one)), reference=args.one)
            return 0
        if not args.force:
            refuse_others(benchmark(args, arms))
        args.out.mkdir(parents=True, exist_ok=True)
        missing = measure_all(args, arms)
        try:
            tell(args, arms, missing)
        finally:
            if args.pack:
                files = sorted(path for kind in KINDS for path in args.out.glob(f"[!.]*.{kind}"))
                for number, pile in enumerate(piles(files), 1):
                    write_archive(args.pack / f"memory-patterns-{number}.tar.gz", "w:gz", pile, args.out)
    except MocError as error:
        sys.exit(f"error: {error}")
    if missing:
        print(f"not measured: {', '.join(missing)}; the same command goes on", flush=True)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())

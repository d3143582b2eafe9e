"""Times `moc generate storyboards/minute.yaml` as a whole process: 64 s of video with the built-in model.

    python benchmarks/minute.py --runs 3

Prints the seconds of each run from start to exit, the median, and what the machine is.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STORY = Path(__file__).parents[1] / "storyboards" / "minute.yaml"


def seconds_of_a_run(device: str) -> float:
    """Wall-clock seconds of one run into a fresh folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "moc_cli", "generate", str(STORY), "--out", f"{folder}/run", "--quiet"]
        began = time.perf_counter()
        subprocess.run([*command, "--device", device], check=True)
        return time.perf_counter() - began


def main() -> None:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    import torch

    times = [seconds_of_a_run(args.device) for _ in range(args.runs)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, torch {torch.__version__}, device {args.device}")
    print("runs:", ", ".join(f"{t:.1f} s" for t in times))
    print(f"median: {statistics.median(times):.1f} s for 64 s of video")


if __name__ == "__main__":
    main()

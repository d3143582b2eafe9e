"""Profiles for the documentation, one after another, on the best device here; what fails is said and the rest goes on.

    python benchmarks/profile_runs.py OUT [--only growth,single] [--limit 3] [--minutes 5] [--quick]
    python benchmarks/profile_runs.py --plot OUT/growth.json growth.png

Writes OUT/NAME.json and OUT/NAME.md for every run and prints the tables. Every run is a process of its own, so that
one that breaks the device leaves the others alone; what does not end within --minutes in all is stopped or left out.
Needs torch and numpy alone; plots need matplotlib and can be drawn from the .json elsewhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from moc.profile import base_settings, make_settings, profile
from moc.profile.kernels import available
from moc.profile.save import markdown

# name: preset, model, options
RUNS: dict[str, tuple[str | None, str | None, dict[str, Any]]] = {
    "growth": ("paper-multi-shot", None, {"shots": "1,2,4,8,16,32,64", "heads": 3}),
    "growth_backward": ("paper-multi-shot", None, {"shots": "1,2,4,8", "heads": 3, "backward": True}),
    "single": ("paper-single-shot", None, {"heads": 24}),
    "wan_attention": ("wan", None, {}),
    "wan_step": ("paper-multi-shot", "wan-2.1-1.3b", {"shots": "1,8", "limit_s": 30.0}),
    "pocket_step": (None, "pocket", {"shots": "1,8,64"}),
}
QUICK: dict[str, tuple[str | None, str | None, dict[str, Any]]] = {
    "growth": ("paper-multi-shot", None, {"shots": "1,2,4", "tokens_per_shot": 512, "chunk": "64", "head_dim": 32}),
    "pocket_step": (None, "pocket", {"shots": "1,2", "tokens_per_shot": 192}),
}


def run(name: str, quick: bool, limit: float, device: str, out: Path) -> None:
    """One profile: printed, and written as json and markdown."""
    preset, model, options = (QUICK if quick else RUNS)[name]
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    base = base_settings(preset, model, None)
    names = available(torch.device(device), dtype, base.geometry.head_dim)
    settings = make_settings(base, **{"limit_s": limit, **options}, against=names)
    began = time.perf_counter()
    report = profile(settings, device)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / f"{name}.md").write_text(markdown(report))
    print(f"\n{name}: {time.perf_counter() - began:.0f} s, against {', '.join(names)}")
    print(markdown(report))
    for row in report["rows"]:
        for key in ("against_ms", "latency_parts_ms", "model"):
            if row[key]:
                print(row["shots"], key, json.dumps(row[key]))
    print(json.dumps({"machine": report["machine"], "break_even": report["break_even"], "growth": report["growth"]}))


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder for the results")
    parser.add_argument("--only", help="some of " + ", ".join(RUNS))
    parser.add_argument("--limit", type=float, default=3.0, help="skip passes that take longer, in seconds")
    parser.add_argument("--minutes", type=float, default=5.0, help="for all runs together")
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it works")
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("JSON", "PICTURE"), help="draw a result and stop")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one run, in this process
    args = parser.parse_args()
    if args.plot:
        from moc.profile.plot import draw

        draw(json.loads(args.plot[0].read_text()), args.plot[1])
        return
    if args.out is None:
        parser.error("name a folder for the results")
    known = QUICK if args.quick else RUNS
    names = args.only.split(",") if args.only else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown runs {', '.join(unknown)}, known are {', '.join(known)}")
    if args.here:
        run(names[0], args.quick, args.limit, "cuda" if torch.cuda.is_available() else "cpu", args.out)
        return
    until = time.monotonic() + 60 * args.minutes
    for name in names:
        started(name, args.out, [f"--limit={args.limit}", *(["--quick"] if args.quick else [])], until)


def started(name: str, out: Path, options: list[str], until: float) -> None:
    """One run in a process of its own, ended when the time is up."""
    left = until - time.monotonic()
    if left < 5:
        print(f"\n{name}: left out, the time is up", flush=True)
        return
    command = [sys.executable, __file__, str(out), "--here", "--only", name, *options]
    try:
        code = subprocess.run(command, timeout=left).returncode
    except subprocess.TimeoutExpired:
        print(f"\n{name}: stopped, the time is up", flush=True)
        return
    if code:
        print(f"\n{name} failed with exit code {code}", flush=True)


if __name__ == "__main__":
    main()

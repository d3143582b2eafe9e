"""Bytes that each part of attention moves between memory and chip: counted by `moc.flops.traffic`, and by the device.

    python benchmarks/profile_bytes.py [OUT.json] [--only many_shots,small_chunks] [--how auto|ncu|cupti|time]

Three ways to know, the first that works is taken: `ncu` (Nsight Compute, where it is installed and may read counters),
`cupti` (counters through torch's profiler, where it was built with them), and `time`, which is no count: the time of a
part times the rate of a large copy is the most that it can have moved. A part that is bound by memory, such as pool,
plan and merge, comes close to that; own and routed are bound by products and stay below. Dense attention is counted,
too. Needs torch alone; whatever fails is said, and the rest goes on.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from moc.attention import moc_attention
from moc.flops import count, traffic
from moc.profile import Settings, base_settings, make_settings, timing
from moc.profile.columns import BYTE_PARTS
from moc.profile.kernels import dense_kernel
from moc.profile.parts import part_times, wrapped

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "many_shots": ("paper-multi-shot", {"shots": "8", "heads": 3}),
    "one_shot": ("paper-single-shot", {"heads": 24}),
    "small_chunks": ("paper-single-shot", {"tokens_per_shot": 65_536, "chunk": "128", "top_k": 8, "heads": 16}),
    "pocket": ("pocket", {"shots": "64"}),
}
TOY: dict[str, Any] = {"tokens_per_shot": 768, "chunk": "64", "heads": 1}
COUNTED = (*BYTE_PARTS, "dense")
METRICS = ("dram__bytes_read.sum", "dram__bytes_write.sum")
UNITS = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}
CHILD_S = 120


class Window:
    """Opens a counter while one part runs, and closes it while a part inside that one does."""

    def __init__(self, wanted: str, start: Callable[[], object], stop: Callable[[], object]) -> None:
        self.wanted, self.start, self.stop = wanted, start, stop
        self._inside = ["rest"]
        self._open = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What `wrapped` calls around each function of the engine."""
        self._inside.append(name)
        self._turn()
        try:
            yield
        finally:
            self._inside.pop()
            self._turn()

    def _turn(self) -> None:
        wanted = self._inside[-1] == self.wanted
        if wanted != self._open:
            self._open = wanted
            (self.start if wanted else self.stop)()


def settings_of(case: str, device: str) -> Settings:
    """The sizes of a case; toy ones without a GPU."""
    preset, options = CASES[case]
    small = {**options, **(TOY if preset != "pocket" else {"shots": "2"})} if device == "cpu" else options
    return make_settings(base_settings(preset, None, None), **small)


def call_of(settings: Settings, device: str, *, dense: bool = False) -> Callable[[], object]:
    """One forward pass on random inputs, of MoC or of the fastest dense kernel."""
    layout, size = settings.layout(max(settings.shots)), settings.geometry
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    shape = (1, size.heads, layout.length, size.head_dim)
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))

    attend = dense_kernel("dense", q[:, :1, :128]).attend

    def run() -> None:
        with torch.no_grad():
            if dense:
                attend(q, k, v)
            else:
                moc_attention(q, k, v, layout, settings.config)

    return run


def counting(settings: Settings, part: str, start: Callable[[], object], stop: Callable[[], object]) -> None:
    """A call on the GPU after one to warm up, with the counter open while `part` runs; "dense" is a call of its own."""
    run = call_of(settings, "cuda", dense=part == "dense")
    run()
    if part == "dense":
        start()
        run()
        stop()
        return
    with wrapped(Window(part, start, stop)):
        run()


def counted(settings: Settings, device: str) -> dict[str, float]:
    """Bytes of each part by the model."""
    layout, size = settings.layout(max(settings.shots)), settings.geometry
    counts = count(layout, settings.config)
    itemsize = 2 if device == "cuda" else 4
    chip = timing.chip(torch.device(device))
    moved = traffic(counts, size.head_dim, itemsize=itemsize, heads=size.heads, chip=chip)
    return {**moved.parts(), "dense": moved.dense}


def by_ncu(case: str) -> dict[str, float]:
    """Counters through Nsight Compute: this script once more for every part, as its child."""
    tool = shutil.which("ncu") or next((str(p) for p in Path("/usr/local").glob("cuda*/bin/ncu")), None)
    if tool is None:
        raise RuntimeError("ncu is not installed")
    found = {}
    for part in COUNTED:
        command = [tool, "--csv", "--profile-from-start", "off", "--metrics", ",".join(METRICS), sys.executable,
                   __file__, "--child", case, part]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_S, env={**os.environ})
        lines = [line for line in ran.stdout.splitlines() if line.startswith('"')]
        rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
        if ran.returncode or not rows:
            words = " ".join(line for line in ran.stdout.splitlines() if "ERR" in line or "rror" in line)
            raise RuntimeError(f"ncu counted nothing: {words[:200] or ran.stderr[-200:] or 'no kernel was seen'}")
        found[part] = sum(float(row["Metric Value"].replace(",", "")) * UNITS[row["Metric Unit"]] for row in rows)
    return found


def child(case: str, part: str) -> None:
    """What runs under ncu: one call with the window around one part."""
    runtime = torch.cuda.cudart()

    def start() -> None:
        torch.cuda.synchronize()
        runtime.cudaProfilerStart()

    def stop() -> None:
        torch.cuda.synchronize()
        runtime.cudaProfilerStop()

    counting(settings_of(case, "cuda"), part, start, stop)


def by_cupti(case: str) -> dict[str, float]:
    """Counters through torch's profiler."""
    from torch._C._profiler import _ExperimentalConfig
    from torch.profiler import ProfilerActivity, profile

    found = dict.fromkeys(COUNTED, 0.0)
    for part in COUNTED:
        running: list[Any] = []

        def start(running: list[Any] = running) -> None:
            torch.cuda.synchronize()
            config = _ExperimentalConfig(profiler_metrics=list(METRICS), profiler_measure_per_kernel=True)
            running.append(profile(activities=[ProfilerActivity.CUDA], experimental_config=config))
            running[-1].start()

        def stop(part: str = part, running: list[Any] = running) -> None:
            torch.cuda.synchronize()
            running[-1].stop()
            found[part] += _sum(running.pop())

        counting(settings_of(case, "cuda"), part, start, stop)
    if not any(found.values()):
        raise RuntimeError("torch's profiler gave no counters")
    return found


def _sum(profiler: Any) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    return sum(float(event.get("args", {}).get(name, 0.0)) for event in events for name in METRICS)


def by_time(case: str, device: str) -> dict[str, float]:
    """The most that each part can have moved: its time at the rate of a copy."""
    here = torch.device(device)
    peaks = timing.measure_peaks(here, torch.bfloat16 if device == "cuda" else torch.float32)
    times = part_times(call_of(settings_of(case, device), device), here)
    return {part: times[part] / 1e3 * peaks.bandwidth for part in BYTE_PARTS}


def measured(case: str, device: str, how: str) -> tuple[str, dict[str, float]]:
    """Bytes of each part and the way that they were found."""
    ways: Mapping[str, Callable[[], dict[str, float]]] = {
        "ncu": lambda: by_ncu(case),
        "cupti": lambda: by_cupti(case),
        "time": lambda: by_time(case, device),
    }
    names = list(ways) if how == "auto" else [how]
    if device == "cpu":
        names = ["time"]
    for name in names:
        try:
            return name, ways[name]()
        except Exception as error:
            print(f"{case}, {name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", flush=True)
    return "none", {}


def table(case: str, model: Mapping[str, float], way: str, found: Mapping[str, float]) -> str:
    """Both beside each other, in megabytes."""
    lines = [f"\n{case}: MB counted, MB by {way}, counted / measured"]
    model, found = ({**parts, "all": sum(parts.get(part, 0.0) for part in BYTE_PARTS)} for parts in (model, found))
    for name, value in model.items():
        seen = found.get(name, 0.0)
        ratio = f"{value / seen:8.2f}" if seen else f"{'-':>8}"
        lines.append(f"  {name:<22}{value / 1e6:12.1f}{seen / 1e6:12.1f}{ratio}")
    return "\n".join(lines)


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="file for the results")
    parser.add_argument("--only", help="some of " + ", ".join(CASES))
    parser.add_argument("--how", choices=("auto", "ncu", "cupti", "time"), default="auto")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "PART"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results = {}
    for case in args.only.split(",") if args.only else CASES:
        try:
            model = counted(settings_of(case, device), device)
            way, found = measured(case, device, args.how)
            results[case] = {"counted": model, "how": way, "measured": found}
            print(table(case, model, way, found), flush=True)
        except Exception:
            traceback.print_exc()
    if args.out:
        args.out.write_text(json.dumps({"machine": timing.machine(torch.device(device)), **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

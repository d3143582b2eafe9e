"""How time and memory are measured: medians of repeated calls, device events on CUDA, and what the machine can do.

A call is repeated after one that is not counted (the one whose memory is measured), until two seconds are used or
twenty repeats are made, never fewer than three; a call of over five seconds is timed once. Peak memory is that of the
process during one call on CPU (Linux tells it), of the allocator on CUDA.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moc.flops import Chip

BUDGET_S = 2.0
LEAST, MOST = 3, 20
LONG_S = 5.0
MIB = 1 << 20


@dataclass(frozen=True)
class Timing:
    """Milliseconds of repeated calls: median, first and third quartile, the least, and how many there were."""

    median_ms: float
    low_ms: float
    high_ms: float
    least_ms: float
    repeats: int

    @staticmethod
    def of(seconds: list[float]) -> Timing:
        """The summary of single times."""
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
        return Timing(median * 1e3, low * 1e3, high * 1e3, min(seconds) * 1e3, len(seconds))


def measure(run: Callable[[], object], device: torch.device, *, warm: bool = False) -> Timing:
    """Median time of a call. CUDA events around it, the wall clock elsewhere; `warm` if it was called before."""
    if not warm:
        run()
    synchronize(device)
    seconds: list[float] = []
    while more(seconds):
        seconds.append(once(run, device))
    return Timing.of(seconds)


def more(seconds: Sequence[float]) -> bool:
    """Whether a call whose times so far are these should be timed again."""
    if not seconds:
        return True
    if seconds[0] > LONG_S or len(seconds) >= MOST:
        return False
    return len(seconds) < LEAST or sum(seconds) < BUDGET_S


def once(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    if device.type == "cuda":
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3
    began = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(run: Callable[[], object], device: torch.device, inputs: list[Tensor]) -> float | None:
    """Mebibytes that `inputs` and one call take at most; None where the system does not tell."""
    held = sum(x.untyped_storage().nbytes() for x in inputs)
    if device.type == "cuda":
        synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before + held) / MIB
    if device.type != "cpu" or not _reset_high_water():
        return None
    _give_back()
    before = _status("VmRSS")
    run()
    return (max(0, _status("VmHWM") - before) + held) / MIB


def _reset_high_water() -> bool:
    """Makes Linux forget the process's highest memory so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _give_back() -> None:
    """Hands freed memory back to the system, or a call that uses it again would seem to take none."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had; None where the system does not tell."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for reuse
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in any of torch's words."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("not enough memory" in said or "out of memory" in said)


@dataclass(frozen=True)
class Peaks:
    """What this machine was seen to reach: FLOP/s of a large matrix product, bytes a second of a large copy."""

    flops: float
    bandwidth: float


def measure_peaks(device: torch.device, dtype: torch.dtype) -> Peaks:
    """Measured, not looked up by name, each at its fastest: a roof that holds for this machine as it is set up now."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    product = measure(lambda: a @ b, device)
    source = torch.empty((1 << 30 if device.type == "cuda" else 1 << 26), dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    copy = measure(lambda: target.copy_(source), device)
    return Peaks(2 * size**3 / product.least_ms * 1e3, 2 * len(source) / copy.least_ms * 1e3)


def chip(device: torch.device) -> Chip:
    """Cache and multiprocessors of a GPU; elsewhere a cache without end, so that bytes are the least."""
    if device.type != "cuda":
        return Chip(math.inf)
    properties = torch.cuda.get_device_properties(device)
    return Chip(float(properties.L2_cache_size), properties.multi_processor_count)


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on, as plain data."""
    told: dict[str, Any] = {
        "device": device.type,
        "name": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        told |= {
            "name": properties.name,
            "memory_mib": properties.total_memory // MIB,
            "multiprocessors": properties.multi_processor_count,
            "l2_bytes": properties.L2_cache_size,
            "cuda": torch.version.cuda,
            "triton": _version("triton"),
        }
    else:
        told |= {"name": _processor() or told["name"], "threads": torch.get_num_threads()}
    return told


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""What this machine has for moc, what each missing piece would give, and the command that brings it.

Nothing is judged by a device's name: attention kernels are called (`moc.attention.probes`), programs are run, files are
read. Looking changes nothing and needs no network.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Literal

State = Literal["ok", "missing", "unused"]
_AGAIN = "pip install --force-reinstall --no-deps .  # in a copy of the repository"
GIB = 1 << 30
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """One thing looked for.

    Attributes:
        group: "machine", "attention" or "files".
        name: what it is.
        state: "ok"; "missing", and worth having here; "unused", nothing to gain from on this machine.
        found: versions and sizes, or why it can't be used.
        gives: what it is good for.
        command: how to get it, "" where nothing is to be done or no command does it.
    """

    group: str
    name: str
    state: State
    found: str
    gives: str = ""
    command: str = ""


def examine() -> list[Finding]:
    """Everything that moc can make use of, in the order to be shown."""
    return [*_machine(), *_attention(), *_files()]


def _machine() -> Iterator[Finding]:
    import torch

    yield Finding("machine", "Python", "ok", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield Finding("machine", "CPU", "ok", f"{_threads()} threads{_memory()}")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPU"
    yield Finding("machine", "torch", "ok", f"{torch.__version__}, {built}, {torch.get_num_threads()} threads")
    driver = _driver()
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            told = torch.cuda.get_device_properties(number)
            size, capability = told.total_memory / GIB, f"{told.major}.{told.minor}"
            yield Finding(
                "machine",
                f"GPU {number}",
                "ok",
                f"{told.name}, {size:.0f} GiB, compute capability {capability}{f', driver {driver}' if driver else ''}",
            )
        return
    gives = "training and long videos in minutes instead of hours"
    if driver and not torch.version.cuda:
        why = f"driver {driver} is there, but this torch is built for CPU"
        yield Finding("machine", "GPU", "missing", why, gives, "pip install --force-reinstall torch")
    elif driver:
        why = f"driver {driver} is there, but torch finds no device it can use"
        yield Finding("machine", "GPU", "missing", why, gives, "nvidia-smi")
    elif torch.backends.mps.is_available():
        yield Finding("machine", "GPU", "ok", "Apple, by mps")
    else:
        yield Finding("machine", "GPU", "unused", "none; everything runs on the CPU")


def _attention() -> Iterator[Finding]:
    import torch

    from moc.attention.probes import LABELS, NAMES, probe

    cuda = torch.cuda.is_available()
    yield _triton(cuda)
    half = torch.bfloat16 if cuda and torch.cuda.is_bf16_supported() else torch.float16
    like = torch.empty(1, 1, 1, 128, device="cuda" if cuda else "cpu", dtype=half if cuda else torch.float32)
    fastest = ""
    for name in NAMES:
        label, (gives, command) = LABELS[name], _KERNELS[name]
        package = _version(_PACKAGES[name]) if name in _PACKAGES else ""
        if not cuda and name != "sdpa":
            has = f"{package} is installed, but " if package else ""
            yield Finding("attention", label, "unused", f"{has}needs an NVIDIA GPU", gives)
            continue
        result = probe(name, like, backward=True)
        if result.ok:
            where = package or f"in torch {torch.__version__}"
            first = "" if fastest else ", first choice for dense attention"
            fastest = fastest or name
            yield Finding("attention", label, "ok", f"{where}, tried forward and backward{first}", gives)
        elif package or fastest or not command or torch.cuda.get_device_capability()[0] < 9:
            # older kernels give nothing where a faster one works, newer ones need Hopper
            yield Finding("attention", label, "unused", f"{package}: {result.why}" if package else result.why, gives)
        else:
            yield Finding("attention", label, "missing", result.why, gives, command)


_PACKAGES = {"fa4": "flash-attn-4", "fa3": "flash-attn-3"}
_KERNELS = {
    "fa4": (
        "about twice the speed of FlashAttention-2 on Hopper and newer GPUs",
        "pip install 'flash-attn-4>=4.0.0b36'",
    ),
    "fa3": ("faster attention on Hopper GPUs, where FlashAttention-4 is not installed", ""),
    "cudnn": ("faster attention within equal shots than FlashAttention-2", ""),
    "fa2": ("attention within shots on any NVIDIA GPU since Ampere", ""),
    "sdpa": ("attention on any device", ""),
}


def _triton(cuda: bool) -> Finding:
    gives = "the fast kernels for routed attention on NVIDIA GPUs"
    found = _version("triton")
    if not found:
        state: State = "missing" if cuda else "unused"
        command = f"pip install '{_triton_of_torch()}'" if cuda else ""
        return Finding("attention", "Triton", state, "not installed", gives, command)
    if not cuda:
        return Finding("attention", "Triton", "unused", f"{found} is installed, but needs an NVIDIA GPU", gives)
    wrong = _routed_wrong()
    if not wrong:
        return Finding("attention", "Triton", "ok", f"{found}, tried on a small story", gives)
    command = "" if any(map(which, ("cc", "gcc", "clang"))) else "sudo apt install gcc  # Triton needs a C compiler"
    return Finding("attention", "Triton", "missing", f"{found} is installed, but {wrong}", gives, command)


def _triton_of_torch() -> str:
    """The release of Triton that the installed torch was built with, as pip takes it."""
    asked = (line.partition(";")[0].strip() for line in requires("torch") or ())
    return next((name for name in asked if re.match(r"triton\b(?!-)", name)), "triton")


def _routed_wrong() -> str:
    """What is wrong with the kernels of routed attention here, "" for nothing: they are compiled, run, and held against
    plain torch. Small integers have exact scores, so that the choice must be the same down to the last tie."""
    import torch

    from moc import MoCConfig, Shot, TokenLayout, attend, route

    layout = TokenLayout.from_shots(shots=[Shot(0, 1, 48)] * 3, chunk_tokens=16)
    config = MoCConfig(chunk_tokens=16, top_k=2)
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randint(-2, 3, (3, 1, 2, layout.length, 64), generator=generator).float()
    routing = route(q, k, layout, config)
    out = attend(q, k, v, layout, routing, config)
    try:
        near = [x.to("cuda", torch.float16) for x in (q, k, v)]
        fast = route(near[0], near[1], layout, config)
        if not fast.indices.cpu().equal(routing.indices):
            return "its router picks other chunks than plain torch"
        got = attend(near[0], near[1], near[2], layout, fast, config, backend="triton").cpu().float()
    except Exception as error:  # whatever compilers, drivers and launchers raise
        return f"its kernels don't run: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    worst = float((got - out).abs().max())
    return "" if worst <= 0.02 else f"its results are off by {worst:.2g}"


def _files() -> Iterator[Finding]:
    yield _ffmpeg()
    root = Path(__file__).parent
    for name, path, gives in (
        ("weights of the model", root / "backbones/pocket/pocket.safetensors", "moc generate with the built-in model"),
        ("weights of the reader", root / "world/reader.safetensors", "scores of what videos show"),
    ):
        if path.is_file() and path.stat().st_size:
            yield Finding("files", name, "ok", f"{path.name}, {path.stat().st_size / 2**20:.1f} MiB", gives)
        else:
            yield Finding("files", name, "missing", f"{path} is not there", gives, _AGAIN)
    plots = _version("matplotlib")
    gives = "moc profile --plot and moc route-map --plot"
    if plots:
        yield Finding("files", "matplotlib", "ok", plots, gives)
    else:
        yield Finding("files", "matplotlib", "missing", "not installed", gives, "pip install matplotlib")


def _ffmpeg() -> Finding:
    gives = "video files"
    command = "pip install --force-reinstall imageio-ffmpeg"
    if find_spec("imageio_ffmpeg") is None:
        return Finding("files", "ffmpeg", "missing", "imageio-ffmpeg is not installed", gives, command)
    try:
        program = import_module("imageio_ffmpeg").get_ffmpeg_exe()
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding("files", "ffmpeg", "missing", " ".join(str(error).split())[:160], gives, command)
    words = said.split()
    return Finding("files", "ffmpeg", "ok", words[2] if words[:2] == ["ffmpeg", "version"] else "runs", gives)


def _version(package: str) -> str:
    """The installed version, "" for none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _driver() -> str:
    """The version of NVIDIA's kernel driver, "" where there is none."""
    try:
        words = _DRIVER.read_text().split()
    except OSError:
        return ""
    return next((word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit()), "unknown")


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:.0f} GiB of memory"
    except (ValueError, OSError):
        return ""

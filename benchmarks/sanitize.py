"""Runs every Triton kernel of the engine on small ragged shapes, for tools that watch memory.

    python benchmarks/sanitize.py                          under each tool of compute-sanitizer, one after another
    python benchmarks/sanitize.py --tools memcheck         under some of them
    compute-sanitizer --tool memcheck python benchmarks/sanitize.py --run      by hand

`--run` runs the kernels without a tool: what dense kernels do, references and random numbers come from the CPU, so that
a report is about our kernels (and torch's cumsum, sums and zeros). Results are held against float64, and a kernel that
no case reached counts as a mistake. Without a GPU the same runs in the interpreter, given TRITON_INTERPRET=1 and, since
that is slow, `--cases tiny`.

What the tools can't see: racecheck looks at shared memory alone, so threads that hand values to each other through
global memory are judged by results and by reading. Every tensor is an allocation of its own here (torch's cache is off)
and memcheck puts a gap behind each, or a neighbour would swallow what is written past an end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TOOLS = {
    "memcheck": ("--padding", "4096"),
    "racecheck": ("--racecheck-report", "all"),
    "initcheck": (),
    "synccheck": (),
}
WHERE = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/compute-sanitizer")
FOUND = 9  # exit code of a tool that found something
LIMIT = 0.02  # of results of order one in bfloat16


@dataclass(frozen=True)
class Case:
    """A stream and its routes. Shots are (text, frames, tokens a frame).

    Attributes:
        text: tokens of the global text.
        spans: links of a chunk that one program sums at most, small so that chunks take several.
        skew: rows of the second shot all pick the first chunk, half of the others lose a link.
    """

    name: str
    shots: tuple[tuple[int, int, int], ...]
    chunk: int
    k: int = 3
    width: int = 64
    heads: int = 2
    batch: int = 1
    intra: str = "shot"
    causal: bool = False
    dtype: str = "bfloat16"
    spans: int = 2048
    skew: bool = False
    text: int = 3


CASES = (
    Case("tiny", ((1, 1, 37), (0, 1, 1), (2, 1, 21)), 16, k=2, width=24, spans=16, skew=True),
    Case("ragged", ((3, 2, 133), (0, 1, 1), (5, 3, 75), (1, 1, 130)), 33, batch=2, intra="window"),
    Case("stays", ((3, 4, 100), (0, 1, 65), (1, 3, 97)), 100, k=4, width=128, causal=True),
    Case("whole", ((128, 3, 128), (128, 2, 128)), 128, k=2, width=128, text=128),
    Case("overlap", ((5, 2, 200), (0, 1, 129), (3, 2, 131)), 200, k=2, width=128, heads=3),
    Case("long", ((0, 1, 1100), (7, 1, 641), (0, 1, 3)), 640, k=2, width=128, heads=1, spans=128, skew=True),
    Case("wide", ((2, 1, 150), (0, 2, 45)), 40, k=2, width=256, dtype="float16"),
    Case("odd", ((0, 2, 70), (4, 1, 90)), 70, k=1, width=96, heads=3, intra="chunk", dtype="float16"),
    Case("many", ((1, 1, 301), (0, 1, 260), (2, 1, 31)), 1, k=8, batch=2, heads=1, intra="chunk"),
)


def main() -> None:
    """The tools, or with --run the kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in CASES]
    parser.add_argument("--run", action="store_true", help="run the kernels here, without a tool")
    parser.add_argument("--cases", default=",".join(names), help=f"some of {','.join(names)}")
    parser.add_argument("--tools", default=",".join(TOOLS), help=f"some of {','.join(TOOLS)}")
    parser.add_argument("--seconds", type=float, default=150, help="time limit of each tool (default: 150)")
    args = parser.parse_args()
    for option, known in (("cases", names), ("tools", list(TOOLS))):
        if unknown := set(getattr(args, option).split(",")) - set(known):
            parser.error(f"--{option} takes {', '.join(known)}, got {', '.join(sorted(unknown))}")
    if args.run:
        sys.exit(run(args.cases.split(",")))
    sys.exit(watch(args.tools.split(","), args.cases, args.seconds))


def watch(tools: list[str], cases: str, seconds: float) -> int:
    """Starts this script under each tool; 1 where one of them found or missed something."""
    program = shutil.which("compute-sanitizer", path=os.pathsep.join((os.environ.get("PATH", ""), *WHERE)))
    command = [sys.executable, str(Path(__file__).resolve()), "--run", "--cases", cases]
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONPATH": paths}
    print("without a tool, so that all kernels are compiled:", flush=True)
    codes = [_start(command, environment, 4 * seconds)]
    for tool in tools:
        print(f"\n{tool}:", flush=True)
        if program is None:
            print("compute-sanitizer is not installed (it comes with the CUDA toolkit)")
            codes.append(1)
            continue
        options = ["--tool", tool, "--error-exitcode", str(FOUND), "--print-limit", "25", *TOOLS[tool]]
        codes.append(_start([program, *options, *command], environment, seconds))
    print("\n" + ", ".join(f"{name} {'clean' if code == 0 else f'exit code {code}'}"
                            for name, code in zip(("no tool", *tools), codes, strict=True)))  # fmt: skip
    return int(any(codes))


def _start(command: list[str], environment: dict[str, str], seconds: float) -> int:
    began = time.perf_counter()
    try:
        code = subprocess.run(command, env=environment, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"stopped after {seconds:.0f} s", flush=True)
        return 124
    print(f"{time.perf_counter() - began:.0f} s", flush=True)
    return code


def run(names: list[str]) -> int:
    """Runs the cases; 1 where one fails or some kernel was never started."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        print("there is no CUDA device; with TRITON_INTERPRET=1 the kernels run in the interpreter")
        return 1
    torch.backends.cuda.matmul.allow_tf32 = False
    failed = False
    with _launches() as started:
        for case in CASES:
            if case.name not in names:
                continue
            try:
                worst = check(case, device)
                wrong = [name for name, error in worst.items() if not error <= LIMIT]
                told = ", ".join(f"{name} {error:.2g}" for name, error in worst.items())
                print(f"{'WRONG' if wrong else 'right'}  {case.name:7} {told}", flush=True)
                failed |= bool(wrong)
            except Exception as error:  # the other cases are wanted all the same
                print(f"FAILED {case.name:7} {type(error).__name__}: {error}", flush=True)
                failed = True
    missing = sorted(_kernels() - started - (set() if _copy_engine(device) else {"blocks_forward_kernel"}))
    print(f"{len(started & _kernels())} kernels started" + (f", never: {', '.join(missing)}" if missing else ""))
    return int(failed or (bool(missing) and set(names) == {case.name for case in CASES}))


def _copy_engine(device: torch.device) -> bool:
    """Whether the engine's tables let keys come in blocks here."""
    from moc.attention.triton.tiles import ROOM_WITH_ENGINE, shared_memory

    return shared_memory(device) > ROOM_WITH_ENGINE


def _kernels() -> set[str]:
    """Names of all kernels of the engine."""
    from moc.attention import triton

    names = (module.name for module in iter_modules(triton.__path__, f"{triton.__name__}."))
    return {name for module in names for name in vars(import_module(module)) if name.endswith("_kernel")}


@contextmanager
def _launches() -> Iterator[set[str]]:
    """The names of kernels that are started inside."""
    from moc.attention.triton import kernels

    kind: Any = type(kernels.forward_kernel)
    original, started = kind.run, set()

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        started.add(self.fn.__name__)
        return original(self, *args, **kwargs)

    kind.run = noted
    try:
        yield started
    finally:
        kind.run = original


def check(case: Case, device: Any) -> dict[str, float]:
    """Pools, routes and attends, forward and backward; the largest error of each result."""
    import torch

    from moc import MoCConfig, Shot, TokenLayout
    from moc.attention import fused
    from moc.attention.portable import attend_portable
    from moc.attention.triton import routed
    from moc.attention.triton.pooling import pool_fused
    from moc.candidates import candidates_of, video_chunks
    from moc.routing import pooled, route

    layout = TokenLayout.from_shots(
        global_text=case.text, shots=[Shot(*shot) for shot in case.shots], chunk_tokens=case.chunk
    )
    config = MoCConfig(chunk_tokens=case.chunk, top_k=case.k, causal=case.causal).replace(intra=case.intra)
    span, scale = (0, layout.length), case.width**-0.5
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, case.heads, layout.length, case.width)
    q, k, v, dout = (torch.randn(shape, generator=generator).to(getattr(torch, case.dtype)) for _ in range(4))
    dlse = torch.randn(shape[:3], generator=generator)
    found: dict[str, float] = {}

    def note(name: str, got: torch.Tensor, true: torch.Tensor) -> None:
        error = (got.detach().cpu().double() - true.double()).abs().max()
        found[name] = float(error / max(1.0, float(true.abs().max())))

    bounds = layout.chunk_bounds.to(device)
    note("pool", pool_fused(k.to(device), bounds, (0, layout.num_chunks), 0), pooled(k, layout))

    # Integers have exact scores, so that both choose the same chunks down to the last tie.
    whole, marks = (torch.randint(-2, 3, (*shape[:2], n, case.width), generator=generator).to(q.dtype)
                    for n in (layout.length, layout.num_chunks))  # fmt: skip
    indices = route(whole, None, layout, config, descriptors=marks).indices
    table = video_chunks(layout, torch.device("cpu"))
    rows = candidates_of(layout, config, span, torch.device("cpu"))
    note("route", _chosen(whole.to(device), marks[:, :, table].to(device), rows, case.k, table), indices)
    if case.skew:
        first = table[0].int()
        indices = torch.where(indices == first, -1, indices)
        indices[:, :, ::2, -1] = -1
        indices[:, :, slice(*layout.video_range(2)), 0] = first

    exact, ours = ([x.to(to).requires_grad_() for x in (q, k, v)] for to in (torch.float64, device))
    true = attend_portable(exact[0], exact[1], exact[2], layout, indices, config, span, scale)
    wanted = (*true, *torch.autograd.grad(true, exact, (dout.double(), dlse.double())))
    spans, routed._span = routed._span, lambda links, groups: case.spans
    try:
        with _own_part_elsewhere(fused):
            out, lse = fused.attend_fused(ours[0], ours[1], ours[2], layout, indices.to(device), config, span, scale)
            grads = torch.autograd.grad((out, lse), ours, (dout.to(device), dlse.to(device)))
    finally:
        routed._span = spans
    for name, a, b in zip(("out", "lse", "dq", "dk", "dv"), (out, lse, *grads), wanted, strict=True):
        note(name, a, b.detach())
    return found


@contextmanager
def _own_part_elsewhere(fused: Any) -> Iterator[None]:
    """The own part that dense kernels would do is done on the CPU."""
    import torch

    from moc.attention import runs

    flash = fused.flash
    before = flash.mandatory_forward, flash.mandatory_backward

    def forward(q: Any, k: Any, v: Any, links: Any, scale: float) -> tuple[Any, Any]:
        out, lse = runs.forward(q.cpu(), k.cpu(), v.cpu(), links, links.groups[0].q_start, scale)
        return out.to(q.device, q.dtype), lse.to(q.device)

    def backward(
        q: Any, k: Any, v: Any, dout: Any, out: Any, lse: Any, dlse: Any, links: Any, scale: float, dk: Any, dv: Any
    ) -> Any:
        start, (more_dk, more_dv) = links.groups[0].q_start, (torch.zeros(x.shape) for x in (k, v))
        delta = (dout.cpu().float() * out.cpu().float()).sum(-1) - dlse.cpu()
        near_q, near_k, near_v, near_dout, near_lse = (x.cpu() for x in (q, k, v, dout, lse))
        dq = runs.backward(near_q, near_k, near_v, near_dout, near_lse, delta, links, start, scale, more_dk, more_dv)
        dk += more_dk.to(dk.device)
        dv += more_dv.to(dv.device)
        return dq.to(q.device, q.dtype)

    flash.mandatory_forward, flash.mandatory_backward = forward, backward
    try:
        yield
    finally:
        flash.mandatory_forward, flash.mandatory_backward = before


def _chosen(q: Any, marks: Any, rows: Any, k: int, table: Any) -> Any:
    """What the kernels choose, as chunks."""
    from moc.attention.triton.topk import top_chunks_fused

    limit, low, high = (x.to(q.device) for x in (rows.limit, rows.low, rows.high))
    return top_chunks_fused(q, marks, limit, low, high, k, table.to(q.device))


if __name__ == "__main__":
    main()

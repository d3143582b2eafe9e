"""The Triton kernels: run in the interpreter, compiled without a GPU; the index plan; what the backend refuses."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_cases import layouts, qkv, ragged
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moc import MoCConfig, attend, route
from moc.attention import fused, varlen
from moc.attention.triton.plan import make_plan
from moc.layout import TokenLayout

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
def test_kernels_in_the_interpreter() -> None:
    """The tests under `interpreted/`, in a process that chooses the interpreter before it imports triton."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(Path(__file__).with_name("interpreted"))],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed, run.stdout
    assert int(passed[1]) >= 30
    assert "skipped" not in run.stdout


# The plan.


@st.composite
def routes(draw: Any) -> tuple[Tensor, int]:
    """Random [B, H, Lq, W] routes and the number of chunks."""
    chunks = draw(st.integers(1, 7))
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(0, 20), st.integers(1, 4)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return torch.randint(-1, chunks, shape, generator=generator, dtype=torch.int32), chunks


@settings(max_examples=60, deadline=None)
@given(routes(), st.sampled_from([1, 2, 16, 64]))
def test_every_link_stands_in_one_tile_of_its_chunk(case: tuple[Tensor, int], tile: int) -> None:
    indices, chunks = case
    batch, heads, rows, width = indices.shape
    plan = make_plan(indices, chunks, tile)
    groups = batch * heads * chunks
    flat = indices.flatten().tolist()
    wanted = {slot: slot // (rows * width) * chunks + chunk for slot, chunk in enumerate(flat) if chunk >= 0}

    assert plan.tile == tile
    assert len(plan.edges) == len(plan.tile_edges) == groups + 1
    assert plan.slots.shape == (indices.numel(),)
    assert sorted(plan.slots.tolist()) == list(range(indices.numel()))
    edges, tile_edges = plan.edges.tolist(), plan.tile_edges.tolist()
    assert edges[0] == tile_edges[0] == 0
    assert edges[-1] == len(wanted)
    assert tile_edges[-1] <= len(plan.tile_group)

    seen: dict[int, int] = {}
    for t, group in enumerate(plan.tile_group.tolist()):
        assert 0 <= group <= groups
        if group == groups:
            continue
        first = edges[group] + (t - tile_edges[group]) * tile
        links = plan.slots[first : min(first + tile, edges[group + 1])].tolist()
        assert links  # no tile is without work
        assert links == sorted(links)  # in the order of their rows
        for slot in links:
            assert slot not in seen
            seen[slot] = group
    assert seen == wanted
    assert (plan.tile_group[tile_edges[-1] :] == groups).all()


def test_the_plans_sizes_do_not_depend_on_the_routes() -> None:
    """A CUDA graph replays it with other routes."""
    full = torch.zeros(1, 2, 9, 3, dtype=torch.int32)
    for indices in (full, full - 1, full + 4):
        plan = make_plan(indices, 5, 4)
        assert [len(x) for x in (plan.slots, plan.edges, plan.tile_edges, plan.tile_group)] == [54, 11, 11, 24]


# Refusals.


def _on_cuda(dtype: torch.dtype = torch.bfloat16, width: int = 64) -> Any:
    """Enough of a CUDA tensor to be judged by."""
    return SimpleNamespace(is_cuda=True, device=torch.device("meta"), dtype=dtype, shape=(1, 2, 84, width))


def test_what_the_backend_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_triton_installed", lambda: True)
    layout, config = ragged(), MoCConfig(chunk_tokens=16)
    span = (0, layout.length)
    for dtype in (torch.bfloat16, torch.float16):
        for width in (8, 24, 128, 256):
            assert fused.refusal(_on_cuda(dtype, width), layout, config, span) is None
    for dtype, width in ((torch.float32, 64), (torch.bfloat16, 12), (torch.float16, 264)):
        sentence = fused.refusal(_on_cuda(dtype, width), layout, config, span)
        assert sentence == (
            'backend "triton" takes bfloat16 and float16 with head_dim a multiple of 8 up to 256, '
            f"got {dtype} and {width}"
        )
    assert fused.refusal(_on_cuda(), layout, config, (5, 5)) == (
        'backend "triton" takes 1 to 65535 query groups, the range (5, 5) has 0'
    )
    monkeypatch.setattr(varlen, "MAX_SEQUENCES", 3)
    assert str(fused.refusal(_on_cuda(), layout, config, span)).endswith("1 to 3 query groups, the range (0, 84) has 4")
    monkeypatch.setattr(fused, "_triton_installed", lambda: False)
    assert fused.refusal(_on_cuda(), layout, config, span) == (
        'backend "triton" needs the package triton, which is not installed'
    )


def test_a_cpu_is_refused_by_name_and_served_otherwise() -> None:
    layout, config = ragged(), MoCConfig(chunk_tokens=16)
    q, k, v = qkv(layout)
    routing = route(q, k, layout, config)
    with pytest.raises(NotImplementedError, match=r'^backend "triton" needs tensors on CUDA, got cpu$'):
        attend(q, k, v, layout, routing, config, backend="triton")
    portable = attend(q, k, v, layout, routing, config, backend="portable")
    assert torch.equal(attend(q, k, v, layout, routing, config), portable)
    with pytest.raises(ValueError, match="backend must be one of auto, reference, portable, triton, got 'cuda'"):
        attend(q, k, v, layout, routing, config, backend="cuda")  # type: ignore[call-overload]


@settings(max_examples=20, deadline=None)
@given(layouts())
def test_key_tiles_hold_the_longest_chunk_with_least_waste(layout: TokenLayout) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    from moc.attention.triton.routed import _keys_per_tile

    longest = int(layout.chunk_bounds.diff().max())
    padded = {tile: -(-longest // tile) * tile for tile in (32, 64)}
    chosen = _keys_per_tile(layout)
    assert padded[chosen] <= padded[96 - chosen]


# Compilation. Kernels are held to real targets on machines without a GPU.

ARCHITECTURES = (80, 90, 100)
KERNELS = ("forward", "merge", "dq", "dq_sum", "dkdv", "delta", "topk")
_I64 = ("slots", "edges", "tile_edges", "bounds")
_I32 = ("tile_group", "index_ptr", "limit_ptr", "low_ptr", "high_ptr")
_F32 = ("part_lse_ptr", "own_lse_ptr", "lse_ptr", "delta_ptr", "dlse_ptr", "dk_ptr", "dv_ptr")


def _pointer(kernel: str, name: str) -> str | None:
    if name in _I64:
        return "*i64"
    if name in _I32 or (kernel == "topk" and name == "out_ptr"):
        return "*i32"
    if name in _F32 or (name == "part_ptr" and kernel in ("dq", "dq_sum")):
        return "*fp32"
    return "*{}" if name.endswith("_ptr") else None


def compiled(kernel: str, architecture: int, dtype: str, width: int) -> Any:
    """The kernel as a launch on that architecture compiles it, up to the machine code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from moc.attention.triton import kernels, topk

    function = topk._topk_kernel if kernel == "topk" else getattr(kernels, f"{kernel}_kernel")
    values = {"D": width, "DP": max(16, triton.next_power_of_2(width)), "M": 64, "N": 64, "R": 16, "W": 5, "K": 5}
    values |= {"KEPT": 8, "UPCAST": dtype == "fp32", "HAS_DLSE": True}
    constants = {name: value for name, value in values.items() if name in function.arg_names}
    types = {}
    for name in function.arg_names:
        number = "fp32" if name == "scale" else "i64" if name.endswith("_h") else "i32"
        pointer = _pointer(kernel, name)
        types[name] = "constexpr" if name in constants else number if pointer is None else pointer.format(dtype)
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(function, types, constexprs=places)
    options = {"num_warps": 4, "num_stages": 2}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def _compilations() -> list[Any]:
    quick = [("forward", 90, "bf16", 128), ("topk", 90, "bf16", 128)]
    slow = [(kernel, a, "bf16", 128) for kernel in KERNELS for a in ARCHITECTURES]
    slow += [(kernel, 90, dtype, width) for kernel in KERNELS for dtype, width in (("fp16", 64), ("bf16", 256))]
    slow += [("topk", 90, "fp32", 32)]
    marked = [pytest.param(*case, marks=pytest.mark.slow) for case in slow if case not in quick]
    return [*quick, *marked]


@needs_triton
@pytest.mark.parametrize(("kernel", "architecture", "dtype", "width"), _compilations())
def test_kernels_compile_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, architecture: int, dtype: str, width: int
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    result = compiled(kernel, architecture, dtype, width)
    assert len(result.asm["cubin"]) > 1000
    assert f"sm_{architecture}" in result.asm["ptx"]
    # what one program may use on the server cards of each family
    assert result.metadata.shared <= {80: 163, 90: 227, 100: 227}[architecture] * 1024

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

from moc import MoCConfig, attend, route
from moc.attention import fused, varlen
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
    wide = _on_cuda(width=256)
    wide.requires_grad = True
    for room, width, sentence in (
        (99 << 10, 256, "needs 160 KiB of shared memory for gradients at head_dim above 192, got head_dim 256 and 99"),
        (100 << 10, 192, None),
        (227 << 10, 256, None),
    ):
        monkeypatch.setattr(fused, "shared_memory", lambda device, room=room: room)
        wide.shape = (1, 2, 84, width)
        refused = fused.refusal(wide, layout, config, span)
        assert refused == (sentence and f'backend "triton" {sentence} KiB')
    with torch.no_grad():
        assert fused.refusal(wide, layout, config, span) is None
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
    from moc.attention.triton.tiles import keys_per_tile, longest_chunk

    longest = int(layout.chunk_bounds.diff().max())
    assert longest_chunk(layout) == longest
    padded = {tile: -(-longest // tile) * tile for tile in (32, 64)}
    chosen = keys_per_tile(longest)
    assert padded[chosen] <= padded[96 - chosen]


# Compilation. Kernels are held to real targets on machines without a GPU.

ARCHITECTURES = (80, 90, 100)
PLAN = ("sort", "scatter", "edges", "tiles")
BACKWARD = ("dq", "dq_sum", "dkdv", "dkdv_sum", "delta")
KERNELS = ("forward", "short_forward", "blocks_forward", "merge", "topk", "pool", *BACKWARD, *PLAN)  # fmt: skip
ENGINE = ("blocks_forward",)  # by the copy engine, which sm_80 has not
OTHERWISE = ("short_forward+WHOLE", "blocks_forward+OVERLAP", "topk+ONE")  # with that constant the other way round
_I32 = ("slots", "edges", "tile_edges", "span_edges", "tile_group", "span_group", "index_ptr", "limit_ptr", "low_ptr",
        "high_ptr", "table_ptr", "count_ptr", "sum_ptr", "key_ptr", "start_ptr")  # fmt: skip
_F32 = ("part_lse_ptr", "own_lse_ptr", "lse_ptr", "delta_ptr", "dlse_ptr", "dk_ptr", "dv_ptr", "more_ptr")  # fmt: skip
_STRIDE = re.compile(r"[a-z]_[bhl]")


def _pointer(kernel: str, name: str) -> str | None:
    if name == "bounds":
        return "*i64"
    if name.endswith("_blocks"):
        return "tensordesc<{}[%d, %d]>"
    if name in _I32 or (kernel == "topk" and name == "out_ptr"):
        return "*i32"
    if name in _F32 or (name == "part_ptr" and kernel in ("dq", "dq_sum")):
        return "*fp32"
    return "*{}" if name.endswith("_ptr") else None


def compiled(kernel: str, architecture: int, dtype: str, width: int) -> Any:
    """The kernel as a launch on that architecture compiles it, up to the machine code."""
    kernel, _, other = kernel.partition("+")
    import torch
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from moc.attention.triton import gradients, kernels, plan, pooling, tiles, topk

    home = {"topk": topk, "pool": pooling} | dict.fromkeys(PLAN, plan) | dict.fromkeys(BACKWARD, gradients)
    function = getattr(home.get(kernel, kernels), f"{kernel}_kernel")
    shape = tiles.Tiles(64, 64)
    if kernel.endswith("forward"):
        room = (227 if kernel == "blocks_forward" else 163) * 1024
        shape = tiles.forward_tiles(128 if "short" in kernel else 1280, width, torch.bfloat16, room)
    elif kernel == "dq":
        shape = tiles.backward_tiles(1280, width)
    elif kernel == "dkdv":
        shape = tiles.key_gradient_tiles(1280, width, torch.bfloat16, 163 * 1024)
    values = {"D": width, "DP": max(16, triton.next_power_of_2(width)), "M": shape.M, "N": shape.N, "R": 16, "W": 5}
    values |= {
        "K": 5,
        "KEPT": 8,
        "UPCAST": dtype == "fp32",
        "HAS_DLSE": True,
        "HAS_SUM": True,
        "ONE": False,
        "T": plan.SORTED_AT_ONCE,
        "S": 128,
    }
    values |= {"HAS_TABLE": True, "DB": 128, "NEGATE": False, "OVERLAP": True, "WHOLE": False}
    if other:
        values[other] = not values[other]
    constants = {name: value for name, value in values.items() if name in function.arg_names}
    types = {}
    for name in function.arg_names:
        number = "fp32" if name == "scale" else "i64" if name.endswith(("_h", "share")) else "i32"
        pointer = _pointer(kernel, name)
        types[name] = "constexpr" if name in constants else number if pointer is None else pointer.format(dtype)
        if name.endswith("_blocks"):
            types[name] %= (shape.N, width)
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    # A launch says what is a multiple of 16; without that no load is wide or runs ahead, and less memory is shared.
    even = [
        [["tt.divisibility", 16]] if kind[0] == "*" or _STRIDE.fullmatch(name) else None for name, kind in types.items()
    ]
    source = ASTSource(function, types, constexprs=places, attrs={(i,): said for i, said in enumerate(even) if said})
    options = {"num_warps": shape.num_warps, "num_stages": shape.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def _compilations() -> list[Any]:
    quick = [(kernel, a, "bf16", 128) for kernel in KERNELS for a in ARCHITECTURES if a > 80 or kernel not in ENGINE]
    shaped = [kernel for kernel in KERNELS if kernel not in PLAN]
    slow = [
        (k, 90, dtype, width)
        for k in shaped
        if k not in ENGINE
        for dtype, width in (("fp16", 64), ("bf16", 96), ("bf16", 256))
    ]
    slow += [("topk", 90, "fp32", 32), *((k, a, "fp16", 128) for k in ENGINE for a in (90, 100))]
    quick += [(kernel, 90, "bf16", 128) for kernel in OTHERWISE]
    return [*quick, *(pytest.param(*case, marks=pytest.mark.slow) for case in slow)]


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

"""Patterns on CUDA: the dense kernels against the oracle, forward and backward, and a few steps of training each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from moc import MoCConfig, Shot, TokenLayout, attend, route
from moc.attention.patterns import fitted, refusal
from moc.attention.reference import attend_reference, mandatory_mask, routed_mask
from moc.patterns import PATTERNS
from moc.routing import Routing
from moc.training.config import parse
from moc.training.loop import Trainer, compiling

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

TEXTS = {"ragged": (5, 7, 0, 3), "equal": (4, 4, 4, 4)}
FRAMES = {"ragged": ((3, 40), (1, 17), (4, 40), (2, 64)), "equal": ((3, 48),) * 4}


def _layout(name: str, config: MoCConfig, twice: bool) -> TokenLayout:
    shots = [Shot(text, *size) for text, size in zip(TEXTS[name], FRAMES[name], strict=True)]
    text = 11
    if not twice:
        layout = TokenLayout.from_shots(global_text=text, shots=shots, chunk_tokens=config.chunk_tokens)
        return fitted(layout, config)
    layout = TokenLayout.from_shots(global_text=text, shots=[*shots[:-1], *shots], chunk_tokens=config.chunk_tokens)
    return fitted(layout.with_history([0, 1, 2, 0, 1, 2, 3]), config)


def _check(layout: TokenLayout, config: MoCConfig, dtype: torch.dtype, width: int) -> None:
    """Errors of output and gradients are at most twice those of torch's own attention under the same mask."""
    generator = torch.Generator(device="cuda").manual_seed(0)
    shape = (2, 3, layout.length, width)
    low = [torch.randn(shape, generator=generator, device="cuda").to(dtype) for _ in range(4)]
    indices = route(low[0], low[1], layout, config).indices
    tables = layout.to("cuda")
    mask = mandatory_mask(tables, config, 0, layout.length) | routed_mask(tables, indices)
    results = []
    for kind in ("kernels", "torch", "oracle"):
        q, k, v, weight = (x.to(torch.float64 if kind == "oracle" else dtype) for x in low)
        for x in (q, k, v):
            x.requires_grad_()
        if kind == "torch":
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
        elif kind == "oracle":
            out = attend_reference(q, k, v, tables, indices, config, (0, layout.length))[0]
        else:
            out = attend(q, k, v, layout, Routing(indices), config)
        results.append([out.detach(), *torch.autograd.grad(out, (q, k, v), weight)])
    for name, got, rough, true in zip(("out", "dq", "dk", "dv"), *results, strict=True):
        error, bound = (got.double() - true).abs().max(), (rough.double() - true).abs().max()
        most = 2 * bound + 4 * torch.finfo(dtype).eps * true.abs().max()
        assert error <= most, (config.pattern, str(dtype), width, name, float(error), float(most))


@pytest.mark.parametrize("shape", ["ragged", "equal", "ragged-twice", "equal-twice"])
@pytest.mark.parametrize("name", PATTERNS)
def test_kernels_are_as_exact_as_the_oracle_in_their_precision(name: str, shape: str) -> None:
    kind, _, twice = shape.partition("-")
    if twice and name == "moc-no-causal":
        return
    changes: list[dict[str, Any]] = (
        [{}] if twice else [{}, {"causal": False}, {"intra": "chunk"}, {"text_links": "all"}]
    )
    for change in changes:
        config = MoCConfig.preset("pocket").replace(pattern=name, top_k=2, **change)
        layout = _layout(kind, config, bool(twice))
        if refusal(layout, config, (0, layout.length)):
            continue
        widths = (
            [(torch.bfloat16, 64)] if change else [(torch.bfloat16, 64), (torch.bfloat16, 32), (torch.float16, 128)]
        )
        for dtype, width in widths:
            _check(layout, config, dtype, width)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_few_steps_of_training(name: str, tmp_path: Path) -> None:
    """The first of them compiles for all: the graphs of a block don't depend on the pattern."""
    stage = {"steps": 3, "stories": 2, "latent_frames": 2, "shots": 3, "top_k": 2, "chunk_tokens": 48}
    model = {"width": 128, "layers": 2, "heads": 2, "mlp": 64, "head": 64}
    config = parse({"pattern": name, "stages": [stage], "micro_stories": 2, "model": model, "drop_routes": 0.5,
                    "optimizer": "muon", "warmup": 1, "decay": 1})  # fmt: skip
    trainer = Trainer(config, tmp_path, torch.device("cuda", 0))
    with compiling(trainer.compiled):
        for _ in range(3):
            trainer.optimise()
    loss, error, *lessons, norm = trainer._latest.tolist()
    assert all(x == x and x > 0 for x in (loss, error, norm))
    assert not any(lessons), "nobody asked for lessons"
    trainer.save()
    assert (tmp_path / "weights.safetensors").exists()

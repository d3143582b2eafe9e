"""What the tests of the pocket model share: a tiny network with random weights, and stories for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moc.backbones.base import ShotResult
from moc.backbones.pocket.backbone import PocketBackbone
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.storyboard import Storyboard
from moc.training.checkpoint import save_weights
from moc.world.schema import N_FACTS, N_SLOTS, TOKEN_SIZE

TINY = PocketConfig(width=64, layers=2, heads=2, mlp=96, head=80, skip=True, picture_width=32, picture_height=16)
"""Eight video tokens a latent frame, with all parts that a network can have."""
PLAIN = replace(TINY, skip=False)
"""Of the parts that the shipped weights have."""


def tiny_model(config: PocketConfig = TINY, seed: int = 0) -> PocketDiT:
    """A network in which everything matters: no weight is zero, so no path is dead."""
    model = PocketDiT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1 or name.endswith("table"):
                parameter.add_(draw, alpha=0.3)  # biases, norms and modulation: about what they start at
            else:
                parameter.copy_(draw / parameter.shape[1] ** 0.5)
    return model.eval().requires_grad_(False)


def tiny_weights(folder: Path, config: PocketConfig = TINY) -> Path:
    """A weights file of the tiny network."""
    path = folder / "tiny.safetensors"
    save_weights(path, dict(tiny_model(config).named_parameters()), config.to_dict(), {"steps": 0})
    return path


def random_text(batch: int, tokens: int, generator: torch.Generator) -> Tensor:
    """Int64 `[batch, tokens, TOKEN_SIZE]` of random slots and facts, most of them nothing said; no shot continues."""
    slot = torch.randint(N_SLOTS, (batch, tokens, 1), generator=generator)
    facts = torch.randint(1, N_FACTS - 1, (batch, tokens, TOKEN_SIZE - 1), generator=generator)
    said = torch.rand(facts.shape, generator=generator) < 0.4
    return torch.cat([slot, facts * said], dim=-1)


def shot_data(number: int, duration: float = 1.0, **more: Any) -> dict[str, Any]:
    """One shot of a story as plain data."""
    place = ("cafe", "beach", "forest", "street")[number % 4]
    return {"id": f"s{number}", "duration": duration, "prompt": f"{{mira}} waves in the {place}", **more}


def story_of(shots: Sequence[Mapping[str, Any]] | int = 3, **shared: Any) -> Storyboard:
    """A story; `shared` replaces or adds top-level keys. Shots are a second long unless given.

    Chunks are latent frames unless `attention` says otherwise: those of the preset are longer than a tiny shot.
    """
    asked = shared.pop("attention", {})
    chunks = {} if "preset" in asked else {"chunk_tokens": "frame", "top_k": 5}
    data: dict[str, Any] = {
        "version": 1,
        "title": "Test tale",
        "characters": {"mira": "a woman with red hair and a yellow coat"},
        "scenes": {},
        "sampling": {"seed": 7, "steps": 2},
        "attention": {**chunks, **asked},
        "shots": [shot_data(n) for n in range(1, shots + 1)] if isinstance(shots, int) else list(shots),
        **shared,
    }
    return Storyboard.from_dict(data)


def render(
    backbone: PocketBackbone,
    story: Storyboard,
    shots: Sequence[int] | None = None,
    memory: Mapping[int, np.ndarray] | None = None,
    on_step: Any = None,
) -> list[ShotResult]:
    """Render shots of a story as `moc generate` does, on the CPU."""
    return list(
        backbone.generate(
            story,
            seed=story.sampling.seed,
            device="cpu",
            mode=story.sampling.mode,
            shots=shots or [shot.number for shot in story.shots],
            memory=memory or {},
            on_step=on_step or (lambda *_: None),
        )
    )


def assert_same(first: ShotResult, second: ShotResult) -> None:
    """Two results agree bit for bit, but for the time they took."""
    assert first.number == second.number
    for name in ("frames", "latents", "routing"):
        a, b = getattr(first, name), getattr(second, name)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert (a == b).all(), name
    assert first.sparsity == second.sparsity

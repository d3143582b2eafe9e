"""What an arm costs: sparsity as it happened, counted FLOPs, measured time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moc.metrics.metric import Metric

if TYPE_CHECKING:
    from moc.config import MoCConfig
    from moc.profile import Settings
    from moc.storyboard import Storyboard

SPARSITY = Metric(
    "sparsity", "spar-\nsity", "share of all query-key pairs of the story that were never computed, as it was drawn",
    None, 1.0, "neither", form="{:.1%}", unit="share",
)  # fmt: skip
PAST = Metric(
    "sparsity_past", "of\npast", "the same of the pairs with the own and earlier shots, counted before drawing",
    None, 1.0, "neither", form="{:.1%}", unit="share",
)  # fmt: skip
GFLOP = Metric(
    "attention_gflop", "GFLOP\natt.",
    "attention of one pass over the whole story, all layers and heads, pooling and routing included, counted",
    0.0, None, "lower", form="{:,.3g}", unit="GFLOP",
)  # fmt: skip
STEP_SECONDS = Metric(
    "step_seconds", "s in\nsteps",
    "seconds of all denoising steps, from the median step of each shot, so that what happens once does not count",
    0.0, None, "lower", form="{:,.1f}", unit="s",
)  # fmt: skip
SECONDS = Metric(
    "seconds", "s in\nall", "wall-clock seconds of drawing all shots, with loading and compiling where that came first",
    0.0, None, "lower", form="{:,.1f}", unit="s",
)  # fmt: skip
MEMORY = Metric(
    "peak_memory_mib", "MiB\npeak", "the most memory that drawing took besides what was there before",
    0.0, None, "lower", form="{:,.0f}", unit="MiB",
)  # fmt: skip
COSTS = (SPARSITY, PAST, GFLOP, STEP_SECONDS, SECONDS, MEMORY)


def counted(story: Storyboard) -> dict[str, float]:
    """Costs of a story of the built-in model that are known before it is drawn. Imports torch."""
    from moc.profile import base_settings

    return _counted(base_settings(None, "pocket", story))


def counted_stream(config: MoCConfig, shots: int, latent_frames: int) -> dict[str, float]:
    """The same for a stream of equal shots."""
    from moc.profile import base_settings

    usual = base_settings("pocket", "pocket", None)
    size = replace(usual.geometry, frames=latent_frames)
    return _counted(replace(usual, config=config, geometry=size, shots=(shots,)))


def _counted(settings: Settings) -> dict[str, float]:
    from moc.flops import count, flops

    counts = count(settings.layout(settings.shots[0]), settings.config)
    size = settings.geometry
    cost = flops(counts, size.head_dim, heads=size.heads, layers=size.layers)
    return {PAST.key: counts.sparsity_causal, GFLOP.key: cost.total / 1e9}


def measured(manifest: Mapping[str, Any]) -> dict[str, float | None]:
    """Costs that a finished run wrote down."""
    shots = manifest["shots"]
    tokens = [shot["tokens"] for shot in shots]
    times = manifest["timings"].get("shots", {})
    known = all(str(shot["number"]) in times for shot in shots)
    return {
        SPARSITY.key: sum(n * shot["sparsity"] for n, shot in zip(tokens, shots, strict=True)) / sum(tokens),
        SECONDS.key: sum(times[str(shot["number"])] for shot in shots) if known else None,
    }

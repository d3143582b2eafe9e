"""What an arm costs: sparsity as it happened, counted FLOPs, measured time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.backbones.pocket.weights import SHIPPED, read_config
from moc.errors import InputError
from moc.metrics.metric import Metric

if TYPE_CHECKING:
    from moc.backbones.pocket.config import PocketConfig
    from moc.config import MoCConfig
    from moc.storyboard import Storyboard

SPARSITY = Metric(
    "sparsity", "spar-\nsity", "share of all query-key pairs of the story that were never computed, as it was drawn",
    0.0, 1.0, "neither", source="MoC, arXiv 2508.21058", form="{:.1%}", unit="share",
)  # fmt: skip
PAST = Metric(
    "sparsity_past", "of\npast", "the same of the pairs with the own and earlier shots, counted before drawing",
    None, 1.0, "neither", form="{:.1%}", unit="share",
)  # fmt: skip
GFLOP = Metric(
    "attention_gflop", "GFLOP\natt.",
    "attention of one pass over the whole story, all layers and heads, pooling and routing included, counted",
    0.0, None, "lower", source="MoC, arXiv 2508.21058, sec. 3.3", form="{:,.3g}", unit="GFLOP",
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
    """Costs of a story of the built-in network that are known before it is drawn; of its weights' own size.

    Empty where these weights are no longer there, as may be for runs of long ago. Imports torch.
    """
    from moc.backbones.pocket.planning import attention_of, cut_into_pieces

    try:
        size = read_config(weights_of(story.model))
    except InputError:
        return {}
    return counted_stream(size, attention_of(story), [piece.frames for piece in cut_into_pieces(story, size)])


def counted_stream(size: PocketConfig, config: MoCConfig, frames: Sequence[int]) -> dict[str, float]:
    """The same of shots of so many latent frames each."""
    from moc.attention.patterns import fitted
    from moc.flops import count, flops
    from moc.layout import Shot, TokenLayout

    shots = [Shot(size.caption_tokens, n, size.tokens_per_frame) for n in frames]
    layout = TokenLayout.from_shots(global_text=size.global_tokens, shots=shots, chunk_tokens=config.chunk_tokens)
    counts = count(fitted(layout, config), config)
    cost = flops(counts, size.head_dim, heads=size.heads, layers=size.layers)
    return {PAST.key: counts.sparsity_causal, GFLOP.key: cost.total / 1e9}


def weights_of(model: str) -> Path:
    """The file behind a story's `model`, where that is the built-in network: the shipped weights, or those named."""
    return SHIPPED if model == "pocket" else Path(model)


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

"""What the engine's tests share: hypothesis strategies for ragged layouts and settings, and random inputs."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import torch
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout
from moc.config import INTRA, TEXT_LINKS


@st.composite
def layouts(draw: Any, max_shots: int = 4, min_shots: int = 1) -> TokenLayout:
    """Ragged streams: one-token shots, shots without caption, no global text, lengths that are no multiple of much."""
    shot = st.builds(Shot, text=st.integers(0, 3), frames=st.integers(1, 5), tokens_per_frame=st.integers(1, 9))
    return TokenLayout.from_shots(
        global_text=draw(st.integers(0, 4)),
        shots=draw(st.lists(shot, min_size=min_shots, max_size=max_shots)),
        chunk_tokens=draw(st.one_of(st.just("frame"), st.integers(1, 24))),
    )


@st.composite
def configs(draw: Any, layout: TokenLayout) -> MoCConfig:
    """Settings that fit a layout."""
    return MoCConfig(
        chunk_tokens=layout.chunk_tokens,
        top_k=draw(st.integers(0, 4)),
        intra=draw(st.sampled_from(INTRA)),
        window_chunks=draw(st.integers(0, 2)),
        causal=draw(st.booleans()),
        text_links=draw(st.sampled_from(TEXT_LINKS)),
    )


@st.composite
def cases(draw: Any, max_shots: int = 4) -> tuple[TokenLayout, MoCConfig]:
    """A layout and settings for it."""
    layout = draw(layouts(max_shots))
    return layout, draw(configs(layout))


def q_ranges(layout: TokenLayout) -> st.SearchStrategy[tuple[int, int]]:
    """Row ranges of a stream, empty ones included."""
    row = st.integers(0, layout.length)
    return st.tuples(row, row).map(lambda pair: (min(pair), max(pair)))


def qkv(
    layout: TokenLayout,
    *,
    batch: int = 2,
    heads: int = 2,
    width: int = 8,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    grad: bool = False,
) -> list[Tensor]:
    """Random queries, keys and values of a whole stream, each [batch, heads, L, width]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, layout.length, width)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_(grad) for _ in range(3)]


def ragged() -> TokenLayout:
    """A fixed stream with every oddity: 84 tokens in shots of 4 frames, one token, 5 frames."""
    shots = [Shot(text=2, frames=4, tokens_per_frame=6), Shot(), Shot(text=3, frames=5, tokens_per_frame=10)]
    return TokenLayout.from_shots(global_text=4, shots=shots, chunk_tokens=16)

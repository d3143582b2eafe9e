"""`first-frame`: besides its own shot, video attends the first latent frame of every other shot, as in HoloCine
(arXiv 2510.20822), where those frames carry what shots have in common.

HoloCine is not causal: each shot attends the first frames of all shots. With `causal` it is those of earlier shots.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from moc.attention.patterns.shots import looked_at
from moc.attention.patterns.tokens import Tokens
from moc.config import MoCConfig
from moc.layout import TokenLayout


def links(layout: TokenLayout, config: MoCConfig, shot: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """All rows of the shot attend the same frames."""
    sizes = dict(zip(layout.shot_numbers, layout.shots, strict=True))
    firsts = [(layout.video_range(n)[0], sizes[n].tokens_per_frame) for n in looked_at(layout, config, shot)]
    yield *layout.video_range(shot), [(start, start + tokens) for start, tokens in firsts]


def mask(tokens: Tokens) -> Tensor:
    """[Lq, L] bool, token by token."""
    return tokens.other & (tokens.layout.frame_ids == 0)

"""`dense`: video attends every video token that it may look at at all, as in Long Context Tuning (arXiv 2503.10589).

                 text   video 1   video 2   video 3
    video 1       #        #
    video 2       #        #         #                  causal; without it, every square is filled
    video 3       #        #         #         #

It is MoC with every admissible chunk chosen, so that the two differ in the choice alone. LCT's text tokens attend
video as well; here text is linked as `text_links` says, as for every pattern.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from moc.attention.patterns.shots import looked_at
from moc.attention.patterns.tokens import Tokens
from moc.config import MoCConfig
from moc.layout import TokenLayout


def links(layout: TokenLayout, config: MoCConfig, shot: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """All rows of the shot attend all video of the shots it looks at, and its own."""
    start, stop = layout.video_range(shot)
    yield start, stop, [layout.video_range(n) for n in looked_at(layout, config, shot)] + [(start, stop)]


def mask(tokens: Tokens) -> Tensor:
    """[Lq, L] bool, token by token."""
    return tokens.other | tokens.own

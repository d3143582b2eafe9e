"""Which shots a shot looks at, for patterns that the layout decides."""

from __future__ import annotations

from moc.config import MoCConfig
from moc.layout import TokenLayout


def looked_at(layout: TokenLayout, config: MoCConfig, shot: int) -> list[int]:
    """Numbers of the shots besides its own that a shot may attend: those before it and, unless causal, after it.

    Raises:
        ValueError: the layout has a history of its own, which says nothing about what comes after, and is not causal.
    """
    if layout.history is not None and not config.causal:
        raise ValueError("a layout with a history of its own can only look back, so causal must be true, got false")
    before = list(layout.shot_numbers[: layout.shots_before(shot)])
    return before if config.causal else [n for n in layout.shot_numbers if n != shot]

"""Named attributes right: the share of what a story's words say that its video shows.

Exact in the story world, where a trained reader tells attributes from pixels; a character that it does not find counts
as wrong in everything. Torch loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moc.metrics.metric import Metric

if TYPE_CHECKING:
    import pandas as pd

NAMED_RIGHT = Metric(
    "named_right", "named\nright",
    "share of the attributes named by the story's words that are read from the pixels as they should be",
    0.0, 1.0, "higher", form="{:.1%}", unit="share",
)  # fmt: skip


def named_right(rows: pd.DataFrame) -> float | None:
    """Share of readings of named attributes that are right.

    Args:
        rows: of `read_story` or `readings`.

    Returns:
        0 to 1; None where nothing is named.
    """
    from moc.metrics.world import accuracy

    named = rows[rows["named"]]
    return accuracy(named) if len(named) else None

"""Consistency of characters and places, ours: do they look the same in every shot they are in?

Counted on what no caption says (hair, hat, scarf, wall ...), because that is where memory is needed: what captions say
can be drawn without it. Two appearances agree in an attribute when the reader reads the same value in both; what can't
be read agrees with nothing, not even with itself. All pairs of appearances of an owner count, and every owner and
attribute counts alike, however often it is seen.

A model that draws everything alike is consistent without any memory. So a level of chance belongs beside it: the same
agreement between one story drawn from two seeds, where nothing could be remembered. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from moc.metrics.metric import Metric
from moc.world.schema import CHARACTER_OPEN, HAT, PLACE_OPEN

if TYPE_CHECKING:
    import pandas as pd

CHARACTERS = Metric(
    "consistency_characters", "cons.\npeople",
    "agreement of a character's unnamed attributes between its appearances, as read from the pixels",
    0.0, 1.0, "higher", form="{:.1%}", unit="share",
)  # fmt: skip
PLACES = Metric(
    "consistency_places", "cons.\nplaces",
    "agreement of a place's unnamed attributes between its appearances, as read from the pixels",
    0.0, 1.0, "higher", form="{:.1%}", unit="share",
)  # fmt: skip
OWNERS = {CHARACTERS.key: ("character", CHARACTER_OPEN), PLACES.key: ("scene", PLACE_OPEN)}

_UNREAD = -1  # as `moc.metrics.world.UNREAD`, which would load torch

Seen = dict[tuple[int, str], np.ndarray]
"""Readings by owner's slot and attribute, one a shot in which it appears."""


def consistency(rows: pd.DataFrame, metric: Metric) -> float | None:
    """The mean agreement between two appearances.

    Args:
        rows: of `read_story`, one story.
        metric: `CHARACTERS` or `PLACES`.

    Returns:
        0 to 1; None where nobody appears twice with anything unnamed.
    """
    shares = [_share(combinations(values, 2)) for values in _seen(rows, metric).values() if len(values) > 1]
    return float(np.mean(shares)) if shares else None


def chance(stories: Sequence[pd.DataFrame], metric: Metric) -> float | None:
    """The mean agreement between an owner's appearances in one drawing of a story and those in another.

    Args:
        stories: rows of the same story drawn from different seeds.
        metric: `CHARACTERS` or `PLACES`.

    Returns:
        0 to 1, what `consistency` would be without memory; None for fewer than two drawings.
    """
    tables = [_seen(rows, metric) for rows in stories]
    shares = [
        _share(product(one[key], other[key]))
        for one, other in combinations(tables, 2)
        for key in one.keys() & other.keys()
        if len(one[key]) > 1 and len(other[key])  # the colour of a hat may have no reading in one of them
    ]
    return float(np.mean(shares)) if shares else None


def _share(pairs: Iterator[tuple[int, int]]) -> float:
    return float(np.mean([a == b != _UNREAD for a, b in pairs]))


def _seen(rows: pd.DataFrame, metric: Metric) -> Seen:
    owner, attributes = OWNERS[metric.key]
    chosen = rows[(rows["owner"] == owner) & ~rows["named"] & rows["attribute"].isin(attributes)]
    bare = HAT.index("none")
    seen: Seen = {}
    for (owner_slot, attribute), part in chosen.groupby(["slot", "attribute"]):
        slot = int(str(owner_slot))
        if attribute == "hat_color":  # of those who wear one: where nobody does, its colour is no reading
            hats = rows[(rows["slot"] == slot) & (rows["attribute"] == "hat")].set_index("shot")["read"]
            part = part[part["shot"].map(hats) != bare]
        seen[slot, str(attribute)] = part["read"].to_numpy()
    return seen

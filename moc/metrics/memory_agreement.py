"""How well later looks agree with first looks: recall, chance, kappa, entropy, and intervals over stories.

Everything here is counting, on numpy arrays, without a model. A *pair* is what was seen of an attribute at first and
what is seen of it later; pairs of one story hang together, so intervals resample whole stories.

    recall  share of pairs that agree
    chance  the same share for pairs shuffled between stories: first look of one story, later look of another one
    kappa   (recall - chance) / (1 - chance), Cohen's form: 0 for a model that draws the same whatever came before, and
            for one that always draws red, whose recall is 1; 1 for one that never errs

A look that can't be read has the value -1 and agrees with nothing, not even with another one.

Pairs may be of groups, such as the kind of character that every caption names. Then pairs are shuffled within groups
alone: a model that always draws cats ginger and dogs brown remembers nothing, and would seem to if a cat's first look
were held against a dog's later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNREAD = -1
DRAWS = 1000

Array = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval; all three are not a number where nothing was counted."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """Pairs of one attribute counted by story. B stories, G groups, V values.

    Attributes:
        pairs: `[B, G]` how many; hits: `[B]` those that agree.
        first, later: `[B, G, V]` how often each value was seen at first and later; unreadable looks are in none.
    """

    pairs: Array
    hits: Array
    first: Array
    later: Array


def tally(
    story: Sequence[int] | Array,
    first: Array,
    later: Array,
    *,
    stories: int,
    values: int,
    group: Array | None = None,
    groups: int = 1,
) -> Tally:
    """Count pairs by story.

    Args:
        story, first, later: `[N]` the story of each pair (0 to `stories` - 1), and the values of both looks (-1 to
            `values` - 1).
        group: `[N]` the group of each pair (0 to `groups` - 1); None for a single one.

    Raises:
        ValueError: they differ in length, or one lies outside its range.
    """
    story, first, later = (np.asarray(x, dtype=np.int64) for x in (story, first, later))
    group = np.zeros_like(story) if group is None else np.asarray(group, dtype=np.int64)
    lengths = [len(x) for x in (story, first, later, group)]
    if len(set(lengths)) > 1:
        raise ValueError(f"story, first, later and group must be of one length, got {lengths}")
    for name, x, low, high in (
        ("story", story, 0, stories), ("first", first, UNREAD, values), ("later", later, UNREAD, values),
        ("group", group, 0, groups),
    ):  # fmt: skip
        if len(x) and not (low <= x.min() and x.max() < high):
            raise ValueError(f"{name} must lie in {low} to {high - 1}, got {x.min()} to {x.max()}")
    cell = story * groups + group

    def by_value(x: Array) -> Array:
        seen = x >= 0
        found = np.bincount(cell[seen] * values + x[seen], minlength=stories * groups * values)
        return found.reshape(stories, groups, values).astype(float)

    right = (first == later) & (first >= 0)
    return Tally(
        pairs=np.bincount(cell, minlength=stories * groups).reshape(stories, groups).astype(float),
        hits=np.bincount(story[right], minlength=stories).astype(float),
        first=by_value(first),
        later=by_value(later),
    )


def resamples(stories: int, *, draws: int = DRAWS, seed: int = 0) -> Array:
    """`[1 + draws, stories]` how often each story counts: once each in the first row, then drawn with replacement."""
    if not stories:
        return np.zeros((1 + draws, 0))
    drawn = np.random.default_rng(seed).multinomial(stories, np.full(stories, 1 / stories), size=draws)
    return np.concatenate([np.ones((1, stories)), drawn.astype(float)])


def recall(counts: Tally, weights: Array) -> Array:
    """`[D]` share of pairs that agree, for D weightings `[D, B]` of the stories; not a number without pairs."""
    return _ratio(weights @ counts.hits, weights @ counts.pairs.sum(1))


def chance(counts: Tally, weights: Array) -> Array:
    """`[D]` share that agrees between first looks and later looks of different stories, over all such combinations.

    That is what shuffling pairs between stories gives on average, without the shuffle's own noise. Copies of a story
    within a resample are the same story. Groups count by their pairs; those without two stories count for nothing,
    and the result is not a number where that is all of them.
    """
    stories, groups, values = counts.first.shape
    flat = (stories, groups * values)
    seen = [(weights @ x.reshape(flat)).reshape(-1, groups, values) for x in (counts.first, counts.later)]
    agreeing = (seen[0] * seen[1]).sum(2) - weights**2 @ (counts.first * counts.later).sum(2)
    pairs = weights @ counts.pairs
    by_group = _ratio(agreeing, pairs**2 - weights**2 @ counts.pairs**2)
    known = np.isfinite(by_group)
    return _ratio((np.where(known, by_group, 0) * pairs).sum(1), (known * pairs).sum(1))


def kappa(counts: Tally, weights: Array) -> Array:
    """`[D]` agreement beyond chance; 0 where chance alone is always right, which tells nothing of memory."""
    by_chance, seen = chance(counts, weights), recall(counts, weights)
    room = 1 - by_chance
    return np.where(room > 1e-12, _ratio(seen - by_chance, np.where(room > 1e-12, room, 1)), 0 * by_chance)


def estimate(draws: Array) -> Estimate:
    """The first of `[1 + draws]` values, with the interval that holds 95 % of the others."""
    if not np.isfinite(draws[0]):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.nanquantile(draws[1:], [0.025, 0.975]) if np.isfinite(draws[1:]).any() else (np.nan, np.nan)
    return Estimate(float(draws[0]), float(low), float(high))


def entropy(values: Array, count: int) -> float:
    """Bits of an attribute's empirical distribution over `count` values, unreadable ones left out; at most log2(count).

    Not a number where nothing was read.
    """
    share = _shares(values, count)
    return float("nan") if share is None else float(-(share[share > 0] * np.log2(share[share > 0])).sum()) + 0.0


def uniform_distance(values: Array, count: int) -> float:
    """How far the share of any of `count` values lies from 1 / count at most (0.1 is ten points)."""
    share = _shares(values, count)
    return float("nan") if share is None else float(np.abs(share - 1 / count).max())


def _shares(values: Array, count: int) -> Array | None:
    values = np.asarray(values, dtype=np.int64)
    seen = values[values >= 0]
    return np.bincount(seen, minlength=count) / len(seen) if len(seen) else None


def plain(value: float) -> float | None:
    """A number as JSON has it: None for one that is none."""
    return float(value) if np.isfinite(value) else None


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)

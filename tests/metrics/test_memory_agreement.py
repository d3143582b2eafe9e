"""Recall, chance and kappa against hand-computed cases and simulated readings of known memory; the bootstrap."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moc.metrics.memory_agreement import (
    UNREAD,
    Estimate,
    Tally,
    chance,
    entropy,
    estimate,
    kappa,
    recall,
    resamples,
    tally,
    uniform_distance,
)


def of(pairs: list[tuple[int, int, int]], stories: int, values: int) -> Tally:
    """A tally of (story, first, later)."""
    story, first, later = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    return tally(story, first, later, stories=stories, values=values)


def numbers(counts: Tally, weights: np.ndarray | None = None) -> tuple[float, float, float]:
    """Recall, chance and kappa, all stories counted once unless weighted."""
    weights = np.ones((1, len(counts.pairs))) if weights is None else weights
    return tuple(float(f(counts, weights)[0]) for f in (recall, chance, kappa))  # type: ignore[return-value]


def test_by_hand() -> None:
    """Three stories, 2 + 1 + 1 pairs: 3 of 4 agree; of the 10 combinations across stories, 5 agree.

    Firsts are a: 0 0, b: 1, c: 0; later ones a: 0 1, b: 1, c: 0. First of a against later of b, c: 0/1 no, 0/0 yes,
    twice; b against a, a, c: 1/0 no, 1/1 yes, 1/0 no; c against a, a, b: yes, no, no. That is 2 + 1 + 1 of 4 + 3 + 3.
    """
    counts = of([(0, 0, 0), (0, 0, 1), (1, 1, 1), (2, 0, 0)], 3, 2)
    assert numbers(counts) == pytest.approx((0.75, 0.4, (0.75 - 0.4) / 0.6))


def test_unreadable_agrees_with_nothing() -> None:
    counts = of([(0, UNREAD, UNREAD), (1, 0, UNREAD), (2, 0, 0), (3, UNREAD, 0)], 4, 3)
    # across stories: first 0 of 1 meets later 0 of 2 and 3, that of 2 meets the 0 of 3; 3 of 12
    assert numbers(counts) == pytest.approx((0.25, 0.25, 0.0))


@pytest.mark.parametrize("value", [0, 2])
def test_a_model_that_always_draws_the_same_has_no_kappa(value: int) -> None:
    """Free: first and later looks are all alike, recall is 1. Planted: firsts differ, recall is chance."""
    free = of([(b, value, value) for b in range(9)], 9, 3)
    assert numbers(free) == (1.0, 1.0, 0.0)
    planted = of([(b, b % 3, value) for b in range(9)], 9, 3)
    seen, by_chance, beyond = numbers(planted)
    assert seen == pytest.approx(1 / 3)
    assert by_chance == pytest.approx(1 / 3)
    assert beyond == pytest.approx(0)


def test_a_perfect_model_has_kappa_one() -> None:
    assert numbers(of([(b, b % 4, b % 4) for b in range(12)], 12, 4))[::2] == (1.0, 1.0)


def test_two_looks_at_one_story_are_no_chance() -> None:
    """Pairs are shuffled between stories: with one story alone there is nothing to shuffle."""
    seen, by_chance, beyond = numbers(of([(0, 1, 1), (0, 1, 1)], 1, 2))
    assert seen == 1
    assert math.isnan(by_chance)
    assert math.isnan(beyond)


def test_nothing_is_no_number() -> None:
    counts = of([], 3, 2)
    assert all(math.isnan(x) for x in numbers(counts))
    assert math.isnan(estimate(recall(counts, resamples(3, draws=5))).value)
    assert math.isnan(entropy(np.array([UNREAD]), 3))
    assert math.isnan(uniform_distance(np.array([], dtype=int), 3))


@st.composite
def tallies(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], int, int]:
    stories, values = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    look = st.integers(UNREAD, values - 1)
    return draw(st.lists(st.tuples(st.integers(0, stories - 1), look, look), min_size=1, max_size=12)), stories, values


@settings(max_examples=60, deadline=None)
@given(tallies())
def test_chance_is_every_combination_across_stories(case: tuple[list[tuple[int, int, int]], int, int]) -> None:
    pairs, stories, values = case
    crossed = [(a[1], b[2]) for a, b in itertools.product(pairs, pairs) if a[0] != b[0]]
    by_chance = numbers(of(pairs, stories, values))[1]
    if crossed:
        assert by_chance == pytest.approx(sum(x == y >= 0 for x, y in crossed) / len(crossed))
    else:
        assert math.isnan(by_chance)


@settings(max_examples=30, deadline=None)
@given(tallies(), st.integers(0, 99))
def test_chance_within_groups(case: tuple[list[tuple[int, int, int]], int, int], seed: int) -> None:
    """Each group's own chance, weighted by its pairs; a group met in one story alone has none."""
    pairs, stories, values = case
    story, first, later = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    group = np.random.default_rng(seed).integers(0, 3, len(pairs))
    counts = tally(story, first, later, stories=stories, values=values, group=group, groups=3)
    parts = []
    for g in range(3):
        inside = [pair for pair, of_group in zip(pairs, group, strict=True) if of_group == g]
        if len({pair[0] for pair in inside}) > 1:
            parts.append((numbers(of(inside, stories, values))[1], len(inside)))
    found = numbers(counts)[1]
    if parts:
        assert found == pytest.approx(sum(c * n for c, n in parts) / sum(n for _, n in parts))
    else:
        assert math.isnan(found)


def test_habits_of_a_kind_are_no_memory() -> None:
    """Cats are ginger at every look, dogs brown: shuffled among cats that agrees as well."""
    pairs = np.array([(b, b % 2, b % 2) for b in range(12)])
    mixed, apart = (
        tally(*pairs.T, stories=12, values=2, group=group, groups=2) for group in (None, pairs[:, 1])
    )  # fmt: skip
    assert numbers(mixed)[2] > 0.9
    assert numbers(apart) == (1.0, 1.0, 0.0)


@settings(max_examples=40, deadline=None)
@given(tallies(), st.integers(0, 3))
def test_a_story_counted_twice_is_one_story(case: tuple[list[tuple[int, int, int]], int, int], seed: int) -> None:
    """A weighting by a resample is a run in which stories are repeated, copies of a story counting as that story."""
    pairs, stories, values = case
    weights = resamples(stories, draws=1, seed=seed)[1:]
    repeated = [pair for pair in pairs for _ in range(int(weights[0, pair[0]]))]
    assert numbers(of(pairs, stories, values), weights) == pytest.approx(
        numbers(of(repeated, stories, values)), nan_ok=True
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(2, 8), st.floats(0, 0.5), st.integers(0, 9))
def test_simulated_memory_is_found(remembers: float, values: int, unread: float, seed: int) -> None:
    """A model that remembers with probability p, else draws anew, and is unreadable in a share u: kappa is p (1 - u)
    by design, as the chance agreement of its draws is taken off; recall is (p + (1 - p) / V) (1 - u)."""
    rng, stories = np.random.default_rng(seed), 1500
    first = rng.integers(0, values, stories)
    later = np.where(rng.random(stories) < remembers, first, rng.integers(0, values, stories))
    later = np.where(rng.random(stories) < unread, UNREAD, later)
    counts = tally(np.arange(stories), first, later, stories=stories, values=values)
    seen, by_chance, beyond = numbers(counts)
    expected = (remembers + (1 - remembers) / values) * (1 - unread)
    assert seen == pytest.approx(expected, abs=0.06)
    assert by_chance == pytest.approx((1 - unread) / values, abs=0.03)
    assert beyond == pytest.approx((expected - (1 - unread) / values) / (1 - (1 - unread) / values), abs=0.12)


def test_interval_covers_what_it_should() -> None:
    """61 of 64 stories right is an interval of about 87 to 98 %, so 64 stories say little."""
    rows = [(b, 1, int(b >= 3)) for b in range(64)]
    found = estimate(recall(of(rows, 64, 2), resamples(64)))
    assert found.value == pytest.approx(61 / 64)
    assert 0.87 < found.low < 0.93
    assert 0.97 < found.high <= 1


def test_interval_is_over_stories() -> None:
    """Ten pairs a story that are right or wrong together are worth one."""
    together = [(b, 1, int(b < 30)) for b in range(40) for _ in range(10)]
    apart = [(b, 1, int(i < 7.5)) for b in range(40) for i in range(10)]
    wide = estimate(recall(of(together, 40, 2), resamples(40)))
    narrow = estimate(recall(of(apart, 40, 2), resamples(40)))
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * math.sqrt(0.75 * 0.25 / 40), abs=0.06)
    assert narrow.high - narrow.low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("measure", ["recall", "kappa"])
def test_intervals_hold_the_truth_in_most_experiments(measure: str) -> None:
    """150 experiments of 80 stories, whose later looks hang together: a story remembers well or badly as a whole."""
    rng, values, held = np.random.default_rng(0), 5, 0
    memory = {"good": 0.9, "bad": 0.3}  # half of the stories each, so 0.6 on average
    truth = 0.6 if measure == "kappa" else 0.6 + 0.4 / values
    for experiment in range(150):
        story = np.repeat(np.arange(80), 4)
        first = np.repeat(rng.integers(0, values, 80), 4)
        strength = np.repeat(np.where(rng.random(80) < 0.5, memory["good"], memory["bad"]), 4)
        later = np.where(rng.random(320) < strength, first, rng.integers(0, values, 320))
        counts = tally(story, first, later, stories=80, values=values)
        found = estimate({"recall": recall, "kappa": kappa}[measure](counts, resamples(80, draws=200, seed=experiment)))
        held += found.low <= truth <= found.high
    assert 0.88 * 150 <= held <= 149


def test_same_seed_same_interval() -> None:
    counts = of([(b, b % 2, b % 3 % 2) for b in range(30)], 30, 2)
    first, again, other = (estimate(kappa(counts, resamples(30, seed=seed))) for seed in (0, 0, 1))
    assert first == again != other
    assert isinstance(first, Estimate)


def test_entropy_and_distance() -> None:
    assert entropy(np.array([0, 1, 2, 3]), 4) == pytest.approx(2)
    assert entropy(np.array([1, 1, UNREAD]), 4) == 0
    assert uniform_distance(np.array([0, 1, 2, 3]), 4) == 0
    assert uniform_distance(np.array([1, 1, UNREAD]), 4) == pytest.approx(0.75)
    assert uniform_distance(np.array([0, 0, 1, 2, 3]), 4) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("story", "first", "words"),
    [([0, 2], [0, 0], "story must lie in 0 to 1"), ([0, 1], [0, 5], "first must lie in -1 to 2"), ([0], [0, 0], "one")],
)
def test_wrong_numbers_are_said(story: list[int], first: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tally(np.array(story), np.array(first), np.array([0, 0]), stories=2, values=3)

"""Loops, against brute force: everything planted is found, and nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from route_cases import components_by_hand, cycles_by_hand, route_map, routings

from moc.route_map import RouteMap, Selection, analyse, find_loops, shares, terminal

QUICK = settings(max_examples=60, deadline=None)


@QUICK
@given(routings(), st.sampled_from([0.0, 0.1, 0.2, 0.4]))
def test_loops_are_those_of_brute_force(found: RouteMap, threshold: float) -> None:
    counts = found.shot_counts()
    share = shares(counts)
    loops = find_loops(counts, threshold, longest=5, most=10_000)
    expected = cycles_by_hand(share, threshold, 5)
    assert {cycle.places: cycle.weakest for cycle in loops.cycles} == pytest.approx(expected)
    assert {pair.places for pair in loops.mutual} == {places for places in expected if len(places) == 2}
    assert {component.places for component in loops.components} == components_by_hand(share, threshold)
    assert not loops.cut
    for component in loops.components:
        rows = counts[list(component.places)]
        assert component.inside == pytest.approx(rows[:, list(component.places)].sum() / rows.sum())
        assert component.earlier == pytest.approx(rows[:, : component.places[0]].sum() / rows.sum())


@QUICK
@given(routings(causal=True), st.sampled_from([0.0, 0.2]))
def test_causal_routes_close_no_loop(found: RouteMap, threshold: float) -> None:
    """Whatever is routed: a route leads to a smaller number, so no way comes back."""
    assert found.causal
    report = analyse(found, threshold=threshold)
    assert report.loops.components == report.loops.cycles == report.loops.mutual == ()
    assert "can be none" in report.sentences()[0] or not found.cube.any()


@QUICK
@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_a_planted_cycle_is_found(length: int, seed: int) -> None:
    """Eight shots that look back, and some that give 60 % to the next of a ring."""
    rng = np.random.default_rng(seed)
    counts = np.tril(np.full((8, 8), 10), -1)
    ring = rng.choice(8, length, replace=False)
    for a, b in zip(ring, np.roll(ring, -1), strict=True):
        counts[a] = np.where(np.arange(8) < a, 5, 0)
        counts[a, b] = max(60, int(2 * counts[a].sum()))
    loops = find_loops(counts, 0.3, longest=5)
    at = int(np.argmin(ring))
    planted = tuple(np.roll(ring, -at).tolist())
    assert planted in {cycle.places for cycle in loops.cycles}
    assert set(planted) in [set(component.places) for component in loops.components]


def test_the_paper_s_loop_in_words() -> None:
    """Shots 9 and 11 lock onto each other (Fig. 2)."""
    counts = np.tril(np.full((11, 11), 10), -1)
    counts[8] = [1] * 8 + [0, 51, 41]
    counts[10] = [1] * 8 + [38, 54, 0]
    report = analyse(route_map(counts, [1] * 11))
    assert [pair.places for pair in report.loops.mutual] == [(8, 10)]
    pink = [text.strip() for line in terminal.painted(report) for text, style in line if "magenta" in style]
    assert pink == ["41", "38"]
    said = report.sentences()
    assert said[0] == "Shots 9 (s9) and 11 (s11) give each other 41 % and 38 % of their routes, and 8 % to shots 1-8."


@pytest.mark.parametrize(("shots", "share"), [(2, 0.9), (3, 0.75), (4, 0.5), (5, 0.375), (6, 0.3), (40, 0.3)])
def test_evenly_spread_routes_are_no_loop(shots: int, share: float) -> None:
    """Unless there are two shots alone, which can but choose each other."""
    counts = 20 * (1 - np.eye(shots, dtype=int))
    loops = find_loops(counts)
    assert loops.threshold == pytest.approx(share)
    assert bool(loops.components) == (shots == 2)
    counts[-1, :-2], counts[-2, :-2] = 1, 1
    assert [pair.places for pair in find_loops(counts).mutual] == [(shots - 2, shots - 1)]


def test_the_choosiest_head_is_one_of_those_shown() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 50, (1, 3, 2, 2, 2 * (i + 1))) for i in range(3)]
    (said,) = [s for s in analyse(RouteMap.from_counts(blocks), Selection(layer=2)).sentences() if "choosiest" in s]
    assert said.count("layer 2, head") == 2
    alone = analyse(RouteMap.from_counts(blocks), Selection(layer=2, head=1)).sentences()
    assert not any("choosiest" in sentence for sentence in alone)


def test_many_cycles_are_cut_and_said_so() -> None:
    loops = find_loops(np.ones((9, 9), int) - np.eye(9, dtype=int), 0.05, longest=4, most=20)
    assert loops.cut
    assert len(loops.cycles) == 20
    assert len(loops.mutual) == 36  # never cut
    assert [component.places for component in loops.components] == [tuple(range(9))]


@pytest.mark.parametrize(("threshold", "longest"), [(-0.1, 4), (1.0, 4), (0.2, 1)])
def test_limits(threshold: float, longest: int) -> None:
    with pytest.raises(ValueError):
        find_loops(np.zeros((2, 2), int), threshold, longest)

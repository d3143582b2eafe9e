"""Synthetic routings, and slow, plain answers about them."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
from hypothesis import strategies as st

from moc.route_map import RouteMap, ShotInfo


def route_map(counts_CC: np.ndarray, chunks: list[int], names: list[tuple[str, ...]] | None = None) -> RouteMap:
    """A map of one step, layer and head from `[C, C]` counts; `chunks` of each shot."""
    edges = np.cumsum([0, *chunks])
    blocks = [counts_CC[None, None, None, a:b, :] for a, b in pairwise(edges)]
    shots = [ShotInfo(n + 1, f"s{n + 1}", names[n] if names else ()) for n in range(len(chunks))]
    return RouteMap.from_counts(blocks, shots, title="Synthetic")


@st.composite
def routings(draw: st.DrawFn, causal: bool | None = None) -> RouteMap:
    """Random counts of a few steps, layers and heads; with `causal`, none to the own or a later shot."""
    chunks = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    dims = draw(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)))
    masked = draw(st.booleans()) if causal is None else causal
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    density = draw(st.sampled_from([0.1, 0.5, 1.0]))
    edges = np.cumsum([0, *chunks])
    blocks = []
    for a, b in pairwise(edges):
        block = rng.integers(0, 50, (*dims, b - a, edges[-1])) * (rng.random((*dims, b - a, edges[-1])) < density)
        block[..., a:b] = 0
        if masked:
            block = block[..., :b]
        blocks.append(block)
    return RouteMap.from_counts(blocks)


def cycles_by_hand(shares: np.ndarray, threshold: float, longest: int) -> dict[tuple[int, ...], float]:
    """Every simple cycle of 2 to `longest` shots that begins with its smallest, and its weakest edge."""
    found = {}
    for length in range(2, longest + 1):
        for places in permutations(range(len(shares)), length):
            if places[0] != min(places):
                continue
            weakest = min(shares[i, j] for i, j in zip(places, (*places[1:], places[0]), strict=True))
            if weakest > threshold:
                found[places] = weakest
    return found


def components_by_hand(shares: np.ndarray, threshold: float) -> set[tuple[int, ...]]:
    """Sets of two or more shots that all reach each other, by Warshall's closure."""
    total = len(shares)
    reach = (shares > threshold) & ~np.eye(total, dtype=bool)
    for middle in range(total):
        reach |= np.outer(reach[:, middle], reach[middle])
    both = reach & reach.T
    others = [np.flatnonzero(both[i] & (np.arange(total) != i)).tolist() for i in range(total)]
    return {tuple(sorted([i, *found])) for i, found in enumerate(others) if found}

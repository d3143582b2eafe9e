"""The graph of shots: an edge where a shot gives another more than a threshold of its routes, and where it closes.

Causal routes lead to earlier shots alone, so their graph has no loop at any threshold. Loops are what the paper blames
for stories that stall: shots that feed on each other and no longer on the past (sec. 3.2, Fig. 2 of arXiv 2508.21058).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

THRESHOLD = 0.3
"""Share of a shot's routes from which on they count as an edge, in stories of six shots and more (see
docs/route-map.md for why)."""
LONGEST = 4
"""Shots of the longest cycle that is listed; components have no such limit."""
MOST = 200
"""Cycles that are listed at most, strongest first; how many were left out is said."""


@dataclass(frozen=True)
class Cycle:
    """Shots that close a loop, by place from 0, smallest first; `weakest` is the smallest share on the way."""

    places: tuple[int, ...]
    weakest: float

    @property
    def edges(self) -> list[tuple[int, int]]:
        """The edges of the cycle."""
        return list(pairwise((*self.places, self.places[0])))


@dataclass(frozen=True)
class Component:
    """Shots that all reach each other (two or more), by place from 0.

    Attributes:
        inside: share of their routes that stays among them.
        earlier: share of their routes that leads to shots before the first of them.
    """

    places: tuple[int, ...]
    inside: float
    earlier: float


@dataclass(frozen=True)
class Loops:
    """Every loop of a graph of shots; `cut` tells that there were more cycles than are listed."""

    threshold: float
    components: tuple[Component, ...]
    cycles: tuple[Cycle, ...]
    mutual: tuple[Cycle, ...]
    cut: bool


def default_threshold(shots: int) -> float:
    """`THRESHOLD`, or one and a half times an even share where that is more: 0.375 in five shots, 0.75 in three.

    In a short story every other shot gets a large share by necessity. Two shots can but choose each other: at any
    threshold they close a loop where both have routes.
    """
    return max(THRESHOLD, min(1.5 / max(1, shots - 1), 0.9))


def edges(shares_SS: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """(from, to) of every share above the threshold between two shots."""
    above = np.argwhere(shares_SS > threshold)
    return [(int(i), int(j)) for i, j in above if i != j]


def find_loops(
    counts_SS: np.ndarray, threshold: float | None = None, longest: int = LONGEST, most: int = MOST
) -> Loops:
    """Strongly connected components, simple cycles of at most `longest` shots, and mutual pairs.

    Args:
        counts_SS: routed links from shot (row) to shot (column); links within a shot count to its sum but are no loop.
        threshold: share of a shot's routes above which they are an edge; None for `default_threshold`.
        longest: shots of the longest cycle listed.
        most: cycles searched through at most.

    Raises:
        ValueError: a threshold outside [0, 1), or cycles of fewer than two shots.
    """
    import networkx as nx

    from moc.route_map.load import shares

    if threshold is None:
        threshold = default_threshold(len(counts_SS))
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be at least 0 and below 1, got {threshold:g}")
    if longest < 2:
        raise ValueError(f"a cycle has at least 2 shots, got {longest}")
    share = shares(counts_SS)
    graph = nx.DiGraph(edges(share, threshold))
    components = [
        _component(counts_SS, tuple(sorted(found)))
        for found in nx.strongly_connected_components(graph)
        if len(found) > 1
    ]
    pairs = [(i, j) for i, j in graph.edges if i < j and (j, i) in graph.edges]
    mutual = [Cycle((i, j), float(min(share[i, j], share[j, i]))) for i, j in pairs]
    found = list(islice(nx.simple_cycles(graph, length_bound=longest), most + 1))
    cycles = [_cycle(share, places) for places in found[:most]]
    return Loops(
        threshold,
        tuple(sorted(components, key=lambda c: c.places)),
        tuple(sorted(cycles, key=lambda c: (-c.weakest, c.places))),
        tuple(sorted(mutual, key=lambda c: (-c.weakest, c.places))),
        len(found) > most,
    )


def _cycle(share: np.ndarray, places: Sequence[int]) -> Cycle:
    at = list(places).index(min(places))
    turned = (*places[at:], *places[:at])
    return Cycle(turned, float(min(share[i, j] for i, j in pairwise((*turned, turned[0])))))


def _component(counts: np.ndarray, places: tuple[int, ...]) -> Component:
    rows = counts[list(places)]
    total = int(rows.sum())
    return Component(places, int(rows[:, list(places)].sum()) / total, int(rows[:, : places[0]].sum()) / total)

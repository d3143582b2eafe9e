"""Numbers about where routes lead: distances, entropy of heads, chunks that nobody or everybody chooses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from moc.route_map.load import RouteMap, Selection

HUB = 4.0
"""A hub is chosen at least so many times as often as if its choosers had spread their routes evenly."""
NEAR = 1.5
"""And at least so many times as often as chunks that lie as far from their choosers: the last shots of a long story are
chosen often for being the latest, which makes no hub of them."""


@dataclass(frozen=True)
class Chunk:
    """A chunk that stands out: its place in the story and in its shot (both from 1), and how often it was chosen.

    `factor` is that number over what even routes would give it.
    """

    index: int
    shot: int
    within: int
    times: int
    factor: float


def distances(counts: np.ndarray) -> dict[int, int]:
    """Routed links by how many shots back they lead, from `[S, S]` counts; ahead is negative, 0 the own shot."""
    total = len(counts)
    back = np.arange(total)[:, None] - np.arange(total)[None, :]
    found = {int(d): int(counts[back == d].sum()) for d in np.unique(back)}
    return {d: n for d, n in found.items() if n}


def candidates(route_map: RouteMap) -> np.ndarray:
    """[S, S] bool: whether queries of one shot (row) may choose chunks of another, as far as the routes tell.

    Every other shot where any route leads ahead, earlier shots alone otherwise; the own shot where it was chosen.
    """
    counts = route_map.shot_counts()
    return admissible(route_map) & (counts.sum(axis=1) > 0)[:, None]


def admissible(route_map: RouteMap) -> np.ndarray:
    """[S, S] bool: the same for every shot, those without a route included."""
    counts = route_map.shot_counts()
    total = len(counts)
    allowed = np.tri(total, k=-1, dtype=bool) if route_map.causal else ~np.eye(total, dtype=bool)
    allowed |= np.eye(total, dtype=bool) & (np.diag(counts) > 0)
    return allowed


def even_counts(route_map: RouteMap, counts_CC: np.ndarray) -> np.ndarray:
    """[C] how often each chunk would be chosen if every chunk spread its routes evenly over its candidates."""
    may = candidates(route_map)
    sizes = np.diff(route_map.bounds)
    per_shot = np.array([counts_CC[a:b].sum() for a, b in pairwise(route_map.bounds)])
    room = may @ sizes
    rate = np.divide(per_shot, room, out=np.zeros(len(room)), where=room > 0)
    return np.repeat(may.T @ rate, sizes)


def usual_counts(route_map: RouteMap, counts_CC: np.ndarray) -> np.ndarray:
    """[C] how often each chunk would be chosen if only its distance in shots from the choosers mattered.

    A shot then gives each of its candidates the mean share that chunks at that distance get from their choosers.
    """
    bounds, total = route_map.bounds, len(route_map.shots)
    given_SC = np.stack([counts_CC[a:b].sum(axis=0) for a, b in pairwise(bounds)])
    may_SC = candidates(route_map)[:, route_map.chunk_shot]
    amount = given_SC.sum(axis=1, keepdims=True)
    share_SC = np.divide(given_SC, amount, out=np.zeros(given_SC.shape), where=amount > 0)
    away_SC = np.arange(total)[:, None] - route_map.chunk_shot[None, :] + total
    weight = np.bincount(away_SC[may_SC], minlength=2 * total)
    mean = np.bincount(away_SC[may_SC], share_SC[may_SC], minlength=2 * total) / np.maximum(weight, 1)
    usual: np.ndarray = (amount * mean[away_SC] * may_SC).sum(axis=0)
    return usual


def dead_chunks(route_map: RouteMap, counts_CC: np.ndarray) -> list[Chunk]:
    """Chunks that queries could have chosen and never did."""
    received, even = counts_CC.sum(axis=0), even_counts(route_map, counts_CC)
    return [_chunk(route_map, int(c), 0, 0.0) for c in np.flatnonzero((received == 0) & (even > 0))]


def hubs(route_map: RouteMap, counts_CC: np.ndarray, factor: float = HUB) -> list[Chunk]:
    """Chunks that are chosen at least `factor` times as often as evenly spread routes would, most chosen first.

    Those that are chosen about as often as any at their distance from the choosers are none, see `NEAR`.
    """
    received, even = counts_CC.sum(axis=0), even_counts(route_map, counts_CC)
    usual = usual_counts(route_map, counts_CC)
    found = np.flatnonzero((even > 0) & (received >= factor * even) & (received >= NEAR * usual))
    chunks = [_chunk(route_map, int(c), int(received[c]), float(received[c] / even[c])) for c in found]
    return sorted(chunks, key=lambda chunk: (-chunk.factor, chunk.index))


def _chunk(route_map: RouteMap, c: int, times: int, factor: float) -> Chunk:
    shot = int(route_map.chunk_shot[c])
    return Chunk(c + 1, route_map.shots[shot].number, c - int(route_map.bounds[shot]) + 1, times, factor)


def head_entropy(route_map: RouteMap, step: int | None = None) -> np.ndarray:
    """[layers, heads] how evenly a chunk's queries spread their routes: 1 over all candidates, 0 always one chunk.

    Shannon entropy of each query chunk's routes over the logarithm of its candidates, mean over query chunks that have
    more than one; NaN where none has.
    """
    _, layers, heads = route_map.dims
    may, sizes = candidates(route_map), np.diff(route_map.bounds)
    total, rows = np.zeros((layers, heads)), np.zeros((layers, heads))
    for i in range(len(route_map.shots)):
        room = int(may[i] @ sizes)
        if room < 2:
            continue
        block = route_map.read(i)[Selection(step=step).slices].sum(axis=0, dtype=np.int64)
        amount = block.sum(axis=-1)
        p = block / np.maximum(amount, 1)[..., None]
        entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1) / np.log(room)
        total += np.where(amount > 0, entropy, 0).sum(axis=-1)
        rows += (amount > 0).sum(axis=-1)
    return np.divide(total, rows, out=np.full(total.shape, np.nan), where=rows > 0)

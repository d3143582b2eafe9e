"""What a map says, in sentences that a maker of films understands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moc.route_map.counts import HUB, Chunk, admissible, dead_chunks, distances, head_entropy, hubs
from moc.route_map.graph import LONGEST, Loops, find_loops
from moc.route_map.load import ALL, RouteMap, Selection, ShotInfo, shares

MOST_FORGOTTEN = 6
"""Forgotten names that are told in words; the data has all of them."""
FORGOTTEN = 1 / 3
"""A name is forgotten when its shots get less than this part of what evenly spread routes would give them (see
docs/route-map.md for why)."""


@dataclass(frozen=True)
class Forgotten:
    """A shot that names someone or something, and looks away from the shots that showed it.

    Attributes:
        shot: the shot; name: a character or scene of its caption.
        shown: the earlier shots whose captions name it.
        share: of the shot's routes that lead to them; even: what evenly spread routes would give.
    """

    shot: ShotInfo
    name: str
    shown: tuple[ShotInfo, ...]
    share: float
    even: float


@dataclass(frozen=True)
class Report:
    """Everything that is known about a map at one selection of steps, layers and heads."""

    route_map: RouteMap
    selection: Selection
    counts_SS: np.ndarray
    counts_CC: np.ndarray
    loops: Loops
    forgotten: tuple[Forgotten, ...]
    dead: tuple[Chunk, ...]
    hubs: tuple[Chunk, ...]
    entropy: np.ndarray
    distances: dict[int, int]

    @property
    def shares_SS(self) -> np.ndarray:
        """[S, S] share of each shot's routes."""
        return shares(self.counts_SS)

    def sentences(self) -> list[str]:
        """The findings, loops first."""
        return [
            *loop_sentences(self),
            *forgotten_sentences(self),
            *_chunk_sentences(self),
            *_spread_sentences(self),
        ]


def analyse(
    route_map: RouteMap,
    selection: Selection = ALL,
    *,
    threshold: float | None = None,
    longest: int = LONGEST,
    forgotten: float = FORGOTTEN,
) -> Report:
    """All findings of a map.

    Args:
        selection: which steps, layers and heads count.
        threshold, longest: see `find_loops`.
        forgotten: see `forgotten_names`.

    Raises:
        InputError: the run has no such step, layer or head.
        ValueError: as `find_loops`.
    """
    route_map.check(selection)
    counts_SS, counts_CC = route_map.shot_counts(selection), route_map.chunk_counts(selection)
    return Report(
        route_map,
        selection,
        counts_SS,
        counts_CC,
        find_loops(counts_SS, threshold, longest),
        tuple(forgotten_names(route_map, counts_SS, forgotten)),
        tuple(dead_chunks(route_map, counts_CC)),
        tuple(hubs(route_map, counts_CC)),
        head_entropy(route_map, selection.step),
        distances(counts_SS),
    )


def forgotten_names(route_map: RouteMap, counts_SS: np.ndarray, part: float = FORGOTTEN) -> list[Forgotten]:
    """Names of earlier shots whose shots get less than `part` of their even share of a later shot's routes.

    The even share is what those shots would get if the shot's routes were spread evenly over the chunks that it may
    choose: the later in a story, the smaller it is, so one limit serves short and long stories. A shot without any
    route has forgotten them all.
    """
    share, may, sizes = shares(counts_SS), admissible(route_map), np.diff(route_map.bounds)
    found = []
    for i, shot in enumerate(route_map.shots):
        room = int(may[i] @ sizes)
        for name in shot.names:
            shown = [j for j in range(i) if name in route_map.shots[j].names and may[i, j]]
            if not shown or not room:
                continue
            given, even = float(share[i, shown].sum()), float(sizes[shown].sum() / room)
            if given < part * even:
                found.append(Forgotten(shot, name, tuple(route_map.shots[j] for j in shown), given, even))
    return found


def percent(share: float) -> str:
    """A share as a person says it: 41 %, 0.4 %, 0 %."""
    value = 100 * share
    return f"{value:.0f} %" if value == 0 or value >= 9.95 else f"{value:.2g} %"


def listed(shots: Sequence[ShotInfo]) -> str:
    """`shots 9 (river), 10 (bench) and 11 (phone)`."""
    names = [shot.title for shot in shots]
    if len(names) == 1:
        return f"shot {names[0]}"
    return f"shots {', '.join(names[:-1])} and {names[-1]}"


def numbers(shots: Sequence[ShotInfo]) -> str:
    """`shots 1-8`, `shots 1-3, 5`, `shot 4`, for shots in order."""
    from moc.run.selection import named_shots

    return named_shots([shot.number for shot in shots])


def loop_sentences(report: Report) -> list[str]:
    """Loops: a sentence a mutual pair, cycle of three or more, and component."""
    loops, shots, share = report.loops, report.route_map.shots, report.shares_SS
    if not report.counts_SS.any():
        return ["No routes: every shot attends itself and its text alone."]
    if not loops.components:
        why = ", and no route leads to a later shot, so there can be none" if report.route_map.causal else ""
        return [f"No loops: no shots give each other more than {percent(loops.threshold)} of their routes{why}."]
    said = []
    for pair in loops.mutual[:8]:
        i, j = pair.places
        rest = float(report.counts_SS[[i, j], :i].sum() / report.counts_SS[[i, j]].sum())
        before = f", and {percent(rest)} to {numbers(shots[:i])}" if i else ""
        said.append(
            f"{listed([shots[i], shots[j]])} give each other {percent(share[i, j])} and {percent(share[j, i])} of "
            f"their routes{before}."
        )
    for cycle in [cycle for cycle in loops.cycles if len(cycle.places) > 2][:4]:
        way = " -> ".join(shots[p].title for p in (*cycle.places, cycle.places[0]))
        said.append(f"shots {way} form a loop; its weakest step is {percent(cycle.weakest)}.")
    for component in loops.components:
        first = component.places[0]
        back = f"{percent(component.earlier)} leads to {numbers(shots[:first])}" if first else "none come before them"
        said.append(
            f"{listed([shots[p] for p in component.places])} hang together: {percent(component.inside)} of their "
            f"routes stays among them, {back}."
        )
    left = len(loops.mutual) - 8
    if left > 0:
        said.append(f"{left} more pairs give each other more than {percent(loops.threshold)}.")
    return [sentence[0].upper() + sentence[1:] for sentence in said]


def forgotten_sentence(found: Forgotten) -> str:
    """Shot 8 names mira; 2 % of its routes go to shots 1-4, which show mira (evenly spread: 60 %)."""
    verb = "show" if len(found.shown) > 1 else "shows"
    return (
        f"Shot {found.shot.title} names {found.name}; {percent(found.share)} of its routes "
        f"go to {numbers(found.shown)}, which {verb} {found.name} (evenly spread: {percent(found.even)})."
    )


def forgotten_sentences(report: Report) -> list[str]:
    """The worst of what was forgotten, in story order, and how much more there is."""
    worst = sorted(report.forgotten, key=lambda found: found.share / found.even)[:MOST_FORGOTTEN]
    said = [forgotten_sentence(found) for found in report.forgotten if found in worst]
    left = len(report.forgotten) - len(said)
    if left > 0:
        noun = "name gets" if left == 1 else "names get"
        said.append(f"{left} more {noun} less than a third of the even share; the JSON has them all.")
    return said


def _chunk_sentences(report: Report) -> list[str]:
    said, shots = [], {shot.number: shot for shot in report.route_map.shots}
    unit = report.route_map.unit
    if report.dead:
        by_shot: dict[int, list[int]] = {}
        for chunk in report.dead:
            by_shot.setdefault(chunk.shot, []).append(chunk.within)
        where = "; ".join(
            f"shot {shots[n].title}: {', '.join(map(str, within[:8]))}{', ...' if len(within) > 8 else ''}"
            for n, within in list(by_shot.items())[:4]
        )
        more = f"; and in {len(by_shot) - 4} more shots" if len(by_shot) > 4 else ""
        noun = f"{unit} was" if len(report.dead) == 1 else f"{unit}s were"
        said.append(f"{len(report.dead)} {noun} never chosen ({where}{more}).")
    for chunk in report.hubs[:3]:
        said.append(
            f"{unit.capitalize()} {chunk.within} of shot {shots[chunk.shot].title} is a hub: chosen "
            f"{chunk.factor:.1f} times as often as evenly spread routes would."
        )
    if len(report.hubs) > 3:
        said.append(f"{len(report.hubs) - 3} more {unit}s are chosen at least {HUB:g} times as often as that.")
    return said


def _spread_sentences(report: Report) -> list[str]:
    said = []
    total = sum(report.distances.values())
    if total:
        near = sum(n for d, n in report.distances.items() if abs(d) == 1)
        ahead = sum(n for d, n in report.distances.items() if d < 0)
        far = max((d for d in report.distances if d > 0), default=0)
        text = f"{percent(near / total)} of all routes lead to a neighbouring shot"
        text += f", {percent(ahead / total)} to later shots" if ahead else ""
        said.append(f"{text}; the farthest reach {far} {'shot' if far == 1 else 'shots'} back.")
    shown = np.full(report.entropy.shape, np.nan)
    chosen = report.selection.slices[1:]
    shown[chosen] = report.entropy[chosen]
    if np.isfinite(shown).any():
        if np.nanmin(shown) == np.nanmax(shown):
            return said  # no head differs: there is one, the layout decides, or one choice serves all
        low = np.unravel_index(np.nanargmin(shown), shown.shape)
        high = np.unravel_index(np.nanargmax(shown), shown.shape)
        said.append(
            f"The choosiest head is layer {low[0] + 1}, head {low[1] + 1} (entropy {shown[low]:.2f} of 1), "
            f"the least choosy layer {high[0] + 1}, head {high[1] + 1} ({shown[high]:.2f})."
        )
    return said

"""Tables of what `route_quality.py` measured. Every interval is a 95 % bootstrap over stories."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from memory_tables import markdown

from moc.config import MoCConfig

OWNERS = ("people", "places")
RELATIONS = ("same place", "same character", "both", "neither")
AXES = ("content", "shot", "frame", "row", "column")
USUAL = f"mean, k = {MoCConfig.preset('pocket').top_k}"
BEST = f"mass, k = {MoCConfig.preset('pocket').top_k}"
DRAWS = 2000
Range = Sequence[float]  # value, low, high


def interval(parts: np.ndarray, wholes: np.ndarray | None = None, *, less: np.ndarray | None = None) -> list[float]:
    """Sum by sum over stories with its interval: value, low, high.

    Args:
        parts: [stories]. wholes: what they are parts of, 1 each where there is None.
        less: parts of the same wholes that are taken off.
    """
    wholes = np.ones_like(parts) if wholes is None else wholes
    net = parts if less is None else parts - less
    drawn = np.random.default_rng(0).integers(0, len(net), (DRAWS, len(net)))
    shares = net[drawn].sum(1) / wholes[drawn].sum(1).clip(1e-12)
    return [float(net.sum() / wholes.sum().clip(1e-12)), *map(float, np.quantile(shares, (0.025, 0.975)))]


def percent(value: Range, form: str = "") -> str:
    """A share in percent with its interval."""
    return f"{100 * value[0]:{form}.1f} ({100 * value[1]:{form}.1f} to {100 * value[2]:{form}.1f})"


def means(told: dict[str, Any]) -> dict[str, np.ndarray]:
    """Numbers of mass by name: [stories, times, layers, heads]."""
    return {name: np.array([one["mass"][name] for one in told["per_story"]]) for name in told["per_story"][0]["mass"]}


def over_stories(table: np.ndarray) -> list[float]:
    """The mean over everything, with its interval."""
    return interval(table.mean((1, 2, 3)))


def carried_table(told: dict[str, Any]) -> str:
    """One row a choice: what predictions carry, and how far that is from MoC's own choice."""
    stories, times = told["per_story"], told["carried_times"]
    places = [(i, owner) for i in range(len(times)) for owner in OWNERS]

    def sums(name: str, i: int, owner: str) -> np.ndarray:
        return np.array([one["carried"][name][i][owner] for one in stories]).T

    heads = [f"{owner}, t = {times[i]:g}" for i, owner in places]
    rows = [["choice", *heads, *(f"{head}, against {USUAL}" for head in heads)]]
    for name in stories[0]["carried"]:
        cells = [percent(interval(*sums(name, *at))) for at in places]
        apart = []
        for at in places:
            parts, wholes = sums(name, *at)
            apart.append(percent(interval(parts, wholes, less=sums(USUAL, *at)[0]), "+"))
        rows.append([name, *cells, *(apart if name != USUAL else [""] * len(places))])
    return markdown(rows)


def covered_table(mass: dict[str, np.ndarray]) -> str:
    """One row a choice: the share of mass it covers, over heads and over all mass, and whether it finds the largest."""
    past = mass["mass on the past"]
    looking = mass[f"found: {BEST}"]  # 1 in heads that look back, 0 in others: the exact choice finds it always
    rows = [["choice", "mass covered, mean of heads", "of all mass", "largest found"]]
    for name in mass:
        if name.startswith("covered: "):
            choice = name.removeprefix("covered: ")
            by_mass = interval((mass[name] * past).mean((1, 2, 3)), past.mean((1, 2, 3)))
            hits = interval(mass[f"found: {choice}"].mean((1, 2, 3)), looking.mean((1, 2, 3)))
            rows.append([choice, *map(percent, (over_stories(mass[name]), by_mass, hits))])
    return markdown(rows)


def where_table(told: dict[str, Any], mass: dict[str, np.ndarray]) -> str:
    """One row a kind of chunk: how many there are, how much of the mass and of the routes they get."""
    shares = {name: percent(interval(np.array([one["base"][name] for one in told["per_story"]]))) for name in RELATIONS}
    shares["shot before"] = f"{100 / (told['shots'] - 1):.1f}"
    shares["frame of the same number"] = f"{100 / told['latent_frames']:.1f}"
    rows = [["chunks", "share of all", "of the mass", "of the routes"]]
    rows += [
        [name, share, *(percent(over_stories(mass[f"{who}: {name}"])) for who in ("mass", "routes"))]
        for name, share in shares.items()
    ]
    return markdown(rows)


def layers_table(told: dict[str, Any], mass: dict[str, np.ndarray]) -> str:
    """One row a number: its mean over heads, that by their mass on the past, and by layer and by timestep."""
    shown = ["mass on the past", "look back", "chunks that share it", "mass: shots reached", "routes: shots reached",
             *(f"variance: {axis}" for axis in AXES), f"covered: {USUAL}", f"covered: {BEST}"]  # fmt: skip
    layers = mass[shown[0]].shape[2]
    past = mass["mass on the past"]
    rows = [["", "mean", "by mass", *(f"layer {i + 1}" for i in range(layers)), *(f"t = {t:g}" for t in told["times"])]]
    for name in shown:
        table = mass[name]
        values = [table.mean(), (table * past).sum() / past.sum(), *table.mean((0, 1, 3)), *table.mean((0, 2, 3))]
        rows.append([name, *(f"{x:.2f}" for x in values)])
    return markdown(rows)


def tables(told: dict[str, Any]) -> str:
    """All of them as Markdown."""
    mass = means(told)
    parts = (carried_table(told), covered_table(mass), where_table(told, mass), layers_table(told, mass))
    return "\n\n".join((f"{len(told['per_story'])} stories", *parts))


def joined(files: Sequence[Path]) -> dict[str, Any]:
    """What several processes measured, as one measurement; files may be gzipped.

    Raises:
        ValueError: they differ in more than their stories, or two hold the same one.
    """
    read = [path.read_bytes() for path in files]
    told = [json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data) for data in read]
    same = [{name: value for name, value in one.items() if name not in ("stories", "per_story")} for one in told]
    numbers = [number for one in told for number in one["stories"]]
    if any(one != same[0] for one in same) or len(set(numbers)) < len(numbers):
        raise ValueError("these files were measured with different settings, or hold the same stories")
    return {**told[0], "stories": numbers, "per_story": [story for one in told for story in one["per_story"]]}

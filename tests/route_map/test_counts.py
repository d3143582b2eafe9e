"""Sums, hubs, dead chunks, entropy, distances and forgotten names, against plain sums over the same numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from route_cases import route_map, routings

from moc.errors import InputError
from moc.route_map import RouteMap, Selection, analyse, forgotten_names, load
from moc.route_map.counts import HUB, NEAR, dead_chunks, distances, even_counts, head_entropy, hubs, usual_counts

QUICK = settings(max_examples=40, deadline=None)


@QUICK
@given(routings(), st.data())
def test_sums_over_any_selection(found: RouteMap, data: st.DataObject) -> None:
    step, layer, head = (data.draw(st.sampled_from([None, *range(1, n + 1)])) for n in found.dims)
    selection = Selection(step, layer, head)
    chunks = found.chunk_counts(selection)
    shots = np.zeros((len(found.shots),) * 2, int)
    for a in range(found.num_chunks):
        for b in range(found.num_chunks):
            shots[found.chunk_shot[a], found.chunk_shot[b]] += chunks[a, b]
    assert (found.shot_counts(selection) == shots).all()
    total = sum(
        int(found.read(i)[t, n, h].sum())
        for i in range(len(found.shots))
        for t in range(found.dims[0]) if step in (None, t + 1)
        for n in range(found.dims[1]) if layer in (None, n + 1)
        for h in range(found.dims[2]) if head in (None, h + 1)
    )  # fmt: skip
    assert chunks.sum() == total
    assert sum(distances(shots).values()) == total


@QUICK
@given(routings())
def test_dead_chunks_and_hubs_by_hand(found: RouteMap) -> None:
    counts = found.chunk_counts()
    of, total = found.chunk_shot, found.num_chunks
    shots = found.shot_counts()
    ahead = any(shots[i, j] for i in range(len(shots)) for j in range(len(shots)) if j > i)
    even = np.zeros(total)
    for a in range(total):
        may = [b for b in range(total) if of[b] != of[a] and (ahead or of[b] < of[a])]
        for b in may:
            even[b] += counts[a].sum() / len(may)
    assert even_counts(found, counts) == pytest.approx(even)
    received = counts.sum(axis=0)
    dead = {b + 1 for b in range(total) if received[b] == 0 and even[b] > 0}
    assert {chunk.index for chunk in dead_chunks(found, counts)} == dead
    usual = _usual_by_hand(found, ahead)
    assert usual_counts(found, counts) == pytest.approx(usual)
    often = [b for b in range(total) if even[b] > 0 and received[b] >= HUB * even[b]]
    assert {chunk.index for chunk in hubs(found, counts)} == {b + 1 for b in often if received[b] >= NEAR * usual[b]}


def _usual_by_hand(found: RouteMap, ahead: bool) -> np.ndarray:
    """Mean shares by distance, pair after pair."""
    counts, of, shots = found.chunk_counts(), found.chunk_shot, len(found.shots)
    given = [counts[of == i].sum(axis=0) for i in range(shots)]
    shares: dict[int, list[float]] = {}
    for i in range(shots):
        for b in range(found.num_chunks):
            if given[i].sum() and of[b] != i and (ahead or of[b] < i):
                shares.setdefault(i - of[b], []).append(given[i][b] / given[i].sum())
    usual = np.zeros(found.num_chunks)
    for b in range(found.num_chunks):
        for i in range(shots):
            if given[i].sum() and of[b] != i and (ahead or of[b] < i):
                usual[b] += given[i].sum() * np.mean(shares[i - of[b]])
    return usual


def test_the_latest_shots_of_a_long_story_are_no_hubs() -> None:
    """Thirty shots that give half of their routes to the one before: its chunks get fifteen even shares, like all."""
    counts = np.tril(np.ones((30, 30), int), -1) + np.diag([28] * 29, -1)
    found = route_map(counts, [1] * 30)
    assert counts[29, 28] / even_counts(found, counts)[28] > HUB
    assert analyse(found).hubs == ()
    counts[10:, 4] = 60
    assert [chunk.shot for chunk in analyse(route_map(counts, [1] * 30)).hubs] == [5]


def test_a_planted_hub_and_a_planted_dead_chunk() -> None:
    counts = np.kron(np.tril(np.ones((6, 6), int), -1), np.full((3, 3), 2))
    counts[:, 4] = 0
    counts[3:, 1] *= 40
    found = route_map(counts, [3] * 6)
    report = analyse(found)
    assert [(chunk.shot, chunk.within) for chunk in report.dead] == [(2, 2)]
    assert [(chunk.shot, chunk.within) for chunk in report.hubs] == [(1, 2)]
    said = " ".join(report.sentences())
    assert "1 chunk was never chosen (shot 2 (s2): 2)" in said
    assert "Chunk 2 of shot 1 (s1) is a hub" in said
    by_frame = " ".join(analyse(replace(found, unit="latent frame")).sentences())
    assert "1 latent frame was never chosen (shot 2 (s2): 2)" in by_frame
    assert "Latent frame 2 of shot 1 (s1) is a hub" in by_frame


@pytest.mark.parametrize(
    ("frames", "unit"),
    [
        ((3, 1), "latent frame"),
        ((2, 1), "chunk"),
        ((None, 1), "latent frame"),
        ((3, 2), "chunk"),
        ((None, None), "chunk"),
    ],
)
def test_what_a_run_counts_by_is_told_by_its_choices(
    tmp_path: Path, frames: tuple[int | None, int | None], unit: str
) -> None:
    """Counts of three parts and one: of latent frames where all that have choices have as many. A shot of another run
    has none."""
    arrays: dict[str, np.ndarray] = {
        "shot_numbers": np.array([1, 2]), "shot_ids": np.array(["a", "b"]), "chunk_shot": np.array([1, 1, 1, 2]),
        "axes": np.array(["layer", "head", "query part", "key part"]),
        "steps_01": np.ones((1, 1, 1, 3, 3), np.uint32), "steps_02": np.ones((1, 1, 1, 1, 4), np.uint32),
    }  # fmt: skip
    for number, count in enumerate(frames, 1):
        if count is not None:
            arrays[f"choices_{number:02d}"] = np.zeros((count, 2, 2, 8, 2), np.uint32)
    np.savez(tmp_path / "routing.npz", **arrays)  # type: ignore[arg-type]
    assert load(tmp_path / "routing.npz").unit == unit


def test_entropy() -> None:
    even, one = np.zeros((4, 4), int), np.zeros((4, 4), int)
    even[2:, :2], one[2:, 0] = 5, 7
    blocks = [np.stack([even[a:b], one[a:b]])[None, None] for a, b in ((0, 2), (2, 4))]
    assert head_entropy(RouteMap.from_counts(blocks)) == pytest.approx(np.array([[1.0, 0.0]]))
    alone = head_entropy(route_map(np.zeros((1, 1), int), [1]))
    assert math.isnan(alone[0, 0])


def test_forgotten_names() -> None:
    """Shot 4 names mira, whom shots 1 and 2 showed, and looks at shot 3; shot 3 remembers well."""
    counts = np.array([[0, 0, 0, 0], [9, 0, 0, 0], [50, 40, 0, 0], [1, 1, 98, 0]])
    names = [("mira", "cafe"), ("mira",), ("mira", "cafe"), ("mira", "leo")]
    found = route_map(counts, [1] * 4, [("mira",), ("mira",), ("leo",), ("mira",)])
    (one,) = forgotten_names(found, found.shot_counts())
    assert (one.shot.number, one.name, [s.number for s in one.shown]) == (4, "mira", [1, 2])
    assert one.share == pytest.approx(0.02)
    assert one.even == pytest.approx(2 / 3)
    said = " ".join(analyse(found).sentences())
    assert "Shot 4 (s4) names mira; 2 % of its routes go to shots 1-2, which show mira (evenly spread: 67 %)." in said
    assert forgotten_names(route_map(counts, [1] * 4, names), counts) == []


def test_a_shot_without_routes_has_forgotten_everyone() -> None:
    found = route_map(np.zeros((3, 3), int), [1] * 3, [("mira",), (), ("mira",)])
    (one,) = forgotten_names(found, found.shot_counts())
    assert (one.shot.number, one.share) == (3, 0)
    assert analyse(found).sentences()[0] == "No routes: every shot attends itself and its text alone."


def test_the_worst_of_many_forgotten_names_are_told() -> None:
    """Shots 3 to 10 each name one that shot 1 showed, and give it so many hundredths of its even share."""
    parts = [7, 3, 0, 5, 1, 6, 2, 4]
    counts = np.zeros((10, 10), int)
    counts[1, 0] = 1
    for n, part in enumerate(parts, 2):
        counts[n, :2] = part, 100 * n - part
    names = [tuple("abcdefgh"), (), *((letter,) for letter in "abcdefgh")]
    report = analyse(route_map(counts, [1] * 10, names))
    assert [found.share / found.even for found in report.forgotten] == pytest.approx([n / 100 for n in parts])
    *told, last = [sentence for sentence in report.sentences() if " name" in sentence]
    assert [int(sentence.split()[1]) for sentence in told] == [n for n, part in enumerate(parts, 3) if part < 6]
    assert last.startswith("2 more names get less than a third")


def test_names_of_later_shots_are_not_forgotten() -> None:
    counts = np.array([[0, 0, 9], [9, 0, 0], [0, 9, 0]])
    found = route_map(counts, [1] * 3, [("mira",), (), ()])
    assert forgotten_names(found, counts) == []


@pytest.mark.parametrize("selection", [Selection(step=2), Selection(layer=0), Selection(head=9)])
def test_selections_that_are_not_there(selection: Selection) -> None:
    with pytest.raises(InputError, match="1 to 1"):
        analyse(route_map(np.zeros((2, 2), int), [1, 1]), selection)


def test_counts_that_are_none() -> None:
    with pytest.raises(ValueError, match="one array"):
        RouteMap.from_counts([])
    with pytest.raises(ValueError, match="negative"):
        RouteMap.from_counts([np.full((1, 1, 1, 1, 1), -1)])
    with pytest.raises(ValueError, match="shape"):
        RouteMap.from_counts([np.zeros((1, 1, 1, 1, 1)), np.zeros((2, 1, 1, 1, 2))])

"""From readings to tables: simulated models of known memory, habits and faults, and cases worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_world_metrics import Oracle

from moc.metrics.memory import OPEN, Table, drawn, pairs, recall_difference, summary
from moc.metrics.world import readings, values_of
from moc.world.recurrence import recurring_stories
from moc.world.schema import HAT

STORIES = 200


@pytest.fixture(scope="module")
def told() -> pd.DataFrame:
    """Readings of true pictures of stories that test memory."""
    stories, planted = recurring_stories(STORIES, 8, generator=torch.Generator().manual_seed(0))
    frames = torch.zeros(STORIES, 8, 1, 3, 8, 8, dtype=torch.uint8)
    rows = readings(stories, frames, Oracle(stories), open_hats=True)  # type: ignore[arg-type]
    return rows.assign(planted=planted.numpy()[rows["story"], rows["shot"]])


def model(
    told: pd.DataFrame, *, memory: float = 1.0, habit: str = "uniform", planted: bool = True, seed: int = 0
) -> pd.DataFrame:
    """What a simulated model draws: what captions name, always; what they leave open, as it was at first with
    probability `memory`, else anew.

    Args:
        habit: how it draws anew: "uniform", "one" (always the same), or "kind" (the same for all of a kind or place).
        planted: whether first looks are given to it; else it draws them itself.
    """
    rng, rows = np.random.default_rng(seed), told.copy()
    rows["planted"] &= planted
    looks = rows["truth"].tolist()
    alike = {
        (row.story, row.owner, row.slot): row.truth
        for row in told[told["attribute"].isin(("kind", "place"))].itertuples()
    }
    first: dict[tuple[Any, ...], int] = {}
    for i, row in enumerate(rows.itertuples()):
        if row.named or row.planted or row.attribute not in (*OPEN["character"], *OPEN["place"]):
            first.setdefault((row.story, row.owner, row.slot, row.attribute), row.truth)
            continue
        count = len(values_of(row.attribute))
        owner = (row.story, row.owner, row.slot)
        anew = {"uniform": rng.integers(count), "one": 1, "kind": alike[owner] % count}[habit]
        known = first.get((*owner, row.attribute))
        looks[i] = known if known is not None and rng.random() < memory else int(anew)
        first.setdefault((*owner, row.attribute), looks[i])
    rows["read"] = [max(look, 0) for look in looks]
    return rows


def told_of(rows: pd.DataFrame, table: Table) -> dict[str, Any]:
    found = summary(rows, table, stories=STORIES, draws=100)
    json.dumps(found, allow_nan=False)
    return found


@pytest.mark.parametrize("table", ["planted", "free"])
def test_a_perfect_model(told: pd.DataFrame, table: Table) -> None:
    found = told_of(model(told, planted=table == "planted"), table)
    for owner, names in OPEN.items():
        assert found["means"][owner]["recall"] == pytest.approx(1)
        assert found["means"][owner]["kappa"] == pytest.approx(1)
        for name in names:
            part = found["attributes"][name]
            assert set(part["recall_by_gap"].values()) == {1.0}
            assert {round(x, 9) for x in part["kappa_by_gap"].values()} == {1.0}
            assert part["chance"] == pytest.approx(1 / len(values_of(name)), abs=0.06)
            assert part["entropy"] == pytest.approx(part["entropy_of_uniform"], abs=0.08)
            assert part["unreadable"] == 0
    assert found["named"]["right"] == found["named"]["heldout_right"] == 1
    assert found["named"]["heldout_readings"] > 100


@pytest.mark.parametrize("table", ["planted", "free"])
def test_a_model_without_memory(told: pd.DataFrame, table: Table) -> None:
    """It draws uniformly, so it is at chance everywhere, and what is named is right all the same."""
    found = told_of(model(told, memory=0, planted=table == "planted"), table)
    for owner in OPEN:
        low, high = found["means"][owner]["kappa_interval"]
        assert low < 0.04
        assert high > -0.04
        assert abs(found["means"][owner]["kappa"]) < 0.06
    assert found["named"]["right"] == 1


@pytest.mark.parametrize("habit", ["one", "kind"])
def test_a_model_with_habits_is_no_model_with_memory(told: pd.DataFrame, habit: str) -> None:
    """It draws what it always draws, of all or of a kind: where it draws first looks too, they agree and mean nothing;
    held against planted ones they don't even agree."""
    free = told_of(model(told, memory=0, habit=habit, planted=False), "free")
    given = told_of(model(told, memory=0, habit=habit), "planted")
    for owner, names in OPEN.items():
        assert free["means"][owner]["recall"] == 1
        assert free["means"][owner]["kappa"] == pytest.approx(0, abs=1e-9)
        assert given["means"][owner]["kappa"] == pytest.approx(0, abs=0.05)
        if habit == "one":
            for name in names:
                assert free["attributes"][name]["entropy"] == given["attributes"][name]["entropy"] == 0
                assert free["attributes"][name]["distance_from_uniform"] >= 0.6


def test_half_a_memory(told: pd.DataFrame) -> None:
    found = told_of(model(told, memory=0.5), "planted")
    for owner, names in OPEN.items():
        assert found["means"][owner]["kappa"] == pytest.approx(0.5, abs=0.08)
        for name in names:
            count = len(values_of(name))
            if name not in ("hat", "hat_color"):
                assert found["attributes"][name]["recall"] == pytest.approx(0.5 + 0.5 / count, abs=0.1)


def test_gaps_of_every_length_are_met(told: pd.DataFrame) -> None:
    found = pairs(told, "planted")
    for attributes in OPEN.values():
        part = found[found["attribute"] == attributes[0]]
        counts = part["gap"].value_counts()
        assert all(counts.get(gap, 0) >= 15 for gap in range(1, 8)), counts


def rows_of(*looks: dict[str, Any]) -> pd.DataFrame:
    """Rows of one character, a dog in story 0 unless they say otherwise."""
    usual = {
        "story": 0, "owner": "character", "slot": 0, "attribute": "coat", "truth": 3, "read": 3, "named": False,
        "gap": 1, "pair": False, "other": -1, "heldout": False, "planted": False,
    }  # fmt: skip
    kinds = {(one.get("story", 0), one.get("slot", 0)) for one in looks}
    named = [
        {"story": b, "slot": c, "shot": 0, "attribute": "kind", "truth": 5, "read": 5, "named": True, "gap": -1}
        for b, c in sorted(kinds)
    ]
    return pd.DataFrame([{**usual, "shot": i, **one} for i, one in enumerate([*named, *looks])])


def test_pairs_by_hand() -> None:
    looks = (
        {"gap": -1, "planted": True, "truth": 3, "read": 4},  # planted: the truth counts, not what the reader sees
        {"gap": 1, "read": 3},
        {"gap": 2, "read": -1},
        {"gap": 1, "read": 3, "planted": True},  # given as well: nothing was remembered
        {"gap": -1, "read": 4, "slot": 1},  # drawn by the model
        {"gap": 3, "read": 4, "slot": 1},
        {"gap": -1, "planted": True, "slot": 2, "named": True},  # the caption says it
        {"gap": 5, "slot": 2, "named": True},
        {"gap": 4, "slot": 3},  # its first look was not to be read
    )
    planted = pairs(rows_of(*looks), "planted")
    assert planted[["gap", "first", "later", "like"]].values.tolist() == [[1, 3, 3, 0], [2, 3, -1, 0]]
    free = pairs(rows_of(*looks), "free")
    assert free[["gap", "first", "later", "like"]].values.tolist() == [[3, 4, 4, 5]]
    assert drawn(rows_of(*looks))["value"].tolist() == [4]
    with pytest.raises(ValueError, match="table must be one of planted, free, got 'both'"):
        pairs(rows_of(*looks), "both")  # type: ignore[arg-type]


def test_hats_by_hand() -> None:
    """A hat's colour is asked for where there was a hat; one that is gone is wrong; none at first is no question."""
    none, cap = HAT.index("none"), HAT.index("cap")

    def hat(shot: int, worn: int, colour: int, **more: Any) -> list[dict[str, Any]]:
        truth = {"truth": more.pop("truth", worn)}
        return [
            {"shot": shot, "attribute": "hat", "read": worn, **truth, **more},
            {"shot": shot, "attribute": "hat_color", "read": colour, "truth": more.pop("colour_truth", 2), **more},
        ]

    looks = [*hat(0, cap, 2, gap=-1), *hat(1, cap, 2), *hat(2, none, 2, gap=2), *hat(3, cap, 5, gap=3)]
    found = pairs(rows_of(*looks), "free")
    colours = found[found["attribute"] == "hat_color"]
    assert colours[["gap", "first", "later"]].values.tolist() == [[1, 2, 2], [2, 2, -1], [3, 2, 5]]
    assert found[found["attribute"] == "hat"]["later"].tolist() == [cap, none, cap]
    bare = pairs(rows_of(*hat(0, none, 2, gap=-1), *hat(1, cap, 2)), "free")
    assert bare["attribute"].tolist() == ["hat"]
    assert drawn(rows_of(*hat(0, none, 2, gap=-1)))["attribute"].tolist() == ["hat"]


def test_a_named_colour_tells_of_a_hat() -> None:
    """ "A red hat" says that there is one, so which hat it is is no fair question against all seven values."""
    looks = [
        {"attribute": "hat", "gap": -1, "planted": True},
        {"attribute": "hat_color", "gap": -1, "named": True, "planted": True},
        {"attribute": "hat", "gap": 2},
        {"attribute": "hat_color", "gap": 2, "named": True},
    ]
    assert not len(pairs(rows_of(*looks), "planted"))
    assert len(pairs(rows_of(looks[0], looks[2]), "planted")) == 1


def test_differences_are_taken_story_by_story(told: pd.DataFrame) -> None:
    good, bad = model(told, memory=0.9), model(told, memory=0.6)
    names = OPEN["character"]
    found = recall_difference(good, bad, "planted", names, stories=STORIES, draws=200)
    assert 0.15 < found.low < found.value < found.high < 0.35
    none = recall_difference(good, good, "planted", names, stories=STORIES, draws=50)
    assert (none.value, none.low, none.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="at least one attribute"):
        recall_difference(good, bad, "planted", [], stories=STORIES)


def test_nothing_to_count(told: pd.DataFrame) -> None:
    """Stories too short for anybody to come back have tables all the same, with nothing in them."""
    found = told_of(told[told["gap"] < 0], "planted")
    assert found["means"]["character"]["recall"] is None
    assert found["attributes"]["coat"]["recall_by_gap"] == {}
    assert found["attributes"]["coat"]["chance"] is None

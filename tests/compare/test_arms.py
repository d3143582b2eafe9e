"""Which arms a comparison has, and the statistics between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moc.compare.arms import make_arms, reference_of, strange_patterns
from moc.compare.draw import seeds_of
from moc.compare.stats import difference, summary
from moc.errors import InputError
from moc.patterns import PATTERNS


def test_patterns_and_weights_are_combined() -> None:
    assert [arm.label for arm in make_arms(None, None)] == ["dense", "moc", "local"]
    arms = make_arms("dense,moc:top_k=2:chunk_tokens=64", "pocket,runs/tiny.safetensors")
    assert [arm.label for arm in arms] == [
        "pocket dense", "pocket moc:top_k=2:chunk_tokens=64", "tiny dense", "tiny moc:top_k=2:chunk_tokens=64",
    ]  # fmt: skip
    assert arms[3].changes == {
        "model": "runs/tiny.safetensors", "attention.pattern": "moc", "attention.top_k": "2",
        "attention.chunk_tokens": "64",
    }  # fmt: skip
    assert arms[3].folder == "tiny-moc-top_k=2-chunk_tokens=64"


def test_weights_alone_keep_the_storys_attention() -> None:
    arms = make_arms(None, "a/x.safetensors,b/x.safetensors")
    assert [arm.label for arm in arms] == ["a/x", "b/x"], "files of one name are told apart by their folders"
    assert [arm.pattern for arm in arms] == [None, None]
    assert [dict(arm.changes) for arm in arms] == [{"model": "a/x.safetensors"}, {"model": "b/x.safetensors"}]


def test_every_pattern_is_an_arm() -> None:
    arms = make_arms(",".join(PATTERNS), None)
    assert [arm.pattern for arm in arms] == list(PATTERNS)
    assert len({arm.folder for arm in arms}) == len(PATTERNS)


@pytest.mark.parametrize(
    ("attention", "weights", "words"),
    [
        ("dense", None, "needs 2 to 24 arms, got 1"),
        ("", None, "no pattern ''"),
        ("dense,mooc", None, "did you mean 'moc'"),
        ("moc,moc", None, "named twice"),
        ("moc:top_k=2,moc;top_k=2", None, "no pattern"),
        ("dense,moc:top_k", None, "is not KEY=VALUE"),
        ("dense,moc:pattern=local", None, "names its pattern before the first colon, moc"),
        ("moc,moc:drop_off_max=1.0", None, "drop_off_max in 'moc:drop_off_max=1.0' acts in training alone"),
        ("moc,dense:top_k=2", None, "dense chooses nothing, so top_k"),
        ("moc,local:top_k=2", None, "local chooses nothing, so top_k in 'local:top_k=2' would change nothing"),
        ("moc:top_k=2,moc:top_k=2", None, "'moc:top_k=2' is named twice"),
        ("dense,moc", "a,,b", "a name is missing"),
        (",".join(f"moc:top_k={k}" for k in range(25)), None, "got 25"),
    ],
)
def test_mistakes(attention: str, weights: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("'", ".")):
        make_arms(attention, weights)


def test_patterns_that_the_built_in_weights_never_saw_are_told() -> None:
    assert strange_patterns([("moc", True), ("dense", False)]) == []
    (note,) = strange_patterns([("dense", True), ("moc", True), ("dense", True), ("local", True), ("radial", False)])
    assert note.startswith("dense, local: pocket was trained under moc")
    assert "later shot" not in note
    (note,) = strange_patterns([("moc-no-causal", True)])
    assert note.endswith("It never saw a later shot in training.")


def test_reference() -> None:
    assert reference_of(["moc", "dense"], None) == "dense"
    assert reference_of(["moc", "tiny dense", "dense x"], None) == "tiny dense"
    assert reference_of(["moc", "local"], None) == "moc"
    assert reference_of(["moc", "local"], "local") == "local"
    with pytest.raises(InputError, match="no arm 'dense'"):
        reference_of(["moc", "local"], "dense")


def test_seeds() -> None:
    assert seeds_of(5, 3) == (5, 6, 7)
    with pytest.raises(InputError, match="from 1 to 100, got 101"):
        seeds_of(0, 101)


# Means and intervals.


def test_interval_by_hand() -> None:
    """1, 2, 3: mean 2, standard error 1 / sqrt(3), t of two degrees of freedom 4.303."""
    told = summary([1.0, 2.0, None, 3.0])
    assert told["mean"] == 2
    assert told["interval"] == pytest.approx([2 - 4.303 / math.sqrt(3), 2 + 4.303 / math.sqrt(3)])
    assert summary([0.7])["interval"] is None
    assert summary([None, None]) == {"mean": None, "interval": None}


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e6, 1e6), st.integers(2, 12))
def test_equal_values_have_no_spread(value: float, count: int) -> None:
    """Nor do they say that there is none: two seeds may agree by luck."""
    assert summary([value] * count) == {"mean": value, "interval": None}
    assert difference([value] * count, [value] * count) == {"mean": 0.0, "interval": None}


def test_intervals_end_where_the_metric_does() -> None:
    assert summary([0.5, 1.0], 0.0, 1.0) == {"mean": 0.75, "interval": [0.0, 1.0]}
    low, high = summary([0.5, 1.0, 1.0], 0.0)["interval"]
    assert 0 < low < 1 < high, "no upper end was named"
    assert difference([1.0, 0.0], [0.0, 0.0], span=1.0)["interval"] == [-1.0, 1.0]


@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_intervals_cover_the_mean_19_times_in_20(count: int) -> None:
    rng = np.random.default_rng(count)
    draws = rng.normal(3, 2, (2000, count))
    inside = 0
    for row in draws:
        low, high = summary(row.tolist())["interval"]
        inside += low <= 3 <= high
    assert inside / 2000 == pytest.approx(0.95, abs=0.02)


def test_differences_are_taken_seed_by_seed() -> None:
    """Seeds differ by tens, the arms by one: the paired interval is narrow."""
    told = difference([11.0, 21.1, 31.0, None], [10.0, 20.0, 30.0, 40.0])
    assert told["mean"] == pytest.approx(1.0333, abs=1e-3)
    assert 0.8 < told["interval"][0] < told["interval"][1] < 1.3

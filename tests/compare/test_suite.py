"""The benchmark of memory as a comparison, on a tiny scale with the shipped weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from moc.backbones.pocket.weights import SHIPPED
from moc.compare import make_arms
from moc.compare.memory_columns import COLUMNS, LEAST, values
from moc.compare.suite import LOOK, MEASUREMENT, Benchmark, all_arms, compare_memory, refuse_others
from moc.errors import InputError
from moc.patterns import PATTERNS
from moc.world.reader import READER_WEIGHTS

needs_weights = pytest.mark.skipif(
    not (SHIPPED.is_file() and READER_WEIGHTS.is_file()), reason="the weights of the model or the reader are missing"
)


def tiny(out: Path, attention: str = "dense,local") -> Benchmark:
    return Benchmark(tuple(make_arms(attention, None)), out, 1, 3, 1, 1, device="cpu")


def test_every_pattern_that_can_stream_unless_some_are_named() -> None:
    assert [arm.pattern for arm in all_arms(None, None)] == [name for name in PATTERNS if name != "moc-no-causal"]
    assert [arm.label for arm in all_arms("moc,local", None)] == ["moc", "local"]
    assert len(all_arms(None, "a,b")) == 16
    with pytest.raises(InputError, match="moc-no-causal looks at shots that are not there yet"):
        all_arms("moc, moc-no-causal:top_k=2", None)


def test_sizes_suit_the_device() -> None:
    asked = Benchmark((), Path("x"))
    assert (asked.sized("cpu").stories, asked.sized("cuda").stories) == (LOOK["stories"], MEASUREMENT["stories"])
    assert Benchmark((), Path("x"), stories=5).sized("cuda").stories == 5


@needs_weights
def test_a_tiny_benchmark_is_kept_and_taken_up_again(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    asked = tiny(tmp_path / "out")
    report = compare_memory(asked, on_shot=lambda *what: heard.append(what))
    assert {label for label, _, _ in heard} == {"dense", "local"}
    assert [(done, total) for label, done, total in heard if label == "local"][-1] == (3, 3)
    assert report["reference"] == "dense"
    assert [arm["label"] for arm in report["arms"]] == ["dense", "local"]
    for arm in report["arms"]:
        assert set(arm["values"]) <= {metric.key for metric in COLUMNS}
        assert arm["told"]["experiment"]["config"]["pattern"] == arm["pattern"]
        assert arm["intervals"] == {}, f"fewer than {LEAST} stories"
        assert len(pd.read_csv(tmp_path / "out" / f"{arm['label']}.csv"))
    dense, local = (arm["values"] for arm in report["arms"])
    assert dense["sparsity"] < local["sparsity"]
    assert dense["attention_gflop"] > local["attention_gflop"]
    assert report["arms"][1]["against_reference"]["recall_people"]["interval"] is None
    assert any("one story is too few for intervals" in note for note in report["notes"])
    assert any(note.startswith("dense, local: pocket was trained under moc") for note in report["notes"])
    assert report["drawn"] == {"mode": "stream", "steps": 1, "set": {}}
    assert report["title"].startswith("Memory: 1 story, 3 shots")

    heard.clear()
    assert compare_memory(asked, on_shot=lambda *what: heard.append(what)) == report
    assert heard == [], "nothing is measured twice"
    for arm, change in (
        ("local", {"source": {"weights_sha256": "other", "device": "cpu"}}),
        ("dense", {"experiment": 1}),
    ):
        place = tmp_path / f"out/{arm}.json"
        place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    with pytest.raises(InputError, match=r"dense.json is no measurement that can be read; .* --out, or add --force"):
        compare_memory(asked, on_shot=lambda *what: heard.append(what))
    (tmp_path / "out/dense.json").unlink()
    with pytest.raises(InputError, match=r"local.json was measured with weights_sha256 other, here \w{16};"):
        compare_memory(asked, on_shot=lambda *what: heard.append(what))
    assert heard == [], "what took long is not thrown away unasked"
    compare_memory(replace(asked, force=True), on_shot=lambda *what: heard.append(what))
    assert {label for label, _, _ in heard} == {"dense", "local"}, "of other weights, or of something else"


@needs_weights
def test_a_folder_holds_measurements_of_one_size(tmp_path: Path) -> None:
    """Of other arms as well, so that files and table belong together; what is no measurement is let be."""
    asked = tiny(tmp_path / "out", "dense,local")
    compare_memory(asked)
    (tmp_path / "out/compare.json").write_text("{}")
    (tmp_path / "out/mine.json").write_text("no json")
    refuse_others(asked)
    refuse_others(tiny(tmp_path / "out", "moc,random"))
    refuse_others(tiny(tmp_path / "none", "moc,random"))
    for other, words in (
        (replace(tiny(tmp_path / "out", "moc,random"), stories=2), r"dense.json was measured with stories 1, here 2"),
        (replace(asked, seed=1), r"dense.json was measured with seed 2024, here 1"),
        (replace(asked, steps=2), r"dense.json was measured with steps 1, here 2"),
    ):
        with pytest.raises(InputError, match=words):
            refuse_others(other)


def test_mistakes(tmp_path: Path) -> None:
    asked = tiny(tmp_path / "out")
    for wrong, words in (
        (replace(asked, stories=0), "--stories must be from 1 to 100000, got 0"),
        (replace(asked, latent_frames=17), "--latent-frames must be from 1 to 16, got 17"),
        (replace(asked, device="tpu"), "--device 'tpu'"),
        (tiny(tmp_path / "out", "moc,moc-no-causal"), "moc-no-causal"),
        (tiny(tmp_path / "out", "moc,moc:top_k=none"), "top_k"),
        (replace(asked, arms=tuple(make_arms(None, "pocket,nowhere.safetensors"))), "nowhere.safetensors"),
    ):
        with pytest.raises(InputError, match=words):
            compare_memory(wrong)
    (tmp_path / "file").touch()
    for place in ("file", "file/out"):
        with pytest.raises(InputError, match="is a file"):
            compare_memory(replace(asked, out=tmp_path / place))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no arm 'moc'"):
        compare_memory(asked, reference="moc")


def test_columns_from_the_numbers_of_a_benchmark() -> None:
    """Chance is the mean over an owner's attributes, as recall is; numbers that are missing stay missing."""
    from moc.metrics.memory import OPEN

    attributes = {name: {"chance": 0.2} for names in OPEN.values() for name in names}
    attributes[OPEN["character"][0]]["chance"] = None
    attributes[OPEN["character"][1]]["chance"] = 0.8
    means = {"recall": 0.5, "recall_interval": [0.4, 0.6], "kappa": None, "kappa_interval": [None, None]}
    told = {
        "stories": 64, "sparsity": 0.8, "attributes": attributes,
        "cost": [{"seconds": None}, {"seconds": 0.5}, {"seconds": 1.5}],
        "named": {"right": 0.9, "interval": [0.8, 1.0]}, "means": {"character": means, "place": means},
        "motion": {"moves_as_told": float("nan"), "moves_as_told_interval": [float("nan"), float("nan")]},
    }  # fmt: skip
    found = values(told, {"attention_gflop": 3.0})
    others = len(OPEN["character"]) - 2
    assert found["values"]["chance_people"] == pytest.approx((0.8 + 0.2 * others) / (others + 1))
    assert found["values"]["chance_places"] == pytest.approx(0.2)
    assert found["values"]["seconds_a_story"] == 2
    assert found["values"]["moves"] is None
    assert found["intervals"]["moves"] is None
    assert found["intervals"]["kappa_people"] is None
    assert found["intervals"]["recall_people"] == [0.4, 0.6]
    assert values({**told, "stories": LEAST - 1}, {})["intervals"] == {}


@pytest.mark.gpu
@needs_weights
def test_every_pattern_on_cuda(tmp_path: Path) -> None:
    """All patterns that can stream, a few stories each: numbers for all, and memory shows."""
    report = compare_memory(Benchmark(all_arms(None, None), tmp_path, stories=16, device="cuda"))
    values = {arm["label"]: arm["values"] for arm in report["arms"]}
    for label, found in values.items():
        print(label, {key: round(value, 3) for key, value in found.items() if value is not None})
        assert all(found[key] is not None for key in ("recall_people", "recall_places", "named", "sparsity"))
    assert values["dense"]["recall_people"] > values["local"]["recall_people"]
    assert values["moc"]["sparsity"] > 0.75

"""The benchmark of memory as a whole, small: rows, report, the script and its options."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.weights import load_model
from moc.backbones.pocket.world_stream import ShotCost
from moc.config import MoCConfig
from moc.metrics.memory_experiment import Experiment, cost_by_shot, report, run
from moc.training.checkpoint import save_weights
from moc.world.reader import load_reader

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = PocketConfig(width=64, layers=2, heads=2, mlp=96, head=80)
EXPERIMENT = Experiment("planted", stories=3, shots=3, latent_frames=1, steps=1, guidance=1.0, batch=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, dict(PocketDiT(SMALL).named_parameters()), SMALL.to_dict(), {"steps": 0})
    return path


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import memory

    return memory


def go(experiment: Experiment, weights: Path, **options: Any) -> dict[str, Any]:
    result = run(experiment, load_model(weights, "cpu"), load_reader("cpu"), device="cpu", **options)
    found = report(experiment, result)
    found["rows"] = result.rows
    return found


def test_planted_and_free(weights: Path) -> None:
    heard: list[tuple[int, int]] = []
    planted = go(EXPERIMENT, weights, on_shot=lambda done, total: heard.append((done, total)))
    free = go(replace(EXPERIMENT, table="free", motion=False), weights)
    assert heard == [(2, 9), (4, 9), (6, 9), (7, 9), (8, 9), (9, 9)]
    rows, other = planted.pop("rows"), free.pop("rows")
    assert sorted(rows["story"].unique()) == [0, 1, 2], "stories of the second batch count on"
    assert (rows.groupby("story")["planted"].mean() > 0).all()
    assert not other["planted"].any()
    shared = ["story", "shot", "owner", "slot", "attribute", "truth", "named", "gap"]
    pd.testing.assert_frame_equal(rows[shared], other[shared])  # the same stories, so runs compare in pairs
    assert planted["stories"] == 3
    assert 0 < planted["sparsity"] < 1
    assert free["motion"] is None
    assert planted["motion"]["characters"] >= 0
    assert [one["shot"] for one in planted["cost"]] == [1, 2, 3]
    assert planted["experiment"]["config"]["pattern"] == "moc"
    for found in (planted, free):
        json.dumps(found, allow_nan=False)


def test_planted_readings_of_the_truth_are_right(weights: Path) -> None:
    """What is given to the model is the truth, so the reader sees it there: stories and pictures are not mixed up."""
    rows = go(replace(EXPERIMENT, stories=5, batch=3, latent_frames=2, motion=False), weights)["rows"]
    given = rows[rows["planted"] & (rows["truth"] >= 0)]
    assert (given["read"] == given["truth"]).mean() > 0.9
    drawn = rows[~rows["planted"] & (rows["owner"] == "character") & ~rows["named"]]
    assert (drawn["read"] == drawn["truth"]).mean() < 0.5, "and a model that learned nothing gets little right"


def test_stories_at_once() -> None:
    sizes = {shots: Experiment("planted", shots=shots).stories_at_once for shots in (8, 24, 64, 500)}
    assert sizes == {8: 32, 24: 10, 64: 4, 500: 1}
    assert Experiment("planted", stories=3).stories_at_once == 3
    assert Experiment("planted", batch=7).stories_at_once == 7


def test_cost_by_shot_by_hand() -> None:
    """The first batch warms up; shots that are planted everywhere take no time worth telling."""

    def batch(seconds: float, peak: int | None) -> list[ShotCost]:
        return [ShotCost(1, 9.0, 0.0, 10, 0, peak), ShotCost(2, seconds, 5.0, 20, 10, peak)]

    first, second = cost_by_shot([batch(7.0, 100), batch(1.0, 300), batch(3.0, 200)])
    assert first == {
        "shot": 1, "seconds": None, "flops": 0.0, "kept_bytes": 10, "read_bytes": 0, "peak_bytes": 300,
    }  # fmt: skip
    assert second["seconds"] == 2.0
    assert cost_by_shot([batch(7.0, None)])[1] == {
        "shot": 2, "seconds": 7.0, "flops": 5.0, "kept_bytes": 20, "read_bytes": 10, "peak_bytes": None,
    }  # fmt: skip


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["memory.py", *map(str, words)])
    script.main()


def test_script(
    script: ModuleType,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = ["--stories", 2, "--shots", 4, "--latent-frames", 1, "--steps", 1, "--weights", weights, "--device", "cpu"]
    csv, png = tmp_path / "rows.csv", tmp_path / "cost.png"
    call(script, monkeypatch, "--table", "planted", *size, "--json", "--save", csv, "--plot", png)
    found = json.loads(capsys.readouterr().out)
    for name in ("coat", "wall", "hat_color"):
        part = found["attributes"][name]
        assert {"recall_by_gap", "kappa_by_gap", "chance", "entropy", "named"} <= part.keys()
    assert {"sparsity", "stories", "named", "motion", "cost", "source"} <= found.keys()
    assert len(pd.read_csv(csv)) > 50
    assert len(pd.read_csv(csv.with_suffix(".motion.csv"))) > 2
    assert png.read_bytes().startswith(b"\x89PNG")
    call(script, monkeypatch, "--table", "free", *size, "--no-motion", "--outer-top-m", 1, "--top-k", 1,
         "--random-routes")  # fmt: skip
    shown = capsys.readouterr().out
    for words in ("pattern random", "top_k 1", "Recall of what no caption names", "Against collapse", "coat"):
        assert words in shown


def test_script_settings(script: ModuleType) -> None:
    def config(*words: str) -> MoCConfig:
        found: MoCConfig = script.experiment_of(script.parser().parse_args(["--table", "free", *words])).config
        return found

    pocket = MoCConfig.preset("pocket")
    assert config() == pocket
    assert config("--top-k", "0", "--outer-top-m", "3") == pocket.replace(top_k=0, outer_top_m=3)
    assert config("--chunk-tokens", "48") == pocket.replace(chunk_tokens=48)
    assert config("--chunk-tokens", "frame") == pocket.replace(chunk_tokens="frame")
    with pytest.raises(SystemExit):
        config("--chunk-tokens", "many")
    assert config("--random-routes") == config("--pattern", "random") == pocket.replace(pattern="random")
    with pytest.raises(ValueError, match="--random-routes is --pattern random"):
        config("--random-routes", "--pattern", "dense")
    with pytest.raises(SystemExit):
        config("--stories", "0")


@pytest.mark.parametrize("words", [["--pattern", "nonsense"], ["--top-k", "-1"], ["--shots", "1"]])
def test_script_says_what_is_wrong(
    script: ModuleType, weights: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        call(script, monkeypatch, "--table", "planted", "--weights", weights, "--device", "cpu", "--stories", 1, *words)
    assert str(caught.value).startswith("error: ")

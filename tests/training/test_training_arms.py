"""Plans of trainings: what comes along is right, and a plan trains, measures, packs and goes on."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from training_cases import ROOT, TINY

from moc.backbones.pocket.weights import SHIPPED, read_config
from moc.training.config import load

BENCHMARKS = ROOT / "benchmarks"
PLANS = [BENCHMARKS / folder / "arms.yaml" for folder in ("patterns", "ablations")]


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("arms")


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.parent.name)
def test_the_plans_that_come_along(arms: Any, path: Path) -> None:
    plan = arms.read_plan(path)
    base = plan.arms["base"].config
    assert all(stage.shots == 1 for stage in base.stages), "the same under every pattern"
    for arm in plan.arms.values():
        config = arm.config
        assert config.model == base.model, "models of one size"
        assert config.warmup + config.decay <= config.steps
    assert sum(arm.time for arm in plan.arms.values()) >= 1


def test_arms_of_the_patterns_differ_in_the_pattern_alone(arms: Any) -> None:
    plan = arms.read_plan(PLANS[0])
    models = {name: arm for name, arm in plan.arms.items() if arm.after}
    assert {arm.config.pattern for arm in models.values()} == {"moc", "dense", "local", "first-frame", "random"}
    values = [{key: x for key, x in arm.values.items() if key != "pattern"} for arm in models.values()]
    assert all(one == values[0] for one in values)
    assert all(arm.measure and arm.time for arm in models.values())


def test_ablations_change_one_thing(arms: Any) -> None:
    plan = arms.read_plan(PLANS[1])
    paper = plan.arms["paper"]
    assert [plan.arms[f"{name}{end}"].config.seed for name in ("paper", "no-schedule", "no-drops")
            for end in ("", "-2", "-3")] == [2, 3, 4] * 3  # fmt: skip
    assert plan.arms["no-schedule"].config.stages[0].chunk_tokens == "frame"
    assert plan.arms["k5"].config.stages[1].top_k == 5
    assert plan.arms["k5"].config.stages[0] == paper.config.stages[0]
    for name, arm in plan.arms.items():
        if arm.after and not name.startswith("paper"):
            assert arm.values != paper.values, name


def test_the_fine_tune_fits_the_shipped_weights() -> None:
    config = load(BENCHMARKS / "patterns" / "no-causal.yaml")
    assert config.init == "shipped"
    assert not config.attention(config.stages[0]).causal
    shipped, network = read_config(SHIPPED).to_dict(), config.network().to_dict()
    del shipped["guidance"], network["guidance"]  # a matter of sampling
    assert shipped == network


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"arm": {"config": "a.yaml", "seedz": 2}}, "unknown key 'seedz'"),
        ({"arm": {"config": "a.yaml", "after": "base"}}, "comes after 'base', which is no arm that comes first"),
        ({"arm": {"config": "a.yaml", "set": {"pattern": "locl"}}}, "did you mean 'local'"),
        ({"arm": {"config": "a.yaml", "last": {"top_k": -1}}}, "top_k = -1"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_mistakes_of_a_plan(arms: Any, tmp_path: Path, given: dict[str, Any], words: str) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(TINY))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"arms": given}))
    with pytest.raises(ValueError, match=words):
        arms.read_plan(tmp_path / "plan.yaml")


def test_scaled_steps(arms: Any) -> None:
    arm = arms.Arm("one", {**TINY, "decay": 4, "warmup": 2}).scaled(0.5)
    assert [stage.steps for stage in arm.config.stages] == [2, 2]
    assert (arm.config.warmup, arm.config.decay) == (1, 2)


@pytest.mark.slow
def test_a_plan_runs_and_goes_on(tmp_path: Path) -> None:
    stage = {"steps": 2, "stories": 2, "latent_frames": 1, "shots": 1}
    base = {**TINY, "stages": [stage]}
    stories = {**TINY, "stages": [{**stage, "shots": 2, "top_k": 1}]}
    for name, values in (("base", base), ("stories", stories)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    follow = {"config": "stories.yaml", "after": "base"}
    plan = {
        "at_once": 2,
        "measure": {"stories": 2, "shots": 2, "latent_frames": 1, "steps": 1},
        "arms": {
            "base": {"config": "base.yaml", "measure": False},
            "moc": {**follow, "time": True},
            "bad": {**follow, "set": {"lr": 1e30, "clip": 1e30, "warmup": 0}},
            "all": {**follow, "set": {"text_links": "all"}},
        },
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    out = tmp_path / "out"

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(BENCHMARKS / "train_arms.py"), str(tmp_path / "plan.yaml"), "--out", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command += ["--device", "cpu", "--threads", "1", *more]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)

    first = run("--only", "moc", "--no-measure")
    assert first.returncode == 0, first.stdout + first.stderr
    made = (out / "moc" / "weights.safetensors").read_bytes()
    assert json.loads((out / "step_time.json").read_text())["arms"]["moc"]["seconds"] > 0
    second = run("--pack", str(tmp_path / "pack"))
    assert second.returncode == 1, "an arm failed"
    assert "train bad failed" in second.stdout
    assert (out / "moc" / "weights.safetensors").read_bytes() == made, "what is there stays"
    table = pd.read_csv(out / "summary.csv", index_col="arm").to_dict("index")
    assert {name: row["trained"] for name, row in table.items()} == {
        "base": True,
        "moc": True,
        "bad": False,
        "all": True,
    }
    assert (table["moc"]["table"], table["all"]["table"]) == ("planted", "free")
    assert 0 < table["moc"]["sparsity"] < 1
    with tarfile.open(tmp_path / "pack" / "results.tar.gz") as archive:
        assert {"summary.csv", "moc/log.csv", "moc/memory.json", "moc/config.yaml"} <= set(archive.getnames())
    with tarfile.open(tmp_path / "pack" / "weights-1.tar") as archive:
        assert {f"{name}/weights.safetensors" for name in ("base", "moc", "all")} <= set(archive.getnames())

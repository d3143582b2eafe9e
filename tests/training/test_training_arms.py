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

from moc.backbones.pocket.config import OF_SAMPLING
from moc.backbones.pocket.weights import SHIPPED, read_config
from moc.training.config import load

BENCHMARKS = ROOT / "benchmarks"
PLANS = [
    BENCHMARKS / name
    for name in (
        "patterns/arms.yaml",
        "ablations/arms.yaml",
        "patterns/routed.yaml",
        "ablations/grid.yaml",
        "patterns/confirm.yaml",
    )
]


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("arms")


@pytest.fixture
def arms_fit(arms: Any) -> Any:
    return importlib.import_module("arms_fit")


@pytest.mark.parametrize("path", PLANS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_plans_that_come_along(arms: Any, path: Path) -> None:
    plan = arms.read_plan(path)
    base = plan.arms["base"].config
    for stage in base.stages:  # the same under every pattern that looks back
        assert stage.shots == 1 or (stage.latent_frames == 1 and stage.top_k >= stage.shots - 1)
    assert base.drop_off_max == 0
    for arm in plan.arms.values():
        config = arm.config
        assert config.model == base.model, "models of one size"
        assert config.warmup + config.decay <= config.steps
    assert sum(arm.time for arm in plan.arms.values()) >= 1


def test_arms_of_the_patterns_differ_in_the_pattern_alone(arms: Any) -> None:
    plan = arms.read_plan(PLANS[0])
    models = {name: arm for name, arm in plan.arms.items() if arm.after}
    assert {arm.config.pattern for arm in models.values()} == {"moc", "dense", "local", "first-frame", "random"}
    for seed in (2, 3, 4):
        same = [arm for arm in models.values() if arm.config.seed == seed]
        assert len(same) == 5
        values = [{key: x for key, x in arm.values.items() if key != "pattern"} for arm in same]
        assert all(one == values[0] for one in values)
    assert all(arm.measure for arm in models.values())
    assert sum(arm.time for arm in models.values()) == 5


def test_better_routes_begin_as_the_arms_of_the_patterns_do(arms: Any) -> None:
    patterns, routed = arms.read_plan(PLANS[0]), arms.read_plan(PLANS[2])
    for name in ("base", "moc", "moc-3", "dense-2"):
        assert routed.arms[name].values == patterns.arms[name].values, "one --out serves both plans"
    usual = routed.arms["moc"].config
    for name in ("moc-drops", "moc-fine"):
        config = routed.arms[name].config
        assert (config.drop_off_max, config.drop_in_rate) == (1, 0)
        assert config.steps == usual.steps
        last, before = config.stages[-1], usual.stages[-1]
        assert last.top_k * last.chunk_tokens == before.top_k * before.chunk_tokens, "as many keys"


def test_equal_time_is_that_of_the_arm_that_was_timed(arms: Any, arms_fit: Any) -> None:
    plan = arms.with_equal(arms.with_seeds(arms.read_plan(PLANS[0]), 2), "both")
    assert [name for name in plan.arms if name.endswith("-time")] == [
        "dense-time", "local-time", "first-frame-time", "random-time"
    ]  # fmt: skip
    times = arms_fit.StepTimes("moc", {"moc": 0.1, "dense": 0.2, "local": 0.05})
    shares = {name: arms_fit.share(plan.arms[name], times) for name in ("moc", "dense", "dense-time", "local-time")}
    assert shares == {"moc": 1, "dense": 1, "dense-time": 0.5, "local-time": 2}
    seeds = arms.with_equal(arms.read_plan(PLANS[0]), "time")
    assert arms_fit.share(seeds.arms["dense-3"], times) == 0.5, "another seed has the steps of its kind"
    assert arms_fit.share(seeds.arms["base"], times) == 1
    with pytest.raises(ValueError, match="steps of random were not timed"):
        arms_fit.share(plan.arms["random-time"], times)


@pytest.mark.parametrize(
    ("gpus", "overlap", "trains"), [(1, 1, 5.0), (1, 2, 2.5), (2, 1, 3.0), (4, 1, 2.0), (4, 4, 1.0), (8, 1, 1.0)]
)
def test_fit_looks_at_the_busiest_gpu(arms: Any, arms_fit: Any, gpus: int, overlap: float, trains: float) -> None:
    plan = arms.with_seeds(arms.read_plan(PLANS[0]), 1)
    todo = [arm for arm in plan.arms.values() if arm.after]
    one = 0.05 * todo[0].config.steps
    times = arms_fit.StepTimes("moc", {arm.name: 0.05 for arm in todo})
    found = arms_fit.fitted(todo, times, 100, gpus=gpus, overlap=overlap, measure=False)
    assert found.work_seconds == pytest.approx(one * trains)
    free = arms_fit.SPARE * (100 - arms_fit.SECONDS_TO_START)
    assert found.scale == pytest.approx(min(3, free / found.work_seconds), abs=1e-3)
    with_measures = arms_fit.fitted(todo, times, 100, gpus=gpus, overlap=overlap)
    assert with_measures.scale < found.scale


def test_archives_stay_small(arms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    table = importlib.import_module("arms_table")
    monkeypatch.setattr(table, "ROOM", 10_000)
    monkeypatch.setattr(table, "MOST_BYTES", 65_000)
    names = [f"arm{i}" for i in range(12)]
    plan = arms.Plan({name: arms.Arm(name, dict(TINY)) for name in names})
    for name in names:
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / arms.WEIGHTS).write_bytes(bytes(3000))
    (tmp_path / "out" / "arm0" / arms.WEIGHTS).write_bytes(bytes(11_000))
    (tmp_path / "out" / "summary.csv").write_text("arm")
    table.pack(plan, tmp_path / "out", tmp_path / "pack")
    made = {path.name: path.stat().st_size for path in (tmp_path / "pack").iterdir()}
    assert set(made) == {"results-1.tar.gz", *(f"weights-{n}.tar" for n in range(1, 6))}
    assert sum(made.values()) <= 65_000
    said = capsys.readouterr().err
    assert "arm0/weights.safetensors has 0 MiB and is left out" in said
    assert "weights-6.tar is left out" in said


def test_rows_of_a_log_that_is_being_written(arms: Any, tmp_path: Path) -> None:
    table = importlib.import_module("arms_table")
    (tmp_path / "log.csv").write_text("step,loss\n20,0.5\n40,\n60\n")
    assert table.log_rows(tmp_path) == [{"step": 20.0, "loss": 0.5}]
    assert table.log_rows(tmp_path / "none") == []


def test_ablations_change_one_thing(arms: Any) -> None:
    plan = arms.read_plan(PLANS[1])
    paper = plan.arms["paper"]
    assert [plan.arms[f"{name}{end}"].config.seed for name in ("paper", "no-schedule", "no-drops")
            for end in ("", "-2", "-3")] == [2, 3, 4] * 3  # fmt: skip
    last = paper.config.stages[-1]
    assert plan.arms["no-schedule"].config.stages[0].chunk_tokens == last.chunk_tokens == 24
    assert plan.arms["k16"].config.stages[1].top_k == 16
    assert plan.arms["k16"].config.stages[0] == paper.config.stages[0]
    for name in ("chunk12", "chunk48", "chunk96", "chunk192"):  # as many routed keys
        stage = plan.arms[name].config.stages[-1]
        assert stage.chunk_tokens * stage.top_k == last.chunk_tokens * last.top_k
    for name, arm in plan.arms.items():
        if arm.after and not name.startswith("paper"):
            assert arm.values != paper.values, name


def test_the_fine_tune_fits_the_shipped_weights() -> None:
    config = load(BENCHMARKS / "patterns" / "no-causal.yaml")
    assert config.init == "shipped"
    assert not config.attention(config.stages[0]).causal
    shipped, network = read_config(SHIPPED).to_dict(), config.network().to_dict()
    for name in OF_SAMPLING:
        del shipped[name], network[name]
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
    with tarfile.open(tmp_path / "pack" / "results-1.tar.gz") as archive:
        assert {"summary.csv", "moc/log.csv", "moc/memory.json", "moc/config.yaml"} <= set(archive.getnames())
    with tarfile.open(tmp_path / "pack" / "weights-1.tar") as archive:
        assert {f"{name}/weights.safetensors" for name in ("base", "moc", "all")} <= set(archive.getnames())


def test_the_confirmation_differs_from_what_it_confirms_in_seeds_and_stories(arms: Any) -> None:
    routed, confirm = arms.read_plan(PLANS[2]), arms.read_plan(PLANS[4])
    for name in ("base", "moc-fine", "dense"):
        one, other = (dict(plan.arms[name].values) for plan in (routed, confirm))
        assert one | {"seed": 0} == other | {"seed": 0}
    seeds = [{arm.config.seed for arm in plan.arms.values() if arm.after} for plan in (routed, confirm)]
    assert not seeds[0] & seeds[1]
    assert routed.sizes | {"seed": 0} == confirm.sizes | {"seed": 0}
    assert routed.sizes["seed"] != confirm.sizes["seed"]
    fine, blind = (confirm.arms[name].values for name in ("moc-fine", "random-fine"))
    assert fine == {key: value for key, value in blind.items() if key != "pattern"}
    short = confirm.arms["dense-short"].scaled(1.185).config.steps
    assert short * 224 == pytest.approx(confirm.arms["moc-fine"].scaled(1.185).config.steps * 165, rel=0.01), "seconds"

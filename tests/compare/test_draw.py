"""Drawing and measuring a story with the fake model: what lies where, what is drawn again, what is kept beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compare_cases import fake_job
from moc_testing import bytes_of

from moc.compare import compare_runs, compare_story
from moc.compare.draw import draw
from moc.compare.footage import open_run
from moc.compare.gauge import gauged
from moc.compare.report import run_labels, runs_folder
from moc.errors import InputError
from moc.metrics import vbench
from moc.metrics.catalogue import choose
from moc.metrics.psnr import psnr
from moc.run import Listener, Request, render
from moc.storyboard import StoryboardError

FEW = choose("agreement")


class Counter(Listener):
    """Counts the shots that are drawn; stops after `stop` of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.shots, self.stop = 0, stop

    def shot_done(self, note: object, seconds: float) -> None:
        self.shots += 1
        if self.shots == self.stop:
            raise KeyboardInterrupt


@pytest.fixture
def heard() -> Counter:
    return Counter()


def test_every_arm_and_seed_has_a_run_of_its_own(tmp_path: Path, heard: Counter) -> None:
    job = fake_job(tmp_path, "dense,moc:top_k=2", seeds=2)
    report, footage = compare_story(job, metrics=FEW, listener_of=lambda arm, seed: heard)
    assert heard.shots == 2 * 2 * 2
    assert sorted(path.name for path in job.out.iterdir()) == ["dense", "moc-top_k=2"]
    assert sorted(path.name for path in (job.out / "dense").iterdir()) == [
        "seed-7", "seed-7.json", "seed-8", "seed-8.json",
    ]  # fmt: skip
    run = json.loads((job.out / "moc-top_k=2/seed-8/manifest.json").read_text())
    assert run["storyboard"]["attention"]["pattern"] == "moc"
    assert run["storyboard"]["attention"]["top_k"] == 2
    assert run["seed"] == 8
    assert list(footage) == ["dense", "moc:top_k=2"]
    assert [arm["label"] for arm in report["arms"]] == ["dense", "moc:top_k=2"]
    assert report["reference"] == "dense"
    assert report["arms"][0]["against_reference"] is None
    assert set(report["arms"][1]["per_seed"]) == {"7", "8"}
    assert report["drawn"] == {"mode": "stream", "steps": None, "set": {}}, "another model's own number"
    assert report["notes"] == []


def test_what_is_drawn_stays(tmp_path: Path, heard: Counter) -> None:
    job = fake_job(tmp_path)
    first, _ = compare_story(job, metrics=FEW)
    before = bytes_of(job.out, manifest=True)
    again, _ = compare_story(job, metrics=FEW, listener_of=lambda arm, seed: heard)
    assert heard.shots == 0
    assert bytes_of(job.out, manifest=True) == before
    assert again == first
    more, _ = compare_story(replace(job, seeds=(7, 8)), metrics=FEW, listener_of=lambda arm, seed: heard)
    assert heard.shots == 4, "the second seed alone"
    assert any("one seed shows no interval" in note for note in first["notes"])
    assert more["arms"][0]["per_seed"]["7"] == first["arms"][0]["per_seed"]["7"]


def test_a_comparison_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = fake_job(tmp_path, shots=3)
    draw(whole)
    stopped = replace(whole, out=tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        draw(stopped, lambda arm, seed: Counter(2))
    heard = Counter()
    draw(stopped, lambda arm, seed: heard)
    assert heard.shots == 3 + 3 - 2
    for arm in ("dense", "local"):
        assert bytes_of(stopped.out / arm / "seed-7") == bytes_of(whole.out / arm / "seed-7")
        told = gauged(stopped.out / arm / "seed-7", [1, 2, 3])
        assert told["step_seconds"] is not None, "steps before the stop count, too"
        assert told["step_seconds"] >= 0


def test_another_run_in_the_way(tmp_path: Path, heard: Counter) -> None:
    job = fake_job(tmp_path)
    draw(job)
    other = replace(job, changes={"global_prompt": "snow"})
    with pytest.raises(InputError, match="holds another run"):
        draw(other)
    draw(replace(other, force=True), lambda arm, seed: heard)
    assert heard.shots == 4
    draw(replace(other, force=True), lambda arm, seed: heard)
    assert heard.shots == 4, "--force throws away other runs, not this one"


def test_an_arm_that_does_not_fit_is_found_before_any_is_drawn(tmp_path: Path) -> None:
    job = fake_job(tmp_path, "dense,moc:top_k=many")
    with pytest.raises(StoryboardError, match=r"moc:top_k=many attention.top_k"):
        compare_story(job)
    assert not job.out.exists()
    with pytest.raises(InputError, match="can't draw the impossible"):
        compare_story(fake_job(tmp_path, global_prompt="the impossible"))
    assert not job.out.exists()


def test_values_of_existing_runs(tmp_path: Path) -> None:
    job = fake_job(tmp_path, "dense,local,random")
    draw(job)
    paths = [job.out / arm / "seed-7" for arm in ("local", "dense")]
    report, footage = compare_runs([paths[0], paths[1] / "manifest.json"], metrics=choose("light,agreement"))
    assert [arm["label"] for arm in report["arms"]] == ["local/seed-7", "dense/seed-7"]
    assert report["reference"] == "local/seed-7", "the first run that is named"
    assert report["seeds"] is None
    runs = [open_run(path) for path in paths]
    expected = psnr(runs[1].values(), runs[0].values())
    assert report["arms"][1]["values"]["psnr"] == pytest.approx(expected)
    assert report["arms"][0]["values"]["psnr"] is None
    assert report["arms"][1]["values"]["peak_memory_mib"] is not None, "kept beside the run"
    tokens = np.array([shot["tokens"] for shot in runs[0].manifest["shots"]])
    sparsity = np.array([shot["sparsity"] for shot in runs[0].manifest["shots"]])
    assert report["arms"][0]["values"]["sparsity"] == pytest.approx((tokens * sparsity).sum() / tokens.sum())
    assert report["notes"] == []
    assert report["drawn"] is None
    assert report["arms"][0]["summary"] == "local, fake, seed 7"
    draw(replace(job, seeds=(8,)))
    others, _ = compare_runs([paths[0], job.out / "dense/seed-8"], metrics=choose("light"))
    assert any("different seeds" in note for note in others["notes"])
    assert footage["dense/seed-7"].lengths == runs[1].lengths


def test_runs_of_other_stories_are_named_as_such(tmp_path: Path) -> None:
    paths = []
    for name, shots in (("a", 2), ("b", 3)):
        folder = tmp_path / name
        folder.mkdir()
        job = fake_job(folder, shots=shots)
        draw(job)
        paths.append(job.out / "dense/seed-7")
    report, _ = compare_runs(paths, metrics=choose("agreement,world"))
    assert report["arms"][1]["values"].get("psnr") is None, "other lengths"
    assert "these runs tell different stories." in report["notes"]
    assert any("not drawn by the built-in model" in note for note in report["notes"])


def test_runs_that_can_not_be_compared(tmp_path: Path) -> None:
    job = fake_job(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        draw(job, lambda arm, seed: Counter(1))
    unfinished = job.out / "dense/seed-7"
    with pytest.raises(InputError, match="not finished"):
        open_run(unfinished)
    draw(job)
    run = open_run(unfinished)
    assert len(run) == 2
    with pytest.raises(InputError, match="at least two runs"):
        compare_runs([unfinished])
    with pytest.raises(InputError, match="named twice"):
        compare_runs([unfinished, job.out / "local/../dense/seed-7"])
    with pytest.raises(InputError, match="holds no run"):
        open_run(job.out)
    (unfinished / "latents/02.npz").unlink()
    with pytest.raises(InputError, match="no longer holds the frames of shot 2"):
        open_run(unfinished)


def test_labels_of_runs_are_the_shortest_that_differ(tmp_path: Path) -> None:
    assert run_labels([Path("runs/a"), Path("other/b")]) == ["a", "b"]
    assert run_labels([Path("x/a/seed-1"), Path("x/b/seed-1")]) == ["a/seed-1", "b/seed-1"]
    assert runs_folder([Path("x/a/seed-1/manifest.json"), Path("x/b/seed-1")]) == Path("runs/compare-a-seed-1-b-seed-1")


def test_a_damaged_note_is_none(tmp_path: Path) -> None:
    job = fake_job(tmp_path)
    draw(job)
    note = job.out / "dense/seed-7.json"
    assert gauged(job.out / "dense/seed-7", [1, 2])["peak_memory_mib"] is not None
    for text in ("{", "[]", '{"seconds_of_steps": {"x": 1}}', '{"seconds_of_steps": {"1": "a"}}', "{}"):
        note.write_text(text)
        assert gauged(job.out / "dense/seed-7", [1, 2]) == {"peak_memory_mib": None, "step_seconds": None}


def test_joint_drawings_are_gauged_as_a_whole(tmp_path: Path) -> None:
    job = replace(fake_job(tmp_path, sampling={"seed": 7, "mode": "joint"}), arms=fake_job(tmp_path).arms)
    draw(job)
    told = gauged(job.out / "dense/seed-7", [1, 2])
    assert json.loads((job.out / "dense/seed-7.json").read_text())["seconds_of_steps"].keys() == {"0"}
    assert told["step_seconds"] is not None


def test_a_run_of_generate_has_no_note(tmp_path: Path) -> None:
    job = fake_job(tmp_path)
    render(Request(job.story, job.story_path, tmp_path / "run"))
    assert gauged(tmp_path / "run", [1, 2]) == {"peak_memory_mib": None, "step_seconds": None}


def test_vbench_gets_videos_and_gives_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run's video and clips are handed over, and each value goes to the arm and seed it was measured of."""
    asked: dict[str, vbench.Material] = {}

    def measure(
        materials: Mapping[str, vbench.Material], weights: Path, names: Sequence[str], device: str
    ) -> dict[str, dict[str, float]]:
        asked.update(materials)
        assert (weights, names) == (tmp_path, ["dynamic_degree"])
        return {key: {"vbench_dynamic_degree": index / 10} for index, key in enumerate(materials)}

    monkeypatch.setattr(vbench, "check", lambda weights, names: None)
    monkeypatch.setattr(vbench, "measure", measure)
    job = fake_job(tmp_path, seeds=2)
    told, _ = compare_story(job, metrics=choose("vbench_dynamic_degree"), vbench_weights=tmp_path)
    assert all(one.video.is_file() and len(one.clips) == 2 for one in asked.values())
    assert all(clip.is_file() for one in asked.values() for clip in one.clips)
    found = [[arm["per_seed"][seed]["vbench_dynamic_degree"] for seed in ("7", "8")] for arm in told["arms"]]
    assert found == [[0, 0.2], [0.1, 0.3]], "seeds are outermost"
    assert told["arms"][1]["values"]["vbench_dynamic_degree"] == pytest.approx(0.2)
    with pytest.raises(InputError, match="asks for no VBench metric"):
        compare_story(job, metrics=FEW, vbench_weights=tmp_path)


def test_costs_are_those_of_the_weights_own_size(tmp_path: Path) -> None:
    """Twice the layers are twice the attention; the shipped size is counted as `moc profile` counts it."""
    from moc.backbones.pocket.config import PocketConfig
    from moc.backbones.pocket.weights import SHIPPED
    from moc.compare.costs import counted, counted_stream
    from moc.config import MoCConfig
    from moc.flops import count, flops
    from moc.profile import base_settings

    config = MoCConfig.preset("pocket")
    one, two = (counted_stream(PocketConfig(layers=n), config, [3, 4, 5])["attention_gflop"] for n in (2, 4))
    assert two == pytest.approx(2 * one)
    board = fake_job(tmp_path, model="pocket").story
    told = base_settings(None, "pocket", board)
    cost = flops(count(told.layout(told.shots[0]), told.config), told.geometry.head_dim, heads=told.geometry.heads,
                 layers=told.geometry.layers)  # fmt: skip
    if SHIPPED.is_file():
        assert counted(board)["attention_gflop"] == pytest.approx(cost.total / 1e9)
    assert counted(board.overridden({"model": "gone.safetensors"})) == {}

"""`moc compare` as a person runs it: what it shows and leaves, and what it says to mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from moc_testing import (
    assert_fails,
    bytes_of,
    command,
    environment,
    moc,
    moc_here,
    names,
    shown,
    story_data,
    write_story,
)

FEW = ("--metrics", "agreement")


@pytest.fixture
def story(tmp_path: Path) -> Path:
    return write_story(tmp_path / "tale.yaml", story_data(2))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of the fake model, with a run for each of two arms."""
    folder = tmp_path_factory.mktemp("drawn")
    told = moc_here("compare", write_story(folder / "tale.yaml", story_data(2)), "-a", "dense,local", "-o",
                    folder / "out", *FEW, "-q")  # fmt: skip
    assert told.returncode == 0, shown(told)
    return folder / "out"


def test_from_story_to_comparison(story: Path, tmp_path: Path) -> None:
    told = moc("compare", "tale.yaml", "-a", "dense,local", "--html", "page.html", "--save", "t.csv", cwd=tmp_path)
    assert told.returncode == 0, shown(told)
    out = tmp_path / "runs/compare-tale"
    assert names(out)[:2] == ["compare.json", "dense"]
    assert {path.name for path in out.iterdir()} == {"compare.json", "dense", "local", "sheet.png", "side_by_side.mp4"}
    assert "\n  runs/compare-tale/side_by_side.mp4\n" in told.stdout, "whole and alone on its line"
    assert told.stderr.endswith("wrote t.csv\nwrote page.html\n")
    assert "PSNR, SSIM: agreement with dense, not quality." in told.stdout
    assert "local, seed 7 (2/2) done in" in told.stderr
    assert [row["arm"] for row in csv.DictReader((tmp_path / "t.csv").open())] == ["dense", "local"]
    assert (tmp_path / "page.html").read_text().count("<video ") == 2
    again = moc_here("compare", story, "-a", "dense,local", "-o", out, *FEW)
    assert again.returncode == 0
    assert "done in" not in again.stderr, "nothing was left to draw"


def test_json_is_alone_on_stdout(story: Path, drawn: Path) -> None:
    told = json.loads(moc_here("compare", story, "-a", "dense,local", "-o", drawn, *FEW, "--json").stdout)
    assert told["files"]["video"] == str(drawn / "side_by_side.mp4")
    assert told == json.loads((drawn / "compare.json").read_text())
    assert [arm["label"] for arm in told["arms"]] == ["dense", "local"]
    for metric in told["metrics"]:
        assert {"key", "heading", "says", "range", "better", "source", "unit"} == set(metric)


def test_seeds_give_intervals(story: Path, drawn: Path) -> None:
    told = moc_here("compare", story, "-a", "dense,local", "-o", drawn, "--metrics", "light", "--seeds", 2)
    assert told.returncode == 0, shown(told)
    assert "2 seeds from 7, 95 % intervals" in told.stdout
    assert "±: half of a 95 % interval over seeds; a–b: one that ends where the metric does." in told.stdout


def test_runs_that_exist(drawn: Path, tmp_path: Path) -> None:
    runs = [drawn / "local/seed-7", drawn / "dense/seed-7"]
    before = bytes_of(drawn, manifest=True)
    told = moc("compare", *runs, *FEW, cwd=tmp_path)
    assert told.returncode == 0, shown(told)
    folder = tmp_path / "runs/compare-local-seed-7-dense-seed-7"
    assert names(folder) == ["compare.json", "sheet.png", "side_by_side.mp4"]
    assert "agreement with local/seed-7" in told.stdout
    assert bytes_of(drawn, manifest=True) == before
    picked = moc_here("compare", *runs, *FEW, "-o", tmp_path / "x", "--reference", "dense/seed-7", "--json")
    assert json.loads(picked.stdout)["reference"] == "dense/seed-7"


def test_a_comparison_that_is_stopped_goes_on(tmp_path: Path) -> None:
    story = write_story(tmp_path / "tale.yaml", story_data(4))
    line = ("compare", story, "-a", "dense,local", "-o", tmp_path / "out", *FEW)
    run = subprocess.Popen(
        command(*line), env=environment(MOC_FAKE_DELAY="0.3"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out/dense/seed-7/latents/02.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "Go on with the same command" in said
    assert not (tmp_path / "out/compare.json").exists()
    asked = tmp_path / "log"
    told = moc(*line, "-q", env={"MOC_FAKE_LOG": str(asked)})
    assert told.returncode == 0, shown(told)
    assert told.stdout == told.stderr == ""
    first = json.loads(asked.read_text().splitlines()[0])
    assert 1 not in first["shots"], "what was drawn stayed"
    assert (tmp_path / "out/compare.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-a", "dense,mooc"], ["no pattern 'mooc'", "did you mean 'moc'"]),
        (["-a", "dense"], ["needs 2 to 24 arms"]),
        (["-a", "moc:top_k=-1"], ["top_k must be from 0 to 4096, got -1"]),
        (["--weights", "nope.safetensors"], ["'nope.safetensors' does not exist"]),
        (["--steps", "0"], ["--steps 0: ", "1"]),
        (["--seeds", "x"], ["--seeds", "x", "integer"]),
        (["-a", "dense,moc:top_k=x"], ["moc:top_k=x", "must be a whole number"]),
        (["--weights", "a.safetensors,b.safetensors"], ["'a.safetensors' does not exist"]),
        (["--seeds", "0"], ["--seeds must be from 1 to 100, got 0"]),
        (["--set", "sampling.seed=3"], ["--seed"]),
        (["--set", "shots=3"], ["shots"]),
        (["--metrics", "beauty"], ["no metric 'beauty'"]),
        (["--reference", "moc:top_k=9"], ["no arm 'moc:top_k=9'"]),
        (["--vbench", "nowhere"], ["vbench"]),
        (["--stories", "3"], ["--stories is for --suite"]),
        (["--save", "a.txt"], ["must end in one of"]),
        (["--html", "a.txt"], ["must end in one of .html"]),
        (["--html", "a.html", "--save", "a.html"], ["must end in one of"]),
        (["--html", "{story}/a.html"], ["is a file, so nothing can be put into it"]),
        (["--save", "{folder}.csv"], ["this is a folder; name a file"]),
        (
            ["--set", "model=pocket", "-a", "moc,moc-no-causal"],
            ["choose another pattern, or set sampling mode: joint (--mode joint)"],
        ),
        (["--suite", "memory"], ["a story has no meaning for --suite"]),
        (["--device", "tpu"], ["--device 'tpu'"]),
    ],
    ids=" ".join,
)
def test_mistakes_are_one_sentence_before_any_work(
    story: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    (tmp_path / "folder.csv").mkdir()
    options = [option.format(story=story, folder=tmp_path / "folder") for option in options]
    told = moc_here("compare", story, "-o", tmp_path / "out", *options)
    assert_fails(told, 2, *words)
    assert len(told.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_mistakes_in_what_is_compared(story: Path, drawn: Path, tmp_path: Path) -> None:
    run = drawn / "dense/seed-7"
    for sources, words in (
        ([], ["give a story, two runs that exist, or --suite memory"]),
        ([tmp_path / "none.yaml"], ["no such file"]),
        ([run], ["at least two runs"]),
        ([run, run], ["named twice"]),
        ([run, story], ["is no run"]),
        ([run, drawn], ["holds no run"]),
        ([run, drawn / "local/seed-7", "--seeds", 2], ["--seeds is for a story"]),
        ([run, drawn / "local/seed-7", "-a", "moc"], ["--attention is for a story"]),
        ([run, drawn / "local/seed-7", "-o", story], ["is a file"]),
        ([story, "-a", "dense,local", "-o", drawn, "--steps", 1], ["holds another run", "--force"]),
        (["--suite", "memory", "--seeds", 2], ["--seeds has no meaning for --suite"]),
        (["--suite", "memory", "--stories", 0], ["--stories must be from 1"]),
        (["--suite", "memory", "-a", "moc,moc-no-causal"], ["moc-no-causal"]),
    ):
        assert_fails(moc_here("compare", *sources), 2, *words)
    told = moc_here("compare", story, "-a", "dense", "--json")
    assert json.loads(told.stdout)["exit_code"] == 2
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nshots:\n  - {id: a, duration: 1s, promt: x}\n")
    assert_fails(moc_here("compare", wrong), 2, "wrong.yaml:3:", "did you mean 'prompt'")


def test_torch_stays_away_until_something_is_drawn(tmp_path: Path) -> None:
    """Help and the mistakes of options are quick."""
    code = "import sys; from moc_cli.main import app; import moc_cli.compare; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert told.stdout == "False\n", told.stderr
    help_text = moc("compare", "--help")
    assert help_text.returncode == 0
    for option in ("--attention", "--weights", "--seeds", "--metrics", "--vbench", "--suite", "--html", "--reference"):
        assert option in help_text.stdout


@pytest.mark.slow
def test_the_built_in_model(tmp_path: Path) -> None:
    """A real story: the reader reads it, what is drawn sparsely is counted so, and both arms begin alike."""
    story = write_story(
        tmp_path / "tale.yaml",
        {
            "version": 1,
            "title": "Twice",
            "characters": {"mira": "a woman in a yellow raincoat"},
            "scenes": {"cafe": "a corner cafe"},
            "shots": [
                {"id": f"s{n}", "scene": "cafe", "duration": "1s", "prompt": f"{{mira}} {what}"}
                for n, what in enumerate(("sits", "reads", "waves"))
            ],
        },
    )
    told = moc("compare", story, "-a", "dense,local", "-o", tmp_path / "out", "--steps", 4, "--json")
    assert told.returncode == 0, shown(told)
    dense, local = (arm["values"] for arm in json.loads(told.stdout)["arms"])
    for values in (dense, local):
        for key in ("named_right", "consistency_characters", "consistency_places", "sparsity", "motion_smoothness"):
            assert 0 <= values[key] <= 1
    assert local["sparsity"] > local["sparsity_past"] > dense["sparsity_past"] >= 0
    assert local["attention_gflop"] < dense["attention_gflop"]
    assert 10 < local["psnr"] < 100, "the first shot is equal, later ones are not"
    suite = moc("compare", "--suite", "memory", "-a", "dense,local", "--stories", 1, "--steps", 1, "-o",
                tmp_path / "memory", "--save", tmp_path / "m.md")  # fmt: skip
    assert suite.returncode == 0, shown(suite)
    assert "chance" in suite.stdout
    assert "| dense |" in (tmp_path / "m.md").read_text()
    assert os.path.getsize(tmp_path / "memory/dense.csv") > 0

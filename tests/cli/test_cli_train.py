"""`moc train` as a process, at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from moc_testing import ROOT, assert_fails, moc, moc_here, names, shown

TINY = ROOT / "moc" / "training" / "configs" / "tiny.yaml"


@pytest.mark.slow
def test_train(tmp_path: Path) -> None:
    result = moc("train", TINY, "--out", tmp_path / "run", "--json")
    assert result.returncode == 0, shown(result)
    assert Path(json.loads(result.stdout)["weights"]).exists()
    assert "step 8/8, loss" in result.stderr
    assert_fails(moc("train", TINY, "--out", tmp_path / "run"), 2, "--resume")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "lr=["], "lr"),
        (["--set", "lrr=1"], "lrr"),
        (["--set", "lr"], "KEY=VALUE"),
        (["--resume"], "resume"),
        (["--set", "seed=2020-13-45"], "seed = '2020-13-45' must be a whole number"),
        (["--set", "seed=0b_"], "--set seed: '0b_' is not a value"),
        (["--set", "lr=" + "[" * 3000], "--set lr: "),
        (["--set", "lr=&a [*a]"], "--set lr: "),
        (["--set", "stages=[{steps: 1, chunk_tokens: true}]"], "chunk_tokens = True must be a whole number"),
    ],
)
def test_wrong_settings(tmp_path: Path, options: list[str], words: str) -> None:
    assert_fails(moc_here("train", TINY, "--out", tmp_path / "run", *options), 2, words)
    assert names(tmp_path) == []


def test_missing_config(tmp_path: Path) -> None:
    result = moc_here("train", tmp_path / "nix.yaml", "--out", tmp_path / "run", "--json")
    assert_fails(result, 2, "nix.yaml: there is no such file")
    assert json.loads(result.stdout)["exit_code"] == 2

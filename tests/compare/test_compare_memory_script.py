"""The benchmark of memory on several GPUs: arms side by side, one table, and an arm that fails."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("--stories", "1", "--shots", "2", "--latent-frames", "1", "--steps", "1")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "compare_memory.py"), *words]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_an_unknown_arm_is_refused(tmp_path: Path) -> None:
    told = run("--out", str(tmp_path / "out"), "--attention", "dense,mooc", "--device", "cpu")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "error: --attention: there is no pattern 'mooc', did you mean 'moc'?\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_arms_side_by_side(tmp_path: Path) -> None:
    out, packed = tmp_path / "out", tmp_path / "pack"
    (out / "local.json").mkdir(parents=True)  # in the way of this arm's numbers
    words = ("--out", str(out), "--attention", "dense,local,moc:top_k=1", "--gpus", "0,1", *SMALL)
    told = run(*words, "--pack", str(packed))
    assert told.returncode == 1, told.stdout + told.stderr
    assert "local.json can't be written" in told.stdout
    assert "not measured: local" in told.stdout
    assert [arm["label"] for arm in json.loads((out / "compare.json").read_text())["arms"]] == ["dense", "moc:top_k=1"]
    assert "| moc:top_k=1 |" in (out / "table.md").read_text()
    with tarfile.open(packed / "memory-patterns-1.tar.gz") as archive:
        wanted = {"dense.json", "dense.csv", "table.md", "plot.png", "compare.json", "local.txt"}
        assert wanted <= set(archive.getnames())
    made = (out / "dense.json").read_bytes()
    (out / "local.json").rmdir()
    again = run(*words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (out / "dense.json").read_bytes() == made, "what is there stays"
    assert len(json.loads((out / "compare.json").read_text())["arms"]) == 3
    table = (out / "compare.json").read_bytes()
    other = run(*words, "--steps", "2")
    assert (other.returncode, other.stdout) == (1, "")
    assert "was measured with steps 1, here 2; choose another --out, or add --force" in other.stderr
    assert ((out / "compare.json").read_bytes(), (out / "dense.json").read_bytes()) == (table, made)
    forced = run(*words, "--steps", "2", "--force")
    assert forced.returncode == 0, forced.stdout + forced.stderr
    assert json.loads((out / "dense.json").read_text())["experiment"]["steps"] == 2

"""`benchmarks/far_shots.py`: both ways are measured on the same shots, and differ only beyond the reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_distances_matter_beyond_the_reach_alone() -> None:
    words = ["--stories", "1", "--shots", "16", "--steps", "2", "--device", "cpu"]
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "far_shots.py"), *words],
        capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines() if line.split()[:1] in (["8"], ["16"])]
    assert [int(row[0]) for row in rows] == [8, 16]
    shot, readings, as_they_are, bounded = rows[0]
    assert int(readings) > 0
    assert as_they_are == bounded, f"shot {shot} has nobody further back than seven shots"

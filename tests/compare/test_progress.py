"""What is said while a comparison is drawn: a line a drawing, the time that is left, every note once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from moc.compare import make_arms
from moc_cli import compare_progress
from moc_cli.compare_progress import CompareProgress, SuiteProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still."""
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr(compare_progress, "time", SimpleNamespace(monotonic=lambda: now.at))
    return now


def plan_of(*numbers: int) -> Any:
    shots = [SimpleNamespace(number=n, id=f"s{n}", flops=1.0) for n in numbers]
    return SimpleNamespace(shots=shots, notes=("no kind is named",), understanding=())


def test_drawings_in_lines(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    arms = make_arms("dense,moc,local", None)
    with CompareProgress(quiet=False, total=3) as progress:
        for number, arm in enumerate(arms):
            listener = progress.listener(arm, 7)
            if number < 2:  # the third is there already
                listener.planned(plan_of(1, 2), [(1, 1), (2, 1)])
                listener.step(1, 1, 2)
                clock.at += 30
        progress.measuring("dense")
        progress.measuring("moc")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "note: no kind is named",
        "dense, seed 7 (1/3) done in 30 s, about 1:00 min left",
        "moc, seed 7 (2/3) done in 30 s, about 30 s left",
    ]


def test_quiet_is_quiet(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with CompareProgress(quiet=True, total=1) as progress:
        progress.listener(make_arms(None, None)[0], 7).planned(plan_of(1), [(1, 1)])
        progress.measuring("dense")
    with SuiteProgress(True, 1) as suite:
        suite.shot("dense", 1, 1)
    assert capsys.readouterr() == ("", "")


def test_arms_of_the_benchmark_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with SuiteProgress(False, 2) as progress:
        for label in ("dense", "moc"):
            for done in (1, 2, 3):
                progress.shot(label, done, 3)
    lines = cast(str, capsys.readouterr().err).splitlines()
    assert [line.split(",")[0] for line in lines] == ["dense done; 1/2", "moc done; 2/2"]

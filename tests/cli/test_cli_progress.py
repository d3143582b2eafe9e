"""The words about time beside the bar."""

from __future__ import annotations

import pytest

from moc_cli import progress


def test_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    pace = progress._Pace()
    now = 8.0
    assert pace.words() == "8.0 s so far"
    pace.reach(0.1)
    assert pace.words() == "8.0 s so far", "one state makes no pace, and loading is not drawing"
    now = 10.0
    pace.reach(0.3)
    assert pace.words() == "10 s so far, 7.0 s left"
    now = 12.0
    assert pace.words() == "12 s so far, 5.0 s left", "time goes on between steps"
    pace.reach(0.2)
    now = 90.0
    assert pace.words() == "1:30 min so far, 0.0 s left", "late, but never negative"
    pace.reach(1.2)
    assert pace.words() == "1:30 min so far"

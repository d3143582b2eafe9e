"""The words about time beside the bar."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

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


@pytest.mark.parametrize("label", ["shot 1 (a), step 1/2", f"shot 1 ({'long_name' * 7}), step 1/2"])
def test_bar_leaves_room_for_the_echo_of_ctrl_c(label: str) -> None:
    bar = progress._Bar(quiet=False)
    bar.console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    bar.start("loading", 1.0)
    bar.update(label, 0.5)
    try:
        assert bar._progress is not None
        lines = bar.console.render_lines(bar._progress.get_renderable(), pad=False)
        widths = [sum(segment.cell_length for segment in line) for line in lines]
        assert len(widths) == 1
        assert 60 < widths[0] <= 77
    finally:
        bar._stop()

"""The schedule of shrinking chunks."""

from __future__ import annotations

import pytest

from moc.config import MoCConfig
from moc.schedule import PAPER_CHUNKS, Schedule, Stage


def test_the_papers_sequence_in_equal_shares() -> None:
    schedule = Schedule.paper(total_steps=20_000)
    config = MoCConfig.preset("paper-multi-shot")
    steps = (0, 4_999, 5_000, 9_999, 10_000, 15_000, 19_999, 1_000_000)
    sizes = [schedule.config_at(step, config).chunk_tokens for step in steps]
    assert sizes == [10240, 10240, 5120, 5120, 2560, 1280, 1280, 1280]
    assert schedule.config_at(0, config).top_k == 5
    assert PAPER_CHUNKS == (10240, 5120, 2560, 1280)


def test_any_other_sequence_and_any_knob() -> None:
    rows = [
        {"step": 0, "chunk_tokens": 384, "top_k": 8, "drop_off_max": 0.0, "drop_in_rate": 0.0},
        {"step": 10, "chunk_tokens": "frame", "drop_off_max": 0.5},
    ]
    schedule = Schedule.from_rows(rows)
    config = MoCConfig(top_k=5, drop_off_max=0.3, drop_in_rate=0.7)
    assert schedule.config_at(9, config) == config.replace(
        chunk_tokens=384, top_k=8, drop_off_max=0.0, drop_in_rate=0.0
    )
    assert schedule.config_at(10, config) == config.replace(chunk_tokens="frame", drop_off_max=0.5)
    assert schedule.at(10) is schedule.stages[1]


@pytest.mark.parametrize(
    ("steps", "message"), [([], "step 0"), ([3], r"step 0.*\[3\]"), ([0, 5, 5], r"rising.*\[0, 5, 5\]")]
)
def test_stages_out_of_order_are_refused(steps: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(tuple(Stage(step) for step in steps))


def test_wrong_stages_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"chunk_tokens must be at least 1.*got 0"):
        Stage(0, chunk_tokens=0)
    with pytest.raises(ValueError, match=r"at least 0, got -1"):
        Stage(-1)
    with pytest.raises(TypeError, match=r"got 1\.5"):
        Stage(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown key 'chunks'"):
        Schedule.from_rows([{"step": 0, "chunks": 5}])
    with pytest.raises(ValueError, match="no step"):
        Schedule.from_rows([{"chunk_tokens": 5}])
    with pytest.raises(ValueError, match="at least 0, got -1"):
        Schedule.paper(100).at(-1)
    with pytest.raises(ValueError, match="4 stages need at least as many steps, got 3"):
        Schedule.paper(3)

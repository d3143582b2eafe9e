"""How long arms take, and by what to multiply their steps: for equal time instead of equal steps, to fit a limit.

Seconds of a step were measured alone on a GPU (`time_arms.py`). Arms go onto GPUs in turn and cannot be cut, so five
arms on four GPUs take as long as the GPU that has two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arms import Arm

SECONDS_TO_MEASURE = 8.0  # of each arm, side by side with others
SECONDS_TO_LOAD = 12.0  # of a process that measures; those of a GPU load at once
SECONDS_TO_START = 25.0  # of processes that train
SPARE = 0.9  # share of the time left that is planned with
UNKNOWN_STEP = 0.06  # seconds, where nothing was timed
SMALLEST, LARGEST = 0.05, 3.0


@dataclass(frozen=True)
class StepTimes:
    """Seconds a step by arm, and the arm whose time is what others get under equal time."""

    first: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, arm: Arm) -> float | None:
        """Seconds of a step of the arm, None where it was not timed."""
        return self.seconds.get(arm.timed_as)


@dataclass(frozen=True)
class Fit:
    """What steps are multiplied by, and why: seconds of training on the busiest GPU at factor 1, and seconds for it."""

    scale: float
    work_seconds: float
    room_seconds: float


def step_times(out: Path) -> StepTimes:
    """What `time_arms.py` found, which is nothing where it has not run."""
    try:
        told = json.loads((out / "step_time.json").read_text())
        return StepTimes(told["first"], {name: float(one["seconds"]) for name, one in told["arms"].items()})
    except (OSError, ValueError, KeyError):
        return StepTimes()


def share(arm: Arm, times: StepTimes) -> float:
    """The factor that brings the arm's training to the time of the first arm; 1 for equal steps.

    Raises:
        ValueError: the arm is to have equal time and its steps, or the first arm's, were not timed.
    """
    if arm.equal == "steps" or not arm.after:
        return 1.0
    own, first = times.of(arm), times.seconds.get(times.first)
    if own is None or first is None:
        missing = arm.timed_as if own is None else times.first or "the first arm"
        raise ValueError(f"{arm.name} is to have equal time, but the steps of {missing} were not timed")
    return first / own


def fitted(
    todo: Sequence[Arm], times: StepTimes, left: float, *, gpus: int, overlap: float = 1.0, measure: bool = True
) -> Fit:
    """The factor of the steps of all arms in `todo`, so that training and measuring them take `left` seconds.

    Args:
        todo: in the order in which they start.
        times: of a step.
        gpus: how many there are; overlap: how much faster arms that share a GPU are than one after the other.
        measure: whether arms are measured, too.
    """
    known = times.seconds.values()
    usual = sum(known) / len(known) if known else UNKNOWN_STEP
    room = SPARE * (left - SECONDS_TO_START)
    found = Fit(LARGEST, 0.0, room)
    for gpu in range(gpus):
        mine = todo[gpu::gpus]
        if not mine:
            continue
        trains = [arm.config.steps * (times.of(arm) or usual) * _share(arm, times) for arm in mine]
        work = max(sum(trains) / overlap, *trains)  # one arm alone gains nothing from company
        if not work:
            continue
        measured = sum(arm.measure for arm in mine) * measure
        free = room - SECONDS_TO_MEASURE * measured - SECONDS_TO_LOAD * bool(measured)
        scale = min(LARGEST, max(SMALLEST, free / work))
        if scale < found.scale or not found.work_seconds:
            found = Fit(round(scale, 3), work, free)
    return found


def _share(arm: Arm, times: StepTimes) -> float:
    try:
        return share(arm, times)
    except ValueError:  # that arm will not train; the others still count
        return 0.0

"""What a drawing takes that its run does not write down: time of its steps, peak memory. Kept in a file beside the run.

A run's own seconds are those of the wall clock, with everything that happens once: loading, compiling of kernels, a
busy moment of the machine. They would decide between arms by who came first. So the median step of each shot is kept
besides, and their sum over all steps is what arms are compared by.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.compare.costs import MEMORY, STEP_SECONDS
from moc.run import Listener

if TYPE_CHECKING:
    from moc.backbones.base import Plan
    from moc.run.state import ShotNote

_SHOTS = "seconds_of_steps"


class Gauge(Listener):
    """Hears a drawing, writes down what it took, and tells another listener.

    Attributes:
        told: what is known so far; note_file: where it is kept, beside the run's folder.
    """

    def __init__(self, run: Path, listener: Listener, synchronize: Callable[[], None], *, anew: bool) -> None:
        """`synchronize` waits for the device; `anew` forgets what was written of an earlier run there."""
        self.note_file, self.listener, self.synchronize = _note(run), listener, synchronize
        self.told: dict[str, Any] = {} if anew else _read(run)
        self._times: dict[int, list[float]] = {}
        self._steps: dict[int, int] = {}

    def planned(self, plan: Plan, work: Sequence[tuple[int, int]]) -> None:
        self.listener.planned(plan, work)

    def step(self, number: int, step: int, steps: int) -> None:
        self.synchronize()
        self._times.setdefault(number, []).append(time.perf_counter())
        self._steps[number] = steps
        self.listener.step(number, step, steps)

    def shot_done(self, note: ShotNote, seconds: float) -> None:
        for number, times in self._times.items():  # shot 0 stands for all of them at once
            spans = [after - before for before, after in pairwise(times)]
            if spans:
                self.told.setdefault(_SHOTS, {})[str(number)] = statistics.median(spans) * self._steps[number]
        self._times.clear()
        self._keep()
        self.listener.shot_done(note, seconds)

    def assembling(self) -> None:
        self.listener.assembling()

    def note(self, message: str) -> None:
        self.listener.note(message)

    def peak(self, mebibytes: float | None) -> None:
        """The most memory that was taken; of a run that was drawn in several goes the largest counts."""
        if mebibytes is not None:
            self.told[MEMORY.key] = max(mebibytes, self.told.get(MEMORY.key, 0.0))
            self._keep()

    def _keep(self) -> None:
        from moc.run.files import write_json

        write_json(self.note_file, self.told)


def gauged(run: Path, shots: Sequence[int]) -> dict[str, float | None]:
    """What was written down of the run at `run`, which has these shots; None for what was not.

    Returns:
        `MEMORY` in mebibytes and `STEP_SECONDS`, by key.
    """
    told = _read(run)
    seconds: Mapping[str, float] = told.get(_SHOTS, {})
    wanted = ["0"] if "0" in seconds else [str(number) for number in shots]
    known = all(number in seconds for number in wanted)
    return {
        MEMORY.key: told.get(MEMORY.key),
        STEP_SECONDS.key: sum(seconds[number] for number in wanted) if known else None,
    }


def _note(run: Path) -> Path:
    return run.with_name(f"{run.name}.json")


def _read(run: Path) -> dict[str, Any]:
    """The file beside a run as far as it has the shape that is written; empty where there is none."""
    from moc.run.shape import Table, fault

    shape = {_SHOTS: Table("[0-9]{1,6}", float)}
    try:
        told = json.loads(_note(run).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if fault(told, shape) is not None or (MEMORY.key in told and fault(told[MEMORY.key], float) is not None):
        return {}
    return dict(told)

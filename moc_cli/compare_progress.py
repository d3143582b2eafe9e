"""Progress of a comparison on stderr: a bar an arm, a line when it is done, every note once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from moc_cli.console import clock
from moc_cli.progress import RenderProgress, _Bar

if TYPE_CHECKING:
    from moc.backbones.base import Plan
    from moc.compare import Arm
    from moc.run.state import ShotNote


class CompareProgress:
    """All drawings of a comparison, then the measuring of each."""

    def __init__(self, quiet: bool, total: int) -> None:
        self.quiet = quiet
        self.total = total
        self.said: set[str] = set()
        self._begun = 0
        self._took: list[float] = []
        self._arm: _ArmProgress | None = None

    def __enter__(self) -> CompareProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._arm is not None:
            self._arm.__exit__(kind, error, trace)

    def listener(self, arm: Arm, seed: int) -> _ArmProgress:
        """Who hears of the drawing of an arm with a seed."""
        self._end_arm()
        self._begun += 1
        self._arm = _ArmProgress(self, f"{arm.label}, seed {seed} ({self._begun}/{self.total})")
        return self._arm

    def measuring(self, label: str) -> None:
        """The metrics of a run are being computed."""
        self._end_arm()
        if self._arm is None:
            self._arm = _ArmProgress(self, "measuring")
            self._arm.start("measuring", 1)
        self._arm.waiting(f"measuring {label}")

    def _end_arm(self) -> None:
        if self._arm is not None and self._arm.drawing:
            self._took.append(self._arm.seconds)
            left = sum(self._took) / len(self._took) * (self.total - self._begun)
            self._arm.done(f", about {clock(left)} left" if left >= 1 else "")
            self._arm = None


class _ArmProgress(RenderProgress):
    """One drawing: the bar of a render without a line a shot."""

    def __init__(self, whole: CompareProgress, label: str) -> None:
        super().__init__(whole.quiet)
        self.whole = whole
        self.label = label
        self.drawing = False
        self._began = time.monotonic()

    def planned(self, plan: Plan, work: Sequence[tuple[int, int]]) -> None:
        self.drawing = True
        super().planned(plan, work)

    def update(self, label: str, completed: float | None = None) -> None:
        super().update(f"{self.label}: {label}", completed)

    def shot_done(self, note: ShotNote, seconds: float) -> None:
        self._done += self._cost[note.number]
        self.pace.reach(self._done / self._all)

    def note(self, message: str) -> None:
        if message not in self.whole.said:
            self.whole.said.add(message)
            super().note(message)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def done(self, more: str) -> None:
        """The drawing is over; `more` is said of the rest."""
        self._stop()
        self.say(f"{self.label} done in {clock(self.seconds)}{more}")

    def waiting(self, label: str) -> None:
        """Other words beside the spinner."""
        if self._waiting is not None:
            self._waiting.update(label)


class SuiteProgress(_Bar):
    """Progress of the benchmark: all arms in one bar, a line when one is done."""

    def __init__(self, quiet: bool, total: int) -> None:
        super().__init__(quiet)
        self._arms = total
        self._done = 0

    def __enter__(self) -> SuiteProgress:
        self.start("getting ready", self._arms)
        return self

    def shot(self, label: str, done: int, total: int) -> None:
        """So many of the shots of an arm are done."""
        self.update(f"{label}: shot {done}/{total}", self._done + done / total)
        if done == total:
            self._done += 1
            self.say(f"{label} done; {self._done}/{self._arms}, {self.pace.words()}")

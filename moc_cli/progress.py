"""Progress on stderr: a bar with time left on a terminal, a line a finished piece of work elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from moc.run import Listener
from moc_cli.console import clock, err, tell
from moc_cli.tables import unknown_words

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from moc.backbones.base import Plan
    from moc.run.state import ShotNote


class _Bar:
    """A rich bar on stderr, drawn on terminals only; `say` prints a line above it."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.console = err()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def start(self, label: str, total: float) -> None:
        """Begin to show."""
        if self.quiet or not self.console.is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task(label, total=total)
        self._progress.start()

    def update(self, label: str, completed: float | None = None) -> None:
        """New words and state."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=label, completed=completed)

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            tell(self.console, text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


class RenderProgress(_Bar, Listener):
    """Progress of a story, measured in expected FLOPs, so that long shots count for more."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._cost: dict[int, float] = {}
        self._ids: dict[int, str] = {}
        self._work: list[tuple[int, int]] = []
        self._all = 0.0
        self._done = 0.0
        self._count = 0
        self._began = time.monotonic()

    def __enter__(self) -> RenderProgress:
        return self

    def planned(self, plan: Plan, work: Sequence[tuple[int, int]]) -> None:
        self._cost = {shot.number: shot.flops or 1.0 for shot in plan.shots}
        self._ids = {shot.number: shot.id for shot in plan.shots}
        self._work = list(work)
        self._all = sum(self._cost[number] for number, _ in work)
        for message in (*plan.notes, *unknown_words(plan, [number for number, _ in work])):
            self.note(message)
        self._began = time.monotonic()
        self.start("loading the model", self._all)

    def step(self, number: int, step: int, steps: int) -> None:
        cost = self._cost[number] if number else self._all - self._done
        label = f"shot {number} ({self._ids[number]})" if number else "all shots"
        self.update(f"{label}, step {step}/{steps}", self._done + cost * min(step / steps, 1.0))

    def shot_done(self, note: ShotNote, seconds: float) -> None:
        self._count += 1
        self._done += self._cost[note.number]
        take = f" take {note.take}" if note.take > 1 else ""
        spent = time.monotonic() - self._began
        left = spent * (self._all - self._done) / self._done
        rest = f", {clock(left)} left" if self._count < len(self._work) and spent > 1 else ""
        count = f"{self._count}/{max(self._count, len(self._work))}"
        self.say(f"shot {note.number} ({note.id}){take} done in {clock(seconds)}, {count}{rest}")

    def assembling(self) -> None:
        self.update("writing the video")

    def note(self, message: str) -> None:
        self.say(f"note: {message}")


class TrainingProgress(_Bar):
    """Progress of a training from its log rows: a bar, or a line every ten seconds where there is no terminal."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._spoke = 0.0
        self._first: tuple[float, float] | None = None  # (time, step) of the first row, which paid for the start

    def __enter__(self) -> TrainingProgress:
        return self

    def row(self, row: Mapping[str, float], steps: int) -> None:
        """A row of the training log, and the number of steps in all."""
        now, step = time.monotonic(), row["step"]
        label = f"step {step:.0f}/{steps}, loss {row['loss']:.4f}, {row['stories_per_s']:.3g} stories/s"
        if self._first is None:
            self._first = (now, step)
            self.start(label, steps)
        self.update(label, step)
        done = step - self._first[1]
        if not self.console.is_terminal and (now - self._spoke > 10 or step == steps):
            self._spoke = now
            left = f", {clock((now - self._first[0]) / done * (steps - step))} left" if done and step < steps else ""
            self.say(label + left)

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
    from rich.status import Status

    from moc.backbones.base import Plan
    from moc.run.state import ShotNote


class _Pace:
    """How long a piece of work has run and will run, from the share that is done.

    What was done before the first step (loading, compiling) counts as time spent, but not as pace.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: tuple[float, float] | None = None  # (time, share) of the first known state
        self._last = (self._began, 0.0)

    def reach(self, share: float) -> None:
        """`share` of the work is done, from 0 to 1."""
        self._last = (time.monotonic(), max(self._last[1], min(share, 1.0)))
        self._first = self._first or self._last

    def words(self) -> str:
        """`26 s so far, 1:45 min left`; without the latter while it is not known or nothing is left."""
        now = time.monotonic()
        spent = f"{clock(now - self._began)} so far"
        (first, begun), (last, share) = self._first or self._last, self._last
        if share <= begun or share >= 1:
            return spent
        left = (last - first) / (share - begun) * (1 - share) - (now - last)
        return f"{spent}, {clock(max(left, 0.0))} left"


class _Bar:
    """A spinner and then a bar on stderr, drawn on terminals only; `say` prints a line above it."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.console = err()
        self.pace = _Pace()
        self._total = 1.0
        self._waiting: Status | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def start(self, label: str, total: float) -> None:
        """Begin to show: that something is going on, until the first step is done."""
        self._total = total
        if self.console.is_terminal and not self.quiet:
            self._waiting = self.console.status(label)
            self._waiting.start()

    def update(self, label: str, completed: float | None = None) -> None:
        """New words and state."""
        if completed is not None:
            self.pace.reach(completed / self._total)
        if self._waiting is not None:
            self._stop()
            self._progress = self._bar()
            self._task = self._progress.add_task(label, total=self._total)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=label, completed=completed)
            self._progress.start()

    def _bar(self) -> Progress:
        from rich.console import RenderableType
        from rich.constrain import Constrain
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text

        pace, console = self.pace, self.console

        class Times(ProgressColumn):
            """Percentage and times, anew at every refresh."""

            def render(self, task: Task) -> Text:
                return Text(f"{task.percentage:.0f} %, {pace.words()}", no_wrap=True)

        class Narrow(Progress):
            """Leaves room for the `^C` that terminals write at the cursor: on a line of its own it would stay there."""

            def get_renderable(self) -> RenderableType:
                return Constrain(super().get_renderable(), max(console.width - 3, 1))

        return Narrow(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            Times(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            expand=True,
        )

    def _stop(self) -> None:
        for shown in (self._waiting, self._progress):
            if shown is not None:
                shown.stop()
        self._waiting = None

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            tell(self.console, text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()


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

    def __enter__(self) -> RenderProgress:
        return self

    def planned(self, plan: Plan, work: Sequence[tuple[int, int]]) -> None:
        self._cost = {shot.number: shot.flops or 1.0 for shot in plan.shots}
        self._ids = {shot.number: shot.id for shot in plan.shots}
        self._work = list(work)
        self._all = sum(self._cost[number] for number, _ in work)
        for message in (*plan.notes, *unknown_words(plan, [number for number, _ in work])):
            self.note(message)
        self.start("loading the model", self._all)

    def step(self, number: int, step: int, steps: int) -> None:
        cost = self._cost[number] if number else self._all - self._done
        label = f"shot {number} ({self._ids[number]})" if number else "all shots"
        self.update(f"{label}, step {step}/{steps}", self._done + cost * min(step / steps, 1.0))

    def shot_done(self, note: ShotNote, seconds: float) -> None:
        self._count += 1
        self._done += self._cost[note.number]
        take = f" take {note.take}" if note.take > 1 else ""
        self.pace.reach(self._done / self._all)
        count = f"{self._count}/{max(self._count, len(self._work))}"
        self.say(f"shot {note.number} ({note.id}){take} done in {clock(seconds)}; {count}, {self.pace.words()}")

    def assembling(self) -> None:
        self.update("writing the video")

    def note(self, message: str) -> None:
        self.say(f"note: {message}")


class TrainingProgress(_Bar):
    """Progress of a training from its log rows: a bar, or a line every ten seconds where there is no terminal."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._spoke = 0.0

    def __enter__(self) -> TrainingProgress:
        self.start("getting ready", 1)
        return self

    def row(self, row: Mapping[str, float], steps: int) -> None:
        """A row of the training log, and the number of steps in all."""
        now, step = time.monotonic(), row["step"]
        self._total = steps
        label = f"step {step:.0f}/{steps}, loss {row['loss']:.4f}, {row['stories_per_s']:.3g} stories/s"
        self.update(label, step)
        if not self.console.is_terminal and (now - self._spoke > 10 or step == steps):
            self._spoke = now
            self.say(f"{label}, {self.pace.words()}")

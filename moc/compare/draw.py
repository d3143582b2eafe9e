"""Drawing the arms of a comparison: a run folder for each arm and seed; what is finished stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from moc.compare.arms import Arm
from moc.compare.footage import Footage
from moc.compare.gauge import Gauge
from moc.compare.save import check_out
from moc.errors import InputError
from moc.run import Listener, Request, RunFolder, render
from moc.storyboard import Storyboard
from moc.storyboard.model import MAX_SEED

if TYPE_CHECKING:
    import torch

    from moc.run import Outcome

MOST_SEEDS = 100


@dataclass(frozen=True)
class Job:
    """What is to be drawn.

    Attributes:
        story: as the file says; story_path: as the user named it.
        arms: in the order of tables.
        seeds: one drawing each; the first one is what videos show.
        out: folder of the whole comparison.
        changes: overrides that hold for every arm.
        device: auto, cpu, cuda, cuda:N or mps.
        force: throw away other runs that lie in the way.
    """

    story: Storyboard
    story_path: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    out: Path
    changes: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    force: bool = False

    def changes_of(self, arm: Arm, seed: int) -> dict[str, str]:
        """All overrides of one drawing."""
        return {**self.changes, **arm.changes, "sampling.seed": str(seed)}

    def story_of(self, arm: Arm, seed: int) -> Storyboard:
        """The story as one drawing has it.

        Raises:
            StoryboardError: the arm can't draw it so, which names the arm.
        """
        return self.story.overridden(self.changes_of(arm, seed), option=arm.label)

    def folder(self, arm: Arm, seed: int) -> Path:
        """Where one drawing lies."""
        return self.out / arm.folder / f"seed-{seed}"


ListenerOf = Callable[[Arm, int], Listener]


def seeds_of(first: int, count: int) -> tuple[int, ...]:
    """`count` seeds from `first` on.

    Raises:
        InputError: none, or too many.
    """
    if not 1 <= count <= MOST_SEEDS:
        raise InputError(f"--seeds must be from 1 to {MOST_SEEDS}, got {count}.")
    return tuple((first + i) % (MAX_SEED + 1) for i in range(count))


def check(job: Job) -> None:
    """See that every arm can be drawn, before any of them is.

    Raises:
        InputError: an arm does not fit the story or its model. MocError: a model can't draw it.
    """
    from moc.backbones.base import load_backbone
    from moc.run.device import check_device

    check_device(job.device)
    check_out(job.out)
    for arm in job.arms:
        story = job.story_of(arm, job.seeds[0])
        load_backbone(story.model).plan(story)


def draw(job: Job, listener_of: ListenerOf = lambda arm, seed: Listener()) -> dict[tuple[str, int], Footage]:
    """Draw what is not there yet.

    Returns:
        the finished run of each (label, seed), seeds outermost, so that a comparison that is cut short is fair.

    Raises:
        InputError: an arm can't be drawn so, or other runs lie in the way. MocError: drawing failed.
    """
    found = {}
    for seed in job.seeds:
        for arm in job.arms:
            outcome = _draw_one(job, arm, seed, listener_of(arm, seed))
            found[arm.label, seed] = Footage(outcome.folder, outcome.manifest)
    return found


def _draw_one(job: Job, arm: Arm, seed: int, listener: Listener) -> Outcome:
    import torch

    from moc.profile.timing import synchronize
    from moc.run.device import resolve_device

    path = job.folder(arm, seed)
    manifest = None if job.force else RunFolder(path).read_manifest()
    request = Request(
        story=job.story,
        story_path=job.story_path,
        out=path,
        overrides=job.changes_of(arm, seed),
        device=job.device,
        resume=manifest is not None and manifest["status"] != "finished",
    )
    if job.force and _another(request):
        request = replace(request, force=True)
    device = torch.device(resolve_device(job.device))
    gauge = Gauge(path, listener, lambda: synchronize(device), anew=not request.resume)
    done: list[Outcome] = []
    peak = _peak_memory(device, lambda: done.append(render(request, gauge)))
    if done[0].drawn:
        gauge.peak(peak)
    return done[0]


def _another(request: Request) -> bool:
    """Whether what lies in the folder is not what is asked for, so that --force must clear it."""
    from moc.run import plan_story

    try:
        plan_story(request)
    except InputError:
        return True
    return False


def _peak_memory(device: torch.device, run: Callable[[], object]) -> float | None:
    """Run, and give the mebibytes that this took at most besides what was held before; None where nobody tells."""
    from moc.profile.timing import peak_memory

    ran: list[bool] = []

    def once() -> None:
        ran.append(True)
        run()

    peak = peak_memory(once, device, [])
    if not ran:  # where the system does not tell, nothing was run either
        run()
    return peak

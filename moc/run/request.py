"""What a run is asked for, who hears of its progress, and what it leaves. Torch-free."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.errors import InputError
from moc.run.folder import RunFolder

if TYPE_CHECKING:
    from moc.backbones.base import Plan
    from moc.run.state import ShotNote
    from moc.storyboard import Storyboard


@dataclass(frozen=True)
class Request:
    """What `moc generate` was asked.

    Attributes:
        story: as the file says; story_path: as the user named the file, for messages and commands.
        out: run folder.
        overrides: dotted keys (`attention.top_k`) and their text values; named: the option that gave a key, where it
            was not `--set`, for messages.
        device: auto, cpu, cuda, cuda:N or mps.
        shots: selection such as "3,5-6,9-"; None for all that are missing.
        seed: of the shots chosen by `shots`; without `shots` a seed is an override like any other.
        takes: variants of each chosen shot, the first included.
        use_takes: "3:2" puts take 2 of shot 3 into the video.
        remember: "RUN:N" or "RUN:N=M", shots of other runs in the place of shots of this one; "none" for none any more.
        forget: "1:8" and the like, earlier shots that later ones can't read; "none" likewise.
        repeats: the `manifest.json` that the story was read from; its edits are repeated as well.
        resume: go on with what is there; force: start over in a folder that holds something else.
    """

    story: Storyboard
    story_path: str
    out: Path
    overrides: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    shots: str | None = None
    seed: int | None = None
    takes: int = 1
    use_takes: str | None = None
    remember: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    repeats: Path | None = None
    resume: bool = False
    force: bool = False


class Listener:
    """Hears of a job's progress; every method may be left as it is."""

    def planned(self, plan: Plan, work: Sequence[tuple[int, int]]) -> None:
        """The job is known: (shot, take) of what will be drawn. More may follow where a new shot turns others stale."""

    def step(self, number: int, step: int, steps: int) -> None:
        """A sampling step of a shot is done (shot 0: of all shots at once)."""

    def shot_done(self, note: ShotNote, seconds: float) -> None:
        """A shot is on the disk, with its clip."""

    def assembling(self) -> None:
        """All shots are there; the video and its companions are being written."""

    def note(self, message: str) -> None:
        """Something the user should know."""


@dataclass(frozen=True)
class Outcome:
    """What lies in the folder after a job.

    Attributes:
        folder: where everything is.
        manifest: as written.
        drawn: (shot, take) of what was drawn now, in order; empty when nothing was left to do.
        renew: the command that renews shots which no longer fit the story or the shots before them, if any.
        used: the takes that were put into the video now, by shot.
    """

    folder: RunFolder
    manifest: dict[str, Any]
    drawn: list[tuple[int, int]]
    renew: str | None
    used: Mapping[int, int] = field(default_factory=dict)

    @property
    def rendered(self) -> list[int]:
        """The shots of the video that were drawn now."""
        return [number for number, take in self.drawn if take == 1]


def story_of_run(path: Path, out: Path | None) -> Storyboard:
    """The story of the run whose `manifest.json` is at `path`, to be repeated bit for bit in the folder `out`.

    Raises:
        InputError: no such run, nowhere else to repeat it, or its shots don't come from one story.
    """
    from moc.run.manifest import story_of
    from moc.storyboard.files import missing

    manifest = RunFolder(path.parent).read_manifest()
    if manifest is None:
        raise missing(str(path))
    if out is None or out.resolve() == path.parent.resolve():
        raise InputError(f"{path} is a run; choose another folder for its repetition with --out.")
    return story_of(manifest)


def default_out(story_path: str) -> Path:
    """`runs/<name of the story file>`."""
    return Path("runs") / (Path(story_path).stem or "story")


def merged_story(request: Request) -> tuple[Storyboard, dict[str, str]]:
    """The story with its overrides, and these; a run that is continued keeps those that it was begun with.

    Raises:
        InputError: an override is wrong, or the run folder can't be read.
    """
    overrides = dict(request.overrides)
    if request.resume or request.shots or request.use_takes:
        manifest = RunFolder(request.out).read_manifest()
        overrides = {**manifest["overrides"], **overrides} if manifest else overrides
    return (request.story.overridden(overrides, named=request.named) if overrides else request.story), overrides


def command(request: Request, options: str) -> str:
    """The command line that does something further with this run."""
    out = "" if request.out == default_out(request.story_path) else f" --out {shlex.quote(str(request.out))}"
    return f"moc generate {shlex.quote(request.story_path)}{out} {options}"

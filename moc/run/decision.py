"""What a request means for a run folder: which shots are drawn, or why it can't be served.

A run and its dry run decide here, so that the one refuses what the other does. Nothing is written; torch is imported
only to resolve a device, which a dry run leaves alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from moc.backbones.base import Backbone, Plan, load_backbone
from moc.errors import InputError
from moc.run.device import check_device, resolve_device
from moc.run.drawing import Drawing
from moc.run.edits import Edits, edits_of
from moc.run.edits import differences as edit_differences
from moc.run.folder import RunFolder
from moc.run.manifest import differences, story_dict, video_entry
from moc.run.request import Request, command, merged_story
from moc.run.selection import format_shots, named_shots, parse_shots, parse_takes
from moc.run.state import looks_ahead
from moc.storyboard import Storyboard
from moc.storyboard.model import MAX_SEED

MAX_TAKES = 99


@dataclass(frozen=True)
class Asked:
    """A request that makes sense by itself, with its story and model."""

    request: Request
    folder: RunFolder
    story: Storyboard
    overrides: dict[str, str]
    backbone: Backbone
    plan: Plan
    edits: Edits


def check(request: Request) -> Asked:
    """Everything about a request that can be wrong before its folder is looked into.

    Raises:
        InputError: options that exclude each other, no such device or model, a wrong override, a folder that can't be
            one, or a manifest that can't be read.
        MocError: the model can't draw the story.
    """
    check_device(request.device)
    if not 1 <= request.takes <= MAX_TAKES:
        raise InputError(f"--takes must be from 1 to {MAX_TAKES}, got {request.takes}.")
    if request.seed is not None and not 0 <= request.seed <= MAX_SEED:
        raise InputError(f"--seed must be from 0 to {MAX_SEED}, got {request.seed}.")
    given = (("--shots", request.shots), ("--use-take", request.use_takes), ("--force", request.force))
    together = [name for name, value in given if value]
    together = together if len(together) > 1 or not request.resume else [*together, "--resume"]
    if len(together) > 1 and together != ["--shots", "--resume"]:
        raise InputError(f"{' and '.join(together)} can't be used together.")
    folder = RunFolder(request.out)
    folder.check_place()
    old = None if request.force else folder.read_manifest()  # a damaged one is said before anything is made
    story, overrides = merged_story(request)
    single = [name for name, value in (*given[:2], ("--takes", request.takes > 1)) if value]
    if single and looks_ahead(story):
        raise InputError(
            f"{' and '.join(single)}: with attention.causal false or attention.text_links all every shot depends on "
            "all others, so none can be drawn alone; draw the whole story again with --force or in another --out."
        )
    backbone = load_backbone(story.model)
    plan = backbone.plan(story)
    return Asked(request, folder, story, overrides, backbone, plan, edits_of(request, story, plan, backbone, old))


class Decision:
    """What to do in the folder.

    Args:
        dry: don't resolve the device, and read no weights where there is nothing to compare them with.

    Attributes:
        old: the manifest of the run that is continued; empty for a new one.
        drawing: its story and finished shots.
        job: the choice of shots, as the manifest keeps it.
        todo: shots to draw first; variants: (shot, take) to draw after them.
        use: takes to put into the video first, by shot; those that an interrupted visit left are among them.
        unchanged: everything asked for is there already.
        notes: sentences for the user.

    Raises:
        InputError: the request can't be served: another run lies there, a shot does not exist, no such device.
    """

    def __init__(self, asked: Asked, *, dry: bool = False) -> None:
        self.request = asked.request
        self.folder = asked.folder
        self.story = asked.story
        self.plan = asked.plan
        self.dry = dry
        self.notes: list[str] = []
        self.old: dict[str, Any] = {} if self.request.force else self.folder.read_manifest() or {}
        if not self.old:
            self._check_empty()
        weights = "" if dry and not self.old else asked.backbone.fingerprint()
        kind = self.old.get("device", {}).get("kind", "cpu")
        self.edits = asked.edits
        self.notes += self.edits.notes()
        self.drawing = Drawing(self.folder, self.story, asked.backbone, weights, kind, self.edits, fresh=not self.old)
        self.job: dict[str, Any] = self.old.get("job") or {"shots": [], "takes": 1, "seeds": {}, "use": {}}
        self.todo: list[int] = []
        self.variants: list[tuple[int, int]] = []
        self.use: dict[int, int] = {}
        self.unchanged = False
        self._decide()

    @property
    def forced(self) -> bool:
        """Whether the chosen shots are drawn even where they are good."""
        return bool(self.request.shots) and not self.request.resume and self.job["takes"] == 1

    def _decide(self) -> None:
        request, drawing = self.request, self.drawing
        everything = [shot.number for shot in self.story.shots]
        missing = drawing.missing()
        if request.use_takes:
            self._check_kept([])
            self._use(self._takes_left() | parse_takes(request.use_takes, len(everything)))
            return
        if request.shots:
            numbers = parse_shots(request.shots, len(everything))
            self._check_chosen(numbers)
            seeds = {} if request.seed is None else {str(number): request.seed for number in numbers}
            left = self._takes_left(numbers)
            self.job = {"shots": numbers, "takes": request.takes, "seeds": seeds}
            self._use(left)
        elif self.old:
            self._check_same()
            interrupted = self.job["shots"]
            together = bool(missing) and self.story.sampling.mode == "joint"
            whole = not interrupted and (together or request.takes > 1)
            self.job["shots"] = everything if whole else sorted({*interrupted, *missing})
            self.job["takes"] = max(self.job["takes"], request.takes)
            if not request.resume:
                if not (self.job["shots"] or self.job["use"]) and self._files_exist():
                    self.unchanged = True
                    return
                raise InputError(
                    f"{self.folder.path} holds this run unfinished, {len(everything) - len(missing)} of "
                    f"{len(everything)} shots are done; go on with:\n  {command(request, '--resume')}"
                )
            self._use(self._takes_left())
        else:
            self.job = {"shots": everything, "takes": request.takes, "seeds": {}, "use": {}}
        numbers, takes = self.job["shots"], self.job["takes"]
        drawing.seeds = {int(number): seed for number, seed in self.job["seeds"].items()}
        self.todo, self.variants = drawing.todo(numbers, forced=self.forced), drawing.todo_takes(numbers, takes)
        if takes > 1 and (lent := sorted(set(numbers) & set(self.edits.loans))) and request.shots:
            raise InputError(
                f"--takes: shot {lent[0]} is remembered from another run; draw it first with --shots {lent[0]} "
                "--remember none."
            )
        if self.todo or self.variants or (not self.old and drawing.to_place()):
            self._resolve_device()

    def _check_empty(self) -> None:
        foreign = [] if self.request.force else self.folder.foreign()
        if foreign:
            raise InputError(
                f"{self.folder.path} holds {', '.join(foreign)}, but no run of moc; choose another --out, or write "
                "over it with --force."
            )
        if self.request.use_takes:
            raise InputError(f"--use-take: there is no run in {self.folder.path} yet.")

    def _check_same(self) -> None:
        """The folder's run must be the one asked for."""
        self._check_kept(list(self.drawing.states))
        phrases, numbers = differences(self.old["storyboard"], story_dict(self.story))
        edited, concerned = edit_differences(self.old, self.edits)
        numbers = sorted({*numbers, *concerned}) if numbers or not phrases else []
        phrases += edited
        if self.old["model"]["weights_sha256"] != self.drawing.weights:
            phrases, numbers = [*phrases, "the model's weights"], []
        asked = self.request.device.partition(":")[0]
        if asked not in ("auto", self.drawing.device):
            phrases, numbers = [*phrases, f"the device is {self.drawing.device} there and {asked} here"], []
        if not phrases:
            return
        listed = "; ".join(phrases[:4]) + (f"; and {len(phrases) - 4} more" if len(phrases) > 4 else "")
        choices = ["start over with --force", "choose another --out"]
        if numbers and not looks_ahead(self.story):
            choices.insert(0, f"render what changed with --shots {format_shots(numbers)}")
        if self.request.resume and len(phrases) == 1 and phrases[0].startswith("sampling.seed "):
            choices.insert(0, "leave the seed out to go on with it (with --shots, --seed is that of those shots alone)")
        message = f"{self.folder.path} holds another run ({listed}): {', '.join(choices[:-1])}, or {choices[-1]}."
        if self._can_resume():
            message += " It is unfinished; go on with it, with the options that it was begun with:\n"
            message += f"  {command(self.request, '--resume')}"
        raise InputError(message)

    def _can_resume(self) -> bool:
        """Whether the run that lies there is unfinished and `--resume` without other options would go on with it."""
        if self.old["status"] == "finished" or self.request.resume:
            return False
        try:
            story, _ = merged_story(replace(self.request, overrides={}, resume=True))
        except InputError:  # the options of that run don't fit the story as it is now
            return False
        weights = self.old["model"]["weights_sha256"]
        same = story.model != self.story.model or weights == self.drawing.weights
        return same and differences(self.old["storyboard"], story_dict(story)) == ([], [])

    def _check_chosen(self, numbers: list[int]) -> None:
        """A chosen shot needs the ones before it; those that stay as they are but changed in the story are named."""
        self._check_kept(numbers)
        given = {*numbers, *self.edits.loans}
        needed = [n for n in self.drawing.missing() if n < numbers[-1] and n not in given]
        if needed:
            raise InputError(
                f"--shots: shot {numbers[-1]} needs the shots before it, and {format_shots(needed)} are not rendered "
                "yet; choose them too."
            )
        self._resolve_device()
        changed = [n for n in self.drawing.changed() if n not in given]
        if changed:
            self.notes.append(
                f"{named_shots(changed)}: changed in {self.request.story_path} as well, but kept as drawn before; "
                "add them to --shots to draw them again."
            )

    def _check_kept(self, numbers: list[int]) -> None:
        """Shots that are not among `numbers` stay in the video, so the story must still have them, in this size."""
        kept, total = [n for n in self.drawing.states if n not in numbers], len(self.story.shots)
        found = ""
        if max(self.drawing.states, default=0) > total:
            found = f"{max(self.drawing.states)} shots and the story has {total}"
        elif kept and self.old:
            before, after = self.old["video"], video_entry(self.plan, {})
            for key in ("rendered_width", "rendered_height", "fps"):
                if before[key] != after[key]:
                    found = f"{key.removeprefix('rendered_')} {before[key]} and the story has {after[key]}"
        if found:
            raise InputError(
                f"the run in {self.folder.path} has {found} by now; start over with --force or choose another --out."
            )

    def _takes_left(self, drawn: Collection[int] = ()) -> dict[int, int]:
        """Takes that an interrupted visit was to put into the video and has not, but for shots that are `drawn` now."""
        states = self.drawing.states
        left = {
            int(number): take
            for number, take in self.job["use"].items()
            if int(number) not in {*drawn, *self.edits.loans}
        }
        return {n: take for n, take in left.items() if n not in states or states[n].note.take != take}

    def _use(self, chosen: dict[int, int]) -> None:
        """Take down which takes to put into the video; all of them must be there."""
        states = self.drawing.states
        for number, take in chosen.items():
            known = {*self.folder.takes(number), *([states[number].note.take] if number in states else [])}
            if take not in known or number not in states:
                listed = ", ".join(map(str, sorted(known))) or "none"
                raise InputError(f"--use-take: shot {number} has no take {take}; it has {listed}.")
        self.use = chosen
        self.job["use"] = {str(number): take for number, take in chosen.items()}

    def _resolve_device(self) -> None:
        """The device to draw on: what the user said, else the one that this run was begun on, else the best one."""
        name = self.request.device
        if name == "auto" and self.old:
            name = str(self.old["device"]["kind"])
        if not self.dry:
            self.drawing.device = resolve_device(name)
        elif name != "auto":
            self.drawing.device = name

    def _files_exist(self) -> bool:
        names = [*self.old["files"], *self.old["clips"]]
        return self.old["status"] == "finished" and all((self.folder.path / name).is_file() for name in names)

"""What a request means for a run folder, and seeing it through: draw, keep, put the pieces together.

A job is a choice of shots. Its shots are drawn in order; each is kept on the disk before the next begins, so a killed
job loses the shot in work and nothing else. `resume` draws what is missing; because a shot's bytes depend on nothing
but its recipe and the shots it remembers, the result is that of an undisturbed run.
"""

from __future__ import annotations

import time
from typing import Any

from moc.backbones.base import Backbone, Plan, load_backbone
from moc.errors import InputError
from moc.run import assemble
from moc.run.device import check_device, resolve_device
from moc.run.drawing import Drawing
from moc.run.folder import RunFolder
from moc.run.lock import locked
from moc.run.manifest import (
    FORMAT,
    describe_device,
    differences,
    file_hashes,
    shot_entries,
    story_dict,
    versions,
    video_entry,
)
from moc.run.request import Listener, Outcome, Request, command, merged_story
from moc.run.selection import format_shots, named_shots, parse_shots, parse_takes
from moc.storyboard import Storyboard


def render(request: Request, listener: Listener | None = None) -> Outcome:
    """Do what is asked and say what lies in the folder now.

    Raises:
        InputError: the request can't be served: another run lies there, a shot does not exist, no such device.
        MocError: it failed: the disk is full, the model gave up, another process writes there.
    """
    check_device(request.device)
    if request.takes < 1:
        raise InputError(f"--takes must be at least 1, got {request.takes}.")
    folder = RunFolder(request.out)
    folder.read_manifest()  # a path that is a file, or a damaged manifest, is said before anything is made
    story, overrides = merged_story(request)
    backbone = load_backbone(story.model)
    plan = backbone.plan(story)
    with locked(folder.path):
        folder.clean()
        return _Job(request, listener or Listener(), folder, story, overrides, backbone, plan).run()


class _Job:
    """One visit to a locked run folder."""

    def __init__(
        self,
        request: Request,
        listener: Listener,
        folder: RunFolder,
        story: Storyboard,
        overrides: dict[str, str],
        backbone: Backbone,
        plan: Plan,
    ) -> None:
        self.request = request
        self.listener = listener
        self.folder = folder
        self.story = story
        self.overrides = overrides
        self.backbone = backbone
        self.plan = plan
        self.old = folder.read_manifest() or {}
        if self.old and request.force:
            folder.clear()
            self.old = {}
        elif not self.old:
            self._check_empty()
        self.description: dict[str, Any] = self.old.get("device", {})  # of the device, for the manifest
        self.clips: dict[str, Any] = self.old.get("clips", {})
        self.timings: dict[str, Any] = self.old.get("timings", {})
        self.job: dict[str, Any] = self.old.get("job") or {"shots": [], "takes": 1, "seeds": {}}
        self.drawing = Drawing(folder, story, backbone, backbone.fingerprint(), self.description.get("kind", "cpu"))
        self.drawing.states = folder.states()

    def run(self) -> Outcome:
        """Decide what the request means for this folder, and do it."""
        request, drawing = self.request, self.drawing
        everything = [shot.number for shot in self.story.shots]
        missing = drawing.missing()
        if request.use_takes:
            self._use_takes(parse_takes(request.use_takes, len(everything)))
            return self._finish()
        if request.shots:
            numbers = parse_shots(request.shots, len(everything))
            self._check_chosen(numbers)
            seeds = {} if request.seed is None else {str(number): request.seed for number in numbers}
            self.job = {"shots": numbers, "takes": request.takes, "seeds": seeds}
        elif self.old:
            self._check_same()
            interrupted = self.job["shots"]
            together = bool(missing) and self.story.sampling.mode == "joint"
            whole = not interrupted and (together or request.takes > 1)
            self.job["shots"] = everything if whole else sorted({*interrupted, *missing})
            self.job["takes"] = max(self.job["takes"], request.takes)
            if not request.resume:
                if not self.job["shots"] and self._files_exist():
                    return Outcome(self.folder, self.old, [], self._renew_command())
                raise InputError(
                    f"{self.folder.path} holds this run unfinished, {len(everything) - len(missing)} of "
                    f"{len(everything)} shots are done; go on with: {command(request, '--resume')}"
                )
        else:
            self.job = {"shots": everything, "takes": request.takes, "seeds": {}}
        self._draw()
        return self._finish()

    def _check_empty(self) -> None:
        foreign = self.folder.foreign()
        if foreign and not self.request.force:
            raise InputError(
                f"{self.folder.path} holds {', '.join(foreign)}, but no run of moc; choose another --out, or write "
                "over it with --force."
            )
        if self.request.use_takes:
            raise InputError(f"--use-take: there is no run in {self.folder.path} yet.")

    def _check_same(self) -> None:
        """The folder's run must be the one asked for."""
        phrases, numbers = differences(self.old["storyboard"], story_dict(self.story))
        if self.old["model"]["weights_sha256"] != self.drawing.weights:
            phrases, numbers = [*phrases, "the model's weights"], []
        asked = self.request.device.partition(":")[0]
        if asked not in ("auto", self.drawing.device):
            phrases, numbers = [*phrases, f"the device is {self.drawing.device} there and {asked} here"], []
        if not phrases:
            return
        listed = "; ".join(phrases[:4]) + (f"; and {len(phrases) - 4} more" if len(phrases) > 4 else "")
        choices = ["start over with --force", "choose another --out"]
        if numbers:
            choices.insert(0, f"render what changed with --shots {format_shots(numbers)}")
        raise InputError(
            f"{self.folder.path} holds another run ({listed}): {', '.join(choices[:-1])}, or {choices[-1]}."
        )

    def _check_chosen(self, numbers: list[int]) -> None:
        """A chosen shot needs the ones before it; those that stay as they are but changed in the story are named."""
        self._check_kept(numbers)
        needed = [n for n in self.drawing.missing() if n < numbers[-1] and n not in numbers]
        if needed:
            raise InputError(
                f"--shots: shot {numbers[-1]} needs the shots before it, and {format_shots(needed)} are not rendered "
                "yet; choose them too."
            )
        self.drawing.device = resolve_device(self._device_asked())
        changed = [n for n in self.drawing.changed() if n not in numbers]
        if changed:
            self.listener.note(
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

    def _draw(self) -> None:
        numbers, takes, drawing = self.job["shots"], self.job["takes"], self.drawing
        drawing.seeds = {int(number): seed for number, seed in self.job["seeds"].items()}
        forced = bool(self.request.shots) and not self.request.resume and takes == 1
        todo, variants = drawing.todo(numbers, forced=forced), drawing.todo_takes(numbers, takes)
        if not todo and not variants:
            return
        drawing.device = resolve_device(self._device_asked())
        self.description = describe_device(drawing.device)
        self._write("rendering")
        self.listener.planned(self.plan, [*((number, 1) for number in todo), *variants])
        while todo:
            self._keep_up(todo, 1)
            todo = drawing.todo(numbers, forced=forced)
        for number, take in drawing.todo_takes(numbers, takes):
            self._keep_up([number], take)

    def _keep_up(self, numbers: list[int], take: int) -> None:
        """Draw shots, and bring clips and manifest up to date after each."""
        for note, seconds in self.drawing.draw(numbers, take, self.listener.step):
            name = f"{note.number}" if take == 1 else f"{note.number}:{take}"
            self.timings.setdefault("shots", {})[name] = round(seconds, 3)
            state = self.drawing.states[note.number] if take == 1 else self.folder.takes(note.number)[take]
            self.clips |= assemble.write_clip(self.folder, state, None if take == 1 else take, fps=self.plan.fps)
            self._write("rendering")
            self.listener.shot_done(note, seconds)

    def _use_takes(self, chosen: dict[int, int]) -> None:
        """Put other takes into the video; the ones that were there are kept beside them."""
        self._check_kept([])
        states = self.drawing.states
        for number, take in chosen.items():
            known = {*self.folder.takes(number), *([states[number].note.take] if number in states else [])}
            if take not in known:
                listed = ", ".join(map(str, sorted(known))) or "none"
                raise InputError(f"--use-take: shot {number} has no take {take}; it has {listed}.")
        self._write("rendering")  # from here on, --resume puts the files in order
        for number, take in chosen.items():
            current, takes = states[number].note.take, self.folder.takes(number)
            if take == current:
                continue
            if current not in takes:
                self.folder.copy_state(states[number], number, current)
            states[number] = self.folder.copy_state(takes[take], number)

    def _finish(self) -> Outcome:
        states, fps = self.drawing.states, self.plan.fps
        self.listener.assembling()
        self.clips = assemble.write_clips(self.folder, states, self.clips, fps=fps)
        assemble.write_video(self.folder, states)
        assemble.write_contact_sheet(self.folder, states, title=self.story.title, fps=fps)
        assemble.write_routing(self.folder, states)
        manifest = self._write("finished")
        return Outcome(self.folder, manifest, self.drawing.drawn, self._renew_command())

    def _write(self, status: str) -> dict[str, Any]:
        """Write and return the manifest."""
        notes, stale, changed = self.drawing.notes, self.drawing.stale(), self.drawing.changed()
        finished = status == "finished"
        manifest = {
            "format": FORMAT,
            "status": status,
            "title": self.story.title,
            "seed": self.story.sampling.seed,
            "mode": self.story.sampling.mode,
            "model": {"name": self.backbone.name, "weights_sha256": self.drawing.weights},
            "device": self.description,
            "versions": versions(),
            "video": video_entry(self.plan, notes),
            "notes": list(self.plan.notes),
            "stale": stale,
            "changed": changed,
            "missing": self.drawing.missing(),
            "shots": shot_entries(self.folder, notes, self.plan, stale, changed),
            "files": file_hashes(self.folder) if finished else {},
            "clips": self.clips,
            "overrides": self.overrides,
            "job": None if finished else self.job,
            "storyboard": story_dict(self.story),
            "timings": self.timings | {"written": time.strftime("%Y-%m-%dT%H:%M:%S%z")},
        }
        self.folder.write_manifest(manifest)
        return manifest

    def _device_asked(self) -> str:
        """What the user said, else the device that this run was begun on, else the best one."""
        if self.request.device != "auto" or not self.old:
            return self.request.device
        return str(self.old["device"]["kind"])

    def _files_exist(self) -> bool:
        names = [*self.old["files"], *self.old["clips"]]
        return self.old["status"] == "finished" and all((self.folder.path / name).is_file() for name in names)

    def _renew_command(self) -> str | None:
        numbers = sorted({*self.drawing.stale(), *self.drawing.changed()})
        return command(self.request, f"--shots {format_shots(numbers)}") if numbers else None

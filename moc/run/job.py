"""Rendering a story into a run folder: what has to be drawn, drawing it, and putting the pieces together.

A job is a choice of shots. Its shots are drawn in order; each is kept on the disk before the next begins, so a killed
job loses the shot in work and nothing else. `resume` draws what is missing; because a shot's bytes depend on nothing
but its recipe and the shots it remembers, the result is that of an undisturbed run. Torch is imported by the model.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moc.backbones.base import Backbone, Plan, load_backbone
from moc.errors import InputError, MocError
from moc.run import assemble
from moc.run.device import check_device, resolve_device
from moc.run.folder import RunFolder, stale_shots
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
from moc.run.state import Memory, ShotNote, ShotState, digest_of, recipe, save_state, shot_seed, state_path
from moc.storyboard import Shot, Storyboard

if TYPE_CHECKING:
    from moc.backbones.base import ShotResult


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
        self.weights = backbone.fingerprint()
        self.states: dict[int, ShotState] = {}
        self.old = folder.read_manifest() or {}
        self.device = self.old.get("device", {}).get("kind", "cpu")
        self.description: dict[str, Any] = self.old.get("device", {})
        self.clips: dict[str, Any] = self.old.get("clips", {})
        self.timings: dict[str, Any] = self.old.get("timings", {})
        self.job: dict[str, Any] = {}
        self.rendered: list[int] = []

    def run(self) -> Outcome:
        """Decide what the request means for this folder, and do it."""
        request, total = self.request, len(self.story.shots)
        if not self.old:
            self._check_empty()
        elif request.force:
            self.folder.clear()
            self.old, self.device, self.clips, self.timings = {}, "cpu", {}, {}
        elif not (request.shots or request.use_takes):
            self._check_same()
        self.states = self.folder.states()
        if request.use_takes:
            return self._use_takes(parse_takes(request.use_takes, total))
        missing = [shot.number for shot in self.story.shots if shot.number not in self.states]
        if request.shots:
            numbers = parse_shots(request.shots, total)
            self._check_chosen(numbers)
            self.job = {"shots": numbers, "takes": request.takes, "seed": request.seed}
        elif self.old:
            job = self.old["job"] or {"shots": [], "takes": 1, "seed": None}
            self.job = job | {"shots": sorted({*job["shots"], *missing}), "takes": max(job["takes"], request.takes)}
            joint = missing and self.story.sampling.mode == "joint"
            if not job["shots"] and (request.takes > 1 or joint):
                self.job["shots"] = list(range(1, total + 1))
            if not request.resume and not self.job["shots"] and self._files_exist():
                return Outcome(self.folder, self.old, [], self._renew_command())
            if not request.resume:
                raise InputError(
                    f"{self.folder.path} holds this run unfinished, {total - len(missing)} of {total} shots are done; "
                    f"go on with: {command(request, '--resume')}"
                )
        else:
            self.job = {"shots": missing, "takes": request.takes, "seed": None}
        self._render()
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
        if self.old["model"]["weights_sha256"] != self.weights:
            phrases, numbers = [*phrases, "the model's weights"], []
        asked = self.request.device.partition(":")[0]
        if asked not in ("auto", self.device):
            phrases, numbers = [*phrases, f"the device is {self.device} there and {asked} here"], []
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
        """A chosen shot needs the ones before it, and the shots that stay must still be the story's."""
        total = len(self.story.shots)
        gone = [n for n in self.states if n > total]
        if gone:
            raise InputError(
                f"--shots: the run in {self.folder.path} has shots up to {max(gone)}, the story now {total}; start "
                "over with --force or choose another --out."
            )
        needed = [n for n in range(1, numbers[-1]) if n not in self.states and n not in numbers]
        if needed:
            raise InputError(
                f"--shots: shot {numbers[-1]} needs the shots before it, and {format_shots(needed)} are not rendered "
                "yet; choose them too."
            )
        kept = {n: state.note for n, state in self.states.items() if n not in numbers}
        if kept and self.old:
            before, after = self.old["video"], video_entry(self.plan, {})
            for key in ("rendered_width", "rendered_height", "fps"):
                if before[key] != after[key]:
                    raise InputError(
                        f"--shots: the kept shots have {key.replace('rendered_', '')} {before[key]}, the story now "
                        f"{after[key]}; start over with --force or choose another --out."
                    )
        self.device = resolve_device(self._device_asked())
        changed = [n for n in self._changed() if n not in numbers]
        if changed:
            self.listener.note(
                f"{named_shots(changed)}: changed in {self.request.story_path} as well, but kept as drawn before; "
                "add them to --shots to draw them again."
            )

    # drawing

    def _render(self) -> None:
        numbers, takes = self.job["shots"], self.job["takes"]
        forced = bool(self.request.shots) and not self.request.resume and takes == 1
        todo = self._todo(numbers, forced)
        if not todo and takes == 1:
            return
        self.device = resolve_device(self._device_asked())
        self.description = describe_device(self.device)
        self._write("rendering")
        self.listener.planned(self.plan, numbers if takes > 1 else todo, takes)
        while todo:
            self._draw(todo, 1)
            todo = self._todo(numbers, forced)
        for take in range(2, takes + 1):
            for number in numbers:
                kept = self.folder.takes(number).get(take)
                if kept is None or not self._good(number, kept.note, take, []):
                    self._draw([number], take)

    def _todo(self, numbers: list[int], forced: bool) -> list[int]:
        """The next shots to draw in one go.

        A good shot after one that is drawn ends the list: whether it stays good is known when that one is there.
        """
        todo: list[int] = []
        for number in numbers:
            if number in self.rendered:
                continue
            state = self.states.get(number)
            if forced or state is None or not self._good(number, state.note, 1, todo):
                todo.append(number)
            elif todo:
                break
        if todo and self.story.sampling.mode == "joint":
            return [] if self.rendered else numbers
        return todo

    def _good(self, number: int, note: ShotNote, take: int, changing: list[int]) -> bool:
        """Whether a finished shot is what drawing it now would give; `changing` are drawn before it."""
        shot = self._asked_shot(number)
        if note.recipe != recipe(self.story, shot, weights=self.weights, device=self.device, take=take):
            return False
        for earlier in range(1, number):
            state = self.states.get(earlier)
            if state is None:
                continue  # its recipe gives it back as it was
            if earlier in changing or state.note.digest != note.remembers.get(earlier):
                return False
        return True

    def _asked_shot(self, number: int) -> Shot:
        """The shot of the story, with the seed that the job asks for."""
        shot = self.story.shots[number - 1]
        return shot if self.job["seed"] is None else replace(shot, seed=self.job["seed"])

    def _draw(self, numbers: list[int], take: int) -> None:
        """Render and keep shots; those that are kept from before enter the story as they were drawn."""
        shots = []
        for shot in self.story.shots:
            if shot.number in numbers:
                asked = self._asked_shot(shot.number)
                shots.append(replace(asked, seed=shot_seed(self.story, asked, take)))
            elif shot.number in self.states:
                note = self.states[shot.number].note
                shots.append(Shot(**{**note.shot, "number": note.number, "seed": note.seed}))
            else:
                shots.append(shot)
        story = replace(self.story, shots=tuple(shots))
        joint = story.sampling.mode == "joint"
        memory = {n: s for n, s in self.states.items() if n not in numbers and (joint or n < numbers[-1])}
        expected = iter(numbers)
        for result in self.backbone.generate(
            story,
            seed=story.sampling.seed,
            device=self.device,
            mode=story.sampling.mode,
            shots=numbers,
            memory=Memory(memory),
            on_step=self.listener.step,
        ):
            if result.number != next(expected, None):
                raise MocError(f"model '{self.backbone.name}' gave shot {result.number} when {numbers} were asked for.")
            self._keep(result, take)
        if (left := next(expected, None)) is not None:
            raise MocError(f"model '{self.backbone.name}' stopped before shot {left}.")

    def _keep(self, result: ShotResult, take: int) -> None:
        """Put a finished shot on the disk, then its clip, then the manifest that tells of both."""
        number = result.number
        shot, asked = self.story.shots[number - 1], self._asked_shot(number)
        made_with = {"weights": self.weights, "device": self.device}
        note = ShotNote(
            number=number,
            id=shot.id,
            take=take,
            seed=shot_seed(self.story, asked, take),
            asked=recipe(self.story, shot, **made_with),
            recipe=recipe(self.story, asked, **made_with, take=take),
            digest=digest_of(result.latents),
            remembers={n: state.note.digest for n, state in self.states.items() if n < number},
            sparsity=float(result.sparsity),
            frames=len(result.frames),
            shot=story_dict(self.story)["shots"][number - 1],
        )
        path = state_path(self.folder.path, number, take if take > 1 else None)
        save_state(path, result, note)
        self.timings.setdefault("shots", {})[f"{number}" if take == 1 else f"{number}:{take}"] = result.seconds
        if take == 1:
            self.states[number] = ShotState(path)
            self.states = dict(sorted(self.states.items()))
            self.rendered.append(number)
            state_path(self.folder.path, number, 1).unlink(missing_ok=True)  # an older first take
        self.clips = assemble.write_clips(self.folder, self.states, self.clips, fps=self.plan.fps)
        self._write("rendering")
        self.listener.shot_done(note, result.seconds)

    def _use_takes(self, chosen: dict[int, int]) -> Outcome:
        """Put other takes into the video; the ones that were there are kept beside them."""
        for number, take in chosen.items():
            state, takes = self.states.get(number), self.folder.takes(number)
            current = state.note.take if state else None
            if take != current and take not in takes:
                known = ", ".join(str(t) for t in sorted({*takes, *([current] if current else [])})) or "none"
                raise InputError(f"--use-take: shot {number} has no take {take}; it has {known}.")
        self.job = self.old["job"] or {"shots": [], "takes": 1, "seed": None}
        self._write("rendering")  # from here on, --resume puts the files in order
        for number, take in chosen.items():
            state, takes = self.states[number], self.folder.takes(number)
            if take == state.note.take:
                continue
            if state.note.take not in takes:
                self.folder.copy_state(state, number, state.note.take)
            self.states[number] = self.folder.copy_state(takes[take], number)
        return self._finish()

    # what it comes to

    def _finish(self) -> Outcome:
        self.listener.assembling()
        self.clips = assemble.write_clips(self.folder, self.states, self.clips, fps=self.plan.fps)
        assemble.write_video(self.folder, self.states)
        assemble.write_contact_sheet(self.folder, self.states, title=self.story.title, fps=self.plan.fps)
        assemble.write_routing(self.folder, self.states)
        manifest = self._write("finished")
        return Outcome(self.folder, manifest, self.rendered, self._renew_command())

    def _write(self, status: str) -> dict[str, Any]:
        """Write and return the manifest."""
        notes = {number: state.note for number, state in self.states.items()}
        stale, changed = stale_shots(notes), self._changed()
        finished = status == "finished"
        manifest = {
            "format": FORMAT,
            "status": status,
            "title": self.story.title,
            "seed": self.story.sampling.seed,
            "mode": self.story.sampling.mode,
            "model": {"name": self.backbone.name, "weights_sha256": self.weights},
            "device": self.description,
            "versions": versions(),
            "video": video_entry(self.plan, notes),
            "notes": list(self.plan.notes),
            "stale": stale,
            "changed": changed,
            "missing": [shot.number for shot in self.story.shots if shot.number not in notes],
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

    def _changed(self) -> list[int]:
        """Finished shots that the story now asks for differently."""
        return [
            number
            for number, state in self.states.items()
            if state.note.asked
            != recipe(self.story, self.story.shots[number - 1], weights=self.weights, device=self.device)
        ]

    def _device_asked(self) -> str:
        """What the user said, else the device that this run was begun on, else the best one."""
        if self.request.device != "auto" or not self.old:
            return self.request.device
        return str(self.old["device"]["kind"])

    def _files_exist(self) -> bool:
        names = [*self.old["files"], *self.old["clips"]]
        return self.old["status"] == "finished" and all((self.folder.path / name).is_file() for name in names)

    def _renew_command(self) -> str | None:
        notes = {number: state.note for number, state in self.states.items()}
        numbers = sorted({*stale_shots(notes), *self._changed()})
        return command(self.request, f"--shots {format_shots(numbers)}") if numbers else None

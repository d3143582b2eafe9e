"""What a request means for a run folder, and seeing it through: draw, keep, put the pieces together.

A job is a choice of shots. Its shots are drawn in order; each is kept on the disk before the next begins, so a killed
job loses the shot in work and nothing else. `resume` draws what is missing; because a shot's bytes depend on nothing
but its recipe and the shots it remembers, the result is that of an undisturbed run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from moc.run import assemble
from moc.run.decision import Decision, check
from moc.run.lock import locked
from moc.run.manifest import (
    FORMAT,
    describe_device,
    drawn_otherwise,
    drawn_with,
    file_hashes,
    shot_entries,
    story_dict,
    versions,
    video_entry,
)
from moc.run.request import Listener, Outcome, Request, command
from moc.run.selection import format_shots

if TYPE_CHECKING:
    from moc.run.decision import Asked


def render(request: Request, listener: Listener | None = None) -> Outcome:
    """Do what is asked and say what lies in the folder now.

    Raises:
        InputError: the request can't be served: another run lies there, a shot does not exist, no such device.
        MocError: it failed: the disk is full, the model gave up, another process writes there.
    """
    asked = check(request)
    with locked(asked.folder.path):
        asked.folder.clean()
        return _Job(asked, Decision(asked), listener or Listener()).run()


class _Job:
    """One visit to a locked run folder."""

    def __init__(self, asked: Asked, decision: Decision, listener: Listener) -> None:
        self.request = asked.request
        self.listener = listener
        self.folder = asked.folder
        self.story = asked.story
        self.overrides = asked.overrides
        self.backbone = asked.backbone
        self.plan = asked.plan
        self.decision = decision
        self.drawing = decision.drawing
        self.job = decision.job
        old = decision.old
        self.description: dict[str, Any] = old.get("device", {})  # of the device, for the manifest
        self.clips: dict[str, Any] = old.get("clips", {})
        self.timings: dict[str, Any] = old.get("timings", {})
        self.to_clear = self.request.force  # the run that lies there goes when the first shot of the new one is done

    def run(self) -> Outcome:
        """Do what was decided."""
        for note in self.decision.notes:
            self.listener.note(note)
        if self.decision.unchanged:
            return Outcome(self.folder, self.decision.old, [], self._renew_command())
        if self.decision.use:
            self._use_takes(self.decision.use)
        if not self.request.use_takes:
            self._draw()
        return self._finish()

    def _draw(self) -> None:
        numbers, takes, drawing = self.job["shots"], self.job["takes"], self.drawing
        todo, variants = self.decision.todo, self.decision.variants
        work = [*((number, 1) for number in todo), *variants]
        if not work and not drawing.to_place():
            return
        if work or not self.description:
            self.description = describe_device(drawing.device)
        if work:
            self._note_versions()
        if not self.to_clear:
            self._write("rendering")
        if work:
            self.listener.planned(self.plan, work)
        self._place()
        while todo:
            self._keep_up(todo, 1)
            todo = drawing.todo(numbers, forced=self.decision.forced)
        for number, take in drawing.todo_takes(numbers, takes):
            self._keep_up([number], take)

    def _note_versions(self) -> None:
        """Keep with each new shot what it is drawn with, and say so where the shots that stay were drawn otherwise."""
        self.drawing.drawn_with = drawn_with(self.description)
        again = set(self.decision.todo)
        kept = {} if self.to_clear else {n: note for n, note in self.drawing.notes.items() if n not in again}
        if said := drawn_otherwise(kept, self.drawing.drawn_with):
            self.listener.note(said)

    def _place(self) -> None:
        """Put shots of other runs into their places, with their clips."""
        for note in self.drawing.place(self.plan, self._make_room):
            self.clips |= assemble.write_clip(self.folder, self.drawing.states[note.number], None, fps=self.plan.fps)

    def _make_room(self) -> None:
        """Under --force, remove the old run as late as can be: a new one that can't even begin costs nothing."""
        if self.to_clear:
            self.folder.clear()
            self.to_clear = False
            self._write("rendering")

    def _keep_up(self, numbers: list[int], take: int) -> None:
        """Draw shots, and bring clips and manifest up to date after each."""
        for note, seconds in self.drawing.draw(numbers, take, self.listener.step, self._make_room):
            name = f"{note.number}" if take == 1 else f"{note.number}:{take}"
            self.timings.setdefault("shots", {})[name] = round(seconds, 3)
            state = self.drawing.states[note.number] if take == 1 else self.folder.takes(note.number)[take]
            self.clips |= assemble.write_clip(self.folder, state, None if take == 1 else take, fps=self.plan.fps)
            self._write("rendering")
            self.listener.shot_done(note, seconds)

    def _use_takes(self, chosen: dict[int, int]) -> None:
        """Put other takes into the video; the ones that were there are kept beside them."""
        states = self.drawing.states
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
        return Outcome(self.folder, manifest, self.drawing.drawn, self._renew_command(), self.decision.use)

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
            **self.drawing.edits.manifest(),
            "storyboard": story_dict(self.story),
            "timings": self.timings | {"written": time.strftime("%Y-%m-%dT%H:%M:%S%z")},
        }
        self.folder.write_manifest(manifest)
        return manifest

    def _renew_command(self) -> str | None:
        numbers = sorted({*self.drawing.stale(), *self.drawing.changed()})
        return command(self.request, f"--shots {format_shots(numbers)}") if numbers else None

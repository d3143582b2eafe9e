"""Drawing shots from the finished ones of a run folder, and telling which of these are still good.

A finished shot is good when drawing it now would give the same bytes: its recipe is what the job asks for, and the
shots before it are those that it remembers. A shot of another run is good when it is the one asked for. Torch is
imported by the model, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moc.backbones.base import ShotResult
from moc.errors import InputError, MocError
from moc.run.edits import Edits, Loan, mark, reads
from moc.run.state import (
    Memory,
    ShotNote,
    ShotState,
    digest_of,
    lent_recipe,
    recipe,
    save_state,
    shared_recipe,
    shot_seed,
    state_path,
)
from moc.storyboard import Shot, Storyboard

if TYPE_CHECKING:
    from moc.backbones.base import Backbone, OnStep, Plan
    from moc.run.folder import RunFolder


class Drawing:
    """The shots of one story in one run folder.

    Args:
        weights: sha256 of the model's weights.
        device: where to draw; may be changed before drawing.
        edits: what later shots remember in another way than it was drawn.
        fresh: begin with nothing, whatever lies in the folder until the first shot is kept.

    Attributes:
        states: the finished shots that are in the video, by number.
        seeds: by number, in place of the shots' own.
        drawn: (number, take) of what was drawn so far.
        drawn_with: versions and device, kept with what is drawn (see `moc.run.manifest.drawn_with`).
    """

    def __init__(
        self, folder: RunFolder, story: Storyboard, backbone: Backbone, weights: str, device: str, edits: Edits,
        *, fresh: bool
    ) -> None:  # fmt: skip
        self.folder = folder
        self.story = story
        self.backbone = backbone
        self.weights = weights
        self.device = device
        self.edits = edits
        self._shared = shared_recipe(story)
        self.seeds: dict[int, int] = {}
        self.states: dict[int, ShotState] = {} if fresh else folder.states()
        self._fresh = fresh
        self.drawn: list[tuple[int, int]] = []
        self.drawn_with: dict[str, str] = {}

    @property
    def notes(self) -> dict[int, ShotNote]:
        """What the finished shots are and were made from, by number."""
        return {number: state.note for number, state in sorted(self.states.items())}

    def missing(self) -> list[int]:
        """Shots of the story that are not there yet."""
        return [shot.number for shot in self.story.shots if shot.number not in self.states]

    def stale(self) -> list[int]:
        """Finished shots that remember an earlier shot as it no longer is."""
        return [n for n, note in self.notes.items() if not self._remembers(note)]

    def changed(self) -> list[int]:
        """Finished shots that the story now asks for differently."""
        shots = self.story.shots
        return [n for n, note in self.notes.items() if n <= len(shots) and note.asked != self._recipe(shots[n - 1])]

    def todo(self, numbers: Sequence[int], *, forced: bool) -> list[int]:
        """The next of `numbers` to draw in one go; empty when all are good, or drawn already if `forced`.

        A good shot after one that is drawn ends the list: whether it stays good is known when that one is there.
        The shots of a joint run are drawn together or not at all.
        """
        finished = {number for number, take in self.drawn if take == 1}
        placing = self.to_place()
        todo: list[int] = []
        for number in numbers:
            if number in finished or number in self.edits.loans:
                continue
            state = self.states.get(number)
            if forced or state is None or not self.good(state.note, changing=[*placing, *todo]):
                todo.append(number)
            elif todo:
                break
        if todo and self.story.sampling.mode == "joint":
            return [] if finished else list(numbers)
        return todo

    def todo_takes(self, numbers: Sequence[int], takes: int) -> list[tuple[int, int]]:
        """(number, take) of the variants from take 2 on that are not there as they would be drawn now."""
        numbers = [number for number in numbers if number not in self.edits.loans]
        kept = {number: {} if self._fresh else self.folder.takes(number) for number in numbers}
        return [
            (number, take)
            for take in range(2, takes + 1)
            for number in numbers
            if take not in kept[number] or not self.good(kept[number][take].note)
        ]

    def good(self, note: ShotNote, changing: Sequence[int] = ()) -> bool:
        """Whether drawing this shot now would give what is there; `changing` are drawn before it."""
        if note.recipe != self._recipe(self._asked(note.number), note.take):
            return False
        return self._remembers(note, changing)

    def _remembers(self, note: ShotNote, changing: Sequence[int] = ()) -> bool:
        """Whether the shots that it depends on are those that it was drawn from."""
        for earlier in sorted(reads(note.number, self._forgets({note.number: note.forgets}))):
            state = self.states.get(earlier)
            if state is None:
                continue  # its recipe gives it back as it was
            if earlier in changing or self._mark(earlier) != note.remembers.get(earlier):
                return False
        return True

    def _mark(self, number: int) -> str:
        note = self.states[number].note
        return mark(note.digest, note.forgets)

    def _forgets(self, now: Mapping[int, Sequence[int]]) -> dict[int, Sequence[int]]:
        """What each shot can't read: finished ones as they were kept, others as is asked; `now` goes before both."""
        asked: dict[int, Sequence[int]] = dict(self.edits.forget)
        return asked | {number: state.note.forgets for number, state in self.states.items()} | dict(now)

    def to_place(self) -> list[int]:
        """Shots in whose place another run's is to be put and is not there yet."""
        loans = self.edits.loans
        return [n for n in sorted(loans) if n not in self.states or not self._is_placed(loans[n])]

    def _is_placed(self, loan: Loan) -> bool:
        note = self.states[loan.shot].note
        return note.recipe == self._recipe(self.story.shots[loan.shot - 1])

    def place(self, plan: Plan, before_keeping: Callable[[], None]) -> list[ShotNote]:
        """Put the shots of other runs into their places.

        Raises:
            InputError: one that was taken over before is gone.
            MocError: the disk is full.
        """
        numbers = self.to_place()
        # all are read before anything is written: they may lie in the folder that is about to be cleared
        results = [self._lent(self.edits.loans[number], plan) for number in numbers]
        if results:
            before_keeping()
        return [
            self._keep(result, 1, lent=dict(self.edits.loans[n].entry), origin=origin)
            for n, (result, origin) in zip(numbers, results, strict=True)
        ]

    def _lent(self, loan: Loan, plan: Plan) -> tuple[ShotResult, ShotNote]:
        """A shot of another run as if it were drawn here, where it chose nothing, and its note there."""
        state = loan.state or self.states.get(loan.shot)
        if state is None or state.note.digest != loan.digest:
            raise InputError(
                f"shot {loan.shot} was remembered from another run ('{loan.entry['title']}') and is gone; give it "
                "again with --remember."
            )
        routing, shots = state.routing, plan.shots[: loan.shot]
        nothing = np.zeros((*routing.shape[:3], shots[-1].parts, sum(shot.parts for shot in shots)), np.uint32)
        result = ShotResult(
            number=loan.shot, frames=state.frames, latents=state.latents, routing=nothing, seconds=0.0,
            sparsity=state.note.sparsity,
        )  # fmt: skip
        return result, state.note

    def draw(
        self, numbers: Sequence[int], take: int, on_step: OnStep, before_keeping: Callable[[], None]
    ) -> Iterator[tuple[ShotNote, float]]:
        """Render shots and yield what each is, with its seconds, when it is on the disk.

        Shots that are kept enter the story as they were drawn, so that what is remembered fits its words.

        Raises:
            MocError: the disk is full, or the model failed or broke its promises.
        """
        shots = []
        forget = {n: cut for n, cut in self._forgets({n: self._cut(n) for n in numbers}).items() if cut}
        for shot in self.story.shots:
            if shot.number in numbers:
                asked = self._asked(shot.number)
                shots.append(replace(asked, seed=shot_seed(self.story, asked, take)))
            elif shot.number in self.states:
                note = self.states[shot.number].note
                shots.append(Shot(**{**note.shot, "seed": note.seed}))
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
            on_step=on_step,
            **({"forget": {n: tuple(cut) for n, cut in forget.items()}} if forget else {}),
        ):
            if result.number != next(expected, None):
                raise MocError(f"model '{self.backbone.name}' gave shot {result.number} when {numbers} were asked for.")
            before_keeping()
            yield self._keep(result, take), float(result.seconds)
        if (left := next(expected, None)) is not None:
            raise MocError(f"model '{self.backbone.name}' stopped before shot {left}.")

    def _keep(
        self, result: ShotResult, take: int, *, lent: dict[str, Any] | None = None, origin: ShotNote | None = None
    ) -> ShotNote:
        """Put a finished shot on the disk; for one of another run, with what is told of it and its note there."""
        number, self._fresh = result.number, False
        shot, asked = self.story.shots[number - 1], self._asked(number)
        depends = reads(number, self._forgets({number: self._cut(number)}))
        note = ShotNote(
            number=number,
            id=shot.id,
            take=take,
            seed=shot_seed(self.story, asked, take) if origin is None else origin.seed,
            asked=self._recipe(shot),
            recipe=self._recipe(asked, take),
            digest=digest_of(result.latents),
            remembers={n: self._mark(n) for n in sorted(depends) if n in self.states},
            sparsity=float(result.sparsity),
            frames=len(result.frames),
            shot=asdict(shot) | {"seed": shot_seed(self.story, shot)},
            forgets=self._cut(number),
            lent=lent,
            drawn_with=dict(self.drawn_with if origin is None else origin.drawn_with),
        )
        path = state_path(self.folder.path, number, take if take > 1 else None)
        save_state(path, result, note)
        if take == 1:
            self.states[number] = ShotState(path, number, None)
            state_path(self.folder.path, number, 1).unlink(missing_ok=True)  # an older first take
        if lent is None:
            self.drawn.append((number, take))
        return note

    def _asked(self, number: int) -> Shot:
        """The shot of the story, with the seed that was asked for."""
        shot = self.story.shots[number - 1]
        return replace(shot, seed=self.seeds[number]) if number in self.seeds else shot

    def _cut(self, number: int) -> list[int]:
        """The earlier shots that a shot of the story is not to read."""
        return list(self.edits.forget.get(number, ()))

    def _recipe(self, shot: Shot, take: int = 1) -> str:
        cut = self._cut(shot.number)
        if shot.number in self.edits.loans:
            return lent_recipe(shot, self.edits.loans[shot.number].digest, cut)
        seed = shot_seed(self.story, shot, take)
        return recipe(self._shared, shot, seed=seed, weights=self.weights, device=self.device, forgets=cut)

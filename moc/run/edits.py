"""Edits of what later shots remember: another run's shot in the place of one (`--remember`), routes cut (`--forget`).

Both are kept in the manifest, so a run that goes on keeps them. What is told there of another run's shot is what it is
(title, number, digest), never where it lay: the shot itself is copied into `latents/`. Torch-free.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.errors import InputError
from moc.run.files import sha256_json
from moc.run.folder import RunFolder
from moc.run.selection import format_shots, named_shots, parse_shots
from moc.run.state import ShotState

if TYPE_CHECKING:
    from moc.backbones.base import Backbone, Plan
    from moc.run.request import Request
    from moc.storyboard import Storyboard

NONE = "none"
_LOAN = re.compile(r"(.+):([0-9]{1,6})(?:=([0-9]{1,6}))?", re.DOTALL)


@dataclass(frozen=True)
class Loan:
    """A shot of another run that stands in the place of one of this story's.

    Attributes:
        shot: number here.
        entry: what the manifest tells of it: `title`, `shot`, `id`, `weights_sha256`, `latents_sha256`.
        state: where it is, in the other run; None for one that was taken over before.
    """

    shot: int
    entry: Mapping[str, Any]
    state: ShotState | None = None

    @property
    def digest(self) -> str:
        """sha256 of its latents."""
        return str(self.entry["latents_sha256"])


@dataclass(frozen=True)
class Edits:
    """What is edited in a run.

    Attributes:
        loans: by number of the shot in whose place they stand.
        forget: by shot, the earlier shots that it can't read.
    """

    loans: Mapping[int, Loan] = field(default_factory=dict)
    forget: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        """The manifest's `remember` and `forget`."""
        return {
            "remember": {str(number): dict(loan.entry) for number, loan in sorted(self.loans.items())},
            "forget": {str(number): list(earlier) for number, earlier in sorted(self.forget.items())},
        }

    def notes(self) -> list[str]:
        """Sentences for the user."""
        told = [
            f"shot {number} is shot {loan.entry['shot']} ({loan.entry['id']}) of the run '{loan.entry['title']}'."
            for number, loan in sorted(self.loans.items())
        ]
        for number, earlier in sorted(self.forget.items()):
            said = f"shot {number} can't read {named_shots(earlier)}"
            relays = [
                n
                for n in range(min(earlier) + 1, number)
                if n not in earlier and {e for e in earlier if e < n} - set(self.forget.get(n, ()))
            ]
            told.append(f"{said}; {named_shots(relays)} can, and may pass it on." if relays else f"{said}.")
        return told


def edits_of(
    request: Request, story: Storyboard, plan: Plan, backbone: Backbone, old: Mapping[str, Any] | None
) -> Edits:
    """The edits that a request asks for, together with those of the run that it continues or repeats.

    Beside `--shots`, both options speak of the chosen shots, and the others keep theirs.

    Args:
        old: the manifest of the run in the folder; None for a new one.

    Raises:
        InputError: an option that makes no sense, a shot that can't stand there, or a model or mode that can't do it.
    """
    total = len(story.shots)
    kept = Edits()
    if old is not None and (request.resume or request.shots or request.use_takes):
        kept = _kept(old)
    elif request.repeats is not None:
        kept = _repeated(request.repeats, plan, backbone)
    chosen = set(parse_shots(request.shots, total)) if request.shots else None
    loans = {n: loan for n, loan in kept.loans.items() if n <= total}
    forget = {n: earlier for n, earlier in kept.forget.items() if n <= total}
    if request.remember:
        given = {} if NONE in request.remember else _loans(request.remember, story, plan, backbone)
        _check_alone("--remember", request.remember, given)
        loans = {n: loan for n, loan in loans.items() if chosen is not None and n not in chosen} | given
    if request.forget:
        pairs = {} if NONE in request.forget else parse_forget(request.forget, total)
        _check_alone("--forget", request.forget, pairs)
        beside = sorted(set(pairs) - chosen) if chosen is not None else []
        if beside:
            raise InputError(
                f"--forget: shot {beside[0]} is to forget, but --shots {request.shots} does not draw it; choose it too."
            )
        forget = {n: m for n, m in forget.items() if chosen is not None and n not in chosen} | pairs
    edits = Edits(loans, forget)
    if loans or forget:
        _check_possible(edits, story, backbone)
    if request.use_takes:
        _check_takes(request, edits)
    return edits


def parse_forget(texts: Sequence[str], total: int) -> dict[int, tuple[int, ...]]:
    """`1:8` or `1-3:8-,2:5` as {later shot: earlier shots that it can't read}.

    Raises:
        InputError: not of that form, no such shot, or a shot that is to forget itself or a later one.
    """
    cut: dict[int, set[int]] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        earlier, colon, later = part.partition(":")
        if not colon or ":" in later:
            raise InputError(f"--forget '{part}' is not EARLIER:LATER such as 1:8 or 1-3:8-.")
        before, after = (parse_shots(side, total, "--forget") for side in (earlier, later))
        for number in after:
            for forgotten in before:
                if forgotten >= number:
                    raise InputError(
                        f"--forget '{part}': shot {number} can't forget shot {forgotten}; shots read earlier ones."
                    )
                cut.setdefault(number, set()).add(forgotten)
    return {number: tuple(sorted(earlier)) for number, earlier in sorted(cut.items())}


def reads(number: int, forget: Mapping[int, Collection[int]]) -> set[int]:
    """The earlier shots on which shot `number` depends: those it can read, and those that these depend on."""
    found = {m for m in range(1, number) if m not in forget.get(number, ())}
    for shot in range(number - 1, 1, -1):
        if shot in found:
            found |= {m for m in range(1, shot) if m not in forget.get(shot, ())}
    return found


def mark(digest: str, forgets: Sequence[int]) -> str:
    """What later shots depend on of a shot: its latents, and what it could not read when its keys were kept."""
    return sha256_json([digest, sorted(forgets)]) if forgets else digest


def differences(old: Mapping[str, Any], edits: Edits) -> tuple[list[str], list[int]]:
    """How the edits of a run differ from `edits`: phrases, and the numbers of the shots concerned."""
    before, phrases, numbers = _kept(old), [], []
    for number in sorted({*before.loans, *edits.loans}):
        there, here = (e.loans[number].digest if number in e.loans else None for e in (before, edits))
        if there != here:
            said = [f"{'another' if digest else 'no other'} run's shot" for digest in (there, here)]
            told = f"{said[0]} there and {said[1]} here" if said[0] != said[1] else "another one there"
            phrases.append(f"in place of shot {number} is {told}")
            numbers.append(number)
    for number in sorted({*before.forget, *edits.forget}):
        if before.forget.get(number, ()) != edits.forget.get(number, ()):
            cut = [format_shots(e.forget.get(number, ())) or "nothing" for e in (before, edits)]
            phrases.append(f"shot {number} forgets {cut[0]} there and {cut[1]} here")
            numbers.append(number)
    return phrases, sorted(set(numbers))


def _kept(manifest: Mapping[str, Any]) -> Edits:
    return Edits(
        {int(n): Loan(int(n), entry) for n, entry in manifest["remember"].items()},
        {int(n): tuple(earlier) for n, earlier in manifest["forget"].items()},
    )


def _repeated(path: Path, plan: Plan, backbone: Backbone) -> Edits:
    """The edits of the run whose `manifest.json` is at `path`, its lent shots taken from there."""
    kept = _kept(RunFolder(path.parent).read_manifest() or {"remember": {}, "forget": {}})
    lent = {n: _loan(f"{path.parent}:{n}", path.parent, n, n, plan, backbone) for n in kept.loans}
    return Edits(lent, kept.forget)


def _check_alone(option: str, texts: Sequence[str], given: Mapping[int, Any]) -> None:
    if NONE in texts and (given or len(texts) > 1):
        raise InputError(f"{option} {NONE} can't go with another {option}.")


def _loans(texts: Sequence[str], story: Storyboard, plan: Plan, backbone: Backbone) -> dict[int, Loan]:
    loans: dict[int, Loan] = {}
    for text in texts:
        match = _LOAN.fullmatch(text)
        if not match:
            raise InputError(f"--remember '{text}' is not RUN:SHOT such as runs/other:1, or RUN:SHOT=PLACE.")
        number, place = int(match[2]), int(match[3] or match[2])
        if not 1 <= place <= len(story.shots):
            raise InputError(f"--remember '{text}': the story has shots 1 to {len(story.shots)}, not {place}.")
        if place in loans:
            raise InputError(f"--remember: shot {place} is given twice.")
        loans[place] = _loan(text, Path(match[1]), number, place, plan, backbone)
    return loans


def _loan(text: str, path: Path, number: int, place: int, plan: Plan, backbone: Backbone) -> Loan:
    """Shot `number` of the run at `path`, checked to fit in the place of shot `place`."""
    folder = RunFolder(path.parent if path.name == "manifest.json" else path)
    manifest = folder.read_manifest()
    if manifest is None:
        raise InputError(f"--remember '{text}': there is no run in {folder.path}.")
    states = folder.states()
    if number not in states:
        there = f"it has {format_shots(states)}" if states else "none is finished"
        raise InputError(f"--remember '{text}': the run in {folder.path} has no shot {number}; {there}.")
    video, note, here = manifest["video"], states[number].note, plan.shots[place - 1]
    sizes: tuple[tuple[str, Any, Any], ...] = (
        ("is {} pixels wide", video["rendered_width"], plan.width),
        ("is {} pixels high", video["rendered_height"], plan.height),
        ("has {} frames a second", video["fps"], plan.fps),
        ("has {} frames", note.frames, here.frames),
        ("is of the model {}", manifest["model"].get("name", backbone.name), backbone.name),
    )
    for said, there, wanted in sizes:
        if there != wanted:
            raise InputError(
                f"--remember '{text}': that shot {said.format(_plain(there))}, and shot {place} of the story "
                f"{said.format(_plain(wanted))}; it must fit into its place."
            )
    entry = note.lent or {  # one that was lent there is what it was where it was drawn
        "title": manifest["title"], "shot": number, "id": note.id,
        "weights_sha256": manifest["model"]["weights_sha256"], "latents_sha256": note.digest,
    }  # fmt: skip
    return Loan(place, entry, states[number])


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_possible(edits: Edits, story: Storyboard, backbone: Backbone) -> None:
    options = " and ".join(["--remember"] * bool(edits.loans) + ["--forget"] * bool(edits.forget))
    if story.sampling.mode != "stream":
        raise InputError(
            f"{options}: under mode '{story.sampling.mode}' all shots are drawn at once, so none is finished before "
            "another; use --mode stream."
        )
    if edits.forget and "forget" not in inspect.signature(backbone.generate).parameters:
        raise InputError(f"--forget: the model '{backbone.name}' can't leave out earlier shots.")


def _check_takes(request: Request, edits: Edits) -> None:
    named = {int(found[1]) for found in re.finditer(r"([0-9]{1,6}):", request.use_takes or "")}
    lent = sorted(named & set(edits.loans))
    if lent:
        raise InputError(
            f"--use-take: shot {lent[0]} is remembered from another run; draw it first with "
            f"--shots {lent[0]} --remember {NONE}."
        )

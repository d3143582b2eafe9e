"""What is kept of a finished shot: one file, written whole, from which everything else is made again.

`latents/NN.npz` (`latents/NN.takeK.npz` for variants) holds the latents that later shots remember, the frames, the
routing counts and a note: what the shot was made from. A shot is finished when this file exists, so there is one
moment at which it becomes so, and clips, video, sheet and routing file can be lost without harm.

Two fingerprints decide what is still good. The *recipe* hashes everything asked for that a shot's bytes depend on, its
seed included. *Remembers* holds the digests of the earlier shots' latents at the time: where they differ from what
lies in the folder now, the shot is stale. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moc.errors import InputError
from moc.run.arrays import add_array, array_file
from moc.run.files import atomic, sha256_json
from moc.run.shape import Table, fault, matching, optional, whole
from moc.sampling import REVISION
from moc.storyboard.kinds import IDENTIFIER, IDENTIFIER_LIMIT
from moc.storyboard.model import MAX_SEED, MAX_SHOTS

if TYPE_CHECKING:
    from moc.backbones.base import ShotResult
    from moc.storyboard import Shot, Storyboard


@dataclass(frozen=True)
class ShotNote:
    """What a finished shot is and was made from.

    Attributes:
        number, id, take: which shot and which variant of it (1 is the first).
        seed: the seed its noise was drawn from.
        asked: the recipe that the story file asked for; differs from `recipe` where a seed or take was chosen by hand.
        recipe: what it was drawn from (see `recipe`).
        digest: sha256 of its latents.
        remembers: digests of the latents of the earlier shots, by number.
        sparsity: 1 - density of its attention.
        frames: number of video frames.
        shot: the fields of the shot as the storyboard had them, its seed written out.
        forgets: the earlier shots that it could not read.
        lent: what is told of the other run's shot that stands here (see `moc.run.edits`); None for a shot of this run.
        drawn_with: versions and device that it was drawn with (see `moc.run.manifest.drawn_with`); empty if unknown.
    """

    number: int
    id: str
    take: int
    seed: int
    asked: str
    recipe: str
    digest: str
    remembers: dict[int, str]
    sparsity: float
    frames: int
    shot: dict[str, Any]
    forgets: list[int] = field(default_factory=list)
    lent: dict[str, Any] | None = None
    drawn_with: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The note as canonical JSON text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ShotNote:
        """The note that `to_json` wrote. Raises ValueError for anything else, RecursionError for what is too deep."""
        data = json.loads(text)
        if isinstance(data, dict):  # notes of before there were these
            data = {"forgets": [], "lent": None, "drawn_with": {}, **data}
        if (place := fault(data, _NOTE)) is not None or len(data) != len(_NOTE) or len(data["shot"]) != len(_SHOT):
            raise ValueError(f"a note of a shot with a wrong '{place or 'key'}'")
        data["remembers"] = {int(number): digest for number, digest in data["remembers"].items()}
        return cls(**data)


_DIGEST = matching("[0-9a-f]{64}")
_NAME = matching(rf"(?=.{{1,{IDENTIFIER_LIMIT}}}\Z){IDENTIFIER.pattern}")
_SHOT = {
    "number": whole(1, MAX_SHOTS),
    "id": _NAME,
    "prompt": str,
    "duration": float,
    "scene": optional(_NAME),
    "camera": optional(str),
    "cut": bool,
    "seed": optional(whole(0, MAX_SEED)),
}
LENT = {"title": str, "shot": whole(1, MAX_SHOTS), "id": _NAME, "weights_sha256": _DIGEST, "latents_sha256": _DIGEST}
"""Shape of what is told of a shot of another run."""

_NOTE = {
    "number": whole(1, MAX_SHOTS),
    "id": _NAME,
    "take": whole(1, 999_999),
    "seed": whole(0, MAX_SEED),
    "asked": _DIGEST,
    "recipe": _DIGEST,
    "digest": _DIGEST,
    "remembers": Table("[1-9][0-9]{0,3}", _DIGEST),
    "sparsity": float,
    "frames": whole(1, 10**7),
    "shot": _SHOT,
    "forgets": [whole(1, MAX_SHOTS)],
    "lent": optional(LENT),
    "drawn_with": Table("[a-z_]{1,40}", str),
}


def shot_seed(story: Storyboard, shot: Shot, take: int = 1) -> int:
    """The seed that a take of a shot is drawn from: the shot's own or the story's, and the next ones for variants."""
    base = story.sampling.seed if shot.seed is None else shot.seed
    return (base + take - 1) % 2**63


def looks_ahead(story: Storyboard) -> bool:
    """Whether later shots reach earlier ones, so that every shot depends on all of the story."""
    config = story.attention.config()
    return story.sampling.mode == "joint" and not (config.causal and config.text_links == "own")


def shared_recipe(story: Storyboard) -> str:
    """sha256 of what all shots of a story share, but for its seed and the model, which counts by its weights.

    Where attention looks ahead, that is all shots with their seeds. Shots that are denoised together share at least
    their lengths: sums over a stream of another length may round differently.
    """
    data = replace(story, shots=(), model="").to_dict()
    del data["sampling"]["seed"]
    if looks_ahead(story):
        data["shots"] = [asdict(shot) | {"seed": shot_seed(story, shot)} for shot in story.shots]
    elif story.sampling.mode == "joint":
        data["shots"] = [shot.duration for shot in story.shots]
    return sha256_json(data)


def recipe(shared: str, shot: Shot, *, seed: int, weights: str, device: str, forgets: Sequence[int] = ()) -> str:
    """sha256 of everything that decides a shot's bytes, but for the earlier shots' latents.

    Args:
        shared: `shared_recipe` of its story.
        shot: what is asked for; seed: what its noise is drawn from, in place of the shot's own.
        weights: sha256 of the model's weights.
        device: other kinds of device round differently; the number of a GPU does not count.
        forgets: earlier shots that it can't read.
    """
    own = asdict(shot) | {"seed": seed}
    kind = device.partition(":")[0]
    everything = {"shared": shared, "shot": own, "weights": weights, "device": kind, "sampling": REVISION}
    return sha256_json(everything | ({"forgets": sorted(forgets)} if forgets else {}))


def lent_recipe(shot: Shot, digest: str, forgets: Sequence[int]) -> str:
    """The same for a shot of another run: its latents, the words it is remembered with, and what it can't read."""
    return sha256_json({"lent": digest, "shot": asdict(shot) | {"seed": None}, "forgets": sorted(forgets)})


def digest_of(latents: np.ndarray) -> str:
    """sha256 of an array's dtype, shape and values."""
    hasher = hashlib.sha256(f"{latents.dtype.str} {list(latents.shape)} ".encode())
    hasher.update(np.ascontiguousarray(latents).tobytes())
    return hasher.hexdigest()


def state_path(folder: Path, number: int, take: int | None = None) -> Path:
    """File of the shot that is in the video, or of one take of it."""
    return folder / "latents" / (f"{number:02d}.npz" if take is None else f"{number:02d}.take{take}.npz")


def save_state(path: Path, result: ShotResult, note: ShotNote) -> None:
    """Write a finished shot; equal shots give equal bytes."""
    text = np.frombuffer(note.to_json().encode(), np.uint8)
    with atomic(path) as temporary, array_file(temporary) as archive:
        add_array(archive, "note", text)
        add_array(archive, "latents", result.latents, packed=False)
        add_array(archive, "routing", result.routing)
        add_array(archive, "frames", result.frames, packed=False)
        if result.choices is not None:
            add_array(archive, "choices", result.choices)


class ShotState:
    """A finished shot on the disk; arrays are read when asked for and not kept."""

    def __init__(self, path: Path, number: int, take: int | None) -> None:
        """`number` and `take` as the file's name says; no take for the one that is in the video."""
        self.path = path
        self.number = number
        self.take = take

    @cached_property
    def note(self) -> ShotNote:
        """What the shot is and was made from.

        Raises:
            InputError: the file is damaged, or belongs to another shot or take.
        """
        try:
            note = ShotNote.from_json(self._read("note", np.uint8, 1).tobytes().decode())
        except (ValueError, RecursionError) as error:
            raise self._broken() from error
        if note.number != self.number or note.shot["number"] != self.number or self.take not in (None, note.take):
            raise self._broken()
        return note

    @property
    def frames(self) -> np.ndarray:
        """uint8 `[F, H, W, 3]`."""
        frames = self._read("frames", np.uint8, 4)
        if frames.shape[3] != 3 or not frames.size or len(frames) != self.note.frames:
            raise self._broken()
        return frames

    @property
    def latents(self) -> np.ndarray:
        """float16, as the backbone gave them."""
        latents = self._read("latents", np.float16)
        if digest_of(latents) != self.note.digest:
            raise self._broken()
        return latents

    @property
    def routing(self) -> np.ndarray:
        """uint32 `[steps, layers, heads, parts of this shot, parts so far]`, see `ShotResult`."""
        return self._read("routing", np.uint32, 5)

    @property
    def choices(self) -> np.ndarray | None:
        """uint32 `[latent frames, rows, columns, n, 2]`, see `ShotResult`; None where the model keeps none."""
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                if "choices" not in archive.files:
                    return None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise self._broken() from error
        return self._read("choices", np.uint32, 5)

    def _read(self, name: str, dtype: type, dimensions: int | None = None) -> np.ndarray:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                array: np.ndarray = archive[name]
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and numpy raise nearly anything for a damaged archive
            raise self._broken() from error
        if array.dtype != dtype or dimensions not in (None, array.ndim):
            raise self._broken()
        return array

    def _broken(self) -> InputError:
        return InputError(
            f"{self.path} is damaged; remove it and go on with --resume, or render the shot with --shots."
        )


class Memory(Mapping[int, np.ndarray]):
    """Latents of finished shots by number, read from the disk one at a time."""

    def __init__(self, states: Mapping[int, ShotState]) -> None:
        self._states = states

    def __getitem__(self, number: int) -> np.ndarray:
        return self._states[number].latents

    def __iter__(self) -> Iterator[int]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

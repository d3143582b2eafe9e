"""RouteMap: the routes of one run in memory, and how they are read from a run folder or a `routing.npz`.

Counts of a long story are large (steps x layers x heads x chunks x chunks), so they stay on the disk, shot by shot;
what is kept is the cube of shots, from which nearly every view comes. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from moc.errors import InputError
from moc.patterns import PATTERNS

_NAME = re.compile(r"\{([^{}]+)\}")
_ENOUGH = 16  # shots that tell what a run counts by


@dataclass(frozen=True)
class ShotInfo:
    """One shot as the map shows it: `names` are the characters and the scene that its caption names."""

    number: int
    id: str
    names: tuple[str, ...] = ()
    seconds: float | None = None
    sparsity: float | None = None

    @property
    def title(self) -> str:
        """`9 (river)`."""
        return f"{self.number} ({self.id})" if self.id else f"{self.number}"


@dataclass(frozen=True)
class Selection:
    """Which steps, layers and heads are summed: one of each, counted from 1, or all for None."""

    step: int | None = None
    layer: int | None = None
    head: int | None = None

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of `[steps, layers, heads]`."""
        one, two, three = (slice(None) if n is None else slice(n - 1, n) for n in (self.step, self.layer, self.head))
        return one, two, three


ALL = Selection()
"""Everything summed."""


@dataclass(frozen=True)
class RouteMap:
    """Routed links of a story of S shots and C video chunks, counted.

    Where a model cuts chunks finer than latent frames, its runs count by frame (`ShotPlan.parts`), and so "chunk"
    stands for one here: see `unit`.

    Attributes:
        shots: in story order.
        chunk_shot: int64 `[C]`, place (from 0) of each chunk's shot in `shots`.
        read: gives the counts of the i-th shot, `[steps, layers, heads, chunks of the shot, up to C]`.
        dims: steps, layers, heads.
        choices: gives `[latent frames, rows, columns, n, 2]` of the i-th shot (see `ShotResult`), or None.
        title: of the story.
        folder: the run it comes from, for its pictures.
        notes: what the reader of the map should know.
        picture: width and height of a frame in pixels as rendered.
        frames: video frames of each shot.
        unit: what the counts tell apart, for sentences: "chunk" or "latent frame".
    """

    shots: tuple[ShotInfo, ...]
    chunk_shot: np.ndarray
    read: Callable[[int], np.ndarray] = field(repr=False)
    dims: tuple[int, int, int]
    choices: Callable[[int], np.ndarray | None] = field(repr=False, default=lambda _: None)
    title: str = ""
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    picture: tuple[int, int] | None = None
    frames: tuple[int, ...] = ()
    unit: str = "chunk"

    @staticmethod
    def from_counts(
        blocks: Sequence[np.ndarray], shots: Sequence[ShotInfo] | None = None, *, title: str = ""
    ) -> RouteMap:
        """A map of counts in memory.

        Args:
            blocks: one a shot, `[steps, layers, heads, chunks of the shot, chunks so far or all]`.
            shots: what they are; numbered from 1 when None.

        Raises:
            ValueError: a block has another number of steps, layers or heads, is wider than the story, or is negative.
        """
        arrays = [np.asarray(block) for block in blocks]
        if not arrays or any(block.ndim != 5 for block in arrays):
            raise ValueError("counts must be one array [steps, layers, heads, chunks, chunks] a shot")
        infos = tuple(shots or (ShotInfo(n, "") for n in range(1, len(arrays) + 1)))
        chunks = [block.shape[3] for block in arrays]
        dims = (int(arrays[0].shape[0]), int(arrays[0].shape[1]), int(arrays[0].shape[2]))
        for block, info in zip(arrays, infos, strict=True):
            if block.shape[:3] != dims or block.shape[4] > sum(chunks):
                raise ValueError(f"shot {info.number} has counts of shape {list(block.shape)}, the first {list(dims)}")
            if block.size and block.min() < 0:
                raise ValueError(f"shot {info.number} has a negative count, {block.min()}")
        return RouteMap(infos, np.repeat(np.arange(len(arrays)), chunks), arrays.__getitem__, dims, title=title)

    @property
    def num_chunks(self) -> int:
        """Video chunks of the story, C."""
        return len(self.chunk_shot)

    @cached_property
    def bounds(self) -> np.ndarray:
        """[S + 1] first chunk of each shot, and C."""
        return np.searchsorted(self.chunk_shot, np.arange(len(self.shots) + 1))

    @cached_property
    def cube(self) -> np.ndarray:
        """[steps, layers, heads, S, S] int64: routed links from shot (row) to shot (column)."""
        total = len(self.shots)
        cube = np.zeros((*self.dims, total, total), np.int64)
        for i in range(total):
            columns = self.read(i).sum(axis=3, dtype=np.int64)
            starts = self.bounds[:-1][self.bounds[:-1] < columns.shape[-1]]
            if columns.shape[-1]:
                cube[..., i, : len(starts)] = np.add.reduceat(columns, starts, axis=-1)
        return cube

    @cached_property
    def causal(self) -> bool:
        """Whether no route leads to a later shot."""
        return not np.triu(self.cube.sum(axis=(0, 1, 2)), 1).any()

    def check(self, selection: Selection) -> None:
        """Raises InputError where a step, layer or head is asked for that the run does not have."""
        asked = (selection.step, selection.layer, selection.head)
        for name, value, most in zip(("step", "layer", "head"), asked, self.dims, strict=True):
            if value is not None and not 1 <= value <= most:
                raise InputError(f"--{name} {value}: this run has {name}s 1 to {most}.")

    def shot_counts(self, selection: Selection = ALL) -> np.ndarray:
        """[S, S] int64 routed links from shot to shot."""
        counts: np.ndarray = self.cube[selection.slices].sum(axis=(0, 1, 2))
        return counts

    def routes_per_token(self, place: int) -> float:
        """Routed links of each video token of the shot at `place` whose choices are kept, all alike; 0 for none."""
        choices = self.choices(place)
        return 0.0 if choices is None else float(self.cube[..., place, :].sum()) / max(choices[..., 0, 0].size, 1)

    def chunk_counts(self, selection: Selection = ALL) -> np.ndarray:
        """[C, C] int64 routed links from chunk to chunk."""
        counts = np.zeros((self.num_chunks, self.num_chunks), np.int64)
        for i in range(len(self.shots)):
            block = self.read(i)[selection.slices].sum(axis=(0, 1, 2), dtype=np.int64)
            counts[self.bounds[i] : self.bounds[i + 1], : block.shape[1]] = block
        return counts


def shares(counts: np.ndarray) -> np.ndarray:
    """float64, each row of counts divided by its sum; rows without any count stay zero."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


def load(path: Path) -> RouteMap:
    """The routes of a run folder, its `manifest.json` or its `routing.npz`.

    Raises:
        InputError: nothing there, or not what `moc generate` writes.
    """
    folder = path if path.is_dir() else path.parent
    file = path if path.suffix == ".npz" else folder / "routing.npz"
    if not file.is_file():
        inside = sorted(str(found.parent) for found in folder.glob("*/routing.npz")) if path.is_dir() else []
        more = f", such as {', '.join(inside[:3])}" if inside else ""
        raise InputError(f"{path} holds no routing.npz; give the folder of a finished run{more}, or a story.")
    try:
        archive = np.load(file, allow_pickle=False)
        names = set(archive.files)
        numbers = [int(n) for n in archive["shot_numbers"]]
        ids = [str(name) for name in archive["shot_ids"]]
        of_chunk = archive["chunk_shot"]
        if "axes" not in names or sorted(numbers) != numbers or len(numbers) != len(ids) or not numbers:
            raise ValueError("no table of shots")
        chunk_shot = np.searchsorted(np.array(numbers), of_chunk)
        keys = [f"steps_{number:02d}" for number in numbers]
        first = archive[keys[0]]
        if first.ndim != 5 or any(key not in names for key in keys):
            raise ValueError("no counts")
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{file} is damaged or was not written by this moc ({error}).") from error

    def array(key: str) -> np.ndarray:
        try:
            found: np.ndarray = archive[key]
        except Exception as error:  # zipfile and zlib raise nearly anything for a damaged archive
            raise InputError(f"{file} is damaged: '{key}' can't be read.") from error
        return found

    def choices(i: int) -> np.ndarray | None:
        key = f"choices_{numbers[i]:02d}"
        return array(key) if key in names else None

    manifest = _manifest(folder)
    infos = _shots(numbers, ids, manifest)
    dims = (int(first.shape[0]), int(first.shape[1]), int(first.shape[2]))
    listed = {shot["number"]: shot for shot in manifest["shots"]} if manifest else {}
    video = manifest["video"] if manifest else None
    return RouteMap(
        infos,
        chunk_shot,
        lambda i: array(keys[i]),
        dims,
        choices=choices,
        title=manifest["title"] if manifest else folder.name,
        folder=folder if manifest else None,
        notes=tuple(_notes(manifest)),
        picture=(video["rendered_width"], video["rendered_height"]) if video else None,
        frames=tuple(int(listed[n]["frames"]) for n in numbers) if all(n in listed for n in numbers) else (),
        unit=_unit(choices, np.bincount(chunk_shot, minlength=len(numbers)).tolist()),
    )


def _unit(choices: Callable[[int], np.ndarray | None], parts: Sequence[int]) -> str:
    """What counts tell apart, which the choices of tokens give away: they know the latent frames of a shot.

    A shot of another run (`--remember`) chose nothing; of one or two frames a shot may have as many chunks.
    """
    told = [(count, len(chosen)) for i, count in enumerate(parts[:_ENOUGH]) if (chosen := choices(i)) is not None]
    return "latent frame" if told and all(count == frames for count, frames in told) else "chunk"


def _manifest(folder: Path) -> Mapping[str, Any] | None:
    from moc.run import RunFolder

    return RunFolder(folder).read_manifest()


def _shots(numbers: Sequence[int], ids: Sequence[str], manifest: Mapping[str, Any] | None) -> tuple[ShotInfo, ...]:
    if manifest is None:
        return tuple(ShotInfo(number, shot_id) for number, shot_id in zip(numbers, ids, strict=True))
    listed = {shot["number"]: shot for shot in manifest["shots"]}
    known = manifest["storyboard"]["characters"]
    infos = []
    for number, shot_id in zip(numbers, ids, strict=True):
        shot = listed.get(number)
        if shot is None:
            infos.append(ShotInfo(number, shot_id))
            continue
        drawn = shot["drawn_from"]
        names = [name for name in _NAME.findall(drawn["prompt"]) if name in known]
        scene = [drawn["scene"]] if drawn["scene"] else []
        infos.append(ShotInfo(number, shot_id, tuple(dict.fromkeys(names + scene)), shot["seconds"], shot["sparsity"]))
    return tuple(infos)


def _notes(manifest: Mapping[str, Any] | None) -> list[str]:
    if manifest is None:
        return ["there is no manifest.json beside it: no names, no pictures, no check for what was forgotten."]
    notes = []
    pattern = (manifest["storyboard"].get("attention") or {}).get("pattern") or "moc"
    if pattern in PATTERNS and pattern != "moc":
        fixed = "" if PATTERNS[pattern].kind == "chosen" else ": the layout decides its routes, no token chooses them"
        notes.append(f"drawn with the attention pattern {pattern}{fixed}.")
    if manifest["status"] != "finished":
        notes.append("the run is not finished; shots that are missing have no routes.")
    if manifest["stale"]:
        notes.append("some shots are stale: their routes lead to shots that look different now.")
    return notes

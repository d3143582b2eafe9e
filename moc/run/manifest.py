"""The manifest's content: what a run was made from and what it holds, and how two stories differ. Torch-free."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import moc
from moc.errors import InputError
from moc.run.files import sha256_file, sha256_json
from moc.run.selection import named_shots
from moc.run.shape import Table, fault, matching, optional, whole
from moc.run.state import LENT
from moc.storyboard.kinds import IDENTIFIER
from moc.storyboard.model import MAX_SEED, MAX_SHOTS
from moc.video import watchable_scale

if TYPE_CHECKING:
    from moc.backbones.base import Plan
    from moc.run.folder import RunFolder
    from moc.run.state import ShotNote
    from moc.storyboard import Storyboard

FORMAT = 1
CLIP = rf"[0-9]{{2,4}}_{IDENTIFIER.pattern}(\.take[0-9]{{1,6}})?\.mp4"
"""Pattern of the names of clips."""

_NUMBER = whole(1, MAX_SHOTS)
_DIGEST = matching("[0-9a-f]{64}")
MANIFEST = {
    "status": matching("rendering|finished"),
    "title": str,
    "model": {"weights_sha256": _DIGEST},
    "device": {"kind": matching("cpu|cuda|mps")},
    "video": {"rendered_width": int, "rendered_height": int, "fps": float, "seconds": float},
    "stale": [_NUMBER],
    "changed": [_NUMBER],
    "missing": [_NUMBER],
    "shots": [
        {
            "number": _NUMBER,
            "id": matching(IDENTIFIER.pattern),
            "take": whole(1, 999_999),
            "seed": whole(0, MAX_SEED),
            "frames": int,
            "seconds": float,
            "sparsity": float,
            "stale": bool,
            "changed": bool,
            "clip": matching(f"shots/{CLIP}"),
            "takes": [{"take": whole(1, 999_999)}],
            "drawn_from": {"number": _NUMBER},
        }
    ],
    "files": Table(r"video\.mp4|contact_sheet\.png|routing\.npz", _DIGEST),
    "clips": Table(f"shots/{CLIP}", {"of": _DIGEST, "sha256": _DIGEST}),
    "overrides": Table(".*", str),
    "job": optional(
        {
            "shots": [_NUMBER],
            "takes": whole(1, 999_999),
            "seeds": Table("[1-9][0-9]{0,3}", whole(0, MAX_SEED)),
            "use": Table("[1-9][0-9]{0,3}", whole(1, 999_999)),
        }
    ),
    "remember": Table("[1-9][0-9]{0,3}", LENT),
    "forget": Table("[1-9][0-9]{0,3}", [_NUMBER]),
    "storyboard": {"shots": [dict]},
    "timings": lambda value: fault(value, dict) is None and fault(value.get("shots", {}), Table(".*", float)) is None,
}
"""Shape of what a run's next visit reads of its manifest (see `moc.run.shape`)."""


def shot_entries(
    folder: RunFolder, notes: Mapping[int, ShotNote], plan: Plan, stale: list[int], changed: list[int]
) -> list[dict[str, Any]]:
    """The manifest's `shots`: for each finished shot what it is, what it was drawn from and whether it still fits."""
    plans = {shot.number: shot for shot in plan.shots}
    entries = []
    for number, note in sorted(notes.items()):
        entry = {
            "number": number,
            "id": note.id,
            "take": note.take,
            "seed": note.seed,
            "frames": note.frames,
            "seconds": note.frames / plan.fps,
            "requested_seconds": note.shot["duration"],
            "sparsity": note.sparsity,
            "tokens": plans[number].tokens,
            "chunks": plans[number].chunks,
            "stale": number in stale,
            "changed": number in changed,
            "clip": folder.clip(number, note.id).relative_to(folder.path).as_posix(),
            "takes": [
                {
                    "take": take,
                    "seed": state.note.seed,
                    "clip": f"shots/{folder.clip(number, state.note.id, take).name}",
                }
                for take, state in folder.takes(number).items()
            ],
            "drawn_from": note.shot,
            "lent": note.lent,
            "forgets": note.forgets,
            "drawn_with": note.drawn_with,
            "recipe": note.recipe,
            "latents_sha256": note.digest,
            "memory_sha256": sha256_json({str(earlier): digest for earlier, digest in note.remembers.items()}),
        }
        entries.append(entry)
    return entries


def video_entry(plan: Plan, notes: Mapping[int, ShotNote]) -> dict[str, Any]:
    """The manifest's `video`: the picture as rendered and as written."""
    frames = sum(note.frames for note in notes.values())
    scale = watchable_scale(plan.width, plan.height)
    return {
        "width": plan.width * scale,
        "height": plan.height * scale,
        "rendered_width": plan.width,
        "rendered_height": plan.height,
        "fps": plan.fps,
        "frames": frames,
        "seconds": frames / plan.fps,
    }


def file_hashes(folder: RunFolder) -> dict[str, str]:
    """sha256 of the files that every finished run has, by name."""
    return {path.name: sha256_file(path) for path in (folder.video, folder.contact_sheet, folder.routing)}


@functools.cache
def versions() -> dict[str, str]:
    """Versions of everything that decides the bytes of a run, read without importing it."""
    found = {"moc": moc.__version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in ("torch", "numpy", "pillow", "imageio-ffmpeg"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def describe_device(device: str) -> dict[str, str | int]:
    """What the bytes of a run may depend on besides versions: kind and name, and on the CPU cores and threads."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        import torch

        return {"kind": kind, "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda or ""}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    return {"kind": kind, "name": _cpu_name(), "cores": cores, "threads": threads}


def drawn_with(description: Mapping[str, Any]) -> dict[str, str]:
    """What is kept with each shot of the versions and the device (`describe_device`) that its bytes depend on."""
    found = {package: versions()[package] for package in ("moc", "torch", "numpy")}
    return (
        found
        | {"device": str(description["name"])}
        | ({"cuda": str(cuda)} if (cuda := description.get("cuda")) else {})
    )


def drawn_otherwise(notes: Mapping[int, ShotNote], now: Mapping[str, str]) -> str | None:
    """A sentence where finished shots were drawn with other versions or on another device than `now`, else None.

    Shots of other runs count for none, and so do those of before it was kept.
    """
    numbers: list[int] = []
    told: dict[str, None] = {}
    for number, note in notes.items():
        before = {} if note.lent else note.drawn_with
        differ = [key for key in {**now, **before} if before and before.get(key) != now.get(key)]
        told.update({f"{key} {before.get(key, 'none')}, now {now.get(key, 'none')}": None for key in differ})
        numbers += [number] if differ else []
    if not numbers:
        return None
    return (
        f"{named_shots(numbers)}: drawn with other versions or on another device ({'; '.join(told)}), so this run may "
        "differ from one that is drawn at once; the manifest says what each shot was drawn with."
    )


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """How two storyboards (as `Storyboard.to_dict`) differ.

    Returns:
        phrases such as "sampling.seed is 7 there and 9 here" or "the prompt of shot 3 (river)", and the numbers of the
        shots that differ; the latter is empty when anything outside the shots differs as well.
    """
    phrases: list[str] = []
    for key in new:
        if key == "shots" or old.get(key) == new[key]:
            continue
        before, after = old.get(key), new[key]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            phrases += [
                _differs(f"{key}.{part}", before.get(part), after.get(part))
                for part in dict.fromkeys([*before, *after])
                if before.get(part) != after.get(part)
            ]
        else:
            phrases.append(_differs(key, before, after))
    shared = bool(phrases)
    numbers: list[int] = []
    olds, news = old.get("shots", []), new["shots"]
    for number, (before, after) in enumerate(zip(olds, news, strict=False), 1):
        keys = [key for key in after if before.get(key) != after[key]]
        if keys:
            phrases.append(f"the {' and '.join(keys)} of shot {number} ({after['id']})")
            numbers.append(number)
    if len(olds) != len(news):
        phrases.append(f"{len(olds)} shots there and {len(news)} here")
        numbers += range(len(olds) + 1, len(news) + 1)
        shared = shared or len(news) < len(olds)
    return phrases, ([] if shared else numbers)


def _differs(key: str, before: Any, after: Any) -> str:
    said = [_said(value) for value in (before, after)]
    return f"{key} is {said[0]} there and {said[1]} here" if max(map(len, said)) <= 24 else f"the {key}"


def _said(value: Any) -> str:
    """A value as a story file has it."""
    if value is None:
        return "the default"
    return str(value).lower() if isinstance(value, bool) else str(value)


def story_dict(story: Storyboard) -> dict[str, Any]:
    """A storyboard as it comes back from JSON (tuples are lists there), so that comparisons are fair."""
    import json

    data: dict[str, Any] = json.loads(json.dumps(story.to_dict()))
    return data


def story_of(manifest: Mapping[str, Any]) -> Storyboard:
    """The story of a finished run with every seed written out: rendering it gives the run's bytes again.

    Raises:
        InputError: its shots don't come from one story, because some are stale, changed or missing.
    """
    from moc.storyboard import Storyboard

    mixed = sorted({*manifest["stale"], *manifest["changed"], *manifest["missing"]})
    if mixed:
        raise InputError(
            f"this run can't be repeated from its manifest: {named_shots(mixed)} are stale, changed or missing; renew "
            "them first."
        )
    shots = [shot["drawn_from"] | ({} if shot.get("lent") else {"seed": shot["seed"]}) for shot in manifest["shots"]]
    for shot in shots:
        del shot["number"]
    return Storyboard.from_dict(manifest["storyboard"] | {"shots": shots}, "manifest.json")

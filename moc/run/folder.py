"""A run folder: where each file lies, what is finished, and the manifest that says how to make it again.

    video.mp4            all shots, joined
    shots/NN_id.mp4      a clip a shot; shots/NN_id.takeK.mp4 for variants
    contact_sheet.png    the story at a glance
    routing.npz          who looked at whom
    manifest.json        storyboard, seeds, versions, sparsity, stale shots, timings
    latents/NN.npz       what later shots remember (see `moc.run.state`)

Torch-free.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from moc.errors import InputError
from moc.run.files import atomic, remove_leftovers, write_json
from moc.run.manifest import FORMAT
from moc.run.state import ShotState, state_path

_TAKE = re.compile(r"\d+\.take(\d+)\.npz")


class RunFolder:
    """The files of one run at `path`; nothing is made until something is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.video = path / "video.mp4"
        self.shots = path / "shots"
        self.latents = path / "latents"
        self.contact_sheet = path / "contact_sheet.png"
        self.routing = path / "routing.npz"
        self.manifest = path / "manifest.json"

    def read_manifest(self) -> dict[str, Any] | None:
        """The manifest, None where there is none yet.

        Raises:
            InputError: the path is a file, or the manifest is damaged or of a newer moc.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; choose a folder with --out.")
        try:
            data = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{self.manifest} can't be read: {(error.strerror or str(error)).lower()}.") from error
        except ValueError as error:
            raise InputError(f"{self.manifest} is damaged; choose another --out or start over with --force.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(
                f"{self.manifest} is not of format {FORMAT}, the one that this moc reads; choose another --out."
            )
        return data

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest."""
        write_json(self.manifest, manifest)

    def foreign(self) -> list[str]:
        """Names in a folder without manifest that a run would write over."""
        ours = (self.video, self.shots, self.latents, self.contact_sheet, self.routing)
        return [path.name for path in ours if path.exists()]

    def clean(self) -> None:
        """Remove what killed processes left behind; the caller holds the lock."""
        remove_leftovers(self.path, self.shots, self.latents)

    def clear(self) -> None:
        """Remove every file of a run, the manifest last, and nothing else."""
        for pattern, folder in (("[0-9]*.mp4", self.shots), ("[0-9]*.npz", self.latents)):
            for path in folder.glob(pattern):
                path.unlink()
        for path in (self.video, self.contact_sheet, self.routing, self.manifest):
            path.unlink(missing_ok=True)

    def states(self) -> dict[int, ShotState]:
        """The finished shots that are in the video, by number."""
        found = {int(p.stem): ShotState(p) for p in self.latents.glob("*.npz") if p.stem.isdecimal()}
        return dict(sorted(found.items()))

    def takes(self, number: int) -> dict[int, ShotState]:
        """The kept variants of a shot by take; the one in the video is among them only if it was copied there."""
        found: dict[int, ShotState] = {}
        for path in self.latents.glob(f"{number:02d}.take*.npz"):
            if match := _TAKE.fullmatch(path.name):
                found[int(match[1])] = ShotState(path)
        return dict(sorted(found.items()))

    def clip(self, number: int, shot_id: str, take: int | None = None) -> Path:
        """The clip of a shot, or of one take of it."""
        variant = "" if take is None else f".take{take}"
        return self.shots / f"{number:02d}_{shot_id}{variant}.mp4"

    def copy_state(self, source: ShotState, number: int, take: int | None = None) -> ShotState:
        """Copy a finished shot to its place in the video, or among the takes."""
        target = state_path(self.path, number, take)
        with atomic(target) as temporary:
            shutil.copyfile(source.path, temporary)
        return ShotState(target)

"""`Footage`: a finished run as a comparison reads it, its frames one shot at a time. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moc.errors import InputError
from moc.run import RunFolder
from moc.storyboard import Storyboard


class Footage(Mapping[int, np.ndarray]):
    """The shots of a finished run by number: uint8 `[F, H, W, 3]`, read from the disk when asked for and not kept.

    Attributes:
        folder: the run's; manifest: its content; fps: frames a second.
    """

    def __init__(self, folder: RunFolder, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.fps = float(manifest["video"]["fps"])
        self._states = folder.states()
        if missing := [shot["number"] for shot in manifest["shots"] if shot["number"] not in self._states]:
            raise InputError(f"{folder.path} no longer holds the frames of shot {missing[0]} in latents/.")

    def __getitem__(self, number: int) -> np.ndarray:
        return self._states[number].frames

    def __iter__(self) -> Iterator[int]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    @property
    def clips(self) -> list[Path]:
        """The video file of each shot."""
        return [self.folder.path / shot["clip"] for shot in self.manifest["shots"]]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame as rendered."""
        video = self.manifest["video"]
        return video["rendered_width"], video["rendered_height"]

    @property
    def lengths(self) -> dict[int, int]:
        """Frames of each shot."""
        return {shot["number"]: shot["frames"] for shot in self.manifest["shots"]}

    @property
    def scenes(self) -> dict[int, str | None]:
        """The scene of each shot as the story file names it."""
        return {shot["number"]: shot["drawn_from"]["scene"] for shot in self.manifest["shots"]}

    @property
    def ids(self) -> dict[int, str]:
        """The id of each shot."""
        return {shot["number"]: shot["id"] for shot in self.manifest["shots"]}

    @property
    def story(self) -> Storyboard:
        """The story as it was drawn."""
        return Storyboard.from_dict(self.manifest["storyboard"], str(self.folder.manifest))

    @property
    def of_the_world(self) -> bool:
        """Whether the built-in model drew it, so that the story world's reader can read it."""
        return str(self.manifest["model"]["name"]) == "pocket"


def run_path(path: Path) -> Path:
    """The folder of a run that is named by it or by its `manifest.json`."""
    return path.parent if path.name == "manifest.json" else path


def open_run(path: Path) -> Footage:
    """The finished run at `path`, a folder or its `manifest.json`.

    Raises:
        InputError: no run, an unfinished one, or one whose frames are gone.
    """
    folder = RunFolder(run_path(path))
    manifest = folder.read_manifest()
    if manifest is None:
        raise InputError(f"{path} holds no run of moc; give the folder of a finished one, or a story.")
    if manifest["status"] != "finished" or manifest["missing"]:
        raise InputError(f"the run in {folder.path} is not finished; finish it first with moc generate --resume.")
    return Footage(folder, manifest)

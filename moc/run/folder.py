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

import contextlib
import json
import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

from moc.errors import InputError, MocError
from moc.run.files import atomic, remove_leftovers, write_json
from moc.run.manifest import CLIP, FORMAT, MANIFEST
from moc.run.shape import fault
from moc.run.state import ShotState, state_path

_STATE = re.compile(r"([0-9]{2,4})(?:\.take([0-9]{1,6}))?\.npz")


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

    def check_place(self) -> None:
        """See that a run folder can be here.

        Raises:
            InputError: the path is a file, it holds characters that video tools can't take, or a folder inside is a
                link, through which a run would write elsewhere.
        """
        for char in str(self.path.absolute()):
            if unicodedata.category(char) in ("Cc", "Cs"):
                raise InputError(
                    f"the folder {str(self.path)!a} has a character in its path that is not text "
                    f"({ascii(char)[1:-1]}); choose another one with --out."
                )
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; choose a folder with --out.")
        for inner in (self.shots, self.latents):
            if inner.is_symlink():
                raise InputError(f"{inner} is a link to another place; choose another folder with --out.")

    def read_manifest(self) -> dict[str, Any] | None:
        """The manifest, None where there is none yet.

        Raises:
            InputError: the path is a file, or the manifest is damaged or of a newer moc.
        """
        self.check_place()
        try:
            data = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{self.manifest} can't be read: {(error.strerror or str(error)).lower()}.") from error
        except (ValueError, RecursionError) as error:
            raise self._damaged("it is no JSON") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(
                f"{self.manifest} is not of format {FORMAT}, the one that this moc reads; choose another --out or "
                "start over with --force."
            )
        data = {"remember": {}, "forget": {}, **data}  # runs of before there were these
        if isinstance(data.get("job"), dict):
            data["job"] = {"use": {}, **data["job"]}
        if (place := fault(data, MANIFEST)) is not None:
            raise self._damaged(f"'{place}' is missing or not what moc writes")
        total = len(data["storyboard"]["shots"])
        job = data["job"] or {"shots": [], "use": {}}
        if any(number > total for number in [*job["shots"], *map(int, job["use"])]):
            raise self._damaged(f"'job' names shots beyond the story's {total}")
        return data

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"{self.manifest} is damaged ({reason}); choose another --out or start over with --force.")

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
        """Remove every file of a run, the manifest last, and nothing else; works on damaged runs too."""
        names = self._clips_listed()
        for (number, take), state in self._all_states().items():
            with contextlib.suppress(MocError):  # a damaged one names no clip
                names.add(self.clip(number, state.note.id, take).name)
        for name in names:
            (self.shots / name).unlink(missing_ok=True)
        for state in self._all_states().values():
            state.path.unlink()
        for folder in (self.shots, self.latents):
            with contextlib.suppress(OSError):  # missing, or with files of the user
                folder.rmdir()
        for path in (self.video, self.contact_sheet, self.routing, self.manifest):
            path.unlink(missing_ok=True)

    def _clips_listed(self) -> set[str]:
        """Names of the clips that the manifest lists, as far as it can be read."""
        try:
            clips = json.loads(self.manifest.read_text(encoding="utf-8"))["clips"]
            names = [str(name).removeprefix("shots/") for name in clips]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return set()
        return {name for name in names if re.fullmatch(CLIP, name)}

    def states(self) -> dict[int, ShotState]:
        """The finished shots that are in the video, by number."""
        return {number: state for (number, take), state in self._all_states().items() if take is None}

    def takes(self, number: int) -> dict[int, ShotState]:
        """The kept variants of a shot by take; the one in the video is among them only if it was copied there."""
        states = self._all_states(f"{number:02d}.take*.npz")
        return {take: state for (_, take), state in states.items() if take is not None}

    def _all_states(self, pattern: str = "*.npz") -> dict[tuple[int, int | None], ShotState]:
        """Every state file by number and take, ascending; names that no run writes are none."""
        found: dict[tuple[int, int | None], ShotState] = {}
        for path in self.latents.glob(pattern):
            if match := _STATE.fullmatch(path.name):
                number, take = int(match[1]), int(match[2]) if match[2] else None
                if number >= 1 and take != 0 and state_path(self.path, number, take).name == path.name:
                    found[number, take] = ShotState(path, number, take)
        return dict(sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or 0)))

    def clip(self, number: int, shot_id: str, take: int | None = None) -> Path:
        """The clip of a shot, or of one take of it."""
        variant = "" if take is None else f".take{take}"
        return self.shots / f"{number:02d}_{shot_id}{variant}.mp4"

    def copy_state(self, source: ShotState, number: int, take: int | None = None) -> ShotState:
        """Copy a finished shot to its place in the video, or among the takes."""
        target = state_path(self.path, number, take)
        with atomic(target) as temporary:
            shutil.copyfile(source.path, temporary)
        return ShotState(target, number, take)

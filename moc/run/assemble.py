"""What is made from finished shots: clips, the whole video, the contact sheet and the routing file.

Everything reads the shot files one at a time, so the number of shots does not count against memory. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moc.run.arrays import add_array, array_file
from moc.run.files import atomic, sha256_file, sha256_json
from moc.run.folder import RunFolder
from moc.run.state import ShotState
from moc.video import ENCODING, concat_mp4, watchable_scale, write_mp4


def write_clip(folder: RunFolder, state: ShotState, take: int | None, *, fps: float) -> dict[str, Any]:
    """Encode the clip of one shot, or of one take of it, at a size pleasant to watch.

    Returns:
        name -> {"of": digest of what it shows and of how it is encoded, "sha256": of its bytes}, the name relative to
        the run folder.
    """
    frames, note = state.frames, state.note
    path = folder.clip(note.number, note.id, take)
    with atomic(path) as temporary:
        write_mp4(frames, temporary, fps=fps, scale=watchable_scale(frames.shape[2], frames.shape[1]))
    return {path.relative_to(folder.path).as_posix(): {"of": _digest(state), "sha256": sha256_file(path)}}


def _digest(state: ShotState) -> str:
    return sha256_json([state.note.digest, ENCODING])


def write_clips(
    folder: RunFolder, states: Mapping[int, ShotState], made: Mapping[str, Any], *, fps: float
) -> dict[str, Any]:
    """Bring `shots/` in line with the finished shots and their takes.

    A clip that was made from the same latents in the same way and still has its bytes stays; others are encoded again,
    and clips that were made for a shot that is no longer there are removed. Other files in `shots/` are not ours and
    stay.

    Args:
        made: what the last call returned, as the manifest kept it.

    Returns:
        the entries of all clips, as `write_clip` gives them.
    """
    wanted: dict[Path, tuple[ShotState, int | None]] = {}
    for number, state in states.items():
        wanted[folder.clip(number, state.note.id)] = (state, None)
        for take, variant in folder.takes(number).items():
            wanted[folder.clip(number, variant.note.id, take)] = (variant, take)
    for name in made:
        if folder.path / name not in wanted:
            (folder.path / name).unlink(missing_ok=True)
    result: dict[str, Any] = {}
    for path, (state, kept_take) in wanted.items():
        name = path.relative_to(folder.path).as_posix()
        known = made.get(name, {})
        good = known.get("of") == _digest(state) and path.is_file() and sha256_file(path) == known.get("sha256")
        result |= {name: known} if good else write_clip(folder, state, kept_take, fps=fps)
    return result


def write_video(folder: RunFolder, states: Mapping[int, ShotState]) -> None:
    """Join the clips of all shots into the story's video."""
    clips = [folder.clip(number, state.note.id) for number, state in sorted(states.items())]
    with atomic(folder.video) as temporary:
        concat_mp4(clips, temporary)


def write_contact_sheet(folder: RunFolder, states: Mapping[int, ShotState], *, title: str, fps: float) -> None:
    """Draw the contact sheet."""
    from moc.contact_sheet import Card, contact_sheet, plain_caption

    notes = {number: state.note for number, state in sorted(states.items())}
    cards = [
        Card(n, note.id, plain_caption(str(note.shot["prompt"])), note.frames / fps, partial(_frames, states[n]))
        for n, note in notes.items()
    ]
    seconds = sum(card.seconds for card in cards)
    subtitle = f"{len(cards)} shot{'s' if len(cards) > 1 else ''}, {seconds:.4g} seconds"
    image = contact_sheet(cards, title=title, subtitle=subtitle)
    with atomic(folder.contact_sheet) as temporary:
        image.save(temporary, format="PNG", optimize=False)


def write_routing(folder: RunFolder, states: Mapping[int, ShotState]) -> None:
    """Write `routing.npz`: who chose whom, counted. One shot is in memory at a time, however long the story.

    Arrays, for a story of S shots, N layers, H heads and C parts: video chunks, or latent frames where chunks are
    no longer than one:
        counts_NN: uint32 `[N, H, parts of shot NN, parts so far]`, routed links from the query's part (row) to the key
            chunk's (column), over all steps; attention that looks ahead counts to all C parts.
        choices_NN: uint32 `[latent frames, rows, columns, n, 2]`, what each token chose most (see `ShotResult`),
            where the model keeps it.
        steps_NN: uint32 `[steps, N, H, parts of shot NN, parts so far]`, the same for each step.
        chunk_shot: int32 `[C]`, the 1-based shot of each part.
        shot_numbers: int32 `[S]`; shot_ids: `[S]` text.
        axes: text, what the axes of `counts_NN` mean.
    """
    numbers = sorted(states)
    chunks = []
    with atomic(folder.routing) as temporary, array_file(temporary) as archive:
        for number in numbers:
            steps = states[number].routing
            chunks.append(steps.shape[3])
            add_array(archive, f"counts_{number:02d}", steps.sum(axis=0, dtype=np.uint32))
            add_array(archive, f"steps_{number:02d}", steps)
            if (choices := states[number].choices) is not None:
                add_array(archive, f"choices_{number:02d}", choices)
        add_array(archive, "chunk_shot", np.repeat(np.array(numbers, np.int32), chunks))
        add_array(archive, "shot_numbers", np.array(numbers, np.int32))
        add_array(archive, "shot_ids", np.array([states[number].note.id for number in numbers]))
        add_array(archive, "axes", np.array(["layer", "head", "query part", "key part"]))


def _frames(state: ShotState) -> np.ndarray:
    return state.frames

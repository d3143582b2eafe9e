"""Frames of a run for its maps: whole ones for pictures, small ones for the page."""

from __future__ import annotations

import base64
import io

import numpy as np

from moc.errors import InputError
from moc.route_map.load import RouteMap


def frames_of(route_map: RouteMap, place: int) -> np.ndarray:
    """uint8 `[F, H, W, 3]` frames of the shot at `place`.

    Raises:
        InputError: the run folder no longer holds them.
    """
    from moc.run import RunFolder

    number = route_map.shots[place].number
    states = RunFolder(route_map.folder).states() if route_map.folder else {}
    if number not in states:
        raise InputError(f"the frames of shot {number} are not there; they lie in the run's folder latents/.")
    return states[number].frames


def sprite(frames: np.ndarray, count: int, width: int = 96) -> tuple[str, int, int]:
    """A row of `count` small frames, the middle one of each stretch, as a data address.

    Args:
        frames: uint8 `[F, H, W, 3]`; count: how many to show; width: pixels of one.

    Returns:
        the address, and the width and height of one frame.
    """
    from PIL import Image

    height = max(1, round(width * frames.shape[1] / frames.shape[2]))
    sheet = Image.new("RGB", (width * count, height))
    for n in range(count):
        image = Image.fromarray(frames[min((2 * n + 1) * len(frames) // (2 * count), len(frames) - 1)])
        sheet.paste(image.resize((width, height), Image.Resampling.BILINEAR), (n * width, 0))
    data = io.BytesIO()
    sheet.save(data, "WEBP", quality=60, method=4)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}", width, height

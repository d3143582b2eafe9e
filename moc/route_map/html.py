"""The report as one page that needs no network: map with sliders, findings, and where any place in a frame looked."""

from __future__ import annotations

import base64
import gzip
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from moc.errors import InputError
from moc.route_map.findings import Report
from moc.route_map.load import RouteMap, shares
from moc.route_map.pictures import frames_of, sprite

CHOICES = 4
"""Chunks a token that the page keeps; with more, long stories would outgrow two megabytes."""
PICTURES = 16
"""Small frames of a shot, one a chunk where it has no more than that."""
MOST_COUNTS = 400_000
"""Counts of shots that the page keeps at most; a longer story has fewer sliders."""
KEPT = ((), (2,), (0,), (0, 2), (0, 1, 2))
"""Axes of steps, layers and heads that are summed, the first that leaves few enough counts."""


def write_html(report: Report, path: Path) -> None:
    """Write the page whole or not at all.

    Raises:
        InputError: another ending than .html, or a place that can't be written.
    """
    from moc.run.files import write_bytes

    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--html {path}: the name must end in .html.")
    write_bytes(path, page(report).encode())


def page(report: Report) -> str:
    """The page as text."""
    # "<" can't end the script that way, whatever a title or an id holds
    data = json.dumps(page_data(report), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = files("moc.route_map").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("@DATA@", data)


def page_data(report: Report) -> dict[str, Any]:
    """What the page shows: arrays as gzip in base64, little-endian.

    `cube`: uint32 `[steps, layers, heads, S, S]`, an axis of one where it was summed; `chunks`: uint8 `[C, C]`, 255
    times the root of the share; `choices` of a shot: `[T, rows, columns, n]` of a 16-bit chunk and 255 times its share
    of the token's choices.
    """
    route_map = report.route_map
    steps, layers, heads = route_map.dims
    summed = next(axes for axes in KEPT if _counts(route_map, axes) <= MOST_COUNTS or axes == KEPT[-1])
    cube = route_map.cube.sum(axis=summed, keepdims=True)
    if cube.max(initial=0) >= 2**32:
        cube = cube // (cube.max() // 2**31)
    shots, thumb = [], None
    for i, shot in enumerate(route_map.shots):
        entry: dict[str, Any] = {"number": shot.number, "id": shot.id}
        if route_map.folder is not None:
            count = min(PICTURES, int(route_map.bounds[i + 1] - route_map.bounds[i]))
            entry["sprite"], width, height = sprite(frames_of(route_map, i), count)
            entry["pictures"], thumb = count, [width, height]
            entry |= _choices(route_map, i)
        shots.append(entry)
    chunks = np.sqrt(shares(report.counts_CC)) * 255
    parts = f"{route_map.num_chunks} {route_map.unit}s"
    return {
        "title": route_map.title or "Route map",
        "about": f"{len(shots)} shots, {parts}, {steps} steps, {layers} layers, {heads} heads",
        "unit": route_map.unit,
        "shots": shots,
        "dims": cube.shape[:3],
        "thumb": thumb,
        "threshold": report.loops.threshold,
        "bounds": route_map.bounds.tolist(),
        "cube": _packed(cube.astype("<u4")),
        "chunks": _packed(np.ceil(chunks).astype(np.uint8)),
        "findings": report.sentences(),
    }


def _choices(route_map: RouteMap, place: int) -> dict[str, Any]:
    choices = route_map.choices(place)
    if choices is None or route_map.num_chunks > 2**16:
        return {}
    kept = choices[..., :CHOICES, :]
    total = max(route_map.routes_per_token(place), 1)
    part = np.ceil(255 * np.minimum(kept[..., 1] / total, 1)).astype(np.uint8)
    chunk = kept[..., 0]
    packed = np.stack([chunk % 256, chunk // 256, part], axis=-1).astype(np.uint8)
    return {"choices": _packed(packed), "grid": list(packed.shape[:4])}


def _counts(route_map: RouteMap, summed: tuple[int, ...]) -> int:
    """How many counts are left when some axes are summed."""
    kept = [n for axis, n in enumerate(route_map.dims) if axis not in summed]
    return math.prod(kept) * len(route_map.shots) ** 2


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(gzip.compress(np.ascontiguousarray(array).tobytes(), mtime=0)).decode()

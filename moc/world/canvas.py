"""A tiny vector rasteriser: shapes as signed distances, painted into maps of part codes.

Pictures of the story world are flat: every pixel belongs to one named part (`moc.world.parts`), and a palette gives
each part its colour per story. So sprites are maps of uint8 codes, drawn once from a few shapes. Units are pixels of
the wide camera, x to the right, y down; a canvas holds `RES` samples per unit. Numpy alone, so that the pictures do
not depend on an imaging library's version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

RES = 4  # samples per unit: close cameras magnify about twice, and 2x2 samples make one pixel

Field = NDArray[np.float32]
Codes = NDArray[np.uint8]
Fill = int | Callable[[Field, Field], Codes]


@dataclass(frozen=True)
class Shape:
    """A region: `distance(x, y)` is negative inside and about the distance to the edge near it."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 that hold the region
    distance: Callable[[Field, Field], Field]

    def __or__(self, other: Shape) -> Shape:
        a, b = self.box, other.box
        box = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
        return Shape(box, lambda x, y: np.minimum(self.distance(x, y), other.distance(x, y)))

    def __and__(self, other: Shape) -> Shape:
        return Shape(self.box, lambda x, y: np.maximum(self.distance(x, y), other.distance(x, y)))

    def __sub__(self, other: Shape) -> Shape:
        return Shape(self.box, lambda x, y: np.maximum(self.distance(x, y), -other.distance(x, y)))

    def at(self, dx: float, dy: float) -> Shape:
        """The same region moved by (dx, dy)."""
        x0, y0, x1, y1 = self.box
        return Shape((x0 + dx, y0 + dy, x1 + dx, y1 + dy), lambda x, y: self.distance(x - dx, y - dy))

    def grow(self, r: float) -> Shape:
        """The region and all within r of it: corners become round."""
        x0, y0, x1, y1 = self.box
        return Shape((x0 - r, y0 - r, x1 + r, y1 + r), lambda x, y: self.distance(x, y) - np.float32(r))


def ellipse(cx: float, cy: float, rx: float, ry: float) -> Shape:
    """Ellipse around (cx, cy); the distance is exact to first order at the edge."""

    def distance(x: Field, y: Field) -> Field:
        u, v = (x - cx) / rx, (y - cy) / ry
        k0 = np.sqrt(u * u + v * v)
        k1 = np.sqrt((u / rx) ** 2 + (v / ry) ** 2) + np.float32(1e-6)
        return k0 * (k0 - 1) / k1

    return Shape((cx - rx, cy - ry, cx + rx, cy + ry), distance)


def rect(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> Shape:
    """Axis-aligned rectangle with corner radius r."""
    cx, cy, hx, hy = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 - r, (y1 - y0) / 2 - r

    def distance(x: Field, y: Field) -> Field:
        dx, dy = np.abs(x - cx) - hx, np.abs(y - cy) - hy
        outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
        return outside + np.minimum(np.maximum(dx, dy), 0) - r

    return Shape((x0, y0, x1, y1), distance)


def polygon(*points: tuple[float, float]) -> Shape:
    """Simple polygon through `points`, convex or not."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]

    def distance(x: Field, y: Field) -> Field:
        best = np.full(np.broadcast(x, y).shape, 1e9, np.float32)
        inside = np.zeros(best.shape, bool)
        for (ax, ay), (bx, by) in zip(points, (*points[1:], points[0]), strict=True):
            best = np.minimum(best, _segment(x, y, ax, ay, bx, by))
            if ay != by:
                crosses = (y < ay) != (y < by)
                inside ^= crosses & (x < ax + (y - ay) * ((bx - ax) / (by - ay)))
        return np.where(inside, -best, best)

    return Shape((min(xs), min(ys), max(xs), max(ys)), distance)


def line(*points: tuple[float, float], width: float = 1.0) -> Shape:
    """Round-ended stroke of `width` through `points`."""
    xs, ys, half = [p[0] for p in points], [p[1] for p in points], width / 2

    def distance(x: Field, y: Field) -> Field:
        best = np.full(np.broadcast(x, y).shape, 1e9, np.float32)
        for (ax, ay), (bx, by) in pairwise(points):
            best = np.minimum(best, _segment(x, y, ax, ay, bx, by))
        return best - np.float32(half)

    return Shape((min(xs) - half, min(ys) - half, max(xs) + half, max(ys) + half), distance)


def star(cx: float, cy: float, outer: float, inner: float, points: int = 5) -> Shape:
    """Star with one point straight up."""
    angles = [np.pi * i / points - np.pi / 2 for i in range(2 * points)]
    radii = [outer, inner] * points
    corners = [(cx + r * float(np.cos(a)), cy + r * float(np.sin(a))) for a, r in zip(angles, radii, strict=True)]
    return polygon(*corners)


def _segment(x: Field, y: Field, ax: float, ay: float, bx: float, by: float) -> Field:
    """Distance from every (x, y) to the segment a-b."""
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    t = np.clip(((x - ax) * dx + (y - ay) * dy) / length2, 0, 1) if length2 else np.float32(0)
    return np.sqrt((x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2)


class Canvas:
    """A map of part codes over `box` (x0, y0, x1, y1 in units); code 0 is empty."""

    def __init__(self, box: tuple[float, float, float, float]) -> None:
        self.box = box
        self.codes: Codes = np.zeros((round((box[3] - box[1]) * RES), round((box[2] - box[0]) * RES)), np.uint8)

    def draw(self, shape: Shape, fill: Fill, edge: int = 0, width: float = 0.6, clip: Shape | None = None) -> None:
        """Paint `shape` with `fill` (a code, or a function of x and y) inside an outline of code `edge`.

        The outline lies outside the region, `width` units thick; `clip` limits both to another region.
        """
        margin = width if edge else 0.0
        x0, y0 = self.box[0], self.box[1]
        left = max(0, int((shape.box[0] - margin - x0) * RES) - 1)
        top = max(0, int((shape.box[1] - margin - y0) * RES) - 1)
        right = min(self.codes.shape[1], int((shape.box[2] + margin - x0) * RES) + 2)
        bottom = min(self.codes.shape[0], int((shape.box[3] + margin - y0) * RES) + 2)
        if left >= right or top >= bottom:
            return
        x = ((np.arange(left, right) + 0.5) / RES + x0).astype(np.float32)[None, :]
        y = ((np.arange(top, bottom) + 0.5) / RES + y0).astype(np.float32)[:, None]
        distance = np.broadcast_to(shape.distance(x, y), (bottom - top, right - left))
        allowed = True if clip is None else clip.distance(x, y) <= 0
        window = self.codes[top:bottom, left:right]
        if edge:
            window[(distance <= margin) & allowed] = edge
        inside = (distance <= 0) & allowed
        if callable(fill):
            window[inside] = np.broadcast_to(fill(x, y), window.shape)[inside]
        else:
            window[inside] = fill

    def paste(self, other: Canvas, dx: float, dy: float) -> None:
        """Lay `other` on top with its origin at (dx, dy), rounded to whole samples; its empty pixels let through."""
        left = round((other.box[0] + dx - self.box[0]) * RES)
        top = round((other.box[1] + dy - self.box[1]) * RES)
        h, w = other.codes.shape
        y0, y1 = max(0, top), min(self.codes.shape[0], top + h)
        x0, x1 = max(0, left), min(self.codes.shape[1], left + w)
        if y0 >= y1 or x0 >= x1:
            return
        source = other.codes[y0 - top : y1 - top, x0 - left : x1 - left]
        window = self.codes[y0:y1, x0:x1]
        window[source != 0] = source[source != 0]

"""Whole characters: a body in its coat, in some pose, with the head of its kind.

`figure(kind, action, phase)` draws the sprite that the renderer looks up, and says where the head is, so that hats and
scarves can be laid on it. Coat patterns are painted as bits of the coat's code, in the coat's own coordinates, so that
they move with the body and every pattern comes from one sprite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moc.world.canvas import Canvas, Codes, Field, Fill, ellipse, line, polygon, star
from moc.world.heads import head_back, head_front
from moc.world.parts import Part, Scene
from moc.world.poses import SHOULDER, Point, Pose, pose_of
from moc.world.schema import KINDS

BODY_BOX = (-20.0, -48.0, 20.0, 4.0)
LINE, EDGE = Part.LINE, Part.FRONT_LINE


@dataclass(frozen=True)
class Build:
    """How a kind is built: half widths of its coat, the hem below the hips, and what its legs are made of."""

    shoulder: float
    hem: float
    drop: float
    leg: Part
    leg_width: float = 3.0
    shorts: bool = False


_BUILDS = {
    "woman": Build(4.3, 6.6, 3.2, Part.SKIN, 2.4),
    "man": Build(5.2, 5.6, 0.8, Part.PANTS, 3.4),
    "girl": Build(4.2, 7.6, 1.6, Part.SKIN, 2.4),
    "boy": Build(4.8, 5.4, 0.2, Part.SKIN, 2.6, shorts=True),
    "cat": Build(4.4, 5.6, 1.0, Part.HAIR),
    "dog": Build(4.8, 5.8, 1.0, Part.HAIR, 3.2),
    "rabbit": Build(4.4, 6.0, 1.0, Part.HAIR),
    "bear": Build(6.0, 7.6, 1.4, Part.HAIR, 4.0),
    "robot": Build(5.6, 5.8, 0.6, Part.HAIR_DARK, 2.6),
}
assert tuple(_BUILDS) == KINDS


def coat_fill(ox: float, oy: float) -> Fill:
    """Coat codes around the collar (ox, oy): bit i says where pattern i + 1 shows its second colour."""

    def fill(x: Field, y: Field) -> Codes:
        u, v = np.broadcast_arrays(x - np.float32(ox), y - np.float32(oy))
        stripes = np.floor((v + 0.6) / 2.1) % 2 == 1
        pinstripes = np.abs((u + 1.6) % 3.2 - 1.6) < 0.55
        row = np.floor((v + 0.2) / 3.4)
        du = (u + 2.0 + 2.0 * (row % 2)) % 4.0 - 2.0
        dv = (v + 0.2) % 3.4 - 1.7
        dots = du * du + dv * dv < 1.25**2
        checks = (np.floor(u / 2.6) + np.floor((v + 0.4) / 2.6)) % 2 == 1
        chest = star(0.6, 5.4, 4.3, 1.9).distance(u, v) <= 0
        bits = stripes * 1 + pinstripes * 2 + dots * 4 + checks * 8 + chest * 16
        return (Part.COAT + bits).astype(np.uint8)

    return fill


def figure(kind: str, action: str, phase: int, mirrored: bool = False) -> tuple[Canvas, Point]:
    """The sprite of `kind` doing `action`, and the middle of its head in sprite units (see `pose_of`)."""
    c, pose, build = Canvas(BODY_BOX), pose_of(action, phase, mirrored), _BUILDS[kind]
    head = pose.face_at
    c.draw(ellipse(pose.hip[0] * 0.5, 0.7, 7.6, 1.7), Scene.SHADOW)
    for drawing in pose.back:
        drawing(c)
    _tail(c, kind, pose)
    c.paste(head_back(kind), *head)
    if not pose.legs_over:
        _legs(c, build, pose)
    _torso(c, kind, build, pose)
    for drawing in pose.middle:
        drawing(c)
    if pose.legs_over:
        _legs(c, build, pose)
    arms = ((-1, pose.left, pose.left_over), (1, pose.right, pose.right_over))
    for side, arm, over in arms:
        if not over:
            _arm(c, build, pose, side, arm)
    c.paste(head_front(kind, pose.face), *head)
    for drawing in pose.front:
        drawing(c)
    for side, arm, over in arms:
        if over:
            _arm(c, build, pose, side, arm)
    for drawing in pose.late:
        drawing(c)
    return c, head


def _torso(c: Canvas, kind: str, build: Build, pose: Pose) -> None:
    (hx, hy), (nx, ny) = pose.hip, pose.neck
    bottom = hy + build.drop
    r = 0.6 if kind == "robot" else 1.6
    w, h = build.shoulder - r, build.hem - r
    coat = polygon((nx - w, ny - 1.0 + r), (nx + w, ny - 1.0 + r), (hx + h, bottom - r), (hx - h, bottom - r)).grow(r)
    c.draw(coat, coat_fill(nx, ny), LINE)


def _legs(c: Canvas, build: Build, pose: Pose) -> None:
    hx, hy = pose.hip
    for i, side in enumerate((-1, 1)):
        hip = (hx + side * 2.5, hy - 0.4)
        foot = pose.feet[i]
        knee = pose.knees[i] if pose.knees else ((hip[0] + foot[0]) / 2, (hip[1] + foot[1]) / 2)
        c.draw(line(hip, knee, foot, width=build.leg_width), build.leg, LINE)
        if build.shorts:
            c.draw(line(hip, (hip[0] * 0.4 + knee[0] * 0.6, hip[1] * 0.2 + knee[1] * 0.8), width=4.2), Part.PANTS, LINE)
        c.draw(ellipse(foot[0] + 0.6, foot[1] + 0.2, 2.5, 1.5), Part.SHOE, LINE)


def _arm(c: Canvas, build: Build, pose: Pose, side: int, arm: tuple[Point, Point]) -> None:
    nx, ny = pose.neck
    shoulder = (nx + side * (build.shoulder + 0.5), ny + 1.2)
    reach = (nx + side * SHOULDER, ny + 1.2)  # hands meet their things whatever the build
    elbow = (reach[0] + arm[0][0], reach[1] + arm[0][1])
    hand = (reach[0] + arm[1][0], reach[1] + arm[1][1])
    c.draw(line(shoulder, elbow, hand, width=3.0), Part.SLEEVE, EDGE)
    c.draw(ellipse(*hand, 1.75, 1.75), Part.HAND, EDGE, 0.5)


def _tail(c: Canvas, kind: str, pose: Pose) -> None:
    hx, hy = pose.hip
    w = pose.wag
    if kind == "cat":
        tail = line((hx - 3, hy), (hx - 8.5, hy + 1.0), (hx - 11.0, hy - 3.0 + w), (hx - 10.0 + w, hy - 8.0), width=2.2)
        c.draw(tail, Part.HAIR, LINE)
    elif kind == "dog":
        c.draw(line((hx - 3, hy - 1), (hx - 8.0, hy - 3.5), (hx - 10.0 + w, hy - 8.0), width=2.8), Part.HAIR, LINE)
    elif kind == "rabbit":
        c.draw(ellipse(hx - 6.8, hy - 0.6 + 0.3 * w, 2.6, 2.5), Part.MUZZLE, LINE)
    elif kind == "bear":
        c.draw(ellipse(hx - 7.8, hy - 0.8 + 0.3 * w, 1.9, 1.8), Part.HAIR, LINE)

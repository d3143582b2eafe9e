"""What bodies do: a `Pose` for every action and each of the eight phases of its cycle.

Origin between the feet, y down, looking to the right; a grown-up stands about 29 units tall. A pose says where the
joints are, and carries the things of its action (chair, cup, book, notes) as drawings in layers: behind the body,
before the body but behind the head, before the head, and before the hands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, pi, sin

from moc.world.canvas import Canvas, Shape, ellipse, line, polygon, rect
from moc.world.effects import PHASES, Drawing, drop, note, puff, snore, steam, strokes
from moc.world.parts import Part, Scene
from moc.world.schema import ACTIONS

Point = tuple[float, float]
SHOULDER = 5.4  # arms start this far from the neck
EDGE = Part.FRONT_LINE


@dataclass
class Pose:
    """Joints of one phase. Elbows and hands are relative to their shoulder, feet and knees to the ground point."""

    hip: Point = (0.0, -6.0)
    lean: float = 0.0  # how far the shoulders are to the right of the hips
    head: Point = (0.0, 0.0)  # moves the head from its place on the shoulders
    left: tuple[Point, Point] = ((-1.7, 3.0), (-1.5, 6.4))
    right: tuple[Point, Point] = ((1.7, 3.0), (1.5, 6.4))
    left_over: bool = False  # arm drawn over head and things
    right_over: bool = False
    feet: tuple[Point, Point] = ((-2.6, -1.2), (2.6, -1.2))
    knees: tuple[Point, Point] | None = None
    legs_over: bool = False  # legs drawn over the torso (sitting)
    face: str = "open"
    wag: float = 0.0  # swing of a tail
    back: list[Drawing] = field(default_factory=list)
    middle: list[Drawing] = field(default_factory=list)
    front: list[Drawing] = field(default_factory=list)
    late: list[Drawing] = field(default_factory=list)  # drawn after the arms that are over everything

    @property
    def neck(self) -> Point:
        """Where the shoulders meet."""
        return self.hip[0] + self.lean, self.hip[1] - 8.6

    @property
    def face_at(self) -> Point:
        """The middle of the head."""
        x, y = self.neck
        return x + 0.2 * self.lean + self.head[0], y - 6.6 + self.head[1]


def _wave(k: int, turns: float = 1.0, shift: float = 0.0) -> float:
    return sin(2 * pi * (k / PHASES * turns + shift))


def _stand(k: int) -> Pose:
    breath = 0.25 * (1 - cos(2 * pi * k / PHASES))
    return Pose(hip=(0, -6 + breath * 0.4), head=(0, breath * 0.8), face="blink" if k == 6 else "open",
                left=((-1.7, 3.0), (-1.6, 6.3 + breath)), right=((1.7, 3.0), (1.6, 6.3 + breath)),
                wag=0.4 * _wave(k))  # fmt: skip


def _walk(k: int) -> Pose:
    s, c = _wave(k), cos(2 * pi * k / PHASES)
    feet = ((-1.6 + 3.8 * s, -1.2 - 2.0 * max(0.0, c)), (1.6 - 3.8 * s, -1.2 - 2.0 * max(0.0, -c)))
    return Pose(hip=(0, -6.0 - 0.9 * abs(c)), lean=0.7, feet=feet, wag=s,
                left=((-1.8 - 1.2 * s, 2.9), (-0.6 - 4.2 * s, 6.0)),
                right=((1.6 + 1.2 * s, 2.9), (1.6 + 4.2 * s, 6.0)))  # fmt: skip


def _run(k: int) -> Pose:
    s, c = _wave(k), cos(2 * pi * k / PHASES)
    feet = ((-2.6 + 7.4 * s, -1.4 - 4.6 * max(0.0, c)), (-0.4 - 7.4 * s, -1.4 - 4.6 * max(0.0, -c)))
    knees = ((0.2 + 4.6 * s, -4.8), (1.4 - 4.6 * s, -4.8))
    old = [(k / 4 + i / 2) % 1.0 for i in range(2)]
    trail = [puff(-9.5 - 5 * a, -1.8 - 2.4 * a, 2.2 - 0.8 * a) for a in old]
    rush = [line((-9.5 - i - 1.5 * a, y), (-16.5 + i - 2 * a, y), width=1.1)
            for i, (a, y) in enumerate(zip((*old, old[0]), (-10.0, -16.0, -26.5), strict=True))]  # fmt: skip
    sweat = [drop(-4.5 - 6 * a, -28.5 - 3 * a * (1 - a) + 3 * a * a) for a in old]
    return Pose(hip=(-1.6, -6.6 - 1.9 * abs(c)), lean=4.4, head=(0.6, 0.4), feet=feet, knees=knees, wag=2 * s,
                back=[*trail, strokes(rush), *sweat], left=((-2.8 - 2.6 * s, 2.4), (0.6 - 5.0 * s, 3.0 - 1.8 * s)),
                right=((1.4 + 2.6 * s, 2.6), (3.4 + 4.4 * s, 2.6 + 2.0 * s)), right_over=s > 0.5)  # fmt: skip


def _chair(c: Canvas) -> None:
    for x in (-9.4, 9.4):
        c.draw(rect(x - 1.1, -20.0, x + 1.1, 0, 0.5), Part.WOOD, Part.LINE)
    c.draw(rect(-9.4, -19.0, 9.4, -16.6, 0.5), Part.WOOD, Part.LINE)
    for y in (-13.6, -10.4):
        c.draw(rect(-8.8, y, 8.8, y + 1.7, 0.4), Part.WOOD, Part.LINE)


def _seat(c: Canvas) -> None:
    c.draw(rect(-10.4, -6.4, 10.4, -4.2, 0.8), Part.WOOD, Part.LINE)
    for x in (-9.2, 9.2):
        c.draw(rect(x - 1.0, -4.0, x + 1.0, 0, 0.3), Part.WOOD_DARK, Part.LINE)


def _sit(k: int) -> Pose:
    breath, swing = 0.2 * (1 - cos(2 * pi * k / PHASES)), 0.7 * _wave(k)
    return Pose(hip=(0, -7.4), head=(0, breath), legs_over=True, knees=((-2.9, -6.2), (2.9, -6.2)), back=[_chair],
                feet=((-3.1 + swing, -1.4), (3.1 + swing, -1.4)), face="blink" if k == 5 else "open", wag=0.5 * swing,
                left=((-2.2, 3.4), (-0.4, 7.8)), right=((2.2, 3.4), (0.4, 7.8)), middle=[_seat])  # fmt: skip


def _wave_hand(k: int) -> Pose:
    s = _wave(k)
    pose = Pose(head=(-0.5, 0.0), face="happy" if k in (2, 3, 4) else "open", right_over=True, wag=s)
    pose.right = ((5.4, -1.4), (6.4 + 3.4 * s, -11.0 + 0.8 * s))
    x, y = pose.neck[0] + SHOULDER + 6.4 + 3.4 * s, pose.neck[1] + 1.2 - 11.0 + 0.8 * s

    def palm(c: Canvas) -> None:
        for dx, dy in ((-1.8, -1.9), (0.0, -2.7), (1.8, -1.9)):
            c.draw(line((x, y), (x + dx, y + dy), width=1.5), Part.HAND, EDGE, 0.5)
        c.draw(ellipse(x, y, 2.1, 2.0), Part.HAND)

    def swish(c: Canvas) -> None:
        arc = [(x + 4.4 * cos(a), y - 4.4 * sin(a)) for a in (0.2, 0.7, 1.2)]
        c.draw(line(*arc, width=0.8), Scene.NOTE, Scene.INK, 0.45)

    pose.late = [palm]
    if abs(s) > 0.5:
        pose.back.append(swish)
    return pose


def _dance(k: int) -> Pose:
    s, hop = _wave(k), abs(_wave(k))
    left, right = max(0.0, -s), max(0.0, s)
    feet = ((-3.0 - 2.2 * left, -1.2 - 3.0 * left), (3.0 + 2.2 * right, -1.2 - 3.0 * right))
    drift = k / PHASES
    notes = [note(-15.5 + 1.5 * s, -19 - 8 * drift), note(12.5 - 1.5 * s, -17 - 8 * ((drift + 0.5) % 1.0))]
    return Pose(hip=(2.0 * s, -6.4 - 1.2 * hop), lean=-2.2 * s, head=(-0.8 * s, 0.2), feet=feet, face="happy",
                wag=2 * s, left=((-3.8, -0.8 - 1.6 * s), (-4.4, -6.4 - 3.4 * s)),
                right=((3.8, -0.8 + 1.6 * s), (4.4, -6.4 + 3.4 * s)),
                left_over=True, right_over=True, back=notes)  # fmt: skip


def _jump(k: int) -> Pose:
    up = (0.0, 3.0, 7.0, 9.0, 9.0, 7.0, 3.0, 0.0)[k]
    if up == 0.0:  # crouch, before and after
        dust = [puff(-7.5, -1.2, 1.5), puff(8.5, -1.2, 1.3)] if k == 7 else []
        return Pose(hip=(0, -4.4), feet=((-3.4, -1.2), (3.4, -1.2)), knees=((-4.4, -3.4), (4.4, -3.4)), back=dust,
                    left=((-2.8, 2.0), (-4.4, 4.4)), right=((2.8, 2.0), (4.4, 4.4)))  # fmt: skip
    tuck = 1.0 if up > 5 else 0.0
    feet = ((-3.0 - tuck, -1.2 - up + tuck * 0.8), (3.0 + tuck, -1.2 - up - tuck * 1.6))
    lines = [line((x, -3.0), (x, -1.0), width=0.7) for x in (-4.0, 0.0, 4.0)] if 3 <= k <= 4 else []
    return Pose(hip=(0, -6.4 - up), feet=feet, face="happy", wag=1.5,
                left=((-3.2, -1.0), (-4.6, -6.4 - tuck)), right=((3.2, -1.0), (4.6, -6.4 - tuck)), left_over=True,
                right_over=True, back=[strokes(lines)])  # fmt: skip


def _drink(k: int) -> Pose:
    lift = (0.0, 0.3, 0.8, 1.0, 1.0, 1.0, 0.8, 0.3)[k]
    pose = Pose(head=(-0.3 * lift, -0.2 * lift), face="blink" if lift == 1.0 else "open", right_over=True)
    fx, fy = pose.face_at
    x, y = 6.4 + lift * (fx - 1.2), -12.0 + lift * (fy + 5.4 + 12.0)  # from the chest to the mouth
    nx, ny = pose.neck
    hand = (x + 1.6 - (nx + SHOULDER), y + 0.8 - (ny + 1.2))
    pose.right = ((3.6, 2.6 - 0.6 * lift), hand)

    def cup(c: Canvas) -> None:
        c.draw(ellipse(x + 3.2, y, 1.8, 1.7) - ellipse(x + 3.2, y, 0.9, 0.8), Part.PAGE, EDGE, 0.5)
        c.draw(rect(x - 3.0, y - 2.8, x + 2.8, y + 2.8, 0.9), Part.PAGE, EDGE)
        c.draw(rect(x - 3.0, y - 0.5, x + 2.8, y + 1.1), Part.COVER)

    pose.front = [steam(x + 1.0, y - 3.4, k), cup]
    return pose


def _read(k: int) -> Pose:
    bob = 0.3 * _wave(k)
    x, y = 10.2, -11.6 + bob  # held out to the side, so that the coat stays in sight
    pose = Pose(head=(0.8, 0.5), face="down", right_over=True)
    nx, ny = pose.neck
    pose.right = ((2.6, 4.4), (x - 0.4 - (nx + SHOULDER), y + 4.6 - (ny + 1.2)))

    def page(side: int, out: float, lift: float) -> Shape:
        return polygon(
            (x + side * 0.2, y - 3.0),
            (x + side * out, y - 4.2 - lift),
            (x + side * out, y + 2.6 - lift),
            (x + side * 0.2, y + 3.4),
        )

    def book(c: Canvas) -> None:
        cover = polygon(
            (x - 7, y - 3.4), (x, y - 2.4), (x + 7, y - 3.4), (x + 7, y + 3.8), (x, y + 4.6), (x - 7, y + 3.8)
        )
        c.draw(cover, Part.COVER, EDGE)
        for side in (-1, 1):
            c.draw(page(side, 5.8, 0), Part.PAGE, EDGE, 0.4)
            for row in (-1.6, 1.0):
                c.draw(line((x + side * 1.6, y + row), (x + side * 4.8, y + row - 0.5), width=0.7), Part.WOOD)
        if k == 5:
            c.draw(page(1, 5.0, 1.8), Part.PAGE, EDGE, 0.5)
        elif k == 6:
            c.draw(
                polygon((x - 0.5, y - 7), (x + 0.5, y - 7), (x + 0.5, y + 3.4), (x - 0.5, y + 3.4)),
                Part.PAGE,
                EDGE,
                0.5,
            )
        elif k == 7:
            c.draw(page(-1, 5.0, 1.8), Part.PAGE, EDGE, 0.5)

    pose.front = [book]
    return pose


def _phone(k: int) -> Pose:
    bob = 0.3 * _wave(k)
    x, y = 9.0, -16.4 + bob
    pose = Pose(head=(0.7, 0.4), face="open" if k != 5 else "blink", right_over=True)
    nx, ny = pose.neck
    pose.right = ((4.4, 2.6), (x - 0.2 - (nx + SHOULDER), y + 4.0 - (ny + 1.2)))

    def handset(c: Canvas) -> None:
        c.draw(rect(x - 2.8, y - 4.8, x + 2.8, y + 3.9, 0.9), Part.PHONE, EDGE, 0.4)
        c.draw(rect(x - 1.9, y - 3.9, x + 1.9, y + 2.5, 0.3), Part.GLOW)
        row = y - 3.2 + (k % 4) * 1.3
        c.draw(rect(x - 1.3, row, x + 1.3, row + 0.8), Part.PAGE)

    def rays(c: Canvas) -> None:
        reach = 1.6 + (k % 2) * 0.8
        for dx, dy in ((0.0, -1.0), (0.72, -0.7), (1.0, 0.0)):
            a = (x + dx * 4.4, y - 0.6 + dy * 6.0)
            c.draw(line(a, (a[0] + dx * reach, a[1] + dy * reach), width=0.9), Part.GLOW, EDGE, 0.25)

    pose.front = [rays, handset]
    return pose


def _guitar(k: int) -> Pose:
    s = _wave(k, 2)
    pose = Pose(head=(0.4 * _wave(k), 0.2), face="happy" if k in (0, 1, 2) else "open", left_over=True, right_over=True)
    nx, ny = pose.neck
    pose.left = ((-2.8, 3.2), (-4.4 - (nx - SHOULDER), -5.8 + 1.6 * s - (ny + 1.2)))
    pose.right = ((3.4, 2.6), (9.2 - (nx + SHOULDER), -10.0 - (ny + 1.2)))

    def body(c: Canvas) -> None:
        c.draw(line((-0.6, -6.4), (12.4, -11.4), width=1.7), Part.GUITAR_DARK, EDGE)
        c.draw(line((12.2, -11.3), (14.8, -12.3), width=2.6), Part.GUITAR_DARK, EDGE)
        c.draw(ellipse(-5.2, -4.0, 4.6, 3.9) | ellipse(-0.4, -5.8, 3.2, 2.8), Part.GUITAR, EDGE)
        c.draw(ellipse(-1.8, -5.3, 1.4, 1.3), Part.GUITAR_DARK)
        c.draw(line((-7.0, -4.8), (-6.2, -2.4), width=0.9), Part.GUITAR_DARK)
        c.draw(line((-6.4, -3.6), (11.8, -11.1), width=0.4), Part.PAGE)

    rise = k / PHASES
    pose.middle = [body]
    pose.back = [note(11.5 + 1.2 * s, -19 - 9 * rise), note(-14.5 - 1.2 * s, -14 - 9 * ((rise + 0.5) % 1.0))]
    return pose


def _umbrella(k: int) -> Pose:
    sway = 0.6 * _wave(k)
    pose = Pose(head=(-0.3, 0.1), face="blink" if k == 4 else "open", right=((3.6, 2.4), (4.4, -1.4)), right_over=True,
                wag=0.5 * sway)  # fmt: skip
    x, y = 2.6 + sway, -28.6

    def canopy(c: Canvas) -> None:
        dome = ellipse(x, y, 12.6, 11.0) & rect(x - 14, y - 12, x + 14, y)
        for cx in (-8.4, 0.0, 8.4):
            dome = dome - ellipse(x + cx, y + 0.6, 4.1, 1.7)
        c.draw(line((x, y - 10), (x, y - 12.4), width=0.9), Part.LINE)
        c.draw(dome, Part.CANOPY, Part.LINE)
        c.draw(ellipse(x, y, 4.2, 11.0), Part.CANOPY_LIGHT, clip=dome)
        for side in (-1, 1):
            c.draw(ellipse(x + side * 12.6, y, 4.2, 9.0), Part.CANOPY_LIGHT, clip=dome)
        c.draw(line((x, y - 2), (9.4, -13.6), width=1.0), Part.WOOD_DARK, Part.LINE, 0.3)

    def handle(c: Canvas) -> None:
        c.draw(line((8.9, -17.6), (9.6, -11.0), (10.8, -9.6), (12.0, -11.0), width=1.0), Part.WOOD_DARK, EDGE, 0.3)

    pose.back, pose.front = [canopy], [handle]
    return pose


def _sleep(k: int, mirrored: bool = False) -> Pose:
    breath = 0.35 * (1 - cos(2 * pi * k / PHASES))
    pose = Pose(hip=(0, -6.2 + 0.2 * breath), head=(1.0, 1.0 + breath), face="blink", left_over=True,
                feet=((-3, -1), (3, -1)), left=((-2.4, 2.6), (-3.0, 6.0)), right=((2.4, 2.6), (3.0, 6.0)),
                right_over=True)  # fmt: skip

    def pillow(c: Canvas) -> None:
        c.draw(rect(-11.6, -24.6, 11.6, -9.4, 4.6), Part.PAGE, Part.LINE)
        for side in (-1, 1):
            c.draw(line((side * 9.6, -22.4), (side * 7.6, -20.4), width=0.5), Part.BLANKET)

    def blanket(c: Canvas) -> None:
        top = -6.2 + 0.4 * breath
        quilt = rect(-11.6, top, 11.6, 0.6, 2.2)
        c.draw(quilt, Part.BLANKET, EDGE)
        for x in (-8.0, -0.0, 8.0):
            c.draw(
                rect(x - 2.0, top + 2.0, x + 2.0, top + 5.0) | rect(x - 6.0, top + 5.0, x - 2.0, 1),
                Part.CANOPY_LIGHT,
                clip=quilt,
            )
        c.draw(rect(-11.6, top, 11.6, top + 2.0, 0.9), Part.PAGE, EDGE, 0.5)

    rise = k / PHASES
    snores = []
    for i in range(2):
        r = (rise + i / 2) % 1.0
        snores.append(snore(10.0 + 4.0 * r, -23.5 - 11 * r, 2.8 + 2.8 * r, mirrored))
    pose.back, pose.late = [pillow], [blanket, *snores]
    return pose


_POSES: dict[str, Callable[[int], Pose]] = {
    "stand": _stand,
    "walk": _walk,
    "run": _run,
    "sit": _sit,
    "wave": _wave_hand,
    "dance": _dance,
    "jump": _jump,
    "drink": _drink,
    "read": _read,
    "phone": _phone,
    "guitar": _guitar,
    "umbrella": _umbrella,
    "sleep": _sleep,
}
assert tuple(_POSES) == ACTIONS


def pose_of(action: str, phase: int, mirrored: bool = False) -> Pose:
    """The pose of `action` in `phase` (0 to `PHASES` - 1).

    A sprite that will be shown `mirrored` must be drawn so: then its letters (only sleepers have any) can be read.
    """
    return _sleep(phase, mirrored) if action == "sleep" else _POSES[action](phase)

"""What one place in one frame chose: the tokens under `shot:frame:x,y` and the chunks they looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from moc.errors import InputError
from moc.route_map.load import RouteMap, ShotInfo

_QUERY = re.compile(r"([^:]+):([0-9]{1,6}):([0-9]{1,5}),([0-9]{1,5})")


@dataclass(frozen=True)
class Chosen:
    """A chunk that a token chose: its shot, its place in the shot from 1, the times and the share of its choices.

    `first`, `last`: video frames of the shot, from 1, that it covers.
    """

    shot: ShotInfo
    within: int
    first: int
    last: int
    times: int
    share: float


@dataclass(frozen=True)
class Answer:
    """A query's token: place of the shot (from 0), video frame (from 1), pixel, and the token's cell in the frame."""

    place: int
    frame: int
    x: int
    y: int
    cell: tuple[int, int, int, int]
    chosen: tuple[Chosen, ...]


def parse(query: str) -> tuple[str, int, int, int]:
    """Shot, frame and pixel of `shot:frame:x,y`.

    Raises:
        InputError: it has another form.
    """
    match = _QUERY.fullmatch(query.strip())
    if match is None:
        raise InputError(f"--query '{query}' is not SHOT:FRAME:X,Y, such as 8:1:48,20.")
    frame, x, y = (int(n) for n in match.groups()[1:])
    return match[1], frame, x, y


def ask(route_map: RouteMap, query: str) -> Answer:
    """The chunks that the token at `shot:frame:x,y` chose most, over all steps, layers and heads.

    Args:
        query: a shot's number or id, a video frame of it counted from 1, and a pixel of the frame as rendered.

    Raises:
        InputError: not of that form, outside the story or the frame, or a run that keeps no choices of tokens.
    """
    name, frame, x, y = parse(query)
    place = _place(route_map, name)
    shot = route_map.shots[place]
    choices = route_map.choices(place)
    if choices is None or route_map.picture is None or not route_map.frames:
        raise InputError("--query: this run keeps no choices of single tokens; generate it again with this moc.")
    frames, (width, height) = route_map.frames[place], route_map.picture
    if not 1 <= frame <= frames:
        raise InputError(f"--query: shot {shot.title} has frames 1 to {frames}, not {frame}.")
    if not (x < width and y < height):
        raise InputError(f"--query: frames are {width}x{height} pixels, counted from 0,0; {x},{y} is outside.")
    latents, rows, columns = choices.shape[:3]
    t, row, column = (frame - 1) * latents // frames, y * rows // height, x * columns // width
    cell = (column * width // columns, row * height // rows, width // columns, height // rows)
    pairs = choices[t, row, column]
    total = max(route_map.routes_per_token(place), 1)
    chosen = [_chosen(route_map, int(c), int(times), total) for c, times in pairs if times]
    return Answer(place, frame, x, y, cell, tuple(chosen))


def _place(route_map: RouteMap, text: str) -> int:
    for i, shot in enumerate(route_map.shots):
        if text.strip() in (shot.id, str(shot.number)):
            return i
    known = ", ".join(shot.title for shot in route_map.shots[:12])
    raise InputError(f"--query: there is no shot '{text}'; there are {known}.")


def _chosen(route_map: RouteMap, chunk: int, times: int, total: float) -> Chosen:
    place = int(route_map.chunk_shot[chunk])
    start, stop = route_map.bounds[place], route_map.bounds[place + 1]
    within, count = chunk - int(start), int(stop - start)
    frames = route_map.frames[place]
    return Chosen(
        route_map.shots[place], within + 1, within * frames // count + 1, max((within + 1) * frames // count, 1), times,
        times / total,
    )  # fmt: skip


def picture(route_map: RouteMap, answer: Answer, most: int = 8) -> np.ndarray:
    """uint8 `[height, width, 3]`: the frame with the token marked, and the frames it chose, most chosen first.

    Raises:
        InputError: the run's frames are gone.
    """
    from PIL import Image, ImageDraw

    from moc.route_map.pictures import frames_of

    scale, gap = 2, 8
    chosen = answer.chosen[:most]
    width, height = (n * scale for n in route_map.picture or (1, 1))
    columns = 4
    lines = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (gap + (width + gap) * columns, (height + 24 + gap) * (1 + lines) + gap), "#ffffff")
    draw = ImageDraw.Draw(sheet)

    def put(place: int, frame: int, x: int, y: int, text: str) -> None:
        image = Image.fromarray(frames_of(route_map, place)[frame - 1])
        sheet.paste(image.resize((width, height), Image.Resampling.NEAREST), (x, y))
        draw.text((x, y + height + 4), text, fill="#222222")

    own = route_map.shots[answer.place]
    put(answer.place, answer.frame, gap, gap, f"shot {own.title}, frame {answer.frame}: {answer.x},{answer.y}")
    left, top, w, h = (n * scale for n in answer.cell)
    draw.rectangle((gap + left, gap + top, gap + left + w - 1, gap + top + h - 1), outline="#e4007f", width=2)
    for n, one in enumerate(chosen):
        x, y = gap + (n % columns) * (width + gap), gap + (1 + n // columns) * (height + 24 + gap)
        place = route_map.shots.index(one.shot)
        put(place, one.first, x, y, f"{one.shot.title}: {one.first}-{one.last}, {100 * one.share:.0f} %")
    return np.asarray(sheet)

"""Makes the README's opening clip: shot 8 takes over the coat of whatever shot 1 it is given, and loses it without.

    python docs/make_memory_clip.py                 # docs/images/memory_clip.webp, and the README's lines on stdout

Three runs of `storyboards/coat.yaml` with one seed, so the same words and the same noise: as it comes; with shot 1 of a
run of another seed in the place of the first (`--remember`); and so again, but with what shot 8 could read of it cut
(`--forget 1:8`). The other seed is the first one whose shot 1 shows a coat of another colour than the first run's shot
1, and than its shot 8 has with shot 1 forgotten, so that nothing agrees by accident. It is not chosen by what later
shots make of it; what the story world's reader reads there is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from moc.run import Listener, Request, RunFolder, render
from moc.run.state import ShotNote
from moc.storyboard import load_storyboard
from moc.world.reader import load_reader, read
from moc.world.schema import KINDS

ROOT = Path(__file__).parents[1]
STORY = ROOT / "storyboards" / "coat.yaml"
CLIP = ROOT / "docs" / "images" / "memory_clip.webp"
SHOWN = (1, 4, 8)
MOST_SEEDS = 20

_PAPER, _INK, _QUIET = (247, 243, 234), (44, 40, 52), (120, 110, 104)
_GAP, _HEADING, _LABEL, _SCALE = 8, 24, 20, 3


@dataclass(frozen=True)
class Row:
    """One run in the clip: what was done, in words and as options."""

    name: str
    says: str
    out: Path
    remember: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()


class Said(Listener):
    """Tells of every finished shot."""

    def shot_done(self, note: ShotNote, seconds: float) -> None:
        """A line a shot."""
        print(f"  shot {note.number} ({note.id}) in {seconds:.0f} s", file=sys.stderr)


def draw(out: Path, model: str, device: str, *, seed: int, shots: str | None = None, row: Row | None = None) -> None:
    """One run, as `moc generate` draws it; what is there of it already stays."""
    print(f"{out}", file=sys.stderr)
    edits = {"remember": row.remember, "forget": row.forget} if row else {}
    begun = (out / "manifest.json").is_file()
    if begun and shots:
        return
    request = Request(
        load_storyboard(STORY), str(STORY), out, overrides={"sampling.seed": str(seed), "model": model}, device=device,
        shots=shots, resume=begun, **edits,
    )  # fmt: skip
    render(request, Said())


def frames_of(out: Path, number: int) -> np.ndarray:
    """uint8 `[F, H, W, 3]` of a shot."""
    frames: np.ndarray = RunFolder(out).states()[number].frames
    return frames


def looks(out: Path, number: int, kind: str = "woman") -> dict[str, str] | None:
    """What the reader reads of a character in a shot; None where it finds nobody of that kind."""
    from moc.world.reader import CHARACTER_LABELS

    frames = torch.from_numpy(frames_of(out, number)).permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        found = read(load_reader("cpu"), frames)
    column = KINDS.index(kind)
    if found.present[0, column] <= 0:
        return None
    names = ("coat", "pattern", "hat", "hat_color", "scarf", "hair")
    return {name: CHARACTER_LABELS[name][int(found.character[name][0, column].argmax())] for name in names}


def other_first_shot(runs: Path, model: str, device: str, seed: int) -> Path:
    """A run of another seed, its first shot alone, in a coat that the first run shows neither with memory nor without.

    Raises:
        SystemExit: no such seed among the next `MOST_SEEDS`.
    """
    kept = tuple(f"{runs / 'one'}:{number}" for number in range(1, 8))
    draw(runs / "alone", model, device, seed=seed, row=Row("alone", "", runs / "alone", kept, ("1:8",)))
    mine = {(looks(*place) or {}).get("coat") for place in ((runs / "one", 1), (runs / "alone", 8))}
    for other in range(seed + 1, seed + 1 + MOST_SEEDS):
        out = runs / f"seed_{other}"
        draw(out, model, device, seed=other, shots="1")
        found = looks(out, 1)
        if found and found["coat"] not in mine:
            return out
    raise SystemExit(f"no seed from {seed + 1} to {seed + MOST_SEEDS} draws another coat than seed {seed}")


def words(seen: dict[str, str] | None) -> str:
    """What is worn, in a few words."""
    if not seen:
        return "nobody found"
    coat = f"{seen['pattern']} {seen['coat']} coat"
    hat = "no hat" if seen["hat"] == "none" else f"{seen['hat_color']} {seen['hat']}"
    scarf = "no scarf" if seen["scarf"] == "none" else f"{seen['scarf']} scarf"
    return f"{coat}, {hat}, {scarf}"


def moving(rows: Sequence[Row], path: Path, still: Path | None) -> None:
    """The clip: a row a run, a column a shot, all shots playing at once; `still` is a frame of it."""
    pictures = [[frames_of(row.out, number) for number in SHOWN] for row in rows]
    count = min(len(frames) for cells in pictures for frames in cells)
    height, width = pictures[0][0].shape[1] * _SCALE, pictures[0][0].shape[2] * _SCALE
    sheet = Image.new(
        "RGB", (_GAP + len(SHOWN) * (width + _GAP), _GAP + len(rows) * (_HEADING + height + _LABEL + _GAP)), _PAPER
    )
    pen = ImageDraw.Draw(sheet)
    places = []
    y = _GAP
    for row in rows:
        pen.text((_GAP, y), row.says, _INK, ImageFont.load_default(15))
        for i, number in enumerate(SHOWN):
            x = _GAP + i * (width + _GAP)
            places.append((x, y + _HEADING))
            label = f"shot {number}" + (", of another run" if number == 1 and row.remember else "")
            pen.text((x + width / 2, y + _HEADING + height + 2), label, _QUIET, ImageFont.load_default(13), anchor="ma")
        y += _HEADING + height + _LABEL + _GAP
    film = []
    for at in range(count):
        picture = sheet.copy()
        for place, frames in zip(places, (frames for cells in pictures for frames in cells), strict=True):
            cell = Image.fromarray(frames[at]).resize((width, height), Image.Resampling.BOX)
            picture.paste(cell, place)
        film.append(picture)
    film[0].save(path, save_all=True, append_images=film[1:], duration=125, loop=0, quality=75, method=4)
    if still is not None:
        film[count // 2].save(still)


def main() -> None:
    """Draw the runs, put them side by side, say what is seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/coat"), help="where the runs go")
    parser.add_argument("--out", type=Path, default=CLIP)
    parser.add_argument("--still", type=Path, help="a frame of the clip, as a picture to look at")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    place = {"model": args.model, "device": args.device, "seed": args.seed}
    one = Row("one", "Mira comes back after six shots. No caption says what she wears.", args.runs / "one")
    draw(one.out, **place)
    other = other_first_shot(args.runs, args.model, args.device, args.seed)
    lent = (f"{other}:1",)
    rows = [
        one,
        Row("taken", "--remember OTHER:1   Same words and noise; shot 1 is another run's.", args.runs / "taken", lent),
        Row("lost", "--remember OTHER:1 --forget 1:8   Shot 8 can't read shot 1.", args.runs / "lost", lent, ("1:8",)),
    ]  # fmt: skip
    for row in rows[1:]:
        draw(row.out, row=row, **place)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    moving(rows, args.out, args.still)
    alike = []
    for row in rows:
        first, last = looks(row.out, 1) or {}, looks(row.out, 8) or {}
        alike.append(sum(last.get(name) == value for name, value in first.items()))
        print(f"{row.name}: shot 1 {words(first)}; shot 8 {words(last)}; {alike[-1]} of 6 alike", file=sys.stderr)
    print(
        f"![Shot 8 wears what shot 1 shows, whichever shot 1 it is given](docs/images/{args.out.name})\n\n"
        "*A story of eight shots, drawn three times with the same seed. Mira is seen in shots 1 and 8 alone, and no "
        "caption says what she wears. Top: as it comes. Middle: shot 1 is another run's (`--remember`). Bottom: "
        "likewise, but shot 8 can't read shot 1 (`--forget 1:8`). Of coat, pattern, hat, its colour, scarf and hair, "
        f"{alike[0]}, {alike[1]} and {alike[2]} of 6 are the same in shots 1 and 8, read from pixels.*"
    )


if __name__ == "__main__":
    main()

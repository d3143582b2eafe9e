"""Draws the pictures of the README and the docs, from the story world and from a run of `moc generate`.

    python docs/make_images.py world           # the world's own renderer, no model: docs/images/world_*.webp
    python docs/make_images.py run runs/minute # what a model drew: docs/images/run_*.webp, and the README's lines

Every cell of a world picture is a story in plain words, read as `moc generate` reads it; what the words leave open is
drawn at random from the seed given beside them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from moc.storyboard import Storyboard, load_storyboard
from moc.video import read_frames
from moc.world import schema
from moc.world.language import understand_story
from moc.world.render import render
from moc.world.story import StoryBatch
from moc.world.written import ShotText, StoryText

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- run pictures -->", "<!-- end of run pictures -->"
FRAME = 20  # of a shot's 64: everybody is in full motion

_PAPER, _INK, _QUIET = (247, 243, 234), (44, 40, 52), (120, 110, 104)
_GAP, _LABEL = 8, 22

Row = tuple[str, Sequence[tuple[str, np.ndarray]]]  # a heading and (label, picture) cells


def batch_of(text: StoryText, seed: int) -> StoryBatch:
    """A story in words as the world's own table; open attributes and poses are drawn from `seed`.

    Raises:
        ValueError: a word is not understood, or the story does not fit the world.
    """
    read = understand_story(text)
    unknown = [word for words in read.words for word, _ in words.unknown]
    if read.problems or unknown:
        raise ValueError(f"this story can't be drawn: {read.problems or unknown}")
    generator = torch.Generator().manual_seed(seed)
    shots = len(read.shots)
    told = [*read.facts, *(fact for shot in read.shots for fact in shot.facts)]  # a lone shot names its own

    def table(attributes: dict[str, tuple[str, ...]], first_slot: int, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        columns = [torch.randint(len(values), (1, slots), generator=generator) for values in attributes.values()]
        values, named = torch.stack(columns, -1), torch.zeros(1, slots, len(columns), dtype=torch.bool)
        values[..., 0] = -1  # nobody, until a fact says who
        for slot, attribute, value in ((f.slot - first_slot, f.attribute, f.value) for f in told):
            if 0 <= slot < slots and attribute in attributes:
                column = list(attributes).index(attribute)
                values[0, slot, column], named[0, slot, column] = attributes[attribute].index(value), True
        return values, named

    characters, characters_named = table(schema.CHARACTER_ATTRIBUTES, schema.character_slot(0), schema.MAX_CHARACTERS)
    scenes, scenes_named = table(schema.PLACE_ATTRIBUTES, schema.scene_slot(0), schema.MAX_SCENES)
    scene = torch.zeros(1, shots, dtype=torch.long)
    cast = torch.full((1, shots, schema.MAX_CAST), -1)
    action = torch.zeros(1, shots, schema.MAX_CAST, dtype=torch.long)
    own = {name: torch.zeros(1, shots, dtype=torch.long) for name in ("camera", "time", "weather", "prop")}
    for s, shot in enumerate(read.shots):
        seen = [f.slot for f in shot.facts if f.attribute == "kind"]
        for fact in shot.facts:
            if fact.attribute == "place":
                scene[0, s] = fact.slot - schema.scene_slot(0)
            elif fact.attribute == "action":
                role = seen.index(fact.slot)
                cast[0, s, role] = fact.slot - schema.character_slot(0)
                action[0, s, role] = schema.ACTIONS.index(fact.value)
            elif fact.attribute in own:
                own[fact.attribute][0, s] = schema.SHOT_ATTRIBUTES[fact.attribute].index(fact.value)
    return StoryBatch(
        characters=characters,
        characters_named=characters_named,
        scenes=scenes,
        scenes_named=scenes_named,
        scene=scene,
        cast=cast,
        action=action,
        free=torch.rand(1, shots, 16, generator=generator),
        **own,
    )


def draw(text: StoryText, seed: int) -> list[np.ndarray]:
    """One picture a shot, uint8 `[H, W, 3]`."""
    frames = render(batch_of(text, seed), frames=1, start=FRAME).frames[0, :, 0]
    return list(frames.permute(0, 2, 3, 1).numpy())


def one(prompt: str, seed: int = 1, camera: str = "medium", **people: str) -> np.ndarray:
    """A story of one shot in the given camera; `people` describe the `{names}` of the prompt."""
    return draw(StoryText("", people, {}, [ShotText(prompt, None, camera)]), seed)[0]


def grid(rows: Sequence[Row], scale: int) -> Image.Image:
    """Rows of pictures, enlarged by whole pixels, with a label under each and a heading over each row that has one."""
    height, width = rows[0][1][0][1].shape[:2]
    cell = (width * scale, height * scale)
    widest = max(len(cells) for _, cells in rows)
    tall = sum(cell[1] + _LABEL + _GAP + (_LABEL if heading else 0) for heading, _ in rows)
    sheet = Image.new("RGB", (_GAP + widest * (cell[0] + _GAP), _GAP + tall), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    y = _GAP
    for heading, cells in rows:
        if heading:
            pen.text((_GAP, y), heading, _INK, ImageFont.load_default(16))
            y += _LABEL
        for i, (label, picture) in enumerate(cells):
            x = _GAP + i * (cell[0] + _GAP)
            sheet.paste(Image.fromarray(picture).resize(cell, Image.Resampling.NEAREST), (x, y))
            pen.text((x + cell[0] / 2, y + cell[1] + 3), label, _QUIET, font, anchor="ma")
        y += cell[1] + _LABEL + _GAP
    return sheet


def rows_of(cells: Sequence[tuple[str, np.ndarray]], columns: int) -> list[Row]:
    """Cells in reading order."""
    return [("", cells[i : i + columns]) for i in range(0, len(cells), columns)]


# One glance at every place: who does what where.
_PLACES = (
    "a woman drinks coffee in the cafe",
    "a bear plays the guitar by the river at sunset",
    "a girl rides out the rain under an umbrella in the street",
    "a robot reads in the kitchen",
    "a rabbit runs in the forest",
    "a dog jumps on the beach with a ball",
    "a cat sleeps in the library",
    "a man waits at the station in the snow with a suitcase",
    "a boy dances on the rooftop at night",
    "a cat and a dog wave in the park with a balloon",
)
_WORN = {
    "hair": "hair, fur or metal",
    "coat": "coat",
    "pattern": "pattern of the coat",
    "hat": "hat",
    "hat_color": "colour of the hat",
    "scarf": "scarf",
    "size": "size",
}
_SAID = {
    "stand": "stands", "walk": "walks", "run": "runs", "sit": "sits", "wave": "waves", "dance": "dances",
    "jump": "jumps", "drink": "drinks", "read": "reads", "phone": "looks at her phone", "guitar": "plays the guitar",
    "umbrella": "holds an umbrella", "sleep": "sleeps",
}  # fmt: skip


def changed(batch: StoryBatch, attribute: str, value: int) -> np.ndarray:
    """The only shot of a story with one attribute of its character, its scene or itself set to another value."""
    columns = {"characters": schema.CHARACTER_ATTRIBUTES, "scenes": schema.PLACE_ATTRIBUTES}
    tables = {name: getattr(batch, name).clone() for name in (*columns, *schema.SHOT_ATTRIBUTES)}
    for name, attributes in columns.items():
        if attribute in attributes:
            tables[name][0, 0, list(attributes).index(attribute)] = value
    if attribute in schema.SHOT_ATTRIBUTES:
        tables[attribute][0, 0] = value
    frames = render(StoryBatch(**{**vars(batch), **tables}), frames=1, start=FRAME).frames
    return frames[0, 0, 0].permute(1, 2, 0).numpy()


def attribute_rows(batch: StoryBatch, attributes: dict[str, str]) -> list[Row]:
    """A row an attribute: the same shot with each of its values."""
    known = {**schema.CHARACTER_ATTRIBUTES, **schema.PLACE_ATTRIBUTES, **schema.SHOT_ATTRIBUTES}
    return [
        (heading, [(value, changed(batch, name, i)) for i, value in enumerate(known[name])])
        for name, heading in attributes.items()
    ]


def memory(story: Storyboard, chosen: Sequence[int], seeds: Sequence[int]) -> list[Row]:
    """The same words drawn with different seeds: what the text leaves open differs between rows, never within one."""
    text = StoryText(
        story.global_prompt,
        story.characters,
        story.scenes,
        [ShotText(shot.prompt, shot.scene, shot.camera) for shot in story.shots],
    )
    rows: list[Row] = []
    for name, seed in zip("ABC", seeds, strict=False):
        pictures = draw(text, seed)
        rows.append((f"Story {name}", [(f"shot {n}, {story.shots[n - 1].id}", pictures[n - 1]) for n in chosen]))
    return rows


def world_pictures(out: Path) -> None:
    """Everything that shows the world itself."""

    def save(name: str, picture: Image.Image) -> None:
        picture.save(out / f"world_{name}.webp", lossless=True, quality=100, method=6)

    scenes = [(_place_in(prompt), one(prompt, seed=20 + i)) for i, prompt in enumerate(_PLACES)]
    save("places", grid(rows_of(scenes, 5), 2))
    save("memory", grid(memory(load_storyboard(ROOT / "storyboards" / "minute.yaml"), (1, 2, 6, 8), (3, 9)), 2))
    kinds = [(kind, one(f"a {kind} in a plain red coat waves in the park")) for kind in schema.KINDS]
    save("kinds", grid(rows_of(kinds, 5), 2))
    girl = batch_of(StoryText("", {"ada": _ADA}, {}, [ShotText("{ada} waves in the park", None, "medium")]), 2)
    save("attributes", grid(attribute_rows(girl, _WORN), 1))
    actions = [(action, one(f"a woman {_SAID[action]} in the park", seed=6)) for action in schema.ACTIONS]
    save("actions", grid(rows_of(actions, 5), 2))
    save("shots", grid(attribute_rows(girl, {n: n for n in ("camera", "time", "weather", "prop")}), 1))
    street = batch_of(StoryText("", {"ada": _ADA}, {}, [ShotText("{ada} walks in the street", None, "wide")]), 2)
    save("open_places", grid(attribute_rows(street, {n: n for n in schema.PLACE_OPEN}), 1))


def _place_in(prompt: str) -> str:
    return next(place for place in schema.PLACES if place in prompt)


_ADA = "a tall girl with brown hair in a plain yellow coat with a red sun hat and a blue scarf"


def run_pictures(folder: Path, out: Path) -> str:
    """Pictures of a finished run; returns the README's lines for them."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["status"] != "finished":
        raise SystemExit(f"{folder} is {manifest['status']}, not finished; go on with --resume first.")
    sheet = Image.open(folder / "contact_sheet.png").convert("RGB")
    sheet.thumbnail((1400, 4000), Image.Resampling.LANCZOS)
    sheet.save(out / "run_sheet.webp", quality=82, method=6)
    _moving(folder, manifest, out / "run.webp")
    _routes(folder, out / "run_routes.webp")
    where = Path("docs/images")
    video, shots = manifest["video"], manifest["shots"]
    sparsity = sum(shot["sparsity"] for shot in shots) / len(shots)
    return "\n".join(
        [
            f"![{manifest['title']}, a second of each shot]({where}/run.webp)",
            "",
            f"*{manifest['title']}: {len(shots)} shots, {video['seconds']:g} seconds, drawn by the model "
            f"`{manifest['model']['name']}` with seed {manifest['seed']}; a second of each shot is shown.*",
            "",
            f"![Contact sheet of the run]({where}/run_sheet.webp)",
            "",
            f"![Which shot looks at which earlier one]({where}/run_routes.webp)",
            "",
            f"*Who looked at whom: the share of each shot's routed links that leads to each earlier shot. "
            f"{sparsity:.0%} of all query-key pairs were never computed.*",
        ]
    )


def _moving(folder: Path, manifest: dict[str, Any], path: Path) -> None:
    """The first second of every shot as an animation."""
    fps = manifest["video"]["fps"]
    size = (3 * manifest["video"]["rendered_width"], 3 * manifest["video"]["rendered_height"])
    frames = []
    for shot in manifest["shots"]:
        for _, frame in zip(range(round(fps)), read_frames(folder / shot["clip"]), strict=False):
            frames.append(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0, quality=70, method=6
    )


def _routes(folder: Path, path: Path) -> None:
    """Shares of routed links from shot (row) to shot (column), over all layers, heads and steps."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with np.load(folder / "routing.npz") as arrays:
        of_shot, numbers, ids = arrays["chunk_shot"], arrays["shot_numbers"], arrays["shot_ids"]
        member = (of_shot[None, :] == numbers[:, None]).astype(np.float64)
        links = np.zeros((len(numbers), len(numbers)))
        for row, number in enumerate(numbers):  # a row of shots: the links of one shot, by the shot that they lead to
            to_chunks = arrays[f"counts_{number:02d}"].sum(axis=(0, 1, 2), dtype=np.float64)
            links[row] = member[:, : len(to_chunks)] @ to_chunks
    share = links / links.sum(axis=1, keepdims=True).clip(min=1)
    figure, axes = plt.subplots(figsize=(7, 6), dpi=110)
    picture = axes.imshow(np.where(share > 0, share, np.nan), cmap="YlOrBr", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        if value > 0 and len(numbers) <= 16:
            colour = "white" if value > 0.6 else "black"
            axes.text(column, row, f"{value:.0%}", ha="center", va="center", fontsize=8, color=colour)
    labels = [f"{number} {name}" for number, name in zip(numbers, ids, strict=True)]
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("looked at")
    axes.set_ylabel("shot that looks")
    figure.colorbar(picture, label="share of the shot's routed links")
    figure.tight_layout()
    figure.savefig(path, format="webp")
    plt.close(figure)


def fill(text: str, lines: str) -> str:
    """`text` with everything between the two markers replaced.

    Raises:
        ValueError: the markers are missing.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.S)
    if not pattern.search(text):
        raise ValueError(f"the text holds no '{BEGIN}' ... '{END}' to fill")
    return pattern.sub(lambda _: f"{BEGIN}\n{lines}\n{END}", text, count=1)


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("world", help="pictures of the story world")
    run = what.add_parser("run", help="pictures of a run")
    run.add_argument("folder", type=Path)
    args = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    if args.what == "world":
        world_pictures(IMAGES)
    else:
        readme = ROOT / "README.md"
        readme.write_text(fill(readme.read_text(encoding="utf-8"), run_pictures(args.folder, IMAGES)), encoding="utf-8")


if __name__ == "__main__":
    main()

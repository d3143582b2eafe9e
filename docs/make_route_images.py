"""Draws the pictures of docs/route-map.md from runs, and prints the findings that stand in it.

    moc route-map storyboards/cafe_to_river.yaml --no-causal --out runs/cafe_mask
    moc generate storyboards/cafe_to_river.yaml --out runs/cafe
    python docs/make_route_images.py mask runs/cafe_mask       # docs/images/route_map_mask.webp, route_map_sheets.webp
    moc route-map storyboards/cafe_to_river.yaml --no-causal --set model=WEIGHTS --out runs/cafe_tuned
    python docs/make_route_images.py tuned runs/cafe_tuned     # route_map_tuned.webp, route_map_tuned_sheets.webp
    python docs/make_route_images.py page runs/cafe 11:8:34,18 # docs/images/route_map_page.webp; needs playwright
    python docs/make_route_images.py pairs runs/*              # the strongest pairs that choose each other

The page is photographed in a browser: `--browser` names it, chromium or google-chrome unless given. The place is
SHOT:FRAME:X,Y as for `moc route-map --query`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from moc.route_map import Report, analyse, load
from moc.route_map.html import write_html
from moc.route_map.plot import draw
from moc.route_map.query import ask

IMAGES = Path(__file__).parent / "images"
SHEET_WIDTH, PAGE_WIDTH = 750, 1000


def save(image: Image.Image, name: str, quality: int = 80) -> None:
    """A picture of the documentation."""
    path = IMAGES / f"{name}.webp"
    image.save(path, "WEBP", quality=quality, method=6)
    print(f"{path.name}: {image.width}x{image.height}, {path.stat().st_size / 1000:.0f} kB")


def mask(folder: Path, name_of_maps: str, name_of_sheets: str) -> None:
    """The two maps and contact sheets of a story, without the causal mask and with it."""
    names = ("not causal", "causal")
    places = [folder / name.replace(" ", "-") for name in names]
    reports = [(name, analyse(load(place))) for name, place in zip(names, places, strict=True)]
    with tempfile.TemporaryDirectory() as scratch:
        draw(reports, Path(scratch) / "map.png")
        save(Image.open(Path(scratch) / "map.png").convert("RGB"), name_of_maps)
    sheets = [Image.open(place / "contact_sheet.png").convert("RGB") for place in places]
    sheets = [sheet.resize((SHEET_WIDTH, round(SHEET_WIDTH * sheet.height / sheet.width))) for sheet in sheets]
    both = Image.new("RGB", (2 * SHEET_WIDTH, max(sheet.height for sheet in sheets)), sheets[0].getpixel((0, 0)))
    for n, sheet in enumerate(sheets):
        both.paste(sheet, (n * SHEET_WIDTH, 0))
    save(both, name_of_sheets)
    for name, report in reports:
        print("", name, *report.sentences(), sep="\n")


def page(run: Path, place: str, browser: str | None) -> None:
    """The page of a run, with a click on one place."""
    from playwright.sync_api import sync_playwright

    report = analyse(load(run))
    answer = ask(report.route_map, place)
    program = browser or shutil.which("chromium") or shutil.which("google-chrome")
    shot, pictures = answer.place, min(16, int(np.diff(report.route_map.bounds)[answer.place]))
    picture = (answer.frame - 1) * pictures // report.route_map.frames[shot]
    width, height = report.route_map.picture or (1, 1)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as running:
        file = Path(scratch) / "map.html"
        write_html(report, file)
        opened = running.chromium.launch(executable_path=program)
        tab = opened.new_page(viewport={"width": PAGE_WIDTH, "height": 900})
        tab.goto(file.as_uri())
        tab.wait_for_selector("body[data-ready]")
        tab.click(f".strip:nth-child({shot + 1}) button:nth-of-type({picture + 1})")
        box = tab.locator("#frame").bounding_box()
        assert box is not None
        at = {"x": (answer.x + 0.5) / width * box["width"], "y": (answer.y + 0.5) / height * box["height"]}
        tab.click("#frame", position=at)
        tab.wait_for_selector("#chosen li")
        tab.evaluate("window.scrollTo(0, 0)")  # places are counted from the top of the window
        first = tab.locator("h2", has_text="Who chooses whom").bounding_box()
        last = tab.locator("#strips").bounding_box()
        assert first is not None
        assert last is not None
        whole = Image.open(io.BytesIO(tab.screenshot(full_page=True)))
        opened.close()
    save(whole.convert("RGB").crop((0, int(first["y"]) - 8, PAGE_WIDTH, int(last["y"] + last["height"]) + 8)),
         "route_map_page")  # fmt: skip
    for one in answer.chosen:
        print(f"shot {one.shot.title}, frames {one.first}-{one.last}: {one.share:.1%}")


def pairs(runs: list[Path]) -> None:
    """The strongest pairs of each run by their weaker side, beside the even share: what a threshold has to part."""
    for run in runs:
        report = analyse(load(run), threshold=0.0)
        even = 1 / max(1, len(report.route_map.shots) - 1)
        said = ", ".join(_pair(report, n) for n in range(min(6, len(report.loops.mutual))))
        print(f"{run.name}: {len(report.route_map.shots)} shots, even share {even:.0%}; {said or 'no pair'}")


def _pair(report: Report, n: int) -> str:
    cycle = report.loops.mutual[n]
    a, b = (report.route_map.shots[p].number for p in cycle.places)
    return f"{a}-{b} {cycle.weakest:.0%}"


def main() -> None:
    """Draws what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser")
    parser.add_argument("what", choices=("mask", "tuned", "page", "pairs"))
    parser.add_argument("arguments", nargs="+", metavar="RUN", help="a run or several; with page, a place after it")
    args = parser.parse_args()
    if args.what == "mask":
        mask(Path(args.arguments[0]), "route_map_mask", "route_map_sheets")
    elif args.what == "tuned":
        mask(Path(args.arguments[0]), "route_map_tuned", "route_map_tuned_sheets")
    elif args.what == "page":
        page(Path(args.arguments[0]), args.arguments[1], args.browser)
    else:
        pairs([Path(run) for run in args.arguments])


if __name__ == "__main__":
    main()

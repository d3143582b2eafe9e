"""Draws the pictures of docs/compare.md from a finished comparison and its page.

    moc compare back.yaml -a dense,moc,local,random --seeds 4 --out runs/back --html back.html
    python docs/make_compare_images.py runs/back back.html     # docs/images/compare*.webp

The story stands in docs/compare.md. The page is photographed in a browser: `--browser` names it, chromium or
google-chrome unless given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from moc.video import read_frames

IMAGES = Path(__file__).parent / "images"
PAGE, SECOND = (1300, 970), 13.5


def moving(folder: Path) -> None:
    """The first second of every shot of the side-by-side video, at two fifths of its size."""
    report = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    run = json.loads((Path(report["arms"][0]["folders"][0]) / "manifest.json").read_text(encoding="utf-8"))
    fps, starts, at = round(run["video"]["fps"]), set(), 0
    for shot in run["shots"]:
        starts |= set(range(at, at + fps))
        at += shot["frames"]
    frames = [Image.fromarray(f) for n, f in enumerate(read_frames(folder / "side_by_side.mp4")) if n in starts]
    small = [frame.resize((frame.width * 2 // 5, frame.height * 2 // 5), Image.Resampling.LANCZOS) for frame in frames]
    path = IMAGES / "compare.webp"
    small[0].save(path, save_all=True, append_images=small[1:], duration=1000 // fps, loop=0, quality=40, method=6)
    tell(path)


def page(file: Path, browser: str | None) -> None:
    """The upper part of the page."""
    program = browser or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no browser found; name one with --browser")
    with tempfile.TemporaryDirectory() as scratch:
        shot = Path(scratch) / "page.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={shot}"]
        size = f"--window-size={PAGE[0]},{PAGE[1]}"
        address = f"{file.resolve().as_uri()}#t={SECOND}"
        subprocess.run(
            [program, *options, size, "--virtual-time-budget=5000", address], check=True, capture_output=True
        )
        save(Image.open(shot).convert("RGB").resize((PAGE[0] * 3 // 4, PAGE[1] * 3 // 4)), "compare_page")


def save(image: Image.Image, name: str) -> None:
    """A picture of the documentation."""
    path = IMAGES / f"{name}.webp"
    image.save(path, "WEBP", quality=80, method=6)
    tell(path)


def tell(path: Path) -> None:
    """Name and size of a file."""
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Draws all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what moc compare --out wrote")
    parser.add_argument("page", type=Path, help="what moc compare --html wrote")
    parser.add_argument("--browser", help="a program, such as chromium")
    asked = parser.parse_args()
    save(Image.open(asked.folder / "sheet.png").convert("RGB"), "compare_sheet")
    moving(asked.folder)
    page(asked.page, asked.browser)


if __name__ == "__main__":
    main()

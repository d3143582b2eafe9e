"""The page: small, self-contained, harmless, and alive in a browser where there is one."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from moc.route_map import RouteMap, ShotInfo, analyse, pictures, terminal
from moc.route_map import html as pages


def _long_story(shots: int, monkeypatch: pytest.MonkeyPatch) -> RouteMap:
    """A story of the built-in model's sizes, with noisy pictures and routes that fill every table."""
    rng = np.random.default_rng(5)
    frames = np.kron(rng.integers(0, 256, (64, 8, 12, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    monkeypatch.setattr(pages, "frames_of", lambda *_: frames)
    blocks = [rng.integers(0, 60, (10, 8, 4, 16, 16 * (n + 1)), dtype=np.uint32) for n in range(shots)]
    for n, block in enumerate(blocks):
        block[..., 16 * n :] = 0

    def choices(n: int) -> np.ndarray:
        chunk = rng.integers(0, max(16 * n, 1), (16, 8, 12, 8))
        return np.stack([chunk, rng.integers(1, 300, chunk.shape)], -1).astype(np.uint32)

    infos = tuple(ShotInfo(n + 1, f"shot{n + 1}", ("mira",)) for n in range(shots))
    found = RouteMap.from_counts(blocks, infos, title="Long </script><b>story</b>")
    return RouteMap(
        infos, found.chunk_shot, found.read, found.dims, choices=choices, title=found.title, folder=Path("run"),
        picture=(96, 64), frames=(64,) * shots,
    )  # fmt: skip


def _data(page: str) -> dict[str, object]:
    match = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def _counts(data: dict[str, object]) -> np.ndarray:
    shots = len(data["shots"])  # type: ignore[arg-type]
    raw = gzip.decompress(base64.b64decode(str(data["cube"])))
    return np.frombuffer(raw, "<u4").reshape(*data["dims"], shots, shots)  # type: ignore[misc]


@pytest.mark.parametrize(("most", "dims"), [(1000, [10, 8, 1]), (300, [1, 8, 4]), (100, [1, 8, 1]), (5, [1, 1, 1])])
def test_long_stories_have_fewer_sliders(most: int, dims: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_COUNTS", most)
    found = _long_story(3, monkeypatch)
    data = _data(pages.page(analyse(found)))
    assert data["dims"] == dims
    assert (_counts(data).sum(axis=(0, 1, 2)) == found.shot_counts()).all()


def test_24_shots_stay_under_two_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    page = pages.page(analyse(_long_story(24, monkeypatch)))
    assert len(page.encode()) < 2_000_000
    data = _data(page)
    assert data["title"] == "Long </script><b>story</b>"
    assert not re.search(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=", page)


def test_the_page_holds_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _long_story(3, monkeypatch)
    report = analyse(found)
    data = _data(pages.page(report))
    assert data["dims"] == [10, 8, 4]
    assert (_counts(data) == found.cube).all()
    assert data["findings"] == report.sentences()


def test_a_map_without_a_run_has_a_page() -> None:
    found = RouteMap.from_counts([np.zeros((1, 1, 1, 1, 1)), np.ones((1, 1, 1, 1, 1))])
    data = _data(pages.page(analyse(found)))
    assert "sprite" not in data["shots"][0]  # type: ignore[index]


def test_sprites_show_the_middle_of_each_stretch() -> None:
    frames = np.stack([np.full((4, 6, 3), n * 30, np.uint8) for n in range(8)])
    address, width, height = pictures.sprite(frames, 2, width=6)
    assert address.startswith("data:image/webp;base64,")
    assert (width, height) == (6, 4)


@pytest.mark.slow
def test_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sliders, hover values and the click on a place work, without an error and without a request."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser")
    found = _long_story(4, monkeypatch)
    (tmp_path / "map.html").write_text(pages.page(analyse(found)))
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        errors: list[str] = []
        requests: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto((tmp_path / "map.html").as_uri())
        tab.wait_for_selector("body[data-ready]")
        tab.hover("#map tbody tr:nth-child(4) td:nth-of-type(2)")
        counts = found.shot_counts()
        assert f"({counts[3, 1]:,}) to shot 2" in tab.inner_text("#tip")
        tab.evaluate("() => { const s = document.getElementById('layer'); s.value = 3; s.oninput(); }")
        tab.hover("#map tbody tr:nth-child(4) td:nth-of-type(1)")
        assert f"({found.cube[:, 2].sum(axis=(0, 1))[3, 0]:,}) to shot 1" in tab.inner_text("#tip")
        tab.evaluate("() => { const s = document.getElementById('head'); s.value = 2; s.oninput(); }")
        tab.hover("#map tbody tr:nth-child(4) td:nth-of-type(2)")
        assert f"({found.cube[:, 2, 1].sum(axis=0)[3, 1]:,}) to shot 2" in tab.inner_text("#tip")
        assert tab.inner_text("#head-said") == "2 of 4"
        tab.click(".strip:nth-child(3) button:nth-of-type(2)")
        tab.click("#frame", position={"x": 100, "y": 100})
        tab.wait_for_selector("#chosen li")
        assert tab.locator("#chosen li").count() == pages.CHOICES
        assert 1 <= tab.locator("button.lit").count() <= pages.CHOICES
        tab.click(".strip:nth-child(1) button:nth-of-type(1)")
        assert tab.locator("button.lit").count() == 0
        tab.hover("#chunks")
        assert "of its routes to chunk" in tab.inner_text("#chunk-tip")
        assert errors == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        browser.close()


@pytest.mark.parametrize("shots", [1, 3, 11, 24, 40, 64, 100])
def test_terminal_maps_fit_80_columns(shots: int) -> None:
    """Rows and columns keep their places: the column of a shot's own mark moves by one cell a row."""
    blocks = [np.ones((1, 1, 1, 1, n), np.int64) for n in range(1, shots + 1)]
    for n, block in enumerate(blocks):
        block[..., n] = 0
    report = analyse(RouteMap.from_counts(blocks, [ShotInfo(n + 1, f"a_long_name_{n}") for n in range(shots)]))
    lines = terminal.heat_map(report)
    assert len(lines) == shots + 1
    assert max(map(len, lines)) <= 80
    marks = [line.index("\\") for line in lines[1:] if "\\" in line]
    assert len(set(np.diff(marks).tolist())) <= 1
    styles = {style for line in terminal.painted(report) for _, style in line}
    assert "bold magenta" not in styles
    assert ("don't fit" in terminal.legend(report)) == (shots > len(marks))

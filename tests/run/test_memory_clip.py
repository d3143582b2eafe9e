"""The script of the README's opening clip: its story, its words, and the picture, from runs of the fake model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from moc_testing import story_data, write_story
from PIL import Image

from moc.run import Request, render
from moc.storyboard import load_storyboard

SCRIPT = Path(__file__).parents[2] / "docs" / "make_memory_clip.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("make_memory_clip", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_memory_clip"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_story(script: ModuleType) -> None:
    """Mira is in the first and the last shown shot and nowhere else, and nothing is said of what she wears."""
    story = load_storyboard(script.STORY)
    assert [shot.number for shot in story.shots if "{mira}" in shot.prompt] == [script.SHOWN[0], script.SHOWN[-1]]
    assert story.characters["mira"] == "a woman"
    assert len({shot.duration for shot in story.shots}) == 1


def test_clip(script: ModuleType, tmp_path: Path) -> None:
    data = story_data(8)
    for shot in data["shots"]:
        shot["duration"] = "1s"
    story = write_story(tmp_path / "tale.yaml", data)
    rows = [
        script.Row("one", "as it comes", tmp_path / "one"),
        script.Row("lost", "cut", tmp_path / "lost", (f"{tmp_path / 'one'}:1",), ("1:8",)),
    ]
    for row in rows:
        render(Request(load_storyboard(story), str(story), row.out, remember=row.remember, forget=row.forget))
    script.moving(rows, tmp_path / "clip.webp", tmp_path / "still.png")
    with Image.open(tmp_path / "clip.webp") as clip, Image.open(tmp_path / "still.png") as still:
        assert clip.n_frames > 1
        assert clip.size == still.size
        assert clip.width > 3 * 32 * 3


def test_words(script: ModuleType) -> None:
    worn = {"coat": "red", "pattern": "star", "hat": "cap", "hat_color": "blue", "scarf": "none", "hair": "black"}
    assert script.words(worn) == "star red coat, blue cap, no scarf"
    assert script.words({**worn, "hat": "none", "scarf": "pink"}) == "star red coat, no hat, pink scarf"
    assert script.words(None) == "nobody found"

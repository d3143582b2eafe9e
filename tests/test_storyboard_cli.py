"""`moc schema`, `moc import`, and the promises of docs/storyboard.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moc.storyboard import (
    StoryboardError,
    global_caption,
    json_schema,
    load_storyboard,
    parse_storyboard,
    shot_caption,
)
from moc_cli.main import app

DOCS = (Path(__file__).parents[1] / "docs" / "storyboard.md").read_text(encoding="utf-8")
HOLOCINE = "[global caption] [a1] is a cat. [per shot caption] [a1] waves. [shot cut] [a1] sleeps."


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language in the document."""
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)


def test_schema_prints_json_alone(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json_schema()
    path = tmp_path / "s.json"
    assert CliRunner().invoke(app, ["schema", "-o", str(path)]).exit_code == 0
    assert json.loads(path.read_text()) == json_schema()


def test_import_prints_or_writes_a_story(tmp_path: Path) -> None:
    source, out = tmp_path / "prompt.txt", tmp_path / "story.yaml"
    source.write_text(HOLOCINE)
    done = CliRunner().invoke(app, ["import", str(source)])
    assert done.exit_code == 0
    assert parse_storyboard(done.stdout).characters == {"a1": "a cat"}
    assert "note: durations" in done.stderr
    assert CliRunner().invoke(app, ["import", str(source), "-o", str(out)]).exit_code == 0
    assert load_storyboard(out) == parse_storyboard(done.stdout)
    again = CliRunner().invoke(app, ["import", str(source), "-o", str(out)])
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)
    assert CliRunner().invoke(app, ["import", str(source), "-o", str(out), "--force"]).exit_code == 0


def test_import_reports_mistakes_and_writes_nothing(tmp_path: Path) -> None:
    source, out = tmp_path / "prompt.txt", tmp_path / "story.yaml"
    source.write_text(HOLOCINE + " [shot cut] ")
    done = CliRunner().invoke(app, ["import", str(source), "-o", str(out)])
    assert done.exit_code == 2
    assert "prompt.txt:1:88: no caption follows [shot cut]" in done.stderr
    assert not out.exists()
    assert CliRunner().invoke(app, ["import", str(tmp_path / "none")]).exit_code == 2


def test_generate_reports_all_mistakes_of_a_story(tmp_path: Path) -> None:
    path = tmp_path / "story.yaml"
    path.write_text("version: 1\nshots:\n- {id: A, duration: 0, prompt: x}\n")
    done = CliRunner().invoke(app, ["generate", str(path), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "story.yaml:3:8: shot 1 (A): id 'A'" in done.stderr
    assert "story.yaml:3:21: shot 1 (A): duration" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_story_of_the_document_loads_and_has_the_captions_shown() -> None:
    (text,) = blocks("yaml")
    story = parse_storyboard(text)
    captions = "\n".join([global_caption(story), *(shot_caption(story, shot) for shot in story.shots)])
    assert captions + "\n" == blocks("text")[0]


def test_the_mistakes_of_the_document_are_reported_as_shown() -> None:
    (text,) = blocks("yaml-with-mistakes")
    with pytest.raises(StoryboardError) as caught:
        parse_storyboard(text, "story.yaml")
    assert str(caught.value) + "\n" == blocks("text")[1]


def test_every_key_is_in_the_document() -> None:
    schema = json_schema()
    shots = schema["properties"]["shots"]["items"]
    for section in (schema, shots, *(schema["properties"][name] for name in ("video", "sampling", "attention"))):
        for key in section["properties"]:
            assert f"`{key}`" in DOCS

"""Stories of StoryMem and HoloCine: what becomes of them, and their mistakes with places."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from moc.storyboard import StoryboardError, import_holocine, import_story, import_storymem, parse_storyboard, to_yaml
from moc.storyboard.kinds import near_identifier

STORYMEM = """\
{
\t"story_name": "The lost kite \\ud83e\\ude81",
\t"story_overview": "A girl looks for her kite.",
\t"scenes": [
\t\t{"scene_num": 1, "video_prompts": ["A girl {runs}.", "She stops."], "first_frame_prompt": ["a", "b"],
\t\t "cut": ["True", "False"]},
\t\t{"scene_num": 2, "video_prompts": ["A kite in a tree."], "cut": [true], "durations": [2.5]}
\t]
}
"""

HOLOCINE = """\
[global caption] The scene is set in a ballroom. [character1] is a woman with a sleek bob, in a silver dress.
[Character 2] is a gentleman in a black tuxedo. A band plays. This scene contains 4 shots.
[per shot caption] Medium shot of [character1] by a pillar. |
[shot cut] Close-up of [character 2], who watches her [softly]. |
[Shot Cut] [character1] and [character 2] dance.
"""


def report(reader: object, text: str) -> list[str]:
    with pytest.raises(StoryboardError) as caught:
        reader(text, "in.txt")  # type: ignore[operator]
    return str(caught.value).splitlines()


def test_storymem() -> None:
    story, notes = (imported := import_storymem(STORYMEM)).storyboard, imported.notes
    assert (story.title, story.global_prompt) == ("The lost kite 🪁", "A girl looks for her kite.")
    assert [(shot.id, shot.prompt, shot.duration, shot.cut) for shot in story.shots] == [
        ("scene1-shot1", "A girl (runs).", 5.0, True),
        ("scene1-shot2", "She stops.", 5.0, False),
        ("scene2-shot1", "A kite in a tree.", 2.5, True),
    ]
    assert notes[0] == "not used: 'first_frame_prompt'"
    assert "braces were turned into round brackets" in notes[-1]
    assert parse_storyboard(to_yaml(story)) == story


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (('"True"', '"False"'), ["in.txt:6:12: shot 1 (scene1-shot1): cut can't be false: there is no shot before the "
          "first to continue"]),
        (('"True"', '"maybe"'), ["in.txt:6:12: scene 1, prompt 1: cut must be true or false, got maybe"]),
        (("[true]", "[true, true]"), ["in.txt:7:67: scene 2: 'cut' must be a list of 1 values, one a prompt, got 2"]),
        (('"She stops."', "7"), ["in.txt:5:56: scene 1, prompt 2: must be a text in quotes"]),
        (('["A kite in a tree."]', "[]"), ["in.txt:7:37: scene 2: video_prompts must be a list of texts, one a shot"]),
        (("[2.5]", "[0]"), ["in.txt:7:89: shot 3 (scene2-shot1): duration must be from 0.1 to 600 seconds, got 0"]),
        (('"She stops."', '"She" stops."'), ["in.txt:5:62: expected ',' or ']', found 's'"]),
    ],
)  # fmt: skip
def test_mistakes_in_storymem_have_places(change: tuple[str, str], lines: list[str]) -> None:
    assert report(import_storymem, STORYMEM.replace(*change)) == lines


def test_several_mistakes_in_storymem_are_told_at_once() -> None:
    text = STORYMEM.replace('"A girl {runs}."', '""').replace("[2.5]", '["x"]').replace('"False"', "null")
    assert len(report(import_storymem, text)) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[]", "1:1: a StoryMem story is an object with story_name, story_overview and scenes"),
        ("{}", "1:1: 'scenes' must be a list of scenes, each with video_prompts"),
        ('{"scenes": [1]}', "1:13: scene 1: video_prompts must be a list of texts, one a shot"),
        ('{"scenes": tru}', "1:12: expected a value, found 't'"),
        ('{"scenes": "a', "1:12: this text in quotes is broken: Unterminated string starting at"),
        ("{} {}", "1:4: there is text after the end of the story"),
        ("[" * 9000, "1:18: nested deeper than 16 levels; a story needs 4"),
    ],
)
def test_json_that_is_no_story(text: str, line: str) -> None:
    assert report(import_storymem, text) == [f"in.txt:{line}"]


def test_holocine() -> None:
    story, notes = (imported := import_holocine(HOLOCINE)).storyboard, imported.notes
    assert story.characters == {
        "character1": "a woman with a sleek bob, in a silver dress",
        "character-2": "a gentleman in a black tuxedo",
    }
    assert story.global_prompt == "The scene is set in a ballroom. A band plays."
    assert [shot.prompt for shot in story.shots] == [
        "Medium shot of {character1} by a pillar.",
        "Close-up of {character-2}, who watches her [softly].",
        "{character1} and {character-2} dance.",
    ]
    assert [shot.duration for shot in story.shots] == [5.0, 5.0, 5.0]
    assert "the caption speaks of 4 shots, 3 were found" in notes
    assert parse_storyboard(to_yaml(story)) == story


@pytest.mark.parametrize(
    ("caption", "description"),
    [
        ("[a1] is a tall man.", "a tall man"),
        ("The scene features a young painter, [a1], with ink on her hands. It is late.",
         "a young painter with ink on her hands"),
        ("[a1], a tall man in red, meets [b1], a cat.", "a tall man in red, meets"),
        ("We see [a1] in a long coat!", "in a long coat"),
        ("A farmer and his dog, [a1], at 7.30 in the field.", "his dog at 7.30 in the field"),
        ("The story follows an old sailor, [a1].", "an old sailor"),
    ],
)  # fmt: skip
def test_descriptions_are_found_in_the_global_caption(caption: str, description: str) -> None:
    text = f"[global caption] {caption} [per shot caption] [a1] waves."
    assert import_holocine(text).storyboard.characters["a1"] == description


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("hello", ["1:1: the order must be [global caption], [per shot caption], then [shot cut] before each further "
          "shot"]),
        ("[global caption] a [shot cut] b", ["1:1: the order must be [global caption], [per shot caption], then [shot "
          "cut] before each further shot"]),
        ("x\n[global caption] a [per shot caption] b\n[shot cut] |", ["1:1: there is text before [global "
          "caption]", "3:1: no caption follows [shot cut]"]),
        ("[global caption] A night.\n[per shot caption] b\n[shot cut] [character9] runs", ["3:12: shot 2: [character9] "
          "is not introduced in the global caption"]),
        ("[global caption] [a1]\n[per shot caption] b", ["1:18: global caption: [a1] is named but not described"]),
    ],
)  # fmt: skip
def test_mistakes_in_holocine_have_places(text: str, lines: list[str]) -> None:
    assert report(import_holocine, text) == [f"in.txt:{line}" for line in lines]


def test_the_format_is_recognised_by_the_text(tmp_path: Path) -> None:
    path = tmp_path / "story"
    path.write_text(STORYMEM, encoding="utf-8")
    assert import_story(path).storyboard == import_storymem(STORYMEM).storyboard
    path.write_text(HOLOCINE)
    assert import_story(path).storyboard == import_holocine(HOLOCINE).storyboard
    path.write_text("version: 1\n")
    with pytest.raises(StoryboardError, match="neither a StoryMem story"):
        import_story(path)
    with pytest.raises(StoryboardError, match="there is no such file"):
        import_story(tmp_path / "none.json")


def test_a_thousand_and_one_prompts_are_too_many() -> None:
    scenes = [{"video_prompts": ["x"] * 1001}]
    (line,) = report(import_storymem, json.dumps({"story_name": "x", "scenes": scenes}))
    assert line.endswith("shots: 1001 shots, at most 1000 are allowed")


def test_a_thousand_and_one_cuts_are_too_many() -> None:
    text = "[global caption] A street. [per shot caption] a" + "[shot cut] b" * 1000
    assert report(import_holocine, text) == ["in.txt:1:18: shots: 1001 shots, at most 1000 are allowed"]


def test_a_count_of_any_length_is_no_bug() -> None:
    text = "[global caption] A street. This scene contains {} shots. [per shot caption] a [shot cut] b"
    assert len(import_holocine(text.format("0002")).notes) == 1
    assert "the caption speaks of 3 shots, 2 were found" in import_holocine(text.format(3)).notes
    story, notes = (imported := import_holocine(text.format("1" * 5000))).storyboard, imported.notes
    assert story.global_prompt == "A street."
    assert notes[1].startswith("the caption speaks of '1111")
    assert len(notes[1]) < 100


@pytest.mark.parametrize("name", ["Zoë", "ÜNAL_2", "the painter"])
def test_names_become_identifiers_as_everywhere(name: str) -> None:
    story = import_holocine(f"[global caption] [{name}] is tall. [per shot caption] [{name}] waves.").storyboard
    assert list(story.characters) == [near_identifier(name)]
    assert story.shots[0].prompt == f"{{{near_identifier(name)}}} waves."


MANY = "".join(f"[a b{i}] is tall. " for i in range(6000))


@pytest.mark.parametrize(
    ("caption", "shots", "line"),
    [
        (MANY, "a", "1:18: global caption: names 6000 characters, at most 64 are allowed"),
        ("and " * 100_000 + ", [a], tall.", "a", "story: global_prompt has"),
        ("[a" + " " * 100_000, "a" * 2001, "prompt has 2001 characters"),
        ("A street.", "".join(f"[character{i}] " for i in range(20_000)), "shot 1: [character0] is not introduced"),
    ],
    ids=["names", "words", "blanks", "people"],
)
def test_bombs_are_told_soon(caption: str, shots: str, line: str) -> None:
    started = time.process_time()
    assert line in "\n".join(report(import_holocine, f"[global caption] {caption} [per shot caption] {shots}"))
    assert time.process_time() - started < 1

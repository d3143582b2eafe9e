"""Stories: what a valid file means, and the exact sentence for each mistake."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
import yaml
from story_cases import STORY

from moc.storyboard import (
    Storyboard,
    StoryboardError,
    global_caption,
    json_schema,
    load_storyboard,
    parse_storyboard,
    shot_caption,
    to_yaml,
)
from moc.storyboard.model import SECTIONS, SHOT_KEYS, STORY_KEYS, Shot
from moc.storyboard.yaml_source import parse_yaml


def lines(text: str, source: str = "story.yaml") -> list[str]:
    """The report of a story with mistakes, line by line."""
    with pytest.raises(StoryboardError) as caught:
        parse_storyboard(text, source)
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return str(caught.value).splitlines()


def one_shot(shot: str, rest: str = "") -> str:
    """A story of one shot, whose values stand in line 3."""
    return f"version: 1\nshots:\n  - {{{shot}}}\n{rest}"


GOOD_SHOT = "id: a, duration: 8s, prompt: hello"


def test_the_story_of_the_design_is_read() -> None:
    story = parse_storyboard(STORY)
    assert story.title == "Cafe to river"
    assert list(story.characters) == ["mira", "leo"]
    assert story.scenes == {"cafe": "a corner cafe with fogged windows"}
    assert (story.video.fps, story.video.width) == (8.0, None)
    assert (story.sampling.seed, story.sampling.mode, story.sampling.steps) == (7, "stream", None)
    assert story.attention.overrides() == {"top_k": 5}
    assert story.attention.config().top_k == 5
    assert story.model == "pocket"
    wide, river = story.shots
    assert (wide.number, wide.id, wide.scene, wide.camera, wide.cut, wide.seed) == (
        1,
        "wide",
        "cafe",
        "wide",
        True,
        None,
    )
    assert (river.number, river.duration, river.cut, river.seed, river.scene) == (2, 1.5, False, 3, None)
    assert story.duration == 9.5


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("8s", 8),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("1m", 60),
        ("8", 8),
        ("2.5", 2.5),
        ('"8 s"', 8),
        ("10min", 600),
        (".5s", 0.5),
    ],
)
def test_durations(written: str, seconds: float) -> None:
    assert parse_storyboard(one_shot(f"id: a, prompt: x, duration: {written}")).shots[0].duration == seconds


@pytest.mark.parametrize("text", ["no", "yes", "12:30", "1e-4", "null.", "0x10", "on", "2024-01-01"])
def test_words_stay_words_where_words_are_wanted(text: str) -> None:
    story = parse_storyboard(one_shot(f"id: a, duration: 8s, prompt: {text}, camera: {text}", f"title: {text}\n"))
    assert (story.title, story.shots[0].prompt, story.shots[0].camera) == (text, text, text)


def test_numbers_are_read_where_numbers_are_wanted() -> None:
    story = parse_storyboard(one_shot(GOOD_SHOT, "sampling: {guidance: 1e-4, seed: 010}\nvideo: {fps: 23.976}\n"))
    assert (story.sampling.guidance, story.sampling.seed, story.video.fps) == (1e-4, 10, 23.976)


def test_folded_and_broken_lines_are_joined() -> None:
    story = parse_storyboard(one_shot("id: a, duration: 8s, prompt: one\n   two\n\n   three"))
    assert story.shots[0].prompt == "one two three"


def test_empty_sections_and_null_mean_the_default() -> None:
    text = one_shot(GOOD_SHOT + ", seed: null, camera: ~", "characters:\nscenes:\nvideo:\nsampling: {steps: null}\n")
    assert parse_storyboard(text) == parse_storyboard(one_shot(GOOD_SHOT))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "story.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + STORY.replace("\n", "\r\n").encode())
    assert load_storyboard(path) == parse_storyboard(STORY)


def test_a_storyboard_is_frozen_and_travels() -> None:
    story = parse_storyboard(STORY)
    with pytest.raises(FrozenInstanceError):
        story.title = "other"  # type: ignore[misc]
    assert copy.deepcopy(story) == story == pickle.loads(pickle.dumps(story))
    assert hash(copy.deepcopy(story)) == hash(story)


def test_to_dict_is_json_and_comes_back() -> None:
    story = parse_storyboard(STORY)
    back = Storyboard.from_dict(json.loads(json.dumps(story.to_dict(), allow_nan=False)))
    assert back == story
    assert list(back.characters) == list(story.characters)


def test_from_dict_checks_as_a_file_is_checked() -> None:
    data = parse_storyboard(STORY).to_dict()
    data["shots"][0]["duration"] = float("nan")
    data["extra"] = {1, 2}
    with pytest.raises(StoryboardError, match="a set is not a value"):
        Storyboard.from_dict(data)
    del data["extra"]
    with pytest.raises(StoryboardError, match=r"manifest.json: shot 1 \(wide\): duration must be a time .* got nan"):
        Storyboard.from_dict(data, "manifest.json")


def test_yaml_round_trip_of_the_design_story() -> None:
    story = parse_storyboard(STORY)
    text = to_yaml(story, comment="two\nlines \x07")
    assert text.startswith("# two\n# lines ?\nversion: 1\n")
    assert parse_storyboard(text) == story
    assert "duration: 8s" in text
    assert "mode" not in text  # a default


def mistakes() -> list[tuple[str, str]]:
    """Story and report of each block of the file beside this one."""
    blocks = (Path(__file__).with_name("test_storyboard_mistakes.txt")).read_text(encoding="utf-8").split("----\n")[1:]
    return [(story, report.strip()) for story, _, report in (block.partition(">>> ") for block in blocks)]


@pytest.mark.parametrize(("text", "report"), mistakes(), ids=[report for _, report in mistakes()])
def test_one_mistake_gives_one_sentence(text: str, report: str) -> None:
    assert lines(text) == [f"story.yaml:{report}"]


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            one_shot(f"id: {'a' * 41}, duration: 8s, prompt: x"),
            f"3:10: shot 1: id '{'a' * 37}...' has 41 characters, at most 40 are allowed",
        ),
        (
            one_shot(f"id: a, duration: {'9' * 400}, prompt: x"),
            f"3:23: shot 1 (a): duration must be from 0.1 to 600 seconds, got '{'9' * 37}...'",
        ),
        (
            one_shot(f"id: a, duration: 8s, prompt: {'x' * 2001}"),
            "3:35: shot 1 (a): prompt has 2001 characters, at most 2000 are allowed",
        ),
    ],
)
def test_enormous_values_are_named_in_short(text: str, report: str) -> None:
    assert lines(text) == [f"story.yaml:{report}"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = STORY.replace("fps: 8", "fsp: 8").replace("top_k: 5", "top_k: many").replace("duration: 1.5s", "duration: 0")
    text = text.replace("{mira} looks", "{mirra} looks").replace("id: river", "id: wide") + "ttle: x\n"
    assert lines(text) == [
        "story.yaml:10:9: video: unknown key 'fsp', did you mean 'fps'?",
        "story.yaml:12:36: attention: top_k must be a whole number, got many",
        "story.yaml:15:10: shot 2 (wide): id 'wide' is taken by shot 1; each shot needs its own",
        "story.yaml:15:26: shot 2 (wide): duration must be from 0.1 to 600 seconds, got 0",
        "story.yaml:15:37: shot 2 (wide): unknown character '{mirra}' in the prompt, did you mean 'mira'?",
        "story.yaml:16:1: story: unknown key 'ttle', did you mean 'title'?",
    ]


def test_a_broken_table_of_characters_does_not_blame_the_prompts() -> None:
    text = one_shot('id: a, duration: 8s, prompt: "{mira} waves"', "characters: [mira]\n")
    assert len(lines(text)) == 1


def test_a_very_long_report_is_cut() -> None:
    with pytest.raises(StoryboardError) as caught:
        parse_storyboard("version: 1\nshots:\n" + "- {id: a, duration: 0, prompt: x}\n" * 100)
    assert len(caught.value.problems) == 199
    assert str(caught.value).splitlines()[-1] == "storyboard: and 149 more mistakes"


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("shots:\n  - prompt: {mira} waves\n", "2:20: a text that begins with a {name} needs quotes, such as prompt: "
         '"{mira} waves"'),
        ("shots:\n  - {prompt: {mira} waves, id: a}\n", "2:21: a text that begins with a {name} needs quotes, "
         'such as prompt: "{mira} waves"'),
        ("title: one: two\n", "1:11: a ':' within a text needs quotes around the text, or this line is indented too "
         "far"),
        ("video:\n\tfps: 8\n", "2:1: a tab can't indent; use blanks"),
        ("title: @home\n", "1:8: a text that begins with '@' needs quotes"),
        ('title: "one\nversion: 1\n', "1:8: this quote is never closed"),
        ("version: 1\nvideo:\n  fps: 8\n width: 96\n", "4:2: this doesn't fit the lines above; check the indentation "
         "and the quotes"),
        ("version: 1\ntitle\nshots: []\n", "2:1: this line is neither 'key: value' nor the end of the text above it"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document begins here; one file holds one story"),
        ("a: \x07\n", "1:4: the character U+0007 is not allowed in a text file"),
        ("[" * 5000, "1:17: nested deeper than 16 levels; a story needs 4"),
        ("{a: " * 5000, "1:65: nested deeper than 16 levels; a story needs 4"),
        ("- " * 5000, "1:33: nested deeper than 16 levels; a story needs 4"),
    ],
)  # fmt: skip
def test_text_that_is_not_a_story(text: str, report: str, loader: type) -> None:
    with pytest.raises(StoryboardError) as caught:
        parse_yaml(text, "s.yaml", loader)
    assert str(caught.value) == f"s.yaml:{report}"


def test_an_unclosed_bracket_names_its_line() -> None:
    assert lines("version: 1\nshots: [\n  a, b\n") == [
        "story.yaml:4:1: the '[' of line 2 is never closed, or a comma or quote is missing before this place"
    ]


def test_an_alias_bomb_never_unfolds() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    started = time.process_time()
    report = lines(bomb + one_shot(GOOD_SHOT))
    assert time.process_time() - started < 0.5  # unfolded it would be nine to the power of nine values
    assert "story.yaml:2:8: alias '*a': write the text out, or quote it" in report
    assert "story.yaml:1:4: anchor '&a' is not allowed; write the text out" in report


PLACED = "- {id: a, duration: %s, prompt: hi}"
BOMBS = {  # each took from many seconds to minutes of searching forth and back
    "digits of a duration": one_shot(PLACED % ("1" * 60_000 + "x")),
    "digits and blanks": one_shot(PLACED % ("1" * 60_000 + " " * 60_000 + "x")),
    "digits of a number": one_shot(GOOD_SHOT, f"video: {{fps: {'1' * 60_000}x}}\n"),
    "a table": one_shot(GOOD_SHOT, "characters:\n" + "".join(f"  a{i}: x\n" for i in range(9900))),
    "keys": one_shot(GOOD_SHOT, "".join(f"durashun{i}: x\n" for i in range(9900))),
    "names": one_shot(
        "\n".join(
            f'- {{id: s{n}, duration: 1, prompt: "{"".join(f"{{mirabel{n}-{i}}}" for i in range(100))}"}}'
            for n in range(99)
        ),
        "characters:\n" + "".join(f"  mirabelle{i}: x\n" for i in range(64)),
    ),
}


@pytest.mark.parametrize("bomb", BOMBS, ids=str)
def test_bombs_are_told_soon(bomb: str) -> None:
    """Counted in seconds of this process, so that a busy machine changes nothing."""
    started = time.process_time()
    with pytest.raises(StoryboardError):
        parse_storyboard(BOMBS[bomb])
    assert time.process_time() - started < 1


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!int", "!mine", "!"])
def test_tags_are_refused_and_run_nothing(tag: str) -> None:
    report = lines(one_shot(GOOD_SHOT, f"title: {tag} 'echo'\n"))
    assert len(report) == 1
    assert report[0].startswith("story.yaml:4:8: tag ")
    assert "is not allowed; a story is plain data" in report[0]


def test_a_mapping_as_key_is_refused_with_advice() -> None:
    assert any("put a text with braces in quotes" in line for line in lines("version: 1\ntitle: {{mira}}\n"))


def test_too_many_shots() -> None:
    shot = "- {id: s%d, duration: 8s, prompt: x}\n"
    many = "version: 1\nshots:\n" + "".join(shot % i for i in range(1001))
    assert lines(many) == ["story.yaml:3:1: shots: 1001 shots, at most 1000 are allowed"]
    thousand = "version: 1\nshots:\n" + "".join(shot % i for i in range(1000))
    assert len(parse_storyboard(thousand).shots) == 1000
    enormous = "version: 1\nshots:\n" + "".join(shot % i for i in range(10_000))
    (report,) = lines(enormous)
    assert report.endswith("more than 20000 values; a story has at most 1000 shots")


@pytest.mark.parametrize(
    ("data", "report"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"# only a comment\n", "the file holds no story (only comments or blank lines)"),
        (b"\x00\x01\x02", "the file is binary (it holds a NUL byte), not a text file"),
        (b"version: 1\n\xff", "the file is not UTF-8 text (byte 0xff in line 2)"),
        (STORY.encode("utf-16"), "the file is binary (it holds a NUL byte), not a text file"),
        (b"#" * (2 * 1024 * 1024 + 1), "the file is larger than 2 MiB, which no story needs"),
    ],
)
def test_files_that_hold_no_story(tmp_path: Path, data: bytes, report: str) -> None:
    path = tmp_path / "story.yaml"
    path.write_bytes(data)
    with pytest.raises(StoryboardError) as caught:
        load_storyboard(path)
    assert str(caught.value) == f"{path}: {report}"


def test_missing_files_directories_and_impossible_names(tmp_path: Path) -> None:
    (tmp_path / "minute.yaml").write_text(STORY)
    for path, report in (
        (tmp_path / "minuet.yaml", f"there is no such file; did you mean {tmp_path / 'minute.yaml'}?"),
        (tmp_path / "none" / "x.yaml", "there is no such file"),
        (tmp_path, "this is a directory; name a story file, such as story.yaml"),
        (tmp_path / "minute.yaml" / "x", "the file can't be read: Not a directory"),
    ):
        with pytest.raises(StoryboardError) as caught:
            load_storyboard(path)
        assert str(caught.value) == f"{path}: {report}"
    for name in ("a\0b", "x" * 5000, "bad\nname.yaml", os.fsdecode(b"\xff.yaml")):
        with pytest.raises(StoryboardError) as caught:
            load_storyboard(name)
        assert len(str(caught.value).splitlines()) == 1
        str(caught.value).encode()


@pytest.mark.parametrize(
    ("error", "report"),
    [
        (PermissionError(13, "Permission denied"), "the file may not be read (permission denied)"),
        (OSError(5, "Input/output error"), "the file can't be read: Input/output error"),
    ],
)
def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch, error: OSError, report: str) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("builtins.open", refuse)  # the tests may run as root, who may read everything
    with pytest.raises(StoryboardError) as caught:
        load_storyboard("story.yaml")
    assert str(caught.value) == f"story.yaml: {report}"


def test_prompts_in_the_form_of_the_paper() -> None:
    story = parse_storyboard(STORY)
    assert global_caption(story) == (
        "[Character] Character [mira]: a woman with short red hair and a yellow raincoat. Character [leo]: a waiter. "
        "[Environment] [cafe]: a corner cafe with fogged windows. "
        "[Story] An autumn afternoon in a small town, warm film look."
    )
    assert shot_caption(story, story.shots[0]) == (
        "[SHOT CUT] [cafe] [mira] stirs her coffee by the window. Camera: wide."
    )
    assert shot_caption(story, story.shots[1]) == "[mira] looks at her phone on the riverbank."


def test_the_schema_names_every_key_and_every_default() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(STORY_KEYS)
    assert schema["additionalProperties"] is False
    shot = schema["properties"]["shots"]["items"]
    assert set(shot["properties"]) == set(SHOT_KEYS)
    assert shot["required"] == [item.name for item in fields(Shot) if item.name in ("id", "prompt", "duration")]
    for name, cls in SECTIONS.items():
        assert set(schema["properties"][name]["properties"]) == {item.name for item in fields(cls)}
    for described in (*shot["properties"].values(), *schema["properties"].values()):
        assert described["description"]
    json.dumps(schema, allow_nan=False)


def test_a_story_with_mistakes_is_reported_fast_and_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "story.yaml"
    path.write_text(STORY.replace("duration: 8s", "durration: 8s"))
    code = (
        "import sys\nfrom moc.storyboard import *\n"
        f"try: load_storyboard({str(path)!r})\nexcept StoryboardError as wrong: print(wrong)\n"
        "assert not {'torch', 'numpy', 'pydantic', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}:14:29: shot 1 (wide): unknown key 'durration', did you mean 'duration'?\n"

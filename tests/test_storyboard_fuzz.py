"""Stories nobody would write by hand: round trips of random stories, and damage to good files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moc.storyboard import Storyboard, StoryboardError, import_holocine, parse_storyboard, to_yaml
from moc.storyboard.importers import import_storymem

EXAMPLES = sorted((Path(__file__).parents[1] / "storyboards").glob("*.yaml"))
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

identifiers = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,12}", fullmatch=True)
# Words with everything that YAML gives a meaning, and letters of every script.
words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}\ufffe\uffff"), max_size=40)
texts = words.filter(lambda text: text.strip() != "" and not any(ord(c) & 0xFFFE == 0xFFFE for c in text))
seeds = st.integers(0, 2**63 - 1)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`values` or None."""
    return st.none() | values


@st.composite
def stories(draw: st.DrawFn) -> Storyboard:
    """Any valid story."""
    characters = draw(st.dictionaries(identifiers, texts, max_size=4))
    scenes = draw(st.dictionaries(identifiers, texts, max_size=3))

    def prompt() -> str:
        named = "".join(f" {{{name}}} " for name in draw(st.lists(st.sampled_from([*characters]), max_size=2))) \
            if characters else ""  # fmt: skip
        return draw(texts) + named

    shots = [
        {
            "id": name,
            "prompt": prompt(),
            "duration": draw(st.floats(0.1, 600, allow_nan=False)),
            "scene": draw(maybe(st.sampled_from([*scenes]))) if scenes else None,
            "camera": draw(maybe(texts)),
            "cut": number == 0 or draw(st.booleans()),
            "seed": draw(maybe(seeds)),
        }
        for number, name in enumerate(draw(st.lists(identifiers, min_size=1, max_size=5, unique=True)))
    ]
    size = maybe(st.integers(8, 2048).map(lambda half: 2 * half))
    data = {
        "version": 1,
        "title": draw(st.just("") | texts),
        "global_prompt": draw(st.just("") | texts),
        "characters": characters,
        "scenes": scenes,
        "negative_prompt": draw(st.just("") | texts),
        "model": draw(st.just("pocket") | texts),
        "video": {"fps": draw(maybe(st.floats(1, 60))), "width": draw(size), "height": draw(size)},
        "sampling": {
            "seed": draw(seeds),
            "mode": draw(st.sampled_from(["stream", "joint"])),
            "steps": draw(maybe(st.integers(1, 1000))),
            "guidance": draw(maybe(st.floats(0, 50))),
        },
        "attention": {
            "top_k": draw(maybe(st.integers(0, 4096))),
            "chunk_tokens": draw(maybe(st.just("frame") | st.integers(1, 1000))),
            "intra": draw(maybe(st.sampled_from(["shot", "chunk", "window"]))),
            "outer_top_m": draw(maybe(st.integers(0, 1000))),
        },
        "shots": shots,
    }
    return Storyboard.from_dict(data)


@QUICK
@given(stories(), words)
def test_every_story_survives_yaml_and_json(story: Storyboard, comment: str) -> None:
    back = parse_storyboard(to_yaml(story, comment))
    assert back == story
    assert (list(back.characters), list(back.scenes)) == (list(story.characters), list(story.scenes))
    assert Storyboard.from_dict(json.loads(json.dumps(story.to_dict(), allow_nan=False))) == story


def outcome(reader: Callable[[], Storyboard]) -> Storyboard | StoryboardError:
    """The story or its report; any other exception is a failure of the test."""
    try:
        return reader()
    except StoryboardError as wrong:
        return wrong


def judged(text: str) -> None:
    """`text` is a story, or has a report of one place and one sentence a mistake."""
    found = outcome(lambda: parse_storyboard(text, "fuzz.yaml"))
    if isinstance(found, Storyboard):
        assert parse_storyboard(to_yaml(found)) == found
        return
    assert found.problems
    for problem in found.problems:
        line = str(problem)
        assert line.startswith("fuzz.yaml")
        assert line.isprintable()
        assert len(line) < 400
        assert 0 <= problem.line <= len(text.splitlines()) + 1


fragments = st.sampled_from(
    ["{", "}", "[", "]", '"', "'", ":", ": ", "- ", "#", "&a ", "*a", "!!int ", "|", ">", "\t", "  ", "\n", "\x00",
     "\x85", "%", "@", "`", "? ", "<<: ", "---\n", "...\n", "null", "~", ".nan", "1e999",
     "{mira}", "\ud800", "\ufeff", "é", "🎈"]
)  # fmt: skip


@settings(QUICK, max_examples=150)
@given(st.sampled_from(EXAMPLES), st.data())
def test_damaged_files_are_reported_never_crashed_on(path: Path, data: st.DataObject) -> None:
    text = path.read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        lines = text.split("\n")
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["delete", "repeat", "move", "indent", "insert", "cut"]))
        if what == "delete":
            del lines[at]
        elif what == "repeat":
            lines.insert(at, lines[at])
        elif what == "move":
            lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif what == "indent":
            lines[at] = " " * data.draw(st.integers(0, 6)) + lines[at].lstrip()
        else:
            place = data.draw(st.integers(0, len(lines[at])))
            rest = "" if what == "cut" else data.draw(fragments) + lines[at][place:]
            lines[at] = lines[at][:place] + rest
        text = "\n".join(lines) or "-"
    judged(text)


@QUICK
@given(st.text(st.sampled_from("{}[]:,-\"'#&*!|>%@` \n\tab1.~?"), max_size=60))
def test_noise_is_reported_never_crashed_on(noise: str) -> None:
    judged(noise)


@QUICK
@given(st.recursive(maybe(st.booleans() | st.integers() | st.floats() | st.text(max_size=8)), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["version", "shots", "id", "prompt", "duration", "video", "fps", "characters", "x"]), inner,
        max_size=4)), max_leaves=12))  # fmt: skip
def test_any_data_is_reported_never_crashed_on(data: Any) -> None:
    found = outcome(lambda: Storyboard.from_dict({"version": 1, "shots": data, "characters": data}))
    assert isinstance(found, Storyboard) or str(found)


@QUICK
@given(st.text(st.sampled_from('{}[]:,"\\ntrue1.eu "'), max_size=60) | st.text(max_size=30))
def test_imports_of_noise_are_reported_never_crashed_on(noise: str) -> None:
    for reader, text in (
        (import_storymem, noise),
        (import_storymem, '{"scenes": [{"video_prompts": [' + noise + "]}]}"),
        (import_holocine, f"[global caption] {noise} [a] {noise} [per shot caption] {noise}[a] [shot cut] {noise}"),
    ):
        found = outcome(lambda reader=reader, text=text: reader(text).storyboard)  # type: ignore[misc]
        assert parse_storyboard(to_yaml(found)) == found if isinstance(found, Storyboard) else str(found)

"""Overrides of a story from the command line."""

from __future__ import annotations

import pytest
from story_cases import STORY

from moc.storyboard import (
    StoryboardError,
    parse_storyboard,
)


def test_overrides_are_read_like_the_file() -> None:
    story = parse_storyboard(STORY)
    changed = story.overridden(
        {
            "attention.top_k": "3",
            "title": "no",
            "shots.river.duration": "4s",
            "shots.1.camera": "null",
            "shots.2.cut": "yes",
            "characters.mira": "a man",
            "characters.zoe": "a girl",
            "sampling.steps": "8",
        }
    )
    assert changed.attention.top_k == 3
    assert (changed.title, changed.sampling.steps) == ("no", 8)
    assert (changed.shots[1].duration, changed.shots[0].camera, changed.shots[1].cut) == (4.0, None, True)
    assert list(changed.characters.items()) == [("mira", "a man"), ("leo", "a waiter"), ("zoe", "a girl")]
    assert story == parse_storyboard(STORY)
    assert story.overridden({}) == story


@pytest.mark.parametrize(
    ("key", "value", "report"),
    [
        ("attention.top_k", "x", "attention: top_k must be a whole number, got x"),
        ("attention.topk", "3", "unknown key 'topk', did you mean 'top_k'?"),
        ("atention.top_k", "3", "unknown key 'atention', did you mean 'attention'?"),
        ("attention", "3", "attention holds several values; name one, such as attention.preset"),
        ("shots", "3", "shots holds several values; name one, such as shots.1.duration"),
        ("shots.1", "3", "name a value of the shot, such as shots.1.duration"),
        ("shots.rivr.duration", "3", "no shot 'rivr', did you mean 'river'?"),
        ("shots.3.duration", "3", "no shot '3'; known: wide, river"),
        ("shots.1.durration", "3", "unknown key 'durration', did you mean 'duration'?"),
        ("title.x", "3", "title is a single value and has no part 'x'"),
        ("shots.1.prompt", "{moira}", "shot 1 (wide): unknown character '{moira}' in the prompt, did you mean 'mira'?"),
        ("video.width", "97", "video: width must be even, got 97; 96 or 98 would do"),
        ("title", "\udcff", "story: title holds the character U+DCFF, which is not text"),
        ("", "1", "unknown key ''; known: version, title, global_prompt, characters, scenes, negative_prompt, model, "
         "video, sampling, attention, shots"),
    ],
)  # fmt: skip
def test_wrong_overrides_name_their_key(key: str, value: str, report: str) -> None:
    with pytest.raises(StoryboardError) as caught:
        parse_storyboard(STORY).overridden({key: value})
    assert str(caught.value) == f"--set {key}: {report}"

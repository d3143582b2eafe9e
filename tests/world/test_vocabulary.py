"""The vocabulary: every word says what its table says, and says only that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from moc.world import words
from moc.world.language import StoryText, understand_story
from moc.world.schema import CHARACTER_ATTRIBUTES, MAX_CHARACTERS, PLACE_ATTRIBUTES, SHOT_ATTRIBUTES, Fact
from moc.world.vocabulary import (
    DETERMINERS,
    LEXICON,
    MEANINGFUL,
    build_lexicon,
    camera_value,
    documentation,
    nearest_words,
    plain,
    split_list,
    verb_forms,
    words_for,
)

_SCENE_SLOT = 1 + MAX_CHARACTERS
_DESCRIBED = {
    "kind": "a {}", "hair": "a woman with {} hair", "coat": "a woman in a {} coat", "hat": "a woman with a {}",
    "hat_color": "a woman in a {} hat", "scarf": "a woman with a {} scarf", "size": "a woman {}",
    "place": "near the {}", "wall": "a park with {} walls", "accent": "a park with {} accents",
    "feature": "a park with a {}",
}  # fmt: skip


def facts_said(attribute: str, phrase: str) -> set[Fact]:
    """All facts of a one-shot story in which `phrase` is said the way such things are said."""
    text = _DESCRIBED.get(attribute, "").format(phrase)
    if attribute in CHARACTER_ATTRIBUTES:
        story = StoryText(characters={"zora": text}, shots=[("{zora}", None, None)])
    elif attribute in PLACE_ATTRIBUTES:
        story = StoryText(scenes={"s1": text}, shots=[("{s1}", "s1", None)])
    elif attribute == "action":
        story = StoryText(characters={"zora": "a woman"}, shots=[(f"{{zora}} {phrase}", None, None)])
    else:
        story = StoryText(shots=[(f"{phrase} .", None, None)])
    understood = understand_story(story)
    assert all(not w.unknown for w in understood.words), (phrase, understood.words)
    return set(understood.facts) | {fact for shot in understood.shots for fact in shot.facts}


@pytest.mark.parametrize("attribute", ["kind", "hair", "coat", "hat_color", "scarf", "hat", "size"])
def test_every_word_for_a_character_says_its_fact(attribute: str) -> None:
    for value in CHARACTER_ATTRIBUTES[attribute]:
        for phrase in words_for(attribute, value):
            if value == "none":
                facts = facts_said("size", phrase)  # "a woman hatless"
            elif attribute == "kind" and phrase in split_list(words.KIND_PLURALS[value]):
                continue
            else:
                facts = facts_said(attribute, phrase)
            assert Fact(1, attribute, value) in facts, phrase


def test_every_pattern_word_says_its_pattern() -> None:
    for form, table in (("a woman in a {} coat", words.PATTERN_ADJECTIVES), ("a woman: {}", words.PATTERN_NOUNS)):
        for value, phrases in table.items():
            for phrase in split_list(phrases):
                story = StoryText(characters={"zora": form.format(phrase)}, shots=[("{zora}", None, None)])
                assert Fact(1, "pattern", value) in understand_story(story).facts, phrase


@pytest.mark.parametrize("attribute", list(PLACE_ATTRIBUTES))
def test_every_word_for_a_place_says_its_fact(attribute: str) -> None:
    for value in PLACE_ATTRIBUTES[attribute]:
        for phrase in words_for(attribute, value):
            assert Fact(_SCENE_SLOT, attribute, value) in facts_said(attribute, phrase), phrase


@pytest.mark.parametrize("attribute", list(SHOT_ATTRIBUTES))
def test_every_word_for_a_shot_says_its_fact(attribute: str) -> None:
    for value in SHOT_ATTRIBUTES[attribute]:
        for phrase in words_for(attribute, value):
            slot = 1 if attribute == "action" else 0
            assert Fact(slot, attribute, value) in facts_said(attribute, phrase), phrase


def test_every_fitting_takes_the_accent_colour_of_its_place() -> None:
    for place, phrases in words.FITTINGS.items():
        for phrase in split_list(phrases):
            story = StoryText(scenes={"s1": f"the {place} with a red {phrase}"}, shots=[("{s1}", "s1", None)])
            assert Fact(_SCENE_SLOT, "accent", "red") in understand_story(story).facts, phrase


def test_every_thing_in_hands_says_its_action() -> None:
    for action, phrases in words.ACTION_NOUNS.items():
        for phrase in split_list(phrases):
            for text in (f"{{zora}} with a {phrase}", f"{{zora}} holds her {phrase}", f"{{zora}} sits, {phrase}"):
                story = StoryText(characters={"zora": "a woman"}, shots=[(text, None, None)])
                facts = understand_story(story).shots[0].facts
                held = "sits" not in text
                assert (Fact(1, "action", action) in facts) == held, text


def test_every_value_has_words_enough_to_vary() -> None:
    for attribute, values in (CHARACTER_ATTRIBUTES | PLACE_ATTRIBUTES | SHOT_ATTRIBUTES).items():
        for value in values:
            wanted = 0 if (attribute, value) == ("prop", "none") else 2
            assert len(words_for(attribute, value)) >= wanted, (attribute, value)


def test_silent_words_say_nothing() -> None:
    for phrase in split_list(words.SILENT_NOUNS) + split_list(words.SILENT_WORDS):
        story = StoryText(characters={"zora": "a woman"}, shots=[(f"{{zora}} {phrase}", None, None)])
        understood = understand_story(story)
        assert {f.attribute for f in understood.shots[0].facts} == {
            "place", "camera", "time", "weather", "kind", "action",
        }, phrase  # fmt: skip
        assert understood.words[1].silent == [phrase]


def test_no_word_has_two_conflicting_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_lexicon() == LEXICON
    monkeypatch.setitem(words.PROPS, "bench", "bench, lantern")
    with pytest.raises(ValueError, match="'lantern' is both"):
        build_lexicon()


def test_phrases_are_written_as_they_are_looked_up() -> None:
    for phrase in LEXICON:
        text = " ".join(phrase)
        assert text == plain(text)
        assert not DETERMINERS & set(phrase), text
        assert "-" not in text


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("walk", ["walk", "walks", "walking", "walked"]),
        ("hop", ["hop", "hops", "hopping", "hopped"]),
        ("dance", ["dance", "dances", "dancing", "danced"]),
        ("hurry", ["hurry", "hurries", "hurrying", "hurried"]),
        ("dash", ["dash", "dashes", "dashing", "dashed"]),
        ("sit", ["sit", "sits", "sitting"]),
    ],
)
def test_verb_forms(base: str, forms: list[str]) -> None:
    assert verb_forms(base) == forms


def test_unknown_words_get_the_nearest_known_ones() -> None:
    assert "raincoat" in nearest_words("rainkoat")
    assert nearest_words("Umbrela")[0] == "umbrella"
    assert nearest_words("xylophone") == ()
    assert nearest_words("explodes") == ("explores",)
    near = nearest_words("walksing")
    assert len({LEXICON[tuple(word.split())] for word in near}) == len(near) > 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("wide", "wide"), ("Close-up", "close"), ("a slow zoom", "zoom"), ("tracking shot", "pan"), ("sepia", None)],
)
def test_camera_field(text: str, value: str | None) -> None:
    assert camera_value(text) == value


def test_words_for_refuses_what_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no value 'beret' of 'hat'"):
        words_for("hat", "beret")
    with pytest.raises(ValueError, match="no value 'x' of 'mood'"):
        words_for("mood", "x")


def test_the_page_is_up_to_date_and_complete() -> None:
    page = (Path(__file__).parents[2] / "docs" / "vocabulary.md").read_text()
    assert page == documentation(), "run: python -m moc.world.vocabulary > docs/vocabulary.md"
    for key, entry in LEXICON.items():
        if entry.part in MEANINGFUL and entry.part != "action" and entry.value != "none" and entry.strength != 2:
            assert " ".join(key) in page


def test_reading_text_needs_no_torch() -> None:
    code = "import sys, moc.world.language; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0

"""The example stories: each loads, says what it shows, and is understood by the built-in model to the last noun."""

from __future__ import annotations

from dataclasses import fields
from itertools import chain, pairwise
from pathlib import Path

import pytest

from moc.storyboard import Storyboard, load_storyboard, parse_storyboard, to_yaml
from moc.storyboard.model import SECTIONS, SHOT_KEYS, STORY_KEYS
from moc.storyboard.nodes import Mapping, Sequence
from moc.storyboard.yaml_source import parse_yaml
from moc.world.language import Understanding, encode, understand_story
from moc.world.schema import (
    ACTIONS,
    CAMERAS,
    CHARACTER_OPEN,
    FEATURE,
    KINDS,
    PLACE_OPEN,
    PLACES,
    PROPS,
    TIMES,
    WEATHER,
)
from moc.world.vocabulary import split_list
from moc.world.words import SILENT_NOUNS
from moc.world.written import ShotText, StoryText

FOLDER = Path(__file__).parents[1] / "storyboards"
PATHS = sorted(FOLDER.glob("*.yaml"))
NAMES = [path.stem for path in PATHS]


def understood(story: Storyboard) -> Understanding:
    shots = [ShotText(shot.prompt, shot.scene, shot.camera) for shot in story.shots]
    return understand_story(StoryText(story.global_prompt, story.characters, story.scenes, shots))


def test_there_are_the_promised_stories() -> None:
    stories = {path.stem: load_storyboard(path) for path in PATHS}
    assert len(stories) >= 6
    assert [shot.duration for shot in stories["minute"].shots] == [8.0] * 8
    assert len(stories["cafe_to_river"].shots) == 11
    assert (stories["cafe_to_river"].shots[8].id, stories["cafe_to_river"].shots[10].id) == ("river", "phone")
    assert len(stories["single"].shots) == 1
    assert len(stories["long"].shots) == 24


def test_minute_brings_back_a_character_and_a_place() -> None:
    shots = load_storyboard(FOLDER / "minute.yaml").shots
    with_mira = [shot.number for shot in shots if "{mira}" in shot.prompt]
    in_cafe = [shot.number for shot in shots if shot.scene == "cafe"]
    assert max(b - a for a, b in pairwise(with_mira)) >= 4
    assert max(b - a for a, b in pairwise(in_cafe)) >= 4


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_every_example_begins_with_what_it_shows_and_survives_a_round_trip(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    story = load_storyboard(path)
    assert parse_storyboard(to_yaml(story)) == story
    assert story.title


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_every_noun_of_every_example_can_be_drawn(path: Path) -> None:
    meaning = understood(load_storyboard(path))
    assert meaning.problems == []
    assert meaning.notes == []
    nouns = set(split_list(SILENT_NOUNS))
    for words in meaning.words:
        assert words.unknown == []
        assert nouns.isdisjoint(words.silent)
    encode(meaning)  # fits the model's text tokens


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_every_example_leaves_something_to_memory(path: Path) -> None:
    meaning = understood(load_storyboard(path))
    said = {(fact.slot, fact.attribute) for fact in meaning.facts}
    for slot, attributes in ((1, CHARACTER_OPEN), (7, PLACE_OPEN)):
        open_attributes = [name for name in attributes if (slot, name) not in said]
        assert len(open_attributes) >= 2


def test_together_the_examples_show_all_the_world_can_do() -> None:
    meanings = [understood(load_storyboard(path)) for path in PATHS]
    facts = chain.from_iterable([*m.facts, *chain.from_iterable(shot.facts for shot in m.shots)] for m in meanings)
    shown = {(fact.attribute, fact.value) for fact in facts}
    for attribute, values in (
        ("kind", KINDS), ("place", PLACES), ("action", ACTIONS), ("camera", CAMERAS), ("time", TIMES),
        ("weather", WEATHER), ("feature", FEATURE), ("prop", PROPS[1:]),
    ):  # fmt: skip
        assert {(attribute, value) for value in values} <= shown


def test_every_key_of_the_format_is_in_the_example_of_every_key() -> None:
    root, problems = parse_yaml((FOLDER / "every_key.yaml").read_text(encoding="utf-8"), "every_key.yaml")
    assert isinstance(root, Mapping)
    assert not problems
    assert {key.text for key, _ in root.pairs} == set(STORY_KEYS)
    shots = root.get("shots")
    assert isinstance(shots, Sequence)
    keys = {key.text for shot in shots.items if isinstance(shot, Mapping) for key, _ in shot.pairs}
    assert keys == set(SHOT_KEYS)
    for name, cls in SECTIONS.items():
        section = root.get(name)
        assert isinstance(section, Mapping)
        assert {key.text for key, _ in section.pairs} == {item.name for item in fields(cls)}

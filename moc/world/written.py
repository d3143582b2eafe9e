"""A story as written, and the pieces that reading it shares: the words' log, things described, facts of events.

Torch-free. `language` reads descriptions and puts the story together, `shot_reader` reads the shots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from moc.world.clauses import Event
from moc.world.vocabulary import nearest_words
from moc.world.words import FITTING_IS_PLACE

SHOT_DEFAULTS = ("time", "weather", "prop")  # what a scene's description may settle for its shots
WORDY = ("fact", "action", "place", "fitting", "silent", "undrawn", "kind")  # events whose words are worth reporting


class ShotText(NamedTuple):
    """One shot as written. `scene` is a key of the story's scenes, `camera` what the camera field says."""

    prompt: str
    scene: str | None = None
    camera: str | None = None


@dataclass
class StoryText:
    """A story as written. Shots may be given as plain tuples (prompt, scene, camera)."""

    global_prompt: str = ""
    characters: Mapping[str, str] = field(default_factory=dict)
    scenes: Mapping[str, str] = field(default_factory=dict)
    shots: Sequence[ShotText | tuple[str, str | None, str | None]] = ()


@dataclass
class Words:
    """What became of the words of one shot (`number` from 1), or of the words that all shots share (number 0).

    Attributes:
        understood: (words, meaning), such as ("crimson raincoat", "mira: coat = red").
        silent: known words that change nothing in the picture.
        unknown: (word, known words spelt much like it).
    """

    number: int
    understood: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    unknown: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


class Log:
    """The words of a text in order, each with its meaning once that is known."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str | None]] = []
        self.unknown: list[str] = []

    def add(self, text: str, meaning: str | None = None) -> int:
        """Adds a word (silent as long as it has no meaning), and returns its place."""
        self.entries.append((text, meaning))
        return len(self.entries) - 1

    def explain(self, place: int, meaning: str) -> None:
        self.entries[place] = (self.entries[place][0], meaning)

    def into(self, words: Words) -> None:
        words.understood += [(text, meaning) for text, meaning in self.entries if meaning is not None]
        words.silent += [text for text, meaning in self.entries if meaning is None]
        words.unknown += [(word, nearest_words(word)) for word in self.unknown]


@dataclass
class Thing:
    """A character or a scene: what is known of it."""

    name: str
    main: str = ""  # its kind, or its place
    facts: dict[str, str] = field(default_factory=dict)
    declared: bool = True


def place_of(events: Iterable[Event]) -> str:
    """The place that a text names: the first telling word, else the first vague one, else ""."""
    places = [event for event in events if event.what == "place"]
    telling = [event for event in places if event.strength]
    if telling or places:
        return (telling or places)[0].value
    fittings = [e for e in events if e.what == "fitting" and e.text.split()[-1] in FITTING_IS_PLACE]
    return fittings[0].where if fittings else ""


def head_noun(events: Iterable[Event], name: str = "") -> str:
    """The unknown word that probably says what is described: "a tall newt in a coat" -> "newt", else ""."""
    found: list[str] = []
    ends = ("preposition", "companion", "clause", "stop", "and", "pronoun")
    for event in events:
        if event.what == "unknown" and event.text != name.lower():
            found.append(event.text)
        elif event.what in ends and (found or event.text not in (",", "of")):  # "zed, a newt", "a kind of newt"
            break
    return next((word for word in reversed(found) if not word.endswith("ing")), found[-1] if found else "")


def scene_fact(event: Event, place: str) -> tuple[str, str] | None:
    """What an event says of a scene or a shot at `place`, None if nothing."""
    if event.what == "fitting" and event.value and event.where in ("", place):
        return "accent", event.value
    if event.what == "fact" and event.attribute in ("wall", "feature", "time", "weather", "prop", "camera"):
        return event.attribute, event.value
    return None


def tidy_hat(facts: dict[str, str]) -> None:
    """No hat, no hat colour."""
    if facts.get("hat") == "none":
        facts.pop("hat_color", None)


def fresh_name(name: str, taken: Mapping[str, object]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    return candidate

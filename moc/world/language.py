"""Understands stories written in plain English: text in, facts out. Torch-free.

`understand_story` reads the global prompt, the descriptions and the shots, finds who is in each shot, where it plays
and what happens, and says of every word whether it was understood, known without effect, or unknown. `encode` turns
the result into the text tokens of the built-in model, the same that `moc.world.tokens` makes from drawn stories.

What a text leaves unsaid: time is day, weather clear, camera medium, a character stands, a shot stays where the one
before was (the first: at the place that the global prompt names, else in the park). Looks stay open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from moc.world.clauses import Event, read_clauses
from moc.world.schema import (
    CHARACTER_ATTRIBUTES,
    COLUMNS,
    FACT_ID,
    GLOBAL_TOKENS,
    KINDS,
    MAX_CAST,
    MAX_CHARACTERS,
    MAX_SCENES,
    PLACE_ATTRIBUTES,
    PLACES,
    SLOT_NONE,
    TOKEN_SIZE,
    Fact,
    character_slot,
    scene_slot,
)
from moc.world.shot_reader import ReadShot, ShotReader
from moc.world.vocabulary import DETERMINERS, LEXICON, plain, split_list
from moc.world.words import COLOR_AS, KINDS_NEAR
from moc.world.written import (
    SHOT_DEFAULTS,
    WORDY,
    Log,
    ShotText,
    StoryText,
    Thing,
    Words,
    fresh_name,
    head_noun,
    place_of,
    scene_fact,
    tidy_hat,
)

Token = tuple[int, ...]
EMPTY: Token = (0,) * TOKEN_SIZE


@dataclass
class ShotMeaning:
    """What one shot shows: the scene's and the cast's names, and its caption as facts."""

    scene: str
    cast: list[str]
    facts: list[Fact] = field(default_factory=list)


@dataclass
class Understanding:
    """What a story means.

    Attributes:
        facts: of the global caption.
        shots: one meaning a shot.
        slots: name of a character or scene -> its slot (the character's where both have one name); implicit ones are
            named by what they are ("dog", "river").
        words: number 0 first, then one a shot.
        problems: sentences about what the model has no room for; empty when the story can be rendered as written.
        notes: sentences about what was assumed or can't be drawn.
    """

    facts: list[Fact]
    shots: list[ShotMeaning]
    slots: dict[str, int]
    words: list[Words]
    problems: list[str]
    notes: list[str]


_THINGS = {
    "hair": "hair, fur and metal", "coat": "coats", "hat_color": "hats", "scarf": "scarves", "wall": "walls",
    "accent": "bright fittings",
}  # fmt: skip


def understand_story(story: StoryText) -> Understanding:
    """Reads a story. Never raises for its content: what does not fit is in `problems`."""
    return StoryReader(story).understand()


def encode(understanding: Understanding) -> tuple[list[Token], list[list[Token]]]:
    """Text tokens (slot, fact id, ...) as `moc.world.tokens` has them: the global caption's, and those of each shot's.

    Raises:
        ValueError: when a shot tells of more than the scene and the cast it has room for (then `problems` says so too).
    """
    whole = [EMPTY] * GLOBAL_TOKENS
    for token in _tokens(understanding.facts):
        whole[token[0] - 1] = token
    captions = []
    for number, shot in enumerate(understanding.shots, 1):
        tokens = _tokens(shot.facts)
        shown = [t for t in tokens if t[0] == SLOT_NONE] or [EMPTY]
        where = [t for t in tokens if t[0] >= scene_slot(0)] or [EMPTY]
        who = [t for t in tokens if 0 < t[0] < scene_slot(0)]
        if len(where) > 1 or len(who) > MAX_CAST:
            raise ValueError(
                f"the caption of shot {number} tells of {len(where)} scenes and {len(who)} characters, it holds 1 and "
                f"{MAX_CAST}"
            )
        captions.append(shown + where + who + [EMPTY] * (MAX_CAST - len(who)))
    return whole, captions


def _tokens(facts: Iterable[Fact]) -> list[Token]:
    """A token for each slot, in the order in which the facts speak of them; the first fact of an attribute counts."""
    tokens: dict[int, list[int]] = {}
    for fact in facts:
        token = tokens.setdefault(fact.slot, [fact.slot, *EMPTY[1:]])
        column = COLUMNS[fact.attribute]
        token[column] = token[column] or FACT_ID[fact.attribute, fact.value]
    return [tuple(token) for token in tokens.values()]


class StoryReader:
    def __init__(self, story: StoryText) -> None:
        self.story = story
        self.people: dict[str, Thing] = {}
        self.scenes: dict[str, Thing] = {}
        self.words = [Words(0)]
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.mentioned: list[str] = []  # characters by last mention, over the whole story
        self.last_cast: list[str] = []
        self.defaults: dict[str, str] = {}
        self.bare_names = _bare_names(story.characters)

    def understand(self) -> Understanding:
        self._read_global()
        for name, text in self.story.characters.items():
            self.people[name] = self._read_character(name, text)
        for name, text in self.story.scenes.items():
            self.scenes[name] = self._read_scene(name, text)
        shots: list[ReadShot] = []
        for number, item in enumerate(self.story.shots, 1):
            reader = ShotReader(self, number, ShotText(*item))
            shots.append(reader.read(shots[-1].scene if shots else None))
        return self._assemble(shots)

    def log(self, log: Log, number: int = 0) -> None:
        log.into(self.words[number])

    def near_kind(self, event: Event, where: str) -> None:
        """Says so when a kind is only the nearest one: "a fox"."""
        near = split_list(KINDS_NEAR.get(event.value, ""))
        if any(f" {event.text}".endswith(f" {kind}") for kind in near):  # "robot fox" and "guinea pig" too
            article = "an" if event.text[0] in "aeiou" else "a"
            self.notes.append(f"{where}: {article} {event.text} is drawn as a {event.value}")

    def assumed(
        self, where: str, name: str, what: str, events: Sequence[Event], main: str, known: Iterable[str]
    ) -> None:
        """Says what is drawn where a description names no kind or place (`what`) that the world has."""
        noun = head_noun(events, name)
        wrong = f"'{noun}' is not a {what} it knows" if noun else f"no {what} is named"
        self.notes.append(f"{where}: {wrong}; {name} is drawn as a {main}; {what}s: {', '.join(known)}")

    def undrawn(self, log: Log, event: Event, where: str) -> None:
        """A known word for what the world does not have: "a black coat"."""
        log.add(event.text)
        values = ", ".join(dict.fromkeys(COLOR_AS[event.attribute].values()))
        things = _THINGS[event.attribute]
        self.notes.append(f"{where}: '{event.text}' can't be drawn and stays open; {things} come in {values}")

    def _read_global(self) -> None:
        log = Log()
        for event in read_clauses(self.story.global_prompt):
            if event.what == "unknown":
                log.unknown.append(event.text)
            elif event.what == "fact" and event.attribute in ("time", "weather"):
                fresh = event.attribute not in self.defaults
                self.defaults.setdefault(event.attribute, event.value)
                log.add(event.text, f"{event.attribute} = {event.value}" if fresh else None)
            elif event.what == "place" and "place" not in self.defaults:
                self.defaults["place"] = event.value
                log.add(event.text)
            elif event.what in WORDY:
                log.add(event.text)
        self.log(log)

    def _read_character(self, name: str, text: str) -> Thing:
        person, log, other, pronoun = Thing(name), Log(), False, ""
        where = f"characters.{name}"
        events = read_clauses(text)
        for event in events:
            if event.what == "unknown":
                log.add(event.text) if event.text == name.lower() else log.unknown.append(event.text)
            elif event.what == "kind" and person.main in ("", event.value):
                self.near_kind(event, where)
                person.main, other = event.value, False
                log.add(event.text, f"{name}: kind = {event.value}")
            elif event.what == "kind":
                other = True  # "a woman with her dog": the dog is not described here
                log.add(event.text)
            elif event.what == "fact" and event.attribute in CHARACTER_ATTRIBUTES and not other:
                fresh = event.attribute not in person.facts
                person.facts.setdefault(event.attribute, event.value)
                log.add(event.text, f"{name}: {event.attribute} = {event.value}" if fresh else None)
            elif event.what == "undrawn" and not other:
                self.undrawn(log, event, where)
            elif event.what in ("and", "stop"):
                other = False
            elif event.what == "pronoun":
                pronoun = pronoun or event.value
            elif event.what in WORDY:
                log.add(event.text)
        self.log(log)
        tidy_hat(person.facts)
        if not person.main:
            entry = LEXICON.get(tuple(plain(name).split()))
            named = entry.value if entry and entry.part == "kind" else ""
            person.main = named or {"he": "man", "it": "robot"}.get(pronoun, "woman")
            if not named:
                self.assumed(where, name, "kind", events, person.main, KINDS)
        return person

    def _read_scene(self, name: str, text: str) -> Thing:
        scene, log = Thing(name), Log()
        events = read_clauses(text)
        entry = LEXICON.get(tuple(plain(name).replace("_", " ").replace("-", " ").split()))
        scene.main = place_of(events) or (entry.value if entry and entry.part == "place" else "")
        if not scene.main:
            scene.main = self.defaults.get("place", "park")
            self.assumed(f"scenes.{name}", name, "place", events, scene.main, PLACES)
        for event in events:
            if event.what == "unknown":
                log.unknown.append(event.text)
            elif event.what == "undrawn":
                self.undrawn(log, event, f"scenes.{name}")
            elif event.what == "place":
                log.add(event.text, f"{name}: place = {scene.main}" if event.value == scene.main else None)
            elif (fact := scene_fact(event, scene.main)) is not None:
                fresh = fact[0] not in scene.facts
                scene.facts.setdefault(*fact)
                log.add(event.text, f"{name}: {fact[0]} = {fact[1]}" if fresh else None)
            elif event.what in WORDY:
                log.add(event.text)
        self.log(log)
        return scene

    def somebody(self, kind: str, definite: bool, taken: Sequence[str]) -> str:
        """The character meant by "a dog" or "the dog": a declared one, an earlier implicit one, or a new one."""
        mine = [p.name for p in self.people.values() if p.main == kind and p.name not in taken]
        declared = [name for name in mine if self.people[name].declared]
        if definite and len(declared) == 1:
            return declared[0]
        implicit = [name for name in mine if not self.people[name].declared]
        if implicit:
            return implicit[0]
        name = fresh_name(kind, self.people)
        self.people[name] = Thing(name, kind, declared=False)
        return name

    def somewhere(self, place: str, last: str | None) -> str:
        """The scene meant by a place word: the last one if it is such a place, else the first such, else a new one."""
        mine = [s.name for s in self.scenes.values() if s.main == place]
        if last in mine:
            return str(last)
        if mine:
            return mine[0]
        name = fresh_name(place, self.scenes)
        self.scenes[name] = Thing(name, place, declared=False)
        return name

    def _assemble(self, shots: list[ReadShot]) -> Understanding:
        people = self._room(self.people, [name for shot in shots for name in shot.cast], "characters", MAX_CHARACTERS)
        scenes = self._room(self.scenes, [shot.scene for shot in shots], "scenes", MAX_SCENES)
        slots = {name: character_slot(i) for i, name in enumerate(people)}
        where = {name: scene_slot(i) for i, name in enumerate(scenes)}
        # who only a shot's prompt mentions stands in its caption alone: later shots must not change earlier ones
        facts = [
            fact
            for things, slots_of, main in ((self.people, slots, "kind"), (self.scenes, where, "place"))
            for name, slot in slots_of.items()
            if things[name].declared
            for fact in _facts(things[name], main, slot)
        ]
        meanings = [self._meaning(number, shot, slots, where) for number, shot in enumerate(shots, 1)]
        return Understanding(facts, meanings, where | slots, self.words, self.problems, self.notes)

    def _room(self, things: dict[str, Thing], shown: list[str], label: str, limit: int) -> list[str]:
        """Names that get a slot: those that the story declares, then others as they appear. Where that is too many,
        the declared ones that no shot shows give up theirs."""
        seen = list(dict.fromkeys(shown))
        declared = [name for name, thing in things.items() if thing.declared]
        self.notes += [f"{name} is described but seen in no shot" for name in declared if name not in seen]
        if len(seen) > limit:
            self.problems.append(f"the story shows {len(seen)} {label} ({', '.join(seen)}), at most {limit} fit")
        names = declared + [name for name in seen if name not in declared]
        if len(names) > limit:
            names = [name for name in names if name in seen]
        return names[:limit]

    def _meaning(self, number: int, shot: ReadShot, slots: dict[str, int], where: dict[str, int]) -> ShotMeaning:
        scene = self.scenes[shot.scene]
        defaults = {"camera": "medium", "time": "day", "weather": "clear"} | self.defaults
        defaults |= {a: v for a, v in scene.facts.items() if a in SHOT_DEFAULTS}
        values = {k: v for k, v in (defaults | shot.facts).items() if k != "place" and (k, v) != ("prop", "none")}
        cast = [name for name in shot.cast if name in slots][:MAX_CAST]
        facts = [Fact(SLOT_NONE, attribute, value) for attribute, value in values.items()]
        if shot.scene in where:
            said = {a: v for name, a, v in shot.said if name == shot.scene and a in PLACE_ATTRIBUTES}
            facts += _facts(scene, "place", where[shot.scene], said)
        for name in cast:
            said = {a: v for owner, a, v in shot.said if owner == name and a in CHARACTER_ATTRIBUTES}
            facts += _facts(self.people[name], "kind", slots[name], said)
            facts.append(Fact(slots[name], "action", shot.actions[name].value))
        return ShotMeaning(shot.scene, cast, facts)


def _facts(thing: Thing, main: str, slot: int, said: Mapping[str, str] | None = None) -> list[Fact]:
    """What is known of a thing, with what a shot says of it in place of what its description does."""
    known = {a: v for a, v in thing.facts.items() if a not in SHOT_DEFAULTS} | dict(said or {})
    tidy_hat(known)
    return [Fact(slot, main, thing.main), *(Fact(slot, a, v) for a, v in known.items() if a != main)]


def _bare_names(characters: Iterable[str]) -> Callable[[str], str]:
    """A function that puts braces around characters' names written without: "Mira waits" -> "{mira} waits"."""
    names = [n for n in characters if (plain(n),) not in LEXICON and plain(n) not in DETERMINERS and len(n) > 1]
    if not names:
        return lambda text: text
    lower = {name.lower(): name for name in names}
    pattern = re.compile(
        rf"(?<![{{\w])({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?![\w}}])", re.I
    )
    return lambda text: pattern.sub(lambda match: "{" + lower[match.group(1).lower()] + "}", text)

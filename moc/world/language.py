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
from typing import NamedTuple

from moc.world.clauses import Event, read_clauses
from moc.world.schema import (
    CAMERAS,
    CAPTION_TOKENS,
    CHARACTER_ATTRIBUTES,
    FACT_ID,
    FACT_PAD,
    GLOBAL_TOKENS,
    KINDS,
    MAX_CAST,
    MAX_CHARACTERS,
    MAX_SCENES,
    PLACE_ATTRIBUTES,
    PLACES,
    SLOT_NONE,
    Fact,
    character_slot,
    scene_slot,
)
from moc.world.subjects import Act, Subjects
from moc.world.vocabulary import DETERMINERS, IDLE, LEXICON, camera_value, nearest_words, plain
from moc.world.words import COLOR_AS, FITTING_IS_PLACE

_FEMALE, _MALE, _NEITHER = ("woman", "girl"), ("man", "boy"), ("cat", "dog", "rabbit", "bear", "robot")
_FITS = {"she": (_FEMALE, _NEITHER), "he": (_MALE, _NEITHER), "it": (_NEITHER,)}


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


def understand_story(story: StoryText) -> Understanding:
    """Reads a story. Never raises for its content: what does not fit is in `problems`."""
    return _Story(story).understand()


def encode(understanding: Understanding) -> tuple[list[tuple[int, int]], list[list[tuple[int, int]]]]:
    """Text tokens (slot, fact id): the global caption, `GLOBAL_TOKENS` long, and each shot's, `CAPTION_TOKENS` long.

    Raises:
        ValueError: when a caption has more facts than tokens (then `problems` says so too).
    """
    return (
        _pad(understanding.facts, GLOBAL_TOKENS, "the global caption"),
        [_pad(s.facts, CAPTION_TOKENS, f"the caption of shot {n}") for n, s in enumerate(understanding.shots, 1)],
    )


def _pad(facts: list[Fact], length: int, owner: str) -> list[tuple[int, int]]:
    if len(facts) > length:
        raise ValueError(f"{owner} states {len(facts)} facts, it holds {length}")
    tokens = [(fact.slot, FACT_ID[fact.attribute, fact.value]) for fact in facts]
    return tokens + [(SLOT_NONE, FACT_PAD)] * (length - len(tokens))


# ------------------------------------------------------------------ one text
class _Log:
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
class _Thing:
    """A character or a scene: what is known of it."""

    name: str
    main: str = ""  # its kind, or its place
    facts: dict[str, str] = field(default_factory=dict)
    declared: bool = True


@dataclass
class _Shot:
    """A shot between reading and slots."""

    scene: str
    cast: list[str]
    facts: dict[str, str]  # of the shot itself
    actions: dict[str, Act]
    said: list[tuple[str, str, str]]  # (name, attribute, value), what the caption says of looks


class _Story:
    def __init__(self, story: StoryText) -> None:
        self.story = story
        self.people: dict[str, _Thing] = {}
        self.scenes: dict[str, _Thing] = {}
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
        shots: list[_Shot] = []
        for number, item in enumerate(self.story.shots, 1):
            reader = _ShotReader(self, number, ShotText(*item))
            shots.append(reader.read(shots[-1].scene if shots else None))
        return self._assemble(shots)

    def log(self, log: _Log, number: int = 0) -> None:
        log.into(self.words[number])

    def undrawn(self, log: _Log, event: Event, where: str) -> None:
        """A known word for what the world does not have: "a black coat"."""
        log.add(event.text)
        values = ", ".join(dict.fromkeys(COLOR_AS[event.attribute].values()))
        thing = event.attribute.replace("hat_color", "hat")
        self.notes.append(f"{where}: '{event.text}' can't be drawn and stays open; {thing} can be {values}")

    # ------------------------------------------------------------ descriptions
    def _read_global(self) -> None:
        log = _Log()
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
            elif event.what in _WORDY:
                log.add(event.text)
        self.log(log)

    def _read_character(self, name: str, text: str) -> _Thing:
        person, log, other, pronoun = _Thing(name), _Log(), False, ""
        where = f"characters.{name}"
        for event in read_clauses(text):
            if event.what == "unknown":
                log.unknown.append(event.text)
            elif event.what == "kind" and not person.main:
                person.main = event.value
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
            elif event.what in _WORDY:
                log.add(event.text)
        self.log(log)
        _tidy_hat(person.facts)
        if not person.main:
            entry = LEXICON.get(tuple(plain(name).split()))
            named = entry.value if entry and entry.part == "kind" else ""
            person.main = named or {"he": "man", "it": "robot"}.get(pronoun, "woman")
            if not named:
                self.notes.append(f"{where}: no kind is named, taken for a {person.main}; kinds: {', '.join(KINDS)}")
        return person

    def _read_scene(self, name: str, text: str) -> _Thing:
        scene, log = _Thing(name), _Log()
        events = read_clauses(text)
        entry = LEXICON.get(tuple(plain(name).replace("_", " ").replace("-", " ").split()))
        scene.main = _place_of(events) or (entry.value if entry and entry.part == "place" else "")
        if not scene.main:
            scene.main = self.defaults.get("place", "park")
            self.notes.append(
                f"scenes.{name}: no place is named, taken for a {scene.main}; places: {', '.join(PLACES)}"
            )
        for event in events:
            if event.what == "unknown":
                log.unknown.append(event.text)
            elif event.what == "undrawn":
                self.undrawn(log, event, f"scenes.{name}")
            elif event.what == "place":
                log.add(event.text, f"{name}: place = {scene.main}" if event.value == scene.main else None)
            elif (fact := _scene_fact(event, scene.main)) is not None:
                fresh = fact[0] not in scene.facts
                scene.facts.setdefault(*fact)
                log.add(event.text, f"{name}: {fact[0]} = {fact[1]}" if fresh else None)
            elif event.what in _WORDY:
                log.add(event.text)
        self.log(log)
        return scene

    # ---------------------------------------------------------------- implicit
    def somebody(self, kind: str, definite: bool, taken: Sequence[str]) -> str:
        """The character meant by "a dog" or "the dog": a declared one, an earlier implicit one, or a new one."""
        mine = [p.name for p in self.people.values() if p.main == kind and p.name not in taken]
        declared = [name for name in mine if self.people[name].declared]
        if definite and len(declared) == 1:
            return declared[0]
        implicit = [name for name in mine if not self.people[name].declared]
        if implicit:
            return implicit[0]
        name = _fresh(kind, self.people)
        self.people[name] = _Thing(name, kind, declared=False)
        return name

    def somewhere(self, place: str, last: str | None) -> str:
        """The scene meant by a place word: the last one if it is such a place, else the first such, else a new one."""
        mine = [s.name for s in self.scenes.values() if s.main == place]
        if last in mine:
            return str(last)
        if mine:
            return mine[0]
        name = _fresh(place, self.scenes)
        self.scenes[name] = _Thing(name, place, declared=False)
        return name

    # ------------------------------------------------------------------- facts
    def _assemble(self, shots: list[_Shot]) -> Understanding:
        cast = {name for shot in shots for name in shot.cast}
        places = {shot.scene for shot in shots}
        people = [p for p in self.people.values() if p.name in cast]
        scenes = [s for s in self.scenes.values() if s.name in places]
        for label, used, limit in (("characters", people, MAX_CHARACTERS), ("scenes", scenes, MAX_SCENES)):
            if len(used) > limit:
                names = ", ".join(thing.name for thing in used)
                self.problems.append(f"the story shows {len(used)} {label} ({names}), at most {limit} fit")
        for thing in (*self.people.values(), *self.scenes.values()):
            if thing.declared and thing not in people and thing not in scenes:
                self.notes.append(f"{thing.name} is described but seen in no shot")
        slots = {p.name: character_slot(i) for i, p in enumerate(people[:MAX_CHARACTERS])}
        where = {s.name: scene_slot(i) for i, s in enumerate(scenes[:MAX_SCENES])}

        facts: list[Fact] = []
        for things, main, of in ((people, "kind", slots), (scenes, "place", where)):
            for thing in things:
                if thing.name in of:
                    slot = of[thing.name]
                    facts.append(Fact(slot, main, thing.main))
                    facts += [Fact(slot, a, v) for a, v in thing.facts.items() if a not in _SHOT_DEFAULTS]
        if len(facts) > GLOBAL_TOKENS:
            self.problems.append(f"the descriptions state {len(facts)} facts in all, at most {GLOBAL_TOKENS} fit")
        meanings = [self._meaning(number, shot, slots, where) for number, shot in enumerate(shots, 1)]
        return Understanding(facts, meanings, where | slots, self.words, self.problems, self.notes)

    def _meaning(self, number: int, shot: _Shot, slots: dict[str, int], where: dict[str, int]) -> ShotMeaning:
        scene = self.scenes[shot.scene]
        defaults = {"camera": "medium", "time": "day", "weather": "clear"} | self.defaults
        defaults |= {a: v for a, v in scene.facts.items() if a in _SHOT_DEFAULTS}
        values = {k: v for k, v in (defaults | shot.facts).items() if k != "place" and (k, v) != ("prop", "none")}
        cast = [name for name in shot.cast if name in slots][:MAX_CAST]
        facts = [Fact(where[shot.scene], "place", scene.main)] if shot.scene in where else []
        facts += [Fact(SLOT_NONE, attribute, value) for attribute, value in values.items()]
        for name in cast:
            facts.append(Fact(slots[name], "kind", self.people[name].main))
            facts.append(Fact(slots[name], "action", shot.actions[name].value))
        for name, attribute, value in shot.said:
            if attribute in CHARACTER_ATTRIBUTES and name in cast:
                facts.append(Fact(slots[name], attribute, value))
            elif attribute in PLACE_ATTRIBUTES and name in where:
                facts.append(Fact(where[name], attribute, value))
        if len(facts) > CAPTION_TOKENS:
            self.problems.append(f"shot {number} states {len(facts)} facts, at most {CAPTION_TOKENS} fit")
        return ShotMeaning(shot.scene, cast, facts)


# ----------------------------------------------------------------- one shot
class _ShotReader:
    """Reads one shot's prompt and camera field."""

    def __init__(self, story: _Story, number: int, text: ShotText) -> None:
        self.story, self.number, self.text = story, number, text
        self.log = _Log()
        self.subjects = Subjects()
        self.facts: dict[str, str] = {}
        self.said: dict[tuple[str, str], str] = {}
        self.person = ""  # whom looks are said of just now
        self.early: list[tuple[Event, int]] = []  # looks said before anybody is mentioned
        self.acts: list[tuple[Act, str]] = []
        story.words.append(Words(number))

    def read(self, last_scene: str | None) -> _Shot:
        events = read_clauses(self.story.bare_names(self.text.prompt))
        self._camera_field()
        scene = self._scene(events, last_scene)
        for event in events:
            self._event(event, scene)
        actions = self.subjects.actions()
        for act, text in self.acts:
            doers = [name for name, best in actions.items() if best == act]
            doers = doers or [name for name, best in actions.items() if best.value == act.value]
            if doers:
                self.log.explain(act.word, f"{' and '.join(doers)}: action = {act.value}")
            elif act.strength > IDLE and self.subjects.cast:
                drawn = ", ".join(sorted({best.value for best in actions.values()}))
                self.story.notes.append(f"shot {self.number}: '{text}' gives way to {drawn}, one action a character")
        cast = self.subjects.cast
        if len(cast) > MAX_CAST:
            self.story.problems.append(
                f"shot {self.number} shows {len(cast)} characters ({', '.join(cast)}), at most {MAX_CAST} fit"
            )
        self.story.last_cast = list(cast) or self.story.last_cast
        self.story.log(self.log, self.number)
        said = [(name, attribute, value) for (name, attribute), value in self.said.items()]
        return _Shot(scene, cast, self.facts, actions, said)

    def _camera_field(self) -> None:
        field_text = self.text.camera
        if not field_text:
            return
        value = camera_value(field_text)
        if value is None:
            facts = [e for e in read_clauses(field_text) if e.what == "fact" and e.attribute == "camera"]
            value = facts[0].value if facts else None
        if value is None:
            near = tuple(word for word in nearest_words(field_text) if camera_value(word)) or CAMERAS
            self.story.words[self.number].unknown.append((field_text, near))
            return
        self.facts["camera"] = value
        self.log.add(f"camera: {field_text}", f"camera = {value}")

    def _scene(self, events: list[Event], last: str | None) -> str:
        story = self.story
        named = [e.value for e in events if e.what == "name" and e.value in story.scenes]
        if self.text.scene is not None and self.text.scene in story.scenes:
            return self.text.scene
        if self.text.scene is not None:
            story.problems.append(f"shot {self.number} plays in {self.text.scene!r}, which is not among the scenes")
        if named:
            return named[0]
        place = _place_of(events)
        if place:
            return story.somewhere(place, last)
        if last is None:
            default = story.defaults.get("place", "park")
            last = story.somewhere(default, None)
            story.notes.append(f"shot {self.number} names no place; it plays at: {default}")
        return last

    def _event(self, event: Event, scene: str) -> None:
        what, story = event.what, self.story
        if what in ("and", "companion", "preposition", "clause"):
            self.subjects.link(what, event.text)
        elif what == "stop":
            self.subjects.stop()
        elif what == "name":
            self._name(event)
        elif what == "kind":
            taken = self.subjects.cast if event.strength > 1 else ()
            name = story.somebody(event.value, event.definite, taken)
            self.log.add(event.text, f"{name}: kind = {event.value}")
            self._mention(name)
        elif what == "pronoun":
            self._pronoun(event)
        elif what == "action":
            act = Act(event.value, event.strength, self.log.add(event.text))
            self.acts.append((act, event.text))
            self.subjects.act(act)
        elif what == "unknown":
            self.log.unknown.append(event.text)
        elif what == "undrawn":
            story.undrawn(self.log, event, f"shot {self.number}")
        elif what == "fact" and event.attribute in CHARACTER_ATTRIBUTES:
            word = self.log.add(event.text)
            if not event.loose:
                self._look(event, word)
        elif what == "place":
            matches = event.value == story.scenes[scene].main
            self.log.add(event.text, f"{scene}: place = {event.value}" if matches else None)
            self.subjects.end_phrase()
        elif (fact := _scene_fact(event, story.scenes[scene].main)) is not None:
            self._setting(event, fact, scene)
            self.subjects.end_phrase()
        elif what in _WORDY:
            self.log.add(event.text)
            if event.where == "noun" or what == "fitting":
                self.subjects.end_phrase()

    def _name(self, event: Event) -> None:
        if event.value in self.story.people:
            self._mention(event.value)
        elif event.value in self.story.scenes:
            self.subjects.end_phrase()
        else:
            self.story.problems.append(f"shot {self.number} names {{{event.value}}}, who is not among the characters")

    def _mention(self, name: str) -> None:
        self.subjects.mention(name)
        self._remember(name)

    def _remember(self, name: str) -> None:
        mentioned = self.story.mentioned
        if name in mentioned:
            mentioned.remove(name)
        mentioned.append(name)
        self.person = name
        early, self.early = self.early, []
        for event, word in early:
            self._look(event, word)

    def _pronoun(self, event: Event) -> None:
        names: list[str] = []
        if event.value == "they":
            names = list(self.subjects.cast or self.story.last_cast)
        else:
            for kinds in _FITS[event.value]:
                names = (
                    names
                    or [name for name in reversed(self.story.mentioned) if self.story.people[name].main in kinds][:1]
                )
        if not names:
            self.log.add(event.text)
            return
        self.log.add(event.text, " and ".join(names))
        self.subjects.resume(names)
        for name in names:
            self._remember(name)

    def _look(self, event: Event, word: int) -> None:
        """A fact about how somebody looks, said in a shot."""
        if not self.person:
            self.early.append((event, word))
            return
        person = self.story.people[self.person]
        known = person.facts.get(event.attribute)
        if (person.name, event.attribute) in self.said:
            return
        if known is not None and known != event.value:
            self.story.notes.append(
                f"shot {self.number}: '{event.text}' contradicts {person.name}'s {event.attribute} ({known}); "
                "looks stay the same through a story"
            )
        if not person.declared:
            person.facts.setdefault(event.attribute, event.value)
        self.said[person.name, event.attribute] = event.value
        self.log.explain(word, f"{person.name}: {event.attribute} = {event.value}")

    def _setting(self, event: Event, fact: tuple[str, str], scene: str) -> None:
        """Time, weather, camera and prop are the shot's; wall, accent and feature the scene's."""
        attribute, value = fact
        if attribute in _SHOT_DEFAULTS or attribute == "camera":
            fresh = attribute not in self.facts
            self.facts.setdefault(attribute, value)
            self.log.add(event.text, f"{attribute} = {value}" if fresh else None)
            return
        fresh = (scene, attribute) not in self.said
        self.said.setdefault((scene, attribute), value)
        if not self.story.scenes[scene].declared:
            self.story.scenes[scene].facts.setdefault(attribute, value)
        self.log.add(event.text, f"{scene}: {attribute} = {value}" if fresh else None)


# ------------------------------------------------------------------- helpers
_SHOT_DEFAULTS = ("time", "weather", "prop")  # what a scene's description may settle for its shots
_WORDY = ("fact", "action", "place", "fitting", "silent", "undrawn", "kind")  # events whose words are worth reporting


def _place_of(events: Iterable[Event]) -> str:
    """The place that a text names: the first telling word, else the first vague one, else ""."""
    places = [event for event in events if event.what == "place"]
    telling = [event for event in places if event.strength]
    if telling or places:
        return (telling or places)[0].value
    fittings = [e for e in events if e.what == "fitting" and e.text.split()[-1] in FITTING_IS_PLACE]
    return fittings[0].where if fittings else ""


def _scene_fact(event: Event, place: str) -> tuple[str, str] | None:
    """What an event says of a scene or a shot at `place`, None if nothing."""
    if event.what == "fitting" and event.value and event.where in ("", place):
        return "accent", event.value
    if event.what == "fact" and event.attribute in ("wall", "feature", "time", "weather", "prop", "camera"):
        return event.attribute, event.value
    return None


def _tidy_hat(facts: dict[str, str]) -> None:
    """No hat, no hat colour."""
    if facts.get("hat") == "none":
        facts.pop("hat_color", None)


def _fresh(name: str, taken: Mapping[str, object]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    return candidate


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

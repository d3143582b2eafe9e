"""Reads one shot: who is in it, where it plays, what everybody does, what else its caption says. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from moc.world.clauses import Event, read_clauses
from moc.world.schema import CAMERAS, CHARACTER_ATTRIBUTES, MAX_CAST
from moc.world.subjects import Act, Subjects
from moc.world.vocabulary import IDLE, PREPOSITIONS, camera_value
from moc.world.written import SHOT_DEFAULTS, WORDY, Log, ShotText, Words, place_of, scene_fact

if TYPE_CHECKING:
    from moc.world.language import StoryReader

_FEMALE, _MALE, _NEITHER = ("woman", "girl"), ("man", "boy"), ("cat", "dog", "rabbit", "bear", "robot")
_FITS = {"she": (_FEMALE, _NEITHER), "he": (_MALE, _NEITHER), "it": (_NEITHER,)}


@dataclass
class ReadShot:
    """A shot between reading and slots."""

    scene: str
    cast: list[str]
    facts: dict[str, str]  # of the shot itself
    actions: dict[str, Act]
    said: list[tuple[str, str, str]]  # (name, attribute, value), what the caption says of looks


class ShotReader:
    """Reads one shot's prompt and camera field."""

    def __init__(self, story: StoryReader, number: int, text: ShotText) -> None:
        self.story, self.number, self.text = story, number, text
        self.log = Log()
        self.subjects = Subjects()
        self.facts: dict[str, str] = {}
        self.said: dict[tuple[str, str], str] = {}
        self.person = ""  # whom looks are said of just now
        self.early: list[tuple[Event, int]] = []  # looks said before anybody is mentioned
        self.acts: list[tuple[Act, str]] = []
        self.previous = Event("stop")
        story.words.append(Words(number))

    def read(self, last_scene: str | None) -> ReadShot:
        events = read_clauses(self.story.bare_names(self.text.prompt))
        self._camera_field()
        scene = self._scene(events, last_scene)
        for event, following in pairwise([*events, Event("stop")]):
            if event.what == "pronoun":
                self._pronoun(event, following)
            else:
                self._event(event, scene)
            self.previous = event
        actions = self.subjects.actions()
        for act, text in self.acts:
            doers = [name for name, best in actions.items() if best == act]
            doers = doers or [name for name, best in actions.items() if best.value == act.value]
            if doers:
                self.log.explain(act.word, f"{' and '.join(doers)}: action = {act.value}")
            elif act.strength > IDLE and self.subjects.cast:
                drawn = ", ".join(sorted({best.value for best in actions.values()}))
                self.story.notes.append(f"shot {self.number}: '{text}' gives way to {drawn}, one action a character")
        for name in self.subjects.not_understood():
            does = f"{actions[name].value}s"
            self.story.notes.append(f"shot {self.number}: nothing {name} does is understood; {name} {does}")
        cast = self.subjects.cast
        if len(cast) > MAX_CAST:
            self.story.problems.append(
                f"shot {self.number} shows {len(cast)} characters ({', '.join(cast)}), at most {MAX_CAST} fit"
            )
        self.story.last_cast = list(cast) or self.story.last_cast
        self.story.log(self.log, self.number)
        said = [(name, attribute, value) for (name, attribute), value in self.said.items()]
        return ReadShot(scene, cast, self.facts, actions, said)

    def _camera_field(self) -> None:
        field_text = self.text.camera
        if not field_text:
            return
        value = camera_value(field_text)
        if value is None:
            facts = [e for e in read_clauses(field_text) if e.what == "fact" and e.attribute == "camera"]
            value = facts[0].value if facts else None
        if value is None:
            known = f"{', '.join(CAMERAS[:-1])} and {CAMERAS[-1]}"
            self.story.notes.append(f"shot {self.number}: camera '{field_text}' is not known; it knows {known}")
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
        place = place_of(events)
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
            if event.strength > 1 and event == self.previous:  # the other one of "two cats"
                self.subjects.link("and", event.text)
            name = story.somebody(event.value, event.definite, taken)
            story.near_kind(event, f"shot {self.number}")
            self.log.add(event.text, f"{name}: kind = {event.value}")
            self._mention(name)
        elif what == "action" and event.text == "waves" and not self.subjects.cast:
            self.log.add(event.text)  # those of the sea
        elif what == "action":
            act = Act(event.value, event.strength, self.log.add(event.text))
            self.acts.append((act, event.text))
            self.subjects.act(act)
            if event.text.split()[-1] in PREPOSITIONS or event.text.startswith("approach"):
                self.subjects.link("preposition", event.text)  # "walks past {leo}": he does not walk
        elif what == "unknown":
            known = event.text in self.story.people
            self.log.add(event.text) if known else self.log.unknown.append(event.text)
            self.subjects.unknown()
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
        elif (fact := scene_fact(event, story.scenes[scene].main)) is not None:
            self._setting(event, fact, scene)
            self.subjects.end_phrase()
        elif what in WORDY:
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

    def _pronoun(self, event: Event, following: Event) -> None:
        names: list[str] = []
        if event.value == "it" and not self.subjects.cast and following.what != "action":
            self.log.add(event.text)  # "it starts to snow"
            return
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
        if attribute in SHOT_DEFAULTS or attribute == "camera":
            fresh = attribute not in self.facts
            self.facts.setdefault(attribute, value)
            self.log.add(event.text, f"{attribute} = {value}" if fresh else None)
            return
        fresh = (scene, attribute) not in self.said
        self.said.setdefault((scene, attribute), value)
        if not self.story.scenes[scene].declared:
            self.story.scenes[scene].facts.setdefault(attribute, value)
        self.log.add(event.text, f"{scene}: {attribute} = {value}" if fresh else None)

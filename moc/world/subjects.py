"""Who does what in one shot: verbs find their subjects here. Torch-free.

The rules, by example: "{mira} and {leo} walk" (a group shares its verb); "{mira} reads while {leo} sleeps" (a verb goes
to the latest mention); "{mira} walks with {leo}" (a companion does the same); "{mira} walks past {leo}" (whom a
preposition names does not); "{mira} waves at {leo} and smiles" (after "and" the subject goes on, the object of a
preposition does not take over); "reading a book, {mira} waits", "passing by {leo}, {mira} waits" (a verb in front waits
for its subject).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from moc.world.vocabulary import IDLE

_JOINT = ("walk", "run", "dance")  # done together with a direct object
_SHOWING = ("of", "on", "from")  # whom they name first is the subject: "a portrait of {mira}", "focus on {mira}"


@dataclass(frozen=True)
class Act:
    """An action that a text names: its value, how firmly, and the place of its word in the shot's word list."""

    value: str
    strength: int
    word: int


@dataclass
class _Group:
    """People who share their verbs. `companion_of`: whose action they take over when they have none."""

    members: list[str]
    acts: list[Act] = field(default_factory=list)
    companion_of: _Group | None = None
    closed: bool = False


class Subjects:
    """Follows mentions, joining words and verbs through a shot, in the order of the text."""

    def __init__(self) -> None:
        self.cast: list[str] = []
        self._groups: list[_Group] = []
        self._subject: _Group | None = None  # who goes on acting after "and"
        self._latest: _Group | None = None  # who was mentioned last
        self._early: list[Act] = []  # verbs before any mention
        self._puzzling: set[str] = set()  # of whom an unknown word, maybe a verb, was said
        self._link = ""
        self._comma = False  # whether that joining word is a comma
        self._who = False  # whether a relative clause about the latest mention goes on

    def link(self, what: str, text: str) -> None:
        """A joining word: "and", "companion", "preposition" or "clause" (`Event.what`)."""
        self._link, self._comma = what, text == ","
        if what == "preposition" and text in _SHOWING and self._subject is None:
            self._link = ""
        if what == "clause":
            self._who = text in ("who", "whose", "which")
            if not self._who:
                self._latest = self._subject
            self._link = ""

    def end_phrase(self) -> None:
        """A noun that is no character came: what a preposition announced is done."""
        if self._link in ("preposition", "companion", "act"):
            self._link = ""

    def unknown(self) -> None:
        """An unknown word, maybe a verb: whoever comes next is no part of the group ("the dog yodels and ...")."""
        if self._latest is not None:
            self._latest.closed = True
            if self._link not in ("preposition", "companion", "act"):  # those announce a thing rather than a verb
                doers = self._subject if self._link == "and" and self._subject else self._latest
                self._puzzling.update(doers.members)
                if doers is self._subject:  # "{mira} sits and {leo} yodels": he does not sit
                    doers.companion_of = None

    def stop(self) -> None:
        """A sentence ends: the subject is who is spoken of, or else who was mentioned."""
        self._subject = self._subject or self._latest
        self._latest, self._link, self._who = self._subject, "stop", False

    def mention(self, name: str) -> None:
        """A character is named."""
        if name not in self.cast:
            self.cast.append(name)
        latest, subject = self._latest, self._subject
        self._who = False
        if self._link == "and" and self._comma and subject is None:  # "walking past {leo}, {mira} ..."
            self._take_over(self._new([name]))
        elif self._link == "and" and latest is not None and not (latest.acts or latest.closed):
            latest.members.append(name)
        elif self._link == "companion" and subject is not None:
            self._latest = self._new([name], companion_of=subject)
        elif self._link == "act" and subject is not None:  # "{mira} walks {rex}", "{mira} meets {leo}"
            joint = bool(subject.acts) and subject.acts[-1].value in _JOINT
            self._latest = self._new([name], companion_of=subject if joint else None)
        elif self._link == "preposition":
            self._latest = self._new([name])
        else:
            follows = subject if self._link == "and" else None
            self._take_over(self._new([name], companion_of=follows))
        self._link = ""

    def resume(self, names: list[str]) -> None:
        """A pronoun names people again: they become the subject."""
        for name in names:
            if name not in self.cast:
                self.cast.append(name)
        if self._subject is None or self._subject.members != names:
            self._take_over(self._new(list(names)))
        self._latest, self._link, self._who = self._subject, "", False

    def act(self, act: Act) -> None:
        """A verb (or a thing in somebody's hands)."""
        latest = self._latest
        if latest is None:
            self._early.append(act)
        else:
            subject = self._subject = self._subject or latest
            # "{mira} near {leo} waves": it is she who does; but "{mira} near {leo}, who waves"
            idle = not (self._who or subject.acts or subject.closed or latest.acts)
            if self._link == "and" or idle:
                self._latest = subject
                subject.acts.append(act)
            else:
                latest.acts.append(act)
        self._link, self._comma = "act", False

    def actions(self) -> dict[str, Act]:
        """What each member of the cast does: the firmest act, the first among equals, or standing (word -1)."""
        if self._early and self._groups:  # "walking past {leo}", and nobody else comes
            self._groups[0].acts.extend(self._early)
            self._early = []
        return {name: self._best(name) for name in self.cast}

    def not_understood(self) -> list[str]:
        """Who stands only because the verb was an unknown word."""
        return [name for name, act in self.actions().items() if act.word < 0 and name in self._puzzling]

    def _best(self, name: str) -> Act:
        groups = [group for group in self._groups if name in group.members]
        acts = [act for group in groups for act in group.acts]
        for group in groups:
            if not acts and group.companion_of is not None:
                acts = list(group.companion_of.acts)
        return max(acts, key=lambda act: (act.strength, -act.word), default=Act("stand", IDLE, -1))

    def _new(self, members: list[str], companion_of: _Group | None = None) -> _Group:
        group = _Group(members, companion_of=companion_of)
        self._groups.append(group)
        return group

    def _take_over(self, group: _Group) -> None:
        group.acts.extend(self._early)
        self._early = []
        self._subject = self._latest = group

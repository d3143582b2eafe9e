"""Who does what in one shot: verbs find their subjects here. Torch-free.

The rules, by example: "{mira} and {leo} walk" (a group shares its verb); "{mira} reads while {leo} sleeps" (a verb goes
to the latest mention); "{mira} walks with {leo}" (a companion does the same); "{mira} waves at {leo} and smiles" (after
"and" the subject goes on, the object of a preposition does not take over); "reading a book, {mira} waits" (a verb in
front waits for its subject).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from moc.world.vocabulary import IDLE

_JOINT = ("walk", "run", "dance")  # done together with a direct object


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
        self._link = ""

    def link(self, what: str, text: str) -> None:
        """A joining word: "and", "companion", "preposition" or "clause" (`Event.what`)."""
        self._link = what
        if what == "clause":
            if text not in ("who", "whose", "which"):
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

    def stop(self) -> None:
        """A sentence ends: the subject is who is spoken of."""
        self._latest, self._link = self._subject, "stop"

    def mention(self, name: str) -> None:
        """A character is named."""
        if name not in self.cast:
            self.cast.append(name)
        latest, subject = self._latest, self._subject
        if self._link == "and" and latest is not None and not (latest.acts or latest.closed):
            latest.members.append(name)
        elif self._link == "companion" and subject is not None:
            self._latest = self._new([name], companion_of=subject)
        elif self._link == "act" and subject is not None:  # "{mira} walks {rex}", "{mira} meets {leo}"
            joint = bool(subject.acts) and subject.acts[-1].value in _JOINT
            self._latest = self._new([name], companion_of=subject if joint else None)
        elif self._link == "preposition" and subject is not None:
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
        self._latest, self._link = self._subject, ""

    def act(self, act: Act) -> None:
        """A verb (or a thing in somebody's hands)."""
        latest, subject = self._latest, self._subject
        if latest is None:
            self._early.append(act)
        elif subject is not None and (
            self._link == "and" or (latest.companion_of is subject and not subject.acts and not latest.acts)
        ):
            subject.acts.append(act)
            self._latest = subject
        else:
            latest.acts.append(act)
        self._link = "act"

    def actions(self) -> dict[str, Act]:
        """What each member of the cast does: the firmest act, the first among equals, or standing (word -1)."""
        return {name: self._best(name) for name in self.cast}

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

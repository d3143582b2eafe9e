"""Reads one text word by word and says what it states, in order, as events. Torch-free.

A small grammar of noun phrases: adjectives wait for the noun that they belong to ("short red hair and a yellow
raincoat": the hair is red, the raincoat yellow), a copula lets them follow it ("her hair is red"), a negation turns
the next noun around ("no hat"). What the events mean for a story (whose hair, which shot) is `language`'s work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from moc.world.vocabulary import (
    COMPANION,
    DETERMINERS,
    DRESSED,
    HAVING,
    HELD,
    LEXICON,
    LONGEST_PHRASE,
    POSSESSIVES,
    Entry,
    plain,
)
from moc.world.words import COLOR_AS

_BRACED = re.compile(r"\{([^{}]*)\}")
_TOKEN = re.compile(r"([^\W_]+(?:'[a-z]+)?)|([.!?;:])|(,|—|–|\s-+\s)")
_CONTRACTIONS = {"it's": "it is", "she's": "she is", "he's": "he is", "they're": "they are", "who's": "who is"}
_STOP, _COMMA, _NAME = ".", ",", "{"

# Nouns that take a colour, and the attribute it becomes.
_COLORED = {"hair": "hair", "kind": "hair", "garment": "coat", "hat": "hat_color", "hat any": "hat_color",
            "scarf": "scarf", "wall": "wall"}  # fmt: skip
_BUILT = ("cafe", "kitchen", "library", "station")  # "a pink cafe" has pink walls, "a green park" has not
_HAIR_ADJECTIVES = ("blonde", "blond", "brunette", "ginger", "redheaded", "auburn", "flaxen")


@dataclass(frozen=True)
class Event:
    """One thing that a text states.

    Attributes:
        what: "name" ({mira}), "kind" (a dog), "pronoun", "fact", "action", "place", "fitting", "and", "companion"
            (with), "preposition", "clause" (while, who), "stop" (end of a sentence), "silent" (known, without
            effect), "undrawn" (known, but the world has no such value) or "unknown".
        text: the words that say it.
        attribute, value: for facts; `value` also for the kind, pronoun, action, place, and the colour of a fitting.
        strength: as in `vocabulary.Entry`; for kinds, how many are meant (each is an event of its own).
        definite: for kinds, whether it was "the dog" rather than "a dog".
        where: for fittings, the place they belong to ("" for any); "noun" for silent nouns, which end a phrase.
        loose: for facts that no noun carries ("tall, with ..."): they hold only in a description.
    """

    what: str
    text: str = ""
    attribute: str = ""
    value: str = ""
    strength: int = 0
    definite: bool = False
    where: str = ""
    loose: bool = False


@dataclass
class _Token:
    word: str
    determiner: str = ""


@dataclass
class _Adjective:
    part: str
    value: str
    text: str


def _tokens(text: str) -> list[_Token]:
    """Words, {names} and marks, with articles and possessives moved onto the next word."""
    tokens: list[_Token] = []
    for position, stretch in enumerate(_BRACED.split(text)):
        if position % 2:
            tokens.append(_Token(_NAME + stretch.strip()))
        else:
            tokens.extend(_words_and_marks(stretch))
    return tokens


def _words_and_marks(text: str) -> Iterator[_Token]:
    determiner = ""
    for word, stop, comma in _TOKEN.findall(re.sub(r"(?<=\w)-(?=\w)", " ", plain(text))):
        if stop or comma:
            determiner = ""
            yield _Token(_STOP if stop else _COMMA)
            continue
        for part in _CONTRACTIONS.get(word, word).split():
            part = "not" if part.endswith("n't") else part.split("'")[0]
            if part in DETERMINERS:
                determiner = part
            elif part != "s":  # what is left of {mira}'s
                yield _Token(part, determiner)
                determiner = ""


def read_clauses(text: str) -> list[Event]:
    """The events of `text`, in order; every word of it, articles and other small words aside, is in one of them."""
    return _Reader(text).read()


@dataclass
class _Reader:
    """State of one pass over a text."""

    text: str
    events: list[Event] = field(default_factory=list)
    waiting: list[_Adjective] = field(default_factory=list)  # adjectives before their noun
    before: str = ""  # the last word that was no adjective
    before_part: str = ""
    opener: str = ""  # `before` as it was when the first adjective came
    opener_noun: str = ""
    noun: str = ""  # part of the last noun, "person" for who was mentioned
    predicate: str = ""  # the noun that a copula describes just now
    negated: bool = False
    count: int = 0
    garment: bool = False  # whether the text has named a garment, on which stripes and stars can be
    determiner: str = ""  # of the noun phrase that is going on

    def read(self) -> list[Event]:
        tokens = _tokens(self.text)
        i = 0
        while i < len(tokens):
            token = tokens[i]
            if token.word in (_STOP, _COMMA) or token.word.startswith(_NAME):
                self._mark(token.word)
                i += 1
                continue
            if token.determiner:
                self._flush()
                self.determiner = token.determiner
                if self.before_part != "is":  # "her coat is a bright red", but "her coat is red, her striped scarf ..."
                    self.predicate = ""
            entry, length = _longest(tokens, i)
            phrase = " ".join(t.word for t in tokens[i : i + length])
            if entry is None:
                self._unknown(phrase, tokens[i + 1] if i + 1 < len(tokens) else None)
            else:
                self._word(entry, phrase)
            i += length
        self._flush()
        return self.events

    # ------------------------------------------------------------- single words
    def _emit(self, what: str, text: str, **more: object) -> None:
        self.events.append(Event(what, text, **more))  # type: ignore[arg-type]

    def _mark(self, mark: str) -> None:
        self.negated = False
        if mark == _COMMA:
            if self.opener in DRESSED and not self.determiner:  # "in red, ...", but "wears a red, warm coat"
                self._flush()
            self._emit("and", ",")
            self._settle(",", "comma")
            return
        self._flush()
        self.predicate, self.count, self.determiner = "", 0, ""
        if mark == _STOP:
            self._emit("stop", ".")
            self.noun = ""
        else:
            name = mark[len(_NAME) :]
            self._emit("name", f"{{{name}}}", value=name)
            self.noun = "person"
        self._settle(mark, "name" if mark != _STOP else "stop")

    def _settle(self, text: str, part: str) -> None:
        self.before, self.before_part = text, part

    def _unknown(self, word: str, following: _Token | None) -> None:
        self._emit("silent" if word.isdigit() else "unknown", word)
        if self.waiting and not _goes_on(following):
            self._consume("unknown", word)

    def _word(self, entry: Entry, text: str) -> None:
        part = entry.part
        if part in ("color", "pattern", "size"):
            self._adjective(_Adjective(part, entry.value, text))
            return
        if part == "silent":
            self._emit("silent", text)
            return
        handler = getattr(self, f"_on_{part.replace(' ', '_')}", None)
        if handler is not None:
            handler(entry, text)
        elif part in _COLORED or part in ("pattern noun", "feature", "prop", "fitting", "silent noun"):
            self._noun(entry, text)
        else:  # camera, time, weather
            self._flush()
            self._fact(part, entry.value, text)
        self._settle(text, part)

    def _adjective(self, adjective: _Adjective) -> None:
        if self.predicate:
            self._bind(self.predicate, [adjective], "")
            return
        if not self.waiting:
            self.opener = self.before
            follows = self.before_part == self.noun and self.noun in _COLORED  # "her hair short and red"
            self.opener_noun = self.noun if follows or self.before in ("in", "of") else ""
        self.waiting.append(adjective)

    def _on_and(self, entry: Entry, text: str) -> None:
        self.negated, self.determiner = False, ""
        self._emit("and", text)

    def _on_not(self, entry: Entry, text: str) -> None:
        self._flush()
        self.negated = True

    def _on_is(self, entry: Entry, text: str) -> None:
        self._flush()
        self.predicate = self.noun

    def _on_count(self, entry: Entry, text: str) -> None:
        self._flush()
        self.count = entry.strength

    def _on_having(self, entry: Entry, text: str) -> None:
        self._steer("companion" if text in COMPANION else "preposition", text)

    def _on_preposition(self, entry: Entry, text: str) -> None:
        self._steer("companion" if text in COMPANION else "preposition", text)

    def _on_break(self, entry: Entry, text: str) -> None:
        self._steer("clause", text)

    def _on_function(self, entry: Entry, text: str) -> None:
        self._steer("small", text)

    def _steer(self, what: str, text: str) -> None:
        self._flush()
        self.predicate, self.determiner = "", ""
        self.negated = self.negated and text in ("or", "nor")
        self._emit(what, text)

    def _on_pronoun(self, entry: Entry, text: str) -> None:
        self._flush()
        self._emit("pronoun", text, value=entry.value)
        self.noun, self.predicate = "person", ""

    def _on_place(self, entry: Entry, text: str) -> None:
        colors = [a for a in self.waiting if a.part == "color"]
        if self._take_negation(text):
            return
        self._emit("place", text, value=entry.value, strength=entry.strength)
        if entry.value in _BUILT and colors:
            self._bind("wall", self._take_waiting(), "")
        self._consume("place", text)

    def _on_action(self, entry: Entry, text: str) -> None:
        self._flush()
        if self.negated or (self.determiner == "the" and " " not in text):  # "the waves", "not sleeping"
            self._emit("silent", text)
        else:
            self._emit("action", text, value=entry.value, strength=entry.strength)
        self.noun, self.predicate, self.negated, self.determiner = "", "", False, ""

    def _on_action_noun(self, entry: Entry, text: str) -> None:
        opener, verb = (self.opener, "") if self.waiting else (self.before, self.before_part)
        held = self.determiner in POSSESSIVES or opener in HAVING or verb == "action"
        self._consume("thing", text)
        if self._take_negation(text):
            return
        if held:
            self._emit("action", text, value=entry.value, strength=HELD)
        else:
            self._emit("silent", text)

    # ------------------------------------------------------------- noun phrases
    def _take_negation(self, text: str) -> bool:
        """Whether the noun was negated (which it then no longer is, unless "or" goes on)."""
        if self.negated:
            self._emit("silent", text)
            self._drop()
        return self.negated

    def _take_waiting(self) -> list[_Adjective]:
        taken, self.waiting = self.waiting, []
        return taken

    def _consume(self, noun: str, text: str) -> None:
        """A noun ends the phrase: adjectives that could not be bound to it are dropped."""
        self._drop()
        self.noun, self.predicate, self.count, self.determiner = noun, "", 0, ""

    def _drop(self) -> None:
        for adjective in self._take_waiting():
            self._emit("silent", adjective.text)

    def _noun(self, entry: Entry, text: str) -> None:
        part = entry.part
        if self.negated:
            nothing = {"hat": "hat", "hat any": "hat", "scarf": "scarf"}.get(part)
            if nothing:
                self._fact(nothing, "none", f"no {text}")
            elif part == "pattern noun":
                self._fact("pattern", "plain", f"no {text}")
            else:
                self._emit("silent", text)
            self._consume(part, text)
            return
        waiting = self._take_waiting()
        self.garment = self.garment or part == "garment"
        if part == "kind":
            self._who(entry, text)
        elif part in ("hat", "feature", "prop") or (part == "scarf" and entry.value):
            self._fact(part, entry.value, text)
        elif part == "pattern noun":
            self._fact("pattern", entry.value, text, loose=not self.garment)
        elif part == "silent noun":
            self._emit("silent", text, where="noun")
        if part == "fitting":
            colored = self._bind_fitting(entry, waiting, text)
            waiting = [] if colored else waiting
        elif part in _COLORED:
            self._bind(part, waiting, text)
            waiting = []
        self.waiting = waiting
        self._consume("person" if part == "kind" else part, text)

    def _who(self, entry: Entry, text: str) -> None:
        if self.before_part == "kind":  # "a robot dog" is a dog
            last = max(i for i, event in enumerate(self.events) if event.what == "kind")
            self.events[last] = replace(self.events[last], value=entry.value, text=f"{self.events[last].text} {text}")
            return
        definite = self.determiner in POSSESSIVES or self.determiner in ("the", "this", "that")
        count = max(1, self.count or entry.strength)
        for _ in range(count):
            self._emit("kind", text, value=entry.value, definite=definite, strength=count)

    def _fact(self, attribute: str, value: str, text: str, loose: bool = False) -> None:
        self._emit("fact", text, attribute=attribute, value=value, loose=loose)

    def _bind_fitting(self, entry: Entry, waiting: list[_Adjective], text: str) -> bool:
        for adjective in waiting:
            if adjective.part == "color":
                value = COLOR_AS["accent"].get(adjective.value)
                if value is None:
                    self._emit("undrawn", f"{adjective.text} {text}", attribute="accent")
                else:
                    self._emit("fitting", f"{adjective.text} {text}", value=value, where=entry.value)
                return True
        self._emit("fitting", text, where=entry.value)
        return False

    def _bind(self, part: str, adjectives: list[_Adjective], noun: str) -> None:
        """Says what the adjectives mean for a noun; "person" is who was mentioned."""
        attribute = _COLORED.get("kind" if part == "person" else part, "")
        said = False
        for adjective in adjectives:
            text = f"{adjective.text} {noun}".strip()
            if adjective.part == "color" and attribute and not said:
                value = COLOR_AS[attribute].get(adjective.value)
                if value is None:
                    self._emit("undrawn", text, attribute=attribute)
                else:
                    self._fact(attribute, value, text)
                said = True
            elif adjective.part == "pattern" and part == "garment":
                self._fact("pattern", adjective.value, text)
            elif adjective.part == "size" and part in ("kind", "person"):
                self._fact("size", adjective.value, text)
            else:
                self._emit("silent", adjective.text)
        if noun and not said and part in ("hair", "garment", "scarf", "hat any", "wall"):
            self._emit("silent", noun)

    def _flush(self) -> None:
        """Adjectives whose noun never came: "dressed in red", "a coat in red", "tall, with ...", "blonde"."""
        if not self.waiting:
            return
        adjectives = self._take_waiting()
        if self.opener_noun in ("hair", "garment", "hat", "hat any", "scarf", "wall"):
            self._bind(self.opener_noun, adjectives, "")
            return
        for adjective in adjectives:
            if adjective.part != "size" and self.opener in DRESSED:
                self._bind("garment", [adjective], "")
            elif adjective.part == "size":
                self._fact("size", adjective.value, adjective.text, loose=True)
            elif adjective.text in _HAIR_ADJECTIVES:
                self._fact("hair", COLOR_AS["hair"][adjective.value], adjective.text, loose=True)
            else:
                self._emit("silent", adjective.text)


def _longest(tokens: list[_Token], start: int) -> tuple[Entry | None, int]:
    """The longest phrase of the lexicon that begins at `start`, and how many words it has."""
    for length in range(min(LONGEST_PHRASE, len(tokens) - start), 0, -1):
        entry = LEXICON.get(tuple(t.word for t in tokens[start : start + length]))
        if entry is not None:
            return entry, length
    return None, 1


def _goes_on(token: _Token | None) -> bool:
    """Whether the noun phrase may still be going on at `token`, the word after an unknown one."""
    if token is None or token.determiner or token.word in (_STOP, _COMMA) or token.word.startswith(_NAME):
        return False
    entry = LEXICON.get((token.word,))
    return entry is None or entry.part in (*_COLORED, "color", "pattern", "size", "silent", "silent noun", "prop",
                                           "feature", "fitting", "place", "action noun")  # fmt: skip

"""The vocabulary of the story world: which words it knows and what each one says. Torch-free.

`LEXICON` maps every known phrase (a tuple of words) to one `Entry`: the part it plays in a sentence and the value it
stands for. Words that are understood but change nothing in the picture are entries too (`silent`), so that a user can
be told the truth about every word. `python -m moc.world.vocabulary` prints the documentation of it all.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from moc.world import words as w
from moc.world.schema import CHARACTER_ATTRIBUTES, PLACE_ATTRIBUTES, SHOT_ATTRIBUTES

# How firmly a word sets the action of a shot, see `words.ACTION_FIRM`.
FIRM, HELD, LOOSE, IDLE = 3, 2, 1, 0

# Parts whose words say something about the picture; the others steer the sentence or stay silent.
MEANINGFUL = (
    "color", "kind", "hair", "garment", "scarf", "hat", "hat any", "pattern", "pattern noun", "size", "place", "wall",
    "fitting", "feature", "action", "action noun", "camera", "time", "weather", "prop",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What a phrase is.

    Attributes:
        part: its part in a sentence: one of `MEANINGFUL`, or "and", "not", "is", "pronoun", "count", "having",
            "preposition", "break", "function", "silent noun", "silent".
        value: the value it says, as in `moc.world.schema` ("" where the part needs none). For colours the base colour
            of `words.COLOR_AS`, for fittings the place they belong to ("" for any).
        strength: for actions, `FIRM` to `IDLE`; for kinds and counts, how many are meant; for places, 1 for a telling
            word and 0 for a vague one ("town").
    """

    part: str
    value: str = ""
    strength: int = 0


def split_list(text: str) -> list[str]:
    """The phrases of a comma-separated list."""
    return [phrase.strip() for phrase in text.split(",") if phrase.strip()]


def plain(text: str) -> str:
    """Lower case without accents, with straight apostrophes: "Café" -> "cafe"."""
    decomposed = unicodedata.normalize("NFKD", text.replace("\u2019", "'").replace("\u2018", "'"))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower()


def verb_forms(base: str) -> list[str]:
    """Base form, third person, -ing form and past of a verb: walk, walks, walking, walked."""
    if base in w.IRREGULAR:
        return w.IRREGULAR[base].split()
    stem = base
    if base in w.DOUBLED:
        stem = base + base[-1]
    if base.endswith("e") and not base.endswith("ee"):
        return [base, base + "s", base[:-1] + "ing", base + "d"]
    if base.endswith("y") and base[-2] not in "aeiou":
        return [base, base[:-1] + "ies", base + "ing", base[:-1] + "ied"]
    third = base + ("es" if base.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")
    return [base, third, stem + "ing", stem + "ed"]


def _conjugated(phrases: str) -> Iterator[str]:
    """Every form of every verb phrase ("look at phone": looks at phone, looking at phone, ...)."""
    for phrase in split_list(phrases):
        verb, _, rest = phrase.partition(" ")
        if verb in ("on", "up", "at"):
            yield phrase
            continue
        for form in verb_forms(verb):
            yield f"{form} {rest}".strip()


def _entries() -> Iterator[tuple[str, Entry]]:
    """All (phrase, entry) pairs of the tables."""
    for part, table in (
        ("color", w.COLORS),
        ("hat", w.HATS),
        ("pattern", w.PATTERN_ADJECTIVES),
        ("pattern noun", w.PATTERN_NOUNS),
        ("size", w.SIZES),
        ("feature", w.FEATURES),
        ("camera", w.CAMERAS),
        ("time", w.TIMES),
        ("weather", w.WEATHER),
        ("prop", w.PROPS),
        ("fitting", w.FITTINGS),
        ("pronoun", w.PRONOUNS),
        ("action noun", w.ACTION_NOUNS),
    ):
        for value, phrases in table.items():
            yield from ((phrase, Entry(part, value, HELD)) for phrase in split_list(phrases))
    for number, kinds in ((1, w.KINDS), (1, w.KINDS_NEAR), (2, w.KIND_PLURALS)):
        for value, phrases in kinds.items():
            yield from ((phrase, Entry("kind", value, number)) for phrase in split_list(phrases))
    for clear, places in ((1, w.PLACES), (0, w.PLACES_VAGUE)):
        for value, phrases in places.items():
            yield from ((phrase, Entry("place", value, clear)) for phrase in split_list(phrases))
    for strength, verbs in ((FIRM, w.ACTION_FIRM), (LOOSE, w.ACTION_LOOSE), (IDLE, w.ACTION_IDLE)):
        for value, phrases in verbs.items():
            yield from ((phrase, Entry("action", value, strength)) for phrase in _conjugated(phrases))
    for value, phrases in w.ACTION_WORDS.items():
        strength = LOOSE if value == "sit" else HELD
        yield from ((phrase, Entry("action", value, strength)) for phrase in split_list(phrases))
    yield from ((phrase, Entry("hat", "none")) for phrase in split_list(w.BARE_HEADED))
    yield from ((phrase, Entry("scarf", "none")) for phrase in split_list(w.SCARFLESS))
    yield from ((phrase, Entry("count", phrase, number)) for phrase, number in w.COUNTS.items())
    for part, phrases in (
        ("hair", w.HAIR_NOUNS),
        ("garment", w.GARMENTS),
        ("scarf", w.SCARVES),
        ("hat any", w.HAT_ANY),
        ("wall", w.WALLS),
        ("fitting", w.FITTINGS_ANY),
        ("and", "and, plus"),
        ("not", w.NEGATIONS),
        ("is", w.COPULAS),
        ("having", w.HAVING),
        ("preposition", w.PREPOSITIONS),
        ("break", w.BREAKS),
        ("function", w.FUNCTION_WORDS),
        ("silent noun", w.SILENT_NOUNS),
        ("silent", w.SILENT_WORDS),
    ):
        yield from ((phrase, Entry(part)) for phrase in split_list(phrases))


def build_lexicon() -> dict[tuple[str, ...], Entry]:
    """The lexicon, from the tables.

    Raises:
        ValueError: when two tables give one phrase different meanings.
    """
    lexicon: dict[tuple[str, ...], Entry] = {}
    for phrase, entry in _entries():
        key = tuple(phrase.split())
        if lexicon.setdefault(key, entry) != entry:
            raise ValueError(f"{phrase!r} is both {lexicon[key]} and {entry}")
    return lexicon


LEXICON = build_lexicon()
LONGEST_PHRASE = max(map(len, LEXICON))
DETERMINERS = frozenset(w.DETERMINERS.split())
POSSESSIVES = frozenset(w.POSSESSIVES.split())
HAVING = frozenset(split_list(w.HAVING))
PREPOSITIONS = frozenset(split_list(w.PREPOSITIONS))
COMPANION = frozenset(split_list(w.COMPANION))
DRESSED = frozenset(split_list(w.DRESSED))


@lru_cache(maxsize=1)
def _suggestible() -> tuple[str, ...]:
    return tuple(" ".join(key) for key, entry in LEXICON.items() if entry.part in MEANINGFUL)


@lru_cache(maxsize=1024)
def nearest_words(word: str, count: int = 3) -> tuple[str, ...]:
    """Known words that mean something and are spelt much like `word`, the most alike first (maybe none).

    One word a meaning: of "explore" and "explores" only the one that is more alike.
    """
    near = difflib.get_close_matches(plain(word), _suggestible(), n=8 * count, cutoff=0.78)
    by_meaning: dict[Entry, str] = {}
    for known in near:
        by_meaning.setdefault(LEXICON[tuple(known.split())], known)
    return tuple(by_meaning.values())[:count]


def camera_value(text: str) -> str | None:
    """The camera that a storyboard's `camera:` field names ("wide", "close-up", "slow zoom"), None if unknown."""
    words = tuple(plain(text).replace("-", " ").split())
    for value, phrases in w.CAMERA_FIELD.items():
        if " ".join(words) in split_list(phrases):
            return value
    entry = LEXICON.get(tuple(word for word in words if word not in DETERMINERS))
    return entry.value if entry and entry.part == "camera" else None


@lru_cache(maxsize=256)
def words_for(attribute: str, value: str) -> tuple[str, ...]:
    """The phrases that say `value` of `attribute`; colours for the colour attributes, verbs in all forms for actions.

    Raises:
        ValueError: for an attribute or a value that the world does not have.
    """
    tables = {**CHARACTER_ATTRIBUTES, **PLACE_ATTRIBUTES, **SHOT_ATTRIBUTES}
    if value not in tables.get(attribute, ()):
        allowed = tables.get(attribute, tuple(tables))
        raise ValueError(f"no value {value!r} of {attribute!r}; there are {', '.join(allowed)}")
    if attribute in w.COLOR_AS and value != "none":
        bases = [base for base, meaning in w.COLOR_AS[attribute].items() if meaning == value]
        return tuple(phrase for base in bases for phrase in split_list(w.COLORS[base]))
    return tuple(" ".join(key) for key, e in LEXICON.items() if e.part == attribute and e.value == value)


def _table(title: str, note: str, rows: Mapping[str, str], head: str = "value") -> list[str]:
    lines = [f"## {title}", "", note, "", f"| {head} | words |", "|---|---|"]
    return [*lines, *(f"| {value} | {phrases} |" for value, phrases in rows.items()), ""]


def documentation() -> str:
    """The vocabulary as a Markdown page."""
    verbs = {
        action: "; ".join(filter(None, (t.get(action, "") for t in (w.ACTION_FIRM, w.ACTION_LOOSE, w.ACTION_IDLE))))
        for action in SHOT_ATTRIBUTES["action"]
    }
    nouns_of = {"Hair": w.HAIR_NOUNS, "Coats": w.GARMENTS, "Scarves": w.SCARVES, "Walls": w.WALLS}
    lines = [
        "# Words that the built-in model understands",
        "",
        "Written by `python -m moc.world.vocabulary`; the tables are in `moc/world/words.py`. Articles and possessives",
        'may stand anywhere ("look at phone" is also "looks at her phone"), hyphens are spaces, verbs take any form.',
        "Every shot's words can be checked with `moc generate story.yaml --dry-run`.",
        "",
        *_table("Characters", "The first of these in a description says what somebody is.", w.KINDS, "kind"),
        *_table("Nearest kinds", "Drawn as the nearest kind, with a note.", w.KINDS_NEAR, "drawn as"),
        *_table("Colours", "Words and the base colour they stand for.", w.COLORS, "base colour"),
        "## What a colour means",
        "",
        "A colour that can't be drawn (-) stays open, and a note says so.",
        "",
        "| base colour | hair, fur, metal | coat | hat | scarf | wall | bright fitting |",
        "|---|---|---|---|---|---|---|",
        *(f"| {base} | {' | '.join(w.COLOR_AS[a].get(base, '-') for a in w.COLOR_AS)} |" for base in w.COLORS),
        "",
        *(f"{title}: {nouns}.\n" for title, nouns in nouns_of.items()),
    ]
    hats = f'"A red hat" ({w.HAT_ANY}) leaves the kind of hat open; "no hat", {w.BARE_HEADED} leave none.'
    lines += _table("Hats", hats, w.HATS)
    patterns = {
        v: f"{w.PATTERN_ADJECTIVES[v]}; {w.PATTERN_NOUNS.get(v, '')}".rstrip("; ") for v in w.PATTERN_ADJECTIVES
    }
    lines += _table("Patterns", "Of coats.", patterns)
    lines += _table("Sizes", "Of characters.", w.SIZES)
    places = {v: ", ".join(filter(None, (p, w.PLACES_VAGUE.get(v)))) for v, p in w.PLACES.items()}
    lines += _table("Places", "The first telling word of a text counts.", places)
    lines += _table("Bright fittings", f"Each place has one; any may be called: {w.FITTINGS_ANY}.", w.FITTINGS, "place")
    lines += _table("Landmarks", "One object a place.", w.FEATURES)
    actions = (
        "One a character and shot; the firmer verb wins, things in hands count. Joined by *and* or *with*, people do "
        "the same; whom another preposition names (*past*, *to*, *at*, *beside*, *near*) does not do it too and stands."
    )
    lines += _table("Actions", actions, verbs, "action")
    lines += _table("Things in hands", 'Held ("with a book") or owned ("her guitar").', w.ACTION_NOUNS, "action")
    for title, rows in (("Cameras", w.CAMERAS), ("Times", w.TIMES), ("Weather", w.WEATHER), ("Props", w.PROPS)):
        lines += _table(title, "One a shot.", rows)
    lines += ["## Known, but not drawn", "", "These words are understood and change nothing in the picture.", ""]
    return "\n".join([*lines, w.SILENT_NOUNS + ".", "", w.SILENT_WORDS + ".", ""])


if __name__ == "__main__":
    print(documentation(), end="")

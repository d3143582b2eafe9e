"""Writes a drawn story down in plain English: descriptions, a global prompt and a prompt for every shot.

The wording is drawn (synonyms, word order, what is left to defaults), the content is not: `language.understand_story`
reads the text back to exactly the facts that `tokens.encode_batch` states. Characters and scenes are listed in the
order of their slots.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from moc.world import words as w
from moc.world.schema import (
    ACTIONS,
    CAMERAS,
    CHARACTER_ATTRIBUTES,
    PLACE_ATTRIBUTES,
    PROPS,
    TIMES,
    WEATHER,
)
from moc.world.story import StoryBatch
from moc.world.vocabulary import split_list, verb_forms, words_for
from moc.world.written import ShotText, StoryText

NAMES = (
    "ada", "alma", "anton", "bela", "bruno", "cleo", "dario", "edda", "emil", "enzo", "fenna", "finn", "greta", "hugo",
    "ida", "ilse", "jonas", "juno", "kira", "lars", "leo", "lotte", "luca", "maya", "mika", "mira", "nils", "noor",
    "oskar", "otto", "pia", "quinn", "rafa", "rosa", "sami", "selma", "tariq", "theo", "uma", "vera", "wim", "yuki",
    "zoe", "zora",
)  # fmt: skip
_AT = {
    "cafe": "in, at", "river": "by, at", "street": "in, on", "kitchen": "in", "forest": "in", "beach": "at, by",
    "library": "in, at", "station": "at", "rooftop": "on", "park": "in",
}  # fmt: skip
_WHEN = {
    "day": "by day, in the morning, at noon, in the afternoon, in daylight, in the daytime, at midday",
    "sunset": "at sunset, at dusk, in the evening, at dawn, at sunrise, at twilight, at sundown, in the evening light",
    "night": "at night, at midnight, in the moonlight, after dark, under the stars, by night, late at night",
    "clear": "in clear weather, under a clear sky, in the sun, in the sunshine, in fine weather, under a blue sky",
    "rain": "in the rain, in a drizzle, during a shower, in the pouring rain, in a rainstorm, while it rains",
    "snow": "in the snow, in falling snow, in a blizzard, during a snowfall, in a snowstorm, while it snows",
}
_MOOD = {
    "day": "morning, afternoon, day", "sunset": "evening, sunset, dusk", "night": "night, midnight",
    "clear": "sunny, clear, cloudless", "rain": "rainy, drizzly, stormy", "snow": "snowy",
}  # fmt: skip
_LOOKS = ("Warm film look.", "A quiet story.", "Soft colours, picture book look.", "A gentle tale of friends.", "")
# Articles of the things in verb phrases ("look at phone" -> "looks at her phone"); the others need none.
_ARTICLE = {
    "phone": "their", "hand": "their", "umbrella": "an", "guitar": "the", "cup": "a", "walk": "a", "nap": "a",
    "seat": "a", "song": "a", "tune": "a", "melody": "a", "call": "a", "selfie": "a", "photo": "a", "message": "a",
    "sip": "a",
}  # fmt: skip


def write_captions(stories: StoryBatch, index: int, rng: Random) -> StoryText:
    """Story `index` of the batch in words."""
    return _Writer(stories, index, rng).write()


@dataclass
class _Shot:
    """A shot's values as names; `mood` holds time and weather."""

    scene: int
    cast: list[tuple[str, str]]
    camera: str
    prop: str
    mood: dict[str, str]


class _Writer:
    """One story's values as names, and the chance that words it."""

    def __init__(self, stories: StoryBatch, index: int, rng: Random) -> None:
        self.rng = rng
        one = stories[index : index + 1].to("cpu")
        self.people = _described(one.characters[0].tolist(), one.characters_named[0].tolist(), CHARACTER_ATTRIBUTES)
        self.scenes = _described(one.scenes[0].tolist(), one.scenes_named[0].tolist(), PLACE_ATTRIBUTES)
        self.names = dict(zip(self.people, rng.sample(NAMES, len(self.people)), strict=True))
        self.scene_names: dict[int, str] = {}
        for slot, facts in self.scenes.items():
            again = sum(facts["place"] == other["place"] for s, other in self.scenes.items() if s < slot)
            self.scene_names[slot] = facts["place"] + (f"_{again + 1}" if again else "")
        self.shots = [
            _Shot(
                scene=int(one.scene[0, s]),
                cast=[
                    (self.names[slot], ACTIONS[action])
                    for slot, action in zip(one.cast[0, s].tolist(), one.action[0, s].tolist(), strict=True)
                    if slot >= 0
                ],
                camera=CAMERAS[int(one.camera[0, s])],
                prop=PROPS[int(one.prop[0, s])],
                mood={"time": TIMES[int(one.time[0, s])], "weather": WEATHER[int(one.weather[0, s])]},
            )
            for s in range(one.shots)
        ]

    def write(self) -> StoryText:
        defaults = {"time": "day", "weather": "clear"}
        mood = []
        for attribute in defaults:
            if self.rng.random() < 0.5:
                common = Counter(shot.mood[attribute] for shot in self.shots).most_common(1)[0][0]
                defaults[attribute] = common
                mood.append(self.pick(_MOOD[common]))
        weather_first = mood[::-1]
        opening = f"{_a(' '.join([*weather_first] if len(mood) == 2 else [*mood, 'story']))}." if mood else ""
        return StoryText(
            global_prompt=" ".join(filter(None, (opening.capitalize(), self.rng.choice(_LOOKS)))),
            characters={self.names[slot]: self.character(facts) for slot, facts in self.people.items()},
            scenes={self.scene_names[slot]: self.scene(facts) for slot, facts in self.scenes.items()},
            shots=[self.shot(number, defaults) for number in range(len(self.shots))],
        )

    # ------------------------------------------------------------- small things
    def pick(self, phrases: str) -> str:
        return self.rng.choice(split_list(phrases))

    def word(self, attribute: str, value: str) -> str:
        return self.rng.choice(words_for(attribute, value))

    def maybe(self, probability: float = 0.5) -> bool:
        return self.rng.random() < probability

    # ------------------------------------------------------------- descriptions
    def character(self, facts: dict[str, str]) -> str:
        """ "a small woman with red hair and a striped coat", or the same in sentences."""
        kind = facts["kind"]
        noun = self.pick(w.KINDS[kind])
        before, parts = [], []
        if "size" in facts:
            size = self.pick(w.SIZES[facts["size"]])
            if size.startswith("of "):
                parts.append(size)
            else:
                before.append(size)
        if "hair" in facts:
            color = self.word("hair", facts["hair"])
            if self.maybe(0.3):
                before.append(color)
            else:
                thing = "hair" if kind in ("woman", "man", "girl", "boy") else "metal" if kind == "robot" else "fur"
                parts.append(f"{self.rng.choice(('', 'short ', 'soft '))}{color} {thing}")
        parts += self.clothes(facts)
        self.rng.shuffle(parts)
        person = _a(" ".join([*before, noun]))
        if self.maybe(0.3):
            pronoun = {"woman": "She", "girl": "She", "man": "He", "boy": "He"}.get(kind, "It")
            having = [part for part in parts if not part.startswith(("of ", "no "))]
            first = [part for part in parts if part not in having]
            text = _with(person, first)
            return f"{text}. {pronoun} has {_list(having)}." if having else text
        return _with(person, parts)

    def clothes(self, facts: dict[str, str]) -> list[str]:
        parts = []
        color = self.word("coat", facts["coat"]) if "coat" in facts else ""
        if color or "pattern" in facts:
            garment = self.pick("coat, raincoat, jacket, sweater, shirt, hoodie, cardigan, parka")
            pattern = facts.get("pattern", "")
            if pattern and pattern != "plain" and self.maybe(0.4):
                parts.append(f"{_a(f'{color} {garment}'.strip())} with {self.pick(w.PATTERN_NOUNS[pattern])}")
            else:
                worn = [color, self.pick(w.PATTERN_ADJECTIVES[pattern]) if pattern else ""]
                self.rng.shuffle(worn)
                parts.append(_a(" ".join(filter(None, [*worn, garment]))))
        hat, hat_color = facts.get("hat", ""), facts.get("hat_color", "")
        if hat == "none":
            parts.append(self.rng.choice(("no hat", "no headwear")))
        elif hat or hat_color:
            noun = self.pick(w.HATS[hat]) if hat else "hat"
            shade = self.word("hat_color", hat_color) if hat_color else ""
            parts.append(_a(f"{shade} {noun}".strip()))
        if facts.get("scarf") == "none":
            parts.append(self.rng.choice(("no scarf", "no shawl")))
        elif "scarf" in facts:
            parts.append(_a(f"{self.word('scarf', facts['scarf'])} {self.pick('scarf, shawl, neckerchief, muffler')}"))
        return parts

    def scene(self, facts: dict[str, str]) -> str:
        place = facts["place"]
        noun = self.rng.choice(_place_nouns(place))
        parts = []
        if "wall" in facts:
            parts.append(f"{self.word('wall', facts['wall'])} {self.pick('walls, wallpaper, plaster, house fronts')}")
        if "accent" in facts:
            fitting = self.pick(w.FITTINGS[place]) if self.maybe(0.8) else self.pick(w.FITTINGS_ANY)
            parts.append(_a(f"{self.word('accent', facts['accent'])} {fitting}"))
        if "feature" in facts:
            parts.append(_a(self.pick(w.FEATURES[facts["feature"]])))
        self.rng.shuffle(parts)
        quiet = self.rng.choice(("", "", "quiet ", "busy ", "cosy ", "small "))
        return _with(_a(quiet + noun), parts)

    # -------------------------------------------------------------------- shots
    def shot(self, number: int, defaults: dict[str, str]) -> ShotText:
        shot = self.shots[number]
        scene: str | None = self.scene_names[shot.scene]
        place = self.scenes[shot.scene]["place"]
        stays = number > 0 and self.shots[number - 1].scene == shot.scene
        unique = sum(facts["place"] == place for facts in self.scenes.values()) == 1
        where = ""
        if self.maybe(0.4):
            where = f"{self.pick(_AT[place])} the {self.rng.choice(_place_nouns(place))}"
        if (stays and not where and self.maybe()) or (where and unique and self.maybe()):
            scene = None
        extras = [where] if where else []
        if shot.prop != "none":
            near = self.rng.choice(("next to", "beside", "by", "near", "behind"))
            extras.append(f"{near} {_a(self.pick(w.PROPS[shot.prop]))}")
        for attribute in ("time", "weather"):
            if shot.mood[attribute] != defaults[attribute] or self.maybe(0.2):
                extras.append(self.pick(_WHEN[shot.mood[attribute]]))
        self.rng.shuffle(extras)
        camera, prefix = None, ""
        if shot.camera != "medium" or self.maybe():
            phrase = self.pick(w.CAMERAS[shot.camera])
            if self.maybe():
                prefix = ("the " if phrase.startswith("camera") else "") + phrase + ": "
            else:
                camera = self.rng.choice((shot.camera, phrase))
        leading = [extra for extra in extras if not extra.startswith("while")]
        front = leading[0] if leading and self.maybe(0.3) else ""
        rest = [extra for extra in extras if extra is not front]
        body = " ".join([self.doing(shot.cast), *rest])
        text = prefix + (f"{front}, {body}" if front else body)
        return ShotText((text if text.startswith("{") else text[0].upper() + text[1:]), scene, camera)

    def doing(self, cast: list[tuple[str, str]]) -> str:
        """Who does what."""
        if not cast:
            return self.rng.choice(("nobody is there", "an empty view", "a quiet moment", "nothing moves"))
        if len(cast) == 1:
            return self.clause(*cast[0])
        self.rng.shuffle(cast)
        (first, does), (second, other) = cast
        if does == other:
            together = self.verb(does, "plural")
            if self.maybe(0.6):
                return f"{{{first}}} and {{{second}}} {together}"
            return f"{{{first}}} {self.verb(does, 'third')} {self.rng.choice(('with', 'together with'))} {{{second}}}"
        if other == "stand" and self.maybe(0.4):
            return f"{{{first}}} {self.verb(does, 'third')} near {{{second}}}"
        one, two = self.clause(first, does), self.clause(second, other)
        return self.rng.choice((f"{one} while {two}", f"{one} and {two}", f"{one}, {two}", f"while {one}, {two}"))

    def clause(self, name: str, action: str) -> str:
        if self.maybe(0.25):
            return f"{{{name}}} is {self.verb(action, 'ing')}"
        return f"{{{name}}} {self.verb(action, 'third')}"

    def verb(self, action: str, form: str) -> str:
        """A verb phrase for the action in the wanted form: "third" (walks), "plural" (walk) or "ing" (walking)."""
        choices = []
        for table in (w.ACTION_FIRM, w.ACTION_LOOSE, w.ACTION_IDLE):
            for phrase in split_list(table.get(action, "")):
                verb, _, rest = phrase.partition(" ")
                if verb in ("on", "be"):
                    continue
                forms = verb_forms(verb)
                fits = {
                    "third": [f for f in forms if f.endswith("s") and f != verb],
                    "plural": [f for f in forms if f == verb],
                    "ing": [f for f in forms if f.endswith("ing")],
                }[form]
                choices += [f"{f} {self.articles(rest)}".strip() for f in fits]
        return self.rng.choice(choices)

    def articles(self, rest: str) -> str:
        return " ".join(f"{_ARTICLE[word]} {word}" if word in _ARTICLE else word for word in rest.split())


def _described(
    values: list[list[int]], named: list[list[bool]], attributes: dict[str, tuple[str, ...]]
) -> dict[int, dict[str, str]]:
    """Named attributes by slot, for the slots in use."""
    return {
        slot: {a: attributes[a][v] for a, v, said in zip(attributes, row, named[slot], strict=True) if said}
        for slot, row in enumerate(values)
        if row[0] >= 0
    }


def _place_nouns(place: str) -> list[str]:
    """Words for a place that stand after "the": not "at home" or "among trees"."""
    return [p for p in split_list(w.PLACES[place]) if p.split()[0] not in ("at", "in", "on", "among", "between")]


def _a(noun: str) -> str:
    """The noun phrase with its article, if one is due."""
    last = noun.split()[-1]
    if last.endswith("s") and not last.endswith("ss"):
        return noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _with(person: str, parts: list[str]) -> str:
    """ "a woman of medium height with red hair and a coat"; parts that start with "of" come first."""
    of = [part for part in parts if part.startswith("of ")]
    rest = [part for part in parts if part not in of]
    return " ".join([person, *of]) + (f" with {_list(rest)}" if rest else "")

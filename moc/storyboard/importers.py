"""Stories of other tools as a `Storyboard`: StoryMem's JSON (the format of ST-Bench) and HoloCine's prompt text.

Both become nodes with the places of the original file and go through the checks of every other story, so a mistake is
reported where it stands. What a format can't say or ours can't hold is told in `Imported.notes`, never dropped in
silence.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from dataclasses import dataclass, field

from moc.storyboard import nodes
from moc.storyboard.build import build
from moc.storyboard.files import read_text
from moc.storyboard.json_source import Places, parse_json
from moc.storyboard.kinds import Mismatch, Truth, clean_text, near_identifier
from moc.storyboard.model import MAX_CHARACTERS, MAX_SHOTS, VERSION, Storyboard
from moc.storyboard.problems import Problem, StoryboardError, failure, shown

STORYMEM_SECONDS = 5.0  # StoryMem makes 5 s for a prompt
HOLOCINE_SECONDS = 15.0  # HoloCine's default of 241 frames at 16 a second, shared evenly by the shots

_NO_BRACES = str.maketrans("{}", "()")
_TAG = re.compile(r"\[\s*(global caption|per shot caption|shot cut)\s*\]", re.IGNORECASE)
_NAME = re.compile(r"\[\s{0,9}([^\W\d_][\w -]{0,38}?)\s{0,9}\]")
_COUNT = re.compile(r"\bThis scene contains ([0-9]+) shots?\b\.?", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:[^.!?]|[.!?](?!\s|$))*[.!?]*")  # 7.30 ends none
_IS = re.compile(r"\s*(?:is|are|was|were)\s+", re.IGNORECASE)
# What stands before a noun phrase such as "The scene features a young painter, [character1]".
_BEFORE_NOUN = re.compile(r"\b(?:features?|shows?|depicts?|follows?|stars?|introduces?|is|are|of|and|with)\b|[:,;]")


@dataclass(frozen=True)
class Imported:
    """A story from elsewhere, and one sentence for each thing that was changed or left out."""

    storyboard: Storyboard
    notes: tuple[str, ...]


def import_story(path: str | os.PathLike[str]) -> Imported:
    """Read a StoryMem or HoloCine file; which of them it is shows in its text.

    Raises:
        StoryboardError: for a file that can't be read, is neither of the two, or has mistakes (all of them).
    """
    text, name = read_text(path)
    if text.lstrip().startswith(("{", "[{")):
        return import_storymem(text, name)
    if _TAG.search(text):
        return import_holocine(text, name)
    raise failure(name, "this is neither a StoryMem story (JSON) nor a HoloCine prompt ([global caption] ...)")


@dataclass
class _StoryMem:
    """Collects shots and problems while it walks through the scenes."""

    problems: list[Problem] = field(default_factory=list)
    shots: list[nodes.Node] = field(default_factory=list)
    ignored: dict[str, None] = field(default_factory=dict)
    braces: bool = False

    def report(self, node: nodes.Node, key: str, message: str) -> None:
        self.problems.append(node.mark.problem(key, message))

    def text(self, node: nodes.Scalar) -> nodes.Scalar:
        self.braces |= "{" in node.text or "}" in node.text
        return nodes.Scalar(node.mark, node.text.translate(_NO_BRACES))

    def story(self, root: nodes.Node) -> nodes.Mapping:
        top = nodes.Mapping(root.mark, [_pair(root.mark, "version", str(VERSION), plain=True)])
        if not isinstance(root, nodes.Mapping):
            self.report(root, "", "a StoryMem story is an object with story_name, story_overview and scenes")
            return top
        for theirs, ours in (("story_name", "title"), ("story_overview", "global_prompt")):
            if isinstance(found := root.get(theirs), nodes.Scalar):
                top.pairs.append((nodes.Scalar(found.mark, ours), self.text(found)))
        self.ignore(root, ("story_name", "story_overview", "scenes"))
        scenes = root.get("scenes")
        if not isinstance(scenes, nodes.Sequence) or not scenes.items:
            self.report(scenes or root, "", "'scenes' must be a list of scenes, each with video_prompts")
            return top
        for number, scene in enumerate(scenes.items, start=1):
            self.scene(number, scene)
        top.pairs.append((nodes.Scalar(scenes.mark, "shots"), nodes.Sequence(scenes.mark, self.shots)))
        return top

    def scene(self, number: int, scene: nodes.Node) -> None:
        label = f"scene {number}"
        prompts = scene.get("video_prompts") if isinstance(scene, nodes.Mapping) else None
        if not isinstance(scene, nodes.Mapping) or not isinstance(prompts, nodes.Sequence) or not prompts.items:
            self.report(prompts or scene, label, "video_prompts must be a list of texts, one a shot")
            return
        self.ignore(scene, ("scene_num", "video_prompts", "cut", "durations"))
        cuts = self.beside(scene, "cut", len(prompts.items), label)
        durations = self.beside(scene, "durations", len(prompts.items), label)
        for index, prompt in enumerate(prompts.items):
            if len(self.shots) >= MAX_SHOTS:  # too many, as the checks of every story say: the others count alone
                self.shots.append(prompt)
                continue
            where = f"{label}, prompt {index + 1}"
            if not isinstance(prompt, nodes.Scalar) or prompt.plain:
                self.report(prompt, where, "must be a text in quotes")
                continue
            pairs = [_pair(prompt.mark, "id", f"scene{number}-shot{index + 1}")]
            pairs.append((nodes.Scalar(prompt.mark, "prompt"), self.text(prompt)))
            if durations and isinstance(durations[index], nodes.Scalar):
                pairs.append((nodes.Scalar(durations[index].mark, "duration"), durations[index]))
            else:
                pairs.append(_pair(prompt.mark, "duration", f"{STORYMEM_SECONDS:g}s"))
            if cuts:
                pairs.append((nodes.Scalar(cuts[index].mark, "cut"), self.cut(cuts[index], where)))
            self.shots.append(nodes.Mapping(prompt.mark, pairs))

    def cut(self, node: nodes.Node, where: str) -> nodes.Node:
        """`true` or "True" as a plain truth value, since ST-Bench has both."""
        if isinstance(node, nodes.Scalar):
            plain = nodes.Scalar(node.mark, node.text, plain=True)
            try:
                Truth().read(plain)
                return plain
            except Mismatch as wrong:
                self.report(node, where, f"cut {wrong}")
        else:
            self.report(node, where, "cut must be true or false")
        return nodes.Broken(node.mark)

    def beside(self, scene: nodes.Mapping, key: str, count: int, label: str) -> list[nodes.Node]:
        """The list `key` that runs beside the prompts; empty where it is absent or wrong (and reported)."""
        found = scene.get(key)
        if found is None or (isinstance(found, nodes.Scalar) and found.is_null):
            return []
        if not isinstance(found, nodes.Sequence) or len(found.items) != count:
            got = f"{len(found.items)}" if isinstance(found, nodes.Sequence) else found.kind
            self.report(found, label, f"'{key}' must be a list of {count} values, one a prompt, got {got}")
            return []
        return found.items

    def ignore(self, node: nodes.Mapping, known: tuple[str, ...]) -> None:
        self.ignored.update((name.text, None) for name, _ in node.pairs if name.text not in known)


def import_storymem(text: str, source: str = "story.json") -> Imported:
    """A StoryMem story from its JSON text: `{story_name, story_overview, scenes: [{video_prompts, cut, ...}]}`.

    Each prompt becomes a shot of 5 s (or of its entry in `durations`), `cut` may hold booleans or "True"/"False".

    Raises:
        StoryboardError: with every mistake, at its line and column of the JSON.
    """
    reader = _StoryMem()
    root = reader.story(parse_json(text, source))
    if not reader.shots and reader.problems:
        raise StoryboardError(reader.problems)
    story = build(root, reader.problems)
    notes = ["people are described in each prompt; under 'characters', with {names} in prompts, shots share them"]
    if reader.ignored:
        notes.insert(0, f"not used: {', '.join(shown(name) for name in reader.ignored)}")
    return Imported(story, tuple(notes + [_BRACES_NOTE] * reader.braces))


def import_holocine(text: str, source: str = "story.txt", seconds: float = HOLOCINE_SECONDS) -> Imported:
    """A HoloCine prompt: `[global caption] ... [per shot caption] ... [shot cut] ... [shot cut] ...`.

    `[character1]` becomes a character whose description is taken from the global caption. The text has no durations:
    `seconds` is shared evenly by the shots.

    Raises:
        StoryboardError: with every mistake, at its line and column of the text.
    """
    braces = "{" in text or "}" in text
    text = text.translate(_NO_BRACES)
    problems: list[Problem] = []
    places = Places(text, source)
    spans = _spans(text, places, problems)
    if problems:
        raise StoryboardError(problems)
    (start, stop), *shots = spans
    if len(shots) > MAX_SHOTS:
        message = f"{len(shots)} shots, at most {MAX_SHOTS} are allowed"
        raise StoryboardError([places.mark(start).problem("shots", message)])
    caption = text[start:stop]
    # Only a name that the global caption introduces is a name; other words in brackets stay words.
    names = {_identifier(match[1]): match for match in reversed(list(_NAME.finditer(caption)))}
    names = dict(reversed(names.items()))
    if len(names) > MAX_CHARACTERS:
        message = f"names {len(names)} characters, at most {MAX_CHARACTERS} are allowed"
        raise StoryboardError([places.mark(start).problem("global caption", message)])
    sentences = [sentence.span() for sentence in _SENTENCE.finditer(caption)]
    used: list[tuple[int, int]] = []
    people = []
    for name, match in names.items():
        mark = places.mark(start + match.start())
        sentence = sentences[bisect_right(sentences, (match.start(), len(caption) + 1)) - 1]
        description = _description(caption, match, sentence, used)
        if not description:
            problems.append(mark.problem("global caption", f"[{match[1]}] is named but not described"))
        people.append(_pair(mark, name, description or "?"))
    for number, (first, last) in enumerate(shots, start=1):
        for match in _NAME.finditer(text, first, last):
            if match[1].lower().startswith("character") and _identifier(match[1]) not in names:
                message = f"[{match[1]}] is not introduced in the global caption"
                problems.append(places.mark(match.start()).problem(f"shot {number}", message))
    notes = [f"durations: {seconds:g} s shared evenly by {len(shots)} shots, since the text has none"]
    stated = _COUNT.search(caption)
    # compared as text: a number of thousands of digits is refused by int()
    if stated and (count := stated[1].lstrip("0") or "0") != str(len(shots)):
        count = count if len(count) <= 6 else shown(count)
        notes.append(f"the caption speaks of {count} shots, {len(shots)} were found")
    for first, last in [*used, *([stated.span()] if stated else [])]:
        caption = caption[:first] + " " * (last - first) + caption[last:]

    root_mark = places.mark(start)
    root = nodes.Mapping(root_mark, [_pair(root_mark, "version", str(VERSION), plain=True)])
    root.pairs.append(_pair(root_mark, "global_prompt", _braced(caption, names)))
    root.pairs.append((nodes.Scalar(root_mark, "characters"), nodes.Mapping(root_mark, people)))
    length = f"{seconds / len(shots):.6g}s"
    items: list[nodes.Node] = []
    for number, (first, last) in enumerate(shots, start=1):
        mark = places.mark(first)
        pairs = [_pair(mark, "id", f"shot{number}"), _pair(mark, "duration", length)]
        pairs.append(_pair(mark, "prompt", _braced(text[first:last], names)))
        items.append(nodes.Mapping(mark, pairs))
    root.pairs.append((nodes.Scalar(root_mark, "shots"), nodes.Sequence(root_mark, items)))
    return Imported(build(root, problems), tuple(notes + [_BRACES_NOTE] * braces))


def _spans(text: str, places: Places, problems: list[Problem]) -> list[tuple[int, int]]:
    """Start and stop of the global caption and of each shot's caption; reports tags that are missing or misplaced."""
    tags = [(match[1].lower(), match) for match in _TAG.finditer(text)]
    order = [tag for tag, _ in tags]
    if order[:2] != ["global caption", "per shot caption"] or set(order[2:]) - {"shot cut"}:
        mark = places.mark(tags[0][1].start() if tags else 0)
        message = "the order must be [global caption], [per shot caption], then [shot cut] before each further shot"
        problems.append(mark.problem("", message))
        return []
    if text[: tags[0][1].start()].strip():
        problems.append(places.mark(0).problem("", "there is text before [global caption]"))
    edges = [match.start() for _, match in tags[1:]] + [len(text)]
    spans = []
    for (tag, match), stop in zip(tags, edges, strict=True):
        first, last = match.end(), stop
        # Some people end each caption with a bar.
        while first < last and (text[first].isspace() or text[first] == "|"):
            first += 1
        while first < last and (text[last - 1].isspace() or text[last - 1] == "|"):
            last -= 1
        if first == last and tag != "global caption":
            problems.append(places.mark(match.start()).problem("", f"no caption follows {match[0]}"))
        spans.append((first, last))
    return spans


def _description(caption: str, match: re.Match[str], sentence: tuple[int, int], used: list[tuple[int, int]]) -> str:
    """What the sentence around the first mention of a name says about it.

    "[a] is a tall man." is taken whole, and its span added to `used`; of "a painter, [a], with ink on her hands" both
    sides are joined; else what follows the name counts, or the noun before it.
    """
    before = caption[sentence[0] : match.start()]
    after = caption[match.end() : sentence[1]]
    if other := _NAME.search(after):
        after = after[: other.start()]
    if verb := _IS.match(after):
        if not before.strip() and not other:
            used.append(sentence)
        return _trim(after[verb.end() :])
    noun = _noun(before.rstrip().rstrip(",")) if before.rstrip().endswith(",") else ""
    rest = _trim(after)
    return " ".join(part for part in (_trim(noun), rest) if part) or _trim(_noun(before))


def _noun(before: str) -> str:
    """What stands after the last word that begins a noun phrase."""
    found = [match.end() for match in _BEFORE_NOUN.finditer(before)]
    return before[found[-1] :] if found else before


def _trim(text: str) -> str:
    return re.sub(r"\b(?:and|while|with|,)\s*$", "", text.strip(" \t\r\n,;:.!?|-–—")).strip(" \t\r\n,;")


def _identifier(name: str) -> str:
    return near_identifier(name) or "someone"


def _braced(text: str, names: dict[str, re.Match[str]]) -> str:
    """`text` with `[character1]` as `{character1}`; other words in brackets stay as they are."""

    def name(match: re.Match[str]) -> str:
        identifier = _identifier(match[1])
        return f"{{{identifier}}}" if identifier in names else match[0]

    try:
        return clean_text(_NAME.sub(name, text))
    except Mismatch:
        return text  # the reader reports it with its place


_BRACES_NOTE = "braces were turned into round brackets, since {names} are for characters"


def _pair(mark: nodes.Mark, key: str, text: str, plain: bool = False) -> tuple[nodes.Scalar, nodes.Node]:
    return nodes.Scalar(mark, key), nodes.Scalar(mark, text, plain)

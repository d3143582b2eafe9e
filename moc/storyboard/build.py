"""From nodes to a `Storyboard`: every check of the format, every mistake collected before anything is raised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from moc.config import MoCConfig
from moc.storyboard import nodes
from moc.storyboard.kinds import Identifier, Kind, Mismatch, Text, near_identifier
from moc.storyboard.model import (
    DESCRIPTION,
    MAX_CHARACTERS,
    MAX_SCENES,
    MAX_SHOTS,
    SECTIONS,
    SHOT_KEYS,
    STORY_KEYS,
    VERSION,
    Attention,
    Sampling,
    Shot,
    Storyboard,
    kind_of,
)
from moc.storyboard.problems import Problem, StoryboardError, did_you_mean, nearest, shown

_BRACED = re.compile(r"\{([^{}]*)\}")
_ABSENT: Any = object()
_REQUIRED = {
    "id": "give the shot a short name, such as id: river",
    "prompt": 'say what is seen, such as prompt: "{mira} waves"',
    "duration": "say how long it is, such as duration: 8s",
}


def build(root: nodes.Node, earlier: list[Problem] | None = None) -> Storyboard:
    """The story that `root` describes. `earlier` are mistakes that the parser already found.

    Raises:
        StoryboardError: with all mistakes, the earlier ones included.
    """
    reader = _Reader(list(earlier or []))
    story = reader.story(root)
    if reader.problems:
        raise StoryboardError(reader.problems)
    return story


class _Reader:
    """Reads nodes and collects problems. A broken value becomes `_ABSENT` and is not checked further."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        self.characters: list[str] | None = []
        self.scenes: list[str] | None = []
        self.hints = 200  # looking for near words is slow, and nobody reads thousands of hints

    def report(self, mark: nodes.Mark, key: str, message: str) -> None:
        self.problems.append(mark.problem(key, message))

    def hint(self, word: str, known: Sequence[str]) -> str:
        """`did_you_mean` for the first mistakes; for further ones nothing."""
        self.hints -= 1
        return did_you_mean(word, known) if self.hints > 0 else ""

    def keys(self, node: nodes.Mapping, label: str, known: tuple[str, ...] | None) -> dict[str, nodes.Node]:
        """The values of a mapping by key; reports unknown and repeated keys."""
        return {name: value for name, (_, value) in self.pairs(node, label, known).items()}

    def pairs(
        self, node: nodes.Mapping, label: str, known: tuple[str, ...] | None
    ) -> dict[str, tuple[nodes.Mark, nodes.Node]]:
        """The same with the place of each key."""
        found: dict[str, tuple[nodes.Mark, nodes.Node]] = {}
        for name, value in node.pairs:
            if name.text in found:
                line = found[name.text][0].line
                where = f", first in line {line}" if line else ""
                self.report(name.mark, label, f"key {shown(name.text)} is there twice{where}")
            elif known is not None and name.text not in known:
                self.report(name.mark, label, f"unknown key {shown(name.text)}{self.hint(name.text, known)}")
            else:
                found[name.text] = (name.mark, value)
        return found

    def mapping(self, node: nodes.Node | None, label: str, example: str) -> nodes.Mapping | None:
        """`node` as a mapping; an absent or empty one is None, anything else is reported."""
        if node is None or isinstance(node, nodes.Broken):
            return None
        if isinstance(node, nodes.Scalar) and (node.is_empty or node.is_null):
            return None
        if not isinstance(node, nodes.Mapping):
            self.report(node.mark, label, f"must be a mapping such as {example}, got {_describe(node)}")
            return None
        return node

    def fields(self, cls: type, owner: nodes.Mapping, values: dict[str, nodes.Node], label: str) -> dict[str, Any]:
        """Read every field of the dataclass `cls` that has a kind; `_ABSENT` where it is missing or wrong."""
        result: dict[str, Any] = {}
        for item in fields(cls):
            kind = kind_of(item)
            if kind is None:
                continue
            required = item.default is MISSING
            node = values.get(item.name)
            if node is None or (isinstance(node, nodes.Scalar) and node.is_null and not required):
                result[item.name] = _ABSENT if required else item.default
                # A misspelled key is one mistake, not two.
                if required and item.name not in [nearest(name.text, SHOT_KEYS) for name, _ in owner.pairs[:20]]:
                    self.report(owner.mark, label, f"'{item.name}' is missing; {_REQUIRED[item.name]}")
            else:
                result[item.name] = self.scalar(node, kind, label, item.name)
        return result

    def scalar(self, node: nodes.Node, kind: Kind, label: str, name: str) -> Any:
        """The value of one field, `_ABSENT` if it is wrong (and reported)."""
        if isinstance(node, nodes.Broken):
            return _ABSENT
        if not isinstance(node, nodes.Scalar):
            braces = isinstance(kind, Text) and isinstance(node, nodes.Mapping)
            quotes = "; a text that begins with a {name} needs quotes" if braces else ""
            self.report(node.mark, label, f"{name} must be a single value, got {_describe(node)}{quotes}")
        elif node.is_empty or node.is_null:
            self.report(node.mark, label, f"{name} has no value")
        else:
            try:
                return kind.read(node)
            except Mismatch as wrong:
                self.report(node.mark, label, f"{name} {wrong}")
        return _ABSENT

    def story(self, root: nodes.Node) -> Storyboard:
        if not isinstance(root, nodes.Mapping):
            if not isinstance(root, nodes.Broken):
                message = f"must be a mapping that starts with 'version: {VERSION}', got {_describe(root)}"
                self.report(root.mark, "story", message)
            return Storyboard()
        values = self.keys(root, "story", STORY_KEYS)
        self.version(values.get("version"), root.mark)
        top = self.fields(Storyboard, root, values, "story")
        characters = self.table(values.get("characters"), "characters", MAX_CHARACTERS)
        scenes = self.table(values.get("scenes"), "scenes", MAX_SCENES)
        self.characters = None if characters is None else list(characters)
        self.scenes = None if scenes is None else list(scenes)
        if isinstance(text := values.get("global_prompt"), nodes.Scalar):
            self.names(text, "story", "global_prompt")
        if isinstance(text := values.get("negative_prompt"), nodes.Scalar):
            self.no_braces(text, "story", "negative_prompt")
        sections = {}
        for name, cls in SECTIONS.items():
            node = self.mapping(values.get(name), name, "{" + f"{fields(cls)[0].name}: ..." + "}")
            if node is not None:
                known = tuple(item.name for item in fields(cls))
                sections[name] = cls(**self.fields(cls, node, self.keys(node, name, known), name))
        shots = self.shots(values.get("shots"), root.mark)
        self.streams(sections.get("sampling"), sections.get("attention"), top["model"], values)
        return Storyboard(
            **top,
            **sections,
            characters=characters or {},
            scenes=scenes or {},
            shots=shots,
        )

    def streams(self, sampling: Any, attention: Any, model: Any, values: dict[str, nodes.Node]) -> None:
        """Reports attention that looks ahead while shots are made one after the other."""
        sampling, attention = sampling or Sampling(), attention or Attention()
        given = [attention.preset, attention.text_links, attention.causal, attention.pattern, sampling.mode]
        if _ABSENT in given or sampling.mode != "stream" or not (attention.preset or model == "pocket"):
            return
        config = MoCConfig.preset(attention.preset or "pocket")
        links = attention.text_links or config.text_links
        causal = config.causal if attention.causal is None else attention.causal
        wrong = [] if causal else ["causal: true"]
        ahead = attention.pattern == "moc-no-causal"
        if ahead:
            wrong = ["a pattern that looks back alone, which moc-no-causal does not"]
        wrong += [] if links == "own" else ["text_links: own"]
        if wrong:
            # Where it was written: pattern, text_links, causal or preset, whichever comes first, or the mode.
            names = [*(["pattern"] if ahead else []), "text_links", "causal", "preset"]
            written = [(values.get("attention"), name) for name in names]
            written.append((values.get("sampling"), "mode"))
            found = [owner.get(name) for owner, name in written if isinstance(owner, nodes.Mapping)]
            marks = [node.mark for node in found if isinstance(node, nodes.Scalar) and not node.is_null]
            rest = "choose another pattern, or" if ahead else "write that, or"
            message = f"stream mode needs {' and '.join(wrong)}; {rest} set sampling mode: joint (--mode joint)"
            self.report(marks[0], "attention", message)

    def version(self, node: nodes.Node | None, at: nodes.Mark) -> None:
        if node is None:
            self.report(at, "story", f"'version' is missing; begin the file with version: {VERSION}")
        elif not isinstance(node, nodes.Broken) and not (isinstance(node, nodes.Scalar) and node.text == str(VERSION)):
            self.report(node.mark, "story", f"version must be {VERSION}, got {_describe(node)}")

    def table(self, node: nodes.Node | None, label: str, limit: int) -> dict[str, str] | None:
        """Ids with their descriptions; None where the whole table is unreadable, so that no name is blamed for it."""
        if isinstance(node, nodes.Broken):
            return None
        before = len(self.problems)
        table = self.mapping(node, label, "{mira: a woman in a red coat}" if label == "characters" else "{cafe: ...}")
        if table is None:
            return None if len(self.problems) > before else {}
        if len(table.pairs) > limit:
            self.report(table.mark, label, f"has {len(table.pairs)} entries, at most {limit} are allowed")
            return None
        found = {}
        for name, (mark, value) in self.pairs(table, label, None).items():
            found[name] = ""  # known even if badly described or spelled: its uses are no further mistakes
            try:
                Identifier().read(nodes.Scalar(mark, name))
            except Mismatch as wrong:
                self.report(mark, label, f"id {wrong}")
                if near := near_identifier(name):
                    found.setdefault(near, "")  # nor are those of the id that was suggested
            text = self.scalar(value, DESCRIPTION, label, shown(name))
            if text is not _ABSENT and isinstance(value, nodes.Scalar):
                found[name] = text
                self.no_braces(value, label, shown(name))
        return found

    def shots(self, node: nodes.Node | None, at: nodes.Mark) -> tuple[Shot, ...]:
        example = 'shots: [{id: hello, duration: 8s, prompt: "a cat waves"}]'
        if isinstance(node, nodes.Broken):
            return ()
        if node is None or (isinstance(node, nodes.Scalar) and (node.is_empty or node.is_null)):
            self.report(at if node is None else node.mark, "story", f"there are no shots; write {example}")
            return ()
        if not isinstance(node, nodes.Sequence):
            self.report(node.mark, "shots", f"must be a list of shots, each after a '-', got {_describe(node)}")
            return ()
        if not node.items:
            self.report(node.mark, "story", f"there are no shots; write {example}")
        if len(node.items) > MAX_SHOTS:
            self.report(node.mark, "shots", f"{len(node.items)} shots, at most {MAX_SHOTS} are allowed")
            return ()
        shots = []
        first_use: dict[str, int] = {}
        for number, item in enumerate(node.items, start=1):
            if not isinstance(item, nodes.Broken):
                shots.append(self.shot(number, item, first_use))
        return tuple(shots)

    def shot(self, number: int, item: nodes.Node, first_use: dict[str, int]) -> Shot:
        label = f"shot {number}"
        named = item.get("id") if isinstance(item, nodes.Mapping) else None
        if isinstance(named, nodes.Scalar) and 0 < len(named.text) <= 40 and named.text.isprintable():
            label += f" ({named.text})"
        if not isinstance(item, nodes.Mapping):
            self.report(item.mark, label, f"must be a mapping with id, duration and prompt, got {_describe(item)}")
            return Shot(number, id="", prompt="", duration=0)
        values = self.keys(item, label, SHOT_KEYS)
        shot = Shot(number, **self.fields(Shot, item, values, label))
        if isinstance(shot.id, str):
            if shot.id in first_use:
                message = f"id '{shot.id}' is taken by shot {first_use[shot.id]}; each shot needs its own"
                self.report(values["id"].mark, label, message)
            first_use.setdefault(shot.id, number)
        if number == 1 and shot.cut is False:
            message = "cut can't be false: there is no shot before the first to continue"
            self.report(values["cut"].mark, label, message)
        if isinstance(shot.scene, str) and self.scenes is not None and shot.scene not in self.scenes:
            message = f"unknown scene '{shot.scene}'{self.hint(shot.scene, self.scenes) or '; there are no scenes'}"
            self.report(values["scene"].mark, label, message)
        if isinstance(prompt := values.get("prompt"), nodes.Scalar):
            self.names(prompt, label, "prompt")
        if isinstance(camera := values.get("camera"), nodes.Scalar):
            self.no_braces(camera, label, "camera")
        return shot

    def names(self, node: nodes.Scalar, label: str, name: str) -> None:
        """Reports `{names}` that no character has, and braces that hold no name."""
        if self.characters is None:
            return
        for braced in dict.fromkeys(_BRACED.findall(node.text)):
            who = braced.strip()
            if who == "" or who != braced:
                self.report(node.mark, label, f"{name} holds {shown('{' + braced + '}')}; write a name as {{mira}}")
            elif who not in self.characters:
                if who in (self.scenes or ()):
                    hint = f"; '{who}' is a scene: write scene: {who}"
                else:
                    hint = self.hint(who, self.characters) or "; there are no characters"
                self.report(node.mark, label, f"unknown character {shown('{' + who + '}')} in the {name}{hint}")
        if "{" in (rest := _BRACED.sub("", node.text)) or "}" in rest:
            self.report(node.mark, label, f"{name} has a brace without its partner; braces are for {{names}} alone")

    def no_braces(self, node: nodes.Scalar, label: str, name: str) -> None:
        if "{" in node.text or "}" in node.text:
            self.report(node.mark, label, f"{name} can't hold braces; {{names}} belong in prompts")


def _describe(node: nodes.Node) -> str:
    if not isinstance(node, nodes.Scalar):
        return node.kind
    if node.is_empty or node.is_null:
        return "nothing"
    return shown(node.text)

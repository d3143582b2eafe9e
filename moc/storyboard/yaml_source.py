"""YAML text to nodes, from the parser's events.

Not `yaml.load`: events come one by one, so depth and size are limited before anything is built, aliases never unfold,
no tag runs code, and repeated keys and places survive. Scalars stay text (`no`, `12:30`, `1e-4`); the field that
reads one decides what it means.
"""

from __future__ import annotations

import re

import yaml

from moc.storyboard.nodes import MAX_DEPTH, Broken, Mapping, Mark, Node, Scalar, Sequence
from moc.storyboard.problems import Problem, StoryboardError, shown

MAX_NODES = 20_000  # a thousand shots with every key are below

PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # same events; the one in C is twenty times faster

_BRACED_VALUE = re.compile(r"(?:^|[:,{\[-])\s*\{\{?\s*[\w-]+\s*\}")


class _Stop(Exception):
    """The text can't be a story; carries the last problem."""

    def __init__(self, problem: Problem):
        self.problem = problem


def parse_yaml(text: str, source: str, loader: type | None = None) -> tuple[Node, list[Problem]]:
    """The root node of the one document in `text`, and mistakes that leave the rest readable.

    Raises:
        StoryboardError: for text that is not YAML, is nested deeper than `MAX_DEPTH` or holds over `MAX_NODES` values.
    """
    builder = _Builder(source)
    try:
        for event in yaml.parse(text, Loader=loader or PARSER):
            builder.feed(event)
    except _Stop as stop:
        raise StoryboardError([*builder.problems, stop.problem]) from None
    except yaml.YAMLError as wrong:
        raise StoryboardError([_syntax_problem(wrong, text, source)]) from None
    if builder.root is None:
        raise StoryboardError([Problem(0, 0, "", "the file holds no story (only comments or blank lines)", source)])
    return builder.root, builder.problems


class _Builder:
    """Builds the tree on a stack of its own, so that nesting can't exhaust Python's."""

    def __init__(self, source: str):
        self.source = source
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self.documents = 0
        self.count = 0
        self.aliases: set[str | None] = set()
        self.stack: list[Mapping | Sequence | Broken] = []
        self.keys: list[Scalar | None] = []  # per open container: the key that waits for its value

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _Stop(self.mark(event).problem("", "a second document begins here; one file holds one story"))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.stack.pop()
            self.keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            self.value(event)

    def mark(self, event: yaml.Event) -> Mark:
        start = event.start_mark
        return Mark(self.source, start.line + 1, start.column + 1) if start is not None else Mark(self.source)

    def value(self, event: yaml.NodeEvent) -> None:
        mark = self.mark(event)
        self.count += 1
        if self.count > MAX_NODES:
            raise _Stop(mark.problem("", f"more than {MAX_NODES} values; a story has at most 1000 shots"))
        node = self.node(event, mark)
        self.place(node, mark)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self.stack) >= MAX_DEPTH:
                raise _Stop(mark.problem("", f"nested deeper than {MAX_DEPTH} levels; a story needs 4"))
            self.stack.append(node if isinstance(node, Mapping | Sequence) else Broken(mark))
            self.keys.append(None)

    def node(self, event: yaml.NodeEvent, mark: Mark) -> Node:
        if isinstance(event, yaml.AliasEvent):
            # A bomb has thousands; the first place of each name is enough to mend them all.
            if event.anchor not in self.aliases:
                self.aliases.add(event.anchor)
                self.problems.append(mark.problem("", f"alias '*{event.anchor}': write the text out, or quote it"))
            return Broken(mark)
        if event.anchor is not None:
            self.problems.append(mark.problem("", f"anchor '&{event.anchor}' is not allowed; write the text out"))
        tag = getattr(event, "tag", None)
        if tag is not None:
            readable = tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.append(mark.problem("", f"tag {shown(readable)} is not allowed; a story is plain data"))
            return Broken(mark)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(mark, event.value, plain=event.style in (None, ""))
        return Mapping(mark) if isinstance(event, yaml.MappingStartEvent) else Sequence(mark)

    def place(self, node: Node, mark: Mark) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif self.keys[-1] is not None:
            if isinstance(parent, Mapping):
                parent.pairs.append((self.keys[-1], node))
            self.keys[-1] = None
        elif isinstance(node, Scalar):
            self.keys[-1] = node
        else:
            if isinstance(parent, Mapping) and not isinstance(node, Broken):
                message = f'{node.kind} can\'t be a key; put a text with braces in quotes, such as "{{mira}} waves"'
                self.problems.append(mark.problem("", message))
            self.keys[-1] = Scalar(mark, "")
            # Both halves of the pair are dropped: the container counts as broken from here on.
            self.break_parent(mark)

    def break_parent(self, mark: Mark) -> None:
        old = self.stack[-1]
        broken = Broken(mark)
        self.stack[-1] = broken
        if self.root is old:
            self.root = broken
        elif len(self.stack) > 1:
            above = self.stack[-2]
            if isinstance(above, Sequence):
                above.items[-1] = broken
            elif isinstance(above, Mapping):
                above.pairs[-1] = (above.pairs[-1][0], broken)


def _syntax_problem(wrong: yaml.YAMLError, text: str, source: str) -> Problem:
    """A parser error as a sentence that says what to write instead."""
    if isinstance(wrong, yaml.reader.ReaderError):
        place = wrong.position if isinstance(wrong.position, int) else 0
        before = text[:place]
        code = ord(wrong.character) if isinstance(wrong.character, str) else int(wrong.character)
        message = f"the character U+{code:04X} is not allowed in a text file"
        return Problem(before.count("\n") + 1, place - before.rfind("\n"), "", message, source)
    problem = str(getattr(wrong, "problem", None) or wrong)
    mark = getattr(wrong, "problem_mark", None)
    start = getattr(wrong, "context_mark", None)
    row, column = (mark.line, mark.column) if mark is not None else (0, 0)
    lines = text.splitlines() or [""]
    line = lines[row] if row < len(lines) else ""
    if _BRACED_VALUE.search(line) and isinstance(wrong, yaml.parser.ParserError):
        message = 'a text that begins with a {name} needs quotes, such as prompt: "{mira} waves"'
    elif "mapping values" in problem:
        message = "a ':' within a text needs quotes around the text, or this line is indented too far"
    elif "cannot start any token" in problem:
        char = line[column : column + 1]
        if char == "\t":
            message = "a tab can't indent; use blanks"
        else:
            message = f"a text that begins with {shown(char)} needs quotes"
    elif "unexpected end of stream" in problem and start is not None:
        row, column = start.line, start.column
        message = "this quote is never closed"
    elif "',' or" in problem and start is not None:
        bracket = "'['" if "]" in problem else "'{'"
        row_of = f"the {bracket} of line {start.line + 1}"
        message = f"{row_of} is never closed, or a comma or quote is missing before this place"
    elif "expected ':'" in problem:
        row, column = (start.line, start.column) if start is not None else (row, column)
        message = "this line is neither 'key: value' nor the end of the text above it"
    elif "expected key" in problem or "block end" in problem or "'-' indicator" in problem:
        message = "this doesn't fit the lines above; check the indentation and the quotes"
    else:
        message = f"this is not YAML: {problem}"
    return Problem(row + 1, column + 1, "", message, source)

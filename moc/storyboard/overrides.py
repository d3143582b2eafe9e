"""Dotted overrides: `attention.top_k=3`, `shots.river.duration=4s`, checked as the file is."""

from __future__ import annotations

from collections.abc import Mapping

from moc.storyboard import nodes
from moc.storyboard.build import build
from moc.storyboard.model import STORY_KEYS, Storyboard
from moc.storyboard.problems import Problem, did_you_mean, shown


def override(
    story: Storyboard, changes: Mapping[str, str], option: str, named: Mapping[str, str] | None = None
) -> Storyboard:
    """See `Storyboard.overridden`."""
    root = nodes.from_data(story.to_dict(), option)
    problems: list[Problem] = []
    for key, text in changes.items():
        mark = nodes.Mark((named or {}).get(key, f"{option} {key}"))
        message = _replace(root, key, nodes.Scalar(mark, str(text), plain=True))
        if message:
            problems.append(mark.problem("", message))
    return build(root, problems)


def _replace(root: nodes.Node, key: str, value: nodes.Scalar) -> str:
    """Put `value` at the dotted `key`; returns what is wrong with the key, or nothing."""
    parts = key.split(".")
    node = root
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, nodes.Sequence):
            index = _shot_index(node, part)
            if index is None:
                ids = [text for item in node.items if (text := _id(item))]
                return f"no shot {shown(part)}{did_you_mean(part, ids)}"
            if last:
                return f"name a value of the shot, such as {key}.duration"
            node = node.items[index]
        elif isinstance(node, nodes.Mapping):
            found = node.get(part)
            if last and not isinstance(found, nodes.Mapping | nodes.Sequence):
                if found is None and parts[0] not in ("characters", "scenes"):
                    return f"unknown key {shown(part)}{did_you_mean(part, [name.text for name, _ in node.pairs])}"
                new = (nodes.Scalar(value.mark, part), value)
                # In place: the order of characters is the order of their slots.
                node.pairs = [new if pair[0].text == part else pair for pair in node.pairs] + [new] * (found is None)
                return ""
            if found is None:
                known = STORY_KEYS if depth == 0 else [name.text for name, _ in node.pairs]
                return f"unknown key {shown(part)}{did_you_mean(part, known)}"
            if last:
                return f"{part} holds several values; name one, such as {key}.{_example(found)}"
            node = found
        else:
            return f"{'.'.join(parts[:depth])} is a single value and has no part {shown(part)}"
    return ""


def _shot_index(node: nodes.Sequence, part: str) -> int | None:
    ids = [_id(item) for item in node.items]
    if part in ids:
        return ids.index(part)
    if part.isascii() and part.isdigit() and len(part) < 6 and 1 <= int(part) <= len(ids):
        return int(part) - 1
    return None


def _id(item: nodes.Node) -> str:
    found = item.get("id") if isinstance(item, nodes.Mapping) else None
    return found.text if isinstance(found, nodes.Scalar) else ""


def _example(node: nodes.Node) -> str:
    if isinstance(node, nodes.Mapping):
        return node.pairs[0][0].text if node.pairs else "mira"
    return "1.duration"

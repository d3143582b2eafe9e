"""`Storyboard` to the YAML a person would write: blocks, quotes where needed, nothing that is only a default."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from typing import Any

from moc.storyboard.model import SECTIONS, SHOT_KEYS, VERSION, Shot, Storyboard

# What every YAML reader takes as a plain text; the rest is quoted.
_PLAIN = re.compile(r"[^\W\d_](?:[\w ,.;'()/&+-]*[\w.)])?")
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "inf", "nan"}
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def to_yaml(story: Storyboard, comment: str = "") -> str:
    """The story as a file that `load_storyboard` reads back to an equal story.

    Args:
        story: any checked story.
        comment: lines to put on top, without their `#`.
    """
    lines = ["# " + "".join(c if c.isprintable() else "?" for c in line) for line in comment.splitlines()]
    lines.append(f"version: {VERSION}")
    lines += [f"{name}: {_scalar(getattr(story, name))}" for name in ("title", "global_prompt") if getattr(story, name)]
    for name in ("characters", "scenes"):
        table = getattr(story, name)
        lines += [f"{name}:"] * bool(table)
        # A name such as `no` or `1e3` would be no text to other readers of YAML.
        lines += [f"  {_scalar(key)}: {_scalar(text)}" for key, text in table.items()]
    lines += [f"negative_prompt: {_scalar(story.negative_prompt)}"] * bool(story.negative_prompt)
    lines += [f"model: {_scalar(story.model)}"] * (story.model != "pocket")
    for name, cls in SECTIONS.items():
        changed = _changed(cls, getattr(story, name))
        if changed:
            lines.append(f"{name}: {{{', '.join(f'{key}: {_scalar(value)}' for key, value in changed.items())}}}")
    lines.append("shots:")
    for shot in story.shots:
        values = {key: value for key, value in _changed(Shot, shot).items() if key in SHOT_KEYS}
        values["duration"] = _seconds(shot.duration)
        start = "  - "
        for key in ("id", "scene", "duration", "prompt", "camera", "cut", "seed"):
            if key in values:
                text = values[key] if key == "duration" else _scalar(values[key])
                lines.append(f"{start}{key}: {text}")
                start = "    "
    return "\n".join(lines) + "\n"


def _changed(cls: type, value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, by name."""
    pairs = {item.name: (getattr(value, item.name), item.default) for item in fields(cls)}
    return {name: now for name, (now, default) in pairs.items() if default is MISSING or now != default}


def _seconds(value: float) -> str:
    return f"{value:g}s" if float(f"{value:g}") == value else f"{value!r}s"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value)

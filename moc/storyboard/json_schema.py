"""The format as JSON Schema (draft 2020-12), for completion and checks in editors.

It is made from the same fields that the reader checks. What no schema can say (names in prompts, ids that must differ,
a first shot that can't continue) is left to the reader.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from moc.storyboard.kinds import Identifier
from moc.storyboard.model import (
    DESCRIPTION,
    MAX_CHARACTERS,
    MAX_SCENES,
    MAX_SHOTS,
    SECTIONS,
    VERSION,
    Shot,
    Storyboard,
    kind_of,
)


def json_schema() -> dict[str, Any]:
    """The schema of a story file as plain data."""
    sections = {name: _object(cls) | {"description": _first_line(cls)} for name, cls in SECTIONS.items()}
    shots = {
        "type": "array",
        "items": _object(Shot),
        "minItems": 1,
        "maxItems": MAX_SHOTS,
        "description": "The shots in order.",
    }
    story = _object(Storyboard)
    story["properties"] = {
        "version": {"const": VERSION, "description": "Version of the format."},
        **story["properties"],
        "characters": _table("Ids of characters with their descriptions; prompts name them as {id}.", MAX_CHARACTERS),
        "scenes": _table("Ids of places with their descriptions; shots name one by `scene`.", MAX_SCENES),
        **sections,
        "shots": shots,
    }
    story["required"] = ["version", "shots"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moc story",
        "description": "A story for moc generate.",
        **story,
    }


def _object(cls: type) -> dict[str, Any]:
    items = [(item, kind) for item in fields(cls) if (kind := kind_of(item)) is not None]
    properties = {}
    for item, kind in items:
        schema = kind.schema() | {"description": item.metadata["doc"]}
        if item.default is None:
            schema = {"anyOf": [kind.schema(), {"type": "null"}], "description": item.metadata["doc"]}
        elif item.default is not MISSING:
            schema["default"] = item.default
        properties[item.name] = schema
    required = [item.name for item, _ in items if item.default is MISSING]
    result: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return result | ({"required": required} if required else {})


def _table(description: str, limit: int) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "description": description,
        "propertyNames": Identifier().schema(),
        "additionalProperties": DESCRIPTION.schema(),
        "maxProperties": limit,
    }


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]

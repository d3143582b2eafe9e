"""Prompts in the paper's form: one global caption for the whole story, one caption a shot.

Cai et al., "Mixture of Contexts" (arXiv 2508.21058), App. C, after Long Context Tuning (arXiv 2503.10589): the global
caption reads `[Character] ... [Environment] ... [Story] ...` and introduces people as `Character [ID]: description`;
the captions of shots name people by id alone, and `[SHOT CUT]` marks where a new shot begins with a cut.
"""

from __future__ import annotations

import re

from moc.storyboard.model import Shot, Storyboard

_NAME = re.compile(r"\{([^{}]*)\}")


def global_caption(story: Storyboard) -> str:
    """The caption that every shot may read. A part that the story leaves empty is left out."""
    people = " ".join(_sentence(f"Character [{name}]: {text}") for name, text in story.characters.items())
    places = " ".join(_sentence(f"[{name}]: {text}") for name, text in story.scenes.items())
    parts = (("[Character]", people), ("[Environment]", places), ("[Story]", _by_id(story.global_prompt)))
    return " ".join(f"{head} {text}" for head, text in parts if text)


def shot_caption(story: Storyboard, shot: Shot) -> str:
    """The caption of one shot of `story`: `[SHOT CUT]` (unless it continues), place, what happens, camera."""
    parts = ["[SHOT CUT]"] if shot.cut else []
    if shot.scene is not None:
        parts.append(f"[{shot.scene}]")
    parts.append(_sentence(_by_id(shot.prompt)))
    if shot.camera:
        parts.append(_sentence(f"Camera: {shot.camera}"))
    return " ".join(parts)


def _by_id(text: str) -> str:
    return _NAME.sub(r"[\1]", text)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else text + "."

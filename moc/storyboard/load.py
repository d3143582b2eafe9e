"""From a YAML file or text to a `Storyboard`."""

from __future__ import annotations

import os

from moc.storyboard.build import build
from moc.storyboard.files import MAX_BYTES, decode, read_text
from moc.storyboard.model import Storyboard
from moc.storyboard.yaml_source import parse_yaml


def load_storyboard(path: str | os.PathLike[str]) -> Storyboard:
    """Read and check a story file.

    Raises:
        StoryboardError: with every mistake in the file, each with line and column; or with one sentence if the file
            is missing, unreadable, empty, binary or larger than 2 MiB.
    """
    text, name = read_text(path)
    return build(*parse_yaml(text, name))


def parse_storyboard(text: str, source: str = "storyboard") -> Storyboard:
    """The same for text at hand; `source` is named in messages. Raises `StoryboardError`."""
    data = text.encode("utf-8", "surrogatepass")[: MAX_BYTES + 1]
    return build(*parse_yaml(decode(data, source), source))


__all__ = ["load_storyboard", "parse_storyboard"]

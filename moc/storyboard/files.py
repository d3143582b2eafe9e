"""Reading a text file that somebody else wrote: every way it can fail is one sentence."""

from __future__ import annotations

import os
from pathlib import Path

from moc.storyboard.problems import StoryboardError, failure, shown

MAX_BYTES = 2 * 1024 * 1024  # a thousand shots with long prompts stay below


def read_text(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The text of a UTF-8 file and the name to use in messages.

    Raises:
        StoryboardError: for a missing, unreadable, empty, binary or enormous file, or a directory.
    """
    name = _printable(os.fspath(path))
    if os.path.isdir(path):
        raise failure(name, "this is a directory; name a story file, such as story.yaml")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise missing(os.fsdecode(path)) from None
    except PermissionError:
        raise failure(name, "the file may not be read (permission denied)") from None
    except (OSError, ValueError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
        raise failure(name, f"the file can't be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise failure(name, f"the file is larger than {MAX_BYTES // 2**20} MiB, which no story needs")
    return decode(data, name), name


def missing(name: str) -> StoryboardError:
    """The error of a file that is not there, with a file of nearly this name if there is one."""
    return failure(_printable(name), f"there is no such file{_neighbour(Path(name))}")


def decode(data: bytes, name: str) -> str:
    """`data` as text; raises `StoryboardError` for what is not UTF-8 text."""
    if b"\0" in data:
        raise failure(name, "the file is binary (it holds a NUL byte), not a text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        raise failure(name, f"the file is not UTF-8 text (byte 0x{data[wrong.start]:02x} in line {line})") from None
    if not text.strip():
        raise failure(name, "the file is empty")
    return text


def _printable(name: str | bytes) -> str:
    text = os.fsdecode(name) if isinstance(name, bytes) else name
    return text if text and text.isprintable() else shown(text, limit=200)


def _neighbour(path: Path) -> str:
    """A hint at a file beside it with a near name, since most missing files are typing mistakes."""
    import difflib

    try:
        names = [entry.name for entry in os.scandir(path.parent) if entry.is_file()][:1000]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"; did you mean {_printable(str(path.parent / near[0]))}?" if near else ""


__all__ = ["MAX_BYTES", "StoryboardError", "decode", "missing", "read_text"]

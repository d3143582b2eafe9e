"""Files that appear whole or not at all, and disk errors that a person understands.

A file is written under a temporary name in its own folder, flushed to the disk, and renamed over the old one, so a kill
at any moment leaves the old file or the new one. Temporary names start with `.tmp-`; `remove_leftovers` clears what a
killed process left behind. Torch-free.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moc.errors import InputError, MocError

TEMPORARY = ".tmp-"

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is larger than the disk or your limits allow",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the disk is read-only",
    errno.ENOTDIR: "a file is in the way of a folder",
    errno.EISDIR: "a folder is in the way of a file",
    errno.EEXIST: "a file is in the way of a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a link is in the way",
    errno.EIO: "the disk reports an error",
    errno.ENOENT: "the folder is gone or can't be made",
}
_WRONG_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.ENOENT, errno.ELOOP),
}


def disk_error(error: OSError, path: Path) -> MocError:
    """`error` as one sentence about `path`: wrong input (2) for a place that can't be written, failed (1) otherwise."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    kind = InputError if error.errno in _WRONG_PLACE else MocError
    return kind(f"{path} can't be written: {reason}.")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and vanishes when it fails.

    The folder is made if missing. The content is on the disk before the name changes.

    Raises:
        MocError: the disk is full or the place can't be written (see `disk_error`).
    """
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name[-64:]}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON. Raises ValueError for NaN and infinity, which JSON doesn't have."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def remove_leftovers(*folders: Path) -> None:
    """Remove temporary files of killed processes; the caller holds the run's lock."""
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY}*"):
            path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """sha256 of `value` as canonical JSON, hex: equal for equal values, whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _flush(path: Path) -> None:
    """fsync a file or folder, where the system lets folders be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # folders on Windows
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""One writer a run folder: a lock that the operating system lets go of when its process dies, however it dies.

The lock is `flock` on `.lock`, so there is no stale lock to break: after a crash the file remains and the next process
takes it over. The file holds the owner's process id for the message only. Torch-free.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from moc.errors import MocError
from moc.run.files import disk_error

try:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

except ImportError:  # Windows
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # far behind the process id, which others may read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # a folder from elsewhere must not have us empty the file that a link names


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` during the block; the folder is made if missing, and removed if it stays empty.

    Raises:
        MocError: another process writes this folder, or it can't be written.
    """
    path = folder / ".lock"
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except OSError as error:
        raise disk_error(error, folder) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before the lock goes, so that nobody can hold a lock on a name that is about to vanish
        os.close(descriptor)
        with contextlib.suppress(OSError):  # a folder with content stays
            for parent in made:
                parent.rmdir()


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o644)
        try:
            if not _try_lock(descriptor):
                owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else "?"
                raise MocError(f"{path.parent} is being written by another moc (process {owner or 'unknown'}).")
            # the owner before us may have removed the name between our open and our lock
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)

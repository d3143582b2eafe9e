"""What a process is told before torch is there, so that a CPU draws as fast as it can."""

from __future__ import annotations

import contextlib
import os
import sys

_TRIM, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # parameters of glibc's mallopt


def tune() -> None:
    """Let threads wait a little in a loop, and keep memory that was freed. What the user has set himself stays."""
    _wait_a_little()
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        _keep_freed_memory()


def _wait_a_little() -> None:
    """Drawing is hundreds of small pieces of work a second for every thread. One that sleeps in between wakes up late:
    a minute of video took a third longer. One that waits in a loop for long starves on a busy machine: a shot took
    three times as long beside another job. Some ten thousand rounds are a third faster alone, and a third slower
    beside a job that keeps a core busy. Only GNU's OpenMP, which torch brings on Linux, counts rounds.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _keep_freed_memory() -> None:
    """Tensors of a step come and go alike. By default glibc gives large ones back to the system at once, and every page
    of the next ones is cleared and mapped anew: a tenth of the time of a video."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM, 1 << 30), (_TOP_PAD, 64 << 20)):
            mallopt(parameter, value)

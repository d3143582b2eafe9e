"""What a process is told so that a CPU draws as fast as it can."""

from __future__ import annotations

import contextlib
import os
import sys

_TRIM, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # parameters of glibc's mallopt


def wait_a_little() -> None:
    """Let threads wait in a loop for a moment before they sleep. To be called before torch is there.

    Drawing is hundreds of small pieces of work a second for every thread. One that sleeps in between wakes up late; one
    that waits in a loop for long starves on a busy machine. Three shots of 8 s on two cores: 29 s when threads sleep at
    once, 20 s with ten thousand rounds, 18 s with a hundred thousand; beside a job that keeps a core busy 31, 40 and
    101 s. Only GNU's OpenMP, which torch brings on Linux, counts rounds. What the user has set himself stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def keep_freed_memory(device: str) -> None:
    """Where a CPU draws: keep memory that was freed until the process ends.

    Tensors of a step come and go alike. By default glibc gives large ones back to the system at once, and every page of
    the next ones is cleared and mapped anew: a seventh of the time of a minute of video (82 s instead of 97 s, before
    threads waited). The price is that a process stays as large as it once was; so it is for drawing alone, and
    not where another device draws or the user has settings of his own.
    """
    own = "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or own or not _is_cpu(device):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM, 1 << 30), (_TOP_PAD, 64 << 20)):
            mallopt(parameter, value)


def _is_cpu(device: str, drivers: tuple[str, ...] = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")) -> bool:
    """Whether a CPU will draw; asks for drivers instead of torch, as mistakes in a story are told without it."""
    return device == "cpu" or (device == "auto" and not any(os.path.exists(place) for place in drivers))

"""What a process is told before torch is there."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from moc_cli import process


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment that says nothing of threads or memory."""
    for name in [name for name in os.environ if name.startswith(("OMP_", "GOMP_", "MALLOC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return os.environ  # type: ignore[return-value]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What `mallopt` is asked for."""
    asked: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda name, value: asked.append((name, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", "linux")
    return asked


def test_threads_wait_a_little_and_memory_is_kept(environment: dict[str, str], told: list[tuple[int, int]]) -> None:
    process.tune()
    assert (environment["OMP_WAIT_POLICY"], environment["GOMP_SPINCOUNT"]) == ("passive", "10000")
    assert told == [(-4, 0), (-1, 1 << 30), (-2, 64 << 20)]


def test_what_the_user_has_set_stays(environment: dict[str, str], told: list[tuple[int, int]]) -> None:
    environment |= {"OMP_WAIT_POLICY": "active", "MALLOC_ARENA_MAX": "1"}
    process.tune()
    assert environment["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in environment
    assert told == []
    del environment["OMP_WAIT_POLICY"]
    environment["GOMP_SPINCOUNT"] = "7"
    process.tune()
    assert environment["GOMP_SPINCOUNT"] == "7"


def test_other_systems_and_c_libraries(
    environment: dict[str, str], told: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    process.tune()
    assert told == []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    process.tune()


def test_torch_is_not_there_yet() -> None:
    """OpenMP reads its environment once, when it is loaded."""
    code = "import sys; from moc_cli import process; process.tune(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What a process is told so that a CPU draws fast."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
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


def test_threads_wait_a_little(environment: dict[str, str]) -> None:
    process.wait_a_little()
    assert (environment["OMP_WAIT_POLICY"], environment["GOMP_SPINCOUNT"]) == ("passive", "10000")


def test_a_cpu_keeps_memory(environment: dict[str, str], told: list[tuple[int, int]]) -> None:
    process.keep_freed_memory("cuda")
    assert told == []
    process.keep_freed_memory("cpu")
    assert told == [(-4, 0), (-1, 1 << 30), (-2, 64 << 20)]


@pytest.mark.parametrize(
    ("device", "driver", "expected"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("cpu", True, True),
        ("cuda:1", False, False),
        ("mps", False, False),
    ],
)
def test_who_will_draw(device: str, driver: bool, expected: bool, tmp_path: Path) -> None:
    place = tmp_path / "driver"
    if driver:
        place.touch()
    assert process._is_cpu(device, (str(tmp_path / "none"), str(place))) is expected


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_stays(name: str, environment: dict[str, str], told: list[tuple[int, int]]) -> None:
    environment |= {"OMP_WAIT_POLICY": "active", name: "1"}
    process.wait_a_little()
    process.keep_freed_memory("cpu")
    assert environment["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in environment
    assert told == []
    del environment["OMP_WAIT_POLICY"]
    environment["GOMP_SPINCOUNT"] = "7"
    process.wait_a_little()
    assert environment["GOMP_SPINCOUNT"] == "7"


def test_other_systems_and_c_libraries(
    environment: dict[str, str], told: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    process.keep_freed_memory("cpu")
    assert told == []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    process.keep_freed_memory("cpu")


def test_torch_is_not_there_yet() -> None:
    """OpenMP reads its environment once, when it is loaded."""
    code = "import sys; from moc_cli import process; process.wait_a_little(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

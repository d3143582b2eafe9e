"""benchmarks/profile_bytes.py: counters are open while the part that they count runs, and no longer."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from moc.profile.parts import wrapped


@pytest.fixture
def script() -> Iterator[ModuleType]:
    path = Path(__file__).parents[2] / "benchmarks" / "profile_bytes.py"
    spec = importlib.util.spec_from_file_location("profile_bytes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_window_is_closed_for_parts_inside(script: ModuleType) -> None:
    said: list[str] = []
    window = script.Window("route", lambda: said.append("open"), lambda: said.append("close"))
    with window.part("route"):
        said.append("route")
        with window.part("pool"):
            said.append("pool")
        with window.part("route"):
            said.append("more")
    with window.part("own"):
        said.append("own")
    assert said == ["open", "route", "close", "pool", "open", "more", "close", "own"]


def test_every_part_opens_its_window(script: ModuleType) -> None:
    run = script.call_of(script.settings_of("one_shot", "cpu"), "cpu")
    for part in script.BYTE_PARTS:
        said: list[int] = []
        with wrapped(script.Window(part, lambda said=said: said.append(1), lambda said=said: said.append(-1))):
            run()
        assert said, part
        assert sum(said) == 0


def test_table_sets_each_part_beside_the_device(script: ModuleType) -> None:
    parts = script.counted(script.settings_of("one_shot", "cpu"), "cpu")
    assert tuple(parts) == script.COUNTED
    lines = script.table("one_shot", parts, "time", {"routed": parts["routed"] / 2}).splitlines()
    seen = {line.split()[0]: line.split()[-1] for line in lines if line.startswith("  ")}
    assert seen.keys() == {*script.COUNTED, "all"}
    assert (seen["routed"], seen["pool"]) == ("2.00", "-")

"""`benchmarks/memory_cameras.py`: recall by how large somebody was when he was first seen."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RESULTS.parent))
    import memory_cameras

    return memory_cameras


def test_the_table_in_the_docs(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    new = RESULTS / "memory-0.5-quarters"
    script.main(
        [str(path) for path in (RESULTS / "memory-0.5" / "planted.csv.gz", new / "planted.csv.gz", new / "k40.csv.gz")]
    )
    rows = capsys.readouterr().out.strip().splitlines()[2:]
    assert len(rows) == 5
    page = (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    assert "\n".join(rows) in page


def write(path: Path, lines: list[str]) -> Path:
    path.write_text(
        "story,shot,owner,slot,attribute,truth,read,named,gap,pair,other,heldout,planted\n" + "\n".join(lines)
    )
    return path


def look(story: int, shot: int, value: int, read: int, gap: int, planted: bool) -> list[str]:
    """One shot, wide in shot 0 of even stories and close elsewhere, with one person and one open attribute."""
    camera = 0 if shot == 0 and story % 2 == 0 else 2
    tail = f"False,-1,False,{planted}"
    return [
        f"{story},{shot},shot,-1,camera,{camera},{camera},True,-1,{tail}",
        f"{story},{shot},character,0,kind,0,0,True,{gap},{tail}",
        f"{story},{shot},character,0,coat,{value},{read},False,{gap},{tail}",
    ]


def test_the_first_looks_camera_counts_and_not_the_later_ones(script: ModuleType, tmp_path: Path) -> None:
    lines = []
    for story in range(4):  # wide first looks are forgotten, close ones remembered; all later shots are close
        lines += look(story, 0, 3, 3, -1, True) + look(story, 1, 3, 3 if story % 2 else 5, 1, False)
    found = script.by_camera(write(tmp_path / "rows.csv", lines))
    assert found["wide"][0] == 0.0
    assert found["close"][0] == 1.0
    assert found["pan"][0] != found["pan"][0], "nothing was seen in a pan"


def test_what_it_refuses(script: ModuleType, tmp_path: Path) -> None:
    free = write(tmp_path / "free.csv", look(0, 0, 3, 3, -1, False) + look(0, 1, 3, 3, 1, False))
    with pytest.raises(SystemExit, match="holds no planted first look"):
        script.main([str(free)])
    with pytest.raises(SystemExit, match=r"error: .*none\.csv"):
        script.main([str(tmp_path / "none.csv")])

"""`benchmarks/sampling_grids.py`: ways to sample one set of weights, held against each other."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import sampling_grids

    return sampling_grids


def test_ways(script: ModuleType) -> None:
    first, second = script.ways("10:6:1,6:10:0.99:0.7")
    assert (first.steps, first.shift, first.guidance_to, first.guidance_from) == (10, 6.0, 1.0, 0.0)
    assert (second.name, second.guidance_from, second.last_step) == ("6_10_0.99_0.7", 0.7, 0)
    assert script.Way.of("7:10:0.99:0.5:0.25").last_step == 0.25
    for wrong in ("6", "6:10", "six:10:1", "6:10:1:0:0:0"):
        with pytest.raises(argparse.ArgumentTypeError, match="STEPS:SHIFT:TO"):
            script.ways(wrong)


def test_the_table_in_the_docs(script: ModuleType) -> None:
    page = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    found = re.search("<!-- grids -->(.*?)<!-- end of grids -->", page, re.S)
    assert found
    table = found[1].strip()
    told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    asked = []
    for steps, shift, guided, *_ in told:
        low, high = guided.split(" to ")
        asked.append(":".join([steps, shift, high, *([low] if low != "0" else [])]))
    assert len(asked) == 19
    assert script.table(script.ways(",".join(asked)), ROOT / "benchmarks" / "results" / "sampling", 128) == table


def test_measuring(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two ways on one tiny story; the model is as it was, and what is there is not measured again."""
    seen = []
    real = script.run

    def run(experiment: object, model: object, *rest: object, **more: object) -> object:
        seen.append((experiment.steps, model.config.shift, model.config.guidance_to))  # type: ignore[attr-defined]
        return real(experiment, model, *rest, **more)

    monkeypatch.setattr(script, "run", run)
    sizes = ["--stories", "1", "--shots", "2", "--latent-frames", "1", "--device", "cpu"]
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["sampling_grids.py", str(tmp_path), "--ways", "1:6:1,2:10:0.99", *sizes])
        script.main()
    assert seen == [(1, 6.0, 1.0), (2, 10.0, 0.99)]
    assert "| 2 | 10 | 0 to 0.99 |" in capsys.readouterr().out
    more = ["sampling_grids.py", str(tmp_path), "--ways", "1:6:1", *sizes]
    for option, name in (("--guidance", "guidance"), ("--chunk-tokens", "chunk_tokens"), ("--top-k", "top_k")):
        monkeypatch.setattr("sys.argv", [*more, option, "12"])
        with pytest.raises(SystemExit, match=f"was measured with another {name}; choose another OUT"):
            script.main()


# Who moves.


@pytest.fixture
def movers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import sampling_movers

    return sampling_movers


def test_shots_with_somebody_who_runs_or_jumps(movers: ModuleType) -> None:
    stories = movers.movers(5, seed=77)
    assert (stories.stories, stories.shots) == (5, 1)
    for action, cast in zip(stories.action[:, 0].tolist(), stories.cast[:, 0].tolist(), strict=True):
        assert any(a in movers.FAST for a, who in zip(action, cast, strict=True) if who >= 0)
    with pytest.raises(ValueError, match="fewer than 3000"):
        movers.movers(3000, seed=77)


def test_passes_of_a_way(movers: ModuleType, script: ModuleType) -> None:
    for text, passes in (("10:6:1", 20), ("6:10:0.99", 11), ("7:10:0.99", 13), ("7:10:0.99:0.5:0.25", 12)):
        assert movers.passes(script.Way.of(text), 2.0) == passes
    assert movers.passes(script.Way.of("7:10:0.99"), 1.0) == 7


def test_shares_and_intervals(movers: ModuleType) -> None:
    runs, stands = movers.FAST[0], 0
    rows = [
        ("character", 0, "kind", 1, 1, True), ("character", 0, "action", runs, 3, True),
        ("character", 1, "kind", 1, 2, True), ("character", 1, "action", stands, 0, True),
        ("character", 1, "hat", 1, 1, True), ("character", 1, "coat", 1, 2, False), ("shot", -1, "time", 0, 0, True),
    ]  # fmt: skip
    names = ["owner", "slot", "attribute", "truth", "read", "named"]
    told = movers.shares(pd.DataFrame(rows, columns=names).assign(story=0, shot=0))
    right = {name: part["read"].eq(part["truth"]).tolist() for name, part in told.items()}
    assert right == {
        "kinds of runners": [True], "of jumpers": [], "of others": [False], "figures as named": [True],
        "places as named": [True],
    }  # fmt: skip


def test_ways_are_held_against_the_first(movers: ModuleType, script: ModuleType, tmp_path: Path) -> None:
    names = ["story", "owner", "slot", "attribute", "truth", "read", "named"]
    for way, right in (("1_6_1", 2), ("2_6_1", 1)):  # of every `right` runners one is read
        rows = []
        for n in range(400):
            rows.append((n, "character", 0, "kind", 1, 1 if n % right == 0 else 2, True))
            rows.append((n, "character", 0, "action", movers.FAST[0], 0, True))
        pd.DataFrame(rows, columns=names).to_csv(tmp_path / f"movers_{way}.csv.gz", index=False)
        (tmp_path / f"movers_{way}.json").write_text('{"shots": 400, "guidance": 2.0}')
    _, _, one, other = movers.table(script.ways("1:6:1,2:6:1"), tmp_path).splitlines()
    # half of 400 is known to 2 sqrt(0.25 / 400), five points
    assert re.match(r"\| 1 \| 2 \| 50\.0% \(4[45]\.\d to 5[45]\.\d\) \|  \|", one)
    assert other.startswith("| 1, 0.86 | 4 | 100.0% (100.0 to 100.0) | +50.0 points (+4")


def test_the_table_of_movers_in_the_docs(movers: ModuleType, script: ModuleType) -> None:
    page = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    found = re.search("<!-- movers -->(.*?)<!-- end of movers -->", page, re.S)
    assert found
    late = "7:10:0.99:0:0.4,7:10:0.99:0.5:0.4,7:10:0.99:0.5:0.25,6:10:0.99:0.5:0.25"
    ways = script.ways(f"6:10:0.99,10:6:1,7:10:0.99,{late}")
    assert movers.table(ways, ROOT / "benchmarks" / "results" / "sampling") == found[1].strip()


def test_measuring_movers(
    movers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--shots", "3", "--latent-frames", "1", "--batch", "2", "--device", "cpu"]
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["sampling_movers.py", str(tmp_path), "--ways", "1:6:1,2:6:1:0.5:0.25", *sizes])
        movers.main()
        monkeypatch.setattr(movers, "measure", lambda *_, **__: pytest.fail("measured again"))
    monkeypatch.setattr("sys.argv", ["sampling_movers.py", str(tmp_path), "--ways", "1:6:1", *sizes, "--seed", "4"])
    with pytest.raises(SystemExit, match=r"movers_1_6_1\.json was measured with"):
        movers.main()
    assert "| 1, 0.25 | 3 |" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "movers_2_6_1_0.5_0.25.csv.gz")
    assert sorted(rows["story"].unique()) == [0, 1, 2]

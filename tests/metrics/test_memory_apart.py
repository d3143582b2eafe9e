"""`benchmarks/memory_apart.py`: two sets of results held against each other story by story."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(RESULTS.parent))
    import memory_apart

    return memory_apart


def test_the_table_in_the_docs(script: ModuleType) -> None:
    rows = script.apart(RESULTS / "foreseen", RESULTS / "memory-0.5")
    assert [row[0] for row in rows] == ["case", "planted", "free", "k10"]
    page = (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    for _, people, first, places, second, *_ in rows[1:]:
        line = " | ".join([people, first, places, second]).replace(" points", "")
        assert line in page


def test_the_table_of_six_steps_in_the_docs(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(RESULTS / name) for name in ("memory-0.5-six-steps", "memory-0.5-quarters")]
    cases = ["--cases", "planted,k40,free,k20_random,no_routes,shots24"]
    script.main([*folders, "--any-sampling", *cases])
    table = capsys.readouterr().out.strip()
    assert len(table.splitlines()) == 2 + 6
    assert table in (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="planted was measured in two ways"):
        script.main([*folders, *cases])
    with pytest.raises(SystemExit, match="planted was measured in two ways"):
        script.main([*folders, "--any-attention", *cases])


def test_the_table_of_long_shots_alone_in_the_docs(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(RESULTS / name) for name in ("pocket-0.6-begun", "memory-0.5-six-steps")]
    page = (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    script.main([*folders, "--any-sampling", "--cases", "planted,k40,free,k20_random,no_routes,k1,k2,k5,shots24"])
    table = capsys.readouterr().out.strip()
    assert len(table.splitlines()) == 2 + 9
    assert table in page


def test_the_table_of_the_weights_that_ship_in_the_docs(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(RESULTS / name) for name in ("memory-0.6", "memory-0.5-six-steps")]
    page = (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    script.main(
        [*folders, "--any-sampling", "--cases", "planted,k40,free,k20_random,no_routes,k1,k2,k5,shots24,shots64"]
    )
    table = capsys.readouterr().out.strip()
    assert len(table.splitlines()) == 2 + 10
    assert table in page


def test_lengths_of_shots_of_the_weights_that_ship_in_the_docs(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(RESULTS / "memory-0.6")] * 2
    script.main([*folders, "--any-length", "--cases", "seconds1:seconds2,seconds2:planted"])
    one, two = capsys.readouterr().out.splitlines()[2:4]
    page = " ".join((RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8").split())
    for row, known in (
        (two, ("-0.2 points, -2.3 to +1.7", "+5.7, +3.1 to +8.2", "-0.7, -1.4 to -0.0")),
        (one, ("-3.1, -5.1 to -1.1", "-2.3, -4.3 to -0.4", "-2.8, -3.5 to -2.1")),
    ):
        for told in known:
            assert told.replace(" points", "") in row.replace(" points (", ", ")
    for said in (
        "(-0.2 points, -2.3 to +1.7), and places better (+5.7, +3.1 to +8.2)",
        "0.7 points less is right (-1.4 to -0.0)",
        "lose 3.1 points of people (-5.1 to -1.1), 2.3 of places (-4.3 to -0.4)",
        "and 2.8 of what is named (-3.5 to -2.1)",
    ):
        assert said in page


def test_short_shots_beside_longer_ones_in_the_docs(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(RESULTS / "memory-0.5-six-steps")] * 2
    cases = ["--cases", "seconds2:seconds4,seconds1:seconds2"]
    script.main([*folders, "--any-length", *cases])
    four, two = capsys.readouterr().out.splitlines()[2:4]
    page = " ".join((RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8").split())
    for row, known in (
        (four, ("7.2 points (-12.5 to -2.7)", "8.0 (-13.1 to -3.5)", "3.3 (-4.8 to -1.8)")),
        (two, ("17.0 (-22.8 to -10.7)", "8.8 (-11.1 to -6.5)")),
    ):
        for told in known:
            assert "-" + told.replace(" points", "") in row.replace(" points", "")
            assert told in page
    assert "-3.2 points (-9.8 to +3.2)" in two, "places can't be told apart"
    with pytest.raises(SystemExit, match="was measured in two ways"):
        script.main([*folders, *cases])


BEGUN, LATE = "pocket-0.6-begun", "7_10_0.99_0.5_0.25"
MIXED, SHORT, EARLY = "pocket-0.6/candidates", "pocket-0.6/short_training", "7_10_0.99_0.5_0.4"


@pytest.mark.parametrize(
    ("folders", "case", "cells", "words"),
    [
        (
            (f"{BEGUN}/short/run16", f"{BEGUN}/short/0.5"),
            "6_10_0.99",
            (
                "58.1%",
                "-16.9 points (-25.7 to -8.4)",
                "+0.7 points (-9.8 to +12.6)",
                "79.4%",
                "-8.3 points (-11.4 to -5.1)",
            ),
            (
                "people 58.1 % instead of 75.0 % (-16.9 points, -25.7 to -8.4)",
                "79.4 % instead of 87.7 % (-8.3, -11.4 to -5.1)",
                "(+0.7, -9.8 to +12.6)",
            ),
        ),
        (
            (f"{BEGUN}/short/run16", f"{BEGUN}/short/0.5"),
            f"{LATE}:6_10_0.99",
            ("53.3%", "76.4%"),
            ("worse: 53.3 %, 76.4 %",),
        ),
        (
            (f"{BEGUN}/patterns", "memory-0.5-six-steps/patterns"),
            "dense",
            ("34.9%", "28.6%", "60.8%"),
            ("people 34.9 % (73.4 %), places 28.6 % (77.1 %), what captions name 60.8 % (86.4 %)",),
        ),
        (
            (f"{BEGUN}/sampling/run16", "memory-0.5-six-steps/patterns"),
            "6_10_0.99:moc",
            ("+4.4 points (+1.7 to +6.9)", "-3.4 points (-8.0 to +1.1)"),
            ("(+1.7 to +6.9), 2.1 of", "-3.4 (-8.0 to +1.1)"),
        ),
        (
            (f"{BEGUN}/sampling/run16", f"{BEGUN}/sampling/0.5"),
            LATE,
            ("+7.7 points (+4.9 to +10.7)", "-1.2 points (-5.4 to +3.1)"),
            ("7.7 (+4.9 to +10.7), 3.2, 10.1 and -1.2 (-5.4 to +3.1)",),
        ),
        (
            (f"{BEGUN}/sampling/run16", f"{BEGUN}/sampling/run16"),
            f"8_10_0.99_0.5_0.25:{LATE}",
            ("-1.8 points (-3.0 to -0.7)",),
            ("1.8 points worse in places (-3.0 to -0.7)",),
        ),
        (
            (f"{BEGUN}/sampling/run16-guidance-2.5", f"{BEGUN}/sampling/run16"),
            LATE,
            ("-2.1 points (-3.7 to -0.6)",),
            ("2.1 points of people (-3.7 to -0.6)",),
        ),
        (
            (f"{BEGUN}/sampling/run16-eighths", f"{BEGUN}/sampling/run16"),
            LATE,
            ("-5.4 points (-7.6 to -3.3)", "+4.3 points (+1.4 to +7.4)"),
            ("5.4 points of people (-7.6 to -3.3) and bring 4.3 of places",),
        ),
        (
            (f"{MIXED}/c6", f"{MIXED}/c1"),
            EARLY,
            ("83.0%", "+1.7 points (-0.6 to +3.8)", "78.5%", "+4.1 points (+1.2 to +7.0)", "93.0%", "83.8%"),
            (
                "**83.0%** | 78.5% | 93.0% | 83.8%",
                "(+4.1 points, +1.2 to +7.0, beside `a` alone)",
                "(+1.7, -0.6 to +3.8)",
            ),
        ),
        (
            (f"{MIXED}/c5", f"{MIXED}/c3"),
            EARLY,
            ("82.4%", "78.9%", "93.0%", "83.4%"),
            ("82.4% | 78.9% | 93.0% | 83.4%",),
        ),
        (
            (f"{MIXED}/c3", f"{MIXED}/c6"),
            EARLY,
            ("82.4%", "78.2%", "93.1%", "84.1%"),
            ("82.4% | 78.2% | 93.1% | 84.1%",),
        ),
        (
            (f"{MIXED}/c1", f"{MIXED}/c2"),
            EARLY,
            ("81.3%", "74.4%", "93.0%", "85.2%"),
            ("81.3% | 74.4% | 93.0% | 85.2%",),
        ),
        (
            (f"{SHORT}/short", f"{SHORT}/short"),
            f"{EARLY}:6_10_0.99",
            (
                "84.5%",
                "+2.2 points (+0.2 to +4.0)",
                "70.6%",
                "-1.9 points (-3.5 to -0.3)",
                "+3.9 points (+1.6 to +6.3)",
            ),
            (
                "2.2 points of people (+0.2 to +4.0) and 3.9 of new combinations (+1.6 to +6.3)",
                "1.9 of places (-3.5 to -0.3)",
            ),
        ),
        ((f"{SHORT}/mean80", f"{SHORT}/short"), "6_10_0.99", ("82.3%", "77.4%", "92.3%"), ("82.3% | 77.4% | 92.3%",)),
        (
            (f"{SHORT}/mean80_2s", f"{SHORT}/short_2s"),
            "6_10_0.99",
            ("81.9%", "84.0%", "91.5%"),
            ("81.9% | 84.0% | 91.5%",),
        ),
        (
            ("memory-0.6", BEGUN),
            "planted",
            ("-0.1 points (-1.9 to +1.7)", "+3.8 points (+1.7 to +6.2)", "-3.1 points (-5.3 to -1.1)"),
            ("(-0.1, -1.9 to +1.7)", "3.8 points better (+1.7 to +6.2)", "3.1 worse (-5.3 to -1.1)"),
        ),
        (
            ("memory-0.6/patterns", "memory-0.5-six-steps/patterns"),
            "dense",
            ("+3.6 points (+0.5 to +6.6)", "+0.6 points (-0.7 to +1.9)"),
            ("(people +3.6, +0.5 to +6.6; what is named +0.6, -0.7 to +1.9",),
        ),
        (
            ("memory-0.6/patterns", "memory-0.6/patterns"),
            "moc-uniform:moc",
            ("-0.7 points (-2.5 to +1.0)", "+3.8 points (+0.6 to +7.2)"),
            ("(-0.7, -2.5 to +1.0) and better in places (+3.8, +0.6 to +7.2)",),
        ),
        (
            ("memory-0.6/patterns", "memory-0.6/patterns"),
            "moc-block:moc",
            ("-3.4 points (-5.8 to -1.4)", "-8.0 points (-11.8 to -4.3)"),
            ("3.4 points of people (-5.8 to -1.4) and 8.0 of places (-11.8 to -4.3)",),
        ),
        (
            ("memory-0.6", "memory-0.6"),
            "shots64_outer:shots64",
            ("-22.0 points (-26.4 to -17.8)", "-25.4 points (-35.0 to -16.1)"),
            ("22.0 (-26.4 to -17.8) and 25.4 (-35.0 to -16.1)",),
        ),
    ],
)
def test_what_is_said_of_trainings_beside_each_other(
    script: ModuleType, capsys: pytest.CaptureFixture[str], folders: tuple[str, str], case: str, cells: tuple[str, ...],
    words: tuple[str, ...],
) -> None:  # fmt: skip
    script.main([*(str(RESULTS / name) for name in folders), "--any-sampling", "--any-attention", "--cases", case])
    row = capsys.readouterr().out.splitlines()[2]
    assert all(cell in row for cell in cells), row
    page = " ".join((RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8").split())
    assert [said for said in words if said not in page] == []


def test_the_table_of_the_fine_tuned_in_the_docs(script: ModuleType) -> None:
    import pandas as pd
    from memory_patterns import points
    from memory_tables import percent

    from moc.metrics.memory import OPEN, TABLES, estimate, estimate_dict, resamples

    looks = {name: pd.read_csv(RESULTS / "fine-tuned" / f"{name}.csv.gz") for name in ("moc_20", "moc_40", "dense_20")}
    page = (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8").replace("**78.3%**", "78.3%")
    weights = resamples(128)
    cost = {"moc_20": "84.0% | 210", "moc_40": "80.6% | 252", "dense_20": "43.9% | 698"}  # of the table above it
    for name, spent in cost.items():
        told = json.loads((RESULTS / "fine-tuned" / f"{name}.json").read_text(encoding="utf-8"))
        assert percent(told["sparsity"]) == spent.split(" | ")[0]
        cells = []
        for owner, names in OPEN.items():
            values = [script.recalled(looks[x], TABLES[0], names, weights) for x in (name, "dense_20")]
            low, high = (f"{100 * end:.1f}" for end in told["means"][owner]["recall_interval"])
            chance = sum(told["attributes"][one]["chance"] for one in names) / len(names)
            apart = "" if name == "dense_20" else points(estimate_dict(estimate(values[0] - values[1])))
            cells += [f"{percent(float(values[0][0]))} ({low} to {high})", percent(chance), apart]
        cells.append(percent(float(script.named(looks[name], weights, heldout=False)[0])))
        line = f" | {spent} | {' | '.join(cells)} |".replace("|  |", "| |")
        assert line in page


def test_the_table_of_chunks_in_the_docs(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(RESULTS / name) for name in ("memory-0.5-quarters", "memory-0.5")]
    cases = "planted,k40:k10,free,k20_random:k5_random,no_routes,shots24"
    script.main([*folders, "--any-attention", "--cases", cases])
    table = capsys.readouterr().out.strip()
    assert len(table.splitlines()) == 2 + 6
    assert table in (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="planted was measured in two ways"):
        script.main([*folders, "--cases", "planted"])
    with pytest.raises(SystemExit, match=r"plantet: .*plantet\.json or its readings are missing"):
        script.main([*folders, "--any-attention", "--cases", "planted,plantet"])
    with pytest.raises(SystemExit, match="planted has 256 stories, none from number 256 on"):
        script.main([*folders, "--any-attention", "--cases", "planted", "--from-story", "256"])
    script.main([*folders, "--any-attention", "--cases", "planted", "--from-story", "128"])
    assert "+6.8 points (+3.7 to +9.8)" in capsys.readouterr().out


def test_the_trial_of_chunks_in_the_docs() -> None:
    """Every row of the trial is what a file that is kept holds, and no file is left out."""
    page = (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    table = page.split("| tokens run along | chunk | k |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip(" *") for cell in line.split("|")[3:8]] for line in table]
    kept = []
    for path in sorted((RESULTS / "chunks").glob("*.json")):
        told = json.loads(path.read_text())
        shares = [
            told["sparsity"],
            *(told["means"][x]["recall"] for x in ("character", "place")),
            told["named"]["right"],
        ]
        kept.append([str(told["experiment"]["config"]["top_k"]), *(f"{100 * x:.1f}%" for x in shares)])
    assert sorted(rows) == sorted(kept)


def test_the_longer_training_in_the_docs(script: ModuleType) -> None:
    (row,) = script.apart(RESULTS / "pocket-0.5-longer", RESULTS / "chunks", ["true_weights_planted:c24"])[1:]
    page = (RESULTS.parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    for said, whose in ((row[2], "people"), (row[4], "places")):
        value, rest = said.split(" points (")
        low, high = rest.rstrip(")").split(" to ")
        assert f"{value} points of {whose}, {low} to {high}" in page or f"{value} of {whose}, {low} to {high}" in page


def test_nothing_is_apart_from_itself(script: ModuleType, tmp_path: Path) -> None:
    for end in ("json", "csv.gz"):
        shutil.copy(RESULTS / "foreseen" / f"k10.{end}", tmp_path)
    (row,) = script.apart(tmp_path, tmp_path)[1:]
    assert row[2] == row[4] == row[6] == row[8] == "+0.0 points (+0.0 to +0.0)"
    assert row[5] == "90.7%"  # as its own summary has it
    told = json.loads((tmp_path / "k10.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tmp_path / "k10.csv.gz", other)
    told["experiment"]["steps"] += 1
    (other / "k10.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="k10 was measured in two ways"):
        script.apart(tmp_path, other)
    with pytest.raises(ValueError, match="no case has readings in both"):
        script.apart(tmp_path, RESULTS)

"""Tables of trained arms: what an interval holds, what differences are of, and which arms make a row."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from training_cases import ROOT

from moc.metrics.memory import OPEN

BENCHMARKS = ROOT / "benchmarks"
STORIES = 20


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("arms_report")


def readings(recalled: float, seed: int) -> pd.DataFrame:
    """A planted first look and a later one of each open attribute a story; a share of the later ones is right."""
    rng = np.random.default_rng(seed)
    rows = []
    for story in range(STORIES):
        for owner, names in OPEN.items():
            for name in names:
                truth = int(rng.integers(1, 3))
                read = truth if rng.random() < recalled else 3 - truth
                base = {"story": story, "owner": owner, "slot": 0, "attribute": name, "named": False, "truth": truth}
                rows.append({**base, "shot": 0, "gap": -1, "planted": True, "read": truth})
                rows.append({**base, "shot": 1, "gap": 1, "planted": False, "read": read})
            kind = {"character": "kind", "scene": "place", "place": "place"}[owner]
            told = {"story": story, "owner": owner, "slot": 0, "attribute": kind, "named": True, "truth": 0, "read": 0}
            rows += [{**told, "shot": shot, "gap": shot - 1, "planted": not shot} for shot in (0, 1)]
    return pd.DataFrame(rows)


def folder(out: Path, arms: dict[str, tuple[float, int, str]]) -> Path:
    """What `train_arms.py` leaves: recall, seed and what is equal by arm."""
    out.mkdir(exist_ok=True)
    columns = ("arm", "seed", "equal", "steps", "trained", "ms_a_step", "seconds_alone")
    with (out / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for name, (_, seed, equal) in arms.items():
            writer.writerow(dict(zip(columns, (name, seed, equal, 100, True, "10.0", "1"), strict=True)))
    (out / "step_time.json").write_text(json.dumps({"device": "a machine", "torch": "2", "first": "moc", "arms": {}}))
    experiment = {"stories": STORIES, "shots": 2, "latent_frames": 1, "steps": 1, "seed": 5}
    attributes = {name: {"chance": 0.5} for names in OPEN.values() for name in names}
    told = {"table": "planted", "stories": STORIES, "sparsity": 0.8, "named": {"right": 0.9}, "attributes": attributes}
    for name, (recalled, seed, _) in arms.items():
        (out / name).mkdir(exist_ok=True)
        (out / name / "memory.json").write_text(json.dumps({**told, "experiment": experiment}))
        readings(recalled, seed).to_csv(out / name / "readings.csv.gz", index=False)
    return out


ARMS = {
    "moc": (0.8, 1, "steps"), "moc-2": (0.9, 2, "steps"), "moc-3": (0.85, 3, "steps"),
    "dense": (0.8, 1, "steps"), "dense-2": (0.9, 2, "steps"), "local": (0.3, 1, "steps"),
    "dense-time": (0.7, 1, "time"),
}  # fmt: skip


def test_rows_of_a_table(report: Any, tmp_path: Path) -> None:
    text = report.markdown(folder(tmp_path / "out", ARMS), "dense")
    steps, time = text.split("Equal time, one seed:")
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in steps.splitlines() if "|" in line)}
    assert [rows[name][2].strip() for name in ("moc", "dense", "local")] == ["3", "2", "1"]
    assert "moc-2" not in rows
    assert rows["moc"][9].strip() == "+0.0 (+0.0 to +0.0)", "the same readings of the two seeds that both have"
    assert rows["local"][9].strip().startswith("-")
    assert "to -" in rows["local"][9], "far below dense"
    assert rows["moc"][8].strip() == "50.0", "the level of chance"
    assert [line.split("|")[1].strip() for line in time.splitlines() if line.startswith("| ")] == [
        "arm", "moc", "dense-time"
    ]  # fmt: skip
    assert text.startswith("a machine, torch 2; 20 stories")


def test_arms_that_can_not_stream_have_a_table_of_their_own(report: Any, tmp_path: Path) -> None:
    out = folder(tmp_path / "out", {name: ARMS[name] for name in ("moc", "dense", "local")})
    told = json.loads((out / "moc" / "memory.json").read_text())
    del told["sparsity"], told["stories"], told["experiment"]["seed"]
    unplanted = readings(0.9, 1).assign(planted=False)
    for arm, name in (("moc", "_joint"), ("local", "")):
        (out / arm / f"memory{name}.json").write_text(json.dumps({**told, "table": "free"}))
        unplanted.to_csv(out / arm / f"readings{name}.csv.gz", index=False)
    planted, free = report.markdown(out, "dense").split("All shots denoised together")
    names = [[line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| ")][1:]
             for part in (planted, free)]  # fmt: skip
    assert names == [["moc", "dense"], ["moc", "local"]]
    assert "against moc" in free


def test_an_interval_holds_stories_and_seeds(report: Any) -> None:
    """Both parts by hand: draws that spread by themselves, and seeds that lie apart."""
    spread = np.concatenate([[0.5], np.linspace(0.4, 0.6, 1001)])
    alone = report.interval(spread[None])
    assert alone.half == pytest.approx(0.095, abs=1e-3)
    seeds = report.interval(np.stack([spread - 0.1, spread, spread + 0.1]))
    assert seeds.value == pytest.approx(0.5)
    assert seeds.half == pytest.approx(np.hypot(0.095, 4.303 * 0.1 / np.sqrt(3)), abs=1e-3)
    empty = np.full((2, 5), np.nan)
    assert report.interval(empty).text() == "-"
    assert report.Interval(0.95, 0.1).text() == "95.0 (85.0 to 100.0)"
    assert report.Interval(-0.95, 0.1).text(signed=True) == "-95.0 (-105.0 to -85.0)"


def test_mistakes(report: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no summary\.csv"):
        report.markdown(tmp_path, "dense")
    out = folder(tmp_path / "out", {name: ARMS[name] for name in ("moc", "dense")})
    told = json.loads((out / "moc" / "memory.json").read_text())
    told["experiment"]["seed"] = 6
    (out / "moc" / "memory.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="not asked the same stories"):
        report.markdown(out, "dense")
    (out / "summary.csv").write_text("arm,trained\n")
    with pytest.raises(ValueError, match="no arm in"):
        report.markdown(out, "dense")


def test_into_a_document(tmp_path: Path) -> None:
    out, page = folder(tmp_path / "out", ARMS), tmp_path / "page.md"
    page.write_text("before\n<!-- trained -->\nold\n<!-- end of trained -->\nafter\n")
    command = [sys.executable, str(BENCHMARKS / "arms_report.py"), str(out), "--into", str(page)]
    command += ["--plot", str(tmp_path / "plot.png")]
    made = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    with Image.open(tmp_path / "plot.png") as image:
        assert image.size[0] > 1000
    text = page.read_text()
    assert text.startswith("before\n<!-- trained -->\na machine")
    assert text.endswith("<!-- end of trained -->\nafter\n")
    assert "old" not in text
    page.write_text("no marks")
    made = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert (made.returncode, "needs one <!-- trained -->" in made.stderr) == (1, True)


@pytest.fixture
def two_by_two(report: Any) -> Any:
    return importlib.import_module("arms_pairs")


def test_two_by_two(report: Any, two_by_two: Any, tmp_path: Path) -> None:
    """Seeds are held against the same seeds, and every column is what its name says, by hand."""
    of, out = two_by_two.Pair.of, folder(tmp_path / "out", ARMS)
    for arm, value in (("local", 1), ("dense", 0)):  # of what is named, one has kinds and coats wrong
        looks = pd.read_csv(out / arm / "readings.csv.gz")
        coats = looks[looks["attribute"] == "coat"].assign(named=True, truth=0, read=value)
        looks.loc[(looks["attribute"] == "kind") & ~looks["planted"], "read"] = value
        pd.concat([looks, coats]).to_csv(out / arm / "readings.csv.gz", index=False)
    rows = report.load(out)
    pairs = [of("moc:dense"), of("local:dense")]
    heading, *lines = two_by_two.table(rows, pairs)
    assert [line[2] for line in lines] == ["1, 2", "1"]
    assert " to " in dict(zip(heading, lines[0], strict=True))["people"]
    each = [dict(zip(heading, line, strict=True)) for line in two_by_two.table(rows, pairs, each=True)[1:]]
    apart = rows["local"].recalls["place"][0, 0] - rows["dense"].recalls["place"][0, 0]
    assert each[1]["places"] == f"{100 * apart:+.1f}"
    assert each[0]["places"] == "+0.0, +0.0", "the same readings"
    assert each[1][report.NAMED] == "-100.0", "coats"
    assert each[1][report.ALL_NAMED] == "-66.7", "coats and kinds, not places"
    assert each[0][report.NAMED] == "-, -", "moc was asked none"


def test_looks_that_one_can_not_read_are_left_out_of_one_column(report: Any, two_by_two: Any, tmp_path: Path) -> None:
    """An arm that can't read what the other has wrong is not ahead of it."""
    out = folder(tmp_path / "out", {"moc": (1.0, 1, "steps"), "dense": (1.0, 1, "steps")})

    def told() -> dict[str, str]:
        heading, line = two_by_two.table(report.load(out), [two_by_two.Pair.of("moc:dense")], each=True)
        return dict(zip(heading, line, strict=True))

    def spoil(arm: str, every: int, at: int, *, unread: bool) -> None:
        looks = pd.read_csv(out / arm / "readings.csv.gz")
        some = ~looks["planted"] & ~looks["named"] & (looks["story"] % every == at)
        looks.loc[some, "read"] = -1 if unread else 3 - looks.loc[some, "truth"]
        looks.to_csv(out / arm / "readings.csv.gz", index=False)

    spoil("moc", 2, 0, unread=True)
    spoil("dense", 2, 0, unread=False)
    assert (told()["people"], told()["places"], told()[two_by_two.READ_BY_BOTH]) == ("+0.0", "+0.0", "+0.0")
    spoil("dense", 4, 1, unread=False)
    assert (told()["people"], told()[two_by_two.READ_BY_BOTH]) == ("+25.0", "+50.0"), "five of twenty, and of ten"


def test_seeds_keep_their_number_where_one_is_missing(report: Any, two_by_two: Any, tmp_path: Path) -> None:
    three = {
        f"{name}{end}": (0.8, seed, "steps")
        for name in ("moc", "dense")
        for seed, end in enumerate(("", "-2", "-3", "-4"))
    }
    out, of = folder(tmp_path / "out", three), two_by_two.Pair.of
    for name in ("memory.json", "readings.csv.gz"):
        (out / "moc-2" / name).unlink()
    rows = report.load(out)
    assert two_by_two.table(rows, [of("moc:dense")])[1][2] == "1, 3, 4"
    assert two_by_two.table(rows, [of("moc:dense@3-4")])[1][2] == "3, 4"
    with pytest.raises(ValueError, match="have no seed 2 in common"):
        two_by_two.table(rows, [of("moc:dense@2-4")])
    with pytest.raises(ValueError, match="have no seed 5 in common"):
        two_by_two.table(rows, [of("moc:dense@3-5")])
    with pytest.raises(ValueError, match="no arm nobody"):
        two_by_two.table(rows, [of("nobody:dense")])
    for text in ("moc", "moc:", "moc:dense@2", "moc:dense@3-2", "moc:dense@0-2"):
        with pytest.raises(argparse.ArgumentTypeError):
            of(text)


def test_two_by_two_into_a_document(tmp_path: Path) -> None:
    out, page = folder(tmp_path / "out", ARMS), tmp_path / "page.md"
    page.write_text("before\n<!-- pairs -->\nold\n<!-- end of pairs -->\nafter\n")
    command = [sys.executable, str(BENCHMARKS / "arms_pairs.py"), str(out), "moc:dense", "--into", str(page)]
    made = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert page.read_text().splitlines()[4].startswith("| moc | dense | 1, 2 | ")
    assert "old" not in page.read_text()
    made = subprocess.run([*command[:3], "nobody:moc"], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (made.returncode, made.stderr[:19]) == (1, "error: no arm nobod")

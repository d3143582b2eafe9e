"""docs/memory.md and the scripts that measure and write it: every case, every table, verdicts by hand."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.training.checkpoint import save_weights

ROOT = Path(__file__).resolve().parents[2]
SMALL = PocketConfig(width=64, layers=2, heads=2, mlp=96, head=80)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import memory_report
    import memory_runs

    return memory_runs, memory_report


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, words)])
    script.main()


def test_measure_and_write(
    scripts: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    runs, report = scripts
    torch.manual_seed(0)
    weights, out, page = tmp_path / "small.safetensors", tmp_path / "out", tmp_path / "memory.md"
    save_weights(weights, dict(PocketDiT(SMALL).named_parameters()), SMALL.to_dict(), {"steps": 0})
    words = [out, "--weights", weights, "--device", "cpu", "--stories", 2, "--shots", 3, "--latent-frames", 1,
             "--steps", 1, "--guidance", 1]  # fmt: skip
    cases = {name: replace(case, motion=False) for name, case in runs.CASES.items()}
    monkeypatch.setattr(runs, "CASES", cases)
    broken = dict(cases, free=runs.Case("free", 1, attention={"text_links": "all"}))
    monkeypatch.setattr(runs, "CASES", broken)
    names = "planted,free,k1,k1_random,shots24_outer"
    with pytest.raises(SystemExit, match="failed: free"):
        call(runs, monkeypatch, *words, "--only", names)
    assert "text_links" in capsys.readouterr().err, "why it failed, and the cases after it are there all the same"
    monkeypatch.setattr(runs, "CASES", cases)
    call(runs, monkeypatch, *words, "--only", names)
    said = capsys.readouterr().out
    assert said.count("there already") == 4
    assert "free: recall characters" in said
    call(runs, monkeypatch, *words, "--only", "k2", "--minutes", 0.01)
    assert "k2: left for another time" in capsys.readouterr().out
    assert set(json.loads((out / "leads.json").read_text())) == {"k1"}

    page.write_text((ROOT / "docs" / "memory.md").read_text())
    call(report, monkeypatch, out, "--page", page, "--images", tmp_path)
    text = page.read_text()
    for word in ("| hair |", "routes, k = 1", "24 shots, `outer_top_m: 5`", "random, k = 1", "small.safetensors"):
        assert word in text
    pictures = re.findall(r"images/(memory_\w+\.webp)", text)
    assert len(pictures) >= 2
    assert all((tmp_path / name).stat().st_size > 1000 for name in pictures)
    again = report.fill(text, report.read_cases(out))
    assert again == text


def test_what_is_left_of_the_free_table_without_routes(
    scripts: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = scripts[1]
    monkeypatch.setattr(report, "table_of", lambda case: lambda cases: f"the table of {case}")
    means = {"character": {"kappa": 0.021, "kappa_interval": [-0.01, 0.05]}, "place": {"kappa": None}}
    assert report.free({"free": {}}) == "the table of free"
    assert "characters 0.02 (-0.01 to 0.05)." in report.free({"free": {}, "free_no_routes": {"means": means}})


def test_the_page_has_a_place_for_every_table(scripts: tuple[ModuleType, ModuleType]) -> None:
    text = (ROOT / "docs" / "memory.md").read_text()
    empty = scripts[1].fill(text, {})
    assert empty.count("*Not measured with the shipped weights yet.*") == len(scripts[1].SECTIONS)
    with pytest.raises(ValueError, match="holds no '<!-- goals -->'"):
        scripts[1].fill(text.replace("<!-- goals -->", ""), {})


def test_unknown_cases_are_refused(
    scripts: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="no case nonsense; there are planted, free"):
        call(scripts[0], monkeypatch, tmp_path / "out", "--only", "nonsense")


def found(named: float = 0.97, recall: float = 0.98, kappa: float = 0.9, off: float = 0.05) -> dict[str, Any]:
    part = {"recall_by_gap": {"1": recall, "7": recall}, "distance_from_uniform": off}
    return {
        "sparsity": 0.84, "named": {"right": named, "heldout_right": named}, "attributes": {"coat": part},
        "means": {owner: {"kappa": kappa} for owner in ("character", "place")},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cases", "met", "missed"),
    [
        ({"planted": found(), "free": found(), "no_routes": found(kappa=0.01)}, 8, 0),
        ({"planted": found(named=0.94)}, 3, 2),
        ({"planted": found(recall=0.96)}, 4, 1),  # enough at gap 7, not at gap 1
        ({"planted": found(), "free": found(off=0.11)}, 5, 1),
        ({"planted": found(), "no_routes": found(kappa=0.2, named=0.89)}, 5, 2),
        ({"planted": found(), "no_routes": found(kappa=-0.2)}, 6, 1),
    ],
)
def test_goals_by_hand(scripts: tuple[ModuleType, ModuleType], cases: dict[str, Any], met: int, missed: int) -> None:
    table = scripts[1].goals(cases)
    assert (table.count("| met |"), table.count("| **not met** |")) == (met, missed), table


def test_a_lead_must_hold_for_people_and_places(scripts: tuple[ModuleType, ModuleType]) -> None:
    ahead, behind = {"value": 0.1, "low": 0.05, "high": 0.2}, {"value": 0.1, "low": -0.01, "high": 0.2}
    table = scripts[1].goals({"planted": found(), "leads": {"k1": {"character": ahead, "place": ahead}}})
    assert "characters +10.0 points (+5.0 to +20.0)" in table
    assert table.count("| met |") == 6
    table = scripts[1].goals({"planted": found(), "leads": {"k1": {"character": ahead, "place": behind}}})
    assert table.count("| **not met** |") == 1


RESULTS = ROOT / "benchmarks" / "results" / "memory-0.6"


def test_the_page_shows_the_results_that_are_kept(scripts: tuple[ModuleType, ModuleType]) -> None:
    text = (ROOT / "docs" / "memory.md").read_text()
    assert scripts[1].fill(text, scripts[1].read_cases(RESULTS)) == text


def test_patterns_with_arms_missing(scripts: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    folder = tmp_path / "patterns"
    folder.mkdir()
    assert scripts[1].read_cases(tmp_path) == {}
    for name in ("moc", "random", "moc-top_k=40"):
        for kind in ("json", "csv.gz"):
            shutil.copyfile(RESULTS / "patterns" / f"{name}.{kind}", folder / f"{name}.{kind}")
    told = json.loads((RESULTS / "patterns" / "compare.json").read_text())
    told["arms"] = [arm for arm in told["arms"] if arm["label"] in ("moc", "random", "moc:top_k=40")]
    (folder / "compare.json").write_text(json.dumps(told))
    cases = scripts[1].read_cases(tmp_path)
    assert set(cases["patterns"]["leads"]) == {"k20"}, "one arm alone is no pair"
    one, other = (next(a["values"] for a in told["arms"] if a["label"] == name) for name in ("moc", "random"))
    for owner, whose in (("character", "people"), ("place", "places")):
        lead = cases["patterns"]["leads"]["k20"][owner]
        assert lead["value"] == pytest.approx(one[f"recall_{whose}"] - other[f"recall_{whose}"])
        assert lead["low"] < lead["value"] < lead["high"]
    text = scripts[1].patterns(cases)
    assert "| `moc:top_k=40` | 83.1% (80.4 to 85.5) | 16.0% |" in text
    assert "- k = 20: routes recall characters +24.6 points" in text
    made = scripts[1].plots(cases, tmp_path)
    assert [path.name for path in made] == ["memory_patterns.webp"]
    assert made[0].read_bytes()[8:12] == b"WEBP"


def test_leads_of_fewer_stories_say_so(scripts: tuple[ModuleType, ModuleType]) -> None:
    ahead = {"value": 0.1, "low": 0.05, "high": 0.2}
    patterns = {"stories": 128, "leads": {"k1": {"character": ahead, "place": ahead}}}
    table = scripts[1].goals({"planted": found(), "patterns": patterns})
    assert "random ones at k = 1 (128 stories) | characters +10.0 points" in table


def test_where_in_a_stream_names_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from memory_streams import read_streams, streams_rows

    assert read_streams(tmp_path, ["long"]) is None
    rows = [(0, True, True, 0), (1, False, True, 1), (7, False, True, 0), (8, False, True, 1), (9, False, False, 0)]
    lines = [f"{shot},1,{read},{named},{planted}" for shot, planted, named, read in rows]
    text = "\n".join(["shot,truth,read,named,planted", *lines]) + "\n"
    with gzip.open(tmp_path / "long.csv.gz", "wt") as file:
        file.write(text)
    with gzip.open(tmp_path / "short.csv.gz", "wt") as file:
        file.write("\n".join(text.splitlines()[:4]))
    shares = read_streams(tmp_path, ["short", "long", "missing"])
    assert shares == {"short": {"1-8": 0.5}, "long": {"1-8": 0.5, "9-16": 1.0}}, "not planted or open ones"
    assert streams_rows(shares, {"long": "Long", "short": "Short"}) == [
        ["named right in", "shots 1-8", "shots 9-16"], ["Short", "50.0", ""], ["Long", "50.0", "100.0"],
    ]  # fmt: skip
    assert len(streams_rows(shares, {"long": "Long"})) == 2

"""Which columns a table has, what is saved, and how wide the terminal's tables are."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from compare_cases import arm, report
from rich.console import Console

from moc.compare.costs import COSTS
from moc.compare.memory_columns import COLUMNS
from moc.compare.save import check_out, check_save, flat_rows, markdown, write
from moc.compare.table import cells, columns_of, metric_of, paired
from moc.errors import InputError
from moc.metrics.catalogue import ALL, DEFAULT, VBENCH
from moc.patterns import PATTERNS
from moc_cli.compare_tables import WIDTH, print_memory, print_report

WIDEST = {
    "{:.1%}": 1.0, "{:.3f}": -0.125, "{:.4f}": 0.9999, "{:.2f}": -0.12, "{:.1f}": 100.0, "{:,.3g}": 999.0,
    "{:,.1f}": 1234.5, "{:,.0f}": 123456.0,
}  # fmt: skip


def full(label: str, *, spread: bool, metrics=(*DEFAULT, *COSTS)):  # type: ignore[no-untyped-def]
    """An arm with the widest values that tables are made for."""
    values = {metric.key: WIDEST[metric.form] for metric in metrics}
    intervals = {metric.key: [values[metric.key] * 0.9, values[metric.key] * 1.1] for metric in metrics}
    return arm(label, values, intervals=intervals if spread else dict.fromkeys(intervals))


def test_columns_that_say_the_same_give_way() -> None:
    told = report(arm("a", {"place_colours": 0.5, "consistency_places": 0.5, "seconds": 3.0, "psnr": None}))
    assert columns_of(told) == ["consistency_places", "place_colours", "seconds"]
    assert columns_of(told, narrow=True) == ["consistency_places", "seconds"]
    told["arms"][0]["values"] |= {"step_seconds": 2.0}
    assert columns_of(told, narrow=True) == ["consistency_places", "step_seconds"]


def test_cells() -> None:
    one = arm("a", {"psnr": 31.26, "sparsity": 0.5}, intervals={"psnr": [30.0, 32.5], "sparsity": [0.5, 0.5]})
    assert [(cell.value, cell.interval) for cell in cells(one, ["psnr", "sparsity", "motion"])] == [
        ("31.3", "±1.2"), ("50.0%", ""), ("-", ""),
    ]  # fmt: skip


def test_an_interval_that_ends_with_the_metric_shows_its_ends() -> None:
    one = arm("a", {"psnr": 90.0, "consistency_places": 0.75, "ssim": 0.9}, intervals={
        "psnr": [71.26, 100.0], "consistency_places": [0.0, 1.0], "ssim": [0.85, 0.95],
    })  # fmt: skip
    found = [cell.interval for cell in cells(one, ["psnr", "consistency_places", "ssim"])]
    assert found == ["71.3–100", "0–100", "±0.050"]


def test_seeds_that_agree_show_the_difference_alone() -> None:
    key = "named_right"
    moc = arm("moc", {key: 0.6}, against_reference={key: {"mean": -0.5, "interval": None}})
    found = paired(report(arm("dense", {key: 1.1}), moc, seeds=2))
    assert found is not None
    assert found.rows == (("dense", "-"), ("moc", "-50.0"))


def test_differences_stand_beside_chance() -> None:
    key = "consistency_characters"
    difference = {"mean": 0.1, "interval": [-0.05, 0.25]}
    dense = arm("dense", {key: 0.5}, chance={key: 0.2, "consistency_places": None})
    moc = arm("moc", {key: 0.6}, chance={key: 0.25}, against_reference={key: difference})
    found = paired(report(dense, moc, seeds=3))
    assert found is not None
    assert found.heads == ("arm", "cons. people\nagainst dense", "by\nchance")
    assert found.rows == (("dense", "-", "20.0%"), ("moc", "+10.0 (-5.0 to +25.0)", "25.0%"))
    alone = arm("moc", {key: 0.6}, against_reference={key: {"mean": 0.1, "interval": None}})
    assert paired(report(dense, alone)) is None, "one seed has no interval"


def test_saved_as_every_kind(tmp_path: Path) -> None:
    told = report(full("dense", spread=True), arm("a|b", {"psnr": 3.0}), notes=["a note"])
    write(told, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == told
    write(told, tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["arm"] for row in rows] == ["dense", "a|b"]
    assert float(rows[0]["psnr.low"]) == pytest.approx(90)
    assert rows[1]["psnr"] == "3.0"
    assert rows[1]["psnr.low"] == rows[1]["ssim"] == ""
    assert [rows[0][name] for name in ("seeds", "first_seed", "reference", "mode")] == ["1", "0", "dense", ""]
    assert not any("chance" in name or "against" in name for name in rows[0]), "nobody has it"
    text = markdown(told)
    assert "| a\\|b |" in text
    assert "- PSNR to ref: peak signal-to-noise" in text
    assert "- note: a note" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1, "every row has as many cells"
    for metric in (*DEFAULT, *COSTS):
        assert f"- {metric.name}: {metric.says}; {metric.range}" in text


def test_a_table_holds_chance_and_differences() -> None:
    """What the claim needs, beside each metric that some arm has it of."""
    key = "consistency_characters"
    told = report(
        arm("dense", {key: 0.5}, chance={key: 0.0}),
        arm("moc", {key: 0.6}, against_reference={key: {"mean": 0.1, "interval": [-0.1, 0.3]}, "psnr": None}),
        seeds=4, drawn={"mode": "stream", "steps": 6, "set": {}},
    )  # fmt: skip
    dense, moc = flat_rows(told)
    assert (dense["mode"], dense["steps"], dense["seeds"]) == ("stream", 6, 4)
    assert (dense[f"{key}.chance"], moc[f"{key}.chance"]) == (0.0, None)
    assert [moc[f"{key}.against{end}"] for end in ("", ".low", ".high")] == [0.1, -0.1, 0.3]
    assert dense[f"{key}.against"] is None
    assert list(dense) == list(moc)
    assert "psnr.against" not in moc
    assert f"{key}.low" not in moc


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    told = report(full("dense", spread=False))
    write(told, tmp_path / "a.parquet")
    assert pd.read_parquet(tmp_path / "a.parquet").loc[0, "sparsity"] == flat_rows(told)[0]["sparsity"]


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.csv, \.json, \.parquet, \.md"):
        check_save(tmp_path / "a.txt")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_out(tmp_path / "file")
    check_out(tmp_path / "new")


def printed(told, width: int, memory: bool = False) -> list[str]:  # type: ignore[no-untyped-def]
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None, markup=False)
    (print_memory if memory else print_report)(console, told)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("width", [80, WIDTH])
def test_tables_fit_the_terminal_with_every_column(spread: bool, width: int) -> None:
    labels = [*PATTERNS, "pocket moc:top_k=2:chunk_tokens=64"]
    told = report(*(full(label, spread=spread) for label in labels), files={"video": "v.mp4"}, seeds=1 + spread)
    lines = printed(told, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for key in columns_of(told, narrow=True):
        assert metric_of(key).heading.split("\n")[-1] in text
    for label in PATTERNS:
        assert any(line.startswith(label) for line in lines)


def test_memory_fits_100_columns_in_one_table() -> None:
    labels = [name for name in PATTERNS if name != "moc-no-causal"]
    told = report(*(full(label, spread=True, metrics=COLUMNS) for label in labels), suite="memory", out="there")
    told["metrics"] = [metric.to_dict() for metric in COLUMNS]
    lines = printed(told, WIDTH, memory=True)
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.startswith("arm") for line in lines) == 1


def test_vbench_has_a_table_of_its_own() -> None:
    values = {metric.key: 0.5 for metric in (*ALL, *COSTS)}
    told = report(arm("dense", values), files={"video": "v.mp4"}, out="there")
    told["metrics"] = [metric.to_dict() for metric in (*ALL, *COSTS)]
    lines = printed(told, WIDTH)
    assert lines.count("VBench") == 1
    after = "\n".join(lines[lines.index("VBench") :])
    assert all(metric.heading.split("\n")[0] in after for metric in VBENCH)

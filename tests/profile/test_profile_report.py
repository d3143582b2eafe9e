"""Reports: counts, measurements at toy sizes on the CPU, what happens when one fails, files and the paper's numbers."""

from __future__ import annotations

import csv
import importlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from moc import Shot, TokenLayout
from moc.errors import InputError
from moc.flops import count
from moc.profile import base_settings, make_settings, measure, parts, profile, timing
from moc.profile.columns import GROUPS
from moc.profile.paper import paper_report
from moc.profile.parts import PARTS, part_times
from moc.profile.plot import draw
from moc.profile.report import break_even, fits, growth
from moc.profile.save import check_save, flat_rows, markdown, write
from moc.profile.settings import Settings
from moc.profile.whole import amdahl, whole_model

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few repeats: these tests look at what is measured, not at how long it takes."""
    monkeypatch.setattr(timing, "BUDGET_S", 0.0)
    monkeypatch.setattr(measure.timing, "measure_peaks", lambda device, dtype: timing.Peaks(1e12, 1e11))


def toy(**options: Any) -> Settings:
    values = {"shots": "1,2", "tokens_per_shot": 256, "chunk": "64", "top_k": 2, "head_dim": 16, **options}
    return make_settings(base_settings("pocket" if options.get("text") else "paper-multi-shot", None, None), **values)


def test_counts_alone() -> None:
    report = profile(toy(measure=False))
    assert report["machine"] is None
    assert [row["shots"] for row in report["rows"]] == [1, 2]
    for row in report["rows"]:
        counts = count(toy().layout(row["shots"]), toy().config)
        assert row["sparsity"] == counts.sparsity
        assert row["flops_dense"] == 4 * counts.tokens**2 * 16
        assert row["latency_moc_ms"] is None
    assert report["rows"][0]["flops_ratio"] == 1
    assert report["growth"]["flops_dense"] == pytest.approx(2)


def test_measured_on_the_cpu() -> None:
    said: list[tuple[str, float]] = []
    report = profile(toy(against=("dense", "torch", "math")), "cpu", lambda label, share: said.append((label, share)))
    row = report["rows"][1]
    assert row["notes"] == []
    assert row["speedup"] == pytest.approx(row["latency_dense_ms"] / row["latency_moc_ms"])
    assert row["share_reached"] == pytest.approx(row["speedup"] / row["flops_ratio"])
    assert row["tflops_dense"] == pytest.approx(row["flops_dense"] / row["latency_dense_ms"] / 1e9)
    assert set(row["against_ms"]) == {"dense", "torch", "math"}
    assert report["machine"]["dense_kernels"]["dense"] == "torch's choice"
    assert set(row["latency_parts_ms"]) == set(PARTS)
    assert all(row["latency_parts_ms"][name] > 0 for name in ("pool", "route", "plan", "own", "routed", "merge"))
    assert row["sparsity_measured"] == pytest.approx(row["sparsity"], abs=1e-3)
    assert row["roofline_moc_ms"] > 0
    assert [share for _, share in said] == sorted(share for _, share in said)
    assert said[0] == ("1 shot, 256 tokens: MoC", 0.0)
    json.dumps(report, allow_nan=False)


def test_backward_costs_three_and_a_half_times_as_much() -> None:
    forward, both = (profile(toy(measure=False, backward=flag))["rows"][1] for flag in (False, True))
    assert both["flops_dense"] == pytest.approx(3.5 * forward["flops_dense"])
    assert both["flops_parts"]["route"] == forward["flops_parts"]["route"]
    measured = profile(toy(backward=True, shots="2"), "cpu")["rows"][0]
    assert measured["notes"] == []
    assert measured["speedup"] > 0


def test_layers_are_run_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    inner = measure.moc_attention
    monkeypatch.setattr(measure, "moc_attention", lambda *a, **k: calls.append(1) or inner(*a, **k))
    profile(toy(shots="1"), "cpu")
    once = len(calls)
    calls.clear()
    profile(toy(shots="1", layers=3), "cpu")
    assert len(calls) == 3 * once


def test_too_slow_is_said_and_the_rest_goes_on() -> None:
    """At a guess of 0.5 TFLOP/s the small row takes 8 us a pass and is measured; the large one asks for too much."""
    report = profile(toy(shots="1,64", limit_s=0.01), "cpu")
    rows = report["rows"]
    assert report["fits"]["limit_seconds"] >= 1
    assert rows[0]["latency_dense_ms"] > 0
    assert rows[0]["notes"] == []
    assert rows[1]["latency_dense_ms"] is None
    assert any(note.startswith("dense was not measured: a pass would take") for note in rows[1]["notes"])


def test_what_would_fit_is_told() -> None:
    settings = toy(tokens_per_shot=22_500, chunk="1280")
    assert fits(settings, 0.0) is None
    assert fits(settings, 320.0) == {"limit_seconds": 480, "tokens_per_shot": 4500}  # a fifth of the length
    assert fits(settings, 20_000.0) == {"limit_seconds": 30_000, "tokens_per_shot": None}  # shorter than a chunk
    assert fits(toy(), 64.0) == {"limit_seconds": 96, "tokens_per_shot": 128}  # no whole frames
    model = make_settings(base_settings(None, "pocket", None))
    assert fits(model, 100.0) == {"limit_seconds": 150, "tokens_per_shot": None}


@pytest.mark.parametrize(("seconds", "said"), [(21.12, "21.1 s"), (130, "2 minutes"), (9000, "2 hours")])
def test_times_that_would_be_too_long(seconds: float, said: str) -> None:
    assert measure._span(seconds) == said


def test_out_of_memory_is_said_with_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(measure, "moc_attention", fails)
    rows = profile(toy(), "cpu")["rows"]
    assert rows[1]["notes"] == ["MoC was not measured: out of memory at 512 tokens, 1 head of 16, float32."]
    assert all(row["latency_dense_ms"] > 0 and row["speedup"] is None for row in rows)


def test_what_does_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "free_memory", lambda device: 1000)
    row = profile(toy(shots="2"), "cpu")["rows"][0]
    assert "it needs about" in row["notes"][0]
    assert row["latency_moc_ms"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"against": ("fa9",)}, "unknown dense kernel 'fa9'"),
        ({"against": ("fa2",)}, "--against fa2: FlashAttention-2 does not run here"),
        ({"backend": "triton"}, "--backend triton: .*needs"),
    ],
)
def test_what_the_machine_does_not_have(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        profile(toy(**options), "cpu")


def test_parts_leave_the_engine_as_it_was() -> None:
    import moc.attention
    import moc.routing

    before = moc.routing.pooled, moc.attention.route
    with pytest.raises(ValueError, match="stop"):
        part_times(lambda: (_ for _ in ()).throw(ValueError("stop")), CPU)
    assert (moc.routing.pooled, moc.attention.route) == before


def test_parts_know_the_engine_by_name() -> None:
    """A renamed function would hide its time in the rest."""
    pytest.importorskip("triton")
    for name, place, attribute in parts.PLACES:
        assert name in PARTS
        assert callable(getattr(importlib.import_module(place), attribute)), f"{place}.{attribute}"


def test_parts_add_up_to_the_call() -> None:
    times = part_times(lambda: torch.randn(300, 300) @ torch.randn(300, 300), CPU)
    assert times["rest"] > 0
    assert sum(times.values()) == times["rest"]


def test_looking_up_the_engine_is_no_part_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are missing are looked for anew each time, which takes milliseconds."""

    def slow(name: str) -> Any:
        time.sleep(0.01)
        raise ImportError(name)

    monkeypatch.setattr(parts, "import_module", slow)
    assert part_times(lambda: None, CPU)["rest"] < 0.01 * len(parts.PLACES) * 1e3


def test_break_even() -> None:
    def rows(*speedups: float | None) -> list[dict[str, Any]]:
        return [{"tokens": 1000 * 2**i, "speedup": speedup} for i, speedup in enumerate(speedups)]

    assert break_even(rows(0.5, 2.0))["tokens"] == round(1000 * 2**0.5)
    assert break_even(rows(2.0, 0.9, 1.1, 4.0))["tokens"] in range(2000, 4000)
    assert "slower up to 2,000" in break_even(rows(0.5, 0.9))["said"]
    assert "faster at every measured length" in break_even(rows(1.5, None, 3.0))["said"]
    assert break_even(rows(None))["said"] == "not measured"


def test_another_pattern_has_its_own_name() -> None:
    base = base_settings("paper-multi-shot", None, None, {"attention.pattern": "local"})
    report = profile(make_settings(base, shots="1,2", tokens_per_shot=256, chunk="64", head_dim=16), "cpu")
    row = report["rows"][1]
    assert row["flops_ratio"] == pytest.approx(2)
    assert row["speedup"] > 0
    assert row["latency_parts_ms"]["routed"] == row["latency_parts_ms"]["pool"] == 0
    assert report["break_even"]["said"].startswith("local ")
    assert "| local ms |" in markdown(report)


def test_growth() -> None:
    rows = [{"tokens": n, "x": 3.0 * n**1.5} for n in (10, 40, 90)]
    assert growth(rows, "x") == pytest.approx(1.5)
    assert growth(rows[:1], "x") is None


def test_amdahl() -> None:
    told = amdahl(100.0, 80.0, 4.0)
    assert told == pytest.approx({"attention_share": 0.8, "speedup_expected": 2.5, "speedup_limit": 5.0})


def test_a_step_of_the_built_in_model() -> None:
    settings = make_settings(base_settings(None, "pocket", None), shots="1", tokens_per_shot=192)
    report = profile(settings, "cpu")
    told = report["rows"][0]["model"]
    assert report["rows"][0]["notes"] == []
    assert told["speedup"] == pytest.approx(told["step_dense_ms"] / told["step_moc_ms"])
    assert 0 < told["attention_share"] < 1
    assert told["weights"] == "shipped"


def test_rest_of_the_pocket_model_by_hand() -> None:
    from moc.backbones.pocket.cost import block_flops_per_token, patch_flops_per_token
    from moc.backbones.pocket.weights import SHIPPED, read_config

    settings = make_settings(base_settings(None, "pocket", None))
    layout, size = settings.layout(2), read_config(SHIPPED)
    video = sum(shot.video for shot in layout.shots)
    linear = layout.length * block_flops_per_token(size) + video * patch_flops_per_token(size)
    # text rows go through the output MLP as well, and the timestep has a few layers of its own
    assert whole_model("pocket", layout).flops == pytest.approx(linear, rel=0.02)
    assert whole_model("pocket", layout).flops > linear


def test_rest_of_wan_by_hand() -> None:
    layout = make_settings(base_settings(None, "wan-2.1-1.3b", None)).layout(1)
    tokens, width, text = layout.length, 1536, 512
    a_block = 2 * tokens * (4 * width**2 + 2 * width**2 + 2 * width * 8960) + 2 * text * 2 * width**2
    cross = 4 * tokens * text * width
    ends = 2 * tokens * 2 * 64 * width + 2 * text * (4096 * width + width**2)
    assert whole_model("wan-2.1-1.3b", layout).flops == pytest.approx(30 * (a_block + cross) + ends)


def test_wan_has_no_text_in_its_stream() -> None:
    settings = make_settings(base_settings(None, "wan-2.1-1.3b", None), text_tokens=8)
    with pytest.raises(InputError, match="--text-tokens 0"):
        whole_model("wan-2.1-1.3b", settings.layout(1))


def test_files(tmp_path: Path) -> None:
    report = profile(toy(), "cpu")
    for name in ("a.csv", "a.json", "a.md"):
        write(report, tmp_path / name)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["shots"] for row in rows] == ["1", "2"]
    assert float(rows[1]["flops_parts.own"]) == report["rows"][1]["flops_parts"]["own"]
    assert float(rows[1]["latency_spread_ms.moc.low"]) > 0
    assert json.loads((tmp_path / "a.json").read_text()) == report
    lines = (tmp_path / "a.md").read_text().splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 4


def test_rows_of_a_table_are_alike(tmp_path: Path) -> None:
    report = profile(toy(), "cpu")
    report["rows"][0]["against_ms"] = None
    assert len({tuple(row) for row in flat_rows(report)}) == 1


@pytest.mark.parametrize("name", ["a.txt", "a", "a.csv.gz"])
def test_unknown_endings(name: str) -> None:
    with pytest.raises(InputError, match=r"must end in one of \.csv"):
        check_save(Path(name))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plots(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    report = profile(toy(measure=False))
    path = tmp_path / f"a.{ending}"
    draw(report, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def test_the_paper_as_audited() -> None:
    report = paper_report()
    rows = {(row["table"], row["row"]): row for row in report["tables"]}
    assert rows[1, "MoC"]["flops_formula"] == pytest.approx(2.67e12, rel=0.01)
    assert rows[1, "MoC"]["sparsity_counted"] == pytest.approx(0.8446, abs=1e-4)
    assert rows[2, "MoC"]["sparsity_formula"] == pytest.approx(0.8375, abs=1e-3)
    four, five, printed, algebra = (row["ours"] for row in report["equations"])
    assert four == pytest.approx(4.735e11, rel=1e-3)
    assert five == pytest.approx(1.6589e13, rel=1e-3)
    assert printed == pytest.approx(24.25, abs=0.01)
    assert algebra == pytest.approx(35.03, abs=0.01)
    # every disagreement that is called a factor of 1.25 is one, and what is said to agree does
    for row in report["tables"]:
        if row["chunk"] is None:
            continue
        attention = 4 * row["tokens"] * (row["top_k"] + 1) * row["chunk"] * 128
        routing = row["flops_formula"] - attention
        if row["why"].startswith("1.25"):
            extra = routing if "routing" in row["why"] else 0
            assert 1.25 * attention + extra == pytest.approx(row["flops_printed"], rel=0.02)
        elif row["why"].startswith("agrees"):
            assert row["flops_formula"] == pytest.approx(row["flops_printed"], rel=0.03)
    for row in report["tables"]:
        if row["table"] > 1:
            assert abs(row["sparsity_formula"] - row["sparsity_printed"]) < 0.01


def test_the_documentation_names_every_column() -> None:
    text = (Path(__file__).parents[2] / "docs" / "profile.md").read_text()
    row = profile(toy(measure=False))["rows"][0]
    parts = {part for names in GROUPS.values() for part in names or ()}
    assert [name for name in (*row, *sorted(parts)) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_of_the_built_in_model_in_either_precision(dtype: torch.dtype) -> None:
    layout = TokenLayout.from_shots(shots=[Shot(4, 1, 96)] * 2, global_text=12, chunk_tokens="frame")
    step, held = whole_model("pocket", layout).build(torch.device("cpu"), dtype)
    with torch.no_grad():
        out = step(lambda layer, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    assert out.shape[:2] == (1, 192)
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert held

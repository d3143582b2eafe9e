"""Profiles on a GPU: everything is measured, and what runs out of memory leaves the next row alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moc.profile import Settings, base_settings, make_settings, measure, profile
from moc.profile.kernels import available
from moc.profile.parts import PARTS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


def small(**options: Any) -> Settings:
    values = {"shots": "1,2,4", "tokens_per_shot": 1800, "chunk": "256", "heads": 4, **options}
    return make_settings(base_settings("paper-multi-shot", None, None), **values)


def test_every_column_is_measured() -> None:
    names = available(torch.device("cuda"), torch.bfloat16, 128)
    report = profile(small(against=names), "cuda")
    assert report["machine"]["peak_tflops_measured"] > 1
    assert report["settings"]["dtype"] == "bfloat16"
    for row in report["rows"]:
        assert row["notes"] == []
        assert set(row["against_ms"]) == set(names)
        assert all(value > 0 for value in row["against_ms"].values())
        for key in ("speedup", "share_reached", "tflops_moc", "tflops_dense", "roofline_moc_ms", "roofline_dense_ms"):
            assert row[key] > 0, key
        low, high = row["latency_spread_ms"]["moc"]
        assert low <= row["latency_moc_ms"] <= high
        held = 3 * row["tokens"] * 4 * 128 * 2 / 2**20
        assert row["peak_memory_mib"] > held
        assert row["peak_memory_dense_mib"] > held
        assert row["sparsity_measured"] == pytest.approx(row["sparsity"], abs=0.02)
    parts = report["rows"][-1]["latency_parts_ms"]
    assert set(parts) == set(PARTS)
    assert all(parts[name] > 0 for name in ("pool", "route", "plan", "own", "routed", "merge"))


def test_backward_is_measured() -> None:
    rows = profile(small(shots="2", backward=True), "cuda")["rows"]
    assert rows[0]["notes"] == []
    assert rows[0]["speedup"] > 0


def test_memory_that_runs_out_is_said_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that holds half the memory and asks for all of it: the row says so, and the others are measured."""
    inner = measure.moc_attention
    total = torch.cuda.get_device_properties(0).total_memory

    def greedy(q: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if q.shape[2] == 2 * 1800:
            held = torch.empty(total // 2, dtype=torch.uint8, device="cuda")
            torch.empty(total, dtype=torch.uint8, device="cuda")
            del held
        return inner(q, *args, **options)

    monkeypatch.setattr(measure, "moc_attention", greedy)
    rows = profile(small(), "cuda")["rows"]
    assert rows[1]["notes"] == ["MoC was not measured: out of memory at 3,600 tokens, 4 heads of 128, bfloat16."]
    assert rows[1]["latency_dense_ms"] > 0
    assert [row["latency_moc_ms"] is None for row in rows] == [False, True, False]
    torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info()[0] > 0.6 * total


def test_what_can_never_fit_is_not_tried() -> None:
    row = profile(small(shots="256", heads=512, limit_s=1e9), "cuda")["rows"][0]
    assert row["latency_moc_ms"] is row["latency_dense_ms"] is None
    assert all("it needs about" in note for note in row["notes"])


def test_a_step_of_the_built_in_model() -> None:
    row = profile(make_settings(base_settings(None, "pocket", None), shots="2"), "cuda")["rows"][0]
    assert row["notes"] == []
    assert 0 < row["model"]["attention_share"] <= 1
    assert row["model"]["speedup"] > 0

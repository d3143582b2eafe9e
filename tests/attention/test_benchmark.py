"""The attention benchmark: its ceilings against counted pairs, and a run at toy sizes that writes everything."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from moc import route
from moc.attention.reference import mandatory_mask, routed_mask

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("number", range(6))
def test_ceilings_are_those_of_counted_pairs(scripts: None, number: int) -> None:
    from attention_cases import CASES

    case = CASES[number].toy()
    layout, config = case.layout, case.config
    q, k = torch.randn(2, 1, case.heads, case.tokens, case.width, generator=torch.Generator().manual_seed(0))
    indices = route(q, k, layout, config).indices
    mask = mandatory_mask(layout, config, 0, layout.length) | routed_mask(layout, indices)
    pairs = float(mask.sum()) / case.heads
    assert layout.length == case.tokens
    assert case.counts.pairs == pytest.approx(pairs, rel=0.02)  # routes to chunks of unequal length are an expectation
    assert case.ceiling == pytest.approx(case.tokens**2 / pairs, rel=0.02)
    assert case.work(dense=True) / case.work(dense=False) == pytest.approx(case.ceiling)


def test_settings_of_the_speed_table(scripts: None) -> None:
    from attention_cases import CASES, of_shots

    story, story_backward, clip, _, fine, _ = CASES
    assert (story.tokens, clip.tokens, fine.tokens, of_shots(64, 4).tokens) == (180_000, 6_240, 65_536, 1_440_000)
    assert round(story.ceiling, 1) == 6.4
    assert round(fine.ceiling) == 57
    assert fine.ceiling_with_routing == pytest.approx(46.5, abs=0.1)
    assert story_backward.work(dense=True) == 3.5 * story.work(dense=True)
    assert of_shots(64, 4).counts.pairs / of_shots(8, 4).counts.pairs == pytest.approx(8.2, abs=0.05)


def test_sampled_rows_hold_the_edges(scripts: None) -> None:
    from attention_cases import CASES
    from attention_runs import sampled_rows

    rows = sampled_rows(CASES[0])
    assert {0, 22_499, 22_500, 179_999} <= set(rows)
    assert len(rows) < 80


@pytest.mark.parametrize("threshold", [1, 721, 5_000, 61_440, 10**9])
def test_bisection(scripts: None, threshold: int) -> None:
    from attention_more import bisected

    tried: list[int] = []

    def wins(tokens: int) -> bool:
        tried.append(tokens)
        return tokens >= threshold

    found, note = bisected(wins, 720, 61_440)
    assert len(tried) <= 10
    if threshold <= 720 or threshold > 61_440:
        assert note
    else:
        assert found == -(-threshold // 240) * 240


def test_a_toy_run(scripts: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import attention

    rows = "story,story-backward,clip,shots,growth"
    paths = {name: str(tmp_path / name) for name in ("save", "markdown")}
    options = [word for name, path in paths.items() for word in (f"--{name}", path)]
    cells = attention.main(["--toy", "--no-flex", "--device", "cpu", "--rows", rows, *options])
    assert all(cell.ms and cell.ms > 0 for cell in cells), [cell.note for cell in cells]
    ours = [cell for cell in cells if cell.kernel == "MoC"]
    assert {cell.case for cell in ours} == {*rows.split(",")[:3], "shots-1", "shots-2", "shots-8", "shots-64"}
    assert all(cell.error is not None and cell.error < 1e-4 for cell in ours)
    assert all(cell.parts["own"] > 0 for cell in ours)
    said = capsys.readouterr().out
    assert "not here: fa4" in said
    assert "64 shots take" in said
    with (tmp_path / "save").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(cells)
    assert {"kernel", "ms", "ratio", "share", "own_ms", "routed_ms", "merge_ms"} <= set(table[0])
    page = (tmp_path / "markdown").read_text()
    assert "| MoC |" in page
    assert "Where the time of MoC's forward pass goes" in page


def test_a_cell_that_fails_says_why(scripts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import attention_runs
    from attention_cases import CASES

    def broken(name: str) -> Any:
        def attend(*_: Any) -> Any:
            raise RuntimeError("no such kernel\nand more")

        return attend

    monkeypatch.setattr(attention_runs, "dense_attention", broken)
    cells = attention_runs.bench_case(CASES[0].toy(), torch.device("cpu"), torch.float32)
    assert [bool(cell.ms) for cell in cells] == [True, False]
    assert cells[1].note == "RuntimeError: no such kernel"


def test_unknown_rows_are_refused(scripts: None, capsys: pytest.CaptureFixture[str]) -> None:
    import attention

    with pytest.raises(SystemExit):
        attention.main(["--rows", "story,tale"])
    assert "got tale" in capsys.readouterr().err
    assert str(BENCHMARKS) in sys.path


def test_skewed_routes_keep_to_what_a_row_may_see(scripts: None) -> None:
    import attention_skew
    from attention_cases import CASES

    case = CASES[0].toy()
    layout, config = case.layout, case.config
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 2, layout.length, 16, generator=generator) for _ in range(2))
    indices = route(q, k, layout, config).indices
    kinds = attention_skew.skewed(indices, layout, generator)
    assert set(kinds) == {"scattered", "Zipf", "one shot", "one chunk"}
    for name, routes in kinds.items():
        assert routes.shape == indices.shape
        assert torch.equal((routes >= 0).any(-1), (indices >= 0).any(-1)), name
        ordered = routes.sort(-1).values
        assert not ((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any(), name
        shot = layout.chunk_shot[routes.clamp_min(0)]
        assert ((shot < layout.shot_ids[None, None, :, None]) | (routes < 0)).all(), name
    counts = torch.bincount(kinds["Zipf"][kinds["Zipf"] >= 0].long(), minlength=layout.num_chunks)
    assert counts[0] == counts.max()
    assert set(kinds["one chunk"].unique().tolist()) == {-1, 0}

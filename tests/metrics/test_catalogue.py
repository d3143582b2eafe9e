"""Every metric says what it is, and `--metrics` finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from moc.compare.costs import COSTS
from moc.compare.memory_columns import COLUMNS
from moc.errors import InputError
from moc.metrics.catalogue import AGREEMENT, ALL, DEFAULT, GROUPS, VBENCH, WORLD, choose
from moc.metrics.metric import Metric
from moc.metrics.vbench import FILES, NAMES

EVERY = (*ALL, *COSTS, *COLUMNS)


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.key)
def test_range_direction_and_source(metric: Metric) -> None:
    assert metric.better in ("higher", "lower", "neither")
    assert metric.source
    assert metric.says[0].islower() or metric.says[:2].isupper()
    assert not metric.says.endswith(".")
    lines = metric.heading.split("\n")
    assert len(lines) <= 2
    assert max(map(len, lines)) <= 12
    ends = [end for end in (metric.low, metric.high) if end is not None]
    assert all(metric.show(end) for end in ends)
    told = metric.to_dict()
    assert told["heading"] == metric.name
    assert "\n" not in told["heading"]


def test_what_stands_for_vbench_is_told_apart() -> None:
    for metric in ALL:
        assert ("vbench package" in metric.source) == metric.key.startswith("vbench_") == (metric in VBENCH)
    for metric in AGREEMENT:
        assert "not quality" in metric.says


def test_choice() -> None:
    assert choose(None) == DEFAULT
    assert not set(DEFAULT) & set(VBENCH)
    assert choose("ssim,world") == (*WORLD, AGREEMENT[1]), "in the order of tables, whatever the order of asking"
    assert choose("vbench_dynamic_degree") == (VBENCH[3],)
    assert choose(" agreement , psnr") == AGREEMENT
    assert sum(map(len, GROUPS.values())) == len(ALL)
    for wrong, near in (("beauty", "known: world"), ("psrn", "did you mean 'psnr'"), ("", "no metric ''")):
        with pytest.raises(InputError, match=near):
            choose(wrong)


def test_the_docs_list_every_metric() -> None:
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    told = [f"| `{m.key}` | {m.name} | {m.range} | {m.better} | {m.source} |" for m in (*ALL, *COSTS)]
    assert rows[: len(told)] == told
    files = [f"| `{name}` | {', '.join(f'`{file}`' for file in FILES[name])} |" for name in NAMES]
    assert rows[len(told) :] == files


def test_how_values_are_written() -> None:
    share = Metric("a", "a", "b", 0.0, 1.0, "higher", form="{:.1%}")
    assert share.show(0.5) == "50.0%"
    assert share.show(None) == "-"
    assert share.show_interval([0.4, 0.5]) == "±5.0"
    assert share.show_interval([0.659, 1.0]) == "65.9–100"
    assert share.show_difference(0.012, [-0.005, 0.029]) == "+1.2 (-0.5 to +2.9)"
    seconds = Metric("a", "spar-\nsity", "b", 0.0, None, "lower", form="{:,.1f}")
    assert seconds.show_difference(-1234.5, None) == "-1,234.5"
    assert seconds.show_difference(None, None) == "-"
    assert (seconds.name, seconds.range) == ("sparsity", "0 and up")

"""The readers of values: what a linear reader can tell, it tells; what isn't there, it doesn't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def _tokens(signal: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    look = torch.randint(0, 4, (800,), generator=generator)
    values = torch.randn(800, 16, generator=generator)
    values[:, :4] += signal * torch.nn.functional.one_hot(look, 4)
    return values, look


def test_what_is_there_is_read(scripts: None) -> None:
    from value_readers import share_read

    found = share_read(*_tokens(8.0))
    assert found["read"] > 0.97
    assert 0.15 < found["commonest"] < 0.35
    assert found["tokens"] == 800


def test_what_is_not_there_is_not_read_on_held_out_tokens(scripts: None) -> None:
    from value_readers import share_read

    assert share_read(*_tokens(0.0))["read"] < 0.4


def test_the_table(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import value_readers

    values, look = _tokens(8.0)
    looks = torch.full((800, 12), -100)
    looks[:, 2] = look
    looks[:30, 3] = 1  # too few to say anything
    found = {("clean", 2): (values, looks), ("noisy", 4): (torch.zeros_like(values), looks)}
    monkeypatch.setattr(value_readers, "read_values", lambda *_: (found, {0: [0.25, 0.5]}))
    value_readers.main([str(tmp_path / "out.json")])
    layers = json.loads((tmp_path / "out.json").read_text())["layers"]
    assert set(layers) == {"clean 2", "noisy 4"}
    assert set(layers["clean 2"]) == {"coat"}
    assert layers["clean 2"]["coat"]["read"] > 0.97 > 0.4 > layers["noisy 4"]["coat"]["read"]
    out = capsys.readouterr().out
    assert "| values of | coat |" in out
    assert "| noisy 4 |" in out
    assert "| 0 | 25.0 | 50.0 |" in out

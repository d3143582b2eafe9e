"""`benchmarks/sampling_grids.py`: ways to sample one set of weights, held against each other."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from types import ModuleType

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
    assert len(asked) == 18
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

"""The script that runs every kernel for compute-sanitizer: it works, its check can fail, and it knows all kernels."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[3]


@pytest.fixture
def sanitize(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("sanitize")
    del sys.modules["sanitize"]


def test_a_case_runs_and_its_kernels_are_noted(sanitize: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert sanitize.run(["tiny"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("right  tiny")
    assert "kernels started, never: " in said
    never = said.partition("never: ")[2].strip().split(", ")
    assert "short_forward_kernel" in never
    for kernel in ("sort_kernel", "forward_kernel", "dkdv_sum_kernel"):
        assert kernel not in never


def test_a_wrong_result_and_a_crash_are_told(
    sanitize: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for worst, said in (({"out": 0.5}, "WRONG"), ({"out": float("nan")}, "WRONG"), (None, "FAILED")):

        def check(case: object, device: torch.device, worst: dict[str, float] | None = worst) -> dict[str, float]:
            if worst is None:
                raise ValueError("no")
            return worst

        monkeypatch.setattr(sanitize, "check", check)
        assert sanitize.run(["tiny"]) == 1
        assert capsys.readouterr().out.startswith(said)


def test_all_kernels_of_the_engine_are_known(sanitize: ModuleType) -> None:
    """Every function that a launch names, wherever the file lies."""
    launched = set()
    for file in (ROOT / "moc/attention/triton").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel"):
                launched |= {node.name for d in node.decorator_list if "triton.jit" in ast.unparse(d)}
    assert launched == sanitize._kernels()

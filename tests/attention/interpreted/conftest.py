"""Kernel tests in Triton's interpreter, on any machine; `tests/attention/test_triton.py` runs them.

The interpreter must be chosen before triton is first imported, so these tests want a process of their own:
`TRITON_INTERPRET=1 pytest tests/attention/interpreted`. Elsewhere they are not collected.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Memory that nobody wrote holds NaN, or the largest integer: whatever is read by mistake shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # has torch.empty and its kin filled
    assert torch.empty(3).isnan().all()
    assert (torch.empty(3, dtype=torch.int32) == torch.iinfo(torch.int32).max).all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that the interpreter sorts in tenths of a second, and more than one of them in small tests."""
    from moc.attention.triton import plan

    monkeypatch.setattr(plan, "SORTED_AT_ONCE", 128)  # 64 where heads have few slots

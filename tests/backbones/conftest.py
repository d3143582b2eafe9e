"""Puts the tiny model and its stories within reach."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 on every CPU: these tests hold ways of drawing against each other more closely than bfloat16 rounds."""
    from moc.backbones.pocket import precision

    monkeypatch.setattr(precision, "multiplies_in_bfloat16", lambda: False)

"""Puts the fake model and what the tests share within reach."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A story file of four shots for the fake model."""
    from moc_testing import write_story

    return write_story(tmp_path / "tale.yaml")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run folder that is not there yet."""
    return tmp_path / "run"

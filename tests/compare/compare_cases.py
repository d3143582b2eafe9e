"""What the tests of comparisons share: jobs of the fake model, and a report written by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

PLUGINS = Path(__file__).parents[1] / "plugins"
if str(PLUGINS) not in sys.path:
    sys.path.insert(0, str(PLUGINS))

from moc_testing import story_data, write_story  # noqa: E402

from moc.compare import make_arms  # noqa: E402
from moc.compare.costs import COSTS  # noqa: E402
from moc.compare.draw import Job, seeds_of  # noqa: E402
from moc.metrics.catalogue import DEFAULT  # noqa: E402
from moc.storyboard import load_storyboard  # noqa: E402


def fake_job(folder: Path, attention: str = "dense,local", seeds: int = 1, shots: int = 2, **shared: Any) -> Job:
    """A story of the fake model, to be drawn with patterns under `folder`/out."""
    path = write_story(folder / "tale.yaml", story_data(shots, **shared))
    board = load_storyboard(path)
    return Job(board, str(path), tuple(make_arms(attention, None)), seeds_of(7, seeds), folder / "out")


def arm(label: str, values: dict[str, float | None], **more: Any) -> dict[str, Any]:
    """An arm of a report."""
    return {"label": label, "values": values, "intervals": {}, "against_reference": None, "chance": None, **more}


def report(*arms: dict[str, Any], seeds: int = 1, **more: Any) -> dict[str, Any]:
    """A report of these arms."""
    return {
        "title": "A tale",
        "seeds": list(range(seeds)),
        "reference": arms[0]["label"],
        "machine": {"name": "a machine", "torch": "2", "threads": 1},
        "metrics": [metric.to_dict() for metric in (*DEFAULT, *COSTS)],
        "arms": list(arms),
        "notes": [],
        **more,
    }

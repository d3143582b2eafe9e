"""Recall under one set of results minus that under another, story by story, where both kept the readings of a case.

    python benchmarks/memory_apart.py benchmarks/results/foreseen benchmarks/results/memory-0.5

Folders are those of `memory_runs.py`; their stories must be the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memory_patterns import points
from memory_runs import CASES, readings_of
from memory_tables import markdown, percent

from moc.metrics.memory import OPEN, estimate_dict, recall_difference

SAME = ("table", "stories", "shots", "latent_frames", "seed", "split", "named", "config", "steps", "guidance")
"""Settings of a case that must agree for its stories to be held against each other."""
OF_BEFORE = ("k10",)
"""Cases that `memory_runs.py` measured once, when a chunk was a whole frame."""


def apart(one: Path, other: Path, cases: Sequence[str] = (), *, any_attention: bool = False) -> list[list[str]]:
    """Rows of a table, the heading first: recall in `one`, and what it has more than `other`, with 95 % intervals.

    Args:
        cases: to hold against each other, `NAME`, or `NAME:OTHER` where the other folder's has another name; those that
            both folders have when there are none.
        any_attention: whether a case may have been measured under two settings of attention.

    Raises:
        ValueError: no case has readings in both folders, or one was measured in two ways.
    """
    import pandas as pd

    rows = [["case", "people", "apart", "places", "apart"]]
    same = [key for key in SAME if not (any_attention and key == "config")]
    for case in cases or [*CASES, *OF_BEFORE]:
        name, _, there = case.partition(":")
        places = [one / f"{name}.json", other / f"{there or name}.json"]
        if not all(place.is_file() and readings_of(place).is_file() for place in places):
            continue
        told: list[dict[str, Any]] = [json.loads(place.read_text(encoding="utf-8")) for place in places]
        asked = [{key: x["experiment"].get(key) for key in same} for x in told]
        if asked[0] != asked[1]:
            raise ValueError(f"{name} was measured in two ways: {places[0]} and {places[1]}")
        looks = [pd.read_csv(readings_of(place)) for place in places]
        row = [case]
        for owner, names in OPEN.items():
            found = estimate_dict(recall_difference(*looks, told[0]["table"], names, stories=told[0]["stories"]))
            row += [percent(told[0]["means"][owner]["recall"]), points(found)]
        rows.append(row)
    if len(rows) == 1:
        raise ValueError(f"no case has readings in both {one} and {other}")
    return rows


def main(given: Sequence[str] | None = None) -> None:
    """Parse, compare, print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("one", type=Path)
    asked.add_argument("other", type=Path)
    asked.add_argument("--cases", default="", metavar="NAME[:OTHER],...", help="(default: all that both have)")
    asked.add_argument("--any-attention", action="store_true", help="a case may have other settings of attention")
    args = asked.parse_args(given)
    try:
        cases = [case for case in args.cases.split(",") if case]
        print(markdown(apart(args.one, args.other, cases, any_attention=args.any_attention)))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

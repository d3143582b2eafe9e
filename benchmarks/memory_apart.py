"""Recall and what captions name under one set of results minus those under another, story by story, where both kept
the readings of a case.

    python benchmarks/memory_apart.py benchmarks/results/foreseen benchmarks/results/memory-0.5

Folders are those of `memory_runs.py`; their stories must be the same. `--from-story` leaves out those before, which a
setting may have been chosen on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from memory_patterns import points
from memory_runs import CASES, readings_of
from memory_tables import markdown, percent

from moc.metrics.memory import OPEN, Table, estimate, estimate_dict, mean_recall, pairs, resamples

if TYPE_CHECKING:
    import pandas as pd

SAME = ("table", "stories", "shots", "latent_frames", "seed", "split", "named", "config", "steps", "guidance")
"""Settings of a case that must agree for its stories to be held against each other."""
OF_SAMPLING = ("steps", "guidance")
OF_BEFORE = ("k10",)
"""Cases that `memory_runs.py` measured once, when a chunk was a whole frame."""


def apart(
    one: Path,
    other: Path,
    cases: Sequence[str] = (),
    *,
    any_attention: bool = False,
    any_sampling: bool = False,
    any_length: bool = False,
    first: int = 0,
) -> list[list[str]]:
    """Rows of a table, the heading first: recall in `one`, and what it has more than `other`, with 95 % intervals.

    Args:
        cases: to hold against each other, `NAME`, or `NAME:OTHER` where the other folder's has another name; those that
            both folders have when there are none.
        any_attention: whether a case may have been measured under two settings of attention.
        any_sampling: or in two numbers of steps, with two scales of guidance.
        any_length: or with shots of two lengths; stories and truths are the same.
        first: the first story that counts.

    Raises:
        ValueError: no case has readings in both folders, one that is asked for is missing, or it was measured in two
            ways.
    """
    import pandas as pd

    rows = [["case", "people", "apart", "places", "apart", "named right", "apart", "never combined", "apart"]]
    free = [*(["config"] if any_attention else []), *(OF_SAMPLING if any_sampling else [])]
    free += ["latent_frames"] if any_length else []
    same = [key for key in SAME if key not in free]
    for case in cases or [*CASES, *OF_BEFORE]:
        name, _, there = case.partition(":")
        places = [one / f"{name}.json", other / f"{there or name}.json"]
        missing = [place for place in places if not (place.is_file() and readings_of(place).is_file())]
        if missing and cases:
            raise ValueError(f"{case}: {missing[0]} or its readings are missing")
        if missing:
            continue
        told: list[dict[str, Any]] = [json.loads(place.read_text(encoding="utf-8")) for place in places]
        asked = [{key: x["experiment"].get(key) for key in same} for x in told]
        if asked[0] != asked[1]:
            raise ValueError(f"{name} was measured in two ways: {places[0]} and {places[1]}")
        looks = [pd.read_csv(readings_of(place)) for place in places]
        looks = [x[x["story"] >= first].assign(story=x["story"] - first) for x in looks]
        stories = told[0]["stories"] - first
        if stories < 1:
            raise ValueError(f"{case} has {told[0]['stories']} stories, none from number {first} on")
        row, weights = [case], resamples(stories)
        for names in OPEN.values():
            row += _cells(*(recalled(x, told[0]["table"], names, weights) for x in looks))
        for heldout in (False, True):
            row += _cells(*(named(x, weights, heldout) for x in looks))
        rows.append(row)
    if len(rows) == 1:
        raise ValueError(f"no case has readings in both {one} and {other}")
    return rows


def recalled(rows: pd.DataFrame, table: Table, names: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """`[D]` mean recall of attributes for D weightings `[D, stories]` of the stories."""
    return mean_recall(pairs(rows, table), names, stories=weights.shape[1], weights=weights)


def named(rows: pd.DataFrame, weights: np.ndarray, heldout: bool) -> np.ndarray:
    """`[D]` likewise, the share of what captions name that the model drew as they say; of all, or of combinations alone
    that training never showed."""
    asked = rows[rows["named"] & ~rows["planted"]]
    asked = asked[asked["heldout"]] if heldout else asked
    return right_share(asked, weights)


def right_share(rows: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """`[D]` likewise, the share of these readings that is right; not a number where a weighting holds none."""
    right = (rows["read"] == rows["truth"]).groupby(rows["story"]).agg(["sum", "size"])
    right = right.reindex(range(weights.shape[1]), fill_value=0)
    hits, asked = (weights @ right[column].to_numpy(dtype=float) for column in ("sum", "size"))
    shares: np.ndarray = np.divide(hits, asked, out=np.full_like(hits, np.nan), where=asked > 0)
    return shares


def _cells(one: np.ndarray, other: np.ndarray) -> list[str]:
    """The first of the values in `one`, and what they are more than in `other` with its interval."""
    return [percent(float(one[0])), points(estimate_dict(estimate(one - other)))]


def main(given: Sequence[str] | None = None) -> None:
    """Parse, compare, print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("one", type=Path)
    asked.add_argument("other", type=Path)
    asked.add_argument("--cases", default="", metavar="NAME[:OTHER],...", help="(default: all that both have)")
    asked.add_argument("--from-story", type=int, default=0, metavar="N", help="the first story that counts, from 0")
    asked.add_argument("--any-attention", action="store_true", help="a case may have other settings of attention")
    asked.add_argument("--any-sampling", action="store_true", help="a case may have other steps and guidance")
    asked.add_argument("--any-length", action="store_true", help="a case may have shots of another length")
    args = asked.parse_args(given)
    try:
        cases = [case for case in args.cases.split(",") if case]
        rows = apart(args.one, args.other, cases, any_attention=args.any_attention,
                     any_sampling=args.any_sampling, any_length=args.any_length, first=args.from_story)  # fmt: skip
        print(markdown(rows))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

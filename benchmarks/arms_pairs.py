"""Trained arms two by two: what one has more than the other.

    python benchmarks/arms_pairs.py runs/patterns moc-drops:dense moc-fine:dense moc-fine:dense@4-6
    python benchmarks/arms_pairs.py runs/patterns moc-fine:dense --each
    python benchmarks/arms_pairs.py runs/patterns moc-fine:dense --into docs/memory.md --mark pairs

A pair is ARM:REFERENCE; behind @ may stand which seeds count, as arms are numbered (NAME-4 is the fourth). All is read
as `arms_report.py` reads it, and intervals are its own. `--each` tells the difference in each seed instead.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from arms_report import ALL_NAMED, NAMED, OWNERS, Row, interval, load, put, shared_seeds
from memory_tables import markdown

from moc.metrics.memory import OPEN, mean_recall
from moc.metrics.memory_agreement import UNREAD, resamples

READ_BY_BOTH = "people, of looks that can be read in both"


@dataclass(frozen=True)
class Pair:
    """Two arms, and the first and the last of their seeds that count."""

    arm: str
    reference: str
    first: int = 1
    last: int | None = None

    @staticmethod
    def of(text: str) -> Pair:
        """From ARM:REFERENCE[@FIRST-LAST]."""
        found = re.fullmatch(r"([^:@]+):([^:@]+)(?:@([1-9]\d*)-([1-9]\d*))?", text)
        if found is None or (found[3] and int(found[3]) > int(found[4])):
            raise argparse.ArgumentTypeError(f"{text!r} is no ARM:REFERENCE or ARM:REFERENCE@FIRST-LAST")
        return Pair(found[1], found[2], int(found[3] or 1), int(found[4]) if found[4] else None)

    def takes(self, number: int) -> bool:
        """Whether the seed of that number counts."""
        return number >= self.first and (self.last is None or number <= self.last)


def table(rows: Mapping[str, Row], pairs: Sequence[Pair], *, each: bool = False) -> list[list[str]]:
    """Rows of a table, the heading first: points of recall, and of what captions name.

    Args:
        each: what the difference was in each seed, instead of their mean with its interval.

    Raises:
        ValueError: an arm isn't there or was not measured, or a seed that is asked for is not one of both.
    """
    lines = [["arm", "against", "seeds", *OWNERS, READ_BY_BOTH, NAMED, ALL_NAMED]]
    for pair in pairs:
        missing = [name for name in (pair.arm, pair.reference) if name not in rows]
        if missing:
            raise ValueError(f"no arm {missing[0]} was trained and measured; there are {', '.join(rows)}")
        one, other = rows[pair.arm], rows[pair.reference]
        both = {_number(one, mine): (mine, theirs) for mine, theirs in shared_seeds(one, other)}
        both = {number: where for number, where in both.items() if pair.takes(number)}
        wanted = [number for number in range(pair.first, (pair.last or 0) + 1) if number not in both]
        if wanted or not both:
            raise ValueError(f"{pair.arm} and {pair.reference} have no seed {(wanted or [pair.first])[0]} in common")
        mine, theirs = (np.array([where[side] for where in both.values()]) for side in (0, 1))
        apart = [one.recalls[owner][mine] - other.recalls[owner][theirs] for owner in OWNERS.values()]
        stories = one.told[0]["experiment"]["stories"]
        apart.append(np.stack([_read_by_both(one.looks[i], other.looks[j], stories) for i, j in both.values()]))
        apart += [one.further[what][mine] - other.further[what][theirs] for what in (NAMED, ALL_NAMED)]
        cells = [_each(part) if each else interval(part).text(signed=True) for part in apart]
        lines.append([pair.arm, pair.reference, _numbers(sorted(both)), *cells])
    return lines


def _read_by_both(one: pd.DataFrame, other: pd.DataFrame, stories: int) -> np.ndarray:
    """`[1 + draws]` recall of people apart, of looks that can be read in both arms alone: each arm's own readable looks
    would be others, and easier ones for the arm that draws worse."""
    asked = ["story", "attribute", "gap", "first"]
    if not one[asked].reset_index(drop=True).equals(other[asked].reset_index(drop=True)):
        raise ValueError("two arms were asked different looks")
    read = (one["later"].to_numpy() != UNREAD) & (other["later"].to_numpy() != UNREAD)
    weights = resamples(stories)
    shares = [mean_recall(x[read], OPEN["character"], stories=stories, weights=weights) for x in (one, other)]
    return np.asarray(shares[0] - shares[1])


def _number(row: Row, at: int) -> int:
    """Of a seed of an arm: NAME is the first, NAME-2 the second."""
    return int(row.lines[at]["arm"].removeprefix(row.name).removeprefix("-") or 1)


def _numbers(known: Sequence[int]) -> str:
    """1 to 3; 1, 2, 4 where one is missing."""
    whole = len(known) > 2 and known[-1] - known[0] == len(known) - 1
    return f"{known[0]} to {known[-1]}" if whole else ", ".join(map(str, known))


def _each(apart: np.ndarray) -> str:
    return ", ".join("-" if math.isnan(value) else f"{100 * value:+.1f}" for value in apart[:, 0])


def main() -> int:
    """Parse, read, print or put."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("out", type=Path, help="the --out of train_arms.py")
    found.add_argument("pairs", type=Pair.of, nargs="+", metavar="ARM:REFERENCE[@FIRST-LAST]")
    found.add_argument("--each", action="store_true", help="seed by seed")
    found.add_argument("--into", type=Path, metavar="FILE.md", help="put it between the marks of a document")
    found.add_argument("--mark", default="pairs", metavar="NAME", help="which marks: <!-- NAME --> (default: pairs)")
    args = found.parse_args()
    try:
        text = markdown(table(load(args.out), args.pairs, each=args.each)) + "\n"
        if args.into:
            put(text, args.into, args.mark)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if not args.into:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Trained arms two by two: what one has more than the other, with seeds, without them, and seed by seed.

    python benchmarks/arms_pairs.py runs/patterns moc-drops:dense moc-fine:dense moc-fine:dense@4-6
    python benchmarks/arms_pairs.py runs/patterns moc-fine:dense --into docs/memory.md --mark pairs

A pair is ARM:REFERENCE; behind @ may stand which of the seeds that both have count, from 1. Everything is read as
`arms_report.py` reads it, and intervals are its own. Seed by seed stands what the difference was in each.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arms_report import OWNERS, Row, interval, load, put, shared_seeds
from memory_tables import markdown


@dataclass(frozen=True)
class Pair:
    """Two arms, and the first and the last of their common seeds that count."""

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


def table(rows: Mapping[str, Row], pairs: Sequence[Pair]) -> list[list[str]]:
    """Rows of a table, the heading first: points of recall of people and of places, and of what captions name.

    Raises:
        ValueError: an arm isn't there or was not measured, or the two don't have such seeds in common.
    """
    lines = [["arm", "against", "seeds", "of", "apart", "of these seeds, over stories", "seed by seed"]]
    for pair in pairs:
        missing = [name for name in (pair.arm, pair.reference) if name not in rows]
        if missing:
            raise ValueError(f"no arm {missing[0]} was trained and measured; there are {', '.join(rows)}")
        one, other = rows[pair.arm], rows[pair.reference]
        both = shared_seeds(one, other)[pair.first - 1 : pair.last]
        if not both or (pair.last is not None and len(both) != pair.last - pair.first + 1):
            raise ValueError(f"{pair.arm} and {pair.reference} have no such seeds in common as are asked for")
        mine, theirs = (np.array([where[side] for where in both]) for side in (0, 1))
        parts = {whose: (one.recalls[owner], other.recalls[owner]) for whose, owner in OWNERS.items()}
        if one.named is not None and other.named is not None:
            parts["what is named"] = (one.named, other.named)
        seeds = f"{pair.first} to {pair.first + len(both) - 1}" if len(both) > 1 else str(pair.first)
        for whose, (first, second) in parts.items():
            apart = first[mine] - second[theirs]
            told = [interval(apart, seeds=with_seeds).text(signed=True) for with_seeds in (True, False)]
            each = ", ".join(f"{100 * value:+.1f}" for value in apart[:, 0])
            lines.append([pair.arm, pair.reference, seeds, whose, *told, each])
    return lines


def main() -> int:
    """Parse, read, print or put."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("out", type=Path, help="the --out of train_arms.py")
    found.add_argument("pairs", type=Pair.of, nargs="+", metavar="ARM:REFERENCE[@FIRST-LAST]")
    found.add_argument("--into", type=Path, metavar="FILE.md", help="put it between the marks of a document")
    found.add_argument("--mark", default="pairs", metavar="NAME", help="which marks: <!-- NAME --> (default: pairs)")
    args = found.parse_args()
    try:
        text = markdown(table(load(args.out), args.pairs)) + "\n"
        if args.into:
            put(text, args.into, args.mark)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if not args.into:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

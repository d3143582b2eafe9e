"""How long streams hold: the share of what captions name that is right, by where in the stream a shot is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

GROUP = 8  # shots that one share is of


def read_streams(folder: Path, cases: Sequence[str]) -> dict[str, dict[str, float]] | None:
    """By case, the share of named attributes right in every eight shots ("1-8", "9-16", ...), of what the model drew.
    Cases without readings are left out; None where none has any."""
    import pandas as pd

    found: dict[str, dict[str, float]] = {}
    for case in cases:
        path = folder / f"{case}.csv.gz"
        if not path.is_file():
            continue
        rows = pd.read_csv(path)
        drawn = rows[rows["named"] & ~rows["planted"]]
        right = drawn["read"].eq(drawn["truth"]).groupby(drawn["shot"] // GROUP).mean()
        found[case] = {f"{GROUP * int(n) + 1}-{GROUP * int(n) + GROUP}": float(share) for n, share in right.items()}
    return found or None


def streams_rows(shares: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]) -> list[list[str]]:
    """A heading and a row a stream: percent right in every group of shots, empty past a stream's end.

    Args:
        shares: what `read_streams` gives; labels: by case, the first cell of its row. Cases without one are left out.
    """
    told = {case: by for case, by in shares.items() if case in labels}
    groups = max((list(by) for by in told.values()), key=len, default=[])
    rows = [["named right in", *(f"shots {group}" for group in groups)]]
    for case, by in told.items():
        rows.append([labels[case], *(f"{100 * by[group]:.1f}" if group in by else "" for group in groups)])
    return rows

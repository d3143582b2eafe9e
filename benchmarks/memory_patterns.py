"""The part of docs/memory.md on patterns: what `compare_memory.py` measured, as a table, leads and a picture.

`memory_report.py` looks for it in the folder `patterns` of its results: `compare.json`, and the readings of the arms as
`ARM.csv` or `ARM.csv.gz`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arms_plot import Arm, Point, write_plot
from memory_tables import markdown, percent, ranged

from moc.metrics.memory import (
    DRAWS,
    OPEN,
    TABLES,
    UNREAD,
    estimate,
    estimate_dict,
    mean_recall,
    pairs,
    recall_difference,
    resamples,
)

Found = Mapping[str, Any]
OWNERS = {"people": "character", "places": "place"}
CHANCE_PAIRS = {
    "k1": ("moc:top_k=1", "random:top_k=1"), "k2": ("moc:top_k=2", "random:top_k=2"), "k20": ("moc", "random"),
}  # fmt: skip
"""Which arm is held against which, by k, on the same stories."""


def read_patterns(folder: Path) -> dict[str, Any] | None:
    """`compare.json` with `leads`, recall beyond that of random routes by k and owner; None where there is none."""
    import pandas as pd

    if not (folder / "compare.json").is_file():
        return None
    told: dict[str, Any] = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    told["leads"] = {}
    told["readable"] = _readable(folder, told)
    for k, pair in CHANCE_PAIRS.items():
        stems = [folder / label.replace(":", "-") for label in pair]
        files = [path for label in pair for path in _readings(folder, label)]
        numbers = [Path(f"{stem}.json") for stem in stems]
        if len(files) != len(pair) or not all(path.is_file() for path in numbers):
            continue
        counts = {json.loads(path.read_text(encoding="utf-8"))["stories"] for path in numbers}
        if len(counts) == 1:
            one, other = (pd.read_csv(path) for path in files)
            told["stories"] = counts.pop()
            told["leads"][k] = {
                owner: estimate_dict(recall_difference(one, other, TABLES[0], names, stories=told["stories"]))
                for owner, names in OPEN.items()
            }
    return told


def _readings(folder: Path, label: str) -> list[Path]:
    stem = folder / label.replace(":", "-")
    return [path for path in (Path(f"{stem}.csv"), Path(f"{stem}.csv.gz")) if path.is_file()][:1]


def _readable(folder: Path, told: Found) -> dict[str, dict[str, Any]]:
    """By arm, of people alone: the share of later looks that can't be read, recall of the others, and that recall minus
    the reference's on the same stories. Looks that can't be read count as forgotten everywhere else."""
    import pandas as pd

    names, found = OPEN["character"], {}
    for arm in told["arms"]:
        for path in _readings(folder, arm["label"]):
            looks = pairs(pd.read_csv(path), TABLES[0])
            found[arm["label"]] = looks[looks["attribute"].isin(names)]
    if not found:
        return {}
    stories = 1 + max(int(looks["story"].max()) for looks in found.values())
    weights = resamples(stories, draws=DRAWS, seed=0)
    recalls = {}
    for label, looks in found.items():
        recalls[label] = mean_recall(looks[looks["later"] != UNREAD], names, stories=stories, weights=weights)
    held = recalls.get(told["reference"])
    rows: dict[str, dict[str, Any]] = {}
    for label, looks in found.items():
        rows[label] = {
            "unreadable": float((looks["later"] == UNREAD).mean()),
            **estimate_dict(estimate(recalls[label])),
        }
        if held is not None and label != told["reference"]:
            rows[label]["apart"] = estimate_dict(estimate(recalls[label] - held))
    return rows


def readable_table(told: Found) -> str:
    """What is left of the differences where unreadable looks are left out."""
    rows = [["pattern", "looks at people that can't be read", "recall of people in the others",
             f"against {told['reference']}"]]  # fmt: skip
    for label, one in told["readable"].items():
        apart = points(one["apart"]).replace(" points", "") if "apart" in one else ""
        rows.append([f"`{label}`", percent(one["unreadable"]), ranged(one["value"], (one["low"], one["high"])), apart])
    return markdown(rows)


def points(lead: Mapping[str, float | None]) -> str:
    """A difference in points with its interval."""
    value, low, high = (lead[name] for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    return f"{100 * value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def lead_lines(leads: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a k: routes against random ones."""
    return "\n".join(
        f"- k = {k[1:]}: routes recall {' and '.join(f'{owner}s {points(part)}' for owner, part in lead.items())} "
        "against random ones."
        for k, lead in sorted(leads.items(), key=lambda item: int(item[0][1:]))
    )


def pattern_table(told: Found) -> str:
    """One row an arm: recall beside chance, what is named, cost, and the difference from the reference."""
    reference = told["reference"]
    heads = [cell for whose in OWNERS for cell in (f"recall of {whose}", "by chance")]
    rows = [["pattern", *heads, *(f"{whose}, against {reference}" for whose in OWNERS), "named right", "sparsity",
             "GFLOP of attention"]]  # fmt: skip
    for arm in told["arms"]:
        values, intervals = arm["values"], arm["intervals"]

        def cell(key: str, values: Found = values, intervals: Found = intervals) -> str:
            return ranged(values[key], intervals.get(key) or (None, None))

        cells = [part for whose in OWNERS for part in (cell(f"recall_{whose}"), percent(values[f"chance_{whose}"]))]
        held = arm["against_reference"] or {}
        apart = [held.get(f"recall_{whose}") for whose in OWNERS]
        cells += ["" if one is None else _apart(one) for one in apart]
        cells += [cell("named"), percent(values["sparsity"]), f"{values['attention_gflop']:.0f}"]
        rows.append([f"`{arm['label']}`", *cells])
    return markdown(rows)


def _apart(told: Found) -> str:
    said = f"{100 * told['mean']:+.1f}"
    return said if told["interval"] is None else f"{said} ({' to '.join(f'{100 * x:+.1f}' for x in told['interval'])})"


def plot_patterns(told: Found, path: Path) -> None:
    """Draw recall with its interval beside chance, and cost, one row an arm, as WebP."""
    from PIL import Image

    arms = []
    for arm in told["arms"]:
        values, found = arm["values"], {}
        for whose in OWNERS:
            low_high = arm["intervals"].get(f"recall_{whose}")
            known = None if low_high is None else (low_high[0], low_high[1])
            found[f"recall of {whose}"] = Point(values[f"recall_{whose}"], known, values[f"chance_{whose}"])
        arms.append(Arm(arm["label"], found, values["attention_gflop"]))
    png = path.with_suffix(".png")
    write_plot(arms, png, title=told["title"], cost="GFLOP of attention a story, one pass")
    with Image.open(png) as picture:
        picture.convert("RGB").save(path, lossless=True)
    png.unlink()

"""The tables of trained arms for the docs: recall with intervals, level of chance, differences, cost.

    python benchmarks/arms_report.py runs/patterns                     # Markdown on stdout
    python benchmarks/arms_report.py runs/patterns --into docs/memory.md --plot trained.png
    python benchmarks/arms_report.py runs/ablations --reference paper --into docs/memory.md --mark ablations

Reads what `train_arms.py` left: `summary.csv`, `step_time.json`, and `memory.json` and `readings.csv.gz` of every arm.
Arms that differ in the seed alone make one row. All arms were asked the same stories, so differences are taken seed by
seed and story by story.

An interval holds both what other stories and what other seeds would change: half its width is the root of the sum of
two squares, half the bootstrap interval of the mean over seeds when stories are resampled, and t s / sqrt(n) of the n
seeds. The second counts some of the first again, so the interval is rather too wide. One seed gives the first alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arms import MEMORY
from arms_plot import Arm as PlottedArm
from arms_plot import Point, write_plot
from memory_apart import named

from moc.compare.stats import summary
from moc.metrics.memory import OPEN, Table, mean_recall, pairs
from moc.metrics.memory_agreement import resamples
from moc.run.files import write_bytes

OWNERS = {"people": "character", "places": "place"}
NAMED, ALL_NAMED = "named, of people and places", "named, of everything"


@dataclass
class Row:
    """Arms that differ in the seed alone: their lines of summary.csv, numbers, recall by owner, and what is named.

    Attributes:
        recalls: by owner, `[seeds, 1 + draws]`; the first column is of all stories, the others are resampled.
        further: likewise, the shares of what captions name that were drawn so, of people and places and of everything.
        looks: the pairs of looks of each seed.
    """

    name: str
    lines: list[dict[str, str]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    recalls: dict[str, np.ndarray] = field(default_factory=dict)
    further: dict[str, np.ndarray] = field(default_factory=dict)
    looks: list[pd.DataFrame] = field(default_factory=list)

    def mean(self, read: Any) -> float | None:
        """The mean over seeds of what `read` finds in an arm's numbers."""
        found = [value for value in map(read, self.told) if value is not None]
        return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; None where it is not known."""

    value: float
    half: float | None

    def text(self, *, signed: bool = False) -> str:
        """In percent, or points with a sign."""
        if math.isnan(self.value):
            return "-"
        sign = "+" if signed else ""
        if self.half is None:
            return f"{100 * self.value:{sign}.1f}"
        low, high = self.value - self.half, self.value + self.half
        if not signed:
            low, high = max(0.0, low), min(1.0, high)
        return f"{100 * self.value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def interval(draws: np.ndarray) -> Interval:
    """Of `[seeds, 1 + draws]`: see the module. Seeds without a value, where nothing could be counted, are left out."""
    draws = draws[np.isfinite(draws[:, 0])]
    if not len(draws):
        return Interval(math.nan, None)
    over_stories = np.nanquantile(draws[:, 1:].mean(0), [0.025, 0.975])
    half = float(over_stories[1] - over_stories[0]) / 2
    seeds = summary([float(value) for value in draws[:, 0]])["interval"]
    if seeds is not None:
        half = math.hypot(half, (seeds[1] - seeds[0]) / 2)
    value = float(draws[:, 0].mean())
    return Interval(value, half if math.isfinite(half) else None)


def load(out: Path, table: Table = "planted") -> dict[str, Row]:
    """Rows by name, in the order of the plan; arms that were not trained or not measured so are left out.

    Args:
        out: folder of `train_arms.py`.
        table: "planted", or "free" of arms that were measured with all shots denoised together.

    Raises:
        ValueError: there is no summary, or arms were asked different stories.
    """
    try:
        with (out / "summary.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise ValueError(f"{out} holds no summary.csv of train_arms.py ({error.strerror})") from error
    names = {line["arm"] for line in lines}
    rows: dict[str, Row] = {}
    asked: list[Any] = []
    for line in lines:
        measured = _measured(out / line["arm"], table) if line["trained"] == "True" else None
        if measured is None:
            continue
        told, looks = measured
        found = pairs(looks, table)
        stories = told["experiment"]["stories"]
        asked.append([told["experiment"].get(key) for key in ("stories", "shots", "latent_frames", "steps", "seed")])
        stem = re.sub(r"-\d+$", "", line["arm"])
        row = rows.setdefault(stem if stem in names else line["arm"], Row(stem if stem in names else line["arm"]))
        row.lines.append(line)
        row.told.append(told)
        weights = resamples(stories)
        for owner in OWNERS.values():
            draws = mean_recall(found, OPEN[owner], stories=stories, weights=weights)[None]
            row.recalls[owner] = _with(row.recalls.get(owner), draws)
        row.looks.append(found)
        of_them = looks[looks["attribute"].isin([name for names in OPEN.values() for name in names])]
        for what, asked_of in ((NAMED, of_them), (ALL_NAMED, looks)):
            row.further[what] = _with(row.further.get(what), named(asked_of, weights, heldout=False)[None])
    if any(one != asked[0] for one in asked):
        raise ValueError(f"the arms in {out} were not asked the same stories; measure them anew")
    return rows


def _measured(folder: Path, table: Table) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """Numbers and readings of an arm; None where it has none of this table."""
    places = [(MEMORY, "readings.csv.gz"), ("memory_joint.json", "readings_joint.csv.gz")]
    for name, readings in places:
        if (folder / name).exists():
            told = json.loads((folder / name).read_text())
            if told["table"] == table:
                return told, pd.read_csv(folder / readings)
    return None


def _with(known: np.ndarray | None, draws: np.ndarray) -> np.ndarray:
    return draws if known is None else np.concatenate([known, draws])


def shared_seeds(row: Row, reference: Row) -> list[tuple[int, int]]:
    """Where the seeds that both have lie in each."""
    theirs = {line["seed"]: i for i, line in enumerate(reference.lines)}
    return [(i, theirs[line["seed"]]) for i, line in enumerate(row.lines) if line["seed"] in theirs]


def difference(row: Row, reference: Row, owner: str) -> Interval | None:
    """Recall of a row minus the reference's, of seeds that both have; None where there are none, or for itself."""
    both = [] if row is reference else shared_seeds(row, reference)
    if not both:
        return None
    mine, other = (np.array([pair[side] for pair in both]) for side in (0, 1))
    return interval(row.recalls[owner][mine] - reference.recalls[owner][other])


def chance(row: Row, owner: str) -> float | None:
    """The level of chance: the mean over attributes and seeds."""

    def read(told: dict[str, Any]) -> float | None:
        levels = [told["attributes"][name]["chance"] for name in OPEN[owner]]
        known = [level for level in levels if level is not None]
        return sum(known) / len(known) if known else None

    return row.mean(read)


def table(rows: Sequence[Row], reference: Row) -> list[str]:
    """Markdown of some rows; shares in percent, differences in points of a hundred."""
    heads = ["arm", "seeds", "steps", "ms a step", "s of GPU", "sparsity"]
    for owner in OWNERS:
        heads += [f"recall {owner}", f"chance {owner}", f"against {reference.name}"]
    lines = [_line([*heads, "named right"]), "|---" + "|---:" * len(heads) + "|"]
    for row in rows:
        sparsity = row.mean(lambda told: told.get("sparsity"))
        first = row.lines[0]
        cells = [
            row.name,
            str(len(row.lines)),
            first["steps"],
            first["ms_a_step"],
            first["seconds_alone"],
            _percent(sparsity),
        ]
        for owner in OWNERS.values():
            apart = difference(row, reference, owner)
            cells += [interval(row.recalls[owner]).text(), _percent(chance(row, owner))]
            cells.append("-" if apart is None else apart.text(signed=True))
        lines.append(_line([*cells, _percent(row.mean(lambda told: told["named"]["right"]))]))
    return lines


def markdown(out: Path, reference: str) -> str:
    """All tables of a folder, with the hardware and what an interval is.

    Raises:
        ValueError: as `load`, or nothing was measured.
    """
    rows, free = load(out), load(out, "free")
    if not rows and not free:
        raise ValueError(f"no arm in {out} was trained and measured")
    equal = {name: row.lines[0]["equal"] for name, row in rows.items()}
    steps = [row for name, row in rows.items() if equal[name] == "steps"]
    twins = [row for name, row in rows.items() if equal[name] == "time"]
    told = next(iter((rows or free).values())).told[0]["experiment"]
    lines = [
        f"{_device(out)}; {told['stories']} stories of {told['shots']} shots of {told['latent_frames']} latent "
        f"frames, {told['steps']} denoising steps. Percent, with 95 % intervals over stories and seeds."
    ]
    if steps:
        alike = len({row.lines[0]["steps"] for row in steps}) == 1
        heading = "Equal steps:" if alike else "Equal steps, unless a row says otherwise:"
        lines += ["", heading, "", *table(steps, rows.get(reference, steps[0]))]
    if twins:
        measure = [_first_seed(row) for row in steps if row.name == _timed_first(out)]
        lines += ["", "Equal time, one seed:", "", *table([*measure, *twins], rows.get(f"{reference}-time", twins[0]))]
    if free:
        lines += ["", "All shots denoised together, nothing planted:", ""]
        lines += table(list(free.values()), free.get(reference, next(iter(free.values()))))
    return "\n".join(lines) + "\n"


def _drawn(row: Row) -> PlottedArm:
    points = {}
    for whose, owner in OWNERS.items():
        told = interval(row.recalls[owner])
        known = None if told.half is None else (max(0.0, told.value - told.half), min(1.0, told.value + told.half))
        value = None if math.isnan(told.value) else told.value
        points[f"recall of {whose}"] = Point(value, known, chance(row, owner))
    seconds = row.lines[0]["seconds_alone"]
    return PlottedArm(row.name, points, float(seconds) if seconds else None)


def _first_seed(row: Row) -> Row:
    return Row(row.name, row.lines[:1], row.told[:1], {owner: draws[:1] for owner, draws in row.recalls.items()})


def _timed(out: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((out / "step_time.json").read_text())
    except (OSError, ValueError):
        found = {}
    return found


def _timed_first(out: Path) -> str:
    return str(_timed(out).get("first", ""))


def _device(out: Path) -> str:
    timed = _timed(out)
    return f"{timed['device']}, torch {timed['torch']}" if timed else "Steps were not timed"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def put(text: str, path: Path, name: str = "trained") -> None:
    """Writes the text between the marks of a document, `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        ValueError: the document has no such marks.
    """
    document = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if document.count(begin) != 1 or document.count(end) != 1:
        raise ValueError(f"{path} needs one {begin} and one {end} after it")
    before, _, rest = document.partition(begin)
    write_bytes(path, f"{before}{begin}\n{text}{end}{rest.partition(end)[2]}".encode())


def main() -> int:
    """Parse, read, print or put."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("out", type=Path, help="the --out of train_arms.py")
    found.add_argument("--reference", default="dense", metavar="ARM", help="what others are held against")
    found.add_argument("--plot", type=Path, metavar="FILE.png", help="the same as a picture")
    found.add_argument("--into", type=Path, metavar="FILE.md", help="put it between the marks of a document")
    found.add_argument(
        "--mark", default="trained", metavar="NAME", help="which marks: <!-- NAME --> (default: trained)"
    )
    args = found.parse_args()
    try:
        text = markdown(args.out, args.reference)
        if args.into:
            put(text, args.into, args.mark)
        if args.plot:
            arms = [_drawn(row) for row in load(args.out).values()]
            write_plot(arms, args.plot, title="Trained with each pattern", cost="seconds of training, alone on the GPU")
    except ValueError as error:
        sys.exit(f"error: {error}")
    if not args.into:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

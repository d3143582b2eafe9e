"""What the arms of a plan came to: one table, and archives small enough to carry."""

from __future__ import annotations

import csv
import io
import json
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from arms import MEMORY, RECORD, WEIGHTS, Arm, Plan, is_trained
from arms_fit import StepTimes

from moc.run.files import atomic, write_bytes

ROOM = 15 << 20  # bytes of one archive
MOST_ARCHIVES, MOST_BYTES = 8, 60 << 20

COLUMNS = (
    "arm", "pattern", "seed", "equal", "steps", "trained", "ms_a_step", "seconds_alone", "hours_of_log", "loss",
    "table", "stories", "sparsity", "characters", "characters_low", "characters_high",
    "places", "places_low", "places_high", "kappa_characters", "kappa_places", "named",
)  # fmt: skip


def write_table(plan: Plan, out: Path, times: StepTimes) -> None:
    """`summary.csv` of all arms; the same, in columns, on stdout."""
    rows = [_row(arm, out / name, times.of(arm)) for name, arm in plan.arms.items()]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(out / "summary.csv", text.getvalue().encode())
    shown = ("arm", "steps", "trained", "ms_a_step", "seconds_alone", "loss", "table", "sparsity", "characters",
             "places", "named")  # fmt: skip
    cells = [list(shown)] + [[str(row[name]) for name in shown] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(shown))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def log_rows(folder: Path) -> list[dict[str, float]]:
    """The log of a training that may be writing it: rows that are whole."""
    found = []
    with suppress(OSError), (folder / "log.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            with suppress(ValueError, TypeError):
                found.append({name: float(value) for name, value in row.items()})
    return found


def _row(arm: Arm, folder: Path, seconds: float | None) -> dict[str, Any]:
    """A line of the table: `seconds` are of a step alone on the device, `seconds_alone` of all its steps, without those
    of the arm that it builds on."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row["arm"], row["equal"], row["trained"] = arm.name, arm.equal, is_trained(folder)
    row["ms_a_step"] = "" if seconds is None else f"{1000 * seconds:.1f}"
    if (folder / RECORD).exists():
        values = yaml.safe_load((folder / RECORD).read_text(encoding="utf-8"))
        row |= {"pattern": values.get("pattern", "moc"), "seed": values.get("seed", 0)}
    logged = log_rows(folder)
    if logged:
        last = logged[-5:]
        row["steps"] = f"{logged[-1]['step']:.0f}"
        row["loss"] = f"{sum(line['loss'] for line in last) / len(last):.4f}"
        row["hours_of_log"] = f"{sum(line['seconds'] for line in logged) / 3600:.4f}"
        row["seconds_alone"] = "" if seconds is None else f"{logged[-1]['step'] * seconds:.0f}"
    if (folder / MEMORY).exists():
        row |= _measured(json.loads((folder / MEMORY).read_text()))
    return row


def _measured(told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "table": told["table"], "stories": told["experiment"]["stories"],
        "sparsity": _number(told.get("sparsity")), "named": _number(told["named"]["right"]),
    }  # fmt: skip
    for owner in ("character", "place"):
        part = told["means"][owner]
        low, high = part["recall_interval"]
        found |= {
            f"{owner}s": _number(part["recall"]), f"{owner}s_low": _number(low), f"{owner}s_high": _number(high),
            f"kappa_{owner}s": _number(part["kappa"]),
        }  # fmt: skip
    return found


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def pack(plan: Plan, out: Path, into: Path) -> None:
    """`results-N.tar.gz` with everything but weights and checkpoints, and `weights-N.tar`: archives of 15 MiB at most,
    eight and 60 MiB in all. What does not fit is left out and named."""
    kept = ("*.csv", "*.json", "*.yaml", "*.txt", "*.csv.gz")
    small = [path for pattern in kept for path in (*out.glob(pattern), *out.glob(f"*/{pattern}"))]
    weights = [out / name / WEIGHTS for name in plan.arms if (out / name / WEIGHTS).exists()]
    results = piles(sorted(path for path in set(small) if not path.name.startswith(".")))
    archives = [(f"results-{n}.tar.gz", "w:gz", pile) for n, pile in enumerate(results, 1)]
    archives += [(f"weights-{n}.tar", "w", pile) for n, pile in enumerate(piles(weights), 1)]
    room = MOST_BYTES
    for number, (name, mode, pile) in enumerate(archives):
        if number >= MOST_ARCHIVES or _bytes(pile) + tarfile.RECORDSIZE > room:
            print(f"{name} is left out: {', '.join(str(path) for path in pile)}", file=sys.stderr, flush=True)
            continue
        write_archive(into / name, mode, pile, out)
        room -= (into / name).stat().st_size


def _bytes(files: list[Path]) -> int:
    """Of an archive of them before compression, with what it adds."""
    return sum(path.stat().st_size + 1536 for path in files)


def piles(files: list[Path]) -> list[list[Path]]:
    """The files in their order, as many as fit into one archive before compression; larger ones are left out."""
    piles: list[list[Path]] = []
    room = 0
    for path in files:
        size = _bytes([path])
        if size > ROOM:
            print(f"{path} has {size >> 20} MiB and is left out", file=sys.stderr, flush=True)
            continue
        if not piles or size > room:
            piles.append([])
            room = ROOM
        piles[-1].append(path)
        room -= size
    return piles


def write_archive(path: Path, mode: str, files: list[Path], root: Path) -> None:
    with atomic(path) as temporary, tarfile.open(temporary, mode) as archive:  # type: ignore[call-overload]
        for file in files:
            archive.add(file, arcname=str(file.relative_to(root)))

"""What the arms of a plan came to: one table, and archives small enough to carry."""

from __future__ import annotations

import csv
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import yaml
from arms import MEMORY, RECORD, WEIGHTS, Plan, is_trained

from moc.run.files import atomic, write_bytes

ROOM = 15 << 20  # bytes of one archive

COLUMNS = (
    "arm", "pattern", "seed", "steps", "trained", "ms_a_step", "hours_of_log", "loss", "table", "stories", "sparsity",
    "characters", "characters_low", "characters_high", "places", "places_low", "places_high",
    "kappa_characters", "kappa_places", "named",
)  # fmt: skip


def write_table(plan: Plan, out: Path, step_seconds: dict[str, float]) -> None:
    """`summary.csv` of all arms; the same, in columns, on stdout."""
    rows = [_row(name, out / name, step_seconds.get(name)) for name in plan.arms]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(out / "summary.csv", text.getvalue().encode())
    shown = ("arm", "steps", "trained", "ms_a_step", "loss", "table", "sparsity", "characters", "places", "named")
    cells = [list(shown)] + [[str(row[name]) for name in shown] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(shown))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def _row(name: str, folder: Path, seconds: float | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row["arm"], row["trained"] = name, is_trained(folder)
    row["ms_a_step"] = "" if seconds is None else f"{1000 * seconds:.1f}"
    if (folder / RECORD).exists():
        values = yaml.safe_load((folder / RECORD).read_text(encoding="utf-8"))
        row |= {"pattern": values.get("pattern", "moc"), "seed": values.get("seed", 0)}
    if (folder / "log.csv").exists():
        with (folder / "log.csv").open(newline="") as file:
            logged = [line for line in csv.DictReader(file) if None not in line.values()]
        if logged:
            last = logged[-5:]
            row["steps"] = logged[-1]["step"]
            row["loss"] = f"{sum(float(line['loss']) for line in last) / len(last):.4f}"
            row["hours_of_log"] = f"{sum(float(line['seconds']) for line in logged) / 3600:.4f}"
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
    """`results.tar.gz` with everything but weights and checkpoints, and `weights-N.tar`, each at most 15 MiB."""
    kept = ("*.csv", "*.json", "*.yaml", "*.txt", "*.csv.gz")
    small = [path for pattern in kept for path in (*out.glob(pattern), *out.glob(f"*/{pattern}"))]
    _write(into / "results.tar.gz", "w:gz", sorted(set(small)), out)
    piles: list[list[Path]] = [[]]
    for name in plan.arms:
        path = out / name / WEIGHTS
        if not path.exists():
            continue
        if path.stat().st_size > ROOM:
            print(f"{path} has {path.stat().st_size >> 20} MiB and goes into an archive of its own", file=sys.stderr)
        if piles[-1] and sum(p.stat().st_size for p in [*piles[-1], path]) > ROOM:
            piles.append([])
        piles[-1].append(path)
    for number, pile in enumerate(piles, 1):
        if pile:
            _write(into / f"weights-{number}.tar", "w", pile, out)


def _write(path: Path, mode: str, files: list[Path], root: Path) -> None:
    with atomic(path) as temporary, tarfile.open(temporary, mode) as archive:  # type: ignore[call-overload]
        for file in files:
            archive.add(file, arcname=str(file.relative_to(root)))

"""A profile as a file: csv, json, parquet or markdown, by the file's ending."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moc.errors import InputError

ENDINGS = (".csv", ".json", ".parquet", ".md")

# columns of the markdown table: key, heading, format
_MARKDOWN = (
    ("shots", "shots", "{:,}"),
    ("tokens", "tokens", "{:,}"),
    ("chunks", "chunks", "{:,}"),
    ("keys_per_query", "keys/query", "{:,.0f}"),
    ("sparsity", "sparsity", "{:.1%}"),
    ("sparsity_causal", "of earlier pairs", "{:.1%}"),
    ("flops_dense", "dense FLOPs", "{:.3g}"),
    ("flops_moc", "MoC FLOPs", "{:.3g}"),
    ("flops_ratio", "ratio", "{:.2f}x"),
    ("latency_dense_ms", "dense ms", "{:.4g}"),
    ("latency_moc_ms", "MoC ms", "{:.4g}"),
    ("speedup", "speed-up", "{:.2f}x"),
    ("share_reached", "of ratio", "{:.0%}"),
    ("peak_memory_mib", "MoC MiB", "{:,.0f}"),
)


def check_save(path: Path) -> None:
    """Refuses what can't be saved, before any work.

    Raises:
        InputError: an unknown ending, or parquet without a package that writes it.
    """
    check_ending(path, ENDINGS, "--save")
    if path.suffix.lower() == ".parquet" and not find_spec("pyarrow") and not find_spec("fastparquet"):
        raise InputError("--save: parquet needs the package pyarrow; install it, or save as .csv or .json.")


def check_ending(path: Path, endings: Sequence[str], option: str) -> None:
    """Raises InputError for a file whose ending is none of `endings`."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{option} {path}: the name must end in one of {', '.join(endings)}.")


def write(report: Mapping[str, Any], path: Path) -> None:
    """Writes a report whole or not at all. `.json` keeps everything, the others a flat table of the rows.

    Raises:
        InputError: as `check_save`, or a place that can't be written.
        MocError: a full disk.
    """
    from moc.run.files import atomic, write_bytes, write_json

    check_save(path)
    ending = path.suffix.lower()
    if ending == ".parquet":
        import pandas as pd

        table = pd.DataFrame(flat_rows(report))
        with atomic(path) as temporary:
            table.to_parquet(temporary)
    elif ending == ".json":
        write_json(path, report)
    elif ending == ".md":
        write_bytes(path, markdown(report).encode())
    else:
        rows, text = flat_rows(report), io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(path, text.getvalue().encode())


def flat_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows with one value a column: nested values as `flops_parts.pool`, notes as one text; all rows alike."""
    rows = [_flat(row) for row in report["rows"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif name == "notes":
            flat[name] = " ".join(value)
        elif isinstance(value, list):
            flat |= {f"{prefix}{name}.{place}": part for place, part in zip(("low", "high"), value, strict=True)}
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def markdown(report: Mapping[str, Any]) -> str:
    """The table of the rows; columns without any value are left out."""
    rows = report["rows"]
    columns = [column for column in _MARKDOWN if any(row[column[0]] is not None for row in rows)]
    lines = [f"| {' | '.join(heading for _, heading, _ in columns)} |", "|" + "---:|" * len(columns)]
    for row in rows:
        cells = ("-" if row[key] is None else form.format(row[key]) for key, _, form in columns)
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- {row['shots']} shots: {note}" for row in rows for note in row["notes"]]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"

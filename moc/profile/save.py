"""A profile as a file: csv, json, parquet or markdown, by the file's ending."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moc.profile.columns import COLUMNS
from moc.profile.settings import label
from moc.saving import check_table, write_table

ENDINGS = (".csv", ".json", ".parquet", ".md")


def check_save(path: Path) -> None:
    """Refuses what can't be saved, before any work; raises InputError as `moc.saving.check_table`."""
    check_table(path, ENDINGS)


def write(report: Mapping[str, Any], path: Path) -> None:
    """Writes a report whole or not at all. `.json` keeps everything, the others a flat table of the rows.

    Raises:
        InputError: as `check_save`, or a place that can't be written.
        MocError: a full disk.
    """
    from moc.run.files import write_bytes, write_json

    check_save(path)
    ending = path.suffix.lower()
    if ending == ".json":
        write_json(path, report)
    elif ending == ".md":
        write_bytes(path, markdown(report).encode())
    else:
        write_table(flat_rows(report), path)


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
    rows, name = report["rows"], label(report["settings"]["attention"]["pattern"])
    columns = [c for c in COLUMNS if c.heading and any(row[c.key] is not None for row in rows)]
    lines = [f"| {' | '.join(c.heading.replace('MoC', name) for c in columns)} |", "|" + "---:|" * len(columns)]
    for row in rows:
        cells = ("-" if row[c.key] is None else c.form.format(row[c.key]) for c in columns)
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- {row['shots']} shots: {note}" for row in rows for note in row["notes"]]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"

"""A comparison as a file: csv, json, parquet or markdown, by the file's ending. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moc.compare.page import about
from moc.compare.table import cells, columns_of, metric_of
from moc.saving import check_table, write_table

ENDINGS = (".csv", ".json", ".parquet", ".md")


def check_save(path: Path) -> None:
    """Refuses what can't be saved, before any work; raises InputError as `moc.saving.check_table`."""
    check_table(path, ENDINGS)


def write(report: Mapping[str, Any], path: Path) -> None:
    """Writes a report whole or not at all. `.json` keeps everything, the others a row an arm.

    Raises:
        InputError: as `check_save`, or a place that can't be written. MocError: a full disk.
    """
    from moc.run.files import write_bytes, write_json

    check_save(path)
    if path.suffix.lower() == ".json":
        write_json(path, report)
    elif path.suffix.lower() == ".md":
        write_bytes(path, markdown(report).encode())
    else:
        write_table(flat_rows(report), path)


def flat_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row an arm: every metric, with `KEY.low` and `KEY.high` where there are several seeds."""
    keys = [metric["key"] for metric in report["metrics"]]
    several = report["seeds"] is not None and len(report["seeds"]) > 1
    rows = []
    for arm in report["arms"]:
        row: dict[str, Any] = {"arm": arm["label"], "pattern": arm.get("pattern"), "model": arm.get("model")}
        for key in keys:
            row[key] = arm["values"].get(key)
            if several:
                row[f"{key}.low"], row[f"{key}.high"] = arm["intervals"].get(key) or (None, None)
        rows.append(row)
    return rows


def markdown(report: Mapping[str, Any]) -> str:
    """The table with its columns explained."""
    keys = columns_of(report)
    metrics = [metric_of(key) for key in keys]
    heads = [metric.name for metric in metrics]
    lines = [f"| arm | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for arm in report["arms"]:
        row = (f"{cell.value} ({cell.interval})" if cell.interval else cell.value for cell in cells(arm, keys))
        label = arm["label"].replace("|", "\\|")
        lines.append(f"| {label} | {' | '.join(row)} |")
    told = [
        f"- {head}: {metric.says}; {metric.range}, {_better(metric.better)}; {metric.source}."
        for head, metric in zip(heads, metrics, strict=True)
    ]
    notes = [f"- note: {note}" for note in report["notes"]]
    return "\n".join([f"{about(report)}.", "", *lines, "", *told, *notes]) + "\n"


def _better(direction: str) -> str:
    return "neither end is better" if direction == "neither" else f"{direction} is better"

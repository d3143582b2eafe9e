"""A comparison as a file: csv, json, parquet or markdown, by the file's ending. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moc.compare.page import about
from moc.compare.table import cells, columns_of, metric_of, paired
from moc.errors import InputError
from moc.saving import check_place, check_table, write_table

ENDINGS = (".csv", ".json", ".parquet", ".md")


def check_save(path: Path) -> None:
    """Refuses what can't be saved, before any work; raises InputError as `moc.saving.check_table`."""
    check_table(path, ENDINGS)


def check_out(folder: Path) -> None:
    """Raises InputError where a file lies at the place of a folder to write to, or it can't be written to."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose a folder with --out.")
    check_place(folder, "--out", folder=True)


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
    """A row an arm: every metric, with `KEY.low` and `KEY.high` where some arm has an interval."""
    arms, keys = report["arms"], [metric["key"] for metric in report["metrics"]]
    spread = {key for key in keys if any(arm["intervals"].get(key) is not None for arm in arms)}
    rows = []
    for arm in arms:
        row: dict[str, Any] = {"arm": arm["label"], "pattern": arm.get("pattern"), "model": arm.get("model")}
        for key in keys:
            row[key] = arm["values"].get(key)
            if key in spread:
                row[f"{key}.low"], row[f"{key}.high"] = arm["intervals"].get(key) or (None, None)
        rows.append(row)
    return rows


def markdown(report: Mapping[str, Any]) -> str:
    """The table with its columns explained."""
    keys = columns_of(report)
    metrics = [metric_of(key) for key in keys]
    heads = [metric.name for metric in metrics]
    lines = _head(["arm", *heads])
    for arm in report["arms"]:
        row = (f"{cell.value} ({cell.interval})" if cell.interval else cell.value for cell in cells(arm, keys))
        lines.append(_line([arm["label"], *row]))
    if (table := paired(report)) is not None:
        lines += ["", table.says, "", *_head(table.heads), *map(_line, table.rows)]
    told = [
        f"- {head}: {metric.says}; {metric.range}, {_better(metric.better)}; {metric.source}."
        for head, metric in zip(heads, metrics, strict=True)
    ]
    notes = [f"- note: {note}" for note in report["notes"]]
    return "\n".join([f"{about(report)}.", "", *lines, "", *told, *notes]) + "\n"


def _head(texts: Sequence[str]) -> list[str]:
    return [_line(texts), "|---|" + "---:|" * (len(texts) - 1)]


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"


def _better(direction: str) -> str:
    return "neither end is better" if direction == "neither" else f"{direction} is better"

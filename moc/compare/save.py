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
    """A row an arm: how it was drawn, then every metric, beside it what some arm has of it: `KEY.low` and `KEY.high`,
    `KEY.chance`, and the difference from the reference as `KEY.against`, `KEY.against.low` and `KEY.against.high`."""
    arms, keys = report["arms"], [metric["key"] for metric in report["metrics"]]
    drawn, seeds = report.get("drawn") or {}, report["seeds"]
    shared = {
        "mode": drawn.get("mode"), "steps": drawn.get("steps"), "seeds": None if seeds is None else len(seeds),
        "first_seed": seeds[0] if seeds else None, "reference": report["reference"],
    }  # fmt: skip

    def ends(arm: Mapping[str, Any], key: str) -> Any:
        return arm["intervals"].get(key)

    def chance(arm: Mapping[str, Any], key: str) -> Any:
        return (arm["chance"] or {}).get(key)

    def apart(arm: Mapping[str, Any], key: str) -> Any:
        return (arm["against_reference"] or {}).get(key) or {}

    some = {of: {key for key in keys if any(of(arm, key) for arm in arms)} for of in (ends, apart)}
    some[chance] = {key for key in keys if any(chance(arm, key) is not None for arm in arms)}
    rows = []
    for arm in arms:
        row: dict[str, Any] = {"arm": arm["label"], "pattern": arm.get("pattern"), "model": arm.get("model"), **shared}
        for key in keys:
            row[key] = arm["values"].get(key)
            if key in some[ends]:
                row[f"{key}.low"], row[f"{key}.high"] = ends(arm, key) or (None, None)
            if key in some[chance]:
                row[f"{key}.chance"] = chance(arm, key)
            if key in some[apart]:
                found = apart(arm, key)
                row[f"{key}.against"] = found.get("mean")
                row[f"{key}.against.low"], row[f"{key}.against.high"] = found.get("interval") or (None, None)
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

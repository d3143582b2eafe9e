"""The report as one page that needs no network: videos that play together, the table, what each number means."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from moc.compare.footage import Footage
from moc.compare.table import Cell, cells, columns_of, metric_of, paired

_WIDTH = 192  # pixels that an embedded video has at least; the browser makes it larger, as smoothly as a player would


def write_page(report: Mapping[str, Any], runs: Mapping[str, Footage], path: Path) -> None:
    """Write the page whole or not at all.

    Args:
        report: of `compare_story` or `compare_runs`.
        runs: footage of each arm by label.
        path: file to write.

    Raises:
        InputError: another ending than .html, or a place that can't be written. MocError: ffmpeg failed.
    """
    from moc.run.files import write_bytes
    from moc.saving import check_ending

    check_ending(path, (".html", ".htm"), "--html")
    write_bytes(path, page(report, runs).encode())


def page(report: Mapping[str, Any], runs: Mapping[str, Footage]) -> str:
    """The page as text."""
    lengths = [
        max(run.lengths.get(number, 0) / run.fps for run in runs.values()) for number in next(iter(runs.values())).ids
    ]
    ids = next(iter(runs.values())).ids
    shots = [
        {"number": number, "id": shot_id, "start": start, "end": end}
        for (number, shot_id), (start, end) in zip(ids.items(), _spans(lengths), strict=True)
    ]
    parts = {
        "TITLE": escape(report["title"] or "Comparison"),
        "ABOUT": escape(about(report)),
        "TILES": "".join(_tile(arm, runs[arm["label"]], list(ids)) for arm in report["arms"]),
        "TABLE": _table(report),
        "PAIRED": _paired(report),
        "NOTES": "".join(f"<p>{escape(note)}</p>" for note in report["notes"]),
        "METRICS": _metrics(report),
        # "<" can't end the script that way, whatever an id holds
        "SHOTS": json.dumps(shots).replace("<", "\\u003c"),
    }
    template = files("moc.compare").joinpath("page.html").read_text(encoding="utf-8")
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], template)


def about(report: Mapping[str, Any]) -> str:
    """What was compared, on which machine, in a line."""
    seeds, machine = report["seeds"], report["machine"]
    said = [f"{len(report['arms'])} arms"]
    if seeds is not None:
        said.append(f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds from {seeds[0]}, 95 % intervals")
    if drawn := report.get("drawn"):
        said.append(
            drawn["mode"] + (f" in {drawn['steps']} step" + "s" * (drawn["steps"] > 1) if drawn["steps"] else "")
        )
    threads = machine.get("threads")
    where = machine["name"] + (f", {threads} thread{'s' if threads > 1 else ''}" if threads else "")
    return f"{'; '.join(said)}; reference: {report['reference']}; {where}, torch {machine['torch']}"


def _spans(lengths: Sequence[float]) -> list[tuple[float, float]]:
    return list(pairwise(accumulate(lengths, initial=0.0)))


def _tile(arm: Mapping[str, Any], run: Footage, numbers: Sequence[int]) -> str:
    own = [run.lengths.get(number, 0) / run.fps for number in numbers]
    summary = f"<span class=quiet>{escape(arm['summary'])}</span>" if arm.get("summary") else ""
    return (
        f"<figure><video muted playsinline preload=auto data-fps={run.fps:g} data-starts='{json.dumps(_spans(own))}' "
        f"src='data:video/mp4;base64,{_video(run)}'></video>"
        f"<figcaption><b>{escape(arm['label'])}</b>{summary}</figcaption></figure>"
    )


def _video(run: Footage) -> str:
    """A small encoding of the whole run."""
    from moc.video import write_mp4

    def frames() -> Iterator[np.ndarray]:
        for shot in run.values():
            yield from shot

    scale = -(-_WIDTH // run.size[0])
    if scale % 2 and (run.size[0] % 2 or run.size[1] % 2):
        scale += 1
    with tempfile.TemporaryDirectory(prefix="moc-compare-") as folder:
        path = Path(folder) / "video.mp4"
        write_mp4(frames(), path, fps=run.fps, scale=scale)
        return base64.b64encode(path.read_bytes()).decode()


def _table(report: Mapping[str, Any]) -> str:
    keys = columns_of(report)
    head = "".join(f"<th>{escape(metric_of(key).name)}</th>" for key in keys)
    rows = []
    for arm in report["arms"]:
        body = "".join(f"<td>{_cell(cell)}</td>" for cell in cells(arm, keys))
        rows.append(f"<tr><td>{escape(arm['label'])}</td>{body}</tr>")
    return f"<table><thead><tr><th>arm</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _paired(report: Mapping[str, Any]) -> str:
    table = paired(report)
    if table is None:
        return ""
    head = "".join(f"<th>{escape(text)}</th>" for text in table.heads)
    rows = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in table.rows)
    return f"<p class=quiet>{escape(table.says)}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(cell: Cell) -> str:
    return escape(cell.value) + (f"<small>{escape(cell.interval)}</small>" if cell.interval else "")


def _metrics(report: Mapping[str, Any]) -> str:
    shown = set(columns_of(report))
    rows = ""
    for metric in report["metrics"]:
        if metric["key"] in shown:
            body = "".join(
                f"<td>{escape(metric[key])}</td>" for key in ("heading", "says", "range", "better", "source")
            )
            rows += f"<tr>{body}</tr>"
    head = "<th>column</th><th>is</th><th>range</th><th>better</th><th>source</th>"
    return f"<table class=text><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

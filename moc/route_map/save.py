"""A route map as plain data: for `--json`, and as a csv, json or parquet file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from moc.errors import InputError
from moc.route_map.counts import Chunk
from moc.route_map.findings import Report
from moc.route_map.load import RouteMap, shares
from moc.route_map.query import Answer
from moc.saving import check_table, write_table

ENDINGS = (".csv", ".json", ".parquet")


def check_save(path: Path) -> None:
    """Refuses what can't be saved, before any work; raises InputError as `moc.saving.check_table`."""
    check_table(path, ENDINGS)


def as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON can hold it; shots by number, shares from 0 to 1, None for an entropy that has no value."""
    route_map, loops, shots = report.route_map, report.loops, report.route_map.shots

    def numbered(places: tuple[int, ...]) -> list[int]:
        return [shots[p].number for p in places]

    selection = report.selection
    return {
        "title": route_map.title,
        "shots": [{"number": s.number, "id": s.id, "names": list(s.names), "sparsity": s.sparsity} for s in shots],
        "dims": dict(zip(("steps", "layers", "heads"), route_map.dims, strict=True)),
        "selection": {"step": selection.step, "layer": selection.layer, "head": selection.head},
        "causal": route_map.causal,
        "counts": report.counts_SS.tolist(),
        "shares": report.shares_SS.round(6).tolist(),
        "loops": {
            "threshold": loops.threshold,
            "components": [
                {"shots": numbered(c.places), "inside": c.inside, "earlier": c.earlier} for c in loops.components
            ],
            "cycles": [{"shots": numbered(c.places), "weakest": c.weakest} for c in loops.cycles],
            "mutual": [{"shots": numbered(c.places), "weakest": c.weakest} for c in loops.mutual],
            "cut": loops.cut,
        },
        "forgotten": [
            {
                "shot": f.shot.number,
                "name": f.name,
                "shown": [s.number for s in f.shown],
                "share": f.share,
                "even": f.even,
            }
            for f in report.forgotten
        ],
        "unit": route_map.unit,
        "dead": [_chunk(chunk) for chunk in report.dead],
        "hubs": [_chunk(chunk) for chunk in report.hubs],
        "entropy": [
            [None if math.isnan(value) else round(value, 6) for value in row] for row in report.entropy.tolist()
        ],
        "distances": {str(distance): count for distance, count in report.distances.items()},
        "findings": report.sentences(),
        "notes": list(route_map.notes),
    }


def _chunk(chunk: Chunk) -> dict[str, Any]:
    return {"shot": chunk.shot, "chunk": chunk.within, "times": chunk.times, "factor": round(chunk.factor, 4)}


def answer_dict(route_map: RouteMap, answer: Answer) -> dict[str, Any]:
    """What a place chose, as plain data."""
    return {
        "shot": route_map.shots[answer.place].number,
        "frame": answer.frame,
        "x": answer.x,
        "y": answer.y,
        "chosen": [
            {
                "shot": one.shot.number,
                "chunk": one.within,
                "frames": [one.first, one.last],
                "times": one.times,
                "share": round(one.share, 6),
            }
            for one in answer.chosen
        ],
    }


def rows(report: Report) -> list[dict[str, Any]]:
    """A row per pair of shots: who chooses, whom, how often, and the share of its routes."""
    share, shots = report.shares_SS, report.route_map.shots
    return [
        {
            "shot": shots[i].number,
            "id": shots[i].id,
            "chosen_shot": shots[j].number,
            "chosen_id": shots[j].id,
            "routes": int(count),
            "share": float(share[i, j]),
        }
        for (i, j), count in np.ndenumerate(report.counts_SS)
    ]


def write(report: Report, path: Path) -> None:
    """Write the report whole or not at all: everything as .json, the pairs of shots otherwise."""
    from moc.run.files import write_json

    check_save(path)
    if path.suffix.lower() == ".json":
        write_json(path, as_dict(report))
    else:
        write_table(rows(report), path)


def change(before: Report, after: Report) -> np.ndarray:
    """[S, S] shares of `after` less those of `before`.

    Raises:
        InputError: the runs have other shots.
    """
    ids = [[(shot.number, shot.id) for shot in report.route_map.shots] for report in (before, after)]
    if ids[0] != ids[1]:
        raise InputError(
            f"--diff compares runs of the same shots; one has {len(ids[0])} and the other {len(ids[1])}, or their ids "
            "differ."
        )
    difference: np.ndarray = shares(after.counts_SS) - shares(before.counts_SS)
    return difference

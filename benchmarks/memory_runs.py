"""Every table of docs/memory.md in one go, unattended: each case ends in files of its own, and a failed one is told.

    python benchmarks/memory_runs.py OUT                       # all cases, under half an hour on one H200
    python benchmarks/memory_runs.py OUT --only planted,free   # some, in this order
    python benchmarks/memory_runs.py OUT --minutes 9           # begin no case that would not end within that time
    python benchmarks/memory_report.py OUT                     # afterwards: the tables, and the plots

OUT/CASE.json is what `benchmarks/memory.py --json` prints; OUT/CASE.csv.gz holds every reading. Cases that are there
already, measured with the same settings and weights, are left alone, so a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from memory import Progress, source_of

from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.config import MoCConfig
from moc.metrics.memory import OPEN, TABLES, Table, estimate_dict, recall_difference
from moc.metrics.memory_experiment import Experiment, report, run
from moc.world.reader import load_reader


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        table: planted or free; stories, shots: how many; attention: what differs from the `pocket` preset.
        latent_frames: of a shot; 16 are 8 s.
        motion: whether motion is measured as well.
        seconds: expected on one H200, all in all.
    """

    table: Table
    stories: int
    shots: int = 8
    attention: dict[str, Any] = field(default_factory=dict)
    motion: bool = False
    seconds: float = 100
    latent_frames: int = 16


CASES = {
    "planted": Case("planted", 256, motion=True, seconds=120),
    "free": Case("free", 256, motion=True, seconds=120),
    "free_no_routes": Case("free", 256, attention={"top_k": 0}, seconds=90),
    "no_routes": Case("planted", 256, attention={"top_k": 0}, seconds=90),
    "k1": Case("planted", 256, attention={"top_k": 1}, seconds=95),
    "k1_random": Case("planted", 256, attention={"top_k": 1, "pattern": "random"}, seconds=95),
    "k2": Case("planted", 256, attention={"top_k": 2}, seconds=95),
    "k2_random": Case("planted", 256, attention={"top_k": 2, "pattern": "random"}, seconds=95),
    "k5": Case("planted", 256, attention={"top_k": 5}, seconds=95),
    "k5_random": Case("planted", 256, attention={"top_k": 5, "pattern": "random"}, seconds=95),
    "k20_random": Case("planted", 256, attention={"pattern": "random"}, seconds=100),
    "k40": Case("planted", 256, attention={"top_k": 40}, seconds=110),
    "seconds4": Case("planted", 256, motion=True, seconds=60, latent_frames=8),
    "seconds2": Case("planted", 256, motion=True, seconds=40, latent_frames=4),
    "seconds1": Case("planted", 256, motion=True, seconds=30, latent_frames=2),
    "shots24": Case("planted", 64, 24, seconds=100),
    "shots24_outer": Case("planted", 64, 24, {"outer_top_m": 5}, seconds=100),
    "shots64": Case("planted", 32, 64, seconds=150),
    "shots64_outer": Case("planted", 32, 64, {"outer_top_m": 5}, seconds=140),
}
LEADS = {
    "k1": ("k1", "k1_random"), "k2": ("k2", "k2_random"), "k5": ("k5", "k5_random"), "k20": ("planted", "k20_random"),
}  # fmt: skip
"""Which case is held against which, on the same stories."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("out", type=Path)
    found.add_argument("--only", help=f"cases, of {', '.join(CASES)}")
    found.add_argument("--minutes", type=float, default=float("inf"))
    found.add_argument("--weights", type=Path, default=SHIPPED)
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    found.add_argument("--steps", type=int, default=STEPS)
    found.add_argument("--guidance", type=float, help="1 for none (default: the model's own)")
    found.add_argument("--stories", type=int, help="in place of each case's own number")
    found.add_argument("--latent-frames", type=int, help="likewise")
    found.add_argument("--shots", type=int, help="in place of each case's own number")
    return found


def experiment_of(case: Case, args: argparse.Namespace) -> Experiment:
    """A case as an experiment."""
    return Experiment(
        table=case.table, stories=args.stories or case.stories, shots=args.shots or case.shots,
        latent_frames=args.latent_frames or case.latent_frames,
        config=MoCConfig.preset("pocket").replace(**case.attention), steps=args.steps, guidance=args.guidance,
        motion=case.motion,
    )  # fmt: skip


def is_there(place: Path, experiment: Experiment, weights: str) -> bool:
    """Whether that very case was measured before."""
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        same = told["experiment"] == json.loads(json.dumps(asdict(experiment)))
        return same and told["source"]["weights_sha256"] == weights and readings_of(place).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def readings_of(place: Path) -> Path:
    """Where the readings lie beside a case's numbers."""
    return place.with_suffix(".csv.gz")


def leads(out: Path) -> dict[str, Any]:
    """Recall of routed memory minus that of random routes, by pair of cases, people and places apart."""
    import pandas as pd

    found: dict[str, Any] = {}
    for name, pair in LEADS.items():
        places = [out / f"{case}.json" for case in pair]
        if all(place.is_file() and readings_of(place).is_file() for place in places):
            stories = [json.loads(place.read_text(encoding="utf-8"))["stories"] for place in places]
            rows = [pd.read_csv(readings_of(place)) for place in places]
            if stories[0] == stories[1]:
                found[name] = {
                    owner: estimate_dict(recall_difference(*rows, TABLES[0], names, stories=stories[0]))
                    for owner, names in OPEN.items()
                }
    return found


def main() -> None:
    """Measure case after case."""
    args = parser().parse_args()
    names = args.only.split(",") if args.only else list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        sys.exit(f"error: no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    began, weights, failed = time.monotonic(), fingerprint(args.weights), []
    model, reader = load_model(args.weights, args.device), load_reader(args.device)
    for name in names:
        case, place = CASES[name], args.out / f"{name}.json"
        experiment = experiment_of(case, args)
        if is_there(place, experiment, weights):
            print(f"{name}: there already")
            continue
        if (time.monotonic() - began + case.seconds) / 60 > args.minutes:
            print(f"{name}: left for another time")
            continue
        print(f"{name}: {experiment.stories} stories of {experiment.shots} shots", flush=True)
        try:
            at = time.monotonic()
            result = run(experiment, model, reader, device=args.device, on_shot=Progress())
            result.rows.to_csv(readings_of(place), index=False)
            told = {**report(experiment, result), "source": source_of(args, model)}
            place.write_text(json.dumps(told, allow_nan=False), encoding="utf-8")
            print(f"{name}: {_said(told)}, {time.monotonic() - at:.0f} s", flush=True)
        except Exception:  # the other cases are worth having all the same
            failed.append(name)
            traceback.print_exc()
            if args.device.startswith("cuda"):
                torch.cuda.empty_cache()
    (args.out / "leads.json").write_text(json.dumps(leads(args.out), allow_nan=False), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _said(told: dict[str, Any]) -> str:
    """The numbers that tell at once whether a run went well."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    parts = [f"{owner}s {percent(part['recall'])}" for owner, part in told["means"].items()]
    return f"recall {', '.join(parts)}; named {percent(told['named']['right'])}; sparsity {percent(told['sparsity'])}"


if __name__ == "__main__":
    main()

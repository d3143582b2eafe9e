"""A comparison as plain data: every arm's metrics, seed by seed, their means and intervals, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.backbones.base import BUILT_IN
from moc.compare.arms import Arm, reference_of, strange_patterns
from moc.compare.costs import COSTS, counted, measured
from moc.compare.draw import Job, ListenerOf, check, draw
from moc.compare.footage import Footage, open_run, run_path
from moc.compare.gauge import gauged
from moc.compare.stats import difference, summary
from moc.errors import InputError
from moc.metrics import consistency, vbench
from moc.metrics.attributes import NAMED_RIGHT, named_right
from moc.metrics.catalogue import AGREEMENT, DEFAULT, WORLD
from moc.metrics.colours import PLACE_COLOURS, place_colours
from moc.metrics.dynamics import DYNAMIC_DEGREE, MOTION, dynamic_degree, mobility, motion
from moc.metrics.metric import Metric
from moc.metrics.psnr import PSNR, psnr
from moc.metrics.smoothness import SMOOTHNESS, motion_smoothness
from moc.metrics.ssim import SSIM, ssim
from moc.patterns import PATTERNS
from moc.run import Listener

if TYPE_CHECKING:
    import pandas as pd

OnMeasure = Callable[[str], None]
Takes = dict[tuple[str, int], Footage]
Values = dict[str, float | None]


def compare_story(
    job: Job,
    *,
    metrics: Sequence[Metric] = DEFAULT,
    reference: str | None = None,
    vbench_weights: Path | None = None,
    listener_of: ListenerOf = lambda arm, seed: Listener(),
    on_measure: OnMeasure = lambda label: None,
) -> tuple[dict[str, Any], dict[str, Footage]]:
    """Draw one story with every arm and seed, and measure.

    Args:
        job: what to draw.
        metrics: what to measure, besides costs.
        reference: label of the arm that others are held against; None for `dense`, else the first.
        vbench_weights: folder of the weights that VBench metrics read.
        listener_of: hears of the drawing of an arm with a seed.
        on_measure: told whose metrics are computed now.

    Returns:
        the report (see docs/compare.md), and the first seed's footage by label.

    Raises:
        InputError: an arm, a metric or a device that can't be served. MocError: drawing failed.
    """
    labels = [arm.label for arm in job.arms]
    held = reference_of(labels, reference)
    _check_vbench(metrics, vbench_weights)
    check(job)
    takes = draw(job, listener_of)
    report = _report(takes, labels, job.seeds, held, metrics, vbench_weights, job.device, on_measure)
    for told, arm in zip(report["arms"], job.arms, strict=True):
        _describe(told, arm, job)
    first = takes[labels[0], job.seeds[0]].manifest
    report |= {"story": job.story_path, "out": str(job.out), "drawn": _drawn(first, job)}
    if len(job.seeds) == 1:
        report["notes"].append("one seed shows no interval: what differs may be chance; --seeds 4 tells more.")
    report["notes"] += strange_patterns((told["pattern"], told["model"] == BUILT_IN) for told in report["arms"])
    return report, {label: takes[label, job.seeds[0]] for label in labels}


def compare_runs(
    paths: Sequence[Path],
    *,
    metrics: Sequence[Metric] = DEFAULT,
    reference: str | None = None,
    vbench_weights: Path | None = None,
    device: str = "auto",
    on_measure: OnMeasure = lambda label: None,
) -> tuple[dict[str, Any], dict[str, Footage]]:
    """Measure runs that exist; see `compare_story`. They may be of any story, model and size.

    Raises:
        InputError: fewer than two runs, the same twice, or one that is no finished run.
    """
    if len(paths) < 2:
        raise InputError("a comparison needs at least two runs, got 1; give another one, or a story.")
    _check_vbench(metrics, vbench_weights)
    footage = [open_run(path) for path in paths]
    labels = run_labels([one.folder.path for one in footage])
    held = reference_of(labels, reference or labels[0])
    takes = {(label, 0): one for label, one in zip(labels, footage, strict=True)}
    report = _report(takes, labels, (0,), held, metrics, vbench_weights, device, on_measure)
    for told, one in zip(report["arms"], footage, strict=True):
        story = one.manifest["storyboard"]
        pattern, seed = story["attention"].get("pattern") or "moc", one.manifest["seed"]
        told |= {"pattern": pattern, "model": story["model"], "seed": seed}
        told["summary"] = f"{pattern}, {story['model']}, seed {seed}"
        told["folders"] = [str(one.folder.path)]
    report["seeds"] = report["drawn"] = None
    if len({one.manifest["seed"] for one in footage}) > 1:
        report["notes"].append("these runs have different seeds, so their pictures differ for that alone.")
    report["notes"] += strange_patterns((told["pattern"], told["model"] == BUILT_IN) for told in report["arms"])
    if len({str(_words(one)) for one in footage}) > 1:
        report["notes"].append("these runs tell different stories.")
    return report, dict(zip(labels, footage, strict=True))


def run_labels(paths: Sequence[Path]) -> list[str]:
    """The shortest endings of paths that tell them apart: `a/seed-1` and `b/seed-1`.

    Raises:
        InputError: a run is named twice.
    """
    whole = [path.resolve().parts for path in paths]
    for i, parts in enumerate(whole):
        if parts in whole[:i]:
            raise InputError(f"the run in {paths[i]} is named twice.")
    for depth in range(1, max(map(len, whole)) + 1):
        labels = ["/".join(parts[-depth:]) for parts in whole]
        if len(set(labels)) == len(labels):
            return labels
    raise AssertionError("different paths that can't be told apart")


def runs_folder(paths: Sequence[Path]) -> Path:
    """Where a comparison of these runs is written if nobody says: `runs/compare-a-b`."""
    labels = run_labels([run_path(path) for path in paths])
    return Path("runs") / re.sub(r"[^A-Za-z0-9_.=-]+", "-", "-".join(["compare", *labels]))[:80].rstrip("-.")


def _check_vbench(metrics: Sequence[Metric], weights: Path | None) -> None:
    if names := _vbench_names(metrics):
        vbench.check(weights, names)
    elif weights is not None:
        raise InputError("--vbench names weights, but --metrics asks for no VBench metric; add vbench to it.")


def _vbench_names(metrics: Sequence[Metric]) -> list[str]:
    return [metric.key.removeprefix(vbench.PREFIX) for metric in metrics if metric in vbench.METRICS]


def _words(footage: Footage) -> list[Any]:
    """What a run's story says, shot by shot."""
    return [[shot["drawn_from"]["prompt"], shot["drawn_from"]["scene"]] for shot in footage.manifest["shots"]]


def _report(
    takes: Takes, labels: Sequence[str], seeds: Sequence[int], reference: str, metrics: Sequence[Metric],
    vbench_weights: Path | None, device: str, on_measure: OnMeasure,
) -> dict[str, Any]:  # fmt: skip
    import torch

    from moc.profile.timing import machine
    from moc.run.device import resolve_device

    notes: list[str] = []
    values: dict[tuple[str, int], Values] = {}
    tables: dict[tuple[str, int], pd.DataFrame] = {}
    for (label, seed), footage in takes.items():
        on_measure(label if len(seeds) == 1 else f"{label}, seed {seed}")
        other = None if label == reference else takes[reference, seed]
        values[label, seed], table = _measure(footage, other, metrics)
        if table is not None:
            tables[label, seed] = table
    if names := _vbench_names(metrics):
        assert vbench_weights is not None
        on_measure("VBench")
        _add_vbench(takes, values, vbench_weights, names, resolve_device(device))
    unread = [label for label in labels if not takes[label, seeds[0]].of_the_world]
    if unread and any(metric in WORLD for metric in metrics):
        notes.append(f"{', '.join(unread)}: not drawn by the built-in model, so the reader can't read it.")
    shown = [*metrics, *COSTS]
    return {
        "title": takes[labels[0], seeds[0]].manifest["title"],
        "seeds": list(seeds),
        "reference": reference,
        "machine": machine(torch.device(resolve_device(device))),
        "metrics": [metric.to_dict() for metric in shown],
        "arms": [_arm(label, seeds, reference, values, tables, takes, shown) for label in labels],
        "notes": notes,
    }


def _arm(
    label: str, seeds: Sequence[int], reference: str, values: Mapping[tuple[str, int], Values],
    tables: Mapping[tuple[str, int], pd.DataFrame], takes: Takes, shown: Sequence[Metric],
) -> dict[str, Any]:  # fmt: skip
    """One arm's part of the report."""
    found: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    for metric in shown:
        mine = [values[label, seed].get(metric.key) for seed in seeds]
        found[metric.key] = summary(mine, metric.low, metric.high)
        if label != reference and metric not in AGREEMENT:
            theirs = [values[reference, seed].get(metric.key) for seed in seeds]
            differences[metric.key] = difference(mine, theirs, metric.span)
    drawn = [tables[label, seed] for seed in seeds if (label, seed) in tables]
    levels = {metric.key: consistency.chance(drawn, metric) for metric in (consistency.CHARACTERS, consistency.PLACES)}
    return {
        "label": label,
        "values": {key: value["mean"] for key, value in found.items()},
        "intervals": {key: value["interval"] for key, value in found.items()},
        "against_reference": differences or None,
        "chance": levels if len(drawn) > 1 else None,
        "per_seed": {str(seed): values[label, seed] for seed in seeds},
        "folders": [str(takes[label, seed].folder.path) for seed in seeds],
    }


def _drawn(manifest: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """How the arms were drawn, by the manifest of the first; None for a model's own number of steps."""
    from moc.backbones.pocket.planning import STEPS

    story = manifest["storyboard"]
    own = STEPS if story["model"] == BUILT_IN else None
    changes = {key: value for key, value in job.changes.items() if key not in ("sampling.mode", "sampling.steps")}
    return {"mode": manifest["mode"], "steps": story["sampling"]["steps"] or own, "set": changes}


def _describe(told: dict[str, Any], arm: Arm, job: Job) -> None:
    story = job.story_of(arm, job.seeds[0])
    pattern = story.attention.pattern or "moc"
    told |= {"pattern": pattern, "summary": PATTERNS[pattern].summary, "source": PATTERNS[pattern].source}
    told["model"] = story.model


def _measure(
    footage: Footage, reference: Footage | None, metrics: Sequence[Metric]
) -> tuple[Values, pd.DataFrame | None]:
    """All values of one run but VBench's, and the rows that the reader read."""
    keys = {metric.key for metric in metrics}
    values: Values = {**measured(footage.manifest), **gauged(footage.folder.path, list(footage.ids))}
    table = None
    if footage.of_the_world:
        values |= counted(footage.story)
        if keys & {metric.key for metric in WORLD}:
            table = _read(footage)
            values[NAMED_RIGHT.key] = named_right(table)
            for metric in (consistency.CHARACTERS, consistency.PLACES):
                values[metric.key] = consistency.consistency(table, metric)
    if PLACE_COLOURS.key in keys:
        values[PLACE_COLOURS.key] = place_colours(footage, footage.scenes)
    if SMOOTHNESS.key in keys:
        values[SMOOTHNESS.key] = motion_smoothness(footage.values())
    if keys & {DYNAMIC_DEGREE.key, MOTION.key}:
        moved = [mobility(frames, footage.fps) for frames in footage.values()]
        values |= {DYNAMIC_DEGREE.key: dynamic_degree(moved), MOTION.key: motion(moved, footage.fps)}
    alike = reference is not None and (footage.size, footage.lengths) == (reference.size, reference.lengths)
    if reference is not None and alike and keys & {PSNR.key, SSIM.key}:
        values |= {
            PSNR.key: psnr(footage.values(), reference.values()),
            SSIM.key: ssim(footage.values(), reference.values()),
        }
    return values, table


def _read(footage: Footage) -> pd.DataFrame:
    from moc.metrics.story import read_story
    from moc.world.reader import load_reader

    return read_story(footage.story, footage, load_reader("cpu"))


def _add_vbench(
    takes: Takes, values: dict[tuple[str, int], Values], weights: Path, names: Sequence[str], device: str
) -> None:
    materials = {
        f"{label}\n{seed}": vbench.Material(one.folder.video, one.clips) for (label, seed), one in takes.items()
    }
    for key, found in vbench.measure(materials, weights, names, device).items():
        label, _, seed = key.rpartition("\n")
        values[label, int(seed)] |= found

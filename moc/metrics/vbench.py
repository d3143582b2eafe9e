"""The VBench dimensions of the paper's tables, computed by the `vbench` package itself, with weights that you supply.

VBench (Huang et al., CVPR 2024, arXiv 2311.17982) measures with large networks: DINO, CLIP, an aesthetic head, MUSIQ,
AMT and RAFT. The package would download them; here it may not: a missing file is named and refused before any work.
It runs in a process of its own, because it wants its settings before it is imported, prints to stdout, and pins
versions of other packages (numpy below 2, transformers 4.33): `MOC_VBENCH_PYTHON` names the Python of another
environment that has it.

Consistency is measured on the story's whole video, since remembering across cuts is what it should tell; motion and
quality on the clip of each shot, since a cut is no motion. The paper does not say on what it measured. Torch-free.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from moc.errors import InputError, MocError
from moc.metrics.metric import Metric

PYTHON_VARIABLE = "MOC_VBENCH_PYTHON"
PREFIX = "vbench_"
_SOURCE = "vbench package; Huang et al., CVPR 2024"


def _metric(name: str, heading: str, says: str, better: str = "higher") -> Metric:
    return Metric(PREFIX + name, heading, says, 0.0, 1.0, better, source=_SOURCE, form="{:.4f}")  # type: ignore[arg-type]


METRICS = (
    _metric("subject_consistency", "subject\ncons.", "likeness of DINO features between frames of the whole video"),
    _metric("background_consistency", "backgr.\ncons.", "likeness of CLIP features between frames of the whole video"),
    _metric("motion_smoothness", "smooth-\nness", "how well AMT foretells every second frame, shot by shot"),
    _metric("dynamic_degree", "dynamic\ndegree", "share of shots with large RAFT optical flow", "neither"),
    _metric("aesthetic_quality", "aesthetic\nquality", "LAION's aesthetic head on CLIP features, shot by shot"),
    _metric("imaging_quality", "imaging\nquality", "MUSIQ trained on SPAQ, shot by shot"),
)
NAMES = tuple(metric.key.removeprefix(PREFIX) for metric in METRICS)
WHOLE_VIDEO = ("subject_consistency", "background_consistency")

FILES = {
    "subject_consistency": (
        "dino_model/facebookresearch_dino_main/hubconf.py",
        "dino_model/dino_vitbase16_pretrain.pth",
    ),
    "background_consistency": ("clip_model/ViT-B-32.pt",),
    "motion_smoothness": ("amt_model/amt-s.pth",),
    "dynamic_degree": ("raft_model/models/raft-things.pth",),
    "aesthetic_quality": ("clip_model/ViT-L-14.pt", "aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth"),
    "imaging_quality": ("pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",),
}
"""What each dimension reads, where the package looks for it in its cache folder (vbench 0.1.5)."""


@dataclass(frozen=True)
class Material:
    """What is measured of one run: its whole video, and the clip of each shot."""

    video: Path
    clips: Sequence[Path]


def check(weights: Path | None, names: Sequence[str]) -> None:
    """See that the package and every file it would read are there.

    Args:
        weights: folder laid out as the package's cache; names: dimensions, of `NAMES`.

    Raises:
        InputError: no package, no folder, or a file is missing.
    """
    python = os.environ.get(PYTHON_VARIABLE)
    if python is None and find_spec("vbench") is None:
        raise InputError(
            "the VBench metrics need the package vbench, which the extra vbench brings; or, as it pins old versions of "
            "others, pip install vbench 'setuptools<81' into an environment of its own and set "
            f"{PYTHON_VARIABLE} to the Python there."
        )
    if python is not None and not os.access(python, os.X_OK):
        raise InputError(f"{PYTHON_VARIABLE}={python} is no program that can be run.")
    if weights is None:
        raise InputError("the VBench metrics need weights that moc does not ship; name their folder: --vbench FOLDER.")
    missing = [file for name in names for file in FILES[name] if not (weights / file).is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{weights} lacks {', '.join(missing[:3])}{more}, which the VBench metrics read.")


def measure(
    materials: Mapping[str, Material], weights: Path, names: Sequence[str] = NAMES, device: str = "cpu"
) -> dict[str, dict[str, float]]:
    """Run VBench over all runs at once.

    Args:
        materials: what to measure, by the name of the run.
        weights: folder laid out as the package's cache.
        names: dimensions, of `NAMES`.
        device: as torch names it.

    Returns:
        value by key (`vbench_...`) for each run; clips of a run are averaged.

    Raises:
        InputError: as `check`. MocError: the package failed.
    """
    check(weights, names)
    found: dict[str, dict[str, float]] = {name: {} for name in materials}
    with tempfile.TemporaryDirectory(prefix="moc-vbench-") as folder:
        jobs = []
        for kind, chosen in (
            ("whole", [name for name in names if name in WHOLE_VIDEO]),
            ("clips", [name for name in names if name not in WHOLE_VIDEO]),
        ):
            if chosen:
                place = Path(folder) / kind
                _lay_out(place, materials, kind)
                jobs.append({"name": kind, "videos": str(place), "dimensions": chosen})
        for job in _run(jobs, Path(folder), weights, device):
            for name, videos in job.items():
                for run, value in _means(name, videos).items():
                    found[list(materials)[run]][PREFIX + name] = value
    return found


def _lay_out(place: Path, materials: Mapping[str, Material], kind: str) -> None:
    """Links to the videos under names that tell the run: `0003-07.mp4` is clip 7 of run 3."""
    place.mkdir()
    for run, material in enumerate(materials.values()):
        for number, clip in enumerate([material.video] if kind == "whole" else material.clips):
            (place / f"{run:04d}-{number:02d}.mp4").symlink_to(clip.resolve())


def _means(name: str, videos: Sequence[Mapping[str, object]]) -> dict[int, float]:
    values: dict[int, list[float]] = defaultdict(list)
    scale = 0.01 if name == "imaging_quality" else 1.0  # of single videos VBench gives this one in percent
    for video in videos:
        run = int(Path(str(video["video_path"])).name.partition("-")[0])
        values[run].append(scale * float(video["video_results"]))  # type: ignore[arg-type]
    return {run: sum(found) / len(found) for run, found in values.items()}


def _run(
    jobs: Sequence[Mapping[str, object]], folder: Path, weights: Path, device: str
) -> list[dict[str, list[dict[str, object]]]]:
    """The package's results of each job: by dimension, one entry a video."""
    hub = folder / "torch" / "hub" / "checkpoints"  # where DINO's own loader looks before it would download
    hub.mkdir(parents=True)
    dino = weights / "dino_model" / "dino_vitbase16_pretrain.pth"
    if dino.is_file():
        (hub / dino.name).symlink_to(dino.resolve())
    request = {"device": device, "out": str(folder / "out"), "jobs": list(jobs)}
    (folder / "request.json").write_text(json.dumps(request))
    python = os.environ.get(PYTHON_VARIABLE, sys.executable)
    worker = Path(__file__).with_name("vbench_worker.py")
    done = subprocess.run(
        [python, str(worker), str(folder / "request.json"), str(folder / "result.json")],
        env={**os.environ, "VBENCH_CACHE_DIR": str(weights.resolve()), "TORCH_HOME": str(folder / "torch")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise MocError(f"VBench failed: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")
    result: list[dict[str, list[dict[str, object]]]] = json.loads((folder / "result.json").read_text())
    return result

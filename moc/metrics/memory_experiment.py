"""One experiment of memory: draw stories of returning people, render them with a model, read what is there.

What it gives is rows; `moc.metrics.memory.summary` and `moc.metrics.memory_motion.motion_summary` make numbers of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.precision import fast_products
from moc.backbones.pocket.world_stream import ShotCost, stream_world
from moc.config import MoCConfig
from moc.metrics.memory import Table, summary
from moc.metrics.memory_motion import motion_rows, motion_summary
from moc.metrics.world import readings
from moc.world.reader import Reader
from moc.world.recurrence import NAMED, recurring_stories
from moc.world.render import render
from moc.world.sampler import Split

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True)
class Experiment:
    """What is rendered.

    Attributes:
        table: "planted" gives the model first looks from the ground truth, "free" nothing.
        stories, shots, latent_frames: how many stories, their shots, and the latent frames of each.
        config: attention.
        steps: of sampling; guidance: its scale, None for the model's own, 1 for none.
        seed: of stories and noise: experiments of one seed tell the same stories, so they can be compared in pairs.
        split, named: of the stories, see `recurring_stories`.
        batch: stories at a time; None for as many as suit their length.
        motion: whether motion is measured as well, for which the ground truth is rendered, too.
    """

    table: Table
    stories: int = 256
    shots: int = 8
    latent_frames: int = 16
    config: MoCConfig = field(default_factory=lambda: MoCConfig.preset("pocket"))
    steps: int = STEPS
    guidance: float | None = None
    seed: int = 2024
    split: Split = "heldout"
    named: float = NAMED
    batch: int | None = None
    motion: bool = True

    @property
    def stories_at_once(self) -> int:
        """Stories of a batch: 32 of eight shots, fewer of longer ones, as all keys and frames are kept."""
        return self.batch or max(1, min(self.stories, 256 // self.shots))


@dataclass
class Result:
    """What came out.

    Attributes:
        rows: of `readings`, with `planted`.
        motion: of `motion_rows`, without planted shots; None where it was not measured.
        costs: one list a batch, of its shots.
        sparsity: mean over stories; seconds: of rendering alone.
    """

    rows: pd.DataFrame
    motion: pd.DataFrame | None
    costs: list[list[ShotCost]]
    sparsity: float
    seconds: float


def run(
    experiment: Experiment,
    model: PocketDiT,
    reader: Reader,
    *,
    device: torch.device | str,
    on_shot: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Render and read all stories; in the precision of `moc generate`.

    Args:
        on_shot: called with (shots done, shots in all); a batch's shot counts once for each of its stories.

    Raises:
        ValueError: counts or attention that make no sense.
    """
    import pandas as pd

    device = torch.device(device)
    generator = torch.Generator().manual_seed(experiment.seed)
    everything, given = recurring_stories(
        experiment.stories, experiment.shots, generator=generator, split=experiment.split, named=experiment.named
    )
    if experiment.table == "free":
        given = torch.zeros_like(given)
    tables, motions, costs, sparsities, seconds = [], [], [], [], 0.0
    total = experiment.stories * experiment.shots
    size = experiment.stories_at_once
    for first in range(0, experiment.stories, size):
        part = slice(first, min(first + size, experiment.stories))
        stories, count = everything[part].to(device), part.stop - part.start
        began = time.monotonic()

        def tell(number: int, first: int = first, count: int = count) -> None:
            on_shot(first * experiment.shots + number * count, total)

        with fast_products(model):
            streamed = stream_world(
                model, stories, experiment.config, latent_frames=experiment.latent_frames, steps=experiment.steps,
                seed=experiment.seed, planted=given[part], guidance=experiment.guidance, first_story=first,
                on_shot=tell,
            )  # fmt: skip
        seconds += time.monotonic() - began
        costs.append(streamed.costs)
        sparsities += [streamed.sparsity] * count
        tables.append(_placed(readings(stories, streamed.frames, reader, open_hats=True), given[part], first))
        if experiment.motion:
            truth = render(stories, frames=streamed.frames.shape[2]).frames
            motions.append(_placed(motion_rows(stories, streamed.frames, truth, reader), given[part], first))
    motion = pd.concat(motions, ignore_index=True) if motions else None
    return Result(
        rows=pd.concat(tables, ignore_index=True),
        motion=None if motion is None else motion[~motion["planted"]].reset_index(drop=True),
        costs=costs,
        sparsity=sum(sparsities) / len(sparsities),
        seconds=seconds,
    )


def _placed(rows: pd.DataFrame, given: Tensor, first: int) -> pd.DataFrame:
    """Rows of a batch as rows of the experiment: with `planted` as `given` `[B, S]` says, counting on from `first`."""
    planted = given.numpy()[rows["story"].to_numpy(), rows["shot"].to_numpy()]
    return rows.assign(planted=planted, story=rows["story"] + first)


def report(experiment: Experiment, result: Result) -> dict[str, Any]:
    """All numbers of an experiment as plain data: `summary`, motion, cost by shot, sparsity and what was asked."""
    asked = asdict(experiment) | {"config": asdict(experiment.config)}
    return {
        "table": experiment.table,
        "stories": experiment.stories,
        "shots": experiment.shots,
        "sparsity": result.sparsity,
        **summary(result.rows, experiment.table, stories=experiment.stories),
        "motion": None if result.motion is None else motion_summary(result.motion, stories=experiment.stories),
        "cost": cost_by_shot(result.costs),
        "seconds": result.seconds,
        "experiment": asked,
    }


def cost_by_shot(costs: list[list[ShotCost]]) -> list[dict[str, float | int | None]]:
    """By shot: median seconds a story over the batches, and the largest of everything else.

    The first batch, which warms up, is left out where there are others; a shot that is planted in all stories of all
    batches has no seconds.
    """
    import numpy as np

    counted = []
    for shots in zip(*costs, strict=True):
        timed = [c.seconds for c in (shots[1:] or shots) if c.flops]
        peaks = [c.peak_bytes for c in shots if c.peak_bytes is not None]
        counted.append(
            {
                "shot": shots[0].number,
                "seconds": float(np.median(timed)) if timed else None,
                "flops": max(c.flops for c in shots),
                "kept_bytes": max(c.kept_bytes for c in shots),
                "read_bytes": max(c.read_bytes for c in shots),
                "peak_bytes": max(peaks) if peaks else None,
            }
        )
    return counted

"""What `moc train` reads: one YAML file into small dataclasses, unknown keys refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Attributes:
        steps: optimiser steps.
        stories: stories of the global batch (over all GPUs).
        latent_frames: latent frames of each shot (16 are 8 s).
        shots: shots of each story.
        chunk_tokens: tokens of a chunk, or "frame" (progressive sparsification shrinks it stage by stage).
        top_k: routed chunks of each query.
        micro_stories: as in `TrainConfig`, for this stage alone.
    """

    steps: int
    stories: int = 32
    latent_frames: int = 4
    shots: int = 8
    chunk_tokens: int | str = "frame"
    top_k: int = 5
    micro_stories: int | None = None


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training run depends on besides the code.

    Attributes:
        seed: of initial weights and of all data.
        model: overrides of `PocketConfig`.
        stages: run in order.
        micro_stories: stories of one forward pass. The global batch is split into that many pieces whatever the number
            of GPUs, and every piece draws its own data, so the loss curve does not depend on how many GPUs share them.
        init: weights file to start from instead of random ones, "" for none.
        lr, warmup, decay: AdamW learning rate, steps of linear warm-up, and steps of linear decay at the end.
        weight_decay, beta2, clip: AdamW's, and the norm gradients are clipped to.
        ema: decay of the averaged weights that are shipped.
        shift, t_mean, t_std: timesteps are logit-normal(t_mean, t_std), then t = s u / (1 + (s - 1) u).
        character_weight: pixels of characters count this many times more than the scene: they are small and vary most.
        t_floor: the velocity weight 1/t^2 of the loss stops growing below this timestep.
        noise: "scales" (noise with power at every scale) or "white".
        clean_history, near_clean_history: share of stories whose history is exactly clean, and nearly (t < 0.08);
            in the rest all shots share one noise level, as in joint sampling.
        continued: share of shots that go on where the shot before them stopped, without a cut.
        drop_routes: share of stories trained with no routed link at all (so that a run without memory is still sharp).
        drop_text: share of stories without any text (for guidance).
        drop_off_max, drop_in_rate: the paper's regularisers (section 3.1); it gives no values, these are ours.
        bf16: autocast on CUDA.
        compile: compile the halves of each block on CUDA.
        log_every: steps between log rows.
        checkpoint_minutes: minutes between checkpoints.
        sample_every: steps between sample videos, 0 for none.
    """

    stages: tuple[Stage, ...]
    seed: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)
    micro_stories: int = 16
    init: str = ""
    lr: float = 6e-4
    warmup: int = 200
    decay: int = 1000
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip: float = 1.0
    ema: float = 0.999
    shift: float = 3.0
    t_mean: float = 0.0
    t_std: float = 1.0
    t_floor: float = 0.08
    character_weight: float = 3.0
    noise: str = "scales"
    clean_history: float = 0.6
    near_clean_history: float = 0.25
    continued: float = 0.1
    drop_routes: float = 0.1
    drop_text: float = 0.05
    drop_off_max: float = 0.5
    drop_in_rate: float = 0.5
    bf16: bool = True
    compile: bool = True
    log_every: int = 20
    checkpoint_minutes: float = 2.0
    sample_every: int = 1000

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: a training needs at least one stage")
        for number, stage in enumerate(self.stages, 1):
            if stage.stories % self.micro_of(stage):
                raise ValueError(
                    f"stages[{number}].stories = {stage.stories} must be a multiple of micro_stories = "
                    f"{self.micro_of(stage)}"
                )
            if min(stage.steps, stage.stories, stage.latent_frames, stage.shots) < 1 or stage.top_k < 0:
                raise ValueError(f"stages[{number}] must have positive sizes and top_k >= 0: {stage}")
        if self.noise not in ("scales", "white"):
            raise ValueError(f"noise = {self.noise!r} must be 'scales' or 'white'")

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def micro_of(self, stage: Stage) -> int:
        """Stories of one forward pass in `stage`."""
        return stage.micro_stories or self.micro_stories

    def stage_at(self, step: int) -> tuple[int, Stage]:
        """Index and stage of optimiser step `step` (0-based)."""
        for index, stage in enumerate(self.stages):
            if step < stage.steps:
                return index, stage
            step -= stage.steps
        return len(self.stages) - 1, self.stages[-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return asdict(self) | {"model": dict(self.model)}


def _checked(kind: type, values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping of settings, not {type(values).__name__}")
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r}{hint}")
    return dict(values)


def parse(values: Any, where: str = "config") -> TrainConfig:
    """Build a `TrainConfig` from plain YAML values.

    Raises:
        ValueError: an unknown key (with the nearest known one) or a value out of range.
    """
    values = _checked(TrainConfig, values, where)
    stages = values.get("stages")
    if not isinstance(stages, list):
        raise ValueError(f"{where}: 'stages' must be a list of stages")
    values["stages"] = tuple(Stage(**_checked(Stage, s, f"{where}.stages[{i}]")) for i, s in enumerate(stages, 1))
    config = TrainConfig(**values)
    floats: dict[str, Any] = {}
    for f in fields(TrainConfig):
        value, default = getattr(config, f.name), f.default
        if isinstance(default, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
            floats[f.name] = float(value)  # YAML 1.1 reads 1e-4 as a string
        elif isinstance(default, int | float | str | bool) and type(value) is not type(default):
            raise ValueError(f"{where}: {f.name} = {value!r} must be {type(default).__name__}")
    return replace(config, **floats)


def load(path: Path | str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a training config; `overrides` replace top-level keys.

    Raises:
        ValueError: as `parse`, or the file is not readable YAML.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read as a training config: {error}") from error
    if isinstance(values, Mapping) and overrides:
        values = {**values, **overrides}
    return parse(values, str(path))

"""Progressive sparsification: chunks that shrink while the model trains. Torch-free.

The paper trains with chunks of 10240, 5120, 2560 and 1280 tokens and k = 5 (App. F); when the stages change it does
not say. Its introduction and App. G speak of changing k as well, so a stage may change any training knob.

For training loops of your own. The stages of `moc train` (`moc.training.config.Stage`) are another thing: they have
lengths instead of first steps, and besides chunks and k they set batch, shots and frames of the stories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from moc.config import ChunkTokens, MoCConfig

PAPER_CHUNKS = (10240, 5120, 2560, 1280)


@dataclass(frozen=True)
class Stage:
    """Settings from one training step on; None keeps what the config says.

    Raises:
        ValueError: the step is negative, or a setting out of range.
        TypeError: the step is no integer, or a setting of the wrong type.
    """

    step: int
    chunk_tokens: ChunkTokens | None = None
    top_k: int | None = None
    drop_off_max: float | None = None
    drop_in_rate: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.step, bool) or not isinstance(self.step, int):
            raise TypeError(f"step of a stage must be an integer, got {self.step!r}")
        if self.step < 0:
            raise ValueError(f"step of a stage must be at least 0, got {self.step}")
        self.apply(MoCConfig())  # a setting out of range shows now, not in the middle of training

    def apply(self, config: MoCConfig) -> MoCConfig:
        """`config` with this stage's settings."""
        changes = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "step"}
        return config.replace(**{name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class Schedule:
    """Stages in order of their first step, the first at step 0.

    Raises:
        ValueError: there is no stage, none at step 0, or steps don't rise.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        steps = [stage.step for stage in self.stages]
        if not steps or steps[0] != 0:
            raise ValueError(f"a schedule starts with a stage at step 0, got stages at {steps}")
        if any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"stages must come in order of rising steps, got {steps}")

    @classmethod
    def paper(cls, total_steps: int, chunks: Sequence[ChunkTokens] = PAPER_CHUNKS) -> Schedule:
        """The paper's sequence of chunk sizes, each for an equal share of `total_steps` (the shares are ours)."""
        if total_steps < len(chunks):
            raise ValueError(f"{len(chunks)} stages need at least as many steps, got {total_steps}")
        return cls(tuple(Stage(i * total_steps // len(chunks), chunk) for i, chunk in enumerate(chunks)))

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Schedule:
        """A schedule from mappings such as `{"step": 0, "chunk_tokens": 512}`.

        Raises:
            ValueError: a key is unknown or missing, or a value out of range.
        """
        known = [f.name for f in fields(Stage)]
        stages = []
        for row in rows:
            unknown = [key for key in row if key not in known]
            if unknown or "step" not in row:
                what = f"unknown key {unknown[0]!r}" if unknown else "no step"
                raise ValueError(f"{what} in a schedule stage, known keys are {', '.join(known)}")
            stages.append(Stage(**row))
        return cls(tuple(stages))

    def at(self, step: int) -> Stage:
        """The stage that holds at a training step, counted from 0.

        Raises:
            ValueError: the step is negative.
        """
        if step < 0:
            raise ValueError(f"step must be at least 0, got {step}")
        return [stage for stage in self.stages if stage.step <= step][-1]

    def config_at(self, step: int, config: MoCConfig) -> MoCConfig:
        """`config` as the stage at `step` sets it."""
        return self.at(step).apply(config)

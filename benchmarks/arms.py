"""A plan of trainings that differ in little: one YAML file into arms, each with the config that `moc train` reads.

    measure: {stories: 256, shots: 8, latent_frames: 4, steps: 10}   # how `measure_arm.py` looks at every arm
    at_once: 5                                                       # processes side by side on one GPU
    arms:
      base: {config: base.yaml, measure: false}
      dense: {config: stories.yaml, after: base, set: {pattern: dense}}

Keys of an arm: `config`, a file beside the plan; `after`, the arm whose weights it begins with; `set`, `stages` and
`last`, settings that replace the config's, those of all stages, and those of the last; `seeds`, how many trainings (the
second is named NAME-2, its seed is one more); `measure`, whether it is measured; `joint`, also with all shots denoised
together; `time`, whether `time_arms.py` times its steps.

Arms have as many steps as their config says. With equal time (`equal`) each has as long as the first arm that is timed
takes for its steps; NAME-time is such a twin of NAME.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from moc.backbones.pocket.weights import read_metadata
from moc.errors import InputError
from moc.training.config import TrainConfig, parse

WEIGHTS, RECORD, MEMORY = "weights.safetensors", "config.yaml", "memory.json"
SIZES = {"stories": 256, "shots": 8, "latent_frames": 4, "steps": 10, "seed": 2024}
Equal = Literal["steps", "time"]


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes:
        name: of the arm and its folder.
        values: what `moc train` reads, as plain values.
        after: name of the arm whose weights it begins with, "" for none.
        measure, joint, time: see the module.
        equal: what it has as much of as the others, "steps" or "time".
        kind: the arm that it is another seed or a twin of, "" for itself.
    """

    name: str
    values: dict[str, Any]
    after: str = ""
    measure: bool = True
    joint: bool = False
    time: bool = False
    equal: Equal = "steps"
    kind: str = ""

    @property
    def timed_as(self) -> str:
        """The arm whose seconds a step are this one's."""
        return self.kind or self.name

    @property
    def config(self) -> TrainConfig:
        """The config, checked."""
        return parse(self.values, self.name)

    def scaled(self, by: float) -> Arm:
        """The same with all steps, warm-up and decay multiplied."""
        if by == 1:
            return self

        def steps(n: int) -> int:
            return max(1, round(n * by))

        config = self.config
        stages = [{**stage, "steps": steps(stage["steps"])} for stage in self.values["stages"]]
        changes = {"stages": stages, "warmup": steps(config.warmup), "decay": steps(config.decay)}
        return replace(self, values={**self.values, **changes})


@dataclass(frozen=True)
class Plan:
    """All arms by name, how many run at once, and the sizes of a measurement."""

    arms: dict[str, Arm]
    at_once: int = 4
    sizes: dict[str, int] = field(default_factory=lambda: dict(SIZES))


def read_plan(path: Path) -> Plan:
    """The plan at `path`.

    Raises:
        ValueError: unknown keys, an `after` that is no arm, or a training config that is wrong.
    """
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    _known(values, ("arms", "at_once", "measure"), str(path))
    sizes = {**SIZES, **values.get("measure", {})}
    _known(sizes, tuple(SIZES), f"{path}: measure")
    arms: dict[str, Arm] = {}
    for name, given in values["arms"].items():
        for arm in _arms_of(name, given, path):
            arms[arm.name] = arm
            _ = arm.config  # shows mistakes now
    for name, arm in arms.items():
        if arm.after and (arm.after not in arms or arms[arm.after].after):
            raise ValueError(f"{path}: arm {name} comes after {arm.after!r}, which is no arm that comes first")
    return Plan(arms, values.get("at_once", 4), sizes)


def _arms_of(name: str, given: dict[str, Any], path: Path) -> list[Arm]:
    keys = ("config", "after", "set", "stages", "last", "seeds", "measure", "joint", "time")
    _known(given, keys, f"{path}: arm {name}")
    values = yaml.safe_load((path.parent / given["config"]).read_text(encoding="utf-8"))
    stages = [{**stage, **given.get("stages", {})} for stage in values["stages"]]
    stages[-1] |= given.get("last", {})
    values = {**values, **given.get("set", {}), "stages": stages}
    rest: dict[str, Any] = {key: given[key] for key in ("after", "measure", "joint", "time") if key in given}
    found = []
    for i in range(given.get("seeds", 1)):
        own = rest | ({"time": False, "kind": name} if i else {})
        found.append(Arm(f"{name}-{i + 1}" if i else name, {**values, "seed": values.get("seed", 0) + i}, **own))
    return found


def with_seeds(plan: Plan, most: int) -> Plan:
    """The plan with at most so many seeds of each arm."""
    kept, met = {}, dict[str, int]()
    for name, arm in plan.arms.items():
        met[arm.timed_as] = met.get(arm.timed_as, 0) + 1
        if met[arm.timed_as] <= most:
            kept[name] = arm
    return replace(plan, arms=kept)


def with_equal(plan: Plan, equal: Literal["steps", "time", "both"]) -> Plan:
    """The plan with arms of equal steps, of equal time, or both: then every timed arm but the first, whose steps and
    time are the measure, has a twin NAME-time."""
    if equal != "both":
        return replace(plan, arms={name: replace(arm, equal=equal) for name, arm in plan.arms.items()})
    timed = [arm for arm in plan.arms.values() if arm.time and arm.after]
    twins = (replace(arm, name=f"{arm.name}-time", equal="time", time=False, kind=arm.name) for arm in timed[1:])
    return replace(plan, arms=plan.arms | {arm.name: arm for arm in twins})


def _known(values: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    unknown = [key for key in values if key not in keys]
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(keys)}")


def is_trained(folder: Path) -> bool:
    """Whether the training in `folder` has made all steps of the config that is recorded there."""
    try:
        wanted = parse(yaml.safe_load((folder / RECORD).read_text(encoding="utf-8"))).steps
        done = json.loads(read_metadata(folder / WEIGHTS)["card"])["steps"]
    except (OSError, InputError, KeyError, ValueError):
        return False
    return bool(done >= wanted)

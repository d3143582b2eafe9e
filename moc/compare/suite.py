"""The benchmark of memory for every arm: many stories of returning people, told to each pattern from the same seed.

The stories, the reading and the statistics are those of `moc.metrics.memory`; here they are run once an arm, kept, and
put into one table. Stories are equal across arms, so differences are taken story by story. An arm that was measured
already with the same stories, settings and weights is taken from its file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.backbones.pocket.weights import SHIPPED, read_config
from moc.compare.arms import Arm, make_arms, reference_of, strange_patterns
from moc.compare.costs import counted_stream, weights_of
from moc.compare.memory_columns import COLUMNS, LEAST, OWNERS, values
from moc.compare.save import check_out
from moc.errors import InputError
from moc.patterns import PATTERNS

if TYPE_CHECKING:
    import pandas as pd

    from moc.config import MoCConfig
    from moc.metrics.memory_experiment import Experiment

LOOK = {"stories": 2, "shots": 4, "latent_frames": 4}
"""On a CPU: minutes for all patterns, enough to see that it works and no more."""
MEASUREMENT = {"stories": 256, "shots": 8, "latent_frames": 16}
"""On a GPU: the sizes of the tables in docs/memory.md."""
MOST_STORIES = 100_000
AHEAD = "moc-no-causal"
"""The one pattern that can't draw shot after shot."""
SHARED = ("stories", "shots", "latent_frames", "seed")
"""What all measurements of a folder have in common."""

OnShot = Callable[[str, int, int], None]
"""Told the arm, the shots that are done, and how many there are."""


@dataclass(frozen=True)
class Benchmark:
    """What is to be measured; None for what suits the device.

    Attributes:
        arms: patterns and weights; out: folder that keeps every arm's numbers and readings.
        stories, shots, latent_frames: of the benchmark; steps: of sampling, None for the model's own.
        seed: of stories and noise; device: as `moc generate` has it.
        force: measure anew over what was measured otherwise.
    """

    arms: tuple[Arm, ...]
    out: Path
    stories: int | None = None
    shots: int | None = None
    latent_frames: int | None = None
    steps: int | None = None
    seed: int = 2024
    device: str = "auto"
    force: bool = False

    def sized(self, device: str) -> Benchmark:
        """With a size for everything."""
        usual = MEASUREMENT if device.startswith("cuda") else LOOK
        return replace(
            self,
            stories=self.stories or usual["stories"],
            shots=self.shots or usual["shots"],
            latent_frames=self.latent_frames or usual["latent_frames"],
        )


def all_arms(attention: str | None, weights: str | None) -> tuple[Arm, ...]:
    """The arms that are named, or every pattern that can stream.

    Raises:
        InputError: as `make_arms`, or a pattern that can't stream.
    """
    if attention is not None and any(name.partition(":")[0].strip() == AHEAD for name in attention.split(",")):
        raise InputError(f"this benchmark draws shot after shot, and {AHEAD} looks at shots that are not there yet.")
    streaming = [name for name in PATTERNS if name != AHEAD]
    return tuple(make_arms(",".join(streaming) if attention is None else attention, weights))


def compare_memory(
    asked: Benchmark, *, reference: str | None = None, on_shot: OnShot = lambda label, done, total: None
) -> dict[str, Any]:
    """Measure every arm.

    Returns:
        a report as `compare_story` gives it, with the benchmark's own columns, and each arm's whole numbers in `told`.

    Raises:
        InputError: an arm, a size or a device that can't be served.
    """
    from moc.run.device import check_device, resolve_device

    labels = [arm.label for arm in asked.arms]
    held = reference_of(labels, reference)
    for name, most in (("stories", MOST_STORIES), ("shots", 1000), ("latent_frames", 16)):
        value = getattr(asked, name)
        if value is not None and not 1 <= value <= most:
            raise InputError(f"--{name.replace('_', '-')} must be from 1 to {most}, got {value}.")
    check_device(asked.device)
    configs = {arm.label: _config(arm) for arm in asked.arms}
    weights = {arm.label: _weights(arm) for arm in asked.arms}
    check_out(asked.out)

    import torch

    from moc.profile.timing import machine

    device = resolve_device(asked.device)
    asked = asked.sized(device)
    experiments = {arm.label: _experiment(asked, configs[arm.label]) for arm in asked.arms}
    if not asked.force:
        refuse_others(asked)
    told, rows = {}, {}
    for arm in asked.arms:
        say = _teller(on_shot, arm.label)
        told[arm.label], rows[arm.label] = _arm(asked, arm, experiments[arm.label], weights[arm.label], device, say)
    arms, patterns = [], []
    for arm in asked.arms:
        size = read_config(weights[arm.label])
        costs = counted_stream(size, configs[arm.label], [asked.latent_frames or 0] * (asked.shots or 0))
        pattern = configs[arm.label].pattern
        info = {"label": arm.label, "pattern": pattern, "model": weights[arm.label].stem, "chance": None}
        against = None if arm.label == held else _differences(rows[arm.label], rows[held], asked.stories or 0)
        info |= {"summary": PATTERNS[pattern].summary, "source": PATTERNS[pattern].source}
        patterns.append((pattern, weights[arm.label] == SHIPPED))
        arms.append({**info, **values(told[arm.label], costs), "against_reference": against, "told": told[arm.label]})
    return {
        "title": f"Memory: {asked.stories} {'story' if asked.stories == 1 else 'stories'}, {asked.shots} shots of "
        f"{asked.latent_frames} latent frames",
        "suite": "memory",
        "seeds": [asked.seed],
        "drawn": {"mode": "stream", "steps": _steps(asked), "set": {}},
        "reference": held,
        "machine": machine(torch.device(device)),
        "metrics": [metric.to_dict() for metric in COLUMNS],
        "arms": arms,
        "out": str(asked.out),
        "notes": [*_notes(asked), *strange_patterns(patterns)],
    }


def _teller(on_shot: OnShot, label: str) -> Callable[[int, int], None]:
    return lambda done, total: on_shot(label, done, total)


def _notes(asked: Benchmark) -> list[str]:
    notes, stories = [], asked.stories or 0
    if stories < LEAST:
        few = "one story is" if stories == 1 else f"{stories} stories are"
        notes.append(f"{few} too few for intervals; a measurement takes {MEASUREMENT['stories']}.")
    elif stories < MEASUREMENT["stories"]:
        notes.append(f"{stories} stories tell little; a measurement takes {MEASUREMENT['stories']}.")
    return notes


def _config(arm: Arm) -> MoCConfig:
    """The arm's attention.

    Raises:
        InputError: settings outside their range, or a pattern that can't stream.
    """
    from moc.backbones.pocket.planning import attention_of
    from moc.storyboard import Storyboard
    from moc.storyboard.model import Shot

    changes = {key: value for key, value in arm.changes.items() if key.startswith("attention.")}
    story = Storyboard(shots=(Shot(1, "one", "a dog", 1.0),)).overridden(changes, option=arm.label)
    return attention_of(story)


def _weights(arm: Arm) -> Path:
    path = weights_of(arm.changes.get("model", "pocket"))
    read_config(path)  # refuses what is no model of the built-in kind
    return path


def _steps(asked: Benchmark) -> int:
    from moc.backbones.pocket.planning import STEPS

    return asked.steps or STEPS


def _experiment(asked: Benchmark, config: MoCConfig) -> Experiment:
    from moc.metrics.memory_experiment import Experiment

    return Experiment(
        table="planted", stories=asked.stories or 0, shots=asked.shots or 0, latent_frames=asked.latent_frames or 0,
        config=config, steps=_steps(asked), seed=asked.seed,
    )  # fmt: skip


def _source(weights: Path, device: str) -> dict[str, str]:
    from moc.backbones.pocket.weights import fingerprint

    return {"weights_sha256": fingerprint(weights), "device": device}


def refuse_others(asked: Benchmark) -> None:
    """See that the folder holds no measurement but of what is asked, before one that took hours is thrown away.

    Raises:
        InputError: an arm's file there is of other stories, settings, weights or another device, which it names, or of
            arms that are not asked for with other stories; or it can't be read. Or as `compare_memory`.
    """
    from moc.run.device import resolve_device

    device = resolve_device(asked.device)
    asked = asked.sized(device)
    wanted = {
        arm.folder: asdict(_experiment(asked, _config(arm))) | _source(_weights(arm), device) for arm in asked.arms
    }
    for place in sorted(asked.out.glob("*.json")):
        mine = wanted.get(place.stem)
        if not place.is_file():
            continue
        try:
            told = json.loads(place.read_text(encoding="utf-8"))
            found = told["experiment"] | told["source"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if mine is None:
                continue  # compare.json and whatever else lies there
            raise InputError(
                f"{place} is no measurement that can be read; choose another --out, or add --force."
            ) from error
        mine = json.loads(json.dumps(mine or {key: getattr(asked, key, found.get(key)) for key in SHARED}))
        if apart := _first_apart(found, mine):
            raise InputError(f"{place} was measured with {apart}; choose another --out, or add --force.")


def _first_apart(found: Mapping[str, Any], mine: Mapping[str, Any]) -> str | None:
    """The first setting that differs, with both values; None where none does."""
    for key, value in mine.items():
        other = found.get(key)
        if other == value:
            continue
        if isinstance(value, dict) and isinstance(other, dict) and (inner := _first_apart(other, value)):
            return inner
        return f"{key} {str(other)[:16]}, here {str(value)[:16]}"
    return None


def _arm(
    asked: Benchmark, arm: Arm, experiment: Experiment, weights: Path, device: str, on_shot: Callable[[int, int], None]
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Numbers and readings of an arm, measured now or before."""
    import pandas as pd

    from moc.backbones.pocket.weights import load_model
    from moc.metrics.memory_experiment import report, run
    from moc.run.files import atomic, write_json
    from moc.world.reader import load_reader

    source = _source(weights, device)
    place, readings = asked.out / f"{arm.folder}.json", asked.out / f"{arm.folder}.csv"
    known = _known(place, experiment, source)
    if known is not None and readings.is_file():
        return known, pd.read_csv(readings)
    result = run(experiment, load_model(weights, device), load_reader(device), device=device, on_shot=on_shot)
    told = {**report(experiment, result), "source": source}
    with atomic(readings) as temporary:
        result.rows.to_csv(temporary, index=False)
    write_json(place, told)
    return told, result.rows


def _known(place: Path, experiment: Experiment, source: Mapping[str, str]) -> dict[str, Any] | None:
    """What was measured before, if it was the same."""
    try:
        told: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        same = (told["experiment"], told["source"]) == (json.loads(json.dumps(asdict(experiment))), dict(source))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if same else None


def _differences(rows: pd.DataFrame, reference: pd.DataFrame, stories: int) -> dict[str, Any]:
    """Recall minus the reference's on the same stories, with its interval."""
    from moc.metrics.memory import OPEN, recall_difference

    found = {}
    for name, owner in OWNERS.items():
        one = recall_difference(rows, reference, "planted", OPEN[owner], stories=stories)
        known = one.value == one.value
        found[f"recall_{name}"] = {
            "mean": one.value if known else None,
            "interval": [one.low, one.high] if known and stories >= LEAST else None,
        }
    return found

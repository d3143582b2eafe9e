"""The arms of a comparison: which attention pattern, with which settings, drawn with which weights. Torch-free."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moc.errors import InputError
from moc.patterns import PATTERNS
from moc.storyboard.problems import did_you_mean, shown

DEFAULT = "dense,moc,local"
REFERENCE = "dense"
MOST_ARMS = 24
TRAINING = ("drop_off_max", "drop_in_rate", "drop_in_max")
"""Settings that act in training alone."""


@dataclass(frozen=True)
class Arm:
    """One way to draw the story.

    Attributes:
        label: as people see it: `moc`, `moc:top_k=2`, `tiny`, `tiny dense`.
        pattern: name of the attention pattern; None for the story's own.
        changes: overrides of the story, by dotted key.
    """

    label: str
    pattern: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The label as the name of a folder."""
        return re.sub(r"[^A-Za-z0-9_.=-]+", "-", self.label).strip(".-") or "arm"


def make_arms(attention: str | None, weights: str | None) -> list[Arm]:
    """Every combination of what `--attention` and `--weights` name.

    Args:
        attention: names of patterns, separated by commas, each with settings of its own if wanted:
            `dense,moc:top_k=2:chunk_tokens=64`. None for `DEFAULT`, or for the story's own where weights are compared.
        weights: names of models or files of weights; None for the story's own model.

    Raises:
        InputError: an unknown pattern, a setting that it never reads, the same twice, or fewer than two arms.
    """
    arms = name_arms(attention, weights)
    check_count(arms)
    return arms


def check_count(arms: Sequence[Arm]) -> None:
    """Raises InputError where there are too few arms to compare, or too many to look at."""
    if not 2 <= len(arms) <= MOST_ARMS:
        raise InputError(f"a comparison needs 2 to {MOST_ARMS} arms, got {len(arms)} ({arms[0].label}).")


def name_arms(attention: str | None, weights: str | None) -> list[Arm]:
    """As `make_arms`, however many there are: a lone arm may have another mistake to tell of first.

    Raises:
        InputError: an unknown pattern, a setting that it never reads, or the same twice.
    """
    patterns = [Arm("")] if attention is None and weights else _patterns(DEFAULT if attention is None else attention)
    models = _models(weights) if weights else [Arm("")]
    arms = [
        Arm(" ".join(part for part in (model.label, one.label) if part), one.pattern, {**model.changes, **one.changes})
        for model in models
        for one in patterns
    ]
    counts = Counter(arm.folder.lower() for arm in arms)
    double = [arm.label for arm in arms if counts[arm.folder.lower()] > 1]
    if double:
        raise InputError(f"{shown(double[0])} is named twice; every arm of a comparison must differ.")
    return arms


def _patterns(text: str) -> list[Arm]:
    return [_pattern(part.strip()) for part in text.split(",")]


def _pattern(text: str) -> Arm:
    name, *settings = text.split(":")
    if name not in PATTERNS:
        raise InputError(f"--attention: there is no pattern {shown(name)}{did_you_mean(name, list(PATTERNS))}")
    changes = {"attention.pattern": name}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key == "pattern":
            raise InputError(f"--attention: {shown(text)} names its pattern before the first colon, {name}.")
        if not equals or not re.fullmatch("[a-z_]+", key):
            raise InputError(f"--attention: {shown(setting)} in {shown(text)} is not KEY=VALUE, such as top_k=2.")
        if key in TRAINING:
            raise InputError(f"--attention: {key} in {shown(text)} acts in training alone and would change nothing.")
        if key == "top_k" and PATTERNS[name].kind == "fixed":
            raise InputError(f"--attention: {name} chooses nothing, so {key} in {shown(text)} would change nothing.")
        changes[f"attention.{key}"] = value
    return Arm(text, name, changes)


def _models(text: str) -> list[Arm]:
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise InputError(f"--weights {shown(text)}: a name is missing before or after a comma.")
    short = [Path(name).stem if name.endswith(".safetensors") else name for name in names]
    if len(set(short)) < len(short):  # files of one name in several folders
        short = [str(Path(name).with_suffix("")) for name in names]
    return [Arm(label, None, {"model": name}) for label, name in zip(short, names, strict=True)]


def reference_of(labels: Sequence[str], asked: str | None) -> str:
    """The arm that the others are held against: the one asked for, else `dense`, else the first.

    Raises:
        InputError: no arm has that label.
    """
    if asked is None:
        return next((label for label in labels if label.split()[-1] == REFERENCE), labels[0])
    if asked not in labels:
        raise InputError(f"--reference: there is no arm {shown(asked)}{did_you_mean(asked, labels)}")
    return asked


def strange_patterns(arms: Iterable[tuple[str, bool]]) -> list[str]:
    """A note on patterns that the built-in weights were not trained under; `arms` are pairs of a pattern and whether it
    is drawn with those weights."""
    strange = list(dict.fromkeys(pattern for pattern, built_in in arms if built_in and pattern != "moc"))
    if not strange:
        return []
    ahead = " It never saw a later shot in training." if "moc-no-causal" in strange else ""
    return [
        f"{', '.join(strange)}: pocket was trained under moc, so this shows what another pattern does to its weights, "
        f"not how a model of its own would do.{ahead}"
    ]

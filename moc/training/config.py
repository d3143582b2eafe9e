"""What `moc train` reads: one YAML file into small dataclasses, unknown keys refused by name. Torch-free."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as shown  # values may be as long as the file: a message shows the beginning and the end
from typing import Any, TypeVar, cast

import yaml

from moc.backbones.pocket.config import PocketConfig
from moc.config import ChunkTokens, MoCConfig
from moc.errors import MocError
from moc.storyboard.files import read_text
from moc.training.strict_yaml import Loader

_Kind = TypeVar("_Kind")


MODEL_SETTINGS = ("width", "layers", "heads", "mlp", "head", "skip")  # what a training may choose of `PocketConfig`
ATTENTION_SETTINGS = (
    "pattern", "causal", "intra", "window_chunks", "text_links", "drop_off_max", "drop_in_rate",
)  # fmt: skip
"""What it may choose of `MoCConfig` besides what belongs to a stage."""


def looks_back_alone(moc: MoCConfig) -> bool:
    """Whether no row reaches a later shot under these settings, nor a chunk of its own shot by a route."""
    return moc.causal and moc.intra == "shot" and moc.text_links == "own"


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
        micro_stories, drop_off_max: as in `TrainConfig`, for this stage alone.

    Raises:
        ValueError: a value out of range.
    """

    steps: int
    stories: int = 32
    latent_frames: int = 4
    shots: int = 8
    chunk_tokens: int | str = "frame"
    top_k: int = 5
    micro_stories: int | None = None
    drop_off_max: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "stories", "latent_frames", "shots", "micro_stories"):
            _within(name, getattr(self, name), 1)
        _within("drop_off_max", self.drop_off_max, 0, 1)
        _within("top_k", self.top_k, 0)
        if self.chunk_tokens != "frame":
            if isinstance(self.chunk_tokens, bool) or not isinstance(self.chunk_tokens, int):
                raise ValueError(f'chunk_tokens = {shown(self.chunk_tokens)} must be a whole number or "frame"')
            _within("chunk_tokens", self.chunk_tokens, 1)


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training run depends on besides the code.

    Attributes:
        seed: of initial weights and of all data.
        model: sizes of the network, those of `MODEL_SETTINGS`.
        stages: run in order.
        rounds: the stages are gone through so many times, one after the other: shots of several lengths, mixed finely.
        micro_stories: stories of one forward pass. The global batch is split into that many pieces whatever the number
            of GPUs, and every piece draws its own data, so the loss curve does not depend on how many GPUs share them.
        init: weights file to start from instead of random ones, "shipped" for those of the built-in model, "" for none.
        optimizer: of the blocks' matrices: "adamw", or "muon" (orthogonalised momentum; the rest stays with AdamW).
        lr, warmup, decay: learning rate, steps of linear warm-up, and steps of linear decay at the end.
        weight_decay, beta2, clip: AdamW's, and the norm gradients are clipped to.
        ema: decay of the averaged weights that are shipped.
        shift, t_mean, t_std: timesteps are logit-normal(t_mean, t_std), then t = s u / (1 + (s - 1) u).
        character_weight: pixels of characters count this many times more than the scene: they are small and vary most.
        character_until: that weight falls to nothing between this timestep and 1, where a figure may still be anywhere
            and what weighs more is overdrawn.
        foreseen_weights: a token weighs in the loss what it could be expected to, and so nothing is overdrawn
            (`moc.training.foresight`).
        worn_weight: hats, scarves and coats with a pattern count this many times more than the rest of a figure.
        small_figures: figures weigh more the less of the shot they cover: the exponent of `data.figure_weights`.
        t_floor: the velocity weight 1/t^2 of the loss stops growing below this timestep.
        noise: "scales" (noise with power at every scale) or "white".
        clean_history, near_clean_history: share of stories whose history is exactly clean, and nearly (t < 0.08);
            in the rest all shots share one noise level, as in joint sampling. See `moc.training.data` for what the
            history is where shots may look ahead.
        continued: share of shots that go on where the shot before them stopped, without a cut.
        drop_routes: share of stories trained with no routed link at all (so that a run without memory is still sharp).
        drop_text: share of stories without any text, and without routes (for guidance).
        guidance: how strongly sampling follows the text unless a story says otherwise, 1 for not more than trained.
        guidance_from, guidance_to: between which timesteps it does.
        sampled_shift, last_step: shift of the timesteps of sampling, 0 for that of training, and the last of them but 0
            (`moc.sampling.timesteps`). As those of guidance they go into the header of the weights alone, but for what
            `on_grid` makes of them.
        on_grid, sampled_steps: share of shots whose timestep is one of those that sampling in so many steps visits,
            with `sampled_shift` and `last_step`, before `noisiest` takes its part: a small network need not know the
            others as well.
        noisiest: share of shots, besides, whose timestep is uniform between 0.95 and 1, where walls are decided, and
            where figures are.
        recognition, reading: weights of the losses that teach queries to find what they show in earlier shots, and
            values to hold how it looks (`moc.training.lessons`), 0 for none; for shots that look back alone. They fade
            as the learning rate does.
        named_most: captions of most stories name a share of all attributes that is uniform between 0 and this; the rest
            is left to memory (`moc.world.sampler.sample_stories`).
        omit: share of characters and scenes that the global text leaves out, and of named attributes that a shot's
            caption leaves out.
        pattern, causal, intra, window_chunks, text_links: attention, as in `MoCConfig`; chunk and k are the stage's.
        drop_off_max, drop_in_rate: the paper's regularisers (section 3.1); it gives no values, these are ours.
        bf16: autocast on CUDA.
        compile: compile the halves of each block on CUDA.
        log_every: steps between log rows.
        checkpoint_minutes: minutes between checkpoints.
        sample_every: steps between sample videos (a sheet of stories, as still and animation), 0 for none.

    Raises:
        ValueError: a value out of range.
    """

    stages: tuple[Stage, ...]
    seed: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)
    micro_stories: int = 16
    rounds: int = 1
    init: str = ""
    optimizer: str = "adamw"
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
    character_until: float = 1.0
    foreseen_weights: bool = False
    worn_weight: float = 0.0
    small_figures: float = 0.0
    noise: str = "scales"
    clean_history: float = 0.6
    near_clean_history: float = 0.25
    continued: float = 0.1
    drop_routes: float = 0.1
    drop_text: float = 0.05
    guidance: float = 1.0
    guidance_from: float = 0.0
    guidance_to: float = 1.0
    sampled_shift: float = 0.0
    last_step: float = 0.0
    on_grid: float = 0.0
    sampled_steps: int = 6
    noisiest: float = 0.0
    recognition: float = 0.0
    reading: float = 0.0
    named_most: float = 0.8
    omit: float = 0.1
    pattern: str = "moc"
    causal: bool = True
    intra: str = "shot"
    window_chunks: int = 1
    text_links: str = "own"
    drop_off_max: float = 0.5
    drop_in_rate: float = 0.5
    bf16: bool = True
    compile: bool = True
    log_every: int = 20
    checkpoint_minutes: float = 2.0
    sample_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("lr", "clip", "shift", "t_floor"):
            _within(name, getattr(self, name), 0, open_end=True)
        for name in ("rounds", "micro_stories", "log_every", "sampled_steps"):
            _within(name, getattr(self, name), 1)
        _within("seed", self.seed, 0, 2**63 - 1)
        for name in ("warmup", "decay", "weight_decay", "t_std", "character_weight", "worn_weight", "small_figures"):
            _within(name, getattr(self, name), 0)
        for name in ("checkpoint_minutes", "sample_every"):
            _within(name, getattr(self, name), 0)
        shares = ("beta2", "ema", "clean_history", "near_clean_history", "continued", "drop_routes", "drop_text")
        sampling = ("guidance_from", "guidance_to", "last_step", "on_grid")
        for name in (*shares, *sampling, "character_until", "noisiest", "named_most", "omit", "drop_off_max"):
            _within(name, getattr(self, name), 0, 1)
        _within("guidance", self.guidance, 0, 50)
        _within("drop_in_rate", self.drop_in_rate, 0, 64)
        for name in ("recognition", "reading", "sampled_shift"):
            _within(name, getattr(self, name), 0)
        _within("t_mean", self.t_mean, -math.inf)
        if self.clean_history + self.near_clean_history > 1 + 1e-9:
            raise ValueError(
                f"clean_history = {self.clean_history} and near_clean_history = {self.near_clean_history} are shares "
                "of all stories and must not sum to more than 1"
            )
        if self.noise not in ("scales", "white"):
            raise ValueError(f"noise = {shown(self.noise)} must be 'scales' or 'white'")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer = {shown(self.optimizer)} must be 'adamw' or 'muon'")
        if not self.stages:
            raise ValueError("stages: a training needs at least one stage")
        for number, stage in enumerate(self.stages, 1):
            if stage.stories % self.micro_of(stage):
                raise ValueError(
                    f"stages[{number}].stories = {stage.stories} must be a multiple of micro_stories = "
                    f"{self.micro_of(stage)}"
                )
            moc = self.attention(stage)  # shows mistakes now
            if (self.recognition or self.reading) and not looks_back_alone(moc):
                raise ValueError(
                    f"recognition = {self.recognition} and reading = {self.reading} must be 0 unless shots look back "
                    "alone, with causal: true, intra: shot and text_links: own"
                )

    def attention(self, stage: Stage) -> MoCConfig:
        """The attention of a stage.

        Raises:
            ValueError: no pattern, own link or text link has that name.
        """
        settings: dict[str, Any] = {name: getattr(self, name) for name in ATTENTION_SETTINGS}
        chunk_tokens = cast(ChunkTokens, stage.chunk_tokens)
        if stage.drop_off_max is not None:
            settings["drop_off_max"] = stage.drop_off_max
        return MoCConfig.preset("pocket").replace(**settings, chunk_tokens=chunk_tokens, top_k=stage.top_k)

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages, in all rounds."""
        return self.rounds * self.steps_of_a_round

    @property
    def steps_of_a_round(self) -> int:
        """Optimiser steps of all stages, once."""
        return sum(stage.steps for stage in self.stages)

    def network(self) -> PocketConfig:
        """Sizes of the network, with how it is sampled: timestep shift, noise, guidance, how far shots look back."""
        # fewer shots than the built-in model's leave its reach: such a run is a part of a longer training or a look
        reach = max(PocketConfig.reach, *(stage.shots - 1 for stage in self.stages))
        sampling = {
            "shift": self.sampled_shift or self.shift, "noise": self.noise, "guidance": self.guidance,
            "guidance_from": self.guidance_from, "guidance_to": self.guidance_to, "last_step": self.last_step,
            "reach": reach,
        }  # fmt: skip
        return PocketConfig(**{**self.model, **sampling})

    def micro_of(self, stage: Stage) -> int:
        """Stories of one forward pass in `stage`."""
        return stage.micro_stories or self.micro_stories

    def stage_at(self, step: int) -> tuple[int, Stage]:
        """Index and stage of optimiser step `step` (0-based)."""
        if step >= self.steps:
            return len(self.stages) - 1, self.stages[-1]
        step %= self.steps_of_a_round
        for index, stage in enumerate(self.stages):
            if step < stage.steps:
                return index, stage
            step -= stage.steps
        raise AssertionError("a round is as long as its stages")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return asdict(self) | {"model": dict(self.model)}


def _within(name: str, value: float | None, low: float, high: float = math.inf, *, open_end: bool = False) -> None:
    """Refuses a number outside low..high, `low` itself too when `open_end`; None stands for no number."""
    finite = isinstance(value, int) or value is None or math.isfinite(value)
    if value is None or (low <= value <= high and finite and not (open_end and value == low)):
        return
    if high < math.inf:
        wanted = f"lie in {low} to {high}"
    elif low > -math.inf:
        wanted = f"be {'more than' if open_end else 'at least'} {low:g}"
    else:
        wanted = "be a finite number"
    raise ValueError(f"{name} = {shown(value)} must {wanted}")


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def _real(value: Any) -> float:
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)  # YAML 1.1 reads 1e-4 as a string
    except (ValueError, OverflowError):
        pass
    raise ValueError("a number")


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


# By annotation; fields of any other kind check themselves.
_READERS: dict[str, Callable[[Any], Any]] = {
    "int": _whole,
    "float": _real,
    "bool": _truth,
    "str": _text,
    "int | None": lambda value: None if value is None else _whole(value),
    "float | None": lambda value: None if value is None else _real(value),
}


def _read(kind: type, values: Any, where: str) -> dict[str, Any]:
    """The settings of a dataclass from plain values: known keys, right types.

    Raises:
        ValueError: names the key, and what it must be or the nearest known one.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping of settings, not {type(values).__name__}")
    known = {f.name: f for f in fields(kind)}
    settings = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {shown(key)}{hint}")
        try:
            settings[key] = _READERS.get(str(known[key].type), lambda x: x)(value)
        except ValueError as wanted:
            raise ValueError(f"{where}: {key} = {shown(value)} must be {wanted}") from None
    for name, f in known.items():
        if name not in settings and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{where}: {name!r} is missing")
    return settings


def parse(values: Any, where: str = "config") -> TrainConfig:
    """Build a `TrainConfig` from plain YAML values.

    Raises:
        ValueError: an unknown key (with the nearest known one), a missing one, or a value of the wrong type or out of
            range; the sentence names the key.
    """
    settings = _read(TrainConfig, values, where)
    if not isinstance(settings["stages"], list):
        raise ValueError(f"{where}: 'stages' must be a list of stages")
    model = f"{where}.model"
    sizes = _read(PocketConfig, settings.get("model", {}), model)
    for name in sizes:
        if name not in MODEL_SETTINGS:
            raise ValueError(
                f"{model}: {name} is set by the story world or elsewhere; to choose are {', '.join(MODEL_SETTINGS)}"
            )
    _make(PocketConfig, sizes, model)  # shows mistakes now
    rows = [(f"{where}.stages[{i}]", row) for i, row in enumerate(settings["stages"], 1)]
    stages = tuple(_make(Stage, _read(Stage, row, at), at) for at, row in rows)
    return _make(TrainConfig, settings | {"stages": stages}, where)


def _make(kind: type[_Kind], settings: dict[str, Any], where: str) -> _Kind:
    try:
        return kind(**settings)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def load(path: Path | str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a training config; `overrides` replace top-level keys, or sizes of the model as `model.width`.

    Raises:
        ValueError: as `parse`, or the file is not readable YAML.
    """
    if Path(path).is_dir():
        raise ValueError(f"{path}: this is a directory; name a training config, such as train.yaml")
    try:
        text, _ = read_text(path)
    except MocError as error:
        raise ValueError(str(error)) from None
    try:
        values = yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        at = f":{error.problem_mark.line + 1}:{error.problem_mark.column + 1}" if error.problem_mark else ""
        raise ValueError(f"{path}{at}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for a training config") from None
    if isinstance(values, Mapping) and overrides:
        values = dict(values)
        for key, value in overrides.items():
            section, dot, name = key.partition(".")
            if dot and section == "model" and isinstance(values.get("model", {}), Mapping):
                values["model"] = {**values.get("model", {}), name: value}
            else:
                values[key] = value
    return parse(values, str(path))

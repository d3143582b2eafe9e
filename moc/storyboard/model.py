"""`Storyboard`: a story as data, every value checked. The fields below are the format.

Each field carries its kind (what it may hold) and one sentence of documentation; the reader, the JSON Schema and the
writer are all driven by them, so there is one list of keys and not four.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any

from moc.config import INTRA, TEXT_LINKS, MoCConfig
from moc.patterns import PATTERNS
from moc.storyboard.kinds import Choice, Duration, Either, Identifier, Kind, Number, Text, Truth, Whole

VERSION = 1
MAX_SHOTS = 1000
MAX_CHARACTERS = 64
MAX_SCENES = 64
MAX_SEED = 2**63 - 1
MODES = ("stream", "joint")

DESCRIPTION = Text(1000)
PROMPT = Text(2000)


def _value(kind: Kind, doc: str, default: Any = MISSING) -> Any:
    """A field that holds one value of `kind`; required where there is no default."""
    return field(default=default, metadata={"kind": kind, "doc": doc})


def kind_of(item: Field[Any]) -> Kind | None:
    """The kind of a dataclass field of this module, None for sections and computed fields."""
    return item.metadata.get("kind")


@dataclass(frozen=True)
class Video:
    """The picture. None means what the model was made for (the built-in one: 96x64 at 8 frames a second)."""

    fps: float | None = _value(Number(1, 60), "Frames per second; the model's own when left out.", None)
    width: int | None = _value(Whole(16, 4096, even=True), "Width in pixels; the model's own when left out.", None)
    height: int | None = _value(Whole(16, 4096, even=True), "Height in pixels; the model's own when left out.", None)


@dataclass(frozen=True)
class Sampling:
    """How noise becomes video."""

    seed: int = _value(Whole(0, MAX_SEED), "Seed of the whole story.", 0)
    mode: str = _value(
        Choice(MODES), "stream: shot after shot, each remembering the earlier ones; joint: all at once.",
        "stream",
    )  # fmt: skip
    steps: int | None = _value(Whole(1, 1000), "Denoising steps a shot; the model's own when left out.", None)
    guidance: float | None = _value(
        Number(0, 50), "Classifier-free guidance scale; the model's own when left out.", None
    )


@dataclass(frozen=True)
class Attention:
    """What each token may look at: a preset and what differs from it (None: as the preset says)."""

    preset: str | None = _value(
        Choice(MoCConfig.preset_names()), "A set of values with a name; the model's own when left out.", None
    )
    top_k: int | None = _value(Whole(0, 4096), "Chunks that each query token of each head may choose.", None)
    chunk_tokens: int | str | None = _value(
        Either("frame", Whole(1, 1_000_000)), "Tokens of a chunk, or `frame` for one latent frame.", None
    )
    causal: bool | None = _value(Truth(), "true: a shot chooses only chunks of earlier shots.", None)
    intra: str | None = _value(
        Choice(INTRA), "What is always seen of the own shot: all of it, the own chunk, a window.",
        None,
    )  # fmt: skip
    window_chunks: int | None = _value(Whole(0, 4096), "Neighbour chunks either side, for `intra: window`.", None)
    text_links: str | None = _value(
        Choice(TEXT_LINKS), "all: every text; own: the global text and the shot's own caption.", None
    )
    outer_top_m: int | None = _value(Whole(0, MAX_SHOTS), "Earlier shots that stay in play; all when left out.", None)
    pattern: str | None = _value(
        Choice(tuple(PATTERNS)), "What is attended besides text and own shot: moc, or what it is compared with.", None
    )

    def overrides(self) -> dict[str, Any]:
        """The values that differ from the preset, by name."""
        return {k: v for k, v in asdict(self).items() if k != "preset" and v is not None}

    def config(self, default_preset: str = "pocket") -> MoCConfig:
        """The preset (`default_preset` where none is named) with these values on top."""
        return MoCConfig.preset(self.preset or default_preset).replace(**self.overrides())


@dataclass(frozen=True)
class Shot:
    """A run of frames between two cuts.

    `number` is 1-based and not written in the file; `duration` is in seconds, as asked (models snap it to whole latent
    frames and say so); `cut` is False where the shot continues the one before it.
    """

    number: int
    id: str = _value(Identifier(), "Short name, used in file names: lower-case letters, digits, - and _.")
    prompt: str = _value(PROMPT, "What is seen and done; characters by {id}.")
    duration: float = _value(Duration(), "8s, 1.5s, 500ms, 1m or a number of seconds; 0.1 to 600 seconds.")
    scene: str | None = _value(Identifier(), "Id of one of `scenes`.", None)
    camera: str | None = _value(Text(200), "How it is filmed, such as wide, close, pan.", None)
    cut: bool = _value(Truth(), "false: continues the shot before without a cut.", True)
    seed: int | None = _value(Whole(0, MAX_SEED), "The shot's own seed; the story's when left out.", None)


@dataclass(frozen=True)
class Storyboard:
    """A whole story. `characters` and `scenes` map an id to its description, in the order of the file."""

    title: str = _value(Text(200, empty=True), "Title of the story.", "")
    global_prompt: str = _value(Text(4000, empty=True), "What holds for the whole story: place, season, look.", "")
    characters: Mapping[str, str] = field(default_factory=dict)
    scenes: Mapping[str, str] = field(default_factory=dict)
    negative_prompt: str = _value(Text(2000, empty=True), "What should not be seen (models with guidance).", "")
    model: str = _value(Text(1000), "Name of a model or path of its weights.", "pocket")
    video: Video = field(default_factory=Video)
    sampling: Sampling = field(default_factory=Sampling)
    attention: Attention = field(default_factory=Attention)
    shots: tuple[Shot, ...] = ()

    @property
    def duration(self) -> float:
        """Length of the story in seconds, as asked for."""
        return sum(shot.duration for shot in self.shots)

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every value written out, defaults as None; `from_dict` reads it back to an equal story.

        The order of `characters` and `scenes` counts: write it to JSON with `sort_keys=False`.
        """
        sections = {name: asdict(getattr(self, name)) for name in ("video", "sampling", "attention")}
        return {
            "version": VERSION,
            "title": self.title,
            "global_prompt": self.global_prompt,
            "characters": dict(self.characters),
            "scenes": dict(self.scenes),
            "negative_prompt": self.negative_prompt,
            "model": self.model,
            **sections,
            "shots": [{k: v for k, v in asdict(shot).items() if k != "number"} for shot in self.shots],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "storyboard") -> Storyboard:
        """The story that `to_dict` wrote, checked as a file is.

        Raises:
            StoryboardError: with every mistake; `source` is named in each.
        """
        from moc.storyboard.build import build
        from moc.storyboard.nodes import from_data

        return build(from_data(dict(data), source))

    def overridden(
        self, changes: Mapping[str, str], option: str = "--set", named: Mapping[str, str] | None = None
    ) -> Storyboard:
        """The story with values replaced by dotted keys: `{"attention.top_k": "3", "shots.river.duration": "4s"}`.

        Shots are named by id or number; `null` asks for the default. The new story is checked as a file is.

        Args:
            named: the keys that were given by options of their own, and these: `{"sampling.seed": "--seed"}`.

        Raises:
            StoryboardError: with every mistake, each named by `option` and its key, or as `named` says.
        """
        from moc.storyboard.overrides import override

        return override(self, changes, option, named)

    def __hash__(self) -> int:
        return hash((self.title, self.global_prompt, self.shots))  # equal stories hash equally; dicts can't be hashed


SECTIONS: dict[str, type] = {"video": Video, "sampling": Sampling, "attention": Attention}
STORY_KEYS = (
    "version", "title", "global_prompt", "characters", "scenes", "negative_prompt", "model", "video", "sampling",
    "attention", "shots",
)  # fmt: skip
SHOT_KEYS = tuple(item.name for item in fields(Shot) if item.metadata)

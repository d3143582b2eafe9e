"""What is profiled: sizes, attention settings and how to measure, checked before torch is imported. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from moc.config import ChunkTokens, MoCConfig
from moc.errors import InputError

if TYPE_CHECKING:
    from moc.layout import TokenLayout
    from moc.storyboard import Storyboard

DTYPES = ("float32", "bfloat16", "float16")
BACKENDS = ("auto", "reference", "portable", "triton")
MODELS = ("pocket", "wan-2.1-1.3b")
DENSE = ("dense", "fa4", "fa3", "cudnn", "fa2", "torch", "efficient", "math")
"""What MoC may be held against: "dense" is the fastest dense kernel here, "torch" the one that torch chooses."""
MOST_SHOTS = 1024
MOST_TOKENS = 1 << 24


@dataclass(frozen=True)
class Geometry:
    """The stream that a preset is made for, one head of one layer where the paper names no model.

    Attributes:
        shots: numbers of shots that are profiled unless others are asked for.
        frames, tokens_per_frame: latent frames of a shot and their tokens.
        caption, global_text: text tokens of each shot, and of the story.
        heads, head_dim, layers: size of the attention.
    """

    shots: tuple[int, ...]
    frames: int
    tokens_per_frame: int
    caption: int = 0
    global_text: int = 0
    heads: int = 1
    head_dim: int = 128
    layers: int = 1


# The paper's FLOPs are per head and layer with d = 128 and leave text out (sec. 3.3), and so do these.
GEOMETRIES = {
    # 8 s at 480x480 and 12 frames a second: 25 latent frames of 900 tokens
    "paper-multi-shot": Geometry((1, 2, 4, 8), 25, 900),
    # 8 s at 320x192: 240 tokens a latent frame, 26 of them, the paper's "about 6,300"
    "paper-single-shot": Geometry((1,), 26, 240),
    # 81 frames at 480x832: 21 latent frames of 30 x 52 tokens; the heads of Wan 2.1 1.3B
    "wan": Geometry((1,), 21, 1560, heads=12),
    # the built-in model and its shots of 8 s, see `PocketConfig`
    "pocket": Geometry((1, 2, 4, 8), 16, 96, caption=0, heads=4, head_dim=64),
}


@dataclass(frozen=True)
class Settings:
    """One profile. Make it with `make_settings`.

    Attributes:
        preset: where the settings started from.
        config: attention settings.
        shots: number of shots of each row.
        frames: latent frames of every shot of the only row, for a story; None where all shots are alike.
        geometry: the stream and the size of the attention.
        dtype, backend, device: how it is measured; `backend` is one of `BACKENDS`.
        against: names of dense kernels, the first of which is the one to compare with.
        backward: forward and backward pass.
        measure: measure, or count alone.
        model: one of `MODELS`, whose denoising step is measured too; None for attention alone.
        limit_s: a pass that would take longer is not measured.
        title: of the story; empty without one.
    """

    preset: str
    config: MoCConfig
    shots: tuple[int, ...]
    geometry: Geometry
    frames: tuple[int, ...] | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    backend: Literal["auto", "reference", "portable", "triton"] = "auto"
    device: str = "auto"
    against: tuple[str, ...] = ("dense",)
    backward: bool = False
    measure: bool = True
    model: str | None = None
    limit_s: float = 20.0
    title: str = ""

    def layout(self, shots: int) -> TokenLayout:
        """The stream of a row. Imports torch."""
        from moc.attention.patterns import fitted
        from moc.layout import Shot, TokenLayout

        size = self.geometry
        frames = self.frames or (size.frames,) * shots
        layout = TokenLayout.from_shots(
            global_text=size.global_text,
            shots=[Shot(size.caption, n, size.tokens_per_frame) for n in frames],
            chunk_tokens=self.config.chunk_tokens,
        )
        return fitted(layout, self.config)

    @property
    def label(self) -> str:
        """What the sparse side is called beside dense attention."""
        return label(self.config.pattern)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        size = self.geometry
        return {
            "preset": self.preset,
            "model": self.model,
            "title": self.title or None,
            "shots": list(self.shots),
            "frames_of_shots": None if self.frames is None else list(self.frames),
            "frames_per_shot": None if self.frames else size.frames,
            "tokens_per_frame": size.tokens_per_frame,
            "tokens_per_shot": None if self.frames else size.frames * size.tokens_per_frame,
            "text_tokens_per_shot": size.caption,
            "global_text_tokens": size.global_text,
            "heads": size.heads,
            "head_dim": size.head_dim,
            "layers": size.layers,
            "attention": asdict(self.config),
            "dtype": self.dtype,
            "backend": self.backend,
            "device": self.device,
            "against": list(self.against),
            "backward": self.backward,
            "measure": self.measure,
            "limit_seconds": self.limit_s,
        }


def label(pattern: str) -> str:
    """What tables and pictures call an attention pattern: MoC, or its own name."""
    return "MoC" if pattern == "moc" else pattern


def parse_shots(text: str) -> tuple[int, ...]:
    """`1,2,4,8` in ascending order without repeats.

    Raises:
        InputError: something that is no number from 1 to `MOST_SHOTS`.
    """
    numbers = set()
    for part in text.split(","):
        word = part.strip()
        if not (word.isascii() and word.isdecimal()) or not 1 <= int(word) <= MOST_SHOTS:
            raise InputError(f"--shots: '{word}' is not a number of shots from 1 to {MOST_SHOTS}.")
        numbers.add(int(word))
    return tuple(sorted(numbers))


def parse_chunk(text: str) -> ChunkTokens:
    """`frame` or a number of tokens.

    Raises:
        InputError: neither.
    """
    if text == "frame":
        return "frame"
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise InputError(f"--chunk must be 'frame' or a number of tokens from 1, got '{text}'.")
    return int(text)


def base_settings(
    preset: str | None, model: str | None, story: Storyboard | None, changes: Mapping[str, str] | None = None
) -> Settings:
    """What a preset, a model or a story stands for before any option changes it.

    Args:
        preset, model: one of `GEOMETRIES` and of `MODELS`, or None.
        story: a story, drawn by the built-in model.
        changes: values of a story by dotted key (`attention.top_k`); without a story those of `attention` alone.

    Raises:
        InputError: an unknown preset, model or key, or a story that the built-in model can't draw.
    """
    if model is not None and model not in MODELS:
        raise InputError(f"--model '{model}' is unknown, known are {', '.join(MODELS)}.")
    if story is not None:
        if preset or model not in (None, "pocket"):
            raise InputError(
                "a story is drawn by the model pocket with its own settings; leave out --preset and --model."
            )
        return _of_story(story.overridden(changes) if changes else story, model)
    name = preset or {"pocket": "pocket", "wan-2.1-1.3b": "wan"}.get(model or "", "paper-multi-shot")
    if name not in GEOMETRIES:
        raise InputError(f"--preset '{name}' is unknown, known are {', '.join(GEOMETRIES)}.")
    size = _pocket_geometry() if name == "pocket" else GEOMETRIES[name]
    if model == "wan-2.1-1.3b":
        size = replace(size, heads=12, head_dim=128, layers=30)
    elif model == "pocket":  # a preset changes its attention, not its stream
        size = replace(_pocket_geometry(), layers=_pocket_layers())
    return Settings(preset=name, config=_attention(name, changes or {}), shots=size.shots, geometry=size, model=model)


def _attention(preset: str, changes: Mapping[str, str]) -> MoCConfig:
    """The preset with changed values, which are read as those of a story are."""
    if not changes:
        return MoCConfig.preset(preset)
    for key in changes:
        if not key.startswith("attention.") or key == "attention.preset":
            raise InputError(f"--set {key}: without a story only attention can be set, such as attention.top_k=3.")
    from moc.storyboard import Storyboard

    # joint: nothing is streamed, so nothing forbids attention that looks ahead
    shot = {"id": "any", "duration": "1s", "prompt": "anything"}
    told = {"version": 1, "shots": [shot], "sampling": {"mode": "joint"}, "attention": {"preset": preset}}
    return Storyboard.from_dict(told).overridden(changes).attention.config()


def make_settings(
    base: Settings,
    *,
    shots: str | None = None,
    tokens_per_shot: int | None = None,
    text_tokens: int | None = None,
    chunk: str | None = None,
    top_k: int | None = None,
    heads: int | None = None,
    head_dim: int | None = None,
    layers: int | None = None,
    **rest: Any,
) -> Settings:
    """`base` with what the options ask for; `rest` are fields of `Settings`, None for unchanged.

    Raises:
        InputError: a value out of range, or values that don't fit together.
    """
    size, config = base.geometry, base.config
    for name, value, low in (
        ("--tokens-per-shot", tokens_per_shot, 1), ("--text-tokens", text_tokens, 0), ("--top-k", top_k, 0),
        ("--heads", heads, 1), ("--head-dim", head_dim, 1), ("--layers", layers, 1),
    ):  # fmt: skip
        if value is not None and value < low:
            raise InputError(f"{name} must be at least {low}, got {value}.")
    if base.frames is not None:
        for name, given in (("--shots", shots), ("--tokens-per-shot", tokens_per_shot), ("--text-tokens", text_tokens)):
            if given is not None:
                raise InputError(f"{name} can't be used with a story, which has its own shots.")
    if base.model is not None:
        if rest.get("backward"):
            raise InputError("--backward can't be used with --model, whose denoising step is a forward pass.")
        for name, value in (("--heads", heads), ("--head-dim", head_dim), ("--layers", layers)):
            if value is not None:
                raise InputError(f"{name} can't be used with --model {base.model}, which has its own.")
        if base.model == "pocket" and text_tokens is not None:
            raise InputError("--text-tokens can't be used with --model pocket, which has its own.")
    if tokens_per_shot is not None:
        frame = size.tokens_per_frame
        # without whole latent frames of the preset the shot is one long frame, so that no cut is moved to an edge
        whole = tokens_per_shot % frame == 0
        if not whole and (base.model == "pocket" or (chunk or config.chunk_tokens) == "frame"):
            raise InputError(
                f"--tokens-per-shot {tokens_per_shot} must be a multiple of {frame}, the tokens of a latent frame."
            )
        shape = (tokens_per_shot // frame, frame) if whole else (1, tokens_per_shot)
        size = replace(size, frames=shape[0], tokens_per_frame=shape[1])
    named = {"caption": text_tokens, "heads": heads, "head_dim": head_dim, "layers": layers}
    sizes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    size = replace(size, **sizes)
    attention = {"chunk_tokens": None if chunk is None else parse_chunk(chunk), "top_k": top_k}
    config = config.replace(**{name: value for name, value in attention.items() if value is not None})
    longest = max(base.frames or (size.frames,)) * size.tokens_per_frame
    if config.chunk_tokens != "frame" and config.chunk_tokens > longest:
        raise InputError(f"a chunk of {config.chunk_tokens:,} tokens is larger than a shot of {longest:,} tokens.")
    counts = base.shots if shots is None else parse_shots(shots)
    most = max(counts) * (longest + size.caption) + size.global_text
    if base.frames is None and most > MOST_TOKENS:
        raise InputError(f"{max(counts)} shots are {most:,} tokens, more than {MOST_TOKENS:,}.")
    fields = {name: value for name, value in rest.items() if value is not None}
    for name, allowed in (("dtype", ("auto", *DTYPES)), ("backend", BACKENDS)):
        if fields.get(name, "auto") not in allowed:
            raise InputError(f"--{name} must be one of {', '.join(allowed)}, got '{fields[name]}'.")
    if not fields.get("limit_s", 1.0) > 0:
        raise InputError(f"--limit must be more than 0 seconds, got {fields['limit_s']:g}.")
    return replace(base, geometry=size, config=config, shots=counts, **fields)


def _of_story(story: Storyboard, model: str | None) -> Settings:
    from moc.backbones.pocket.planning import attention_of, cut_into_pieces

    size = _pocket_geometry()
    if model:
        size = replace(size, layers=_pocket_layers())
    frames = tuple(piece.frames for piece in cut_into_pieces(story, _pocket_size()))
    return Settings(
        preset="pocket",
        config=attention_of(story),
        shots=(len(frames),),
        geometry=size,
        frames=frames,
        model=model,
        title=story.title or "story",
    )


def _pocket_size() -> Any:
    from moc.backbones.pocket.config import PocketConfig

    return PocketConfig()


def _pocket_geometry() -> Geometry:
    size = _pocket_size()
    return replace(
        GEOMETRIES["pocket"],
        tokens_per_frame=size.tokens_per_frame,
        caption=size.caption_tokens,
        global_text=size.global_tokens,
        heads=size.heads,
        head_dim=size.head_dim,
    )


def _pocket_layers() -> int:
    return int(_pocket_size().layers)


def dense_names(text: str) -> tuple[str, ...]:
    """`dense,fa2` as names.

    Raises:
        InputError: a name that is none of `DENSE`, or one twice.
    """
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in DENSE:
            raise InputError(f"--against: unknown dense kernel '{name}', known are {', '.join(DENSE)}.")
    if len({*names}) < len(names):
        raise InputError(f"--against '{text}' names a kernel twice.")
    return tuple(names)

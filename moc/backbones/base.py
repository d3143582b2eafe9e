"""The seam between stories and models: what a backbone is asked, and what it answers.

A backbone plans a story without weights (`plan`) and renders it (`generate`). The run folder, the command line and the
tests know models through this file alone, so a new model is a new class, named in `load_backbone` or installed by
another package under the entry-point group `moc.backbones`. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from moc.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from moc.storyboard import Storyboard

ENTRY_POINTS = "moc.backbones"
BUILT_IN = "pocket"
"""How a story names the model in the package."""

OnStep = Callable[[int, int, int], None]
"""Called after every sampling step with (shot number, step from 1, steps); shot 0 means all shots at once (joint)."""


@dataclass(frozen=True)
class ShotUnderstanding:
    """What a model reads in the words of one shot.

    Attributes:
        number: 1-based shot number; 0 for the words that all shots share (global prompt, characters, scenes).
        understood: (words, meaning), e.g. ("crimson raincoat", "mira: coat = red").
        silent: words that are known but draw nothing.
        unknown: (word, nearest known words).
    """

    number: int
    understood: tuple[tuple[str, str], ...] = ()
    silent: tuple[str, ...] = ()
    unknown: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class ShotPlan:
    """The size of one shot before anything is rendered.

    Attributes:
        number, id: 1-based number and id.
        frames: video frames after snapping to latent frames.
        latent_frames, tokens, text_tokens, chunks: of this shot alone; `tokens` counts video tokens.
        parts: of this shot that `ShotResult.routing` tells apart: its chunks (as they are where nothing is said), or
            its latent frames where chunks are no longer than one.
        seconds: `frames / fps`; requested_seconds: what the story asks for.
        flops: expected for the whole sampling of this shot.
    """

    number: int
    id: str
    frames: int
    latent_frames: int
    tokens: int
    text_tokens: int
    chunks: int
    seconds: float
    requested_seconds: float
    flops: float
    parts: int = -1

    def __post_init__(self) -> None:
        if self.parts < 0:
            object.__setattr__(self, "parts", self.chunks)


@dataclass(frozen=True)
class Plan:
    """What a model will do for a story, known before any weight is read.

    Attributes:
        model: the model's name.
        width, height: of a frame in pixels, before any upscaling for the eye; fps: frames a second.
        memory_bytes: expected peak on the device.
        notes: sentences for the user: snapped durations, settings that were adjusted, warnings.
        understanding: per shot (and number 0 for the shared words); empty for models that read free text.
    """

    model: str
    width: int
    height: int
    fps: float
    shots: tuple[ShotPlan, ...]
    memory_bytes: int
    notes: tuple[str, ...] = ()
    understanding: tuple[ShotUnderstanding, ...] = ()


@dataclass
class ShotResult:
    """One finished shot.

    Attributes:
        number: 1-based shot number.
        frames: uint8 `[F, H, W, 3]`, RGB.
        latents: float16, any shape: what later shots remember, enough to rebuild the sampler's state.
        routing: uint32 `[steps, layers, heads, parts of this shot, all parts so far]`, routed links counted from the
            query's part to the key chunk's, in story order (`ShotPlan.parts`); attention that looks ahead counts to all
            parts.
        choices: uint32 `[latent frames, rows, columns, n, 2]` or None: the parts that each token chose most over all
            steps, layers and heads, as (part counted from 0 in story order, times), most often first; times is 0 where
            there are fewer.
        seconds: wall-clock seconds spent on the shot.
        sparsity: 1 - density of this shot's attention, averaged over layers and heads.
    """

    number: int
    frames: np.ndarray
    latents: np.ndarray
    routing: np.ndarray
    seconds: float
    sparsity: float
    choices: np.ndarray | None = None


class Backbone(Protocol):
    """A model that renders stories."""

    name: str

    def plan(self, story: Storyboard) -> Plan:
        """The size of the work. Reads no weights and imports no torch.

        Raises:
            MocError: the story can't be rendered by this model.
        """
        ...

    def fingerprint(self) -> str:
        """sha256 (hex) of the weights, so that a run can be repeated bit for bit. Needs no torch."""
        ...

    def generate(
        self,
        story: Storyboard,
        *,
        seed: int,
        device: str,
        mode: str,
        shots: Sequence[int],
        memory: Mapping[int, np.ndarray],
        on_step: OnStep,
    ) -> Iterator[ShotResult]:
        """Render `shots` and yield them in ascending order.

        The bytes of a shot depend on the story's shared fields, the shot, its seed, the device and the earlier shots
        alone, whether those were rendered in this call or come from `memory`.

        Args:
            story: the storyboard; a shot's own `seed` goes before `seed`.
            seed: of every shot without its own.
            device: "cpu", "cuda", "cuda:1" or "mps", known to exist.
            mode: "stream" yields each shot when done; "joint" yields all of them at the end.
            shots: numbers to render, ascending.
            memory: latents of finished shots by number; reads from disk when indexed.
            on_step: progress.

        A model that can leave earlier shots out of play takes one more keyword,
        `forget: Mapping[int, Collection[int]]`: by shot, rendered now or remembered, the earlier ones that it can't
        read. It is given where `--forget` asks for it, and in mode "stream" alone.

        Raises:
            MocError: the story, mode or device can't be served by this model.
        """
        ...


def load_backbone(name: str) -> Backbone:
    """The backbone called `name`, without reading its weights.

    Args:
        name: "pocket", a path to the `.safetensors` file of a trained pocket model, or a name that an installed
            package registers under the entry-point group `moc.backbones` (a class or function without arguments).

    Raises:
        InputError: no such model; names the known ones.
    """
    if name == BUILT_IN or name.endswith(".safetensors"):
        if name != BUILT_IN and not Path(name).is_file():
            raise InputError(f"model file '{name}' does not exist.")
        from moc.backbones.pocket.backbone import PocketBackbone

        return cast(Backbone, PocketBackbone() if name == BUILT_IN else PocketBackbone(weights=Path(name)))
    from importlib.metadata import entry_points

    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in installed:
        return cast(Backbone, installed[name].load()())
    known = ", ".join([BUILT_IN, *sorted(installed)])
    raise InputError(f"unknown model '{name}'; known are {known}, or a path to a .safetensors file.")

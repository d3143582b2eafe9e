"""MoCConfig: every knob of the method in one frozen dataclass, and the presets. Torch-free.

The values come from Cai et al., "Mixture of Contexts for Long Video Generation" (arXiv 2508.21058). The paper never
gives the drop-off and drop-in rates, nor M of the outer loop, nor a sliding window: those values are ours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from moc.patterns import check_pattern

ChunkTokens = int | Literal["frame"]

INTRA = ("shot", "chunk", "window")
TEXT_LINKS = ("all", "own")


@dataclass(frozen=True)
class MoCConfig:
    """How each query token chooses its contexts.

    Raises:
        ValueError: a value is outside its range; the sentence names the field, the value and what is allowed.
        TypeError: a value has the wrong type.
    """

    chunk_tokens: ChunkTokens = "frame"
    """Nominal tokens of a video chunk, or "frame" to cut at every latent frame (sec. 3.2)."""
    top_k: int = 5
    """Chunks that a video query picks per head and layer, beyond its mandatory links (Eq. 3)."""
    intra: Literal["shot", "chunk", "window"] = "shot"
    """The own link: the whole shot (multi-shot), the own chunk (single-shot), or ours, the own chunk and
    `window_chunks` neighbours either side within the shot."""
    window_chunks: int = 1
    """Neighbours either side under `intra="window"`; unused otherwise. Ours."""
    causal: bool = True
    """Mask later shots before top-k, so that routes form a directed acyclic graph (sec. 3.2)."""
    text_links: Literal["all", "own"] = "own"
    """"all": video sees all text (sec. 3.2); "own": the global text and the own caption (App. F)."""
    drop_off_max: float = 0.0
    """Training: p ~ U(0, drop_off_max) per query, floor(p k) of the chosen chunks are masked (sec. 3.1)."""
    drop_in_rate: float = 0.0
    """Training: Poisson(drop_in_rate) random admissible chunks are added per query (sec. 3.1)."""
    drop_in_max: int = 0
    """The most chunks that drop-in adds to one query; `Routing` is `top_k + drop_in_max` wide while it acts. Ours."""
    outer_top_m: int | None = None
    """Streaming: how many earlier shots stay in play (App. I), None for all of them."""
    pattern: str = "moc"
    """What is attended besides the mandatory links: a name of `moc.patterns.PATTERNS`. "moc-no-causal" sets `causal`
    to false."""

    def __post_init__(self) -> None:
        if self.chunk_tokens != "frame":
            _check_int("chunk_tokens", self.chunk_tokens, 1, hint=' or "frame"')
        _check_int("top_k", self.top_k, 0)
        _check_choice("intra", self.intra, INTRA)
        _check_int("window_chunks", self.window_chunks, 0)
        if not isinstance(self.causal, bool):
            raise TypeError(f"causal must be true or false, got {self.causal!r}")
        _check_choice("text_links", self.text_links, TEXT_LINKS)
        _check_real("drop_off_max", self.drop_off_max, 1.0)
        _check_real("drop_in_rate", self.drop_in_rate, 64.0)
        _check_int("drop_in_max", self.drop_in_max, 0)
        if self.outer_top_m is not None:
            _check_int("outer_top_m", self.outer_top_m, 0, hint=" or None")
        check_pattern(self.pattern)
        if self.pattern == "moc-no-causal":  # one truth about causality, whoever asks
            object.__setattr__(self, "causal", False)
        vars(self)["encoded"] = self.encoded  # there from the start, for a compiler that traces a caller can't make it

    @cached_property
    def encoded(self) -> str:
        """All settings in one string, an argument that operators take; `decode` is the way back."""
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    @lru_cache(maxsize=256)
    def decode(encoded: str) -> MoCConfig:
        """The settings that `encoded` spells."""
        return MoCConfig(**json.loads(encoded))

    @classmethod
    def preset(cls, name: str) -> MoCConfig:
        """The preset called `name`, one of `MoCConfig.preset_names()`.

        Raises:
            ValueError: no preset has that name.
        """
        if name not in _PRESETS:
            raise ValueError(f"unknown preset {name!r}, known are {', '.join(_PRESETS)}")
        return _PRESETS[name]

    @staticmethod
    def preset_names() -> tuple[str, ...]:
        """Names of all presets."""
        return tuple(_PRESETS)

    def replace(self, **changes: Any) -> MoCConfig:
        """A copy with some fields changed, validated again.

        Raises:
            ValueError: a field is unknown or a value outside its range.
            TypeError: a value has the wrong type.
        """
        known = [f.name for f in fields(self)]
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise ValueError(f"unknown attention setting {unknown[0]!r}, known are {', '.join(known)}")
        return replace(self, **changes)


def _check_int(name: str, value: Any, low: int, hint: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer{hint}, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}{hint}, got {value}")


def _check_real(name: str, value: Any, high: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value) or not 0 <= value <= high:
        raise ValueError(f"{name} must lie in 0 to {high:g}, got {value}")


def _check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


# Ours, the same in every preset: the paper names both regularisers and gives neither p_max nor lambda.
_OUR_DROPS: dict[str, Any] = {"drop_off_max": 0.5, "drop_in_rate": 0.5, "drop_in_max": 2}

_PRESETS: dict[str, MoCConfig] = {
    # Sec. 4 and App. F: the last stage of the 10240 -> 1280 schedule, k=5 throughout, text as in sec. 3.2.
    "paper-multi-shot": MoCConfig(
        chunk_tokens=1280, top_k=5, intra="shot", causal=True, text_links="all", **_OUR_DROPS
    ),
    # App. E and F: own chunk and three others of 256 tokens, causality off.
    "paper-single-shot": MoCConfig(
        chunk_tokens=256, top_k=3, intra="chunk", causal=False, text_links="all", **_OUR_DROPS
    ),
    # App. H: one latent frame (1,560 tokens at 480x832) and three others; that causality is off is our reading.
    # Text reaches Wan through cross-attention, so its stream holds none and `text_links` has nothing to link.
    "wan": MoCConfig(chunk_tokens="frame", top_k=3, intra="chunk", causal=False, text_links="all", **_OUR_DROPS),
    # Ours: the built-in model; "own" text links keep a shot independent of later ones, so that it can stream. Its
    # tokens run down the columns of a frame, so that 24 of them are a quarter of it, as high as the picture.
    "pocket": MoCConfig(chunk_tokens=24, top_k=20, intra="shot", causal=True, text_links="own", **_OUR_DROPS),
}

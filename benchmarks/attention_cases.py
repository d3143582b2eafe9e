"""The settings that `attention.py` measures, and what their pairs allow.

A ceiling is the ratio of dense to attended pairs: how much faster MoC could be if time went by pairs alone, at the
dense kernel's own rate and with routing for nothing. The pairs come from `moc.flops`; nothing is counted twice here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from moc import MoCConfig, Shot, TokenLayout
from moc.flops import FLOPS_PER_PAIR, FLOPS_PER_PAIR_BACKWARD, Counts, count, flops

WIDTH = 128


@dataclass(frozen=True)
class Case:
    """One setting: shots of frames of tokens, without text.

    Attributes:
        name: for `--rows`. title: for tables.
        intra: the own link, "shot" or "chunk".
        graph: whether a CUDA graph is measured as well. flex: whether FlexAttention is.
    """

    name: str
    title: str
    shots: int
    frames: int
    tokens_per_frame: int
    chunk: int
    top_k: int
    heads: int
    intra: str = "shot"
    causal: bool = True
    backward: bool = False
    graph: bool = False
    flex: bool = False
    width: int = WIDTH

    @property
    def layout(self) -> TokenLayout:
        """The stream."""
        shots = [Shot(text=0, frames=self.frames, tokens_per_frame=self.tokens_per_frame)] * self.shots
        return TokenLayout.from_shots(shots=shots, chunk_tokens=self.chunk)

    @property
    def config(self) -> MoCConfig:
        """The method's settings."""
        return MoCConfig(chunk_tokens=self.chunk, top_k=self.top_k, intra=self.intra, causal=self.causal)  # type: ignore[arg-type]

    @property
    def tokens(self) -> int:
        """L."""
        return self.shots * self.frames * self.tokens_per_frame

    @property
    def counts(self) -> Counts:
        """Pairs of one head."""
        return count(self.layout, self.config)

    @property
    def ceiling(self) -> float:
        """Dense / attended pairs."""
        return self.counts.ratio

    @property
    def ceiling_with_routing(self) -> float:
        """The same with the FLOPs of pooling and scores counted against MoC."""
        return flops(self.counts, self.width).ratio_total

    def work(self, *, dense: bool) -> float:
        """FLOPs of attention, all heads; five more products of the same size in the backward pass on top of two."""
        pairs = self.counts.dense_pairs if dense else self.counts.pairs
        return pairs * self.heads * self.width * (FLOPS_PER_PAIR + FLOPS_PER_PAIR_BACKWARD * self.backward)

    def toy(self) -> Case:
        """The same setting some hundred times smaller, to see that everything runs."""
        frames = min(self.frames, 4 if self.shots > 1 else 16)
        few = {"shots": min(self.shots, 3), "heads": 2, "width": 16, "frames": frames, "tokens_per_frame": 12}
        return replace(self, chunk=16, top_k=min(self.top_k, 2), **few)  # type: ignore[arg-type]


STORY = Case("story", "8 shots x 22,500, chunk 1280, k=5, causal", 8, 25, 900, 1280, 5, 3)
CASES = (
    STORY,
    replace(STORY, name="story-backward", title=f"{STORY.title}, forward + backward", backward=True),
    Case(
        "clip", "1 shot of 6,240, own chunk + 3 of 256", 1, 26, 240, 256, 3, 24,
        intra="chunk", causal=False, graph=True, flex=True,
    ),
    Case(
        "clip-backward", "1 shot of 6,240, own chunk + 3 of 256, forward + backward", 1, 26, 240, 256, 3, 24,
        intra="chunk", causal=False, backward=True,
    ),
    Case(
        "fine", "65,536 tokens, own chunk + 8 of 128", 1, 64, 1024, 128, 8, 16, intra="chunk", causal=False,
    ),
    Case(
        "fine-backward", "65,536 tokens, own chunk + 8 of 128, forward + backward", 1, 64, 1024, 128, 8, 16,
        intra="chunk", causal=False, backward=True,
    ),
)  # fmt: skip


def of_shots(shots: int, heads: int) -> Case:
    """The setting of "story" with another number of shots."""
    title = f"{shots} shot{'s' * (shots > 1)} x 22,500, chunk 1280, k=5, causal"
    return replace(STORY, name=f"shots-{shots}", title=title, shots=shots, heads=heads)


def of_length(tokens: int) -> Case:
    """One shot of about so many tokens under the setting of "clip": for the break-even length."""
    frames = max(1, round(tokens / 240))
    return Case("length", f"1 shot of {frames * 240:,}", 1, frames, 240, 256, 3, 24, intra="chunk", causal=False)

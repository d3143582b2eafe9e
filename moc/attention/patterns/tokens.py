"""What the oracles of fixed patterns know: tables of single tokens, from the definitions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moc.config import MoCConfig
from moc.layout import TokenLayout


@dataclass(frozen=True)
class Tokens:
    """Query rows against all keys of a stream, token by token.

    Attributes:
        layout, config: of the stream. rows: [Lq] stream positions of the queries.
        video: [Lq, L] bool, both are video.
        other: [Lq, L] bool, video of a shot that the query may look at besides its own.
        own: [Lq, L] bool, video of the query's own shot.
    """

    layout: TokenLayout
    config: MoCConfig
    rows: Tensor
    video: Tensor
    other: Tensor
    own: Tensor

    @staticmethod
    def of(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int]) -> Tokens:
        """The tables of rows start:stop."""
        q = torch.arange(*q_range, device=layout.device)
        place = torch.bucketize(torch.arange(layout.length, device=layout.device), layout.shot_bounds, right=True) - 1
        video = ~layout.is_text[q, None] & ~layout.is_text[None, :]
        own = video & (place[q, None] == place[None, :])
        before = torch.tensor([layout.shots_before(n) for n in layout.shot_numbers], device=layout.device)
        if config.causal:
            limit = torch.cat([before, before.new_zeros(1)])[place[q]]  # the global text, place -1, looks at nothing
            other = video & (place[None, :] < limit[:, None])
        else:
            other = video & ~own
        return Tokens(layout, config, q, video, other, own)

    def story_frames(self) -> Tensor:
        """[L] latent frame of each token along its story: those of all shots before its own count."""
        frames = [shot.frames for shot in self.layout.shots]
        begins = [sum(frames[: self.layout.shots_before(n)]) for n in self.layout.shot_numbers]
        layout = self.layout
        place = torch.bucketize(torch.arange(layout.length, device=layout.device), layout.shot_bounds, right=True) - 1
        table = torch.tensor([*begins, 0], device=layout.device)
        return table[place] + layout.frame_ids.clamp(min=0)

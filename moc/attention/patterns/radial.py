"""`radial`: a token attends its own place in other frames, in a window that halves whenever the distance in time
doubles; where it would be less than one token wide, ever fewer frames are left (Radial Attention, arXiv 2506.19852).

Frames i and j of s positions each, r = 2 ^ floor(log2 max(|i - j|, 1)); position k of i attends position l of j if

    r <= s  and  |k - l| + 1 <= s / r
    or  |i - j| is a multiple of ceil(r / s)  and  k = l

What is ours: positions count in quarters of a frame (`POSITIONS`), as the authors' kernel works in blocks too; time
runs through all shots, cuts included; the own shot is a mandatory link, so the rule rules what lies beyond it; there is
no sink on the first frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import Tensor

from moc.attention.patterns.shots import looked_at
from moc.attention.patterns.tokens import Tokens
from moc.config import MoCConfig
from moc.layout import TokenLayout

POSITIONS = 4


def links(layout: TokenLayout, config: MoCConfig, shot: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """A run of rows for each frame and position of the shot."""
    sizes = dict(zip(layout.shot_numbers, layout.shots, strict=True))
    begins = dict(zip(layout.shot_numbers, _begins(layout), strict=True))
    seen = looked_at(layout, config, shot) + ([] if config.intra == "shot" else [shot])
    start, per_frame = layout.video_range(shot)[0], sizes[shot].tokens_per_frame
    for frame in range(sizes[shot].frames):
        now, at = begins[shot] + frame, start + frame * per_frame
        for k in range(POSITIONS):
            rows = _cut(k, per_frame), _cut(k + 1, per_frame)
            if rows[0] == rows[1]:
                continue
            ranges = []
            for n in seen:
                tokens, first = sizes[n].tokens_per_frame, layout.video_range(n)[0]
                for j in range(sizes[n].frames):
                    low, high = window(abs(now - begins[n] - j), k)
                    if low < high:
                        frame_at = first + j * tokens
                        ranges.append((frame_at + _cut(low, tokens), frame_at + _cut(high, tokens)))
            yield at + rows[0], at + rows[1], ranges


def window(distance: int, position: int) -> tuple[int, int]:
    """Positions low:high that `position` attends in a frame so many frames away; low = high for none."""
    r = 1 << max(distance, 1).bit_length() - 1
    if r <= POSITIONS:
        reach = POSITIONS // r - 1
        return max(0, position - reach), min(POSITIONS, position + reach + 1)
    return (position, position + 1) if distance % -(-r // POSITIONS) == 0 else (0, 0)


def mask(tokens: Tokens) -> Tensor:
    """[Lq, L] bool, token by token."""
    layout, q = tokens.layout, tokens.rows
    frame = tokens.story_frames()
    sizes = torch.tensor([shot.tokens_per_frame for shot in layout.shots] + [1], device=layout.device)
    index = torch.arange(layout.length, device=layout.device)
    place = torch.bucketize(index, layout.shot_bounds, right=True) - 1
    starts = torch.tensor([layout.video_range(n)[0] for n in layout.shot_numbers] + [0], device=layout.device)
    within = (index - starts[place]) % sizes[place]
    # the position of token x of n: the largest p with p n / POSITIONS, rounded down, not beyond x
    position = ((within + 1) * POSITIONS - 1) // sizes[place]
    distance = (frame[q, None] - frame[None, :]).abs()
    r = 2 ** distance.clamp(min=1).double().log2().floor().long()
    apart = (position[q, None] - position[None, :]).abs()
    near = (r <= POSITIONS) & ((apart + 1) * r <= POSITIONS)
    far = (distance % ((r + POSITIONS - 1) // POSITIONS) == 0) & (apart == 0)
    reach = tokens.other if tokens.config.intra == "shot" else tokens.other | tokens.own
    return reach & (near | far)


def _cut(position: int, tokens: int) -> int:
    return position * tokens // POSITIONS


def _begins(layout: TokenLayout) -> list[int]:
    """Frames before each shot along its story."""
    frames = [0, *accumulate(shot.frames for shot in layout.shots)]
    return [frames[layout.shots_before(n)] for n in layout.shot_numbers]

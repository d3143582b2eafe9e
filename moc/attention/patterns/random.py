"""`random`: each query token of each head takes as many chunks as MoC would, drawn blindly among the admissible ones.

The draw is the counter-based one of drop-in: a hash of seed, layer, head, batch row and place in the stream, the same
on any device and for any split. Without a seed (sampling) it is that of seed 0, so a story keeps its routes from step
to step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moc.attention.patterns.asking import Ask

_STREAM = 1 << 16  # of random words, beyond those of drop-off and drop-in
_FAR = 1 << 40  # beyond every rank


def choose(ask: Ask) -> Tensor:
    """[B, H, R, W] ranks: min(top_k, admissible) distinct ones, every set of them as likely as any other."""
    candidates = ask.candidates
    low, gap = candidates.low.long(), (candidates.high - candidates.low).long()
    draw = ask.draw(ask.seed or 0)
    free = candidates.limit.long() - gap
    taken = draw.key.new_zeros(*draw.key.shape, 0)  # ascending, without the mandatory ones, as all ranks here
    drawn = []
    for i in range(ask.config.top_k):
        rank = (draw.words(_STREAM + i) * free.clamp(min=0)) >> 32  # among those that are left
        before = taken - torch.arange(i, device=taken.device) <= rank[..., None]  # taken ones that it has to step over
        rank = rank + before.sum(-1)
        drawn.append(torch.where(free > 0, torch.where(rank >= low, rank + gap, rank), -1))
        taken = _inserted(taken, torch.where(free > 0, rank, _FAR))
        free = free - 1
    chosen = torch.stack(drawn, -1) if drawn else taken
    return ask.regularised(chosen, candidates, slice(None))


def _inserted(ascending: Tensor, value: Tensor) -> Tensor:
    """[..., n + 1] the n ascending numbers and one more in its place."""
    left = torch.nn.functional.pad(ascending, (1, 0), value=-1)
    right = torch.nn.functional.pad(ascending, (0, 1), value=_FAR)
    return torch.minimum(right, torch.maximum(left, value[..., None]))

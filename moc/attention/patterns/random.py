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
    taken = draw.key.new_zeros(*draw.key.shape, 0)
    drawn = []
    for i in range(ask.config.top_k):
        rank = (draw.words(_STREAM + i) * free.clamp(min=0)) >> 32
        for j in range(i):  # step over what is taken, lowest first
            rank = rank + (rank >= taken[..., j])
        # ranks are counted without the mandatory ones until here
        drawn.append(torch.where(free > 0, torch.where(rank >= low, rank + gap, rank), -1))
        taken = torch.cat([taken, torch.where(free > 0, rank, _FAR)[..., None]], -1).sort(-1).values
        free = free - 1
    chosen = torch.stack(drawn, -1) if drawn else taken
    return ask.regularised(chosen, candidates, slice(None))

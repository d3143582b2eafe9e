"""Context drop-off and drop-in, the two regularisers of training (sec. 3.1 of arXiv 2508.21058).

Both act on candidate ranks that a query already chose. Randomness is counter-based: a hash of seed, layer, global
head, global batch row and query position, in integers alone, so that any split over devices and any device draws the
same. What the paper leaves open is ours: drop-in takes admissible chunks that top-k did not choose, each at most once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from moc.candidates import Candidates

_WORD = 0xFFFFFFFF
# Odd multipliers below 2^31: the product with a 32-bit word never overflows int64.
_ROUNDS = ((16, 0x7FEB352D), (15, 0x31848BAB), (14, 0x45D9F3B))
Word = TypeVar("Word", int, Tensor)
_FAR = 1 << 40  # beyond every rank


def mix(x: Word) -> Word:
    """A 32-bit integer hash, elementwise; takes and gives words in 0 to 2^32 - 1 (tensors: int64)."""
    for shift, factor in _ROUNDS:
        x = ((x ^ (x >> shift)) * factor) & _WORD
    return x ^ (x >> 16)


@dataclass(frozen=True)
class Draw:
    """Random words of a block of queries.

    Attributes:
        key: [B, H, R] int64, the hash of everything that names a query.
    """

    key: Tensor

    @staticmethod
    def of(
        *,
        seed: int,
        layer: int,
        batch: tuple[int, int],
        heads: tuple[int, int],
        rows: tuple[int, int],
        device: torch.device,
    ) -> Draw:
        """Words for global batch rows, heads and query positions, each a range start:stop."""
        key = mix((mix((seed ^ (seed >> 32)) & _WORD) + layer * 0x9E3779B1) & _WORD)
        ranges = [torch.arange(a, b, device=device) for a, b in (batch, heads, rows)]
        words = mix((ranges[0] + key) & _WORD)
        words = mix((words[:, None] + ranges[1] * 0x85EBCA77) & _WORD)
        return Draw(mix((words[:, :, None] + ranges[2] * 0x27D4EB2F) & _WORD))

    def words(self, stream: int) -> Tensor:
        """[B, H, R] uniform words of one stream."""
        return mix((self.key + mix(stream)) & _WORD)

    def words_at(self, stream: int, ranks: Tensor) -> Tensor:
        """[B, H, R, W] uniform words of one stream, one for each of `ranks`."""
        return mix((self.words(stream)[..., None] + (ranks & _WORD) * 0x165667B1) & _WORD)


def drop_off(chosen: Tensor, draw: Draw, p_max: float) -> Tensor:
    """Masks floor(p n) of each query's n chosen ranks, p ~ U(0, p_max).

    Args:
        chosen: [B, H, R, W] ranks, -1 where there is none.

    Returns:
        [B, H, R, W], with -1 in place of what was dropped.
    """
    return masked(chosen, *tickets(chosen, draw, p_max))


def tickets(chosen: Tensor, draw: Draw, p_max: float) -> tuple[Tensor, Tensor]:
    """A random word of each of `chosen` [B, H, R, W], beyond all others where there is none, and how many of a query's
    are dropped, [B, H, R]."""
    count = (chosen >= 0).sum(-1)
    dropped = ((draw.words(1) >> 8) * round(p_max * (1 << 20)) * count) >> 44
    return draw.words_at(2, chosen).masked_fill(chosen < 0, _FAR), dropped


def masked(chosen: Tensor, words: Tensor, dropped: Tensor) -> Tensor:
    """`chosen` [B, H, R, W] with -1 in place of the `dropped` [B, H, R] lowest `words` [B, H, R, W] of each query;
    equal words fall back on the slot.

    A compiler that sees this and `tickets` at once hashes every word again for each other one of its query, so
    training compiles the two apart.
    """
    slot = torch.arange(chosen.shape[-1], device=chosen.device)
    mine, other = words[..., :, None], words[..., None, :]
    place = ((other < mine) | ((other == mine) & (slot < slot[:, None]))).sum(-1)
    return chosen.masked_fill(place < dropped[..., None], -1)


def drop_in(chosen: Tensor, draw: Draw, rate: float, most: int, candidates: Candidates) -> Tensor:
    """Draws min(Poisson(rate), most) distinct ranks per query, uniform over the admissible ones not yet chosen.

    Args:
        chosen: [B, H, R, W] ranks that top-k chose, -1 where there is none.
        rate: mean of the Poisson draw.
        most: the most ranks drawn, the width of the result.
        candidates: what each row may pick.

    Returns:
        [B, H, R, most] ranks, -1 where none was drawn or none was left.
    """
    low, high = candidates.low, candidates.high
    gap = high - low
    # Admissible ranks, renumbered without the mandatory gap: 0 .. limit - gap - 1.
    taken = torch.where(chosen >= high[:, None], chosen - gap[:, None], chosen)
    taken = taken.masked_fill(chosen < 0, _FAR).sort(-1).values
    free = (candidates.limit - gap) - (chosen >= 0).sum(-1)
    wanted = _poisson(draw.words(3), rate, most)
    drawn = []
    for i in range(most):
        rank = (draw.words(4 + i) * free.clamp(min=0)) >> 32
        # Step over what is taken: the j-th of them has taken[j] - j free ranks below it.
        below = taken - torch.arange(taken.shape[-1], device=taken.device)
        rank = rank + (below <= rank[..., None]).sum(-1)
        good = (wanted > i) & (free > 0)
        drawn.append(torch.where(good, torch.where(rank >= low, rank + gap, rank), -1))
        taken = torch.cat([taken, torch.where(good, rank, _FAR)[..., None]], -1).sort(-1).values
        free = free - 1
    return torch.stack(drawn, -1)


def _poisson(words: Tensor, rate: float, most: int) -> Tensor:
    """min(Poisson(rate), most) from uniform words, by the inverse of the distribution function."""
    count = torch.zeros_like(words)
    term = total = math.exp(-rate)
    for i in range(most):
        count += words >= round(total * (1 << 32))
        term *= rate / (i + 1)
        total += term
    return count

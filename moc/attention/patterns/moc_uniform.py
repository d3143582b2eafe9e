"""`moc-uniform`: MoC among blocks of one length that ignore frames, shots and captions, as MoBA's (arXiv 2502.13189).

The layout is cut by a grid over the whole stream (`TokenLayout.evenly`); a block is what lies between two cuts:

    stream   text | cap 1 | video 1 ...                    | cap 2 | video 2 ...
    blocks   -------- 0 --------|------ 1 -------|-------- 2 -------|------ 3 ...

A block may hold the end of one shot, a caption, and the start of the next. What of it a query may attend are the
video tokens that MoC would let it: none of its own mandatory links and, with `causal`, none of its own or a later shot.
**Chosen is what is attended**: the descriptor of a block, as a query sees it, is the mean of those of its keys that
the query may attend, so nothing of a later shot reaches an earlier one through a shared block, not even through the
choice, and a block without any such key is no candidate. All admissible pieces of a chosen block are attended.
MoBA always attends the own block; here the mandatory links are MoC's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moc.attention.patterns.asking import Ask
from moc.candidates import Candidates
from moc.layout import TokenLayout


@dataclass(frozen=True)
class Blocks:
    """The blocks that rows with one set of candidates choose among.

    Attributes:
        weights: [M, N] float32, the share that each chunk has in each block's mean; zero for what is not attended.
        pieces: [M + 1, F] int64 ranks of each block's admissible chunks, -1 to fill up; the last row is all -1.
    """

    weights: Tensor
    pieces: Tensor


def choose(ask: Ask) -> Tensor:
    """[B, H, R, W F] ranks, the pieces of the W blocks that a query chose; F is the most pieces of any block."""
    layout, device = ask.layout, ask.q.device
    if not layout.shots:  # no grid, and nothing to choose
        return torch.full((*ask.q.shape[:3], ask.config.top_k), -1, device=device)
    wide = torch.promote_types(ask.q.dtype, torch.float32)
    width = ask.config.top_k
    if ask.seed is not None and ask.config.drop_in_rate > 0:
        width += ask.config.drop_in_max
    most = most_pieces(layout)
    batch, heads, rows, _ = ask.q.shape
    ranks = torch.full((batch, heads, rows, width * most), -1, dtype=torch.int64, device=device)
    for first, last, limit, low, high in ask.candidates.exact_runs:
        if low + limit - high == 0:
            continue
        blocks = blocks_of(layout, limit, low, high, device)
        means = (blocks.weights.to(wide) @ ask.keys.to(wide)).to(ask.keys.dtype)
        count = torch.full((last - first,), len(blocks.weights), dtype=torch.int32, device=device)
        free = Candidates(count, count, count)
        chosen = ask.best(ask.q[:, :, first:last], means, free, ask.config.top_k)
        chosen = ask.regularised(chosen, free, slice(first, last))
        pieces = blocks.pieces[chosen].flatten(3)  # -1 is the last row
        ranks[:, :, first:last, : pieces.shape[-1]] = pieces
    return ranks


def most_pieces(layout: TokenLayout) -> int:
    """F, into how many chunks the layout cuts a block at most; 1 without shots."""
    if not layout.shots:
        return 1
    most: int = layout.cached("most pieces", lambda: int(layout.blocks.bincount().max()))
    return most


def blocks_of(layout: TokenLayout, limit: int, low: int, high: int, device: torch.device) -> Blocks:
    """Blocks of the candidates 0:limit without low:high; built once."""
    built: Blocks = layout.cached(
        ("blocks", limit, low, high, device), lambda: _build(layout, limit, low, high, device)
    )
    return built


def _build(layout: TokenLayout, limit: int, low: int, high: int, device: torch.device) -> Blocks:
    layout = layout.to("cpu")
    ranks = torch.cat([torch.arange(low), torch.arange(high, limit)])
    _, block, pieces = layout.blocks[ranks].unique(return_inverse=True, return_counts=True)
    lengths = layout.chunk_bounds.diff()[~layout.chunk_is_text]
    weights = torch.zeros(len(pieces), layout.num_video_chunks)
    weights[block, ranks] = lengths[ranks].float()
    weights /= weights.sum(1, keepdim=True)
    table = torch.full((len(pieces) + 1, most_pieces(layout)), -1)
    place = torch.arange(len(ranks)) - (pieces.cumsum(0) - pieces)[block]  # blocks ascend with ranks
    table[block, place] = ranks
    return Blocks(weights.to(device), table.to(device))

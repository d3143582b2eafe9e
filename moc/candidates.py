"""Candidates: which chunks a query row may pick at all (sec. 3.2 of arXiv 2508.21058).

Video chunks are counted by rank, their place among the video chunks of the stream; text is never picked. What a row
may pick is a prefix of the ranks without one run of them, its mandatory links:

    rank    0 1 2 3 4 5 6 7 8          causal, own chunk: shot 2 holds ranks 3 4 5, the row lies in chunk 4
    row     # # # # . #                limit 6, low 4, high 5
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from moc.config import MoCConfig
from moc.layout import TokenLayout
from moc.patterns import PATTERNS


@dataclass(frozen=True)
class Candidates:
    """Row i may pick ranks 0:limit[i] without low[i]:high[i].

    Attributes:
        limit: [R] int32, 0 for rows that pick nothing.
        low: [R] int32.
        high: [R] int32, from `low` to `limit`.
    """

    limit: Tensor
    low: Tensor
    high: Tensor

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        """The rows of all parts, one after another."""
        return Candidates(*(torch.cat([getattr(part, name) for part in parts]) for name in ("limit", "low", "high")))

    @cached_property
    def runs(self) -> tuple[tuple[int, int, int, bool], ...]:
        """Runs of rows first:last with one limit, that limit, and whether any row has ranks taken out."""
        if not len(self.limit):
            return ()
        limit, gap = torch.stack([self.limit, self.high - self.low]).cpu()
        values, counts = limit.unique_consecutive(return_counts=True)
        last = counts.cumsum(0)
        rows = zip((last - counts).tolist(), last.tolist(), values.tolist(), strict=True)
        return tuple((a, b, n, bool(gap[a:b].any())) for a, b, n in rows)

    @cached_property
    def exact_runs(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """Runs of rows first:last with the same candidates: limit, low and high."""
        if not len(self.limit):
            return ()
        table = torch.stack([self.limit, self.low, self.high], 1).cpu()
        values, counts = table.unique_consecutive(dim=0, return_counts=True)
        last = counts.cumsum(0)
        rows = zip((last - counts).tolist(), last.tolist(), values.tolist(), strict=True)
        return tuple((a, b, *found) for a, b, found in rows)


def candidates_of(
    layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int] | None, device: torch.device
) -> Candidates:
    """What rows start:stop of a stream may pick, the whole stream when None; built once per layout and setting.

    A video row may pick every video chunk but its mandatory ones and, when causal, those of later shots; under a
    pattern that the layout decides no row picks anything.

    Raises:
        ValueError: an own link narrower than the shot, or no causal mask, on a layout with a history of its own, where
            a row would reach other copies of itself.
    """
    start, stop = (0, layout.length) if q_range is None else q_range
    reach = {"shot": None, "chunk": 0, "window": config.window_chunks}[config.intra]
    fixed = PATTERNS[config.pattern].kind == "fixed"
    key = ("candidates", config.causal, reach, fixed, start, stop, device)
    return layout.cached(key, lambda: _build(layout.to("cpu"), config.causal, reach, fixed, start, stop, device))


def video_chunks(layout: TokenLayout, device: torch.device) -> Tensor:
    """[N] int64: the chunk of each rank."""
    chunks = layout.to(device)
    return chunks.cached("video_chunks", lambda: (~chunks.chunk_is_text).nonzero().flatten())


def _build(
    layout: TokenLayout, causal: bool, reach: int | None, fixed: bool, start: int, stop: int, device: torch.device
) -> Candidates:
    limit, low, high = torch.zeros(3, layout.num_chunks, dtype=torch.int32)  # text picks nothing
    if layout.history is not None and not fixed and not (causal and reach is None):
        raise ValueError(
            f"a layout with a history of its own needs intra 'shot' and causal true, got causal {causal} and an own "
            "link " + ("of the whole shot" if reach is None else f"of {2 * reach + 1} chunks")
        )
    for number in () if fixed else layout.shot_numbers:
        chunks, own = slice(*layout.video_chunks(number)), layout.video_ranks(number)
        if causal and reach is None:
            before = layout.shots_before(number)
            end = layout.video_ranks(layout.shot_numbers[before - 1])[1] if before else 0
            limit[chunks] = low[chunks] = high[chunks] = end
            continue
        limit[chunks] = own[1] if causal else layout.num_video_chunks
        rank = torch.arange(*own)
        low[chunks] = own[0] if reach is None else (rank - reach).clamp(min=own[0]).int()
        high[chunks] = own[1] if reach is None else (rank + reach + 1).clamp(max=own[1]).int()
    return Candidates(*(layout.per_token(x)[start:stop].to(device) for x in (limit, low, high)))

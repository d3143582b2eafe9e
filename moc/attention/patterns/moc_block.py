"""`moc-block`: one choice for all queries of a chunk, by the mean of their queries, as block-sparse attention makes it
(VSA, arXiv 2505.13389; SSTA of HunyuanVideo 1.5, arXiv 2511.18870).

Blocks are the chunks of MoC here, for queries and keys alike; those papers cut cubes of a fixed size. Drop-off and
drop-in draw once a block, too.
"""

from __future__ import annotations

from torch import Tensor

from moc.attention.patterns.asking import Ask
from moc.candidates import Candidates


def choose(ask: Ask) -> Tensor:
    """[B, H, R, W] ranks, the same for all rows of a chunk."""
    from moc.routing import pool

    start, stop = ask.rows
    edges = ask.layout.chunk_edges()
    first, last = edges.index(start), edges.index(stop)
    if first == last:
        return ask.regularised(ask.best(ask.q, ask.keys, ask.candidates, ask.config.top_k), ask.candidates, slice(None))
    bounds = ask.layout.to(ask.q.device).chunk_bounds[first : last + 1] - start
    rows = bounds[:-1]
    candidates = Candidates(*(x[rows] for x in (ask.candidates.limit, ask.candidates.low, ask.candidates.high)))
    chosen = ask.best(pool(ask.q, ask.layout, token_range=ask.rows), ask.keys, candidates, ask.config.top_k)
    chosen = ask.regularised(chosen, candidates, rows)
    return chosen.repeat_interleave(bounds.diff(), dim=2, output_size=stop - start)

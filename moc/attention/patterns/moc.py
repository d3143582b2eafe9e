"""`moc`: every query token of every head takes the `top_k` chunks that match it best (Mixture of Contexts, arXiv
2508.21058, sec. 3.1).

A chunk is as good as the product of the query with the mean of its keys, and candidates are those of earlier shots. How
the best are found is `moc.routing`; where nothing is dropped, one kernel there does it without coming by here.
"""

from __future__ import annotations

from torch import Tensor

from moc.attention.patterns.asking import Ask


def choose(ask: Ask) -> Tensor:
    """[B, H, R, W] ranks of the best candidates of each row."""
    best = ask.best(ask.q, ask.keys, ask.candidates, ask.config.top_k)
    return ask.regularised(best, ask.candidates, slice(None))

"""Checks of results too large for the oracle: some query rows and some keys, each against all it meets, in float64.

A row's output and dQ need all keys it attends; a key's dK and dV need all queries that attend it, for which the checked
log-sum-exp and output of the other rows are taken as given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moc import MoCConfig, TokenLayout
from moc.attention.mandatory import mandatory


@dataclass(frozen=True)
class Result:
    """A forward pass and, where there was one, its backward pass, for inputs of the whole stream."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    lse: Tensor
    dout: Tensor | None = None
    dq: Tensor | None = None
    dk: Tensor | None = None
    dv: Tensor | None = None


def edge_tokens(layout: TokenLayout, count: int, seed: int = 0) -> list[int]:
    """About `count` tokens: both sides of some shot and chunk edges, the ends of the stream, and some at random."""
    generator = torch.Generator().manual_seed(seed)
    edges = {layout.token_range(n)[0] for n in layout.shot_numbers}
    cuts = layout.chunk_edges()
    edges |= {cuts[i] for i in torch.randint(len(cuts), (max(1, count // 6),), generator=generator).tolist()}
    near = {t for edge in edges for t in (edge - 1, edge)}
    near |= {0, layout.length - 1, *torch.randint(layout.length, (count // 2,), generator=generator).tolist()}
    return sorted(t for t in near if 0 <= t < layout.length)


def row_mask(layout: TokenLayout, config: MoCConfig, indices: Tensor, b: int, h: int, row: int) -> Tensor:
    """[L] bool, what a row attends."""
    length, edges = layout.length, layout.chunk_edges()
    mask = torch.zeros(length, dtype=torch.bool)
    for group in mandatory(layout, config, (0, length), torch.device("cpu")).groups:
        if group.q_start <= row < group.q_stop:
            for a, z in group.keys:
                mask[a:z] = True
    for chunk in indices[b, h, row].tolist():
        if chunk >= 0:
            mask[edges[chunk] : edges[chunk + 1]] = True
    return mask.to(indices.device)


def column_mask(layout: TokenLayout, config: MoCConfig, indices: Tensor, b: int, h: int, key: int) -> Tensor:
    """[L] bool, which rows attend a key."""
    mask = torch.zeros(layout.length, dtype=torch.bool)
    for group in mandatory(layout, config, (0, layout.length), torch.device("cpu")).groups:
        if any(a <= key < z for a, z in group.keys):
            mask[group.q_start : group.q_stop] = True
    return mask.to(indices.device) | (indices[b, h] == int(layout.chunk_ids[key])).any(-1)


def errors(
    result: Result, layout: TokenLayout, config: MoCConfig, indices: Tensor, tokens: list[int], scale: float
) -> dict[str, float]:
    """Largest error of each part over the tokens, all heads taken in turn, relative to the largest true value."""
    batch, heads, _, _ = result.q.shape
    worst: dict[str, list[tuple[float, float]]] = {}

    def note(name: str, got: Tensor, true: Tensor) -> None:
        assert got.isfinite().all(), f"{name} is not finite"
        worst.setdefault(name, []).append((float((got.double() - true).abs().max()), float(true.abs().max())))

    for i, token in enumerate(tokens):
        b, h = i % batch, i // batch % heads
        q, k, v = (x[b, h].double() if x is not result.q else x[b, h] for x in (result.q, result.k, result.v))
        mask = row_mask(layout, config, indices, b, h, token)
        scores = (k[mask] @ q[token].double()) * scale
        lse = scores.logsumexp(0)
        p = (scores - lse).exp()
        out = p @ v[mask]
        note("out", result.out[b, h, token], out)
        note("lse", result.lse[b, h, token], lse)
        if result.dout is None or result.dq is None or result.dk is None or result.dv is None:
            continue
        dout = result.dout[b, h]
        mine = dout[token].double()
        ds = p * (v[mask] @ mine - (mine @ out))
        note("dq", result.dq[b, h, token], ds @ k[mask] * scale)
        rows = column_mask(layout, config, indices, b, h, token)
        far, grads = q[rows].double(), dout[rows].double()
        weights = ((far @ k[token]) * scale - result.lse[b, h, rows].double()).exp()
        delta = (grads * result.out[b, h, rows].double()).sum(-1)
        note("dv", result.dv[b, h, token], weights @ grads)
        note("dk", result.dk[b, h, token], (weights * (grads @ v[token] - delta)) @ far * scale)
    return {name: max(e for e, _ in pairs) / max(1e-6, *(t for _, t in pairs)) for name, pairs in worst.items()}

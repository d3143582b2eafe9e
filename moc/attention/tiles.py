"""The routed part by plain matrix products: any device, any dtype, forward and backward.

Groups of links are cut into tiles of equally many queries; a slab of tiles at a time gathers its queries and its
chunks' keys and runs as one batched product. Slabs are small enough for a processor's cache and large enough that
calls cost little; nothing larger than the links themselves is ever kept. Work is in float32, or float64 for float64
inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from moc.attention.routed import Links
from moc.layout import TokenLayout

_HEIGHTS = (8, 16, 32, 64, 128)
_TILE_COST = 12  # what a tile costs beside its rows, counted in rows: gathering keys, calling the product
_SLAB_BYTES = {"cpu": 12 << 20}
_SLAB_BYTES_ELSEWHERE = 1 << 28


@dataclass(frozen=True)
class Slab:
    """Tiles that run together: t tiles of M queries against at most K keys.

    Attributes:
        links: [t, M] int64 positions among the links; slots past the group's end repeat its last link.
        group: [t] int64 group of each tile, ascending.
        keys: [t, K] int64 flat key rows, in [B, H, L]; positions past the chunk's end repeat its last row.
        pad: [t, 1, K] bool, which of them are past the end; None where every chunk is full.
        place: (start, stop) of the slab's queries in the padded output.
    """

    links: Tensor
    group: Tensor
    keys: Tensor
    pad: Tensor | None
    place: tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """Every tile of a call.

    Attributes:
        height: M, queries per tile.
        group: [n] int64 group of each tile.
        first: [n] int64 position of its first link.
        last: [n] int64 position of the last link of its group.
    """

    height: int
    group: Tensor
    first: Tensor
    last: Tensor

    @property
    def rows(self) -> int:
        """Padded query rows of all tiles."""
        return self.height * len(self.group)


def tile(links: Links) -> Tiling:
    """Cuts groups into tiles of the height that wastes least."""
    sizes = links.edges.diff()
    total = torch.stack([(sizes + h - 1).div(h, rounding_mode="floor").sum() * (h + _TILE_COST) for h in _HEIGHTS])
    height = _HEIGHTS[int(total.argmin())]
    tiles = (sizes + height - 1).div(height, rounding_mode="floor")
    group = torch.arange(len(sizes), device=sizes.device).repeat_interleave(tiles)
    before = tiles.cumsum(0) - tiles
    nth = torch.arange(len(group), device=sizes.device) - before[group]
    return Tiling(height, group, links.edges[group] + nth * height, links.edges[group + 1] - 1)


def slabs(tiling: Tiling, layout: TokenLayout, head_dim: int, item: int) -> Iterator[Slab]:
    """The tiles, slab after slab, in order."""
    device = tiling.group.device
    layout = layout.to(device)
    chunk = tiling.group % layout.num_chunks
    lengths = layout.chunk_bounds.diff()[chunk]
    starts = layout.chunk_bounds[chunk] + tiling.group.div(layout.num_chunks, rounding_mode="floor") * layout.length
    edges = layout.chunk_edges()
    longest = max((b - a for a, b in pairwise(edges)), default=1)
    budget = _SLAB_BYTES.get(device.type, _SLAB_BYTES_ELSEWHERE)
    bytes_per_tile = item * (2 * tiling.height * head_dim + 2 * longest * head_dim + tiling.height * longest)
    count = max(1, budget // bytes_per_tile)
    within = torch.arange(tiling.height, device=device)
    for a in range(0, len(tiling.group), count):
        b = min(a + count, len(tiling.group))
        size = lengths[a:b, None]
        shortest, most = (int(x) for x in torch.stack(size.aminmax()).tolist())
        key = torch.arange(most, device=device)
        yield Slab(
            links=torch.minimum(tiling.first[a:b, None] + within, tiling.last[a:b, None]),
            group=tiling.group[a:b],
            keys=starts[a:b, None] + (key if shortest == most else torch.minimum(key, size - 1)),
            pad=None if shortest == most else (key >= size)[:, None, :],
            place=(a * tiling.height, b * tiling.height),
        )


def forward(
    q_RD: Tensor, k_KD: Tensor, v_KD: Tensor, links: Links, tiling: Tiling, layout: TokenLayout, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Attention of every link to its chunk alone.

    Args:
        q_RD: [B H Lq, D] query rows; k_KD, v_KD: [B H L, D] key and value rows.

    Returns:
        [P + 1, D] padded outputs, sums of values with weights exp(score - top), of which the largest is one; [P + 1]
        natural-log LSE of the scores; [P + 1] their top: all in the working dtype. The last row stands for no link:
        zeros and -inf. And [B H Lq W] int64, the padded row of each slot.
    """
    wide = torch.promote_types(q_RD.dtype, torch.float32)
    out = torch.empty(tiling.rows + 1, q_RD.shape[1], dtype=wide, device=q_RD.device)
    lse, tops = (torch.empty(tiling.rows + 1, dtype=wide, device=q_RD.device) for _ in range(2))
    out[-1], lse[-1], tops[-1] = 0, -torch.inf, -torch.inf
    rows = links.rows
    q_RD = q_RD.to(wide) * scale
    for slab in slabs(tiling, layout, q_RD.shape[1], out.element_size()):
        q = _take(q_RD, rows[slab.links], wide)
        # Keys before queries: a processor takes maxima and sums of whole rows side by side, not within a short row.
        scores = torch.bmm(_take_keys(k_KD, slab, wide), q.mT)
        if slab.pad is not None:
            scores.masked_fill_(slab.pad.mT, -torch.inf)
        a, b = slab.place
        top = tops[a:b].view(len(q), 1, -1)
        torch.amax(scores, 1, keepdim=True, out=top)
        weights = scores.sub_(top).exp_()
        torch.add(top, weights.sum(1, keepdim=True).log_(), out=lse[a:b].view(top.shape))
        torch.bmm(weights.mT, _take_keys(v_KD, slab, wide), out=out[a:b].view(q.shape))
    return out, lse, tops, _place_of_slots(links, tiling)


def backward(
    q_RD: Tensor,
    k_KD: Tensor,
    v_KD: Tensor,
    dout_RD: Tensor,
    lse_R: Tensor,
    delta_R: Tensor,
    links: Links,
    tiling: Tiling,
    layout: TokenLayout,
    scale: float,
    dk_KD: Tensor,
    dv_KD: Tensor,
) -> tuple[Tensor, Tensor]:
    """Adds the routed part's gradients of keys and values, and returns those of the queries, link by link.

    Args:
        lse_R: [B H Lq] log-sum-exp over everything a query attends, so that weights are shares of the whole softmax.
        delta_R: [B H Lq] rowsum(dO O) - dLSE.
        dk_KD, dv_KD: [B H L, D] in the working dtype, added to in place.

    Returns:
        [P + 1, D] query gradients of the padded rows, the last one zero, and [B H Lq W] int64, each slot's row.
    """
    wide = dk_KD.dtype
    dq = torch.empty(tiling.rows + 1, q_RD.shape[1], dtype=wide, device=q_RD.device)
    dq[-1] = 0
    rows = links.rows
    within = torch.arange(tiling.height, device=q_RD.device)
    for slab in slabs(tiling, layout, q_RD.shape[1], 2 * dq.element_size()):
        row = rows[slab.links]
        q = _take(q_RD, row, wide).mul_(scale)
        k, v, dout = _take_keys(k_KD, slab, wide), _take_keys(v_KD, slab, wide), _take(dout_RD, row, wide)
        scores = torch.bmm(q, k.mT)
        if slab.pad is not None:
            scores.masked_fill_(slab.pad, -torch.inf)
        weights = scores.sub_(lse_R[row][..., None]).exp_()
        a, b = slab.place
        # Rows that only fill a tile up must not reach the keys' gradients.
        first = tiling.first[a // tiling.height : b // tiling.height, None]
        weights.masked_fill_((slab.links - first < within)[..., None], 0)
        dv = torch.bmm(weights.mT, dout)
        dscores = torch.bmm(dout, v.mT).sub_(delta_R[row][..., None]).mul_(weights)
        torch.bmm(dscores, k, out=dq[a:b].view(q.shape)).mul_(scale)
        dk = torch.bmm(dscores.mT, q)
        _add_rows(dk_KD, dk, slab)
        _add_rows(dv_KD, dv, slab)
    return dq, _place_of_slots(links, tiling)


def _add_rows(into: Tensor, tiles: Tensor, slab: Slab) -> None:
    """Adds [t, K, D] key gradients to their rows: first over tiles of one chunk, then once per row."""
    if slab.pad is not None:
        tiles.masked_fill_(slab.pad.mT, 0)
    new = torch.ones(len(slab.group), dtype=torch.bool, device=into.device)
    new[1:] = slab.group[1:] != slab.group[:-1]
    nth = new.cumsum(0) - 1
    per_group = torch.zeros((int(nth[-1]) + 1, *tiles.shape[1:]), dtype=tiles.dtype, device=into.device)
    per_group.index_add_(0, nth, tiles)
    keys = slab.keys[new]
    if slab.pad is None:
        into[keys] = into[keys] + per_group
    else:
        real = ~slab.pad[new, 0]
        into[keys[real]] = into[keys[real]] + per_group[real]


def _place_of_slots(links: Links, tiling: Tiling) -> Tensor:
    """[B H Lq W] padded row of each slot, the row past the last for slots without a link."""
    device = links.slots.device
    shift = torch.arange(len(tiling.group), device=device) * tiling.height - tiling.first  # from link to padded row
    sizes = (tiling.last + 1 - tiling.first).clamp(max=tiling.height)
    place = shift.repeat_interleave(sizes, output_size=len(links.slots)) + torch.arange(len(links.slots), device=device)
    return torch.full((links.num_slots,), tiling.rows, device=place.device).index_copy_(0, links.slots, place)


def _take(x: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:
    return x.index_select(0, rows.flatten()).view(*rows.shape, x.shape[-1]).to(dtype)


def _take_keys(x: Tensor, slab: Slab, dtype: torch.dtype) -> Tensor:
    """[t, K, D] key rows of the slab's tiles. Rows of a whole chunk lie side by side, and are copied at once."""
    if slab.pad is not None or not x.is_contiguous():
        return _take(x, slab.keys, dtype)
    length, width = slab.keys.shape[1], x.shape[1]
    windows = x.as_strided((len(x) - length + 1, length * width), (width, 1))  # one from every row on
    return windows.index_select(0, slab.keys[:, 0]).view(*slab.keys.shape, width).to(dtype)

"""Routed attention on CUDA: launches of the kernels, forward and backward.

The own part (text and own shot) is somebody else's work and comes in as output and log-sum-exp; here the routed parts
are computed, merged with it into one softmax, and taken back. q, k and v may have any strides but the last. Partial
results are as many outputs as a row has links, so heads and batch rows go through in groups that keep them small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from moc.attention.triton import gradients, kernels, tiles
from moc.attention.triton.descriptors import blocks_of
from moc.attention.triton.launching import LOG2E, launch_shape, strides, upcast, widths
from moc.attention.triton.plan import Plan, cut, make_plan
from moc.attention.triton.tiles import Tiles
from moc.layout import TokenLayout

ROWS = 16
SHORTEST_SPAN = 2048  # links of a chunk whose key gradients one program may sum alone
Part = tuple[slice, slice]


@dataclass(frozen=True)
class Plans:
    """Plans of the groups of batch rows and heads that go through together, in order."""

    parts: tuple[tuple[Part, Plan], ...]

    def flat(self) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Plans]]:
        """All tensors of the plans, and how plans are made of them again."""
        shape = [(part, plan.tile) for part, plan in self.parts]
        tensors = [x for _, p in self.parts for x in (p.slots, p.edges, p.tile_edges, p.tile_group)]

        def again(given: Sequence[Tensor]) -> Plans:
            tables = iter(given)
            return Plans(
                tuple(
                    (part, Plan(next(tables), next(tables), next(tables), next(tables), tile)) for part, tile in shape
                )
            )

        return tensors, again


def _parts(indices: Tensor, width: int) -> Iterator[Part]:
    """Batch rows and heads whose partial results stay below the limit, at least one head at a time.

    The largest are the float32 query gradients of the links; the forward pass shares their plans.
    """
    batch, heads, rows, links = indices.shape
    at_once = max(1, tiles.WORKSPACE // max(1, rows * links * width * 4))
    if at_once >= heads:
        step = at_once // heads
        yield from ((slice(b, min(b + step, batch)), slice(0, heads)) for b in range(0, batch, step))
        return
    groups = -(-heads // at_once)
    step = -(-heads // groups)
    for b in range(batch):
        yield from ((slice(b, b + 1), slice(h, min(h + step, heads))) for h in range(0, heads, step))


def _last_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def merged_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    own_out: Tensor,
    own_lse: Tensor,
    indices: Tensor,
    layout: TokenLayout,
    scale: float,
    *,
    keep: bool = True,
) -> tuple[Tensor, Tensor, Plans]:
    """One softmax over the own part and the routed chunks.

    Args:
        q: [B, H, Lq, D]; k, v: [B, H, L, D].
        own_out: [B, H, Lq, D] output of the own part; own_lse: [B, H, Lq] its natural-log LSE, float32, -inf for none.
        indices: [B, H, Lq, W] int32 routes.
        keep: whether the plans will be asked for; they take 4 bytes a link.

    Returns:
        [B, H, Lq, D] output in q's dtype and strides, [B, H, Lq] float32 LSE, and the plans for the backward pass.
    """
    batch, heads, rows, width = q.shape
    q, k, v, own_out = (_last_contiguous(x) for x in (q, k, v, own_out))
    own_lse = own_lse.contiguous()
    out = torch.empty_like(q)
    lse = torch.empty(batch, heads, rows, dtype=torch.float32, device=q.device)
    shape = tiles.forward_tiles(tiles.longest_chunk(layout), width, q.dtype, tiles.shared_memory(q.device))
    plans = []
    for part in _parts(indices, width):
        chosen = indices[part].contiguous()
        plan = make_plan(chosen, layout.num_chunks, shape.links)
        outs, lses = links_forward(q[part], k[part], v[part], plan, chosen.shape[-1], layout, scale, shape)
        piece = lse[part]  # whole heads of one batch row, or whole batch rows: contiguous
        merge(outs, lses, chosen, layout.num_chunks, own_out[part], own_lse[part].contiguous(), out[part], piece)
        if keep:
            plans.append((part, plan))
    return out, lse, Plans(tuple(plans))


def backward_plans(indices: Tensor, layout: TokenLayout, width: int) -> Plans:
    """The plans of `merged_forward`, made anew for a backward pass without them; `width` is the head width D."""
    tile = tiles.backward_tiles(tiles.longest_chunk(layout), width).M
    parts = ((part, indices[part].contiguous()) for part in _parts(indices, width))
    return Plans(tuple((part, make_plan(chosen, layout.num_chunks, tile)) for part, chosen in parts))


def links_forward(
    q: Tensor, k: Tensor, v: Tensor, plan: Plan, links: int, layout: TokenLayout, scale: float, shape: Tiles
) -> tuple[Tensor, Tensor]:
    """Attention of every link to its chunk alone: [P, D] outputs in q's dtype and [P] float32 LSE, at its slot.

    Slots without a link are not written. `shape.links` must be the plan's tile. Where the shape asks for blocks and
    `k` or `v` lies so that the copy engine can't fetch them, the links go in the tiles that pointers take.
    """
    batch, heads, rows, width = q.shape
    part = torch.empty(batch * heads * rows * links, width, dtype=q.dtype, device=q.device)
    part_lse = torch.empty(len(part), dtype=torch.float32, device=q.device)
    tile_edges, tile_group = plan.tile_edges, plan.tile_group
    keys = [blocks_of(x, shape.N) for x in (k, v)] if shape.blocks else []
    kernel = kernels.short_forward_kernel if shape.span else kernels.forward_kernel
    sources, steps = [k, v], strides(k, v)
    described = [x for x in keys if x is not None]
    enough = tiles.shortest_chunk(layout) >= shape.N
    known = {"WHOLE": enough} if shape.span else {}  # keys that stay are those of chunks of at most N
    if len(described) == 2:
        kernel = kernels.blocks_forward_kernel
        known = {"OVERLAP": enough}
        sources, steps = [x.descriptor for x in described], [step for x in described for step in x.steps]
    elif shape.blocks:
        shape = tiles.by_pointers(tiles.longest_chunk(layout))
        tile_edges, tile_group = cut(plan.edges, len(part), shape.M)
    kernel[(len(tile_group),)](
        q, *sources, part, part_lse, plan.slots, plan.edges, tile_edges, tile_group,
        layout.to(q.device).chunk_bounds, *strides(q), *steps, batch * heads * layout.num_chunks,
        *([shape.span] if shape.span else []), layout.num_chunks, heads, rows, abs(scale) * LOG2E,
        W=links, **widths(q), UPCAST=upcast(q), NEGATE=scale < 0, **known, **launch_shape(shape),
    )  # fmt: skip
    return part, part_lse


def merge(
    part: Tensor, part_lse: Tensor, indices: Tensor, chunks: int, own_out: Tensor, own_lse: Tensor, out: Tensor,
    lse: Tensor,
) -> None:  # fmt: skip
    """Writes the softmax over own part and links to `out` [b, h, Lq, D] and `lse` [b, h, Lq], which is contiguous."""
    batch, heads, rows, _ = out.shape
    count = batch * heads * rows
    kernels.merge_kernel[(triton.cdiv(count, ROWS),)](
        part, part_lse, indices, own_out, own_lse, out, lse,
        *strides(own_out, out), count, chunks, heads, rows, W=indices.shape[-1], **widths(out), R=ROWS,
        num_warps=4,
    )  # fmt: skip


def delta_of(out: Tensor, dout: Tensor, dlse: Tensor | None) -> Tensor:
    """rowsum(dO * O) - dLSE, [B, H, Lq] float32."""
    batch, heads, rows, _ = out.shape
    out, dout = _last_contiguous(out), _last_contiguous(dout)
    delta = torch.empty(batch, heads, rows, dtype=torch.float32, device=out.device)
    count = batch * heads * rows
    gradients.delta_kernel[(triton.cdiv(count, ROWS),)](
        out, dout, delta if dlse is None else dlse.float().contiguous(), delta, *strides(out, dout),
        count, heads, rows,
        HAS_DLSE=dlse is not None, **widths(out), R=ROWS, num_warps=4,
    )  # fmt: skip
    return delta


def dq_with_links(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, lse: Tensor, delta: Tensor, own_dq: Tensor, indices: Tensor,
    plans: Plans, layout: TokenLayout, scale: float,
) -> Tensor:  # fmt: skip
    """[B, H, Lq, D] query gradients in q's dtype: `own_dq` of the own part plus all links; LSE and delta are final."""
    width, chunks = q.shape[-1], layout.num_chunks
    q, k, v, dout, own_dq = (_last_contiguous(x) for x in (q, k, v, dout, own_dq))
    dq = torch.empty_like(q)
    shape = tiles.backward_tiles(tiles.longest_chunk(layout), width)
    for where, plan in plans.parts:
        chosen = indices[where].contiguous()
        batch, heads, rows, links = chosen.shape
        groups = batch * heads * chunks
        part = torch.empty(chosen.numel(), width, dtype=torch.float32, device=q.device)
        tile_edges, tile_group = plan.tile_edges, plan.tile_group
        if plan.tile != shape.M:
            tile_edges, tile_group = cut(plan.edges, chosen.numel(), shape.M)
        x = [t[where] for t in (q, k, v, dout)]
        gradients.dq_kernel[(len(tile_group),)](
            *x, lse[where], delta[where], part, plan.slots, plan.edges, tile_edges, tile_group,
            layout.to(q.device).chunk_bounds, *strides(*x), groups, chunks, heads, rows, scale * LOG2E,
            W=links, **widths(q), UPCAST=upcast(q), **launch_shape(shape),
        )  # fmt: skip
        sum_queries(part, chosen, chunks, own_dq[where], dq[where])
    return dq


def sum_queries(part: Tensor, indices: Tensor, chunks: int, own_dq: Tensor, dq: Tensor) -> None:
    """Writes the query gradients of own part and links, [P, D] at their slots, to `dq` [b, h, Lq, D]."""
    batch, heads, rows, links = indices.shape
    count = batch * heads * rows
    gradients.dq_sum_kernel[(triton.cdiv(count, ROWS),)](
        part, indices, own_dq, dq, *strides(own_dq, dq), count, chunks, heads, rows, W=links, **widths(dq), R=ROWS,
        num_warps=4,
    )  # fmt: skip


def key_gradients(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, lse: Tensor, delta: Tensor, links: int, plans: Plans,
    layout: TokenLayout, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """[B, H, L, D] float32 key and value gradients of the routed part, every element written.

    The links of a chunk that much is routed to are cut into spans, summed by different programs and added in a fixed
    order: skewed routing costs what its pairs cost, and the result is bit-stable.
    """
    width, chunks = q.shape[-1], layout.num_chunks
    q, k, v, dout = (_last_contiguous(x) for x in (q, k, v, dout))
    dk, dv = (torch.empty(k.shape, dtype=torch.float32, device=q.device) for _ in range(2))
    longest = tiles.longest_chunk(layout)
    shape = tiles.key_gradient_tiles(longest, width, q.dtype, tiles.shared_memory(q.device))
    bounds = layout.to(q.device).chunk_bounds
    across = triton.cdiv(longest, shape.N)
    for where, plan in plans.parts:
        x = [t[where] for t in (q, k, v, dout)]
        batch, heads, rows, _ = x[0].shape
        groups, total = batch * heads * chunks, batch * heads * rows * links
        span = _span(total, groups)
        span_edges, span_group = cut(plan.edges, total, span, least=1)
        more = torch.empty(max(1, total // span), 2, longest, width, dtype=torch.float32, device=q.device)
        gradients.dkdv_kernel[(len(span_group), across)](
            *x, lse[where], delta[where], dk[where], dv[where], more, plan.slots, plan.edges, span_edges, span_group,
            bounds, *strides(*x, dk), groups, span, longest, chunks, heads, rows, scale * LOG2E,
            W=links, **widths(q), UPCAST=upcast(q), **launch_shape(shape),
        )  # fmt: skip
        if total // span:
            gradients.dkdv_sum_kernel[(groups, across)](
                more, dk[where], dv[where], span_edges, bounds, *strides(dk), longest, chunks, heads,
                **widths(q), N=shape.N, num_warps=4,
            )  # fmt: skip
    return dk, dv


def _span(links: int, groups: int) -> int:
    """Links that one program sums alone: as many as lead to four average chunks, so that the memory for further spans
    is at most half of the gradients'."""
    return max(SHORTEST_SPAN, triton.next_power_of_2(triton.cdiv(4 * links, groups)))

"""The row `skew` of `attention.py`: what the routed part costs when routes are not scattered evenly.

Kernels that give each chunk to one program wait for the chunk that everybody wants. Here hot chunks are split over the
card, so time should go by pairs alone, whatever the routes: the table shows the rate under several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from attention_cases import CASES
from attention_runs import Bench, Cell, free, noted
from torch import Tensor

from moc.flops import FLOPS_PER_PAIR
from moc.layout import TokenLayout
from moc.profile.timing import measure

Tell = Callable[[Cell], None]
BACKWARD_FLOPS = 10  # of a pair and channel: five products, two FLOPs each


def skewed(indices: Tensor, layout: TokenLayout, generator: torch.Generator) -> dict[str, Tensor]:
    """Other routes of as many links as `indices` [1, H, L, k] has in each row, but for those to one chunk alone.

    Rows without links, those of the first shot, stay without. "Zipf" draws distinct chunks of earlier shots, the n-th
    of the stream with odds of 1/n; "one shot" goes to the chunks of the first shot in turns; "one chunk" keeps one link
    of each row and leads it to the first chunk, and nobody chooses the others.
    """
    there = indices >= 0
    shot_of = layout.to(indices.device).chunk_shot
    latest = shot_of[indices.clamp_min(0)].where(there, 0).amax(-1)  # earlier than the row's own shot: [1, H, L]
    width = indices.shape[-1]
    zipf = torch.full_like(indices, -1)
    for shot in range(1, int(shot_of.max()) + 1):
        rows = (latest == shot) & there[..., -1]
        if rows.any():
            count = int((shot_of <= shot).sum())
            odds = 1 / torch.arange(1, count + 1, device=indices.device, dtype=torch.float32)
            drawn = torch.multinomial(odds.expand(int(rows.sum()), -1), width, generator=generator)
            zipf[rows] = drawn.to(zipf.dtype)
    first = int((shot_of <= 1).sum())
    turn = torch.arange(indices.shape[2], device=indices.device)[None, None, :, None] * width
    turns = ((turn + torch.arange(width, device=indices.device)) % first).expand_as(indices).to(indices.dtype)
    one = torch.full_like(indices, -1)
    one[..., 0] = torch.where(there.any(-1), 0, -1)
    return {"scattered": indices, "Zipf": zipf, "one shot": turns.where(there, -1), "one chunk": one}


def bench_skew(device: torch.device, dtype: torch.dtype, tell: Tell, *, toy: bool) -> list[Cell]:
    """The routed part alone, forward and backward, under several kinds of routes at the setting `story`."""
    from moc import route

    case = next(case for case in CASES if case.name == "story")
    bench = Bench(case.toy() if toy else case, device, dtype)
    indices = route(bench.q, bench.k, bench.layout, bench.config).indices.contiguous()
    generator = torch.Generator(device).manual_seed(1)
    cells: list[Cell] = []
    for name, routes in skewed(indices, bench.layout, generator).items():
        cells += _both_ways(bench, name, routes.contiguous(), tell)
        free(device)
    return cells


def _both_ways(bench: Bench, name: str, indices: Tensor, tell: Tell) -> list[Cell]:
    from moc.attention.triton import routed, tiles
    from moc.attention.triton.plan import make_plan

    case, q, k, v, layout = bench.case, bench.q, bench.k, bench.v, bench.layout
    shape = tiles.forward_tiles(tiles.longest_chunk(layout), case.width, q.dtype, tiles.shared_memory(bench.device))
    plan = make_plan(indices, layout.num_chunks, shape.links)
    links, scale = indices.shape[-1], case.width**-0.5
    lengths = layout.to(bench.device).chunk_bounds.diff()
    pairs = float(lengths[indices.clamp_min(0)].where(indices >= 0, 0).double().sum())
    plans = routed.Plans((((slice(0, 1), slice(0, case.heads)), plan),))
    dout = torch.randn_like(q)
    lse, delta = (torch.zeros(q.shape[:3], dtype=torch.float32, device=q.device) for _ in range(2))
    lse += 8.0  # about what the whole softmax has

    def backward() -> object:
        routed.key_gradients(q, k, v, dout, lse, delta, links, plans, layout, scale)
        return routed.dq_with_links(q, k, v, dout, lse, delta, dout, indices, plans, layout, scale)

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "forward": (lambda: routed.links_forward(q, k, v, plan, links, layout, scale, shape), FLOPS_PER_PAIR),
        "backward": (backward, BACKWARD_FLOPS),
    }
    cells = []
    for passes, (run, work) in ways.items():
        cell = replace(bench.cell(f"Triton, {name}"), case="skew", passes=passes, ceiling=None)
        cell.title = f"routed part alone, {passes}, by where routes go, {case.title}"
        with noted(cell), torch.no_grad():
            time = measure(run, bench.device, warm=True)
            cell.ms, cell.low_ms, cell.high_ms = time.median_ms, time.low_ms, time.high_ms
            cell.tflops = work * pairs * case.width / time.median_ms / 1e9
        cells.append(cell)
        tell(cell)
    return cells

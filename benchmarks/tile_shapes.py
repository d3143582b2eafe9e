"""Times every kernel of routed attention at many launch shapes: what the fixed tables of the engine are chosen by.

    python benchmarks/tile_shapes.py                       settings "story", "fine", "clip"; two minutes on one H200
    python benchmarks/tile_shapes.py --rows fine --save shapes.csv

Each line is one kernel at one shape on one setting of `attention_cases`: the median of repeated calls between device
events, in bfloat16 on random inputs, and by how much its results differ from those of the first shape, which may not
exceed rounding. `*` marks what the engine's tables choose. A shape that a card has no room for says so.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from attention_cases import CASES
from attention_runs import Bench
from torch import Tensor

from moc import pool, route
from moc.attention import flash, gathered, probes
from moc.attention.mandatory import Mandatory, mandatory
from moc.attention.triton import plan as plans
from moc.attention.triton import routed, tiles, topk
from moc.attention.triton.tiles import Tiles
from moc.profile.timing import machine, measure

ROWS = ("story", "fine", "clip")
FORWARD = (
    Tiles(64, 64, 4, 1), Tiles(64, 64, 4, 2), Tiles(64, 64, 4, 3), Tiles(64, 64, 4, 4), Tiles(64, 32, 4, 2),
    Tiles(64, 32, 4, 3), Tiles(64, 32, 4, 4), Tiles(128, 32, 8, 3), Tiles(128, 64, 8, 2), Tiles(128, 64, 8, 3),
    Tiles(128, 128, 8, 3), Tiles(64, 128, 4, 1), Tiles(64, 128, 4, 1, 512), Tiles(64, 128, 4, 1, 1024),
    Tiles(64, 128, 4, 1, 2048), Tiles(64, 128, 4, 1, 4096), Tiles(64, 128, 8, 1, 2048), Tiles(128, 128, 8, 1, 2048),
    Tiles(128, 64, 4, 2, blocks=True), Tiles(128, 32, 4, 3, blocks=True), Tiles(64, 64, 4, 3, blocks=True),
)  # fmt: skip
BACKWARD = (
    Tiles(64, 64, 4, 2), Tiles(64, 64, 4, 3), Tiles(64, 128, 8, 2), Tiles(64, 128, 8, 3), Tiles(128, 64, 8, 2),
    Tiles(128, 64, 8, 3),
)  # fmt: skip
BLOCKS = (256, 512, 1024, 2048)
MERGED = (8, 16, 32)  # rows a program
CANDIDATES = (16, 32, 64, 128)  # a tile of the top-k


@dataclass
class Line:
    """One kernel at one shape."""

    row: str
    kernel: str
    shape: str
    chosen: bool
    ms: float | None = None
    error: float | None = None
    note: str = ""


def timed(line: Line, run: Callable[[], Sequence[Tensor]], truth: list[Tensor]) -> Line:
    """Fills the line; the first results that come are the truth for those after them."""
    try:
        got = [x.float() for x in run()]
        if truth:
            line.error = max(float((a - b).abs().max()) for a, b in zip(got, truth, strict=True) if a.numel())
        else:
            truth += got
        del got
        line.ms = measure(run, truth[0].device, warm=True).median_ms
    except Exception as error:  # a card without room for a shape, a kernel that is not there
        line.note = f"{type(error).__name__}: {str(error).splitlines()[0][:90] if str(error) else ''}"
    return line


def sweep(row: str, device: torch.device) -> Iterator[Line]:
    """All lines of one setting."""
    case = next(case for case in CASES if case.name == row)
    bench = Bench(case, device, torch.bfloat16)
    q, k, v, layout, config = bench.q, bench.k, bench.v, bench.layout, bench.config
    scale, longest, shared = case.width**-0.5, tiles.longest_chunk(layout), tiles.shared_memory(device)
    descriptors = pool(k, layout)

    def choose() -> list[Tensor]:
        return [route(q, k, layout, config, descriptors=descriptors).indices]

    indices = choose()[0].contiguous()
    links, ok = indices.shape[-1], (indices >= 0).flatten()
    real = int(ok.sum())
    by_rule = topk.candidates_per_tile
    truth: list[Tensor] = []
    for tile in CANDIDATES:
        topk.candidates_per_tile = lambda *_, tile=tile: tile
        chosen = tile == by_rule(layout.num_chunks, config.top_k)
        yield timed(Line(row, "route", f"{topk.ROWS} x {tile}", chosen), choose, truth)
    topk.candidates_per_tile = by_rule

    by_slots, truth = plans.slots_per_block, []
    usual = by_slots(layout.length * links, layout.num_chunks)
    for block in BLOCKS:
        plans.slots_per_block = lambda *_, block=block: block

        def planned() -> list[Tensor]:
            plan = plans.make_plan(indices, layout.num_chunks, 64)
            return [plan.slots[:real], plan.edges]

        yield timed(Line(row, "plan", f"blocks of {block}", block == usual), planned, truth)
    plans.slots_per_block = by_slots

    own, truth = mandatory(layout, config, (0, layout.length), device), []
    for name in ("auto", *probes.NAMES[:-1]):

        def own_part(name: str = name) -> Sequence[Tensor]:
            with probes.use(name):
                return flash.mandatory_forward(q, k, v, own, scale)

        yield timed(Line(row, "own part", name, name == "auto"), own_part, truth)

    table, truth = tiles.forward_tiles(longest, case.width, q.dtype, shared), []
    for shape in FORWARD:
        if shape.span and longest > shape.N:
            continue
        plan = plans.make_plan(indices, layout.num_chunks, shape.links)

        def forward(shape: Tiles = shape, plan: plans.Plan = plan) -> list[Tensor]:
            out, lse = routed.links_forward(q, k, v, plan, links, layout, scale, shape)
            return [out, lse]

        yield timed(Line(row, "routed", str(astuple(shape)), shape == table), _at(ok, forward), truth)
    plan = plans.make_plan(indices, layout.num_chunks, 64)

    def by_gathering() -> Sequence[Tensor]:
        return gathered.links_forward(q, k, v, plan.slots, plan.edges, links, layout, scale)

    yield timed(Line(row, "routed", "FA4 over gathered queries", False), _at(ok, by_gathering), truth)
    yield from _merge(row, bench, indices, own, scale)
    yield from _backward(row, bench, indices, own, scale)


def _merge(row: str, bench: Bench, indices: Tensor, own: Mandatory, scale: float) -> Iterator[Line]:
    """The merge after a dense kernel."""
    q, k, v, layout = bench.q, bench.k, bench.v, bench.layout
    shape = tiles.forward_tiles(tiles.longest_chunk(layout), bench.case.width, q.dtype, tiles.shared_memory(q.device))
    plan = plans.make_plan(indices, layout.num_chunks, shape.links)
    parts = routed.links_forward(q, k, v, plan, indices.shape[-1], layout, scale, shape)
    own_out, own_lse = flash.mandatory_forward(q, k, v, own, scale)
    out, lse = torch.empty_like(q), torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)

    def merged() -> Sequence[Tensor]:
        routed.merge(*parts, indices, layout.num_chunks, own_out, own_lse.contiguous(), out, lse)
        return out, lse

    before, truth = routed.ROWS, list[Tensor]()
    for rows in MERGED:
        routed.ROWS = rows
        yield timed(Line(row, "merge", f"{rows} rows", rows == before), merged, truth)
    routed.ROWS = before


def _at(ok: Tensor, run: Callable[[], Sequence[Tensor]]) -> Callable[[], list[Tensor]]:
    """The results at real links alone: what other slots hold is nobody's."""
    first = True

    def call() -> list[Tensor]:
        nonlocal first
        got = run()
        if first:  # not while it is timed
            first = False
            return [x[ok] for x in got]
        return list(got)

    return call


def _backward(row: str, bench: Bench, indices: Tensor, own: Any, scale: float) -> Iterator[Line]:
    q, k, v, layout, width = bench.q, bench.k, bench.v, bench.layout, bench.case.width
    links, longest = indices.shape[-1], tiles.longest_chunk(layout)
    shared = tiles.shared_memory(q.device)
    own_out, own_lse = flash.mandatory_forward(q, k, v, own, scale)
    out, lse, made = routed.merged_forward(q, k, v, own_out, own_lse, indices, layout, scale)
    dout = torch.randn(q.shape, device=q.device, generator=torch.Generator(q.device).manual_seed(1)).to(q.dtype)
    delta, nothing = routed.delta_of(out, dout, None), torch.zeros_like(q)
    tables: Any = (tiles.backward_tiles, tiles.key_gradient_tiles)
    chosen = tables[0](longest, width), tables[1](longest, width, q.dtype, shared)
    truths: tuple[list[Tensor], list[Tensor]] = ([], [])
    for shape in BACKWARD:
        tiles.backward_tiles = tiles.key_gradient_tiles = lambda *_, shape=shape: shape  # type: ignore[assignment]

        def queries() -> list[Tensor]:
            return [routed.dq_with_links(q, k, v, dout, lse, delta, nothing, indices, made, layout, scale)]

        def keys() -> Sequence[Tensor]:
            return routed.key_gradients(q, k, v, dout, lse, delta, links, made, layout, scale)

        try:
            yield timed(Line(row, "query gradients", str(astuple(shape)), shape == chosen[0]), queries, truths[0])
            yield timed(Line(row, "key gradients", str(astuple(shape)), shape == chosen[1]), keys, truths[1])
        finally:
            tiles.backward_tiles, tiles.key_gradient_tiles = tables


def main() -> None:
    """Prints as it goes and saves what it has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument("--save", type=Path, metavar="CSV")
    args = parser.parse_args()
    rows = args.rows.split(",")
    if unknown := set(rows) - set(ROWS):
        parser.error(f"--rows takes {', '.join(ROWS)}, got {', '.join(sorted(unknown))}")
    if not torch.cuda.is_available():
        parser.error("launch shapes are timed on CUDA, and there is none here")
    device = torch.device("cuda")
    print(", ".join(f"{key} {value}" for key, value in machine(device).items()), flush=True)
    lines: list[Line] = []
    try:
        for row in rows:
            for line in sweep(row, device):
                time = line.note if line.ms is None else f"{line.ms:9.3f} ms"
                off = "" if line.error is None else f"  differs by {line.error:.2g}"
                print(f"{'*' if line.chosen else ' '} {row:6} {line.kernel:16} {line.shape:28} {time}{off}", flush=True)
                lines.append(replace(line))
            torch.cuda.empty_cache()
    finally:
        if args.save and lines:
            with args.save.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(Line.__dataclass_fields__)
                writer.writerows(astuple(line) for line in lines)


if __name__ == "__main__":
    main()

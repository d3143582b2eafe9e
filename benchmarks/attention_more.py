"""The rows of `attention.py` that are no single setting: growth with length, a whole transformer, break-even."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from attention_cases import CASES, of_length, of_shots
from attention_runs import Bench, Cell, captured, dense_attention, dense_kernels, free, moc_variants, noted
from torch import Tensor

from moc.attention import probes
from moc.flops import FLOPS_PER_PAIR
from moc.profile.timing import measure, once, peak_memory, synchronize

Tell = Callable[[Cell], None]
LIMIT_S = 5.0


def bench_growth(
    device: torch.device, dtype: torch.dtype, shots: list[int], heads: int, tell: Tell, *, toy: bool, dense: bool = True
) -> list[Cell]:
    """MoC at every length, each dense kernel until a call is expected to take longer than a few seconds."""
    cells: list[Cell] = []
    slow: set[str] = set()
    for number in shots:
        case = replace(of_shots(number, heads), name=f"shots-{number}")
        if toy:
            case = replace(case.toy(), shots=number, name=case.name)
        cell = Cell(case.name, case.title, case.heads, case.tokens, "forward", "eager", "MoC", ceiling=case.ceiling)
        with noted(cell):
            bench = Bench(case, device, dtype)
            label, under = next(iter(moc_variants(bench).items()))
            cell = bench.timed(label, bench.moc, sparse=True, under=under, parts=True)
        cells.append(cell)
        tell(cell)
        if cell.note:
            free(device)
            continue
        for name in dense_kernels(bench) if dense else []:
            if name in slow:
                continue
            other = bench.timed(probes.LABELS[name], dense_attention(name), sparse=False)
            if other.ms and cell.ms:
                other.ratio = other.ms / cell.ms
                other.share = other.ratio / case.ceiling
            if other.note or (other.ms or 0) * 4e-3 > LIMIT_S:  # twice the length, four times the work
                slow.add(name)
            cells.append(other)
            tell(other)
        del bench
        free(device)
    return cells


def bench_transformer(device: torch.device, dtype: torch.dtype, tell: Tell, *, toy: bool, quick: bool) -> list[Cell]:
    """One denoising step of a transformer of the shape of Wan 2.1 1.3B (30 layers, width 1536, 12 heads of 128, MLP
    8960, random weights) over 180,000 tokens in 8 shots, with each attention underneath; cross-attention to 512 text
    tokens included."""
    from moc.profile import wan_shape

    case = replace(of_shots(8, wan_shape.HEADS), name="transformer", title="a transformer step, 180,000 tokens")
    if toy:
        case = replace(case.toy(), heads=wan_shape.HEADS, width=wan_shape.HEAD_DIM)
    bench = Bench(replace(case, heads=1), device, dtype)
    labels = {label: ("moc", name) for label, name in moc_variants(bench).items()}
    labels |= {probes.LABELS[name]: ("dense", name) for name in dense_kernels(bench)}
    with torch.device(device):
        torch.manual_seed(0)
        model = wan_shape.WanShaped().to(dtype).eval()
        if toy:
            model.blocks = model.blocks[:1]
        patches = torch.randn(1, case.tokens, wan_shape.PATCH, dtype=dtype)
        text = torch.randn(1, wan_shape.TEXT_TOKENS, wan_shape.TEXT_WIDTH, dtype=dtype)
    blocks = model.blocks
    cells: list[Cell] = []
    for label, (kind, name) in labels.items():
        cell = replace(bench.cell(label), heads=case.heads, tokens=case.tokens, ceiling=None)
        attention = bench.moc if kind == "moc" else dense_attention(name)
        with noted(cell), torch.no_grad(), probes.use(name if kind == "moc" else "auto"):

            def step(attention: Any = attention) -> Tensor:
                return model(patches, text, lambda layer, q, k, v: attention(q, k, v))  # type: ignore[no-any-return]

            model.blocks = blocks[:1]  # one layer warms up what all share
            step()
            model.blocks = blocks
            if quick or kind == "dense":
                synchronize(device)
                cell.ms = once(step, device) * 1e3
                cell.note = "one step"
            else:
                peak = peak_memory(step, device, [])
                cell.peak_gib = None if peak is None else peak / 1024
                time = measure(step, device, warm=True)
                cell.ms, cell.low_ms, cell.high_ms = time.median_ms, time.low_ms, time.high_ms
        model.blocks = blocks
        base = next((c for c in cells if c.kernel.startswith("MoC") and c.ms), None)
        if base and cell.ms and kind == "dense":
            cell.ratio = cell.ms / base.ms  # type: ignore[operator]
        cells.append(cell)
        tell(cell)
        free(device)
    return cells


def bench_routed(device: torch.device, dtype: torch.dtype, tell: Tell, *, toy: bool) -> list[Cell]:
    """The routed part alone, forward, by each way to it, at every forward setting."""
    cells: list[Cell] = []
    for case in CASES:
        if not case.backward:
            cells += _ways_to_route(Bench(case.toy() if toy else case, device, dtype), tell)
            free(device)
    return cells


def _ways_to_route(bench: Bench, tell: Tell) -> list[Cell]:
    """Triton, and FlashAttention-4 over gathered queries, from one plan; the error is the difference between them."""
    from moc import route
    from moc.attention import gathered
    from moc.attention.triton import routed, tiles
    from moc.attention.triton.plan import make_plan

    case, q, k, v, layout = bench.case, bench.q, bench.k, bench.v, bench.layout
    indices = route(q, k, layout, bench.config).indices.contiguous()
    shape = tiles.forward_tiles(tiles.longest_chunk(layout), case.width, q.dtype, tiles.shared_memory(bench.device))
    plan = make_plan(indices, layout.num_chunks, shape.links)
    links, scale = indices.shape[-1], case.width**-0.5
    work = case.counts.routed_pairs * case.heads * case.width * FLOPS_PER_PAIR
    ways: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "Triton": lambda: routed.links_forward(q, k, v, plan, links, layout, scale, shape),
        f"{probes.LABELS['fa4']}, gathered": lambda: gathered.links_forward(
            q, k, v, plan.slots, plan.edges, links, layout, scale
        ),
    }
    cells: list[Cell] = []
    first: Tensor | None = None
    for label, run in ways.items():
        cell = replace(bench.cell(label), case="routed", title=f"routed part alone, {case.title}", ceiling=None)
        with noted(cell), torch.no_grad():
            got = run()[0].view(*indices.shape, -1)[indices >= 0]
            time = measure(run, bench.device, warm=True)
            cell.ms, cell.low_ms, cell.high_ms = time.median_ms, time.low_ms, time.high_ms
            cell.tflops = work / time.median_ms / 1e9
            cell.error = None if first is None else float((got.float() - first.float()).abs().max())
            first = got if first is None else first
        cells.append(cell)
        tell(cell)
    return cells


def bench_break_even(
    device: torch.device, dtype: torch.dtype, tell: Tell, *, toy: bool, low: int = 720, high: int = 61_440
) -> list[Cell]:
    """The shortest length, to the nearest latent frame of 240 tokens, at which MoC is as fast as each dense kernel:
    one shot, own chunk + 3 of 256, 24 heads, by bisection. `tokens` of a cell is that length."""
    seen: dict[tuple[int, str, str], float] = {}

    def ms(tokens: int, kernel: str, mode: str) -> float:
        case = of_length(tokens)
        if toy:
            case = replace(case, heads=1, width=16)
        key = (case.tokens, kernel, mode)
        if key not in seen:
            bench = Bench(case, device, dtype)
            moc = kernel == "moc"
            run = bench.call(bench.moc if moc else dense_attention(kernel))
            with probes.use("auto"):
                run()
                seen[key] = measure(captured(run) if mode == "graph" else run, device, warm=True).median_ms
            del bench
            free(device)
        return seen[key]

    cells = []
    tiny = Bench(replace(of_length(720), heads=1), device, dtype)
    names = dense_kernels(tiny)
    high = 2_880 if toy else high
    for mode in ("eager", "graph") if device.type == "cuda" else ("eager",):
        for name in names:
            cell = Cell("break-even", "MoC as fast as dense", 24, 0, "forward", mode, probes.LABELS[name])
            with noted(cell):
                cell.tokens, cell.note = bisected(lambda n, m=mode, k=name: ms(n, "moc", m) <= ms(n, k, m), low, high)
                moc, other = (ms(cell.tokens, kernel, mode) for kernel in ("moc", name))
                cell.ms, cell.ratio = other, other / moc
            cells.append(cell)
            tell(cell)
    return cells


def bisected(wins: Callable[[int], bool], low: int, high: int, step: int = 240) -> tuple[int, str]:
    """The smallest multiple of `step` from `low` to `high` at which `wins` holds, if it holds from there on."""
    if wins(low):
        return low, "already at the shortest length tried"
    if not wins(high):
        return high, "not even at the longest length tried"
    first, last = low // step, high // step
    while last - first > 1:
        middle = (first + last) // 2
        if wins(middle * step):
            last = middle
        else:
            first = middle
    return last * step, ""

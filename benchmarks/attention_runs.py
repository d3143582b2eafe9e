"""How `attention.py` measures one setting: inputs, calls, times, and a look at the numbers.

Every cell stands alone: what fails is noted with its reason, and the rest goes on. Inputs are standard normal.
Forward + backward is one forward pass and one call of autograd with a standard normal gradient.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from attention_cases import Case
from torch import Tensor

from moc import moc_attention, route
from moc.attention import dense, probes
from moc.attention.mandatory import mandatory
from moc.profile.parts import part_times
from moc.profile.timing import is_out_of_memory, measure, peak_memory

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
SAMPLED = 64


@dataclass
class Cell:
    """One measurement: a kernel on a case.

    `ratio` is this kernel's time over MoC's; `share` that of the ceiling. `error` is the largest difference from
    float32 on sampled rows. `note` says why there is no time.
    """

    case: str
    title: str
    heads: int
    tokens: int
    passes: str
    mode: str
    kernel: str
    ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    tflops: float | None = None
    peak_gib: float | None = None
    ratio: float | None = None
    ceiling: float | None = None
    share: float | None = None
    error: float | None = None
    note: str = ""
    parts: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """A flat row, a column for each part."""
        flat = asdict(self)
        for name, ms in flat.pop("parts").items():
            flat[f"{name}_ms"] = ms
        return flat


class Bench:
    """Inputs of one case on one device, and the measurements over them."""

    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        self.case, self.device = case, device
        self.layout, self.config = case.layout.to(device), case.config
        generator = torch.Generator(device).manual_seed(0)
        shape = (1, case.heads, case.tokens, case.width)
        self.q, self.k, self.v = (torch.randn(shape, generator=generator, device=device, dtype=dtype) for _ in range(3))
        self.dout = None
        if case.backward:
            self.dout = torch.randn(shape, generator=generator, device=device, dtype=dtype)
            for x in (self.q, self.k, self.v):
                x.requires_grad_()

    def call(self, attention: Attention) -> Callable[[], object]:
        """The passes of this case as one call."""
        inputs = (self.q, self.k, self.v)
        if self.dout is None:
            return torch.no_grad()(lambda: attention(*inputs))
        return lambda: torch.autograd.grad(attention(*inputs), inputs, self.dout)

    def moc(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Everything from pooling to merge."""
        return moc_attention(q, k, v, self.layout, self.config)

    def cell(self, kernel: str, mode: str = "eager") -> Cell:
        """An empty measurement."""
        passes = "forward + backward" if self.case.backward else "forward"
        case = self.case
        return Cell(case.name, case.title, case.heads, case.tokens, passes, mode, kernel, ceiling=case.ceiling)

    def timed(
        self,
        kernel: str,
        attention: Attention,
        *,
        sparse: bool,
        mode: str = "eager",
        under: str = "auto",
        parts: bool = False,
    ) -> Cell:
        """The time of one kernel, its rate, its memory, and its error where it is MoC's."""
        cell = self.cell(kernel, mode)
        with noted(cell), probes.use(under):
            run = self.call(attention)
            run()
            if mode == "graph":
                run = captured(run)
            else:
                peak = peak_memory(run, self.device, [self.q, self.k, self.v])
                cell.peak_gib = None if peak is None else peak / 1024
            time = measure(run, self.device, warm=True)
            cell.ms, cell.low_ms, cell.high_ms = time.median_ms, time.low_ms, time.high_ms
            cell.tflops = self.case.work(dense=not sparse) / time.median_ms / 1e9
            if sparse and mode == "eager":
                cell.error = self.error(attention)
                if parts:
                    cell.parts = part_times(torch.no_grad()(lambda: attention(self.q, self.k, self.v)), self.device)
        free(self.device)
        return cell

    def error(self, attention: Attention) -> float:
        """Largest difference of sampled rows from float32 under the same routes, shot and chunk edges among them."""
        with torch.no_grad():
            out = attention(self.q, self.k, self.v)
            indices = route(self.q, self.k, self.layout, self.config).indices
            rows = sampled_rows(self.case)
            groups = mandatory(self.layout, self.config, (0, self.layout.length), torch.device("cpu")).groups
            starts = [group.q_start for group in groups]
            edges = self.layout.chunk_edges()
            worst = 0.0
            for row in rows:
                group = groups[_last_below(starts, row)]
                for head in {0, self.case.heads - 1}:
                    chunks = [c for c in indices[0, head, row].tolist() if c >= 0]
                    spans = [*group.keys, *((edges[c], edges[c + 1]) for c in chunks)]
                    k, v = (torch.cat([x[0, head, a:b] for a, b in spans]).float() for x in (self.k, self.v))
                    scores = k @ self.q[0, head, row].float() * self.case.width**-0.5
                    exact = scores.softmax(0) @ v
                    worst = max(worst, float((out[0, head, row].float() - exact).abs().max()))
        return worst


def sampled_rows(case: Case) -> list[int]:
    """Some query rows, evenly spread, and those at the edges of the first chunks and shots."""
    edges = case.layout.chunk_edges()
    shot = case.frames * case.tokens_per_frame
    near = {e + d for e in (*edges[1:3], shot, (case.shots - 1) * shot, case.tokens) for d in (-1, 0)}
    spread = {round(i * (case.tokens - 1) / (SAMPLED - 1)) for i in range(SAMPLED)}
    return sorted(row for row in near | spread if 0 <= row < case.tokens)


def _last_below(starts: list[int], row: int) -> int:
    from bisect import bisect_right

    return bisect_right(starts, row) - 1


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """A CUDA graph of a call, warmed up as torch asks."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@contextlib.contextmanager
def noted(cell: Cell) -> Iterator[None]:
    """What goes wrong inside becomes the cell's note."""
    try:
        yield
    except Exception as error:  # one kernel's failure must not cost the others their measurement
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        cell.note = "out of memory" if is_out_of_memory(error) else f"{type(error).__name__}: {lines[0][:140]}"


def free(device: torch.device) -> None:
    """Hands back what a measurement left."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def dense_kernels(bench: Bench) -> list[str]:
    """Names of the dense kernels that work on these inputs, `sdpa` only where nothing else does."""
    found = [p.name for p in dense.available(bench.q, backward=bench.case.backward) if p.ok]
    return [name for name in found if name != "sdpa"] or found


def missing_kernels(bench: Bench) -> dict[str, str]:
    """Those that don't, with the reason."""
    return {p.name: p.why for p in dense.available(bench.q, backward=bench.case.backward) if not p.ok}


def dense_attention(name: str) -> Attention:
    """A dense kernel as a function of q, k, v."""
    return lambda q, k, v: dense.attend(q, k, v, kernel=name)  # type: ignore[return-value]


def moc_variants(bench: Bench) -> dict[str, str]:
    """Labels of MoC by the engine's own rule, named by the kernel of the own part, on FlashAttention-4 where that is
    another, and on FlashAttention-2; with what to ask for."""
    if not bench.q.is_cuda:
        return {"MoC": "auto"}
    links = mandatory(bench.layout, bench.config, (0, bench.layout.length), bench.device)
    backward = bench.case.backward
    best = probes.own_kernel(bench.q, equal=links.equal, run=links.longest_run, backward=backward)
    newest = ["fa4"] if probes.probe("fa4", bench.q, ragged=not links.equal, backward=backward).ok else []
    others = [name for name in (*newest, "fa2") if name != best]
    return {f"MoC on {probes.LABELS[best]}": "auto"} | {f"MoC on {probes.LABELS[name]}": name for name in others}


def flex(bench: Bench) -> Attention:
    """FlexAttention under the same own links and routes, compiled; the routes are an argument of the mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    case, layout = bench.case, bench.layout
    indices = route(bench.q, bench.k, layout, bench.config).indices[0].long()
    taken = torch.zeros(case.heads, case.tokens, layout.num_chunks + 1, dtype=torch.bool, device=bench.device)
    taken.scatter_(2, torch.where(indices < 0, layout.num_chunks, indices), True)
    own = layout.chunk_ids if case.intra == "chunk" else layout.shot_ids
    chunk = layout.chunk_ids

    def mask(b: Tensor, h: Tensor, row: Tensor, key: Tensor) -> Tensor:
        return (own[row] == own[key]) | taken[h, row, chunk[key]]

    blocks = create_block_mask(mask, 1, case.heads, case.tokens, case.tokens, device=bench.device.type)
    compiled = torch.compile(flex_attention)
    return lambda q, k, v: compiled(q, k, v, block_mask=blocks)


def bench_case(
    case: Case,
    device: torch.device,
    dtype: torch.dtype,
    *,
    kernels: tuple[str, ...] | None = None,
    with_flex: bool = True,
    tell: Callable[[Cell], None] = lambda cell: None,
) -> list[Cell]:
    """All kernels on one case; ratios are taken in this run, against MoC on the best dense kernel.

    Args:
        kernels: names of the dense kernels to time, all that are here for None.
        tell: sees each cell as soon as it is measured.
    """
    try:
        bench = Bench(case, device, dtype)
        names = dense_kernels(bench) if kernels is None else list(kernels)
        variants = moc_variants(bench)
    except Exception as error:  # no memory for the inputs
        cell = Cell(
            case.name, case.title, case.heads, case.tokens, "", "", "MoC", note=f"{type(error).__name__}: {error}"
        )
        tell(cell)
        return [cell]
    cells = []

    def add(cell: Cell) -> None:
        base = next((c for c in cells if c.mode == cell.mode and c.kernel.startswith("MoC") and c.ms), None)
        if base and cell.ms and not cell.kernel.startswith("MoC"):
            cell.ratio = cell.ms / base.ms  # type: ignore[operator]
            cell.share = cell.ratio / case.ceiling if cell.kernel in probes.LABELS.values() else None
        cells.append(cell)
        tell(cell)

    for mode in ("eager", "graph") if case.graph and device.type == "cuda" else ("eager",):
        for label, under in variants.items():
            add(bench.timed(label, bench.moc, sparse=True, mode=mode, under=under, parts=mode == "eager"))
        for name in names:
            add(bench.timed(probes.LABELS[name], dense_attention(name), sparse=False, mode=mode))
    if case.flex and with_flex:
        cell = bench.cell("FlexAttention, same routes")
        with noted(cell):
            cell = bench.timed(cell.kernel, flex(bench), sparse=True)
        add(cell)
    del bench
    free(device)
    return cells

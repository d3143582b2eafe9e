"""MoC attention in plain torch against dense attention on the CPU.

    python benchmarks/cpu_attention.py [--repeats 15] [--threads 2] [--backward] [--save table.csv]

MoC's time is everything from pooling the keys to the merged result. Dense attention is torch's own
scaled_dot_product_attention on the same queries, keys and values; the two run in turn, so that other load on the
machine meets both. Ceiling: how much faster it could be if time went by attended pairs alone. Inputs are random,
batch 1, 4 heads of 64, float32.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from moc import MoCConfig, Routing, Shot, TokenLayout, moc_attention, pool, route
from moc.attention.mandatory import mandatory

HEADS, WIDTH = 4, 64


@dataclass(frozen=True)
class Case:
    """One row of the table; `newest` asks for the rows of the last shot against the whole stream, as streaming does."""

    name: str
    layout: TokenLayout
    config: MoCConfig
    newest: bool = False

    @property
    def rows(self) -> tuple[int, int]:
        """Query rows."""
        return self.layout.token_range(self.layout.num_shots) if self.newest else (0, self.layout.length)


def cases() -> list[Case]:
    """4,096 tokens at about 85 % sparsity in three ways, then one streamed shot of the built-in model."""
    make = TokenLayout.from_shots
    story = [Shot(text=24, frames=16, tokens_per_frame=96)]
    return [
        Case(
            "one shot, own chunk + 4 of 128",
            make(shots=[Shot(0, 64, 64)], chunk_tokens=128),
            MoCConfig(chunk_tokens=128, top_k=4, intra="chunk", causal=False),
        ),
        Case(
            "one shot, own chunk + 2 of 205 (ragged)",
            make(shots=[Shot(0, 64, 64)], chunk_tokens=205),
            MoCConfig(chunk_tokens=205, top_k=2, intra="chunk", causal=False),
        ),
        Case(
            "8 shots of 512, own shot + 4 of 32, causal",
            make(shots=[Shot(0, 8, 64)] * 8, chunk_tokens=32),
            MoCConfig(chunk_tokens=32, top_k=4),
        ),
        *(
            Case(
                f"shot {n} of a stream, 5 of 96",
                make(global_text=32, shots=story * n, chunk_tokens="frame"),
                MoCConfig(),
                newest=True,
            )
            for n in (8, 64)
        ),
    ]


def attended_pairs(case: Case, routing: Routing) -> float:
    """(query, key) pairs per head: mandatory ones by group, routed ones by chunk length."""
    own = mandatory(case.layout, case.config, case.rows, torch.device("cpu"))
    fixed = sum((g.q_stop - g.q_start) * g.num_keys for g in own.groups)
    links = routing.counts(case.layout, case.rows).sum(1)
    return fixed + float((links * case.layout.chunk_bounds.diff()).sum()) / HEADS


def measure(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each of `repeats` calls, the functions taking turns after one call each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return times


def bench(case: Case, repeats: int, backward: bool) -> dict[str, str | float]:
    """One row of the table."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, HEADS, case.layout.length, WIDTH)
    q, k, v = (torch.randn(shape, generator=generator) for _ in range(3))
    q = q[:, :, slice(*case.rows)].contiguous()
    # A stream keeps the descriptors of finished shots and pools the new one alone.
    kept = pool(k, case.layout)
    first = case.layout.video_chunks(case.layout.num_shots)[0] if case.newest else 0

    def moc(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        new = pool(k[:, :, case.layout.chunk_edges()[first] :], case.layout, token_range=_tail(case.layout, first))
        descriptors = torch.cat([kept[:, :, :first], new], 2) if first else new
        return moc_attention(q, k, v, case.layout, case.config, q_range=case.rows, descriptors=descriptors)

    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    def timed(attention: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], object]:
        if not backward:
            return torch.no_grad()(lambda: attention(q, k, v))
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        return lambda: torch.autograd.grad(attention(*inputs).sum(), inputs)

    routing = route(q, None, case.layout, case.config, q_range=case.rows, descriptors=kept)
    pairs, all_pairs = attended_pairs(case, routing), q.shape[2] * case.layout.length
    times = measure({"moc": timed(moc), "dense": timed(dense)}, repeats)
    medians = {name: statistics.median(values) for name, values in times.items()}
    quartiles = {name: statistics.quantiles(values, n=4) for name, values in times.items()}
    ratio, ceiling = medians["dense"] / medians["moc"], all_pairs / pairs
    work = (14 if backward else 4) * WIDTH * HEADS * pairs  # 2 products forward, 5 more backward, 2 d FLOPs a pair each
    return {
        "case": case.name,
        "queries": q.shape[2],
        "keys": case.layout.length,
        "sparsity": round(1 - pairs / all_pairs, 4),
        "moc_ms": round(medians["moc"] * 1e3, 2),
        "moc_quartiles_ms": f"{quartiles['moc'][0] * 1e3:.1f}-{quartiles['moc'][2] * 1e3:.1f}",
        "dense_ms": round(medians["dense"] * 1e3, 2),
        "dense_quartiles_ms": f"{quartiles['dense'][0] * 1e3:.1f}-{quartiles['dense'][2] * 1e3:.1f}",
        "ratio": round(ratio, 2),
        "ceiling": round(ceiling, 2),
        "share": round(ratio / ceiling, 3),
        "moc_gflops": round(work / medians["moc"] / 1e9, 1),
    }


def _tail(layout: TokenLayout, chunk: int) -> tuple[int, int]:
    return layout.chunk_edges()[chunk], layout.length


def main() -> None:
    """Prints the table, and saves it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--backward", action="store_true", help="time forward and backward together")
    parser.add_argument("--save", type=Path, help="also write the table to this csv file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    passes = "forward + backward" if args.backward else "forward"
    print(f"torch {torch.__version__}, {args.threads} threads, {passes}, median of {args.repeats} (quartiles)")
    print(
        f"{'case':44}{'rows':>7}{'keys':>8}{'sparse':>8}{'MoC ms':>22}{'dense ms':>24}"
        f"{'ratio':>8}{'ceiling':>9}{'share':>7}{'GFLOP/s':>9}"
    )
    rows = []
    for case in cases():
        row = bench(case, args.repeats, args.backward)
        rows.append(row)
        ours = f"{row['moc_ms']} ({row['moc_quartiles_ms']})"
        theirs = f"{row['dense_ms']} ({row['dense_quartiles_ms']})"
        print(
            f"{row['case']:44}{row['queries']:>7}{row['keys']:>8}{row['sparsity']:>8.1%}{ours:>22}{theirs:>24}"
            f"{row['ratio']:>7}x{row['ceiling']:>8}x{row['share']:>7.0%}{row['moc_gflops']:>9}",
            flush=True,
        )
    if args.save:
        with args.save.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()

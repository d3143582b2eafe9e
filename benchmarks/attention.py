"""Routed attention against dense attention, by every kernel that is here.

    python benchmarks/attention.py                         everything, about 8 minutes on one H200
    python benchmarks/attention.py --rows story,clip       some rows
    python benchmarks/attention.py --quick                 fewer lengths and shorter loops
    python benchmarks/attention.py --rows break-even       the length from which on routing pays
    python benchmarks/attention.py --save a.csv --markdown a.md --plot a.png

MoC's time is everything from pooling the keys to the merged result. Medians of repeated calls in one run after
warm-up, by device events on CUDA; random inputs; bfloat16 on CUDA. Ratio: a kernel's time over that of MoC on the best
dense kernel. Ceiling: dense pairs over attended pairs. docs/performance.md defines every column.
"""

from __future__ import annotations

import argparse
import csv
import time
import traceback
from pathlib import Path

import torch
from attention_cases import CASES
from attention_more import bench_break_even, bench_growth, bench_routed, bench_transformer
from attention_report import line, markdown, parts_line, plot, summary
from attention_runs import Bench, Cell, bench_case, missing_kernels
from attention_skew import bench_skew

from moc.profile.timing import machine

MORE = ("routed", "skew", "shots", "shots-24", "transformer", "break-even", "growth")
ROWS = (*(case.name for case in CASES), *MORE)
GROWTH = [1, 2, 4, 8, 16, 32, 64]


def main(words: list[str] | None = None) -> list[Cell]:
    """Measures, prints as it goes, saves what it has even when stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--quick", action="store_true", help="fewer lengths, one step of the transformer")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--no-flex", action="store_true", help="leave out FlexAttention, which compiles for a while")
    parser.add_argument("--break-even", action="store_true", help="the same as --rows break-even")
    parser.add_argument("--save", type=Path, metavar="CSV")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    args = parser.parse_args(words)
    rows = ["break-even"] if args.break_even else args.rows.split(",")
    if unknown := set(rows) - set(ROWS):
        parser.error(f"--rows takes {', '.join(ROWS)}, got {', '.join(sorted(unknown))}")
    device = torch.device(args.device)
    dtype = getattr(torch, args.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    about = machine(device)
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    tiny = Bench(CASES[0].toy(), device, dtype)
    for name, why in missing_kernels(tiny).items():
        print(f"not here: {name}: {why}", flush=True)
    cells: list[Cell] = []
    began = time.perf_counter()
    try:
        for row in ROWS:
            if row in rows:
                print(f"\n[{time.perf_counter() - began:.0f} s] {row}", flush=True)
                try:
                    measured = bench_row(row, device, dtype, args)
                except Exception:  # the other rows are still wanted
                    traceback.print_exc()
                    continue
                cells += measured
                save(cells, about, args)  # whatever ends the run, what is measured is there
    finally:
        for text in summary(cells):
            print(text, flush=True)
        save(cells, about, args)
        if args.plot and cells:
            try:
                plot(cells, args.plot)
            except ImportError as error:
                print(f"no plot: {error}", flush=True)
    return cells


def bench_row(row: str, device: torch.device, dtype: torch.dtype, args: argparse.Namespace) -> list[Cell]:
    """All cells of one row of the command line."""
    if row in {case.name for case in CASES}:
        case = next(case for case in CASES if case.name == row)
        print(f"{case.title}, {case.heads} heads: ceiling {case.ceiling:.1f}x, "
              f"{case.ceiling_with_routing:.1f}x with routing counted", flush=True)  # fmt: skip
        case = case.toy() if args.toy else case
        return bench_case(case, device, dtype, with_flex=not args.no_flex, tell=tell)
    if row == "routed":
        return bench_routed(device, dtype, tell, toy=args.toy)
    if row == "skew":
        # one table for each pass
        return sorted(bench_skew(device, dtype, tell, toy=args.toy), key=lambda cell: cell.passes, reverse=True)
    if row == "shots":
        return bench_growth(device, dtype, [8, 64], 4, tell, toy=args.toy, dense=False)
    if row == "shots-24":
        return bench_growth(device, dtype, [64], 24, tell, toy=args.toy, dense=False)
    if row == "transformer":
        return bench_transformer(device, dtype, tell, toy=args.toy, quick=args.quick)
    if row == "growth":
        shots = [1, 8, 64] if args.quick else GROWTH
        return bench_growth(device, dtype, shots[:2] if args.toy else shots, 3, tell, toy=args.toy)
    return bench_break_even(device, dtype, tell, toy=args.toy)


def tell(cell: Cell) -> None:
    """Prints a cell and where its time went."""
    print(line(cell), flush=True)
    if cell.parts:
        print(parts_line(cell), flush=True)


def save(cells: list[Cell], about: dict[str, object], args: argparse.Namespace) -> None:
    """Writes the tables asked for."""
    if args.save and cells:
        table = [cell.row() for cell in cells]
        names = list(dict.fromkeys(name for row in table for name in row))
        with args.save.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=names, restval="")
            writer.writeheader()
            writer.writerows(table)
    if args.markdown and cells:
        args.markdown.write_text(markdown(cells, about))


if __name__ == "__main__":
    main()

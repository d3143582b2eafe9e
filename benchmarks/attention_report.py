"""Text, markdown and a plot of what `attention.py` measured."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from attention_runs import Cell

from moc.profile.parts import PARTS

HEAD = ("kernel", "time, ms", "quartiles", "ratio", "share of ceiling", "TFLOP/s", "memory, GiB", "error")


def _values(cell: Cell) -> tuple[str, ...]:
    def said(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    quartiles = "" if cell.low_ms is None else f"{cell.low_ms:.2f}-{cell.high_ms:.2f}"
    return (
        cell.kernel + (f" ({cell.mode})" if cell.mode == "graph" else ""),
        said(cell.ms, ".2f") or cell.note,
        quartiles or (cell.note if cell.ms else ""),
        "" if cell.ratio is None else f"{cell.ratio:.2f}x",
        said(cell.share, ".0%"),
        said(cell.tflops, ".0f"),
        said(cell.peak_gib, ".2f"),
        said(cell.error, ".1e"),
    )


def line(cell: Cell) -> str:
    """One line of the running output."""
    kernel, ms, quartiles, ratio, share, tflops, peak, error = _values(cell)
    where = f"{cell.case}, {cell.tokens:,} x {cell.heads}"
    if cell.ms is None:
        return f"{where:28} {kernel:28} {cell.note}"
    units = [f"{ms:>10} ms", f"{f'({quartiles})' if quartiles else '':21}", f"{ratio:>7}", f"{share:>5}"]
    units += [f"{value:>6} {unit}" for value, unit in ((tflops, "TFLOP/s"), (peak, "GiB")) if value]
    units += [f"error {error}"] if error else []
    return f"{where:28} {kernel:28} " + " ".join(units)


def parts_line(cell: Cell) -> str:
    """Where the time of MoC went."""
    shown = ", ".join(f"{name} {cell.parts[name]:.2f}" for name in PARTS if name in cell.parts)
    return f"{'':28} parts of the forward pass, ms: {shown}"


def summary(cells: list[Cell]) -> list[str]:
    """How time grows from 8 to 64 shots, against the growth of the pairs."""
    from attention_cases import of_shots

    times = {(c.heads, c.case): c.ms for c in cells if c.kernel.startswith("MoC") and c.ms}
    said = []
    for heads in sorted({c.heads for c in cells}):
        few, many = (times.get((heads, f"shots-{n}")) for n in (8, 64))
        if few and many:
            pairs = of_shots(64, heads).counts.pairs / of_shots(8, heads).counts.pairs
            said.append(f"64 shots take {many / few:.2f}x the time of 8 ({heads} heads; {pairs:.2f}x the pairs)")
    return said


def markdown(cells: list[Cell], about: dict[str, object]) -> str:
    """The tables of docs/performance.md: one for each setting, then where MoC's time goes."""
    text = [", ".join(f"{key} {value}" for key, value in about.items()) + ".", ""]
    for (title, heads), group in groupby(cells, lambda c: (c.title, c.heads)):
        rows = list(group)
        ceiling = f", ceiling {rows[0].ceiling:.1f}x" if rows[0].ceiling else ""
        text += [f"**{title}, {heads} heads{ceiling}**", ""]
        head = ("tokens", *HEAD) if rows[0].case == "break-even" else HEAD
        table = [(f"{c.tokens:,}", *_values(c)) if rows[0].case == "break-even" else _values(c) for c in rows]
        text += _table(head, table)
    with_parts = [c for c in cells if c.parts]
    if with_parts:
        text += ["**Where the time of MoC's forward pass goes, ms**", ""]
        names = [name for name in PARTS if any(name in c.parts for c in with_parts)]
        text += _table(
            ("setting", "kernel", *names),
            [
                (f"{c.title}, {c.heads} heads", c.kernel, *(f"{c.parts.get(n, 0):.2f}" for n in names))
                for c in with_parts
            ],
        )
    text += [f"{said}." for said in summary(cells)]
    return "\n".join(text).rstrip() + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(row) + " |" for row in lines] + [""]


def plot(cells: list[Cell], path: Path) -> None:
    """Time against length, both logarithmic: MoC and each dense kernel as far as it went.

    Raises:
        ImportError: matplotlib is missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    grown = [c for c in cells if c.case.startswith("shots-") and c.ms and c.heads == 3]
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for kernel in dict.fromkeys(c.kernel for c in grown):
        points = sorted((c.tokens, c.ms) for c in grown if c.kernel == kernel)
        style = "o-" if kernel.startswith("MoC") else "s--"
        axes.plot([n for n, _ in points], [ms for _, ms in points], style, label=kernel)
    axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms, forward, 3 heads of 128")
    axes.grid(alpha=0.3, which="both")
    if grown:
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)

"""What `moc profile` shows: tables of at most 100 columns, in pieces where a terminal is narrower, and their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moc.patterns import PATTERNS
from moc.profile.columns import TIME_PARTS
from moc.profile.settings import label
from moc_cli.console import tell
from moc_cli.grid import Grid, show

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100

Report = Mapping[str, Any]
Row = Mapping[str, Any]


def print_report(console: Console, report: Report) -> None:
    """All tables and notes of a profile."""
    _widen(console)
    rows, sparse = report["rows"], _name(report)
    tell(console, _stream(report["settings"]))
    console.print()
    show(
        console, "Counted", _counted(rows, sparse),
        "sparsity: share of all query-key pairs left out; of past: of those with the own and earlier shots.",
        f"ratio: dense pairs / attended pairs; all in: dense FLOPs / {sparse}'s with pooling and routing.",
    )  # fmt: skip
    show(console, f"Where {sparse}'s FLOPs go", _flops_parts(rows))
    if any(row["model"] for row in rows):
        name, weights = next((row["model"]["name"], row["model"]["weights"]) for row in rows if row["model"])
        show(
            console, f"One denoising step of {name} ({weights} weights)", _model(rows, sparse),
            "rest: everything but self-attention. attention: its share of the dense step.",
            *(() if report["machine"] is None else (
                "expected: speed-up if attention reached its ratio; at most: if it took no time at all.",
            )),
        )  # fmt: skip
    if report["machine"] is not None:
        _print_measured(console, report)
    for row in rows:
        for note in row["notes"]:
            tell(console, f"note: {_shots(row['shots'])}: {note}")
    if report["fits"]:
        tokens = report["fits"]["tokens_per_shot"]
        shorter = f", or shorter shots: --tokens-per-shot {tokens}" if tokens else ""
        tell(console, f"To measure every row: --limit {report['fits']['limit_seconds']}{shorter}.")


def _print_measured(console: Console, report: Report) -> None:
    rows, machine, told, sparse = report["rows"], report["machine"], report["settings"], _name(report)
    where = f"{machine['name']}, {machine['threads']} threads" if "threads" in machine else machine["name"]
    passes = "forward + backward" if told["backward"] else "forward"
    against = told["against"]
    whole = any(row["model"] for row in rows)
    show(
        console, f"{'Attention in it' if whole else 'Measured'}: {where}, {told['dtype']}, {passes}",
        _measured(rows, against[0], sparse),
        f"{against[0]}: {machine['dense_kernels'][against[0]]}. of ratio: speed-up / ratio.",
        f"roof: {sparse}'s least time at the rates of a product and a copy here.",
        f"MiB: {'weights and' if whole else 'inputs and'} the most that a call takes besides.",
    )  # fmt: skip
    if len(against) > 1 and not whole:
        show(console, f"Dense kernels, ms ({sparse} is so many times as fast)", _against(rows, against))
    if any(row["latency_parts_ms"] for row in rows):
        show(console, f"Where {sparse}'s time goes: ms and share", _parts(rows))
    if not whole:
        tell(console, f"{report['break_even']['said']}.")
    powers = [
        f"{said} {report['growth'][key]:.2f}"
        for key, said in (("latency_dense_ms", "dense"), ("latency_moc_ms", sparse))
        if report["growth"][key] is not None
    ]
    if powers:
        tell(console, f"Time grows with the length to the power of: {', '.join(powers)}.")


def _counted(rows: Sequence[Row], sparse: str) -> Grid:
    unit, scale = _unit([row["flops_dense"] for row in rows], "FLOP")
    table = Grid((
        "shots", "tokens", "chunks", "keys a\nquery", "sparsity", "sparsity\nof past", f"dense\n{unit}",
        f"{sparse}\n{unit}", "ratio", "all\nin",
    ))  # fmt: skip
    for row in rows:
        table.add(
            str(row["shots"]), f"{row['tokens']:,}", f"{row['chunks']:,}", f"{row['keys_per_query']:,.0f}",
            f"{row['sparsity']:.1%}", f"{row['sparsity_causal']:.1%}", _short(row["flops_dense"] / scale),
            _short(row["flops_moc"] / scale), f"{row['flops_ratio']:.2f}x", f"{row['flops_ratio_total']:.2f}x",
        )  # fmt: skip
    return table


def _flops_parts(rows: Sequence[Row]) -> Grid:
    names = list(rows[0]["flops_parts"])
    table = Grid(("shots", *(name if name != "own" else "own link" for name in names)))
    for row in rows:
        total = sum(row["flops_parts"].values())
        table.add(str(row["shots"]), *(_percent(row["flops_parts"][name] / total) for name in names))
    return table


def _measured(rows: Sequence[Row], dense: str, sparse: str) -> Grid:
    table = Grid((
        "shots", f"{dense}\nms", f"{sparse}\nms", "speed-up", "of ratio", f"{dense}\nTFLOP/s", f"{sparse}\nTFLOP/s",
        f"{dense}\nMiB", f"{sparse}\nMiB", "roof\nms",
    ))  # fmt: skip
    for row in rows:
        table.add(
            str(row["shots"]), _ms(row["latency_dense_ms"]), _ms(row["latency_moc_ms"]), _times(row["speedup"]),
            _share(row["share_reached"]),
            _maybe(row["tflops_dense"]), _maybe(row["tflops_moc"]),
            _whole(row["peak_memory_dense_mib"]), _whole(row["peak_memory_mib"]), _ms(row["roofline_moc_ms"]),
        )  # fmt: skip
    return table


def _against(rows: Sequence[Row], names: Sequence[str]) -> Grid:
    table = Grid(("shots", *names))
    for row in rows:
        moc, times = row["latency_moc_ms"], row["against_ms"] or {}
        cells = []
        for name in names:
            value = times.get(name)
            cells.append(f"{_ms(value)} ({_times(value / moc)})" if value and moc else _ms(value))
        table.add(str(row["shots"]), *cells)
    return table


def _parts(rows: Sequence[Row]) -> Grid:
    table = Grid(("shots", *(name if name != "own" else "own + text" for name in TIME_PARTS)))
    for row in rows:
        if row["latency_parts_ms"]:
            total = sum(row["latency_parts_ms"].values())
            parts = [row["latency_parts_ms"][name] for name in TIME_PARTS]
            table.add(str(row["shots"]), *(f"{_ms(part)} {part / total:4.0%}" if part else "0" for part in parts))
    return table


def _model(rows: Sequence[Row], sparse: str) -> Grid:
    unit, scale = _unit([row["model"]["flops_rest"] for row in rows], "FLOP")
    heads = ("shots", f"rest\n{unit}", "attention\nof FLOPs", "ratio\nof FLOPs")
    timed = ("dense\nms", f"{sparse}\nms", "speed-up", "attention\nof time", "expected", "at most")
    measured = any(row["model"]["step_moc_ms"] or row["model"]["step_dense_ms"] for row in rows)
    table = Grid((*heads, *timed) if measured else heads)
    for row in rows:
        told = row["model"]
        counted = (
            str(row["shots"]), _short(told["flops_rest"] / scale), f"{told['flops_share']:.0%}",
            _times(told["flops_speedup"]),
        )  # fmt: skip
        times = (
            _ms(told["step_dense_ms"]), _ms(told["step_moc_ms"]), _times(told["speedup"]),
            _share(told["attention_share"]), _times(told["speedup_expected"]), _times(told["speedup_limit"]),
        )  # fmt: skip
        table.add(*counted, *(times if measured else ()))
    return table


def print_paper(console: Console, report: Report) -> None:
    """The paper's tables and equations beside ours, and why they differ."""
    _widen(console)
    kinds = ("printed", "formula", "counted")
    heads = [f"{name}\n{kind}" for name in ("sparsity", "FLOPs") for kind in kinds]
    table = Grid(("table", "row", *heads), names=2, left=(1,))
    for row in report["tables"]:
        digits = {"printed": 0, "formula": 1, "counted": 1}
        sparsity = (f"{row[f'sparsity_{kind}']:.{digits[kind]}%}" for kind in kinds)
        cost = (f"{row[f'flops_{kind}']:.{1 + digits[kind]}e}" for kind in kinds)
        table.add(str(row["table"]), row["row"], *sparsity, *cost)
    whys: dict[str, list[str]] = {}
    for row in report["tables"]:
        whys.setdefault(row["why"], []).append(f"Table {row['table']}, {row['row']}")
    show(
        console, "The paper's tables: one head of one layer, d = 128", table,
        "formula: the paper's own, with the chunk size as given; counted: over the real, evenly cut chunks.", "",
        *(f"{'; '.join(names)}: {why}." for why, names in whys.items()),
    )  # fmt: skip
    table = Grid(("equation", "printed", "ours"), left=(0,))
    for row in report["equations"]:
        table.add(row["equation"], f"{row['printed']:.4g}", f"{row['ours']:.4g}")
    show(
        console, "Its equations at L = 180,000, C = 36, k = 5, m = 1,024, d = 128", table,
        *(f"{row['equation'].partition(':')[0]}: {row['why']}." for row in report["equations"]),
    )  # fmt: skip


def _stream(told: Mapping[str, Any]) -> str:
    """The settings in a sentence or two."""
    config = told["attention"]
    name = told["title"] or told["preset"]
    chunk = "a frame" if config["chunk_tokens"] == "frame" else f"about {config['chunk_tokens']:,} tokens"
    if told["frames_of_shots"]:
        each = _shots(len(told["frames_of_shots"]))
    else:
        each = f"{told['tokens_per_shot']:,} tokens a shot"
        each += f" and {told['text_tokens_per_shot']} of text" if told["text_tokens_per_shot"] else ""
        each += f", {told['global_text_tokens']} of text for all" if told["global_text_tokens"] else ""
    own = {"shot": "its whole shot", "chunk": "its chunk"}.get(config["intra"], "its window")
    layers = "one layer" if told["layers"] == 1 else f"{told['layers']} layers"
    heads = "one head" if told["heads"] == 1 else f"{told['heads']} heads"
    return (
        f"{name}: {each}, chunks of {chunk}. {_chosen(config, own)}; {heads} of {told['head_dim']} channels, {layers}."
    )


def _chosen(config: Mapping[str, Any], own: str) -> str:
    """What a query attends."""
    if config["pattern"] != "moc":
        pattern = PATTERNS[config["pattern"]]
        links = f", {config['top_k']} chunks" if pattern.kind == "chosen" else ""
        return f"Pattern {pattern.name}, besides text and {own}: {pattern.summary}{links}"
    earlier = " of earlier shots" if config["causal"] and config["intra"] == "shot" else ""
    return f"Every query attends {own} and picks {config['top_k']} chunks{earlier}"


def _name(report: Report) -> str:
    return label(report["settings"]["attention"]["pattern"])


def _widen(console: Console) -> None:
    """A pipe has no width: tables get what they were made for."""
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)


def _unit(values: Sequence[float], unit: str) -> tuple[str, float]:
    """A decimal prefix that suits the largest value, and what it stands for."""
    scale = 1.0
    for prefix in ("", "k", "M", "G", "T"):
        if max(values) < 1000 * scale:
            return f"{prefix}{unit}", scale
        scale *= 1000
    return f"P{unit}", scale


def _shots(count: int) -> str:
    return f"{count} shot{'' if count == 1 else 's'}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _maybe(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _percent(share: float) -> str:
    if share == 0:
        return "0%"
    if share < 0.0005:
        return "<0.1%"
    return f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"

"""The columns of a profile's rows, each named once: rows, budgets, saved tables and the documentation read this list.

Torch-free. A value that has parts is a mapping; a part is addressed with a dot, as in `flops_parts.routed`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One number of a row.

    Attributes:
        key: its name in JSON, csv and budgets.
        measured: it comes from measuring, and is None without.
        heading, form: of the markdown table; no heading, not in it.
    """

    key: str
    measured: bool = False
    heading: str = ""
    form: str = ""


COLUMNS = (
    Column("shots", heading="shots", form="{:,}"),
    Column("tokens", heading="tokens", form="{:,}"),
    Column("chunks", heading="chunks", form="{:,}"),
    Column("keys_per_query", heading="keys/query", form="{:,.0f}"),
    Column("density"),
    Column("sparsity", heading="sparsity", form="{:.1%}"),
    Column("sparsity_causal", heading="of past", form="{:.1%}"),
    Column("flops_dense", heading="dense FLOPs", form="{:.3g}"),
    Column("flops_moc", heading="MoC FLOPs", form="{:.3g}"),
    Column("flops_ratio", heading="ratio", form="{:.2f}x"),
    Column("flops_ratio_total"),
    Column("bytes_dense"),
    Column("bytes_moc"),
    Column("roofline_dense_ms", measured=True),
    Column("roofline_moc_ms", measured=True),
    Column("latency_dense_ms", measured=True, heading="dense ms", form="{:.4g}"),
    Column("latency_moc_ms", measured=True, heading="MoC ms", form="{:.4g}"),
    Column("speedup", measured=True, heading="speed-up", form="{:.2f}x"),
    Column("share_reached", measured=True, heading="of ratio", form="{:.0%}"),
    Column("tflops_dense", measured=True, heading="dense TFLOP/s", form="{:.3g}"),
    Column("tflops_moc", measured=True, heading="MoC TFLOP/s", form="{:.3g}"),
    Column("peak_memory_dense_mib", measured=True, heading="dense MiB", form="{:,.0f}"),
    Column("peak_memory_mib", measured=True, heading="MoC MiB", form="{:,.0f}"),
    Column("sparsity_measured", measured=True),
)

FLOP_PARTS = ("pool", "route", "text", "own", "routed")
"""What FLOPs are counted for; `text`, `own` and `routed` by the kind of key."""
BYTE_PARTS = ("pool", "route", "plan", "own", "routed", "merge")
"""What bytes are counted for; `own` with the text."""
TIME_PARTS = ("pool", "route", "plan", "own", "routed", "merge", "rest")
"""What is timed within a call; `own` with the text, `plan` sorts the links, `rest` is what lies between."""
STEP_PARTS = (
    "step_dense_ms",
    "step_moc_ms",
    "speedup",
    "attention_share",
    "speedup_expected",
    "speedup_limit",
    "flops_rest",
    "flops_share",
    "flops_speedup",
)
"""What is known of a whole denoising step."""

GROUPS: dict[str, tuple[str, ...] | None] = {
    "flops_parts": FLOP_PARTS,
    "bytes_parts": BYTE_PARTS,
    "latency_parts_ms": TIME_PARTS,
    "model": STEP_PARTS,
    "against_ms": None,
}
"""Columns that hold several numbers, and their names; None where the settings name them."""

MEASURED = tuple(column.key for column in COLUMNS if column.measured)


def known(key: str) -> bool:
    """Whether a row may hold a number under this key, which may be dotted."""
    group, dot, part = key.partition(".")
    if not dot:
        return key != "shots" and any(column.key == key for column in COLUMNS)
    names = GROUPS.get(group, ())
    return bool(part) and (names is None or part in names)

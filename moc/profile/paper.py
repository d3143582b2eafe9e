"""The numbers that Cai et al. (arXiv 2508.21058v3) print for cost, beside ours for the same settings.

Three figures stand side by side: as printed; by the paper's own formulas with the nominal chunk (Eq. 4 with the own
link counted as one more chunk, or as the whole own shot); and counted over the real, evenly cut chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moc.config import MoCConfig
from moc.flops import count, flops
from moc.profile.settings import GEOMETRIES

HEAD_DIM = 128  # of the example in sec. 3.3; no table names it
SINGLE_TOKENS = 6300  # "about 6,300": app. E, Table 3


@dataclass(frozen=True)
class _Row:
    """A line of a table: sparsity in percent, FLOPs a head and layer, and why ours differ."""

    table: int
    name: str
    chunk: int | None  # None: dense
    top_k: int
    sparsity: int
    flops: float
    why: str


_QUARTER_MORE = "1.25 times the formula's attention, as if a chunk held 320 tokens, not 256"
_ROWS = (
    _Row(1, "dense (LCT)", None, 0, 0, 1.7e13, "agrees: 4 L² d with L = 180,000, rounded up"),
    _Row(
        1, "MoC", 1280, 5, 85, 2.3e12,
        "the own shot alone is 12.5 % of all pairs; with 5 chunks of 1,280 on top 2.3e12 can't be reached, see Eq. 4",
    ),
    _Row(2, "dense (base)", None, 0, 0, 1.9e10, "needs L of 6,011 to 6,171; 6,300 give 2.0e10"),
    _Row(2, "MoC", 256, 3, 83, 4.1e9, _QUARTER_MORE),
    _Row(3, "chunk 64", 64, 3, 96, 1.2e9, "1.25 times the formula's attention, and its routing"),
    _Row(3, "chunk 128", 128, 3, 92, 1.7e9, "agrees, with pooling and routing"),
    _Row(3, "chunk 256", 256, 3, 83, 4.1e9, _QUARTER_MORE),
    _Row(3, "chunk 512", 512, 3, 68, 6.6e9, "agrees; cut evenly a chunk is 485 tokens, so we count less"),
    _Row(3, "chunk 1024", 1024, 3, 35, 1.3e10, "agrees; cut evenly a chunk is 900 tokens, so we count less"),
    _Row(3, "k 1", 256, 1, 92, 2.1e9, _QUARTER_MORE),
    _Row(3, "k 2", 256, 2, 88, 3.1e9, _QUARTER_MORE),
    _Row(3, "k 4", 256, 4, 80, 5.2e9, _QUARTER_MORE),
    _Row(3, "k 5", 256, 5, 76, 6.2e9, _QUARTER_MORE),
    _Row(3, "k 6", 256, 6, 72, 7.2e9, _QUARTER_MORE),
)  # fmt: skip


def paper_report() -> dict[str, Any]:
    """`tables`: every row as printed, by formula and counted; `equations`: Eq. 4 to 6 on the paper's example."""
    return {"tables": [_row(row) for row in _ROWS], "equations": _equations()}


def _row(row: _Row) -> dict[str, Any]:
    from moc.layout import Shot, TokenLayout

    several = row.table == 1
    size = GEOMETRIES["paper-multi-shot"]
    shots = [Shot(0, size.frames, size.tokens_per_frame)] * 8 if several else [Shot(0, 1, SINGLE_TOKENS)]
    config = MoCConfig.preset("paper-multi-shot" if several else "paper-single-shot")
    if row.chunk is not None:
        config = config.replace(chunk_tokens=row.chunk, top_k=row.top_k)
    layout = TokenLayout.from_shots(shots=shots, chunk_tokens=config.chunk_tokens)
    counts = count(layout, config)
    cost = flops(counts, HEAD_DIM)
    length, video = layout.length, layout.shots[0].video
    if row.chunk is None:
        sparsity_formula, flops_formula, sparsity, counted = 0.0, 4.0 * length**2 * HEAD_DIM, 0.0, cost.dense
    else:
        own = video if several else row.chunk
        keys = own + row.top_k * row.chunk
        sparsity_formula = 1 - keys / length
        flops_formula = eq4(length, layout.num_chunks, HEAD_DIM, 1, keys)
        sparsity, counted = counts.sparsity, cost.total
    return {
        "table": row.table,
        "row": row.name,
        "tokens": length,
        "chunk": row.chunk,
        "top_k": None if row.chunk is None else row.top_k,
        "sparsity_printed": row.sparsity / 100,
        "sparsity_formula": sparsity_formula,
        "sparsity_counted": sparsity,
        "flops_printed": row.flops,
        "flops_formula": flops_formula,
        "flops_counted": counted,
        "why": row.why,
    }


def eq4(length: float, chunks: float, head_dim: float, top_k: float, mean: float) -> float:
    """Eq. 4: L d + 2 L C d + 4 L k m d."""
    return length * head_dim + 2 * length * chunks * head_dim + 4 * length * top_k * mean * head_dim


def _equations() -> list[dict[str, Any]]:
    """The example of sec. 3.3: L = 180,000, C = 36, k = 5, m = 1,024, d = 128."""
    length, chunks, top_k, mean, width = 180_000, 36, 5, 1024, HEAD_DIM
    return [
        {
            "equation": "Eq. 4: L d + 2 L C d + 4 L k m d",
            "printed": 2.32e12,
            "ours": eq4(length, chunks, width, top_k, mean),
            "why": "36 chunks of 180,000 tokens hold 5,000 each; m = 5,000 gives 2.3e12, so m = 1,024 is a slip",
        },
        {
            "equation": "Eq. 5: 4 L² d",
            "printed": 1.66e13,
            "ours": 4.0 * length**2 * width,
            "why": "agrees",
        },
        {
            "equation": "Eq. 6 as printed: 2 L / (C d + 2 k m)",
            "printed": 7.0,
            "ours": 2 * length / (chunks * width + 2 * top_k * mean),
            "why": "the d in the denominator is one too many: Eq. 5 / Eq. 4 has none",
        },
        {
            "equation": "Eq. 6 as algebra has it: 2 L / (C + 2 k m)",
            "printed": 7.0,
            "ours": 2 * length / (chunks + 2 * top_k * mean),
            "why": "with m = 5,000 it is 7.2; neither counts the own shot, with which 8 shots give 8 at most",
        },
    ]

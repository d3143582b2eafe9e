"""A profile: counts of every row, then what could be measured of it, as plain data.

Rows are measured in ascending order. A row that would take too long or too much memory says so, with the size, and the
rest goes on; nothing is made smaller to fit, but what would fit is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moc.flops import Flops, count, flops, traffic
from moc.profile.columns import MEASURED, STEP_PARTS
from moc.profile.settings import Settings

if TYPE_CHECKING:
    from moc.layout import TokenLayout
    from moc.profile.measure import Bench

# on_progress(what runs now, share done)
OnProgress = Callable[[str, float], None]


def counted_row(settings: Settings, shots: int) -> dict[str, Any]:
    """What is known of a row without measuring; measured columns are None."""
    size = settings.geometry
    layout = settings.layout(shots)
    counts = count(layout, settings.config)
    cost = flops(counts, size.head_dim, heads=size.heads, layers=size.layers, backward=settings.backward)
    itemsize = 4 if settings.dtype == "float32" else 2
    moved = traffic(counts, size.head_dim, itemsize=itemsize, heads=size.heads, layers=size.layers)
    return {
        "shots": shots,
        "tokens": counts.tokens,
        "chunks": counts.chunks,
        "keys_per_query": counts.keys_per_query,
        "density": counts.density,
        "sparsity": counts.sparsity,
        "sparsity_causal": counts.sparsity_causal,
        "flops_dense": cost.dense,
        "flops_moc": cost.total,
        "flops_ratio": cost.ratio,
        "flops_ratio_total": cost.ratio_total,
        "flops_parts": cost.parts(),
        "bytes_dense": None if settings.backward else moved.dense,
        "bytes_moc": None if settings.backward else moved.total,
        "bytes_parts": None if settings.backward else moved.parts(),
        **dict.fromkeys(MEASURED),
        "latency_spread_ms": None,
        "latency_parts_ms": None,
        "against_ms": None,
        "model": None if settings.model is None else _step(settings, layout, cost),
        "notes": [],
    }


def _step(settings: Settings, layout: TokenLayout, cost: Flops) -> dict[str, Any]:
    """What is known of a whole denoising step without measuring."""
    from moc.profile.whole import whole_model

    assert settings.model is not None
    whole = whole_model(settings.model, layout)
    return dict.fromkeys(STEP_PARTS) | {
        "name": settings.model,
        "weights": whole.weights,
        "flops_rest": whole.flops,
        "flops_share": cost.dense / (cost.dense + whole.flops),
        "flops_speedup": (cost.dense + whole.flops) / (cost.total + whole.flops),
    }


def profile(
    settings: Settings, device: str = "cpu", on_progress: OnProgress = lambda label, share: None
) -> dict[str, Any]:
    """The profile of `settings`.

    Args:
        settings: what to profile.
        device: a device that torch has here, such as cpu or cuda.
        on_progress: told what is measured now and the share of all rows that is done.

    Returns:
        `machine` (None where nothing was measured), `settings`, `rows`, `break_even`, `growth` and `fits`; see
        docs/profile.md for every key.

    Raises:
        InputError: a dense kernel or a backend that this machine does not have.
    """
    from moc.profile.measure import Bench

    bench = Bench(settings, device) if settings.measure else None
    if bench is not None:
        settings = bench.settings
    rows = [counted_row(settings, shots) for shots in settings.shots]
    if bench is not None:
        _measure(bench, rows, on_progress)
    return {
        "machine": bench.machine if bench else None,
        "settings": settings.to_dict(),
        "rows": rows,
        "break_even": break_even(rows, settings.label) if bench else None,
        "growth": {name: growth(rows, name) for name in _GROWTH},
        "fits": fits(settings, bench.longest_s) if bench else None,
    }


_GROWTH = ("flops_dense", "flops_moc", "latency_dense_ms", "latency_moc_ms")


def _measure(bench: Bench, rows: Sequence[dict[str, Any]], on_progress: OnProgress) -> None:
    plans = [bench.plan(row) for row in rows]
    total = sum(seconds for plan in plans for seconds in plan.values())
    done = 0.0
    for row, plan in zip(rows, plans, strict=True):
        named = f"{row['shots']} {'shot' if row['shots'] == 1 else 'shots'}, {row['tokens']:,} tokens"
        shares, at = {}, done
        for what, seconds in plan.items():
            shares[what], at = at / total, at + seconds

        def say(what: str, named: str = named, shares: dict[str, float] = shares) -> None:
            on_progress(f"{named}: {what}", shares[what])

        bench.row(row, say)
        done = at


def fits(settings: Settings, longest_s: float) -> dict[str, Any] | None:
    """What would let every row be measured: a limit, or shots of so many tokens; None where none was left out.

    Args:
        settings: what was profiled.
        longest_s: seconds of the longest pass that was left out for the limit.

    Returns:
        `limit_seconds`, half as much again as the longest pass, and `tokens_per_shot`: dense attention grows with the
        square of the length, and a fifth is left as a margin. None for a model and a story, whose shots are given,
        and where a shot would be shorter than a chunk.
    """
    if longest_s <= settings.limit_s:
        return None
    size, chunk = settings.geometry, settings.config.chunk_tokens
    share = math.sqrt(0.8 * settings.limit_s / longest_s)
    one = size.frames == 1 and chunk != "frame"  # a shot without whole latent frames
    tokens = int(share * size.tokens_per_frame) if one else int(share * size.frames) * size.tokens_per_frame
    least = size.tokens_per_frame if chunk == "frame" else chunk
    free = settings.model is None and settings.frames is None and tokens >= least
    return {"limit_seconds": math.ceil(1.5 * longest_s), "tokens_per_shot": tokens if free else None}


def break_even(rows: Sequence[Mapping[str, Any]], name: str = "MoC") -> dict[str, Any]:
    """Where `name` becomes faster than dense attention: between which rows, and the tokens interpolated between.

    The speed-up is taken to follow a power of the length between two measured rows.
    """
    known = [(row["tokens"], row["speedup"]) for row in rows if row["speedup"] is not None]
    found: dict[str, Any] = {"tokens": None, "said": "not measured"}
    if not known:
        return found
    last = max((i for i, (_, speedup) in enumerate(known) if speedup < 1), default=-1)
    if last == -1:
        found["said"] = f"{name} was faster at every measured length, {known[0][0]:,} tokens and up"
    elif last == len(known) - 1:
        found["said"] = f"{name} was slower up to {known[-1][0]:,} tokens, the longest that was measured"
    else:
        (below, slow), (above, fast) = known[last : last + 2]
        share = -math.log(slow) / (math.log(fast) - math.log(slow))
        found["tokens"] = round(below * (above / below) ** share)
        found["said"] = f"{name} becomes faster at about {found['tokens']:,} tokens (between {below:,} and {above:,})"
    return found


def growth(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    """The power of the number of tokens that a column grows with: the least-squares slope on log-log axes.

    None with fewer than two lengths.
    """
    points = [(math.log(row["tokens"]), math.log(row[column])) for row in rows if row[column]]
    if len({x for x, _ in points}) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)

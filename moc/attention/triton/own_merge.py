"""Own part and merge in one launch, where every query attends few keys besides its links: chunk and window links.

Dense kernels start slowly and write a partial result that the merge reads again; here the products of the own part run
while the routed parts come in from memory.
"""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor

from moc.attention import probes
from moc.attention.mandatory import Mandatory
from moc.attention.triton import kernels, tiles
from moc.attention.triton.launching import INTERPRETING, LOG2E, launch_shape, strides, upcast, widths

MOST_RANGES = 3
"""Runs of keys: global text, caption, own chunk."""
MOST_KEYS = 1024
"""Keys of a query beyond which dense kernels take the own part."""


def fits(q_BHQD: Tensor, links: Mandatory) -> bool:
    """Whether the own part of these queries belongs here; not where a dense kernel is asked for by name."""
    fine = INTERPRETING or (q_BHQD.dtype.itemsize == 2 and q_BHQD.shape[-1] <= 128)
    return fine and probes.wanted() == "auto" and _few_keys(links)


def _few_keys(links: Mandatory) -> bool:
    if "few keys" not in links.notes:
        runs = max((len(group.keys) for group in links.groups), default=0)
        keys = max((group.num_keys for group in links.groups), default=0)
        links.notes["few keys"] = 0 < runs <= MOST_RANGES and keys <= MOST_KEYS and not links.slabs
    return bool(links.notes["few keys"])


def merge(
    q: Tensor, k: Tensor, v: Tensor, part: Tensor, part_lse: Tensor, indices: Tensor, chunks: int, own: Mandatory,
    scale: float, out: Tensor, lse: Tensor,
) -> None:  # fmt: skip
    """Writes the softmax over own part and links to `out` [b, h, Lq, D] and `lse` [b, h, Lq], which is contiguous.

    Args:
        q: [b, h, Lq, D]; k, v: [b, h, L, D].
        part, part_lse: [P, D] and [P] of each slot of `indices` [b, h, Lq, W].
        own: the own part of these rows, one that `fits`.
    """
    batch, heads, rows, width = q.shape
    shape = tiles.own_tiles(longest_range(own), width)
    table, ranges = _tiles_of(own, shape.M)
    kernels.own_merge_kernel[(len(table), batch * heads)](
        q, k, v, part, part_lse, indices, out, lse, table,
        *strides(q, k, v, out), chunks, heads, rows, abs(scale) * LOG2E,
        W=indices.shape[-1], RANGES=ranges, **widths(q), UPCAST=upcast(q), NEGATE=scale < 0, **launch_shape(shape),
    )  # fmt: skip


def longest_range(links: Mandatory) -> int:
    """Keys of the longest run of keys of any group."""
    if "longest range" not in links.notes:
        links.notes["longest range"] = max(b - a for group in links.groups for a, b in group.keys)
    return int(links.notes["longest range"])


def _tiles_of(links: Mandatory, height: int) -> tuple[Tensor, int]:
    """[T, 2 + 2 R] int32 rows and key ranges of tiles of at most `height` rows, and R; made once."""
    if ("tiles", height) not in links.notes:
        ranges = max(len(group.keys) for group in links.groups)
        first = links.groups[0].q_start
        table = []
        for group in links.groups:
            keys = [*chain(*group.keys), *[0] * 2 * (ranges - len(group.keys))]
            for at in range(group.q_start, group.q_stop, height):
                table.append([at - first, min(at + height, group.q_stop) - first, *keys])
        links.notes["tiles", height] = torch.tensor(table, dtype=torch.int32).to(links.device), ranges
    made: tuple[Tensor, int] = links.notes["tiles", height]
    return made

"""Batches whose rows have layouts of their own: stories of different lengths, padded at the end to one.

    row 0   # # # # # # # #       layout of 8 tokens
    row 1   # # # # # . . .       layout of 5; what lies behind it is padding
    row 2   # # # # # # # #       the layout of row 0

Rows of one layout make one call of the engine, here rows 0 and 2, on tensors cut to that layout's length, and results
are padded again. So padding is never read, whatever it holds, and autograd gives it zeros. Nothing in here knows a
backend: what takes one layout takes several this way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from moc import recording
from moc.layout import TokenLayout

if TYPE_CHECKING:
    from moc.candidates import Candidates
    from moc.config import MoCConfig
    from moc.routing import Routing

Group = tuple[TokenLayout, list[int]]


def route_each(
    route: Callable[..., Routing],
    q_BHLD: Tensor,
    k_BHLD: Tensor | None,
    layouts: Sequence[TokenLayout],
    config: MoCConfig,
    *,
    q_range: tuple[int, int] | None,
    descriptors: Tensor | None,
    candidates: Candidates | None,
    seed: int | None,
    batch_offset: int,
    **places: int,
) -> Tensor:
    """`route` for each layout of a batch; arguments and errors as there.

    Args:
        route: gives the routes of rows that share a layout.

    Returns:
        [B, H, L, W] indices, -1 in the padding and in slots that only the layouts of other rows need.
    """
    _refuse_given(layouts, q_range=q_range, descriptors=descriptors, candidates=candidates)
    if k_BHLD is None:
        raise ValueError("route needs the keys beside a sequence of layouts, got none")
    _refuse(layouts, queries=q_BHLD, keys=k_BHLD)
    # a draw counts batch rows, so only neighbours can draw together
    groups = _groups(layouts, neighbours=seed is not None or config.pattern == "random")
    if recording.active() and len(groups) > 1:
        raise ValueError(
            f"record_routes counts chunks of one layout at a time, got {len(groups)} groups of rows with their own; "
            "route them one after another"
        )
    found = [
        route(
            q,
            k,
            layout,
            config,
            q_range=None,
            descriptors=None,
            candidates=None,
            seed=seed,
            batch_offset=batch_offset + rows[0],
            **places,
        ).indices
        for (layout, rows), q, k in zip(groups, _cut(q_BHLD, groups), _cut(k_BHLD, groups), strict=True)
    ]
    if config.pattern == "moc-uniform":  # the one pattern whose width depends on the layout
        if torch.compiler.is_compiling() and len(found) > 1:
            raise NotImplementedError(
                f"pattern moc-uniform can't be compiled for {len(found)} layouts at once: their routes differ in width"
            )
        slots = max(x.shape[-1] for x in found)
        found = [pad(x, (0, slots - x.shape[-1]), value=-1) for x in found]
    return _join(found, groups, q_BHLD.shape[2], -1)


def attend_each(
    attend: Callable[..., tuple[Tensor, Tensor]],
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layouts: Sequence[TokenLayout],
    indices_BHLW: Tensor | None,
    config: MoCConfig,
    q_range: tuple[int, int] | None,
    *settings: Any,
) -> tuple[Tensor, Tensor]:
    """`attend` for each layout of a batch; arguments and errors as there.

    Args:
        attend: gives the output and LSE of rows that share a layout, from these arguments in this order.

    Returns:
        [B, H, L, D] output, zero in the padding, and [B, H, L] LSE, -inf there.
    """
    _refuse_given(layouts, q_range=q_range)
    _refuse(layouts, queries=q_BHLD, keys=k_BHLD, values=v_BHLD)
    groups = _groups(layouts)
    routes: list[Tensor | None] = [None] * len(groups)
    if indices_BHLW is not None:
        if indices_BHLW.shape[:3] != q_BHLD.shape[:3]:
            raise ValueError(f"routing must be {list(q_BHLD.shape[:3])} + [width], got {list(indices_BHLW.shape)}")
        routes = [*_cut(indices_BHLW, groups)]
    inputs = [_cut(x, groups) for x in (q_BHLD, k_BHLD, v_BHLD)]
    outs, lses = [], []
    for (layout, _), q, k, v, chosen in zip(groups, *inputs, routes, strict=True):
        out, lse = attend(q, k, v, layout, chosen, config, None, *settings)
        outs.append(out)
        lses.append(lse)
    length = q_BHLD.shape[2]
    return _join(outs, groups, length, 0), _join(lses, groups, length, -torch.inf)


def _refuse_given(layouts: Sequence[TokenLayout], **given: object) -> None:
    """Raises TypeError for layouts that are none, ValueError for what describes the rows of one layout."""
    if not isinstance(layouts, list | tuple) or not all(isinstance(layout, TokenLayout) for layout in layouts):
        raise TypeError(f"layout must be a TokenLayout or a list or tuple of them, got {layouts!r}")
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} of one layout can't be given beside a sequence of {len(layouts)} layouts")


def _refuse(layouts: Sequence[TokenLayout], **tensors: Tensor) -> None:
    """Raises ValueError where tensors don't hold one row for each layout, long enough for it."""
    first, *_ = tensors.values()
    for name, x in tensors.items():
        if x.ndim != 4:
            raise ValueError(f"{name} must be [batch, heads, length, head_dim], got {list(x.shape)}")
        if x.shape[0] != first.shape[0] or x.shape[2] != first.shape[2]:
            raise ValueError(
                f"{name} must hold as many rows and tokens as the queries where each row has a layout of its own, got "
                f"{list(x.shape)} and {list(first.shape)}"
            )
    if len(layouts) != first.shape[0]:
        raise ValueError(f"a sequence of layouts must hold one a batch row, got {len(layouts)} for {first.shape[0]}")
    if not layouts:
        raise ValueError(f"queries must hold at least one batch row, got {list(first.shape)}")
    for row, layout in enumerate(layouts):
        length = _length(layout)
        if length > first.shape[2]:
            raise ValueError(f"the layout of row {row} has {length} tokens, the tensors {first.shape[2]}")


def _groups(layouts: Sequence[TokenLayout], *, neighbours: bool = False) -> list[Group]:
    """Layouts and the rows that have them, each row in one group.

    Args:
        neighbours: puts rows together only where no other lies between them.
    """
    if torch.compiler.is_compiling():  # to compare layouts is to make a graph for each
        return [(layout, [row]) for row, layout in enumerate(layouts)]
    groups: list[Group] = []
    place: dict[TokenLayout, int] = {}
    for row, layout in enumerate(layouts):
        at = place.get(layout)
        if at is None or (neighbours and groups[at][1][-1] != row - 1):
            place[layout] = at = len(groups)
            groups.append((layout, []))
        groups[at][1].append(row)
    return groups


def _cut(x: Tensor, groups: list[Group]) -> list[Tensor]:
    """The rows of each group without their padding: views, unless groups interleave."""
    order = [row for _, rows in groups for row in rows]
    # split, whose backward pass puts the pieces side by side; that of a slice would write zeros for the whole batch
    parts = _ordered(x, order).split([len(rows) for _, rows in groups])
    return [part[:, :, : _length(layout)] for (layout, _), part in zip(groups, parts, strict=True)]


def _join(parts: list[Tensor], groups: list[Group], length: int, fill: float) -> Tensor:
    """The rows in the order of the batch, padded to `length` tokens."""
    padded = []
    for (layout, _), part in zip(groups, parts, strict=True):
        behind = length - _length(layout)
        dims = (0, behind) if part.ndim == 3 else (0, 0, 0, behind)
        padded.append(pad(part, dims, value=fill) if behind else part)
    joined = torch.cat(padded) if len(padded) > 1 else padded[0]
    order = [row for _, rows in groups for row in rows]
    return _ordered(joined, sorted(range(len(order)), key=order.__getitem__))


def _ordered(x: Tensor, order: list[int]) -> Tensor:
    """Batch rows in another order, taken without an index tensor, which a GPU would wait for."""
    if order == list(range(len(order))):
        return x
    rows = x.split(1)
    return torch.cat([rows[row] for row in order])


def _length(layout: TokenLayout) -> int:
    """Tokens of a layout. A compiler can read the layout's own number but not make it, so it counts where nobody asked
    before."""
    if torch.compiler.is_compiling() and "length" not in vars(layout):
        return layout.global_text + sum(shot.text + shot.frames * shot.tokens_per_frame for shot in layout.shots)
    return layout.length

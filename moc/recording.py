"""`with moc.record_routes() as routes:` counts what any model routes inside the block.

Every call of `moc.route` (and of `moc_attention`, which calls it) is seen, whatever model makes it. What is kept is one
table of counts per layer, whose size depends on the chunks of the story and not on the number of steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from moc.config import MoCConfig
    from moc.layout import TokenLayout
    from moc.route_map import RouteMap
    from moc.routing import Routing

P = ParamSpec("P")
_active: list[Routes] = []


class Routes:
    """Routed links counted while a recording runs.

    Attributes:
        calls: how many calls of `route` were counted.
    """

    def __init__(self, layers: int | None = None) -> None:
        self.layers = layers
        self.calls = 0
        self._counts: dict[int, Tensor] = {}  # [H, C, C] int32 of each layer
        self._shots: dict[int, int] = {}  # shot number of each chunk; text chunks are 0 with their shots' captions
        self._text: set[int] = set()

    def add(
        self, routing: Routing, layout: TokenLayout, rows: tuple[int, int], layer: int, config: MoCConfig | None = None
    ) -> None:
        """Count one routing over the rows start:stop of `layout`, which may be selected from a longer one; with the
        `config` the links of a pattern that the layout decides are counted too."""
        import torch

        from moc.attention.patterns import fixed_counts

        if self.layers is not None:
            layer = self.calls % self.layers
        self.calls += 1
        counts = routing.counts(layout, rows).cpu()
        fixed = None if config is None else fixed_counts(layout, config, rows)
        if fixed is not None:
            counts = counts + routing.indices.shape[0] * fixed
        origin = torch.tensor(layout.chunk_origin)
        chunks = zip(layout.chunk_origin, layout.chunk_shot.tolist(), layout.chunk_is_text.tolist(), strict=True)
        for chunk, shot, is_text in chunks:
            self._shots[chunk] = shot
            if is_text:
                self._text.add(chunk)
        if not counts.shape[1]:
            return
        first = int(layout.chunk_ids[rows[0]])
        queries = origin[first : first + counts.shape[1]]
        size = int(origin.max()) + 1
        kept = self._counts.get(layer)
        if kept is None or kept.shape[0] != counts.shape[0] or kept.shape[1] < size:
            wider = torch.zeros(counts.shape[0], size, size, dtype=torch.int32)  # half the memory of int64
            if kept is not None:
                if kept.shape[0] != counts.shape[0]:
                    raise ValueError(f"layer {layer} had {kept.shape[0]} heads, and now {counts.shape[0]}")
                wider[:, : kept.shape[1], : kept.shape[1]] = kept
            kept = self._counts[layer] = wider
        kept[:, queries[:, None], origin[None, :]] += counts.to(kept.dtype)

    def counts(self) -> np.ndarray:
        """[layers, heads, C, C] int64 over the C video chunks of all that was seen, in stream order.

        Raises:
            ValueError: nothing was recorded, or layers differ in their heads.
        """
        import torch

        if not self._counts:
            raise ValueError("no routing was recorded; run the model inside the block")
        heads = {table.shape[0] for table in self._counts.values()}
        if len(heads) > 1:
            raise ValueError(f"layers must have one number of heads, got {sorted(heads)}")
        size = max(self._shots) + 1
        tables = torch.zeros(len(self._counts), heads.pop(), size, size, dtype=torch.int64)
        for place, layer in enumerate(sorted(self._counts)):
            table = self._counts[layer]
            tables[place, :, : table.shape[1], : table.shape[1]] = table
        video = torch.tensor(self._video())
        found: np.ndarray = tables[:, :, video[:, None], video[None, :]].numpy()
        return found

    def map(self, title: str = "") -> RouteMap:
        """The recorded routes as a `RouteMap`, all calls summed into one step.

        Raises:
            ValueError: as `counts`.
        """
        import numpy as np

        from moc.route_map import RouteMap, ShotInfo

        counts = self.counts()
        of_chunk = np.array([self._shots[chunk] for chunk in self._video()])
        numbers = sorted({*of_chunk.tolist()})
        blocks = [counts[None, :, :, of_chunk == number, :] for number in numbers]
        return RouteMap.from_counts(blocks, [ShotInfo(number, "") for number in numbers], title=title)

    def _video(self) -> list[int]:
        return sorted(chunk for chunk in self._shots if chunk not in self._text)


@contextmanager
def record_routes(layers: int | None = None) -> Iterator[Routes]:
    """Counts all routing inside the block; recordings may be nested, and each sees everything within it.

    Args:
        layers: of the model. Calls are then taken for its layers in turn; without it they are told apart by the
            `layer` that `route` is given.

    Raises:
        ValueError: fewer than one layer.
    """
    if layers is not None and layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}")
    routes = Routes(layers)
    _active.append(routes)
    try:
        yield routes
    finally:
        _active.remove(routes)


def active() -> bool:
    """Whether any recording runs."""
    return len(_active) > 0


def observed(route: Callable[P, Routing]) -> Callable[P, Routing]:
    """`route`, whose results running recordings see."""

    @functools.wraps(route)
    def seen(*args: P.args, **kwargs: P.kwargs) -> Routing:
        routing = route(*args, **kwargs)
        if _active:
            _tell(routing, *args, **kwargs)
        return routing

    return seen


def _tell(routing: Routing, *args: object, **kwargs: object) -> None:
    from moc.config import MoCConfig
    from moc.layout import TokenLayout

    layout = kwargs["layout"] if "layout" in kwargs else args[2]
    config = kwargs["config"] if "config" in kwargs else args[3]
    rows, layer = kwargs.get("q_range"), kwargs.get("layer", 0)
    assert isinstance(layout, TokenLayout)
    assert isinstance(layer, int)
    assert isinstance(config, MoCConfig)
    span = (0, layout.length) if rows is None else rows
    for routes in _active:
        routes.add(routing, layout, span, layer, config)  # type: ignore[arg-type]

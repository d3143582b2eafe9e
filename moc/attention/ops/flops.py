"""FLOPs of the operators, for torch's FlopCounterMode. They are those of `moc.flops`:

    moc::pool             every key is added once
    moc::route            2 D a score, and the pooling of keys where keys are given
    moc::attend           4 D a pair of a query and a key that it attends
    moc::attend_backward  10 D a pair

Which chunks queries pick shows when they have picked. Where the routes are there, their pairs are counted, which on a
GPU waits for them; for tensors without data, meta or fake, a link counts the mean length of the chunks that it might
go to, and each query has as many links as it can. `moc.flops.count` has the same expectation. Rows of drop-in are pairs
like others.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from moc.attention.mandatory import mandatory
from moc.config import MoCConfig
from moc.flops import FLOPS_PER_PAIR, FLOPS_PER_PAIR_BACKWARD, FLOPS_PER_SCORE, routed_of
from moc.handles import layout_of
from moc.layout import TokenLayout
from moc.routing import resolve_range

_COUNTER = "torch.utils.flop_counter"


def pool(k: Tensor, *args: Any, out_val: Any = None) -> int:
    """FLOPs of moc::pool."""
    return k.numel()


def route(
    q: Tensor, k: Tensor | None, descriptors: Tensor | None, layout: Tensor, config: str, start: int | None,
    stop: int | None, *args: Any, out_val: Any = None,
) -> int:  # fmt: skip
    """FLOPs of moc::route; candidates handed in are taken to be the layout's own."""
    scored = _routed(layout_of(layout), MoCConfig.decode(config), start, stop)[2]
    batch, heads, _, width = q.shape
    pooled = k.numel() if k is not None and scored else 0
    return pooled + FLOPS_PER_SCORE * width * batch * heads * scored


def attend(
    q: Tensor, k: Tensor, v: Tensor, indices: Tensor | None, layout: Tensor, config: str, start: int | None,
    stop: int | None, *args: Any, out_val: Any = None,
) -> int:  # fmt: skip
    """FLOPs of moc::attend."""
    return round(FLOPS_PER_PAIR * q.shape[-1] * _pairs(q, indices, layout, config, start, stop))


def backward(
    dout: Tensor | None, dlse: Tensor | None, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor,
    indices: Tensor | None, layout: Tensor, config: str, start: int | None, stop: int | None, *args: Any,
    out_val: Any = None,
) -> int:  # fmt: skip
    """FLOPs of moc::attend_backward."""
    return round(FLOPS_PER_PAIR_BACKWARD * q.shape[-1] * _pairs(q, indices, layout, config, start, stop))


def _pairs(
    q: Tensor, indices: Tensor | None, handle: Tensor, config: str, start: int | None, stop: int | None
) -> float:
    """Attended pairs of all heads and batch rows."""
    layout, settings = layout_of(handle), MoCConfig.decode(config)
    rows = resolve_range(layout, None if start is None or stop is None else (start, stop))
    each = q.shape[0] * q.shape[1]
    pairs: float = each * mandatory(layout, settings, rows, torch.device("cpu")).pairs
    if indices is None or indices.shape[-1] == 0:
        return pairs
    if indices.is_meta or getattr(indices, "fake_mode", None) is not None:
        return pairs + each * _routed(layout, settings, start, stop)[0]
    lengths = layout.to(indices.device).chunk_bounds.diff()
    for head in indices.flatten(0, 1):  # one at a time, for what is counted is as large as the routes
        links = torch.bincount(head.flatten() + 1, minlength=layout.num_chunks + 1)[1:]
        pairs += int((links * lengths).sum())
    return pairs


def _routed(layout: TokenLayout, config: MoCConfig, start: int | None, stop: int | None) -> tuple[float, int, int]:
    rows = None if start is None or stop is None else (start, stop)
    found: tuple[float, int, int] = layout.cached(
        ("routed flops", config, rows), lambda: routed_of(layout, config, rows)
    )
    return found


def _register(counter: ModuleType) -> None:
    for op, formula in (
        (torch.ops.moc.pool, pool),
        (torch.ops.moc.route, route),
        (torch.ops.moc.attend, attend),
        (torch.ops.moc.attend_backward, backward),
    ):
        counter.register_flop_formula(op, get_raw=True)(_undisturbed(formula))


def _undisturbed(formula: Callable[..., int]) -> Callable[..., int]:
    """A formula whose own tables are real, whatever mode the counted tensors are under."""

    @functools.wraps(formula)
    def count(*args: Any, **kwargs: Any) -> int:
        with _disable_current_modes():
            return formula(*args, **kwargs)

    return count


def register_when_counting() -> None:
    """Registers the formulas with torch's counter, now where its module is loaded, else as soon as it is: loading it
    takes as long as loading Triton, and few ever count."""
    if _COUNTER in sys.modules:
        _register(sys.modules[_COUNTER])
    else:
        sys.meta_path.insert(0, _Waiting())


class _Waiting(MetaPathFinder, Loader):
    """Finds the counter's module in the usual way and registers the formulas once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _register(module)

"""Which attention kernels are really here: each is called once on a small problem and held against float32.

No kernel is chosen by the name of a device. A probe is made the first time somebody asks for a kernel at a dtype and
head width, and remembered. A kernel counts as missing where its package is, where it refuses the problem, and where
its numbers are off. Probes launch work and wait for it, so none is made while a CUDA graph is captured.

Which kernel takes the own part of MoC attention:

    equal runs of queries and keys without text between (no copies)     FA4, cuDNN, FA2
    anything else, by ragged sequences                                  FA4, FA2
    deterministic backward passes                                       FA4, FA2, each by its own switch

the first that is there; FA4 is left out where the longest run is short (`SHORT_RUN`). `use("fa2")` or the environment
variable MOC_DENSE=fa2 forces one; a kernel without ragged sequences then leaves those to FA2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

NAMES = ("fa4", "fa3", "cudnn", "fa2", "sdpa")
"""Dense kernels, the fastest first as far as known beforehand."""

LABELS = {
    "fa4": "FlashAttention-4",
    "fa3": "FlashAttention-3",
    "cudnn": "cuDNN",
    "fa2": "FlashAttention-2",
    "sdpa": "plain products",
}
RAGGED = ("fa4", "fa2")
SHORT_RUN = 1024
"""Queries of the longest run below which FA4 does not pay. On one H200, forward, it takes 1.4 times cuDNN's time at
runs of 128, 1.7 times FA2's at runs of 250, and 0.85 of cuDNN's at runs of 22,500."""
TOLERANCE = 0.03  # of results of order one in bfloat16, whose rounding gives 0.004
Edges = tuple[tuple[int, ...], ...]
_EDGES: Edges = ((0, 70, 200), (0, 130, 333))  # of queries and keys; off every tile

_forced: str | None = None


@dataclass(frozen=True)
class Probe:
    """Whether a kernel works here, and why not in words."""

    name: str
    ok: bool
    why: str = ""


@contextmanager
def use(name: str) -> Iterator[None]:
    """Inside, the own part runs on the kernel of this name, or by the rule for "auto". For all threads: the backward
    pass has its own.

    Raises:
        ValueError: no kernel has that name.
    """
    global _forced
    before, _forced = _forced, _known(name, "the kernel")
    try:
        yield
    finally:
        _forced = before


def wanted() -> str:
    """The kernel that `use` or MOC_DENSE asks for, "auto" where neither does.

    Raises:
        ValueError: MOC_DENSE names no kernel.
    """
    return _forced if _forced is not None else _known(os.environ.get("MOC_DENSE") or "auto", "MOC_DENSE")


def _known(name: str, what: str) -> str:
    if name != "auto" and name not in NAMES:
        raise ValueError(f"{what} must be one of auto, {', '.join(NAMES)}, got {name!r}")
    return name


def own_kernel(
    q: Tensor,
    *,
    equal: bool,
    run: int | None = None,
    backward: bool = False,
    deterministic: bool = False,
    lse: bool = False,
) -> str:
    """The name of the kernel for the own part of queries like `q`, by the rule above.

    Args:
        equal: queries and keys come in equal runs, so that a plain batched call takes them.
        run: queries of the longest run; None where it is long.
        backward: asked for the backward pass. deterministic, lse: it must be bit-stable, or take a gradient of the LSE.

    Raises:
        NotImplementedError: the kernel asked for by name is not there.
    """
    asked = wanted()
    if asked == "sdpa":
        return "sdpa" if equal else "fa2"
    if not q.is_cuda or asked == "fa2":
        return "fa2"
    for name in ("fa4", "cudnn") if asked == "auto" else (asked,):
        if name not in RAGGED and (not equal or deterministic or lse):
            continue
        if asked == "auto" and name == "fa4" and run is not None and run < SHORT_RUN:
            continue
        found = probe(name, q, ragged=not equal, backward=backward, deterministic=deterministic)
        if found.ok:
            return name
        if asked != "auto":
            raise NotImplementedError(f"{LABELS[name]} is asked for and can't run here: {found.why}")
    return "fa2"


def probe(
    name: str, like: Tensor, *, ragged: bool = False, backward: bool = False, deterministic: bool = False
) -> Probe:
    """Whether the kernel runs on tensors of the dtype, device and head width of `like` and is right."""
    if like.is_cuda and torch.cuda.is_current_stream_capturing():
        key = (name, like.dtype, like.shape[-1], like.device, ragged, backward, deterministic)
        return _remembered.get(key, Probe(name, False, "not tried before a CUDA graph was captured"))
    return _probe(name, like.dtype, like.shape[-1], like.device, ragged, backward, deterministic)


_remembered: dict[tuple[object, ...], Probe] = {}


@cache
def _probe(
    name: str,
    dtype: torch.dtype,
    width: int,
    device: torch.device,
    ragged: bool,
    backward: bool,
    deterministic: bool,
) -> Probe:
    found = Probe(name, True)
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            wrong = _try(name, dtype, width, device, ragged, backward, deterministic)
        if wrong:
            found = Probe(name, False, wrong)
    except Exception as error:  # whatever a kernel's package may raise, from imports to its compiler
        found = Probe(name, False, _words(error))
    _remembered[name, dtype, width, device, ragged, backward, deterministic] = found
    return found


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0][:160] if lines else "no message"
    return said if isinstance(error, (ImportError, NotImplementedError)) else f"{type(error).__name__}: {said}"


def _try(
    name: str, dtype: torch.dtype, width: int, device: torch.device, ragged: bool, backward: bool, deterministic: bool
) -> str:
    """What is wrong with a kernel's results, "" for nothing."""
    edges = _EDGES if ragged else tuple((e[0], e[-1]) for e in _EDGES)
    rows, keys = _EDGES[0][-1], _EDGES[1][-1]
    generator = torch.Generator().manual_seed(0)
    q, k, v, dout = (
        torch.randn(2, length, width, generator=generator).to(device, dtype) for length in (rows, keys, keys, rows)
    )
    exact = _exact_forward(q, k, v, edges)
    got = list(_forward(name, q, k, v, edges if ragged else None))
    if backward:
        # As a part of MoC attention does, it gets output and LSE of more keys than it sees.
        whole = exact[0].to(dtype), exact[1] + 0.7
        grads = _backward(name, dout, q, k, v, *whole, edges if ragged else None, deterministic)
        if deterministic:
            again = _backward(name, dout, q, k, v, *whole, edges if ragged else None, deterministic)
            if not all(a.equal(b) for a, b in zip(grads, again, strict=True)):
                return "its backward pass gives other bits the second time"
        got += grads
        exact += _exact_backward(dout, q, k, v, *whole, edges)
    names = ("output", "LSE", "query gradient", "key gradient", "value gradient")
    for what, x, y in zip(names, got, exact, strict=False):
        error = float((x.to(y.dtype) - y).abs().max())
        if not error <= TOLERANCE * max(1.0, float(y.abs().max())):
            return f"its {what} is off by {error:.2g}"
    return ""


def _forward(name: str, q: Tensor, k: Tensor, v: Tensor, edges: Edges | None) -> tuple[Tensor, ...]:
    """Output and LSE of [H, L, D] tensors, ragged where there are edges."""
    from moc.attention import dense, varlen

    scale = q.shape[-1] ** -0.5
    if edges is None:
        return tuple(x[0] for x in dense.KERNELS[name].forward(q[None], k[None], v[None], scale))
    packing = varlen.packing_of(edges[0], edges[1], q.device)
    q, k, v = _packed(q, k, v)
    out, lse = varlen.forward_with(name, q, k, v, packing, scale)
    return out.transpose(0, 1), lse


def _backward(
    name: str, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, edges: Edges | None, bits: bool
) -> tuple[Tensor, ...]:
    from moc.attention import dense, varlen

    scale = q.shape[-1] ** -0.5
    if edges is None:
        dout, q, k, v, out, lse = (x[None] for x in (dout, q, k, v, out, lse))
        return tuple(x[0] for x in dense.KERNELS[name].backward(dout, q, k, v, out, lse, None, scale, bits))
    packing = varlen.packing_of(edges[0], edges[1], q.device)
    dout, q, k, v, out = _packed(dout, q, k, v, out)
    with varlen.deterministic_algorithms(bits):
        grads = varlen.backward_with(name, dout, q, k, v, out, lse, None, packing, scale, deterministic=bits)
    return tuple(_packed(*grads))


def _packed(*tensors: Tensor) -> list[Tensor]:
    return [x.transpose(0, 1) for x in tensors]


def _spans(edges: Edges) -> Iterator[tuple[slice, slice]]:
    for (a, b), (c, d) in zip(pairwise(edges[0]), pairwise(edges[1]), strict=True):
        yield slice(a, b), slice(c, d)


def _exact_forward(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> list[Tensor]:
    wide = torch.promote_types(q.dtype, torch.float32)
    q, k, v = (x.to(wide) for x in (q, k, v))
    outs, lses = [], []
    for rows, keys in _spans(edges):
        scores = q[:, rows] @ k[:, keys].mT * q.shape[-1] ** -0.5
        outs.append(scores.softmax(-1) @ v[:, keys])
        lses.append(scores.logsumexp(-1))
    return [torch.cat(outs, 1), torch.cat(lses, 1)]


def _exact_backward(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, edges: Edges
) -> list[Tensor]:
    dout, q, k, v, out = (x.to(lse.dtype) for x in (dout, q, k, v, out))
    scale = q.shape[-1] ** -0.5
    grads: list[list[Tensor]] = [[], [], []]
    for rows, keys in _spans(edges):
        weights = (q[:, rows] @ k[:, keys].mT * scale - lse[:, rows, None]).exp()
        delta = (dout[:, rows] * out[:, rows]).sum(-1, keepdim=True)
        dscores = weights * (dout[:, rows] @ v[:, keys].mT - delta) * scale
        parts = dscores @ k[:, keys], dscores.mT @ q[:, rows], weights.mT @ dout[:, rows]
        for grad, part in zip(grads, parts, strict=True):
            grad.append(part)
    return [torch.cat(grad, 1) for grad in grads]

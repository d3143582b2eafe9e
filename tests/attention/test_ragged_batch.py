"""Batches of layouts of different lengths: each row as it would be alone, whatever the padding holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from engine_cases import configs, layouts, ragged
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from moc import MoCConfig, Routing, Shot, TokenLayout, attend, moc_attention, record_routes, route
from moc.attention import BACKENDS

CONFIG = MoCConfig(chunk_tokens=16, top_k=2)
SHORT = TokenLayout.from_shots(shots=[Shot(1, 2, 9), Shot(0, 3, 5)], chunk_tokens=16)
TINY = TokenLayout.from_shots(global_text=2, shots=[Shot()], chunk_tokens=16)
POISON = (torch.nan, torch.inf, -torch.inf)


def padded(rows: Sequence[TokenLayout], *, extra: int = 0, dtype: torch.dtype = torch.float64, **kwargs: Any) -> Any:
    """Queries, keys and values [B, 2, L, 8] whose padding is poisoned, L `extra` tokens beyond the longest layout."""
    length = max(layout.length for layout in rows) + extra
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for _ in range(3):
        x = torch.randn(len(rows), 2, length, 8, generator=generator, dtype=torch.float64).to(dtype)
        for b, layout in enumerate(rows):
            x[b, :, layout.length :] = torch.tensor(POISON, dtype=dtype)[torch.arange(8) % 3]
        inputs.append(x.to(**kwargs).requires_grad_())
    return inputs


def weights_of(x: Tensor, rows: Sequence[TokenLayout]) -> Tensor:
    """Incoming gradients, poisoned in the padding too."""
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for b, layout in enumerate(rows):
        weights[b, :, layout.length :] = torch.nan
    return weights.to(x)


def together(inputs: list[Tensor], rows: Sequence[TokenLayout], config: MoCConfig, **options: Any) -> list[Tensor]:
    """Routes, output, LSE and the gradients of both."""
    q, k, v = inputs
    routing = route(q, k, rows, config, seed=options.pop("seed", None), batch_offset=options.pop("batch_offset", 0))
    out, lse = attend(q, k, v, rows, routing, config, return_lse=True, **options)
    upstream = weights_of(out, rows), weights_of(lse, rows)
    return [routing.indices, out.detach(), lse.detach(), *torch.autograd.grad((out, lse), inputs, upstream)]


def alone(inputs: list[Tensor], rows: Sequence[TokenLayout], b: int, config: MoCConfig, **options: Any) -> list[Tensor]:
    """The same of row b by itself, by the oracle."""
    layout = rows[b]
    q, k, v = (x[b : b + 1, :, : layout.length].detach().requires_grad_() for x in inputs)
    routing = route(q, k, layout, config, seed=options.get("seed"), batch_offset=options.get("batch_offset", 0) + b)
    out, lse = attend(q, k, v, layout, routing, config, return_lse=True, backend="reference")
    whole = inputs[0].detach()
    upstream = [weights_of(x, rows)[b : b + 1, :, : layout.length] for x in (whole, whole[..., 0])]
    return [routing.indices, out.detach(), lse.detach(), *torch.autograd.grad((out, lse), (q, k, v), upstream)]


def check_rows(inputs: list[Tensor], rows: Sequence[TokenLayout], config: MoCConfig, **options: Any) -> None:
    """Each row as if alone, and nothing in the padding."""
    got = together(inputs, rows, config, **options)
    indices, out, lse, *grads = got
    for b, layout in enumerate(rows):
        behind = slice(layout.length, None)
        assert (indices[b, :, behind] == -1).all()
        assert (lse[b, :, behind] == -torch.inf).all()
        assert all((x[b, :, behind] == 0).all() for x in (out, *grads))
        routes, *wanted = alone(inputs, rows, b, config, **options)
        mine = indices[b : b + 1, :, : layout.length]
        assert mine[..., : routes.shape[-1]].equal(routes)
        assert (mine[..., routes.shape[-1] :] == -1).all()
        for x, want in zip(got[1:], wanted, strict=True):
            torch.testing.assert_close(x[b : b + 1, :, : layout.length], want, rtol=1e-10, atol=1e-10)


@st.composite
def batches(draw: Any) -> tuple[list[TokenLayout], MoCConfig]:
    """One to five rows of one to three layouts, in any order, cut by one rule."""
    first = draw(layouts())
    others = [
        TokenLayout.from_shots(global_text=x.global_text, shots=x.shots, chunk_tokens=first.chunk_tokens)
        for x in draw(st.lists(layouts(), max_size=2))
    ]
    rows = draw(st.lists(st.sampled_from([first, *others]), min_size=1, max_size=5))
    return rows, draw(configs(first))


@settings(max_examples=40, deadline=None)
@given(batches(), st.sampled_from(["portable", "reference"]), st.integers(0, 3))
def test_each_row_as_if_alone(batch: tuple[list[TokenLayout], MoCConfig], backend: str, extra: int) -> None:
    rows, config = batch
    check_rows(padded(rows, extra=extra), rows, config, backend=backend)


@settings(max_examples=20, deadline=None)
@given(batches(), st.sampled_from([0, 7]))
def test_each_row_draws_what_it_would_alone(batch: tuple[list[TokenLayout], MoCConfig], batch_offset: int) -> None:
    rows, config = batch
    config = config.replace(drop_off_max=0.8, drop_in_rate=1.0, drop_in_max=2)
    check_rows(padded(rows), rows, config, seed=5, batch_offset=batch_offset)


@pytest.mark.parametrize("pattern", ["random", "moc-uniform", "local", "dense"])
@pytest.mark.parametrize("seed", [None, 3])
def test_other_patterns(pattern: str, seed: int | None) -> None:
    rows = [ragged(), SHORT, ragged(), TINY]
    config = CONFIG.replace(pattern=pattern)
    if pattern == "moc-uniform":
        rows = [layout.evenly() for layout in rows]
    check_rows(padded(rows), rows, config, seed=seed)


def test_a_row_without_tokens() -> None:
    rows = [SHORT, TokenLayout.from_shots(shots=[], chunk_tokens=16)]
    check_rows(padded(rows), rows, CONFIG)


def test_one_layout_for_all_rows_gives_the_bits_of_that_layout() -> None:
    layout = ragged()
    inputs = padded([layout] * 3)
    got = together(inputs, [layout] * 3, CONFIG, deterministic=True)
    q, k, v = inputs
    routing = route(q, k, layout, CONFIG)
    out, lse = attend(q, k, v, layout, routing, CONFIG, return_lse=True, deterministic=True)
    upstream = weights_of(out, [layout] * 3), weights_of(lse, [layout] * 3)
    want = [routing.indices, out, lse, *torch.autograd.grad((out, lse), inputs, upstream)]
    assert all(a.equal(b) for a, b in zip(got, want, strict=True))


def test_rows_of_one_layout_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    import moc.attention

    calls: list[tuple[int, ...]] = []
    run = moc.attention.attend_portable

    def counted(q: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        calls.append(q.shape)
        return run(q, *args, **kwargs)

    monkeypatch.setattr(moc.attention, "attend_portable", counted)
    rows = [ragged(), SHORT, ragged(), SHORT, SHORT]
    q, k, v = padded(rows)
    moc_attention(q, k, v, rows, CONFIG)
    assert calls == [(2, 2, ragged().length, 8), (3, 2, SHORT.length, 8)]


def test_without_routes_and_without_gradients() -> None:
    rows = (SHORT, ragged())
    with torch.no_grad():
        q, k, v = padded(rows)
        out = attend(q, k, v, rows, None, CONFIG, scale=0.7)
        for b, layout in enumerate(rows):
            mine, keys, values = (x[b : b + 1, :, : layout.length] for x in (q, k, v))
            want = attend(mine, keys, values, layout, None, CONFIG, scale=0.7)
            torch.testing.assert_close(out[b : b + 1, :, : layout.length], want)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_are_exact(reentrant: bool) -> None:
    rows = [SHORT, ragged(), SHORT]
    inputs = padded(rows)
    config = CONFIG.replace(drop_off_max=0.5)

    def layer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return moc_attention(q, k, v, rows, config, seed=2)

    plain = layer(*inputs)
    kept = checkpoint(layer, *inputs, use_reentrant=reentrant)
    weights = weights_of(plain, rows)
    want = torch.autograd.grad(plain, inputs, weights)
    kept.backward(weights)
    assert kept.equal(plain)
    for x, grad in zip(inputs, want, strict=True):
        assert x.grad is not None
        assert x.grad.equal(grad)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_compiled_in_one_graph(backend: Any) -> None:
    torch._dynamo.reset()
    rows = [SHORT, ragged(), SHORT, TINY]

    def layer(q: Tensor, k: Tensor, v: Tensor, rows: list[TokenLayout]) -> Tensor:
        return moc_attention(q * 1, k, v, rows, CONFIG, backend=backend, seed=2)

    inputs = padded(rows)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    run: Any
    for run in (layer, compiled):
        out = run(*inputs, rows)
        results.append([out.detach(), *torch.autograd.grad(out, inputs, weights_of(out, rows))])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch._dynamo.reset()


def test_one_dynamic_graph_for_all_lengths_below_the_padded_one() -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(moc_attention, fullgraph=True, backend=counter, dynamic=True)
    for frames in ((3, 4, 5), (9, 3, 8), (2, 7, 6)):
        rows = [TokenLayout.from_shots(global_text=1, shots=[Shot(0, n, 7)] * 2, chunk_tokens=16) for n in frames]
        q, k, v = padded(rows, extra=1 + sum(frames))
        assert compiled(q, k, v, rows, CONFIG).equal(moc_attention(q, k, v, rows, CONFIG))
    assert counter.frame_count == 1
    torch._dynamo.reset()


@pytest.mark.parametrize("meta", [False, True])
def test_tensors_without_data(meta: bool) -> None:
    rows = [SHORT, ragged(), SHORT]
    with nullcontext() if meta else FakeTensorMode():
        q, k, v = torch.randn(3, 3, 2, 90, 8, device="meta" if meta else "cpu").unbind()
        out, lse = attend(q, k, v, rows, route(q, k, rows, CONFIG), CONFIG, return_lse=True)
    assert (out.shape, lse.shape) == ((3, 2, 90, 8), (3, 2, 90))


def test_refused_while_compiling() -> None:
    """By layouts that nobody has asked for their lengths, too."""
    torch._dynamo.reset()
    q, k, _ = padded([SHORT, TINY])
    compiled = torch.compile(route, fullgraph=True, backend="eager")
    rows = [SHORT.evenly(), TINY.evenly()]
    with pytest.raises(Exception, match="pattern moc-uniform can't be compiled for 2 layouts at once"):
        compiled(q, k, rows, CONFIG.replace(pattern="moc-uniform"))
    fresh = [SHORT.with_history((0, 1)), TINY.with_history((0,))]
    assert not any("length" in vars(layout) for layout in fresh)
    got = compiled(q, k, fresh, CONFIG).indices
    assert got.equal(route(q, k, fresh, CONFIG).indices)
    torch._dynamo.reset()


def test_flops_are_those_of_the_rows() -> None:
    rows = [SHORT, ragged()]
    inputs = [x.detach().nan_to_num(0, 0, 0) for x in padded(rows)]
    with FlopCounterMode(display=False) as counted:
        moc_attention(inputs[0], inputs[1], inputs[2], rows, CONFIG)
    total = 0
    for b, layout in enumerate(rows):
        with FlopCounterMode(display=False) as row:
            q, k, v = (x[b : b + 1, :, : layout.length] for x in inputs)
            moc_attention(q, k, v, layout, CONFIG)
        total += row.get_total_flops()
    assert counted.get_total_flops() == total > 0


def test_recordings_take_one_layout() -> None:
    q, k, _ = padded([SHORT, TINY, SHORT])
    with record_routes() as routes:
        with pytest.raises(ValueError, match=r"one layout at a time, got 2 groups of rows"):
            route(q, k, [SHORT, TINY, SHORT], CONFIG)
        route(q, k, [SHORT] * 3, CONFIG)
    assert routes.calls == 1


def test_what_is_refused() -> None:
    rows = [SHORT, TINY]
    q, k, v = padded(rows)
    routing = route(q, k, rows, CONFIG)
    with pytest.raises(ValueError, match=r"must hold one a batch row, got 3 for 2$"):
        route(q, k, [*rows, TINY], CONFIG)
    with pytest.raises(ValueError, match=r"must hold one a batch row, got 0 for 2$"):
        attend(q, k, v, [], routing, CONFIG)
    with pytest.raises(ValueError, match=r"the layout of row 1 has 84 tokens, the tensors 34$"):
        moc_attention(q, k, v, [SHORT, ragged()], CONFIG)
    with pytest.raises(ValueError, match=r"^q_range of one layout can't be given beside a sequence of 2 layouts$"):
        moc_attention(q, k, v, rows, CONFIG, q_range=(0, 3))
    with pytest.raises(ValueError, match=r"^descriptors of one layout can't be given beside a sequence of 2 layouts$"):
        moc_attention(q, k, v, rows, CONFIG, descriptors=torch.zeros(2, 2, 4, 8))
    with pytest.raises(ValueError, match="needs the keys beside a sequence of layouts"):
        route(q, None, rows, CONFIG)
    with pytest.raises(ValueError, match=r"keys must hold as many rows and tokens as the queries"):
        attend(q, k[:, :, 1:], v, rows, routing, CONFIG)
    with pytest.raises(ValueError, match=r"values must hold as many rows and tokens as the queries"):
        attend(q, k, v[:1], rows, routing, CONFIG)
    with pytest.raises(ValueError, match=r"queries must be \[batch, heads, length, head_dim\], got \[2, 34, 8\]"):
        attend(q[:, 0], k, v, rows, routing, CONFIG)
    with pytest.raises(ValueError, match=r"routing must be \[2, 2, 34\] \+ \[width\], got \[2, 2, 33, 2\]"):
        attend(q, k, v, rows, Routing(routing.indices[:, :, 1:]), CONFIG)
    with pytest.raises(ValueError, match="at least one batch row"):
        attend(q[:0], k[:0], v[:0], [], None, CONFIG)
    with pytest.raises(ValueError, match="the layout is cut into chunks of 16, the config asks for 8"):
        route(q, k, rows, CONFIG.replace(chunk_tokens=8))
    with pytest.raises(ValueError, match="grouped-query heads"):
        attend(q, k[:, :1], v[:, :1], rows, None, CONFIG)
    with pytest.raises(TypeError, match="layout must be a TokenLayout or a list or tuple of them, got None"):
        attend(q, k, v, None, routing, CONFIG)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="layout must be a TokenLayout"):
        route(q, k, [SHORT, "tiny"], CONFIG)  # type: ignore[list-item]
    with pytest.raises(NotImplementedError, match='backend "triton" needs tensors on CUDA'):
        attend(q, k, v, rows, routing, CONFIG, backend="triton")
    assert set(BACKENDS) == {"auto", "reference", "portable", "triton"}


@pytest.mark.gpu
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 1, 0), (2, 2, 1, 0), (1,)])
@pytest.mark.parametrize("seed", [None, 9])
def test_triton_kernels(width: int, order: tuple[int, ...], seed: int | None) -> None:
    """Ragged rows on the Triton backend against the oracle in float64, forward and backward."""
    kinds = [
        TokenLayout.from_shots(global_text=9, shots=[Shot(7, 3, 100), Shot(0, 1, 1), Shot(5, 4, 75)], chunk_tokens=64),
        TokenLayout.from_shots(shots=[Shot(0, 2, 33), Shot(3, 5, 61)], chunk_tokens=64),
        TokenLayout.from_shots(global_text=1, shots=[Shot()], chunk_tokens=64),
    ]
    config = MoCConfig(chunk_tokens=64, top_k=3, drop_off_max=0.5, drop_in_rate=1.0, drop_in_max=1)
    rows = [kinds[i] for i in order]
    length = max(layout.length for layout in rows) + 5
    generator = torch.Generator("cuda").manual_seed(1)
    shape = (len(rows), 2, length, width)
    inputs = [torch.randn(shape, device="cuda", generator=generator).bfloat16() for _ in range(3)]
    for x in inputs:
        for b, layout in enumerate(rows):
            x[b, :, layout.length :] = torch.nan
        x.requires_grad_()
    indices, *got = together(inputs, rows, config, backend="triton", deterministic=True, seed=seed)
    assert all(a.equal(b) for a, b in zip(got, together(inputs, rows, config, backend="triton", deterministic=True,
                                                        seed=seed)[1:], strict=True))  # fmt: skip
    for b, layout in enumerate(rows):
        mine = [x.detach()[b : b + 1, :, : layout.length] for x in inputs]
        chosen = route(mine[0], mine[1], layout, config, seed=seed, batch_offset=b)
        assert indices[b : b + 1, :, : layout.length].equal(chosen.indices)
        q, k, v = (x.double().requires_grad_() for x in mine)
        out, lse = attend(q, k, v, layout, chosen, config, backend="reference", return_lse=True)
        upstream = [weights_of(x, rows)[b : b + 1, :, : layout.length].double() for x in got[:2]]
        want = [out, lse, *torch.autograd.grad((out, lse), (q, k, v), upstream)]
        for a, true in zip(got, want, strict=True):
            error = (a[b : b + 1, :, : layout.length].double() - true).abs().max()
            assert error <= 0.03 * (1 + true.abs().max())
        assert all((x[b, :, layout.length :] == 0).all() for x in (got[0], *got[2:]))
        assert (got[1][b, :, layout.length :] == -torch.inf).all()
        assert (indices[b, :, layout.length :] == -1).all()

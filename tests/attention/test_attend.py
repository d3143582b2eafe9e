"""attend(): the portable path against the oracle, forward and backward, on ragged streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine_cases import cases, q_ranges, qkv, ragged
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import moc
from moc import MoCConfig, Routing, Shot, TokenLayout, attend, moc_attention, pool, route
from moc.attention import tiles

QUICK = settings(max_examples=50, deadline=None)


def both(*args: Any, **kwargs: Any) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(out, lse) of the portable path and of the oracle."""
    portable = attend(*args, backend="portable", return_lse=True, **kwargs)
    return portable, attend(*args, backend="reference", return_lse=True, **kwargs)


@QUICK
@given(cases(), st.data())
def test_agrees_with_the_oracle(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = case
    start, stop = data.draw(q_ranges(layout))
    q, k, v = qkv(layout, dtype=torch.float64)
    q = q[:, :, start:stop]
    routing = route(q, k, layout, config, q_range=(start, stop))
    scale = data.draw(st.sampled_from([None, 0.7]))
    portable, oracle = both(q, k, v, layout, routing, config, q_range=(start, stop), scale=scale)
    for got, expected in zip(portable, oracle, strict=True):
        assert got.dtype == expected.dtype == torch.float64
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@QUICK
@given(cases(), st.data())
def test_gradients_agree_with_the_oracle(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = case
    config = config.replace(drop_off_max=0.6, drop_in_rate=1.0, drop_in_max=2)
    start, stop = data.draw(q_ranges(layout))
    q, k, v = qkv(layout, dtype=torch.float64, grad=True)
    rows = q[:, :, start:stop]
    routing = route(rows, k, layout, config, q_range=(start, stop), seed=1)
    with_lse = data.draw(st.booleans())
    grads = []
    for out, lse in both(rows, k, v, layout, routing, config, q_range=(start, stop)):
        weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
        loss = (out * weight).sum() + (lse * weight[..., 0]).sum() * with_lse
        grads.append(torch.autograd.grad(loss, (q, k, v)))
    for got, expected in zip(*grads, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_gradcheck() -> None:
    layout = TokenLayout.from_shots(global_text=1, shots=[Shot(1, 2, 3), Shot(0, 3, 2)], chunk_tokens=4)
    config = MoCConfig(chunk_tokens=4, top_k=2, intra="chunk", causal=False)
    q, k, v = qkv(layout, batch=1, width=3, dtype=torch.float64, grad=True)
    routing = route(q, k, layout, config)

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return attend(q, k, v, layout, routing, config, return_lse=True)

    assert torch.autograd.gradcheck(run, (q, k, v))
    # Only one of the two outputs in the loss: the other's gradient is absent, not zero.
    assert torch.autograd.gradcheck(lambda *x: run(*x)[0], (q, k, v))
    assert torch.autograd.gradcheck(lambda *x: run(*x)[1], (q, k, v))


CANCELLING = (
    TokenLayout.from_shots(shots=[Shot(text=2, frames=2, tokens_per_frame=9)], chunk_tokens="frame"),
    MoCConfig(chunk_tokens="frame", top_k=1, intra="chunk", causal=False, text_links="all"),
)
"""Where the gradient of queries is a sum whose terms are larger than itself."""


@QUICK
@example(CANCELLING, torch.float32)
@given(cases(), st.sampled_from([torch.bfloat16, torch.float16, torch.float32]))
def test_low_precision_errs_twice_as_much_as_torchs_own_and_a_rounding_at_most(
    case: tuple[TokenLayout, MoCConfig], dtype: torch.dtype
) -> None:
    layout, config = case
    q, k, v = qkv(layout, dtype=torch.float64, grad=True)
    routing = route(q, k, layout, config)

    def run(dtype: torch.dtype, backend: Callable[..., Tensor]) -> list[Tensor]:
        inputs = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
        out = backend(*inputs)
        out.backward(torch.ones_like(out) * out.detach())
        return [out.detach(), *(x.grad for x in inputs)]  # type: ignore[list-item]

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, allowed(layout, config, routing))

    exact = run(torch.float64, plain)
    rough = run(dtype, plain)
    ours = run(dtype, lambda q, k, v: attend(q, k, v, layout, routing, config))
    rounded = cancelled(q.detach(), k.detach(), v.detach(), allowed(layout, config, routing))
    for got, low, truth, terms in zip(ours, rough, exact, rounded, strict=True):
        assert got.dtype == dtype
        error = (got.double() - truth).abs().max()
        rounding = 4 * torch.finfo(dtype).eps * truth.abs().max() + torch.finfo(torch.float32).eps * terms
        assert error <= 2 * (low.double() - truth).abs().max() + rounding


def allowed(layout: TokenLayout, config: MoCConfig, routing: Routing) -> Tensor:
    """`[batch, heads, length, length]` which keys a query attends, links and routes."""
    mask = moc.attention.reference.mandatory_mask(layout, config, 0, layout.length)
    return mask | moc.attention.reference.routed_mask(layout, routing.indices)


def cancelled(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[float, float, float, float]:
    """How large the sums behind the gradients of queries and keys are if nothing cancels; the output is its own weight.

    A gradient of scores is p (dp - delta), a difference of two like numbers, and those of queries and keys are sums of
    them with either sign. The sums are taken in float32, and the result says nothing of how large their terms were.
    Output and values have no such difference: 0.
    """
    scale = q.shape[-1] ** -0.5
    p = (scale * q @ k.mT).masked_fill(~mask, -torch.inf).softmax(-1)
    weight = (p @ v).abs()
    terms = p * (weight @ v.abs().mT + (weight * (p @ v.abs())).sum(-1, keepdim=True))
    return 0.0, float((scale * terms @ k.abs()).max()), float((scale * terms.mT @ q.abs()).max()), 0.0


@QUICK
@given(cases())
def test_every_chunk_chosen_is_dense_attention(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    config = config.replace(top_k=layout.num_chunks, causal=False, text_links="all")
    q, k, v = qkv(layout)
    out = moc_attention(q, k, v, layout, config)
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    video = ~layout.is_text
    torch.testing.assert_close(out[:, :, video], dense[:, :, video], rtol=1e-5, atol=1e-5)


@QUICK
@given(cases())
def test_no_routes_is_text_and_own_shot(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    config = config.replace(top_k=0, intra="shot", text_links="own")
    q, k, v = qkv(layout)
    out = moc_attention(q, k, v, layout, config)
    assert out.equal(attend(q, k, v, layout, None, config))
    for number in layout.shot_numbers:
        rows = slice(*layout.token_range(number))
        keys = [slice(0, layout.global_text), rows]
        own = [torch.cat([x[:, :, part] for part in keys], 2) for x in (k, v)]
        alone = torch.nn.functional.scaled_dot_product_attention(q[:, :, rows], *own)
        torch.testing.assert_close(out[:, :, rows], alone, rtol=1e-5, atol=1e-5)


@QUICK
@given(cases(), st.data())
def test_a_shot_never_learns_of_later_ones(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    """Causal routing and own text links: the stream so far gives what the whole stream gives."""
    layout, config = case
    config = config.replace(causal=True, text_links="own")
    shots = data.draw(st.integers(0, layout.num_shots))
    part = layout.prefix(shots)
    q, k, v = qkv(layout, dtype=torch.float64)
    whole = moc_attention(q, k, v, layout, config)
    sofar = moc_attention(*(x[:, :, : part.length] for x in (q, k, v)), part, config)
    torch.testing.assert_close(sofar, whole[:, :, : part.length], rtol=1e-12, atol=1e-12)
    changed = [x.clone() for x in (q, k, v)]
    for x in changed:
        x[:, :, part.length :] = 9.0
    again = moc_attention(*changed, layout, config)
    torch.testing.assert_close(again[:, :, : part.length], sofar, rtol=1e-12, atol=1e-12)


@QUICK
@given(cases())
def test_streaming_shot_after_shot_gives_the_joint_result(case: tuple[TokenLayout, MoCConfig]) -> None:
    """Only new rows are asked for, and descriptors of finished shots are pooled once."""
    layout, config = case
    config = config.replace(causal=True, text_links="own")
    q, k, v = qkv(layout, dtype=torch.float64)
    whole = moc_attention(q, k, v, layout, config)
    kept, start = [], 0
    for shots in range(layout.num_shots + 1):
        part = layout.prefix(shots)
        rows = (start, part.length)
        kept.append(pool(k[:, :, start : part.length], part, token_range=rows))
        descriptors = torch.cat(kept, dim=2)
        new, keys, values = q[:, :, slice(*rows)], k[:, :, : part.length], v[:, :, : part.length]
        out = moc_attention(new, keys, values, part, config, q_range=rows, descriptors=descriptors)
        torch.testing.assert_close(out, whole[:, :, slice(*rows)], rtol=1e-12, atol=1e-12)
        start = part.length


def test_gradients_run_forward_only() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=2)
    q, k, v = qkv(layout, grad=True)
    out = moc_attention(q, k, v, layout, config)
    start, stop = layout.token_range(2)
    for grad in torch.autograd.grad(out[:, :, start:stop].sum(), (k, v)):
        assert grad[:, :, stop:].eq(0).all()
        assert grad[:, :, :stop].ne(0).any()


def test_a_selected_stream_attends_like_the_tokens_it_keeps() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=layout.num_chunks)
    part, index = layout.select([1, 3])
    q, k, v = (x[:, :, index] for x in qkv(layout))
    rows = part.token_range(3)
    out = moc_attention(q[:, :, slice(*rows)], k, v, part, config, q_range=rows)
    seen = ~(part.is_text & (part.shot_ids == 1))
    dense = torch.nn.functional.scaled_dot_product_attention(q[:, :, slice(*rows)], k[:, :, seen], v[:, :, seen])
    video = ~part.is_text[slice(*rows)]
    torch.testing.assert_close(out[:, :, video], dense[:, :, video], rtol=1e-5, atol=1e-5)


def test_strided_inputs_and_outputs() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=2)
    fused = torch.randn(2, layout.length, 3, 2, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    q, k, v = fused.permute(2, 0, 3, 1, 4)
    out = moc_attention(q, k, v, layout, config)
    plain = moc_attention(*(x.contiguous() for x in (q, k, v)), layout, config)
    torch.testing.assert_close(out, plain)
    # A gradient without memory of its own, as from a sum.
    (expanded,) = torch.autograd.grad(out.sum(), fused, retain_graph=True)
    (full,) = torch.autograd.grad(out, fused, torch.ones_like(out))
    torch.testing.assert_close(expanded, full)


def test_far_scores_neither_overflow_nor_vanish() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=3, intra="chunk", causal=False)
    q, k, v = qkv(layout, dtype=torch.float64, grad=True)
    portable, oracle = both(q * 300, k * 10, v, layout, route(q, k, layout, config), config)
    torch.testing.assert_close(portable, oracle, rtol=1e-10, atol=1e-10)
    grads = [torch.autograd.grad(out.square().sum(), (q, k, v), retain_graph=True) for out, _ in (portable, oracle)]
    torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-8)


def test_unwritten_memory_is_never_read() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=2, intra="window")
    q, k, v = qkv(layout, grad=True)
    expected = attend(q, k, v, layout, route(q, k, layout, config), config)
    expected_grads = torch.autograd.grad(expected.sum(), (q, k, v))
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        assert torch.empty(3).isnan().all()
        out = moc_attention(q, k, v, layout, config)
        grads = torch.autograd.grad(out.sum(), (q, k, v))
    finally:
        torch.use_deterministic_algorithms(False)
    assert out.equal(expected)
    for got, want in zip(grads, expected_grads, strict=True):
        assert got.equal(want)


def test_the_same_bits_every_time() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=3, intra="chunk", causal=False)
    q, k, v = qkv(layout, width=64, grad=True)
    runs = []
    for _ in range(3):
        out = moc_attention(q, k, v, layout, config, deterministic=True)
        runs.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for other in runs[1:]:
        assert all(a.equal(b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("height", [8, 32, 128])
def test_tiles_and_slabs_of_any_size(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_HEIGHTS", (height,))
    monkeypatch.setitem(tiles._SLAB_BYTES, "cpu", 40_000)
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=3, causal=False)
    q, k, v = qkv(layout, dtype=torch.float64, grad=True)
    portable, oracle = both(q, k, v, layout, route(q, k, layout, config), config)
    torch.testing.assert_close(portable, oracle, rtol=1e-12, atol=1e-12)
    grads = [torch.autograd.grad(out.square().sum(), (q, k, v)) for out, _ in (portable, oracle)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)


class _Largest(TorchDispatchMode):
    """Remembers the most elements that any one result of any operation held."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in torch.utils._pytree.tree_leaves(result):
            if isinstance(x, Tensor):
                self.numel = max(self.numel, x.untyped_storage().nbytes() // x.element_size())
        return result


def test_memory_is_linear_in_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """No [L, L] and no [H, L, C] tensor on the way, forward or backward."""
    monkeypatch.setattr(moc.routing, "SCORES_AT_ONCE", 1 << 14)
    monkeypatch.setitem(tiles._SLAB_BYTES, "cpu", 1 << 16)
    monkeypatch.setitem(moc.attention.runs._SCORES_AT_ONCE, "cpu", 1 << 14)
    heads, width, k_max = 2, 8, 2
    layout = TokenLayout.from_shots(shots=[Shot(1, 8, 32)] * 12, chunk_tokens=8)
    config = MoCConfig(chunk_tokens=8, top_k=k_max, drop_in_rate=0.5, drop_in_max=1)
    q, k, v = qkv(layout, batch=1, heads=heads, width=width, grad=True)
    links = heads * layout.length * (k_max + 1)
    for module in (moc.routing, moc.attention):  # operators would hide from the mode what happens inside
        monkeypatch.setattr(module, "traced", lambda x: False)
    with _Largest() as largest:
        moc_attention(q, k, v, layout, config, seed=1).sum().backward()
    # Padding of tiles included, nothing holds more than a few rows per link.
    assert largest.numel < 6 * links * width
    assert largest.numel < heads * layout.length * layout.num_chunks
    assert largest.numel < layout.length**2


def test_autocast_changes_nothing() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=2)
    q, k, v = qkv(layout, grad=True)
    expected = moc_attention(q, k, v, layout, config)
    with torch.autocast("cpu", torch.bfloat16):
        for backend in ("portable", "reference"):
            out = moc_attention(q, k, v, layout, config, backend=backend)  # type: ignore[arg-type]
            torch.testing.assert_close(out, expected)
        out.sum().backward()
    assert q.grad is not None
    assert q.grad.dtype == torch.float32


def test_what_no_backend_can_do_is_refused() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16)
    q, k, v = qkv(layout)
    routing = route(q, k, layout, config)

    def refused(error: type[Exception], message: str, *args: Any, **kwargs: Any) -> None:
        with pytest.raises(error, match=message):
            attend(*args, layout, kwargs.pop("routing", routing), config, **kwargs)

    refused(ValueError, "grouped-query heads.*2 query heads against 1 key heads", q, k[:, :1], v[:, :1])
    refused(ValueError, r"keys must be \[2, 2, 84, 8\], got \[2, 2, 80, 8\]", q, k[:, :, :80], v)
    refused(ValueError, r"queries must be \[2, 2, 84, 8\] for rows 0:84", q[:, :, 1:], k, v)
    refused(ValueError, "values are torch.float64 on cpu, the queries torch.float32", q, k, v.double())
    refused(ValueError, "queries must be bfloat16.*got torch.int64", q.long(), k, v)
    refused(ValueError, r"queries must be \[batch, heads, length, head_dim\], got \[2, 84, 8\]", q[:, 0], k, v)
    refused(ValueError, "one of auto, reference, portable, triton, got 'cuda'", q, k, v, backend="cuda")
    refused(NotImplementedError, '"triton" needs tensors on CUDA, got cpu', q, k, v, backend="triton")
    far = Routing(torch.full_like(routing.indices, layout.num_chunks))
    refused(ValueError, f"routing names chunk {layout.num_chunks}, the layout has", q, k, v, routing=far)
    with pytest.raises(ValueError, match="cut into chunks of 16, the config asks for 8"):
        attend(q, k, v, layout, routing, config.replace(chunk_tokens=8))
    refused(ValueError, r"q_range must lie within 0:84, got -1:84", q, k, v, q_range=(-1, 84))
    wide = Routing(routing.indices.long())
    refused(ValueError, r"routing must be int32 \[2, 2, 84\]", q, k, v, routing=wide)

"""The FlashAttention-2 path: its packing under a stand-in kernel on any machine, and the kernel itself on CUDA."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_cases import cases, q_ranges, qkv, ragged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, attend, route
from moc.attention import flash, varlen
from moc.attention.mandatory import Mandatory, mandatory
from moc.attention.portable import attend_portable


def _sequences(cum_q: Tensor, cum_k: Tensor, max_q: int, max_k: int) -> list[tuple[slice, slice]]:
    """Checks what the kernel demands of its tables, and reads them."""
    assert cum_q.dtype == cum_k.dtype == torch.int32
    assert len(cum_q) == len(cum_k) <= varlen.MAX_SEQUENCES + 1
    assert int(cum_q.diff().max()) <= max_q
    assert int(cum_k.diff().max()) <= max_k
    edges = zip(cum_q.tolist(), cum_q[1:].tolist(), cum_k.tolist(), cum_k[1:].tolist(), strict=False)
    return [(slice(a, b), slice(c, d)) for a, b, c, d in edges]


def _forward(
    q: Tensor, k: Tensor, v: Tensor, cum_q: Tensor, cum_k: Tensor, max_q: int, max_k: int, *_: Any, scale: float
) -> tuple[Tensor, ...]:
    out, lse = torch.full_like(q, torch.nan), torch.full((q.shape[1], len(q)), torch.nan, dtype=q.dtype)
    for rows, keys in _sequences(cum_q, cum_k, max_q, max_k):
        scores = torch.einsum("qhd,khd->hqk", q[rows], k[keys]) * scale
        lse[:, rows] = scores.logsumexp(-1)
        out[rows] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[keys])
    return out, lse, q[0], q[0], q[0]


def _backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cum_q: Tensor,
    cum_k: Tensor,
    max_q: int,
    max_k: int,
    *_: Any,
    scale: float,
) -> tuple[Tensor, ...]:
    assert dout.shape == q.shape == out.shape
    assert lse.shape == (q.shape[1], len(q))
    dq, dk, dv = (torch.full_like(x, torch.nan) for x in (q, k, v))
    delta = (dout * out).sum(-1).T
    for rows, keys in _sequences(cum_q, cum_k, max_q, max_k):
        if rows.start == rows.stop:
            continue  # as the kernel may: gradients of keys without queries stay unwritten
        weights = torch.exp(torch.einsum("qhd,khd->hqk", q[rows], k[keys]) * scale - lse[:, rows, None])
        dv[keys] = torch.einsum("hqk,qhd->khd", weights, dout[rows])
        dscores = weights * (torch.einsum("qhd,khd->hqk", dout[rows], v[keys]) - delta[:, rows, None]) * scale
        dq[rows] = torch.einsum("hqk,khd->qhd", dscores, k[keys])
        dk[keys] = torch.einsum("hqk,qhd->khd", dscores, q[rows])
    return dq, dk, dv


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "_flash_forward", _forward)
    monkeypatch.setattr(varlen, "_flash_backward", _backward)
    monkeypatch.setattr(varlen, "supported", lambda q: True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(max_shots=3), data=st.data())
def test_packing_forward_and_backward(stand_in: None, case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = case
    config = config.replace(drop_off_max=0.6, drop_in_rate=1.0, drop_in_max=1)
    start, stop = data.draw(q_ranges(layout))
    q, k, v = qkv(layout, dtype=torch.float64, grad=True)
    rows = q[:, :, start:stop]
    routing = route(rows, k, layout, config, q_range=(start, stop), seed=2)
    with_lse = data.draw(st.booleans())
    results = []
    for matmul in (False, True):
        out, lse = attend_portable(rows, k, v, layout, routing.indices, config, (start, stop), matmul=matmul)
        weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
        loss = (out * weight).sum() + (lse * weight[..., 0]).sum() * with_lse
        results.append((out, lse, *torch.autograd.grad(loss, (q, k, v))))
    for got, expected in zip(*results, strict=True):
        # The log-sum-exp of the routed part is kept in float32, as the kernel's is.
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_few_sequences_and_few_links_a_call(stand_in: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "MAX_SEQUENCES", 7)
    monkeypatch.setattr(flash, "_LINKS_AT_ONCE", 60)
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=3, causal=False)
    q, k, v = qkv(layout, batch=3, dtype=torch.float64, grad=True)
    indices = route(q, k, layout, config).indices
    results = []
    for matmul in (False, True):
        out, lse = attend_portable(q, k, v, layout, indices, config, (0, layout.length), matmul=matmul)
        results.append((out, lse, *torch.autograd.grad(out.square().sum() + lse.sum(), (q, k, v))))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


STREAMS = {
    "ragged": (ragged(), MoCConfig(chunk_tokens=16, top_k=3, intra="window", causal=False)),
    "all-text": (ragged(), MoCConfig(chunk_tokens=16, top_k=2, text_links="all")),
    "pocket": (
        TokenLayout.from_shots(global_text=32, shots=[Shot(24, 16, 96)] * 3, chunk_tokens="frame"),
        MoCConfig(top_k=5, drop_off_max=0.5, drop_in_rate=0.5, drop_in_max=2),
    ),
    "single": (
        TokenLayout.from_shots(global_text=77, shots=[Shot(0, 10, 240)], chunk_tokens=256),
        MoCConfig(chunk_tokens=256, top_k=3, intra="chunk", causal=False, text_links="all"),
    ),
}


@pytest.mark.gpu
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("with_lse", [False, True])
def test_kernel_against_the_oracle(stream: str, dtype: torch.dtype, width: int, with_lse: bool) -> None:
    """Errors at most twice those of dense attention in the same precision under the same mask."""
    layout, config = STREAMS[stream]
    q, k, v = (x.cuda().to(dtype) for x in qkv(layout, width=width))
    weight = torch.randn(q.shape, generator=torch.Generator().manual_seed(1)).cuda()
    routing = route(q, k, layout, config, seed=3)

    def run(dtype: torch.dtype, backend: Any) -> list[Tensor]:
        inputs = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        out, lse = attend(*inputs, layout, routing, config, backend=backend, return_lse=True)
        loss = (out.float() * weight).sum() + (lse * weight[..., 0]).sum() * with_lse
        return [out.detach(), lse.detach(), *torch.autograd.grad(loss, inputs)]

    truth = run(torch.float32, "reference")
    ours = run(dtype, "portable")
    plain = [q.detach().clone().requires_grad_() for q in (q, k, v)]
    from moc.attention.reference import mandatory_mask, routed_mask

    on_gpu = layout.to("cuda")
    mask = mandatory_mask(on_gpu, config, 0, layout.length) | routed_mask(on_gpu, routing.indices)
    scores = (plain[0] @ plain[1].mT * width**-0.5).masked_fill(~mask, -torch.inf)
    low_lse = scores.float().logsumexp(-1)
    low_out = scores.float().softmax(-1).to(dtype) @ plain[2]
    loss = (low_out.float() * weight).sum() + (low_lse * weight[..., 0]).sum() * with_lse
    low = [low_out.detach(), low_lse.detach(), *torch.autograd.grad(loss, plain)]
    for name, got, rough, exact in zip(("out", "lse", "dq", "dk", "dv"), ours, low, truth, strict=True):
        error = (got.float() - exact.float()).abs().max()
        allowed = 2 * (rough.float() - exact.float()).abs().max() + 1e-5
        assert error <= allowed, f"{name}: error {error:.2e}, allowed {allowed:.2e}"


@pytest.mark.gpu
@pytest.mark.parametrize("stream", STREAMS)
def test_float32_on_cuda_is_the_oracle(stream: str) -> None:
    layout, config = STREAMS[stream]
    q, k, v = (x.cuda().requires_grad_() for x in qkv(layout, width=32))
    routing = route(q, k, layout, config, seed=3)
    results = []
    for backend in ("portable", "reference"):
        out, lse = attend(q, k, v, layout, routing, config, backend=backend, return_lse=True)  # type: ignore[arg-type]
        results.append((out, lse, *torch.autograd.grad(out.square().sum() + lse.sum(), (q, k, v))))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_the_choice_is_that_of_the_cpu() -> None:
    layout, config = STREAMS["pocket"]
    q = qkv(layout, width=64)[0].mul(2).round()
    descriptors = torch.randint(
        -3, 4, (2, 2, layout.num_chunks, 64), generator=torch.Generator().manual_seed(0)
    ).float()
    expected = route(q, None, layout, config, descriptors=descriptors, seed=9).indices
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        moved = (q.cuda().to(dtype), None, layout, config)
        assert route(*moved, descriptors=descriptors.cuda().to(dtype), seed=9).indices.cpu().equal(expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_same_bits_every_time_on_cuda(dtype: torch.dtype) -> None:
    layout, config = STREAMS["pocket"]
    q, k, v = (x.cuda().to(dtype).requires_grad_() for x in qkv(layout, width=64))
    routing = route(q, k, layout, config)
    runs = []
    for _ in range(3):
        out = attend(q, k, v, layout, routing, config, backend="portable", deterministic=True)
        runs.append((out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))))
    for other in runs[1:]:
        assert all(a.equal(b) for a, b in zip(runs[0], other, strict=True))


def test_copies_of_a_key_are_told_by_row() -> None:
    """Text that all shots share, and tokens of one shot; patterns that the layout decides have no such tables."""
    layout = TokenLayout.from_shots(global_text=5, shots=[Shot(3, 2, 4), Shot(0, 1, 7), Shot(2, 3, 2)], chunk_tokens=4)
    cpu = torch.device("cpu")

    def links(**changes: Any) -> Mandatory:
        return mandatory(layout, MoCConfig(chunk_tokens=4).replace(**changes), (0, layout.length), cpu)

    own = links()
    assert own.homes is not None
    assert [len(home.packed) for home in own.homes] == [1, 4]
    assert [home.rows for home in own.homes] == [slice(5, layout.length), slice(0, 5)]
    for home in own.homes:
        rows = torch.arange(layout.length)[home.rows]
        assert all(torch.equal(own.key_index[packed], rows) for packed in home.packed)
    assert links(pattern="dense").homes is None
    scattered = links(intra="window", window_chunks=1)
    for total in (own, scattered):
        grads = torch.randn(2, 3, len(total.key_index), 4, dtype=torch.float64)
        home = torch.zeros(2, 3, layout.length, 4, dtype=torch.float64)
        flash._bring_home(home, grads, total)
        torch.testing.assert_close(home, torch.zeros_like(home).index_add_(2, total.key_index, grads))
    nothing = Mandatory((), cpu)
    assert nothing.homes == ()

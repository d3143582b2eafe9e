"""The fused backend whole, forward and backward, against the oracle in float64.

FlashAttention-2, which serves the own part on CUDA, is replaced by the portable one; everything else is what runs on a
GPU: plan, kernels, merge, autograd.
"""

from __future__ import annotations

import pytest
import torch
from engine_cases import cases, q_ranges, qkv, ragged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, route
from moc.attention import fused, runs
from moc.attention.mandatory import Mandatory
from moc.attention.reference import attend_reference, mandatory_mask, routed_mask
from moc.attention.triton import routed, tiles

CONFIG = MoCConfig(chunk_tokens=16, top_k=2)


def _own_forward(q: Tensor, k: Tensor, v: Tensor, links: Mandatory, scale: float) -> tuple[Tensor, Tensor]:
    return runs.forward(q, k, v, links, links.groups[0].q_start, scale)


def _own_backward(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, out: Tensor, lse: Tensor, dlse: Tensor | None, links: Mandatory,
    scale: float, dk: Tensor, dv: Tensor,
) -> Tensor:  # fmt: skip
    delta = (dout.float() * out.float()).sum(-1)
    delta = delta if dlse is None else delta - dlse
    return runs.backward(q, k, v, dout, lse, delta, links, links.groups[0].q_start, scale, dk, dv)


@pytest.fixture(autouse=True)
def own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused.flash, "mandatory_forward", _own_forward)
    monkeypatch.setattr(fused.flash, "mandatory_backward", _own_backward)


def both(
    inputs: list[Tensor], layout: TokenLayout, indices: Tensor | None, config: MoCConfig, q_range: tuple[int, int],
    *, scale: float | None = None, with_lse: bool = True,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """(out, lse, dq, dk, dv) of the fused backend in the inputs' dtype and of the oracle in float64."""
    results = []
    for attend, dtype in ((fused.attend_fused, inputs[0].dtype), (attend_reference, torch.float64)):
        q, k, v = (x.detach().to(dtype).requires_grad_() for x in inputs)
        out, lse = attend(q, k, v, layout, indices, config, q_range, scale)
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(out.shape, generator=generator).to(out.dtype)
        loss = (out * weight).sum()
        if with_lse:
            loss = loss + (lse * weight[..., 0]).sum()
        results.append([out.detach(), lse.detach(), *torch.autograd.grad(loss, (q, k, v))])
    return results[0], results[1]


def assert_agree(got: list[Tensor], truth: list[Tensor], tolerance: float = 2e-5) -> None:
    for name, a, b in zip(("out", "lse", "dq", "dk", "dv"), got, truth, strict=True):
        assert a.isfinite().all(), name
        error = (a.double() - b).abs()
        assert (error <= tolerance * (1 + b.abs())).all(), f"{name} is off by {float(error.max()):.2g}"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases(max_shots=3), st.data())
def test_ragged_layouts(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = case
    config = config.replace(drop_off_max=0.7, drop_in_rate=1.0, drop_in_max=1)
    start, stop = data.draw(q_ranges(layout).filter(lambda r: r[0] < r[1]))
    q, k, v = qkv(layout, batch=1, heads=2, width=16)
    q = q[:, :, start:stop]
    indices = route(q, k, layout, config, q_range=(start, stop), seed=data.draw(st.sampled_from([None, 3]))).indices
    got, truth = both([q, k, v], layout, indices, config, (start, stop), with_lse=data.draw(st.booleans()))
    assert_agree(got, truth)


@pytest.mark.parametrize("width", [16, 24, 64])
def test_head_widths(width: int) -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1, width=width)
    indices = route(q, k, layout, CONFIG).indices
    assert_agree(*both([q, k, v], layout, indices, CONFIG, (0, layout.length)))


@pytest.mark.parametrize("chunk_tokens", [1, 31, 33, 64, 65, 97])
def test_chunks_around_the_tiles_edges(chunk_tokens: int) -> None:
    """Keys come in tiles of 32 or 64: chunks that fill one, overflow it by one, and single tokens."""
    shots = [Shot(1, 1, 97), Shot(0, 1, 1), Shot(0, 1, 5)]
    layout = TokenLayout.from_shots(global_text=1, shots=shots, chunk_tokens=chunk_tokens)
    config = MoCConfig(chunk_tokens=chunk_tokens, top_k=2)
    start = layout.token_range(2)[0]  # rows of the first shot choose nothing and would cost time alone
    q, k, v = qkv(layout, batch=1, heads=1, width=16)
    q = q[:, :, start:]
    indices = route(q, k, layout, config, q_range=(start, layout.length)).indices
    assert (indices[:, :, -1] >= 0).any()
    assert_agree(*both([q, k, v], layout, indices, config, (start, layout.length)))


@pytest.mark.parametrize(("chunk_tokens", "scale"), [(16, None), (33, -0.3), (64, 0.0), (97, 0.6)])
def test_keys_that_stay(monkeypatch: pytest.MonkeyPatch, chunk_tokens: int, scale: float | None) -> None:
    """The forward pass of short chunks: a chunk's links pass by in tiles, in spans that split the hot ones."""
    calls: list[int] = []

    def staying(longest: int, *_: object) -> tiles.Tiles:
        calls.append(longest)
        return tiles.Tiles(16, 32 if longest <= 32 else 128, span=48)

    monkeypatch.setattr(tiles, "forward_tiles", staying)
    shots = [Shot(1, 1, 97), Shot(0, 1, 1), Shot(0, 1, 70)]
    layout = TokenLayout.from_shots(global_text=1, shots=shots, chunk_tokens=chunk_tokens)
    config = MoCConfig(chunk_tokens=chunk_tokens, top_k=2)
    start = layout.token_range(2)[0]
    q, k, v = qkv(layout, batch=1, width=24)
    q = q[:, :, start:]
    indices = route(q, k, layout, config, q_range=(start, layout.length)).indices
    assert_agree(*both([q, k, v], layout, indices, config, (start, layout.length), scale=scale))
    assert calls


def test_a_negative_scale() -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1, width=16)
    indices = route(q, k, layout, CONFIG).indices
    assert_agree(*both([q, k, v], layout, indices, CONFIG, (0, layout.length), scale=-0.4))


def test_many_rows_of_one_chunk() -> None:
    """More links than a tile holds, from both heads and batch rows, to the only chunk there is."""
    layout = TokenLayout.from_shots(shots=[Shot(0, 1, 3), Shot(0, 1, 130)], chunk_tokens="frame")
    config = MoCConfig(top_k=1)
    q, k, v = qkv(layout, width=16)
    indices = route(q, k, layout, config).indices
    assert (indices >= 0).sum() == 4 * 130
    assert_agree(*both([q, k, v], layout, indices, config, (0, layout.length)))


def test_no_route_at_all() -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1, width=16)
    nothing = torch.full((1, 2, layout.length, 2), -1, dtype=torch.int32)
    got, truth = both([q, k, v], layout, nothing, CONFIG, (0, layout.length))
    assert_agree(got, truth)
    for other in (None, nothing[..., :0]):
        for a, b in zip(got, both([q, k, v], layout, other, CONFIG, (0, layout.length))[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_empty_slots_anywhere() -> None:
    """Drop-off leaves holes in front of links, not only behind them."""
    layout = ragged()
    config = CONFIG.replace(causal=False, top_k=3)
    q, k, v = qkv(layout, batch=1, width=16)
    indices = route(q, k, layout, config).indices.clone()
    holes = torch.rand(indices.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    indices[holes] = -1
    assert ((indices[..., 0] < 0) & (indices[..., 1] >= 0)).any()
    assert_agree(*both([q, k, v], layout, indices, config, (0, layout.length), scale=0.9))


def test_packed_views_and_expanded_gradients() -> None:
    """q, k, v as a projection gives them, [B, L, 3, H, D]; the gradient of a plain sum has no strides at all."""
    layout = ragged()
    q, k, v = qkv(layout, width=16)
    packed = torch.stack([q, k, v]).permute(1, 3, 0, 2, 4).contiguous()  # [B, L, 3, H, D]
    indices = route(q, k, layout, CONFIG).indices
    span = (0, layout.length)
    results, grads = [], []
    for attend, inputs in ((fused.attend_fused, packed), (attend_reference, packed.double())):
        q, k, v = (x.transpose(1, 2).detach().requires_grad_() for x in inputs.unbind(2))
        assert not q.is_contiguous()
        out, lse = attend(q, k, v, layout, indices, CONFIG, span)
        results.append(out.double())
        grads.append(torch.autograd.grad(out.sum() + lse.sum(), (q, k, v)))
    torch.testing.assert_close(results[0], results[1], rtol=2e-5, atol=2e-5)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_errs_at_most_twice_as_much_as_torchs_own(dtype: torch.dtype) -> None:
    layout = ragged()
    inputs = [x.to(dtype) for x in qkv(layout, batch=1, width=16)]
    indices = route(inputs[0], inputs[1], layout, CONFIG).indices
    got, truth = both(inputs, layout, indices, CONFIG, (0, layout.length), with_lse=False)

    mask = mandatory_mask(layout, CONFIG, 0, layout.length) | routed_mask(layout, indices)
    q, k, v = (x.detach().requires_grad_() for x in inputs)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    rough = [out.detach(), *torch.autograd.grad((out * weight).sum(), (q, k, v))]
    for a, low, b in zip([got[0], *got[2:]], rough, [truth[0], *truth[2:]], strict=True):
        assert a.dtype == dtype
        error = (a.double() - b).abs().max()
        assert error <= 2 * (low.double() - b).abs().max() + 4 * torch.finfo(dtype).eps * b.abs().max()


def test_rows_whose_own_part_is_empty() -> None:
    """The merge by itself: an own part with nothing in it (log-sum-exp -inf, output anything) does not count."""
    layout = ragged()
    q, k, v = qkv(layout, batch=1, heads=1, width=16)
    own_out, own_lse = attend_reference(q, k, v, layout, None, CONFIG, (0, layout.length))
    indices = route(q, k, layout, CONFIG).indices
    gone = torch.zeros(layout.length, dtype=torch.bool)
    gone[::3] = True
    own_out[:, :, gone], own_lse[:, :, gone] = torch.nan, -torch.inf
    out, lse, _ = routed.merged_forward(q, k, v, own_out, own_lse, indices, layout, 0.25)
    mask = torch.zeros(1, 1, layout.length, layout.length, dtype=torch.bool)
    mask |= mandatory_mask(layout, CONFIG, 0, layout.length) & ~gone[:, None]
    mask |= routed_mask(layout, indices)
    scores = (q.double() @ k.double().mT * 0.25).masked_fill(~mask, -torch.inf)
    expected = scores.logsumexp(-1)
    empty = ~mask.any(-1)
    assert empty.any()
    assert not empty.all()
    assert (lse[empty] == -torch.inf).all()
    assert (out[empty] == 0).all()
    torch.testing.assert_close(lse[~empty].double(), expected[~empty], rtol=1e-5, atol=1e-5)
    weights = torch.exp(scores - expected[..., None])[~empty]
    torch.testing.assert_close(out[~empty].double(), weights @ v[0, 0].double(), rtol=1e-5, atol=1e-5)


def test_large_scores_do_not_overflow() -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1, heads=1, width=16)
    indices = route(q, k, layout, CONFIG).indices
    for inputs, extreme in (([q * 40, k, v], 300.0), ([q * 0.1 + 8, k * 0.1 - 8, v], -900.0)):
        got, truth = both(inputs, layout, indices, CONFIG, (0, layout.length), scale=1.0)
        assert (truth[1] / extreme).max() > 1  # e^300 is beyond float32, e^-900 below it
        for a, b in zip(got, truth, strict=True):
            assert a.isfinite().all()
            torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=2e-2)


def test_both_passes_are_bit_stable() -> None:
    layout = ragged()
    inputs = qkv(layout, batch=1, width=16)
    indices = route(inputs[0], inputs[1], layout, CONFIG).indices
    first, second = (both(inputs, layout, indices, CONFIG, (0, layout.length))[0] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_every_key_gradient_is_written() -> None:
    """Chunks that nobody chose, text among them, get zeros: the sums that follow read every element."""
    layout = ragged()
    q, k, v = qkv(layout, batch=1, heads=1, width=16)
    indices = torch.full((1, 1, layout.length, 1), -1, dtype=torch.int32)
    indices[0, 0, 60:70] = 3
    own_out, own_lse = attend_reference(q, k, v, layout, None, CONFIG, (0, layout.length))
    out, lse, plan = routed.merged_forward(q, k, v, own_out, own_lse, indices, layout, 0.25)
    delta = routed.delta_of(out, torch.ones_like(out), None)
    torch.testing.assert_close(delta, out.sum(-1))
    dk, dv = routed.key_gradients(q, k, v, torch.ones_like(out), lse, delta, 1, plan, layout, 0.25)
    a, b = layout.chunk_edges()[3:5]
    inside = torch.zeros(layout.length, dtype=torch.bool)
    inside[a:b] = True
    for gradient in (dk, dv):
        assert gradient.isfinite().all()
        assert (gradient[:, :, ~inside] == 0).all()
        assert (gradient[:, :, inside] != 0).all()


@pytest.mark.parametrize("span", [1, 16, 64])
def test_hot_chunks_are_summed_in_spans(monkeypatch: pytest.MonkeyPatch, span: int) -> None:
    """All to one, and Zipf: several programs share the key gradients of a chunk."""
    monkeypatch.setattr(routed, "_span", lambda links, groups: span)
    layout = TokenLayout.from_shots(shots=[Shot(0, 5, 7), Shot(0, 1, 60)], chunk_tokens="frame")
    config = MoCConfig(top_k=2)
    start = 35
    q, k, v = qkv(layout, heads=2, width=16)
    q = q[:, :, start:]
    indices = torch.full((2, 2, 60, 2), -1, dtype=torch.int32)
    indices[..., 0] = 3
    indices[:, 1, :, 0] = (torch.rand(2, 60, generator=torch.Generator().manual_seed(0)) ** 3 * 4).int()
    indices[:, 1, ::2, 1] = 4
    assert_agree(*both([q, k, v], layout, indices, config, (start, layout.length)))


def test_groups_of_heads_and_batch_rows_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the workspace limit heads go through together, above it in groups: bit for bit the same."""
    layout = ragged()
    inputs = qkv(layout, batch=2, heads=3, width=16)
    indices = route(inputs[0], inputs[1], layout, CONFIG).indices
    whole = both(inputs, layout, indices, CONFIG, (0, layout.length))[0]
    head = layout.length * 2 * 16 * 4
    for limit, groups in ((2 * head, 4), (0, 6)):
        monkeypatch.setattr(routed.tiles, "WORKSPACE", limit)
        assert len(list(routed._parts(indices, 16))) == groups
        for a, b in zip(both(inputs, layout, indices, CONFIG, (0, layout.length))[0], whole, strict=True):
            assert torch.equal(a, b)


def test_numbers_of_no_chunk_are_no_links() -> None:
    """On a GPU nobody looks through the routes first: ids beyond the layout must neither be read nor written."""
    layout = ragged()
    q, k, v = qkv(layout, batch=1, width=16)
    span = (0, layout.length)
    indices = route(q, k, layout, CONFIG).indices
    stray = torch.where(indices < 0, layout.num_chunks + 3, indices)
    assert not torch.equal(stray, indices)
    results = []
    for chosen in (stray, indices):
        inputs = [x.detach().requires_grad_() for x in (q, k, v)]
        out, lse = fused.attend_fused(*inputs, layout, chosen, CONFIG, span)
        results.append([out, lse, *torch.autograd.grad(out.sum() + lse.sum(), inputs)])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)

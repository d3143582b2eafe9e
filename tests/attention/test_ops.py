"""The engine's operators: what torch itself checks, the eager path bit for bit, counters, checkpoints, tracers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine_cases import cases, q_ranges, qkv, ragged
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import FlopCounterMode

from moc import MoCConfig, Shot, TokenLayout, attend, moc_attention, pool, record_routes, route
from moc.attention import checks, dense, ops
from moc.flops import count, flops, routed_pairs_of

CONFIG = MoCConfig(chunk_tokens=16, top_k=2)
EVEN = TokenLayout.from_shots(global_text=8, shots=[Shot(4, 4, 16)] * 4, chunk_tokens=16)


def op_args(layout: TokenLayout, config: MoCConfig, q_range: tuple[int, int] | None) -> tuple[Any, ...]:
    return layout.handle, config.encoded, *((None, None) if q_range is None else q_range)


def seen(call: Callable[[], Any]) -> set[str]:
    """The project's operators among those that a dispatch mode sees."""
    with FlopCounterMode(display=False) as counter:
        call()
    return {str(op).removeprefix("moc.") for op in counter.get_flop_counts()["Global"] if str(op).startswith("moc.")}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("q_range", [None, (20, 71)])
def test_opcheck_of_attend(grad: bool, q_range: tuple[int, int] | None) -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1, grad=grad)
    q = q.detach()[:, :, slice(*(q_range or (0, layout.length)))].requires_grad_(grad)
    indices = route(q, k, layout, CONFIG, q_range=q_range).indices
    for routes, scale in ((indices, None), (None, 0.3)):
        args = (q, k, v, routes, *op_args(layout, CONFIG, q_range), scale, "auto", False, grad)
        torch.library.opcheck(torch.ops.moc.attend, args)


def test_opcheck_of_the_backward_pass() -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1)
    indices = route(q, k, layout, CONFIG).indices
    out, lse = attend(q, k, v, layout, route(q, k, layout, CONFIG), CONFIG, return_lse=True)
    for dout, dlse in ((torch.randn_like(out), torch.randn_like(lse)), (None, torch.randn_like(lse)), (out, None)):
        args = (dout, dlse, q, k, v, out, lse, indices, *op_args(layout, CONFIG, None), None, "portable", True)
        torch.library.opcheck(torch.ops.moc.attend_backward, args)


def test_opcheck_of_pool_route_and_mask() -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1)
    handle, settings_, *_ = op_args(layout, CONFIG, None)
    torch.library.opcheck(torch.ops.moc.pool, (k, handle, None, None, layout.num_chunks))
    start, stop = layout.token_range(2)
    torch.library.opcheck(torch.ops.moc.pool, (k[:, :, start:stop], handle, start, stop, -1))
    none = (None,) * 3
    torch.library.opcheck(torch.ops.moc.route, (q, k, None, handle, settings_, None, None, *none, None, 0, 0, 0, 2))
    drops = CONFIG.replace(drop_in_rate=1.0, drop_in_max=1, drop_off_max=0.5).encoded
    descriptors = pool(k, layout)
    args = (q[:, :, 5:40], None, descriptors, handle, drops, 5, 40, *none, 7, 3, 1, 1, 3)
    torch.library.opcheck(torch.ops.moc.route, args)
    indices = route(q, k, layout, CONFIG).indices
    torch.library.opcheck(torch.ops.moc.allowed, (q, k, v, indices, handle, settings_, None, None))
    torch.library.opcheck(torch.ops.moc.allowed, (q[:, :, 3:9], k, v, None, handle, settings_, 3, 9))


@pytest.mark.parametrize("name", ["pool", "route", "allowed", "attend", "attend_backward"])
def test_no_compiler_captures_an_operator(name: str) -> None:
    """A replayed CUDA graph would not read the handle."""
    assert torch.Tag.cudagraph_unsafe in getattr(torch.ops.moc, name).default.tags


@settings(max_examples=25, deadline=None)
@given(cases(), st.data())
def test_operators_give_the_bits_of_the_eager_path(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = case
    config = config.replace(drop_off_max=0.6, drop_in_rate=1.0, drop_in_max=2)
    rows = data.draw(q_ranges(layout))
    seed = data.draw(st.sampled_from([None, 5]))
    q, k, v = qkv(layout, grad=True)
    q = q[:, :, slice(*rows)]
    routing = route(q, k, layout, config, q_range=rows, seed=seed, layer=2)
    options: dict[str, Any] = {"descriptors": None, "candidates": None, "head_offset": 0, "batch_offset": 0}
    chosen = ops.route(q, k, layout, config, q_range=rows, seed=seed, layer=2, **options)
    assert chosen.indices.equal(routing.indices)
    eager = attend(q, k, v, layout, routing, config, q_range=rows, return_lse=True)
    op = ops.attend(q, k, v, layout, routing.indices, config, rows, None, "auto", False)
    with_lse = data.draw(st.booleans())
    grads = []
    for out, lse in (eager, op):
        loss = out.square().sum() + (lse.sum() if with_lse else 0)
        grads.append(torch.autograd.grad(loss, (q, k, v)))
    for got, want in zip((*op, *grads[1]), (*eager, *grads[0]), strict=True):
        assert got.equal(want)


def test_outputs_lie_in_memory_as_promised() -> None:
    layout = ragged()
    q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in qkv(layout))
    routing = route(q, k, layout, CONFIG)
    out, _ = ops.attend(q, k, v, layout, routing.indices, CONFIG, None, None, "auto", False)
    assert out.stride() == torch.empty_like(q).stride() != q.contiguous().stride()
    assert out.equal(attend(q, k, v, layout, routing, CONFIG))


@pytest.mark.parametrize("pattern", ["moc", "moc-uniform", "moc-block", "radial", "random", "dense"])
def test_patterns_under_a_dispatch_mode(pattern: str) -> None:
    config = CONFIG.replace(pattern=pattern)
    layout = EVEN.evenly() if pattern == "moc-uniform" else EVEN
    q, k, v = qkv(layout)
    want = moc_attention(q, k, v, layout, config)
    got = []
    assert seen(lambda: got.append(moc_attention(q, k, v, layout, config))) == {"route", "attend"}
    assert got[0].equal(want)
    with torch.device("meta"):
        shape = moc_attention(*(torch.empty_like(x) for x in (q, k, v)), layout, config).shape
    assert shape == want.shape


# What counters see.


@pytest.mark.parametrize("kind", ["real", "meta", "fake"])
@pytest.mark.parametrize("pattern", ["moc", "moc-block", "random", "first-frame", "local", "dense"])
def test_flops_are_those_of_the_cost_model(kind: str, pattern: str) -> None:
    config = CONFIG.replace(pattern=pattern)
    costs = [flops(count(EVEN, config), 8, heads=2, backward=backward) for backward in (False, True)]
    q, k, v = qkv(EVEN, batch=3, grad=True)
    if kind == "meta":
        q, k, v = (x.detach().to("meta").requires_grad_() for x in (q, k, v))
    elif kind == "fake":
        fake = FakeTensorMode()
        q, k, v = (fake.from_tensor(x.detach()).requires_grad_() for x in (q, k, v))
    with FlopCounterMode(display=False) as counter:
        out = moc_attention(q, k, v, EVEN, config)
        assert counter.get_total_flops() == 3 * costs[0].total
        out.sum().backward()
    assert counter.get_total_flops() == 3 * costs[1].total
    assert q.grad is not None


def test_flops_of_ragged_chunks_are_those_of_the_routes_drawn() -> None:
    layout = ragged()
    config = CONFIG.replace(drop_off_max=0.5)
    q, k, v = qkv(layout)
    routing = route(q, k, layout, config, seed=3)
    with FlopCounterMode(display=False) as counter:
        attend(q, k, v, layout, routing, config)
    counts = count(layout, config)
    pairs = counts.text_pairs + counts.own_pairs + routed_pairs_of(routing, layout)
    assert counter.get_total_flops() == round(4 * 8 * 4 * pairs)


def test_flops_of_shots_add_up_to_those_of_the_stream() -> None:
    layout = ragged()
    q, k, v = qkv(layout)
    spans = [(0, layout.global_text), *(layout.token_range(n) for n in layout.shot_numbers)]
    descriptors = pool(k, layout)

    def run(q_range: tuple[int, int]) -> None:
        routing = route(q[:, :, slice(*q_range)], None, layout, CONFIG, q_range=q_range, descriptors=descriptors)
        attend(q[:, :, slice(*q_range)], k, v, layout, routing, CONFIG, q_range=q_range)

    totals = []
    for parts in ([(0, layout.length)], spans):
        with FlopCounterMode(display=False) as counter:
            for part in parts:
                run(part)
        totals.append(counter.get_total_flops())
    assert totals[0] == totals[1] > 0


# Gradients.


@pytest.mark.parametrize("through", ["eager", "operator"])
@pytest.mark.parametrize("linear", [True, False])
def test_a_second_derivative_is_refused_in_words(through: str, linear: bool) -> None:
    layout = ragged()
    q, k, v = qkv(layout, batch=1, grad=True)
    routing = route(q, k, layout, CONFIG)
    if through == "eager":
        out = attend(q, k, v, layout, routing, CONFIG)
    else:
        out, _ = ops.attend(q, k, v, layout, routing.indices, CONFIG, None, None, "auto", False)
    loss = out.sum() if linear else out.square().sum()
    (dq,) = torch.autograd.grad(loss, q, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once, not twice"):
        dq.square().sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_exact(reentrant: bool) -> None:
    layout = ragged()
    config = CONFIG.replace(drop_off_max=0.5, drop_in_rate=1.0, drop_in_max=1)
    q, k, v = qkv(layout, grad=True)
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(2), requires_grad=True)

    def block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q @ weight
        return moc_attention(q, k, v, layout, config, seed=11, layer=1) @ weight

    inputs, results = (q, k, v, weight), []
    for run in (block, lambda *x: checkpoint(block, *x, use_reentrant=reentrant)):
        out = run(q, k, v)
        out.square().sum().backward()
        results.append((out, *(x.grad for x in inputs)))
        for x in inputs:
            x.grad = None
    for got, want in zip(*results, strict=True):
        assert got.equal(want)


@pytest.mark.parametrize("saved", [True, False])
def test_selective_checkpoints_know_the_operator(saved: bool) -> None:
    layout = ragged()
    q, k, v = qkv(layout, grad=True)
    calls = []

    def policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        if op in (torch.ops.moc.attend.default, torch.ops.moc.route.default):
            calls.append(ctx.is_recompute)
            return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.MUST_RECOMPUTE
        return CheckpointPolicy.PREFER_RECOMPUTE

    def block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return moc_attention(q * 2, k, v, layout, CONFIG).sin()

    def contexts() -> Any:
        return create_selective_checkpoint_contexts(policy)

    want = torch.autograd.grad(block(q, k, v).square().sum(), (q, k, v))
    with FlopCounterMode(display=False) as counter:
        out = checkpoint(block, q, k, v, use_reentrant=False, context_fn=contexts)
        once = counter.get_total_flops()
        got = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(a.equal(b) for a, b in zip(got, want, strict=True))
    assert calls.count(False) == 2
    backward = counter.get_flop_counts()["Global"][torch.ops.moc.attend_backward]
    assert counter.get_total_flops() - backward == (once if saved else 2 * once)


def test_saved_tensors_are_seen_by_hooks() -> None:
    layout = ragged()
    q, k, v = qkv(layout, grad=True)
    packed: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        packed.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = moc_attention(q, k, v, layout, CONFIG)
    assert {x.data_ptr() for x in packed} >= {x.data_ptr() for x in (q, k, v, out)}
    assert any(not x.is_floating_point() for x in packed)  # the links


# Tracers.


def test_a_traced_graph_holds_the_operators() -> None:
    layout = ragged()
    q, k, v = qkv(layout)
    graph = make_fx(lambda q, k, v: moc_attention(q, k, v, layout, CONFIG))(q, k, v)
    names = {str(node.target) for node in graph.graph.nodes}
    assert {"moc.route.default", "moc.attend.default"} <= names
    assert graph(q, k, v).equal(moc_attention(q, k, v, layout, CONFIG))


def test_recordings_see_what_operators_route() -> None:
    q, k, v = qkv(EVEN)
    with record_routes() as eager:
        moc_attention(q, k, v, EVEN, CONFIG, layer=1)
    with record_routes() as traced, FlopCounterMode(display=False):
        moc_attention(q, k, v, EVEN, CONFIG, layer=1)
    assert traced.calls == eager.calls == 1
    assert (traced.counts() == eager.counts()).all()


def test_autocast_changes_nothing() -> None:
    layout = ragged()
    q, k, v = qkv(layout, grad=True)
    want = moc_attention(q, k, v, layout, CONFIG)
    with torch.autocast("cpu", torch.bfloat16), FlopCounterMode(display=False):
        for backend in ("portable", "reference"):
            out = moc_attention(q, k, v, layout, CONFIG, backend=backend)  # type: ignore[arg-type]
            torch.testing.assert_close(out, want)
            out.sum().backward()


def test_what_is_refused_under_a_mode_is_refused_in_the_same_words() -> None:
    layout = ragged()
    q, k, v = qkv(layout)
    routing = route(q, k, layout, CONFIG)
    wrong: list[tuple[Any, ...]] = [
        (q, k[:, :1], v[:, :1]),
        (q, k[:, :, :80], v),
        (q[:, :, 1:], k, v),
        (q, k, v.double()),
        (q[:, 0], k, v),
    ]
    for backend in ("portable", "reference"):
        for inputs in wrong:
            with pytest.raises(ValueError) as eager:
                attend(*inputs, layout, routing, CONFIG, backend=backend)
            with pytest.raises(ValueError) as traced, FlopCounterMode(display=False):
                attend(*inputs, layout, routing, CONFIG, backend=backend)
            assert str(traced.value) == str(eager.value)
    with pytest.raises(NotImplementedError, match="needs tensors on CUDA"), FlopCounterMode(display=False):
        attend(q, k, v, layout, routing, CONFIG, backend="triton")
    with pytest.raises(ValueError, match="one of auto, reference"), FlopCounterMode(display=False):
        attend(q, k, v, layout, routing, CONFIG, backend="cuda")  # type: ignore[call-overload]


# What surrounds a call.


@pytest.mark.parametrize("backend", ["portable", "reference"])
@pytest.mark.parametrize("kind", ["last dimension far apart", "steps of two", "no steps at all"])
def test_inputs_of_any_strides(backend: str, kind: str) -> None:
    layout = ragged()
    inputs = qkv(layout)
    if kind == "last dimension far apart":
        odd = [x.mT.contiguous().mT for x in inputs]
    elif kind == "steps of two":
        odd = [torch.stack([x, x + 1], -1).flatten(-2)[..., ::2] for x in inputs]
    else:
        odd = [x[..., :1].expand(-1, -1, -1, 8) for x in inputs]
        inputs = [x.contiguous() for x in odd]
    results = []
    for made in (inputs, odd):
        for through in ("eager", "operator"):
            q, k, v = (x.detach().requires_grad_() for x in made)
            routing = route(q, k, layout, CONFIG)
            if through == "eager":
                out = attend(q, k, v, layout, routing, CONFIG, backend=backend)  # type: ignore[call-overload]
            else:
                with FlopCounterMode(display=False):
                    out = attend(q, k, v, layout, routing, CONFIG, backend=backend)  # type: ignore[call-overload]
            results.append([out, *torch.autograd.grad(out.square().sum(), (q, k, v))])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


@pytest.mark.parametrize("shape", [(0, 2, 84, 8), (2, 0, 84, 8), (2, 2, 84, 0)])
def test_nothing_at_all_is_refused(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    for call in (lambda: route(x, x, ragged(), CONFIG), lambda: attend(x, x, x, ragged(), None, CONFIG)):
        with pytest.raises(ValueError, match="at least one batch row, head and channel"):
            call()


def test_grouped_query_heads_are_refused_by_route_as_by_attend() -> None:
    q, k, v = qkv(ragged())
    for call in (lambda: route(q, k[:, :1], ragged(), CONFIG), lambda: attend(q, k[:, :1], v, ragged(), None, CONFIG)):
        with pytest.raises(ValueError, match="grouped-query heads are not supported: 2 query heads against 1 key"):
            call()


def test_what_is_beyond_the_kernels_grids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.fused, "refusal", lambda *args: None)
    layout = ragged()
    few, many = torch.empty(1, 2, layout.length, 8), torch.empty(65_536, 1, 1, 8, device="meta")
    rows = (0, layout.length)
    assert checks.kernel_for("auto", few, layout, CONFIG, rows, False) == "triton"
    assert checks.kernel_for("auto", many, layout, CONFIG, rows, False) == "portable"
    with pytest.raises(NotImplementedError, match=r"up to 65535 heads of all batch rows .* got 65536 and 10"):
        checks.kernel_for("triton", many, layout, CONFIG, rows, False)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_default_device_is_nobodys_business(compiled: bool) -> None:
    layout = TokenLayout.from_shots(global_text=41, shots=[Shot(2, 3, 7), Shot(0, 4, 6)], chunk_tokens=16)
    q, k, v = qkv(layout, grad=True)
    run = torch.compile(moc_attention, fullgraph=True, backend="aot_eager") if compiled else moc_attention
    with torch.device("meta"):
        out = run(q, k, v, layout, CONFIG.replace(drop_in_rate=1.0, drop_in_max=1), seed=3)
        out.sum().backward()
    assert out.isfinite().all()
    assert q.grad is not None


def test_layouts_born_in_inference_mode() -> None:
    with torch.inference_mode():
        layout = TokenLayout.from_shots(global_text=42, shots=[Shot(2, 3, 7), Shot(0, 4, 6)], chunk_tokens=16)
        moc_attention(*qkv(layout), layout, CONFIG)
    q, k, v = qkv(layout, grad=True)
    assert seen(lambda: moc_attention(q, k, v, layout, CONFIG).sum().backward()) == {
        "route", "attend", "attend_backward"
    }  # fmt: skip


def test_counting_inside_fake_mode_leaves_real_tables() -> None:
    layout = TokenLayout.from_shots(global_text=43, shots=[Shot(2, 3, 7), Shot(0, 4, 6)], chunk_tokens=16)
    with FakeTensorMode(), FlopCounterMode(display=False) as counter:
        inputs = [torch.randn(1, 2, layout.length, 8, requires_grad=True) for _ in range(3)]
        moc_attention(*inputs, layout, CONFIG).sum().backward()
    assert counter.get_total_flops() == round(flops(count(layout, CONFIG), 8, heads=2, backward=True).total)
    assert moc_attention(*qkv(layout), layout, CONFIG).isfinite().all()


@pytest.mark.parametrize("linear", [True, False])
def test_dense_attention_refuses_a_second_derivative_too(linear: bool) -> None:
    q, k, v = qkv(ragged(), batch=1, grad=True)
    out = dense.attend(q, k, v)
    assert isinstance(out, Tensor)
    (dq,) = torch.autograd.grad(out.sum() if linear else out.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once, not twice"):
        dq.sum().backward()

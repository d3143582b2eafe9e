"""The operators on a GPU: compiled, captured, checkpointed, under autocast, by every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from moc import MoCConfig, Shot, TokenLayout, attend, moc_attention, route
from moc.attention import ops
from moc.flops import count, flops

pytestmark = pytest.mark.gpu

CONFIG = MoCConfig(chunk_tokens=64, top_k=3)
RAGGED = TokenLayout.from_shots(
    global_text=9, shots=[Shot(7, 3, 100), Shot(0, 1, 1), Shot(5, 4, 75), Shot(1, 2, 130)], chunk_tokens=64
)
EVEN = TokenLayout.from_shots(shots=[Shot(0, 8, 64)] * 4, chunk_tokens=64)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def inputs(
    layout: TokenLayout, *, heads: int = 4, width: int = 64, seed: int = 0, dtype: torch.dtype = torch.bfloat16
) -> list[Tensor]:
    """[1, heads, L, width] whose heads lie inside the length, as a model's projections have them."""
    generator = torch.Generator("cuda").manual_seed(seed)
    shape = (1, layout.length, heads, width)
    made = (torch.randn(shape, device="cuda", generator=generator).to(dtype) for _ in range(3))
    return [x.transpose(1, 2).requires_grad_() for x in made]


def step(q: Tensor, k: Tensor, v: Tensor, layout: TokenLayout, config: MoCConfig = CONFIG, **kwargs: Any) -> Tensor:
    return moc_attention(q * 2, k, v, layout, config, **kwargs) * 0.5


def with_gradients(run: Callable[..., Tensor], made: list[Tensor], *args: Any, **kwargs: Any) -> list[Tensor]:
    out = run(*made, *args, **kwargs)
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), made)]


def assert_same(got: list[Tensor], want: list[Tensor]) -> None:
    for a, b in zip(got, want, strict=True):
        assert a.isfinite().all()
        assert a.equal(b)


@pytest.mark.parametrize("routes", [True, False])
def test_opcheck(routes: bool) -> None:
    q, k, v = inputs(RAGGED)
    indices = route(q, k, RAGGED, CONFIG).indices if routes else None
    args = (q, k, v, indices, RAGGED.handle, CONFIG.encoded, None, None, None, "triton", True, True)
    torch.library.opcheck(torch.ops.moc.attend, args)
    none = (None,) * 3
    args = (q.detach(), k.detach(), None, RAGGED.handle, CONFIG.encoded, None, None, *none, None, 0, 0, 0, 3)
    torch.library.opcheck(torch.ops.moc.route, args)


@pytest.mark.parametrize("layout", [RAGGED, EVEN])
@pytest.mark.parametrize("with_lse", [False, True])
def test_operators_give_the_bits_of_the_eager_path(layout: TokenLayout, with_lse: bool) -> None:
    made = inputs(layout)
    routing = route(made[0], made[1], layout, CONFIG)
    results = []
    for run in (
        lambda: attend(*made, layout, routing, CONFIG, return_lse=True, deterministic=True),
        lambda: ops.attend(*made, layout, routing.indices, CONFIG, None, None, "auto", True),
    ):
        out, lse = run()
        loss = out.float().square().sum() + (lse.sum() if with_lse else 0)
        results.append([out, lse, *torch.autograd.grad(loss, made)])
    assert_same(results[1], results[0])


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
@pytest.mark.parametrize("backend", ["triton", "portable"])
def test_compiled(compiler: str, backend: str) -> None:
    compiled = torch.compile(step, fullgraph=True, backend=compiler)
    for layout in (RAGGED, EVEN):
        made = inputs(layout)
        options: dict[str, Any] = {"backend": backend, "deterministic": True}
        want, got = (with_gradients(run, made, layout, **options) for run in (step, compiled))
        assert_same(got, want)


def test_compiled_reference() -> None:
    made = inputs(RAGGED, dtype=torch.float32)
    compiled = torch.compile(step, fullgraph=True)
    want, got = (with_gradients(run, made, RAGGED, backend="reference") for run in (step, compiled))
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_compiled_for_less_overhead() -> None:
    """Torch's own CUDA graphs must neither keep the first layout nor the first routes."""
    compiled = torch.compile(step, fullgraph=True, mode="reduce-overhead")
    for seed in range(3):
        for shots in (2, 4, 8):
            layout = TokenLayout.from_shots(shots=[Shot(0, 32 // shots, 64)] * shots, chunk_tokens=64)
            made = inputs(layout, seed=seed)
            options: dict[str, Any] = {"backend": "triton", "deterministic": True}
            torch.compiler.cudagraph_mark_step_begin()
            got = [x.clone() for x in with_gradients(compiled, made, layout, **options)]
            assert_same(got, with_gradients(step, made, layout, **options))


def test_one_graph_for_layouts_of_one_length() -> None:
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(step, fullgraph=True, backend=counter, dynamic=False)
    for shots in (2, 4, 8):
        layout = TokenLayout.from_shots(shots=[Shot(0, 32 // shots, 64)] * shots, chunk_tokens=64)
        made = inputs(layout)
        assert compiled(*made, layout).equal(step(*made, layout))
    assert counter.frame_count == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_a_captured_forward_and_backward_pass_replays_with_other_routes(compiled: bool) -> None:
    made = inputs(EVEN)
    run = torch.compile(step, fullgraph=True) if compiled else step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            with_gradients(run, made, EVEN, backend="triton", deterministic=True)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = with_gradients(run, made, EVEN, backend="triton", deterministic=True)
    routes = []
    for seed in (1, 2):
        with torch.no_grad():
            for x, y in zip(made, inputs(EVEN, seed=seed), strict=True):
                x.copy_(y)
        graph.replay()
        torch.cuda.synchronize()
        assert_same(captured, with_gradients(step, made, EVEN, backend="triton", deterministic=True))
        routes.append(route(made[0] * 2, made[1], EVEN, CONFIG).indices)
    assert not routes[0].equal(routes[1])


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_exact(reentrant: bool) -> None:
    config = CONFIG.replace(drop_off_max=0.5, drop_in_rate=1.0, drop_in_max=1)
    made = inputs(RAGGED)

    def block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return step(q, k, v, RAGGED, config, seed=11, layer=1, deterministic=True)

    results = []
    for run in (block, lambda *x: checkpoint(block, *x, use_reentrant=reentrant)):
        out = run(*made)
        out.float().square().sum().backward()
        results.append([out, *(x.grad for x in made)])
        for x in made:
            x.grad = None
    assert_same(results[1], results[0])


def test_plans_are_offloaded_with_the_other_saved_tensors() -> None:
    made = inputs(RAGGED)
    want = with_gradients(step, made, RAGGED, deterministic=True)
    with torch.autograd.graph.save_on_cpu():
        assert_same(with_gradients(step, made, RAGGED, deterministic=True), want)


@pytest.mark.parametrize("through", ["eager", "operator"])
def test_autocast_changes_nothing(through: str) -> None:
    made = inputs(RAGGED)
    want = with_gradients(step, made, RAGGED, deterministic=True)
    run = step if through == "eager" else torch.compile(step, fullgraph=True, backend="aot_eager")
    with torch.autocast("cuda", torch.float16):
        assert_same(with_gradients(run, made, RAGGED, deterministic=True), want)


def test_the_gradient_of_the_lse_at_the_widest_heads() -> None:
    made = inputs(RAGGED, width=256)
    routing = route(made[0], made[1], RAGGED, CONFIG)
    grads = []
    for backend in ("triton", "reference"):
        out, lse = attend(*made, RAGGED, routing, CONFIG, backend=backend, return_lse=True)  # type: ignore[call-overload]
        grads.append(torch.autograd.grad(out.float().sum() + 3 * lse.sin().sum(), made))
    for a, b in zip(*grads, strict=True):
        assert (a - b).float().norm() <= 0.02 * b.float().norm()


def test_flops() -> None:
    made = inputs(EVEN)
    with FlopCounterMode(display=False) as counter:
        moc_attention(*made, EVEN, CONFIG).sum().backward()
    assert counter.get_total_flops() == flops(count(EVEN, CONFIG), 64, heads=4, backward=True).total


def test_a_second_derivative_is_refused() -> None:
    made = inputs(EVEN)
    (dq,) = torch.autograd.grad(moc_attention(*made, EVEN, CONFIG).sum(), made[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once, not twice"):
        dq.sum().backward()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
@pytest.mark.parametrize("through", ["eager", "operator"])
def test_tensors_on_another_device_than_the_current_one(through: str) -> None:
    here = inputs(EVEN)
    there = [x.detach().to("cuda:1").requires_grad_() for x in here]
    run = step if through == "eager" else torch.compile(step, fullgraph=True, backend="aot_eager")
    want = with_gradients(step, here, EVEN, deterministic=True)
    with torch.cuda.device(0):
        got = with_gradients(run, there, EVEN, deterministic=True)
    assert_same([x.to("cuda:0") for x in got], want)

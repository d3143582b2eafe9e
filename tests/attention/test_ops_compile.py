"""torch.compile(fullgraph=True) of routing and attention: the eager bits, and no graph for each layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from engine_cases import qkv, ragged
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from moc import MoCConfig, Routing, Shot, TokenLayout, attend, moc_attention, pool, record_routes, route
from moc.attention.call import ONCE

CONFIG = MoCConfig(chunk_tokens=16, top_k=2)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    # off by default in older releases; sizes that only a layout tells need it
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        yield
    torch._dynamo.reset()


def evenly(shots: int, frames: int, text: int = 0) -> TokenLayout:
    return TokenLayout.from_shots(global_text=4, shots=[Shot(text, frames, 6)] * shots, chunk_tokens=16)


def step(q: Tensor, k: Tensor, v: Tensor, layout: TokenLayout, config: MoCConfig, **kwargs: Any) -> Tensor:
    """Something before and something after, as in a model."""
    return moc_attention(q * 1.5, k, v, layout, config, **kwargs) * 0.5


def routed(q: Tensor, k: Tensor, v: Tensor, layout: TokenLayout, config: MoCConfig) -> tuple[Tensor, Tensor, Routing]:
    routing = route(q, k, layout, config)
    out, lse = attend(q, k, v, layout, routing, config, return_lse=True)
    return out, lse, routing


def with_gradients(run: Callable[..., Tensor], inputs: list[Tensor], *args: Any, **kwargs: Any) -> list[Tensor]:
    out = run(*inputs, *args, **kwargs)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), inputs)]


@pytest.mark.parametrize("backend", ["auto", "portable", "reference"])
def test_the_eager_bits_forward_and_backward(backend: str) -> None:
    layout = ragged()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    inputs = qkv(layout, grad=True)
    options: dict[str, Any] = {"backend": backend, "deterministic": True, "scale": 0.3}
    want = with_gradients(step, inputs, layout, CONFIG, **options)
    got = with_gradients(compiled, inputs, layout, CONFIG, **options)
    for a, b in zip(got, want, strict=True):
        assert a.equal(b)


@pytest.mark.slow  # inductor calls a C++ compiler
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_inductor(backend: str, dynamic: bool | None) -> None:
    compiled = torch.compile(step, fullgraph=True, dynamic=dynamic)
    config = CONFIG.replace(drop_off_max=0.5, drop_in_rate=1.0, drop_in_max=1)
    for layout in (ragged(), evenly(3, 4), evenly(4, 3)):
        inputs = [x.transpose(1, 2).contiguous().transpose(1, 2).detach() for x in qkv(layout)]
        inputs = [x.requires_grad_() for x in inputs]
        want = with_gradients(step, inputs, layout, config, backend=backend, seed=3)
        got = with_gradients(compiled, inputs, layout, config, backend=backend, seed=3)
        torch.testing.assert_close(got, want)


def test_route_and_attend_apart_and_the_gradient_of_the_lse() -> None:
    layout = ragged()
    q, k, v = qkv(layout, grad=True)
    compiled = torch.compile(routed, fullgraph=True, backend="aot_eager")
    results = []
    for run in (routed, compiled):
        out, lse, routing = run(q, k, v, layout, CONFIG)
        results.append([out, lse, routing.indices, *torch.autograd.grad(out.sum() + lse.square().sum(), (q, k, v))])
    for got, want in zip(*results, strict=True):
        assert got.equal(want)
    # routes that come in from outside
    again = torch.compile(lambda r: attend(q, k, v, layout, r, CONFIG), fullgraph=True, backend="aot_eager")
    assert again(routing).equal(results[0][0])


@pytest.mark.parametrize("pattern", ["moc-uniform", "moc-block", "radial", "random"])
def test_other_patterns(pattern: str) -> None:
    config = CONFIG.replace(pattern=pattern)
    layout = evenly(4, 4, text=3)
    layout = layout.evenly() if pattern == "moc-uniform" else layout
    inputs = qkv(layout, grad=True)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    want = with_gradients(step, inputs, layout, config)
    got = with_gradients(compiled, inputs, layout, config)
    for a, b in zip(got, want, strict=True):
        assert a.equal(b)


def test_streaming_with_kept_descriptors() -> None:
    layout = evenly(4, 4)
    q, k, v = qkv(layout)
    edge = layout.token_range(3)[0]

    def stream(q: Tensor, k: Tensor, v: Tensor, kept: Tensor, start: int) -> tuple[Tensor, Tensor]:
        new = pool(k[:, :, start:], layout, token_range=(start, layout.length))
        descriptors = torch.cat([kept, new], 2)
        rows = (start, layout.length)
        return moc_attention(q, k, v, layout, CONFIG, q_range=rows, descriptors=descriptors), descriptors

    kept = pool(k[:, :, :edge], layout, token_range=(0, edge))
    compiled = torch.compile(stream, fullgraph=True, backend="aot_eager")
    got = compiled(q[:, :, edge:], k, v, kept, edge)
    assert got[0].equal(moc_attention(q, k, v, layout, CONFIG)[:, :, edge:])
    assert got[1].equal(pool(k, layout))


# How often anything is compiled.


def test_one_graph_for_all_layouts_of_one_length() -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, fullgraph=True, backend=counter, dynamic=False)
    layouts = [evenly(2, 12), evenly(3, 8), evenly(6, 4), evenly(24, 1), evenly(4, 6).with_history([0, 0, 1, 1])]
    assert len({layout.num_chunks for layout in layouts}) > 2
    for layout in layouts:
        inputs = qkv(layout, grad=True)
        want = with_gradients(step, inputs, layout, CONFIG)
        got = with_gradients(compiled, inputs, layout, CONFIG)
        assert all(a.equal(b) for a, b in zip(got, want, strict=True))
    assert counter.frame_count == 1


def test_one_dynamic_graph_for_all_lengths() -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, fullgraph=True, backend=counter, dynamic=True)
    for layout in (ragged(), evenly(3, 8), evenly(7, 2, text=3), evenly(2, 2), evenly(40, 2)):
        inputs = qkv(layout, grad=True)
        want = with_gradients(step, inputs, layout, CONFIG)
        got = with_gradients(compiled, inputs, layout, CONFIG)
        assert all(a.equal(b) for a, b in zip(got, want, strict=True))
    assert counter.frame_count == 1


def test_two_graphs_where_sizes_are_found_to_differ() -> None:
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(step, fullgraph=True, backend=counter)
    for layout in (ragged(), evenly(3, 8), evenly(7, 2, text=3), evenly(2, 2)):
        compiled(*qkv(layout), layout, CONFIG)
    assert counter.frame_count == 2


def test_ranges_and_seeds_are_numbers_of_the_graph() -> None:
    config = CONFIG.replace(drop_off_max=0.5, drop_in_rate=1.0, drop_in_max=1)
    layout = evenly(4, 6)
    q, k, v = qkv(layout)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(step, fullgraph=True, backend=counter, dynamic=True)
    for start, seed in ((5, 7), (6, 8), (30, 1 << 40), (77, 123)):
        rows = (start, layout.length)
        args = (q[:, :, start:], k, v, layout, config)
        want = step(*args, q_range=rows, seed=seed)
        assert compiled(*args, q_range=rows, seed=seed).equal(want)
    assert counter.frame_count <= 2


class Block(nn.Module):
    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, q: Tensor, k: Tensor, v: Tensor, layout: TokenLayout) -> Tensor:
        return moc_attention(q, k, v, layout, CONFIG, layer=self.layer)


def test_one_graph_for_all_layers_and_recordings_tell_them_apart() -> None:
    layout = ragged()
    inputs = qkv(layout)
    counter = CompileCounterWithBackend("eager")
    blocks = [Block(i) for i in range(3)]
    with record_routes() as eager:
        for block in blocks:
            block(*inputs, layout)
    for block in blocks:
        block.compile(fullgraph=True, backend=counter)
    for block in blocks:
        block(*inputs, layout)
    assert counter.frame_count == 1
    with record_routes() as routes:
        for block in blocks:
            block(*inputs, layout)
    assert routes.calls == 3
    assert (routes.counts() == eager.counts()).all()


# What is refused.


def test_what_is_refused_is_refused_in_words() -> None:
    layout = ragged()
    q, k, v = qkv(layout)
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    # what sizes tell is told while compiling, with the sentence in the error
    with pytest.raises(Exception, match="grouped-query heads are not supported: 2 query heads against 1 key heads"):
        compiled(q, k[:, :1], v[:, :1], layout, CONFIG)
    # what a layout tells is told when the graph runs
    with pytest.raises(ValueError, match=r"queries must be \[B, H, 84, D\], got \[2, 2, 83, 8\]"):
        compiled(q[:, :, 1:], k, v, layout, CONFIG)
    with pytest.raises(ValueError, match="cut into chunks of 16, the config asks for 8"):
        compiled(q, k, v, layout, CONFIG.replace(chunk_tokens=8))
    with pytest.raises(NotImplementedError, match='backend "triton" needs tensors on CUDA, got cpu'):
        compiled(q, k, v, layout, CONFIG, backend="triton")


def test_a_second_derivative_is_refused() -> None:
    layout = ragged()
    q, k, v = qkv(layout, grad=True)
    out = torch.compile(step, fullgraph=True, backend="eager")(q, k, v, layout, CONFIG)
    (dq,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match=ONCE):
        dq.sum().backward()


def test_checkpoints_inside_a_compiled_function() -> None:
    from torch.utils.checkpoint import checkpoint

    layout = ragged()
    config = CONFIG.replace(drop_off_max=0.5, drop_in_rate=1.0, drop_in_max=1)

    def block(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return step(q, k, v, layout, config, seed=5)

    inputs = qkv(layout, grad=True)
    compiled = torch.compile(lambda *x: checkpoint(block, *x, use_reentrant=False), fullgraph=True, backend="aot_eager")
    for a, b in zip(with_gradients(compiled, inputs), with_gradients(block, inputs), strict=True):
        assert a.equal(b)


def test_export() -> None:
    layout = ragged()
    q, k, v = qkv(layout)

    class Model(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return step(q, k, v, layout, CONFIG)

    program = torch.export.export(Model(), (q, k, v)).module()
    assert program(q, k, v).equal(step(q, k, v, layout, CONFIG))

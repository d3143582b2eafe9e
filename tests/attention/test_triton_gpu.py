"""The Triton backend on a GPU: against the oracle over a grid, sampled at 200,000 tokens, skewed, in a CUDA graph."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from sampled import Result, edge_tokens, errors
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, attend, moc_attention, route
from moc.attention.portable import attend_portable
from moc.attention.reference import attend_reference, mandatory_mask, routed_mask
from moc.routing import Routing

LIMITS = {"out": 0.01, "lse": 1e-3, "dq": 0.02, "dk": 0.02, "dv": 0.02}
SHOTS = [Shot(7, 3, 100), Shot(0, 1, 1), Shot(5, 4, 75), Shot(1, 2, 130)]


def stream(chunk: int = 64, shots: list[Shot] | None = None, global_text: int = 9) -> TokenLayout:
    return TokenLayout.from_shots(global_text=global_text, shots=SHOTS if shots is None else shots, chunk_tokens=chunk)


def inputs(
    layout: TokenLayout, batch: int, heads: int, width: int, dtype: torch.dtype, device: str = "cuda", seed: int = 0
) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(seed)
    shape = (batch, heads, layout.length, width)
    return [torch.randn(shape, device=device, generator=generator).to(dtype) for _ in range(3)]


def test_the_sampled_check_agrees_with_exact_results() -> None:
    """The helper itself, on a CPU in float64: no error where there is none, and it sees one where there is."""
    layout, config = stream(chunk=40), MoCConfig(chunk_tokens=40, top_k=2)
    q, k, v = (x.requires_grad_() for x in inputs(layout, 1, 2, 8, torch.float64, "cpu"))
    indices = route(q, k, layout, config).indices
    out, lse = attend_portable(q, k, v, layout, indices, config, (0, layout.length), 0.3)
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    grads = torch.autograd.grad(out, (q, k, v), dout)
    result = Result(q.detach(), k.detach(), v.detach(), out.detach(), lse.detach(), dout, *grads)
    tokens = edge_tokens(layout, 30)
    assert max(errors(result, layout, config, indices, tokens, 0.3).values()) < 1e-9
    other = torch.where(indices == int(indices.max()), indices - 1, indices)
    assert max(errors(result, layout, config, other, tokens, 0.3).values()) > 1e-3


@pytest.fixture
def poisoned() -> object:
    """Memory that nobody wrote holds NaN or the largest integer."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("width", [64, 96, 128, 256])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("intra", ["shot", "chunk", "window"])
@pytest.mark.parametrize("text_links", ["all", "own"])
def test_against_the_oracle(width: int, dtype: torch.dtype, intra: str, text_links: str) -> None:
    """Kernel error at most twice that of torch's own attention in the same precision, forward and backward."""
    layout = stream(chunk=33 if intra == "window" else 64)
    config = MoCConfig(chunk_tokens=layout.chunk_tokens, top_k=3, causal=intra == "shot").replace(
        intra=intra, text_links=text_links
    )
    low = inputs(layout, 2, 2, width, dtype)
    indices = route(low[0], low[1], layout, config).indices
    indices[:, 0, ::7] = -1
    results = []
    mask = mandatory_mask(layout.to("cuda"), config, 0, layout.length) | routed_mask(layout.to("cuda"), indices)
    weight = torch.randn(low[0].shape, device="cuda", generator=torch.Generator("cuda").manual_seed(5)).to(dtype)
    for kind in ("kernels", "torch", "oracle"):
        q, k, v = (x.detach().to(torch.float64 if kind == "oracle" else dtype).requires_grad_() for x in low)
        if kind == "torch":
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
        elif kind == "oracle":
            out = attend_reference(q, k, v, layout, indices, config, (0, layout.length))[0]
        else:
            out = attend(q, k, v, layout, Routing(indices), config, backend="triton")
        results.append([out.detach(), *torch.autograd.grad((out * weight.to(out.dtype)).sum(), (q, k, v))])
    for name, got, rough, true in zip(("out", "dq", "dk", "dv"), *results, strict=True):
        assert got.isfinite().all(), name
        error, bound = (got.double() - true).abs().max(), (rough.double() - true).abs().max()
        assert error <= 2 * bound + 4 * torch.finfo(dtype).eps * true.abs().max(), name


@pytest.mark.gpu
@pytest.mark.parametrize("span", [(0, 40), (300, 301), (123, 611), (611, 611 + 9)])
def test_query_ranges_and_the_gradient_of_the_lse(span: tuple[int, int]) -> None:
    layout, config = stream(), MoCConfig(chunk_tokens=64, top_k=2, text_links="own")
    q, k, v = inputs(layout, 1, 2, 64, torch.bfloat16)
    q = q[:, :, slice(*span)]
    routing = route(q, k, layout, config, q_range=span)
    both = []
    for backend, dtype in (("triton", torch.bfloat16), ("reference", torch.float64)):
        x = [t.detach().to(dtype).requires_grad_() for t in (q, k, v)]
        out, lse = attend(*x, layout, routing, config, q_range=span, backend=backend, return_lse=True)  # type: ignore[call-overload] # fmt: skip
        both.append([out, lse, *torch.autograd.grad(out.double().sum() + (lse * 3).double().sum(), x)])
    for got, true in zip(*both, strict=True):
        assert (got.double() - true).abs().max() <= 0.03 * (1 + true.abs().max())


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [0, None])
def test_no_routes_and_no_width(rows: int | None) -> None:
    layout, config = stream(), MoCConfig(chunk_tokens=64, top_k=2)
    q, k, v = inputs(layout, 1, 2, 64, torch.bfloat16)
    nothing = torch.full((1, 2, layout.length, 2), -1, dtype=torch.int32, device="cuda")[..., :rows]
    got = attend(q, k, v, layout, Routing(nothing), config, backend="triton")
    true = attend(q, k, v, layout, None, config, backend="reference")
    assert (got.float() - true.float()).abs().max() < 0.02


def skewed(kind: str, layout: TokenLayout, heads: int, width: int) -> Tensor:
    """Routes [1, heads, L, width] to earlier shots' chunks: all to the first, by Zipf's law, or only to even ones."""
    generator = torch.Generator().manual_seed(3)
    indices = torch.full((1, heads, layout.length, width), -1, dtype=torch.int32)
    for number in layout.shot_numbers[1:]:
        (a, z), last = layout.video_range(number), layout.video_chunks(number)[0]
        pool = torch.arange(last)[~layout.chunk_is_text[:last]]
        pool = pool[::2] if kind == "dead" else pool
        if kind == "one":
            indices[0, :, a:z, 0] = pool[0].int()
            continue
        weight = 1 / torch.arange(1, len(pool) + 1).float()
        count = min(width, len(pool))
        noise = torch.empty(heads, z - a, len(pool)).exponential_(generator=generator)
        indices[0, :, a:z, :count] = pool[(weight / noise).topk(count).indices].int()
    return indices.cuda()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["routed", "one", "zipf", "dead"])
@pytest.mark.parametrize(("frames", "chunk"), [(25, 1280), (4, 128)])
def test_long_streams_by_samples(kind: str, frames: int, chunk: int) -> None:
    """8 shots of 900-token frames with captions: rows and keys at edges and anywhere, in float64."""
    layout = stream(chunk, [Shot(30 + i, frames, 900) for i in range(8)], global_text=50)
    config = MoCConfig(chunk_tokens=chunk, top_k=5, text_links="own")
    low = inputs(layout, 1, 2, 128, torch.bfloat16)
    q, k, v = (x.requires_grad_() for x in low)
    indices = route(q, k, layout, config).indices if kind == "routed" else skewed(kind, layout, 2, 5)
    out, lse = attend(q, k, v, layout, Routing(indices), config, backend="triton", return_lse=True)
    dout = torch.randn(out.shape, device="cuda").to(out.dtype)
    grads = torch.autograd.grad(out, (q, k, v), dout)
    result = Result(*(x.detach() for x in low), out.detach(), lse.detach(), dout, *grads)
    found = errors(result, layout, config, indices, edge_tokens(layout, 48), 1 / math.sqrt(128))
    assert all(found[name] <= LIMITS[name] for name in LIMITS), found


@pytest.mark.gpu
def test_forward_is_bit_stable_and_backward_where_asked() -> None:
    layout, config = stream(128, [Shot(3, 10, 300)] * 4), MoCConfig(chunk_tokens=128, top_k=4)
    low = inputs(layout, 2, 4, 128, torch.bfloat16)
    runs = []
    for _ in range(3):
        q, k, v = (x.detach().requires_grad_() for x in low)
        routing = route(q, k, layout, config)
        out = attend(q, k, v, layout, routing, config, backend="triton", deterministic=True)
        runs.append([routing.indices, out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))])
    for first, second in pairwise(runs):
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a, b)


@pytest.mark.gpu
@pytest.mark.parametrize("chunk", [128, 256])  # keys that stay, and blocks by descriptors made on the host
def test_a_cuda_graph_replays_with_other_routes(chunk: int) -> None:
    layout, config = stream(chunk, [Shot(0, 10, 300)] * 4, 0), MoCConfig(chunk_tokens=chunk, top_k=4)
    q, k, v = inputs(layout, 1, 4, 128, torch.bfloat16)
    for _ in range(2):
        moc_attention(q, k, v, layout, config, backend="triton")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = moc_attention(q, k, v, layout, config, backend="triton")
    for seed in (1, 2):
        for x, y in zip((q, k, v), inputs(layout, 1, 4, 128, torch.bfloat16, seed=seed), strict=True):
            x.copy_(y)
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(out, moc_attention(q, k, v, layout, config, backend="triton"))


@pytest.mark.gpu
@pytest.mark.parametrize("width", [16, 40, 64, 96, 128, 256])
def test_the_choice_is_that_of_the_plain_path(width: int) -> None:
    """Small integers make every score exact, so that ties are ties on every device."""
    layout = stream(16, [Shot(2, 12, 100)] * 6)
    for config in (
        MoCConfig(chunk_tokens=16, top_k=7),
        MoCConfig(chunk_tokens=16, top_k=3, intra="window", causal=False),
    ):
        generator = torch.Generator().manual_seed(width)
        q, d = (torch.randint(-2, 3, (2, 3, n, width), generator=generator).to(torch.bfloat16)
                for n in (layout.length, layout.num_chunks))  # fmt: skip
        plain = route(q, None, layout, config, descriptors=d).indices
        fast = route(q.cuda(), None, layout, config, descriptors=d.cuda()).indices
        assert torch.equal(fast.cpu(), plain)

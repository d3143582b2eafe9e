"""The Triton backend on a GPU, further afield: own links of every kind at length, layouts of many sizes in turn, graphs
whose routes turn skewed, plans and choices again and again, groups of heads, offsets beyond 32 bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from sampled import Result, edge_tokens, errors
from test_triton_gpu import LIMITS, inputs, skewed, stream
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, attend, route
from moc.attention.reference import attend_reference
from moc.attention.triton import routed, tiles
from moc.attention.triton.plan import make_plan
from moc.routing import Routing

pytestmark = pytest.mark.gpu

BF16, FP16 = torch.bfloat16, torch.float16
NAMES = ("out", "lse", "dq", "dk", "dv")
LAYOUTS = (
    [Shot(0, 1, 1)],
    [Shot(0, 2, 257)],
    [Shot(0, 3, 128)] * 3,
    [Shot(300, 2, 65), Shot(1, 1, 64)],
    [Shot(0, 1, 1)] * 70,
    [Shot(5, 1, 700), Shot(0, 1, 1), Shot(2, 4, 31)],
)


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Memory that nobody wrote holds NaN or the largest integer."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def weights_of(low: list[Tensor]) -> Tensor:
    """Fixed random weights over the output; those of the LSE are the first column."""
    return torch.randn(low[0].shape, device="cuda", generator=torch.Generator("cuda").manual_seed(7))


def passes(
    low: list[Tensor],
    layout: TokenLayout,
    indices: Tensor,
    config: MoCConfig,
    weights: Tensor,
    *,
    deterministic: bool = True,
) -> list[Tensor]:
    """Output, LSE and the gradients of both under weights."""
    q, k, v = (x.detach().requires_grad_() for x in low)
    out, lse = attend(
        q, k, v, layout, Routing(indices), config, backend="triton", return_lse=True, deterministic=deterministic
    )
    loss = (out.float() * weights).sum() + (lse * weights[..., 0]).sum()
    return [out.detach(), lse.detach(), *torch.autograd.grad(loss, (q, k, v))]


@pytest.mark.parametrize(
    ("intra", "chunk", "width", "dtype", "batch", "k"),
    [
        ("shot", 1000, 256, BF16, 1, 3),
        ("shot", 777, 64, FP16, 2, 16),
        ("chunk", 128, 96, BF16, 2, 8),
        ("chunk", 256, 128, FP16, 1, 3),
        ("window", 100, 64, BF16, 1, 5),
        ("window", 400, 128, BF16, 2, 40),
    ],
)
def test_long_ragged_streams_by_samples(
    intra: str, chunk: int, width: int, dtype: torch.dtype, batch: int, k: int
) -> None:
    """200,000 tokens for one batch row, a quarter of it for two; shots of odd lengths, one of a single token."""
    per_frame = 821 if batch == 1 else 203
    shots = [
        Shot(41, 31, per_frame),
        Shot(0, 1, 1),
        Shot(7, 100, per_frame + 2),
        Shot(0, 3, 333),
        Shot(1, 110, per_frame),
    ]
    layout = stream(chunk, shots, global_text=77)
    config = MoCConfig(chunk_tokens=chunk, top_k=k, causal=intra == "shot").replace(intra=intra)
    low = inputs(layout, batch, 2, width, dtype)
    indices = route(low[0], low[1], layout, config).indices
    q, keys, v = (x.requires_grad_() for x in low)
    out, lse = attend(q, keys, v, layout, Routing(indices), config, backend="triton", return_lse=True)
    dout = torch.randn(out.shape, device="cuda").to(dtype)
    grads = torch.autograd.grad(out, (q, keys, v), dout)
    result = Result(*(x.detach() for x in low), out.detach(), lse.detach(), dout, *grads)
    found = errors(result, layout, config, indices, edge_tokens(layout, 48), 1 / math.sqrt(width))
    assert all(found[name] <= LIMITS[name] for name in LIMITS), found


@pytest.mark.parametrize("intra", ["shot", "chunk", "window"])
@pytest.mark.parametrize("text_links", ["all", "own"])
def test_layouts_of_different_lengths_in_turn(intra: str, text_links: str) -> None:
    """One process, one layout after another, each with another batch; then all again, from their kept tables."""
    for nth, shots in [*enumerate(LAYOUTS), *enumerate(LAYOUTS)]:
        layout = stream(50, shots, global_text=3 * (nth % 2))
        config = MoCConfig(chunk_tokens=50, top_k=2, causal=False).replace(intra=intra, text_links=text_links)
        low = inputs(layout, 1 + nth % 3, 2, 64, BF16, seed=nth)
        indices = route(low[0], low[1], layout, config).indices
        weights = weights_of(low)
        got = passes(low, layout, indices, config, weights)
        q, k, v = (x.detach().double().requires_grad_() for x in low)
        out, lse = attend_reference(q, k, v, layout, indices, config, (0, layout.length))
        loss = (out * weights).sum() + (lse * weights[..., 0]).sum()
        true = [out, lse, *torch.autograd.grad(loss, (q, k, v))]
        for name, a, b in zip(NAMES, got, true, strict=True):
            assert a.isfinite().all(), (nth, name)
            assert (a.double() - b).abs().max() <= 0.03 * (1 + b.abs().max()), (nth, name)


@pytest.mark.parametrize("intra", ["shot", "chunk"])
def test_a_graph_replays_with_skewed_routes(intra: str) -> None:
    """Captured with scattered routes, replayed with all to one chunk, by Zipf's law, to few, to nobody, and back."""
    layout = stream(128, [Shot(0, 10, 300)] * 4, 0)
    config = MoCConfig(chunk_tokens=128, top_k=4).replace(intra=intra)
    low = inputs(layout, 1, 4, 128, BF16)
    kinds = {kind: skewed(kind, layout, 4, 4) for kind in ("one", "zipf", "dead")}
    kinds["nobody"] = torch.full_like(kinds["one"], -1)
    scattered = route(low[0], low[1], layout, config).indices
    routes, weights = scattered.clone(), weights_of(low)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            passes(low, layout, routes, config, weights)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = passes(low, layout, routes, config, weights)
    for kind, indices in [*kinds.items(), ("scattered", scattered)]:
        routes.copy_(indices)
        graph.replay()
        torch.cuda.synchronize()
        for name, a, b in zip(NAMES, captured, passes(low, layout, indices, config, weights), strict=True):
            assert a.isfinite().all(), (kind, name)
            assert torch.equal(a, b), (kind, name)


@pytest.mark.parametrize("intra", ["shot", "chunk"])
@pytest.mark.parametrize("kind", ["one", "zipf"])
def test_skewed_routes_give_the_same_bits(intra: str, kind: str) -> None:
    """Hot chunks are split over the card; the forward pass is bit-stable unasked, the backward pass where asked."""
    layout = stream(128, [Shot(3, 10, 300)] * 4)
    config = MoCConfig(chunk_tokens=128, top_k=4).replace(intra=intra)
    low = inputs(layout, 2, 2, 128, BF16)
    indices = skewed(kind, layout, 2, 4).expand(2, -1, -1, -1).contiguous()
    weights = weights_of(low)
    asked = [passes(low, layout, indices, config, weights) for _ in range(3)]
    torch.use_deterministic_algorithms(False)
    unasked = [passes(low, layout, indices, config, weights, deterministic=False) for _ in range(3)]
    for first, second in pairwise(asked):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for first, second in pairwise([asked[0], *unasked]):
        assert all(torch.equal(a, b) for a, b in zip(first[:2], second[:2], strict=True))


@pytest.mark.parametrize("span", [(0, 65), (700, 701), (701, 1900), (1899, 1973)])
@pytest.mark.parametrize("intra", ["shot", "chunk", "window"])
def test_ranges_that_cut_chunks_are_slices_of_the_whole(span: tuple[int, int], intra: str) -> None:
    layout = stream(64, [Shot(4, 7, 100), Shot(0, 1, 1), Shot(9, 11, 113)], global_text=16)
    config = MoCConfig(chunk_tokens=64, top_k=3, causal=False).replace(intra=intra)
    q, k, v = inputs(layout, 2, 2, 96, BF16)
    rows = slice(*span)
    routing = route(q, k, layout, config)
    part = route(q[:, :, rows], k, layout, config, q_range=span)
    assert part.indices.equal(routing.indices[:, :, rows])
    whole = attend(q, k, v, layout, routing, config, backend="triton", return_lse=True)
    some = attend(q[:, :, rows], k, v, layout, part, config, q_range=span, backend="triton", return_lse=True)
    for a, b in zip(some, whole, strict=True):
        torch.testing.assert_close(a.float(), b[:, :, rows].float(), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("chunks", [7, 300, 5000])
def test_the_plan_is_that_of_a_stable_sort_every_time(chunks: int) -> None:
    """Threads of a block hand values to each other through global memory: a race would show sooner or later."""
    generator = torch.Generator("cuda").manual_seed(0)
    for nth in range(20):
        shape = (2, 3, 20_011 + nth, 5)
        indices = torch.randint(-1, chunks, shape, device="cuda", generator=generator, dtype=torch.int32)
        if nth % 3 == 0:
            indices[:, :, 4000:16000] = chunks - 1
        plan = make_plan(indices, chunks, 64)
        flat = indices.flatten(2).flatten(0, 1)
        group = torch.where(flat < 0, 6 * chunks, flat + torch.arange(6, device="cuda")[:, None] * chunks).flatten()
        ordered, slots = group.sort(stable=True)
        edges = torch.searchsorted(ordered, torch.arange(6 * chunks + 1, device="cuda"))
        assert plan.edges.long().equal(edges)
        assert plan.slots[: int(edges[-1])].long().equal(slots[: int(edges[-1])])


@pytest.mark.parametrize(("tokens", "k"), [(250, 1), (250, 16), (1100, 5), (2100, 13), (5000, 3), (1100, 64)])
def test_the_choice_among_many_chunks(tokens: int, k: int) -> None:
    """Small integers, so that most scores are tied; the kernels' choice each time, and that of the plain path."""
    layout = stream(1, [Shot(2, 1, tokens), Shot(0, 1, 333)])
    generator = torch.Generator().manual_seed(tokens)
    for config in (
        MoCConfig(chunk_tokens=1, top_k=k),
        MoCConfig(chunk_tokens=1, top_k=k, intra="window", causal=False),
    ):
        q, d = (torch.randint(-1, 2, (1, 2, n, 64), generator=generator).to(BF16)
                for n in (layout.length, layout.num_chunks))  # fmt: skip
        plain = route(q, None, layout, config, descriptors=d).indices
        q, d = q.cuda(), d.cuda()
        for _ in range(5):
            assert route(q, None, layout, config, descriptors=d).indices.cpu().equal(plain)


@pytest.mark.parametrize("intra", ["shot", "chunk"])
def test_groups_of_heads_and_batch_rows_give_the_same_bits(monkeypatch: pytest.MonkeyPatch, intra: str) -> None:
    layout = stream(64, [Shot(3, 3, 101), Shot(0, 2, 67), Shot(1, 3, 50)])
    config = MoCConfig(chunk_tokens=64, top_k=3, causal=False).replace(intra=intra)
    low = inputs(layout, 3, 4, 64, BF16)
    indices = route(low[0], low[1], layout, config).indices
    weights = weights_of(low)
    whole = passes(low, layout, indices, config, weights)
    head = layout.length * 3 * 64 * 4
    for limit in (head, 3 * head, 9 * head):
        monkeypatch.setattr(tiles, "WORKSPACE", limit)
        for a, b in zip(passes(low, layout, indices, config, weights), whole, strict=True):
            assert torch.equal(a, b)


def test_offsets_beyond_32_bits() -> None:
    """Keys of 2.3e9 elements; a few query rows of the last shot, routed to chunks everywhere."""
    free, _ = torch.cuda.mem_get_info()
    if free < 64 << 30:
        pytest.skip(f"needs 64 GiB of free memory, there are {free >> 30}")
    torch.use_deterministic_algorithms(False)  # filling takes its time here
    heads, width = 8, 128
    layout = stream(4096, [Shot(0, 1, 1_100_000), Shot(0, 1, 1_150_000), Shot(0, 1, 999)], 0)
    config = MoCConfig(chunk_tokens=4096, top_k=4)
    span = (layout.token_range(3)[0] + 5, layout.length - 1)
    generator = torch.Generator("cuda").manual_seed(0)
    k, v = (torch.empty(1, heads, layout.length, width, device="cuda", dtype=BF16).normal_(generator=generator)
            for _ in range(2))  # fmt: skip
    assert k.numel() > 2**31
    q, dout = (torch.randn(1, heads, span[1] - span[0], width, device="cuda", generator=generator).to(BF16)
               for _ in range(2))  # fmt: skip
    indices = route(q, k, layout, config, q_range=span).indices
    indices[:, -1, ::3, 0] = layout.video_chunks(2)[1] - 1  # the far end of the second shot, once a row
    indices[:, -1, ::3, 1:] = layout.video_chunks(1)[0]
    indices[:, -1, ::3, 2:] = -1
    for x in (q, k, v):
        x.requires_grad_()
    out, lse = attend(q, k, v, layout, Routing(indices), config, q_range=span, backend="triton", return_lse=True)
    dq, dk, dv = torch.autograd.grad(out, (q, k, v), dout)
    edges, own = layout.chunk_edges(), torch.arange(*layout.token_range(3))
    scale = 1 / math.sqrt(width)
    with torch.no_grad():
        for head, row in ((0, 0), (heads - 1, 0), (heads - 1, 3), (heads - 1, span[1] - span[0] - 1)):
            picked = [torch.arange(edges[c], edges[c + 1]) for c in indices[0, head, row].tolist() if c >= 0]
            met = torch.cat([own, *picked]).cuda()
            near_k, near_v = k[0, head][met].double(), v[0, head][met].double()
            scores = near_k @ q[0, head, row].double() * scale
            p = (scores - scores.logsumexp(0)).exp()
            true = p @ near_v
            ds = p * (near_v @ dout[0, head, row].double() - dout[0, head, row].double() @ true)
            assert abs(float(lse[0, head, row]) - float(scores.logsumexp(0))) < 1e-3
            for a, b in ((out[0, head, row], true), (dq[0, head, row], ds @ near_k * scale)):
                assert (a.double() - b).abs().max() <= 0.02 * (1e-3 + b.abs().max())
        # keys of the last chunk of the second shot in the last head, by all rows that picked it
        head, last = heads - 1, layout.video_chunks(2)[1] - 1
        rows = (indices[0, head] == last).any(-1)
        assert int(rows.sum()) >= (span[1] - span[0]) // 3
        delta = (dout[0, head].double() * out[0, head].double()).sum(-1)[rows]
        for key in (edges[last], edges[last + 1] - 1):
            weights = (q[0, head][rows].double() @ k[0, head, key].double() * scale - lse[0, head][rows].double()).exp()
            grads = dout[0, head][rows].double()
            true_dv = weights @ grads
            true_dk = (weights * (grads @ v[0, head, key].double() - delta)) @ q[0, head][rows].double() * scale
            for a, b in ((dv[0, head, key], true_dv), (dk[0, head, key], true_dk)):
                assert (a.double() - b).abs().max() <= 0.02 * b.abs().max()


@pytest.mark.parametrize("links", [2, 8])
@pytest.mark.parametrize(
    ("chunk", "shots", "text"),
    [
        (128, [Shot(0, 3, 128)] * 4, 0),  # whole chunks, whose keys stay
        (128, [Shot(128, 3, 128)] * 3, 50),  # beside text of another length
        (128, [Shot(0, 2, 65), Shot(0, 3, 127), Shot(0, 1, 128), Shot(0, 1, 1)], 0),
        (256, [Shot(3, 1, 129), Shot(1, 2, 191), Shot(0, 2, 192), Shot(2, 1, 193)], 5),  # the last block starts early
        (256, [Shot(0, 1, 64), Shot(0, 2, 255), Shot(0, 2, 256)], 0),
        (256, [Shot(0, 1, 63), Shot(0, 2, 255), Shot(0, 1, 1), Shot(0, 2, 256)], 3),  # it is masked
    ],
)
def test_chunks_around_blocks_and_tiles(chunk: int, shots: list[Shot], text: int, links: int) -> None:
    """Every way that the forward pass takes at head width 128, each twice with the same bits; and they stay the
    same where all beyond the chunk that is asked for is NaN."""
    layout = stream(chunk, shots, global_text=text)
    config = MoCConfig(chunk_tokens=chunk, top_k=links, causal=False)
    low = inputs(layout, 2, 2, 128, BF16)
    indices = route(low[0], low[1], layout, config).indices.contiguous()
    weights = weights_of(low)
    got, again = (passes(low, layout, indices, config, weights) for _ in range(2))
    q, k, v = (x.detach().double().requires_grad_() for x in low)
    out, lse = attend_reference(q, k, v, layout, indices, config, (0, layout.length))
    loss = (out * weights).sum() + (lse * weights[..., 0]).sum()
    true = [out, lse, *torch.autograd.grad(loss, (q, k, v))]
    for name, a, b, twice in zip(NAMES, got, true, again, strict=True):
        assert a.isfinite().all(), name
        assert (a.double() - b).abs().max() <= 0.03 * (1 + b.abs().max()), name
        assert torch.equal(a, twice), name

    shape = tiles.forward_tiles(tiles.longest_chunk(layout), 128, BF16, tiles.shared_memory(low[0].device))
    edges, scale = layout.chunk_edges(), 128**-0.5
    for chosen in (~layout.chunk_is_text).nonzero().flatten().tolist():
        only = torch.where(indices == chosen, indices, -1)
        inside = torch.zeros(layout.length, 1, dtype=torch.bool, device="cuda")
        inside[edges[chosen] : edges[chosen + 1]] = True
        plan, ok = make_plan(only, layout.num_chunks, shape.links), (only >= 0).flatten()
        alone = [torch.where(inside, x, torch.nan) for x in low[1:]]
        found = [routed.links_forward(low[0], *kv, plan, links, layout, scale, shape) for kv in (alone, low[1:])]
        for a, b in zip(*found, strict=True):
            assert a[ok].isfinite().all(), chosen
            assert torch.equal(a[ok], b[ok]), chosen

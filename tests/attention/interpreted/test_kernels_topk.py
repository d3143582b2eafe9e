"""The one-pass top-k kernel against the plain path of `route`: the same choice, chunk for chunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_cases import cases, q_ranges, qkv, ragged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, route, routing
from moc.attention.triton import topk
from moc.attention.triton.pooling import pool_fused
from moc.attention.triton.topk import top_chunks_fused
from moc.routing import Candidates, candidates_of, pool, video_chunks

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def plain(q: Tensor, keys: Tensor, candidates: Candidates, k: int) -> Tensor:
    """What the plain path of `route` chooses, by sorting every admissible score: ties in order of rank."""
    scores = q.float() @ keys.float().mT
    rank = torch.arange(keys.shape[2])
    closed = (rank >= candidates.limit[:, None]) | (
        (rank >= candidates.low[:, None]) & (rank < candidates.high[:, None])
    )
    scores = scores.masked_fill(closed, -torch.inf)
    values, order = scores.sort(dim=-1, descending=True, stable=True)
    order = order.masked_fill(values == -torch.inf, -1)[..., :k]
    return torch.nn.functional.pad(order, (0, k - order.shape[-1]), value=-1)


def fused(q: Tensor, keys: Tensor, candidates: Candidates, k: int) -> Tensor:
    return top_chunks_fused(q, keys, candidates.limit, candidates.low, candidates.high, k)


@QUICK
@given(cases(max_shots=3), st.data())
def test_the_choice_of_route(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = case
    start, stop = data.draw(q_ranges(layout))
    if config.top_k == 0:
        config = config.replace(top_k=1)
    q, k, _ = qkv(layout, width=16, batch=1)
    q = q[:, :, start:stop]
    expected = route(q, k, layout, config, q_range=(start, stop)).indices
    table = video_chunks(layout, q.device)
    candidates = candidates_of(layout, config, (start, stop), q.device)
    ranks = fused(q, pool(k, layout)[:, :, table], candidates, config.top_k)
    assert ranks.dtype == torch.int32
    assert torch.equal(torch.where(ranks < 0, -1, table[ranks.clamp(min=0).long()]).int(), expected)


def test_route_takes_the_kernel_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    layout, config = ragged(), MoCConfig(chunk_tokens=16, top_k=2, causal=False, intra="chunk")
    q, k, _ = qkv(layout, width=16)
    expected = route(q, k, layout, config).indices
    called: list[int] = []

    def watched(*args: Any) -> Tensor:
        called.append(1)
        return top_chunks_fused(*args)

    monkeypatch.setattr(routing, "_fused", lambda q, k: True)
    monkeypatch.setattr(topk, "top_chunks_fused", watched)
    assert torch.equal(route(q, k, layout, config).indices, expected)
    assert called == [1]
    drops = config.replace(drop_off_max=0.9, drop_in_rate=1.0, drop_in_max=2)
    dropped = route(q, k, layout, drops, seed=5).indices
    assert called == [1, 1]
    none = config.replace(drop_off_max=0.0, drop_in_rate=0.0)
    assert torch.equal(route(q, k, layout, none, seed=5).indices, expected), "a seed that nothing asks for"
    few = config.replace(drop_off_max=0.0, drop_in_max=0)
    assert torch.equal(route(q, k, layout, few, seed=5).indices, expected)
    monkeypatch.undo()
    assert torch.equal(route(q, k, layout, none, seed=5).indices, expected)
    assert torch.equal(route(q, k, layout, drops, seed=5).indices, dropped)


@QUICK
@given(cases(max_shots=3), st.data())
def test_means_of_chunks(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, _ = case
    edges = layout.chunk_edges()
    first = data.draw(st.integers(0, layout.num_chunks))
    last = data.draw(st.integers(first, layout.num_chunks))
    k = qkv(layout, width=24)[1].transpose(1, 2).contiguous().transpose(1, 2)[:, :, edges[first] : edges[last]]
    means = pool_fused(k, layout.chunk_bounds, (first, last), edges[first])
    expected = pool(k.double(), layout, token_range=(edges[first], edges[last]))
    torch.testing.assert_close(means.double(), expected, rtol=1e-6, atol=1e-6)


def test_means_of_long_chunks_and_low_precision() -> None:
    layout = TokenLayout.from_shots(shots=[Shot(0, 1, 200), Shot(3, 1, 65)], chunk_tokens=200)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        k = qkv(layout, width=96, dtype=dtype)[1]
        means = pool_fused(k, layout.chunk_bounds, (0, layout.num_chunks), 0)
        assert means.dtype == dtype
        exact = pool(k.double(), layout)
        # float32 sums, rounded once; the interpreter rounds to bfloat16 by cutting off
        assert ((means.double() - exact).abs() <= torch.finfo(dtype).eps * exact.abs() + 1e-6).all()


def _random(rows: int, candidates: int, width: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Candidates]:
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 1, rows, width, generator=generator).to(dtype)
    keys = torch.randn(2, 1, candidates, width, generator=generator).to(dtype)
    limit = torch.randint(0, candidates + 1, (rows,), generator=generator)
    low, high = (torch.rand(2, rows, generator=generator) * (limit + 1)).int().sort(dim=0).values
    return q, keys, Candidates(limit.int(), low, high)


@pytest.mark.parametrize(
    ("rows", "candidates", "width", "k", "dtype"),
    [
        (1, 1, 16, 1, torch.float32),
        (65, 63, 16, 5, torch.float32),  # more than a block of rows
        (3, 64, 32, 3, torch.float32),
        (3, 65, 16, 7, torch.bfloat16),  # a tile of candidates, and one more
        (5, 150, 16, 64, torch.float32),  # the largest k, over three tiles
        (4, 9, 64, 20, torch.float16),  # fewer candidates than k
        (5, 70, 96, 4, torch.float32),  # widths that are no power of two
        (5, 9, 40, 4, torch.bfloat16),
    ],
)
def test_every_row_has_a_range_of_its_own(rows: int, candidates: int, width: int, k: int, dtype: torch.dtype) -> None:
    q, keys, ranges = _random(rows, candidates, width, rows, dtype)
    assert torch.equal(fused(q, keys, ranges, k).long(), plain(q, keys, ranges, k))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_equal_scores_go_to_the_lowest_rank(k: int) -> None:
    """Within a tile and over tiles, with every count of ties above, at and below the cut."""
    generator = torch.Generator().manual_seed(k)
    q = torch.ones(1, 1, 8, 16)
    few = torch.randint(0, 3, (1, 1, 140, 1), generator=generator).float() - 1  # three values over three tiles
    ranges = Candidates(*(torch.full((8,), n, dtype=torch.int32) for n in (140, 0, 0)))
    ranges.limit.copy_(torch.tensor([140, 139, 128, 65, 64, 63, 2, 0]))
    ranges.low[1], ranges.high[1] = 2, 100
    late = few.mul(0)  # equals in the first tile, some of which give way to better ones of later tiles
    late[:, :, [70, 100, 130]] = torch.tensor([1.0, 2.0, 1.0])[:, None]
    for values in (few, few.mul(0), few.cumsum(2), late):
        keys = values.expand(-1, -1, -1, 16)
        assert torch.equal(fused(q, keys, ranges, k).long(), plain(q, keys, ranges, k))


def test_rows_without_candidates_choose_nothing() -> None:
    q, keys, _ = _random(3, 4, 16, 0, torch.float32)
    nothing = Candidates(*(torch.tensor(x, dtype=torch.int32) for x in ([0, 4, 4], [0, 0, 1], [0, 4, 4])))
    assert fused(q, keys, nothing, 2)[0, 0].tolist() == [[-1, -1], [-1, -1], [0, -1]]
    assert (fused(q, keys[:, :, :0], nothing, 2) == -1).all()
    assert fused(q[:, :, :0], keys, nothing, 2).shape == (2, 1, 0, 2)


def test_strides_of_heads_first_views() -> None:
    q, keys, ranges = _random(7, 11, 16, 3, torch.float32)
    expected = fused(q, keys, ranges, 3)
    apart = torch.stack([q, q], dim=-1)[..., 0]  # channels that are not neighbours
    packed = q.transpose(1, 2).contiguous().transpose(1, 2)
    for view in (apart, packed):
        assert torch.equal(fused(view, torch.stack([keys, keys], dim=-1)[..., 0], ranges, 3), expected)


def test_chunks_of_one_shot_do_not_reach_another() -> None:
    layout = TokenLayout.from_shots(shots=[Shot(0, 3, 2), Shot(0, 1, 2), Shot(0, 2, 2)], chunk_tokens="frame")
    config = MoCConfig(top_k=4)
    q, k, _ = qkv(layout, width=16)
    candidates = candidates_of(layout, config, None, q.device)
    ranks = fused(q, pool(k, layout), candidates, 4)
    shot = torch.where(ranks < 0, 0, layout.chunk_shot[ranks.clamp(min=0).long()])
    assert (shot < layout.shot_ids[:, None]).all()
    assert (ranks[:, :, :6] == -1).all()
    assert (ranks[:, :, 8:] >= 0).all()


@pytest.mark.parametrize(
    ("rows", "candidates", "width", "k"),
    [(1, 1, 16, 1), (150, 63, 16, 5), (3, 200, 16, 8), (3, 65, 24, 3), (5, 130, 16, 13)],
)
def test_many_tiles_of_candidates(rows: int, candidates: int, width: int, k: int) -> None:
    """Rows and candidates that fill no tile, fewer candidates than k, tiles of both widths."""
    case = _random(rows, candidates, width, rows + candidates, torch.float32)
    assert torch.equal(fused(*case, k).long(), plain(*case, k))


@QUICK
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 90))
def test_ties_within_tiles_and_between_them(seed: int, k: int, candidates: int) -> None:
    """Scores of few values go to the lowest rank."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.randint(-1, 2, (1, 1, 4, 16), generator=generator).float()
    keys = torch.randint(0, 2, (1, 1, candidates, 16), generator=generator).float()
    keys[..., 2:] = 0
    limit = torch.randint(0, candidates + 1, (4,), generator=generator).int()
    low, high = (torch.rand(2, 4, generator=generator) * (limit + 1)).int().sort(dim=0).values
    candidate = Candidates(limit, low, high)
    assert torch.equal(fused(q, keys, candidate, k).long(), plain(q, keys, candidate, k))


@settings(QUICK, max_examples=12)
@given(st.integers(1, topk.MOST_K), st.integers(1, 140), st.booleans())
def test_every_k(k: int, candidates: int, few_values: bool) -> None:
    """More than there are candidates too; with scores that are all different, and of few values."""
    q, keys, ranges = _random(3, candidates, 16, 100 * k + candidates, torch.float32)
    if few_values:
        q, keys = q.round().clamp(-1, 1), keys.round().clamp(-1, 1)
    assert torch.equal(fused(q, keys, ranges, k).long(), plain(q, keys, ranges, k))


@pytest.mark.parametrize("k", [1, 3, 8, 9])
@pytest.mark.parametrize("candidates", [2, 31, 32, 33])
def test_one_tile_and_many_choose_alike(monkeypatch: pytest.MonkeyPatch, candidates: int, k: int) -> None:
    for values in (1, 1000):
        q, keys, ranges = _random(66, candidates, 16, candidates + k, torch.float32)
        q, keys = (q * values).round(), (keys * values).round().clamp(-values, values)
        table = torch.arange(candidates).flip(0) * 3
        arguments = (q, keys, ranges.limit, ranges.low, ranges.high, k, table)
        at_once = top_chunks_fused(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(topk, "FEW_ROUNDS", 0)
            assert torch.equal(top_chunks_fused(*arguments), at_once)
        ranks = plain(q, keys, ranges, k)
        assert torch.equal(at_once.long(), torch.where(ranks < 0, -1, table[ranks.clamp(min=0)]))


@pytest.mark.parametrize(("candidates", "k"), [(20, 3), (20, 12), (140, 3), (140, 9)])
def test_rows_without_a_number_choose_nothing_and_disturb_nobody(candidates: int, k: int) -> None:
    """The search ends, whatever the scores are; a descriptor of -inf is never chosen."""
    q, keys, ranges = _random(6, candidates, 16, k, torch.float32)
    q = q.abs()
    keys[:, :, ::4] = -torch.inf
    expected = fused(q, keys, ranges, k)
    assert torch.equal(expected.long(), plain(q, keys, ranges, k))
    q[:, :, 2] = torch.nan
    got = fused(q, keys, ranges, k)
    assert (got[:, :, 2] == -1).all()
    assert torch.equal(got[:, :, [0, 1, 3, 4, 5]], expected[:, :, [0, 1, 3, 4, 5]])


@pytest.mark.parametrize("width", [128, 136, 256])
def test_means_of_wide_heads(width: int) -> None:
    """More channels than one program takes."""
    layout = TokenLayout.from_shots(shots=[Shot(0, 1, 70), Shot(1, 1, 3)], chunk_tokens=70)
    k = qkv(layout, width=width, batch=1)[1]
    means = pool_fused(k, layout.chunk_bounds, (0, layout.num_chunks), 0)
    torch.testing.assert_close(means.double(), pool(k.double(), layout), rtol=1e-6, atol=1e-6)

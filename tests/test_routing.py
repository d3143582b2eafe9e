"""Routing: descriptors, the mask, the choice and its ties, against plain loops."""

from __future__ import annotations

import pytest
import torch
from engine_cases import cases, layouts, q_ranges, qkv, ragged
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import moc.routing
from moc import MoCConfig, Routing, TokenLayout, pool, route
from moc.routing import Candidates, candidates_of, top_chunks

QUICK = settings(max_examples=50, deadline=None)


def admissible(layout: TokenLayout, config: MoCConfig, token: int) -> list[int]:
    """The chunks that a token may pick, from the definition."""
    own = int(layout.chunk_ids[token])
    shot = int(layout.shot_ids[token])
    if layout.is_text[token]:
        return []
    found = []
    for chunk in range(layout.num_chunks):
        if layout.chunk_is_text[chunk]:
            continue
        same = int(layout.chunk_shot[chunk]) == shot
        reach = {"shot": layout.num_chunks, "chunk": 0, "window": config.window_chunks}[config.intra]
        if same and abs(chunk - own) <= reach:
            continue
        if config.causal and int(layout.chunk_shot[chunk]) > shot:
            continue
        found.append(chunk)
    return found


def coarse(x: Tensor) -> Tensor:
    """Small integers: exact in every dtype, and full of ties."""
    return x.mul(1.2).round()


@QUICK
@given(cases(), st.integers(0, 2**31))
def test_picks_the_best_admissible_chunks_ties_to_the_lowest(case: tuple[TokenLayout, MoCConfig], seed: int) -> None:
    layout, config = case
    q, k, _ = (coarse(x) for x in qkv(layout, batch=1, seed=seed, width=2))
    descriptors = coarse(pool(k, layout))
    indices = route(q, None, layout, config, descriptors=descriptors).indices
    assert indices.dtype == torch.int32
    assert indices.shape == (1, 2, layout.length, config.top_k)
    scores = q @ descriptors.mT
    for head in range(2):
        for token in range(layout.length):
            allowed = admissible(layout, config, token)
            ranked = sorted(allowed, key=lambda c: (-float(scores[0, head, token, c]), c))[: config.top_k]
            assert indices[0, head, token].tolist() == ranked + [-1] * (config.top_k - len(ranked))


@QUICK
@given(cases(), st.data())
def test_a_range_of_rows_is_a_slice_of_all(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = case
    start, stop = data.draw(q_ranges(layout))
    config = config.replace(drop_off_max=0.7, drop_in_rate=1.0, drop_in_max=2)
    q, k, _ = (coarse(x) for x in qkv(layout))
    descriptors = coarse(pool(k, layout))  # exact scores: no rounding depends on the number of rows
    whole = route(q, None, layout, config, descriptors=descriptors, seed=5)
    part = route(q[:, :, start:stop], None, layout, config, descriptors=descriptors, seed=5, q_range=(start, stop))
    assert part.indices.equal(whole.indices[:, :, start:stop])
    counts = part.counts(layout, (start, stop))
    if start < stop:
        chunks = slice(int(layout.chunk_ids[start]), int(layout.chunk_ids[stop - 1]) + 1)
        expected = torch.zeros(2, layout.num_chunks, layout.num_chunks, dtype=torch.int64)
        for b, h, row, slot in (part.indices >= 0).nonzero().tolist():
            expected[h, int(layout.chunk_ids[start + row]), int(part.indices[b, h, row, slot])] += 1
        assert counts.equal(expected[:, chunks])
    else:
        assert counts.shape == (2, 0, layout.num_chunks)


@QUICK
@given(layouts(), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_descriptors_are_means_rounded_once(layout: TokenLayout, dtype: torch.dtype) -> None:
    k = qkv(layout, dtype=dtype)[1]
    descriptors = pool(k, layout)
    assert descriptors.dtype == dtype
    for chunk, (a, b) in enumerate(zip(layout.chunk_edges(), layout.chunk_edges()[1:], strict=False)):
        exact = k[:, :, a:b].double().mean(2)
        torch.testing.assert_close(
            descriptors[:, :, chunk].double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6, msg=f"chunk {chunk}"
        )


@QUICK
@given(layouts(), st.data())
def test_new_tokens_alone_pool_to_the_same_descriptors(layout: TokenLayout, data: st.DataObject) -> None:
    chunk = st.integers(0, layout.num_chunks)
    first, last = sorted((data.draw(chunk), data.draw(chunk)))
    start, stop = layout.chunk_edges()[first], layout.chunk_edges()[last]
    k = qkv(layout)[1]
    part = pool(k[:, :, start:stop], layout, token_range=(start, stop))
    assert part.equal(pool(k, layout)[:, :, first:last])


def test_scores_are_float32_whatever_the_inputs() -> None:
    # In bfloat16 both scores would round to 256; in float32 the second wins.
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=1)
    q = torch.ones(1, 1, layout.length, 2, dtype=torch.bfloat16)
    descriptors = torch.zeros(1, 1, layout.num_chunks, 2, dtype=torch.bfloat16)
    descriptors[0, 0, 2] = torch.tensor([256.0, 0.25])
    descriptors[0, 0, 3] = torch.tensor([256.0, 0.5])
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            indices = route(q, None, layout, config, descriptors=descriptors).indices
        assert indices[0, 0, 83].tolist() == [3]


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=2, intra="window", causal=False)
    q, k, _ = (coarse(x) for x in qkv(layout))
    descriptors = coarse(pool(k, layout))
    whole = route(q, None, layout, config, descriptors=descriptors)
    monkeypatch.setattr(moc.routing, "SCORES_AT_ONCE", 150)
    assert route(q, None, layout, config, descriptors=descriptors).indices.equal(whole.indices)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 2**31))
def test_top_chunks_orders_like_a_stable_sort(n: int, k: int, seed: int) -> None:
    scores = torch.randint(-2, 3, (7, n), generator=torch.Generator().manual_seed(seed)).float()
    scores[scores == -2] = -torch.inf
    ordered = scores.sort(dim=-1, descending=True, stable=True)
    expected = torch.where(ordered.values == -torch.inf, -1, ordered.indices)
    expected = torch.nn.functional.pad(expected, (0, max(0, k - n)), value=-1)[:, :k]
    assert top_chunks(scores, k).equal(expected)


@QUICK
@given(cases())
def test_candidates_may_be_given_row_by_row(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    q, k, _ = (coarse(x) for x in qkv(layout))
    device = torch.device("cpu")
    middle = layout.length // 2
    halves = [candidates_of(layout, config, rows, device) for rows in ((0, middle), (middle, layout.length))]
    descriptors = coarse(pool(k, layout))
    joined = route(q, None, layout, config, descriptors=descriptors, candidates=Candidates.join(halves))
    assert joined.indices.equal(route(q, None, layout, config, descriptors=descriptors).indices)
    nothing = Candidates(*(torch.zeros(layout.length, dtype=torch.int32) for _ in range(3)))
    assert route(q, k, layout, config, candidates=nothing).indices.eq(-1).all()


def test_a_stream_of_text_alone_routes_nothing() -> None:
    layout = TokenLayout.from_shots(global_text=6, shots=[], chunk_tokens=4)
    q, k, _ = qkv(layout)
    config = MoCConfig(chunk_tokens=4, top_k=3, drop_in_rate=1.0, drop_in_max=2)
    assert route(q, k, layout, config).indices.eq(-1).all()
    assert route(q, k, layout, config, seed=1).indices.shape == (2, 2, 6, 5)


def test_the_choice_carries_no_gradient() -> None:
    layout = ragged()
    q, k, _ = qkv(layout, grad=True)
    assert not pool(k, layout).requires_grad
    assert not route(q, k, layout, MoCConfig(chunk_tokens=16)).indices.requires_grad


def test_mistakes_are_refused_with_their_values() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16)
    q, k, _ = qkv(layout)
    with pytest.raises(ValueError, match="chunks of 16, the config asks for 32"):
        route(q, k, layout, config.replace(chunk_tokens=32))
    with pytest.raises(ValueError, match=r"queries must be \[B, H, 10, D\], got \[2, 2, 84, 8\]"):
        route(q, k, layout, config, q_range=(0, 10))
    with pytest.raises(ValueError, match="q_range must lie within 0:84, got 80:90"):
        route(q, k, layout, config, q_range=(80, 90))
    with pytest.raises(ValueError, match="got neither"):
        route(q, None, layout, config)
    with pytest.raises(ValueError, match=r"descriptors must be \[2, 2, 10, 8\], got \[2, 2, 9, 8\]"):
        route(q, None, layout, config, descriptors=pool(k, layout)[:, :, 1:])
    with pytest.raises(ValueError, match="chunk edges of the layout, got 0:5"):
        pool(k[:, :, :5], layout, token_range=(0, 5))
    with pytest.raises(ValueError, match="keys hold 84 tokens, the range 0:4 has 4"):
        pool(k, layout, token_range=(0, 4))
    with pytest.raises(ValueError, match="routing has 3 rows, the query range 0:84 has 84"):
        Routing(torch.zeros(1, 1, 3, 2, dtype=torch.int32)).counts(layout)
    with pytest.raises(ValueError, match="candidates are given for 80 rows, the queries have 84"):
        route(q, k, layout, config, candidates=candidates_of(layout, config, (0, 80), torch.device("cpu")))

"""Attention patterns: each against the oracle on ragged streams, and what each is by its definition."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from engine_cases import cases, layouts, q_ranges, qkv, ragged
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, attend, moc_attention, pool, route
from moc.attention import patterns
from moc.attention.mandatory import mandatory
from moc.attention.reference import mandatory_mask, routed_mask
from moc.patterns import PATTERNS, check_pattern

QUICK = settings(max_examples=12, deadline=None)
FIXED = [name for name, info in PATTERNS.items() if info.kind == "fixed"]
CHOSEN = [name for name, info in PATTERNS.items() if info.kind == "chosen"]


def fitted(layout: TokenLayout, config: MoCConfig, name: str) -> tuple[TokenLayout, MoCConfig]:
    """The case under a pattern, with the layout that it needs."""
    return (layout.evenly() if name == "moc-uniform" else layout), config.replace(pattern=name)


def rows_for(name: str, layout: TokenLayout, data: st.DataObject) -> tuple[int, int]:
    """A range of query rows that the pattern takes."""
    if name != "moc-block":
        return data.draw(q_ranges(layout))
    edge = st.sampled_from(layout.chunk_edges())
    a, b = data.draw(edge), data.draw(edge)
    return min(a, b), max(a, b)


def attended(layout: TokenLayout, config: MoCConfig, indices: Tensor | None = None) -> Tensor:
    """[B, H, L, L] bool, or [L, L] without routes: what the oracle says is attended."""
    mask = mandatory_mask(layout, config, 0, layout.length)
    return mask if indices is None else mask | routed_mask(layout, indices)


def test_names_are_those_of_the_files() -> None:
    for name, info in PATTERNS.items():
        assert info.name == name
        assert info.summary
        assert info.source
        own = name in ("moc", "moc-no-causal")
        assert own or find_spec(f"moc.attention.patterns.{name.replace('-', '_')}")


def test_an_unknown_name_is_refused_before_torch_is_loaded() -> None:
    with pytest.raises(ValueError, match=r"pattern must be one of dense, moc.*got 'locl', did you mean 'local'\?"):
        check_pattern("locl")
    script = (
        "import sys; from moc.config import MoCConfig\n"
        "try: MoCConfig(pattern='firstframe')\n"
        "except ValueError as error: print(error, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "did you mean 'first-frame'? False" in said


@pytest.mark.parametrize("name", PATTERNS)
@QUICK
@given(cases(), st.data())
def test_agrees_with_the_oracle_forward_and_backward(
    name: str, case: tuple[TokenLayout, MoCConfig], data: st.DataObject
) -> None:
    layout, config = fitted(*case, name)
    config = config.replace(drop_off_max=0.6, drop_in_rate=1.0, drop_in_max=2)
    seed = data.draw(st.sampled_from([None, 3]))
    start, stop = rows_for(name, layout, data)
    q, k, v = qkv(layout, dtype=torch.float64, grad=True)
    rows = q[:, :, start:stop]
    routing = route(rows, k, layout, config, q_range=(start, stop), seed=seed)
    results = []
    for backend in ("portable", "reference"):
        options: Any = {"q_range": (start, stop), "backend": backend, "return_lse": True}
        out, lse = attend(rows, k, v, layout, routing, config, **options)
        weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
        loss = (out * weight).sum() + (lse * weight[..., 0]).sum()
        results.append((out, lse, *torch.autograd.grad(loss, (q, k, v))))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PATTERNS)
@QUICK
@given(cases())
def test_nothing_is_attended_twice(name: str, case: tuple[TokenLayout, MoCConfig]) -> None:
    """Routes lead to video beyond the mandatory links, no chunk twice: the softmax counts every key once."""
    layout, config = fitted(*case, name)
    q, k, _ = qkv(layout)
    indices = route(q, k, layout, config).indices.long()
    always = mandatory_mask(layout, config, 0, layout.length)
    for b, h, row in (indices >= 0).any(-1).nonzero().tolist():
        picked = [c for c in indices[b, h, row].tolist() if c >= 0]
        assert len(set(picked)) == len(picked)
        for chunk in picked:
            assert not layout.chunk_is_text[chunk]
            assert not always[row, layout.chunk_ids == chunk].any()


@pytest.mark.parametrize("name", [name for name in PATTERNS if name != "moc-no-causal"])
@QUICK
@given(cases(), st.data())
def test_a_shot_never_learns_of_later_ones(name: str, case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    """Causal and with own text links, the stream so far gives what the whole stream gives."""
    layout, config = fitted(*case, name)
    config = config.replace(causal=True, text_links="own")
    known = layout.prefix(data.draw(st.integers(0, layout.num_shots)))
    q, k, v = qkv(layout, dtype=torch.float64)
    whole = moc_attention(q, k, v, layout, config)
    part = moc_attention(*(x[:, :, : known.length] for x in (q, k, v)), known, config)
    torch.testing.assert_close(part, whole[:, :, : known.length], rtol=1e-12, atol=1e-12)


@QUICK
@given(cases())
def test_dense_is_moc_with_everything_chosen(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    q, k, v = qkv(layout, dtype=torch.float64)
    every = moc_attention(q, k, v, layout, config.replace(top_k=layout.num_chunks))
    torch.testing.assert_close(moc_attention(q, k, v, layout, config.replace(pattern="dense")), every)


@QUICK
@given(cases())
def test_dense_that_sees_all_text_and_shots_is_plain_attention(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    q, k, v = qkv(layout)
    out = moc_attention(q, k, v, layout, config.replace(pattern="dense", causal=False, text_links="all"))
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    video = ~layout.is_text
    torch.testing.assert_close(out[:, :, video], plain[:, :, video], rtol=1e-5, atol=1e-5)


@QUICK
@given(cases())
def test_local_is_moc_without_routes(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    q, k, v = qkv(layout)
    assert moc_attention(q, k, v, layout, config.replace(pattern="local")).equal(
        moc_attention(q, k, v, layout, config.replace(top_k=0))
    )


def test_first_frame_by_hand() -> None:
    layout = TokenLayout.from_shots(global_text=1, shots=[Shot(1, 2, 3), Shot(0, 2, 2), Shot(1, 1, 2)], chunk_tokens=4)
    config = MoCConfig(chunk_tokens=4, pattern="first-frame")
    # tokens: 0 text, 1 caption, 2-4 and 5-7 shot 1, 8-9 and 10-11 shot 2, 12 caption, 13-14 shot 3
    mask = attended(layout, config)
    assert mask[8].nonzero().flatten().tolist() == [0, 2, 3, 4, 8, 9, 10, 11]
    assert mask[13].nonzero().flatten().tolist() == [0, 2, 3, 4, 8, 9, 12, 13, 14]
    assert mask[2].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    ahead = attended(layout, config.replace(causal=False))
    assert ahead[2].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14]


def test_radial_halves_its_window_as_the_distance_doubles() -> None:
    layout = TokenLayout.from_shots(shots=[Shot(0, 1, 4)] * 33, chunk_tokens="frame")
    mask = attended(layout, MoCConfig(pattern="radial"))
    seen = mask[32 * 4 + 1].view(33, 4).sum(1).tolist()[::-1]  # position 1 of the last frame, by distance in frames
    assert seen[:4] == [4, 4, 3, 3]  # own frame, the next, and the window of 1 + 1 + 1 (cut at the edge: 2 + 1)
    assert seen[4:8] == [1] * 4
    assert [d for d in range(8, 16) if seen[d]] == [8, 10, 12, 14]
    assert [d for d in range(16, 33) if seen[d]] == [16, 20, 24, 28, 32]
    far = mask[32 * 4 + 1].view(33, 4)[0]
    assert far.tolist() == [False, True, False, False], "at its own place"


@QUICK
@given(layouts(max_shots=4), st.booleans(), st.integers(0, 3))
def test_random_takes_as_many_as_moc_and_only_what_moc_might(layout: TokenLayout, causal: bool, top_k: int) -> None:
    config = MoCConfig(chunk_tokens=layout.chunk_tokens, top_k=top_k, causal=causal)
    q, k, _ = qkv(layout)
    ours = route(q, k, layout, config.replace(pattern="random")).indices
    moc = route(q, k, layout, config).indices
    assert ours.shape == moc.shape
    assert (ours >= 0).sum(-1).equal((moc >= 0).sum(-1))
    every = route(q, k, layout, config.replace(top_k=layout.num_chunks)).indices
    for b, h, row in (ours >= 0).any(-1).nonzero().tolist():
        assert set(ours[b, h, row].tolist()) <= set(every[b, h, row].tolist()) | {-1}
    assert ours.equal(route(torch.randn_like(q), k, layout, config.replace(pattern="random")).indices), "blind"


def test_random_draws_every_chunk_equally_often_and_anew_for_each_layer_and_seed() -> None:
    layout = TokenLayout.from_shots(shots=[Shot(0, 6, 4), Shot(0, 64, 32)], chunk_tokens="frame")
    config = MoCConfig(top_k=2, pattern="random")
    q, k, _ = qkv(layout, batch=1, heads=4)
    counts = route(q, k, layout, config).counts(layout)[:, 6:, :6].sum((0, 1)).double()
    expected = 2 * 4 * 64 * 32 / 6
    assert ((counts - expected).abs() < 5 * expected**0.5).all()
    draws = [route(q, k, layout, config, layer=n, seed=s).indices for n, s in ((0, None), (1, None), (0, 5))]
    assert not draws[0].equal(draws[1])
    assert not draws[0].equal(draws[2])


@QUICK
@given(cases())
def test_block_chooses_once_by_the_mean_of_its_queries(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    q, k, _ = (x.mul(1.2).round() for x in qkv(layout, dtype=torch.float64))
    q *= 5_354_228_880  # a multiple of every number up to 24, the longest chunk: means are exact
    descriptors = pool(k, layout).mul(1.2).round()
    got = route(q, None, layout, config.replace(pattern="moc-block"), descriptors=descriptors).indices
    means = torch.empty_like(q)
    for a, b in zip(layout.chunk_edges(), layout.chunk_edges()[1:], strict=False):
        means[:, :, a:b] = q[:, :, a:b].mean(2, keepdim=True)
    assert got.equal(route(means, None, layout, config, descriptors=descriptors).indices)


def test_block_refuses_rows_that_cut_a_chunk() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, pattern="moc-block")
    q, k, _ = qkv(layout)
    with pytest.raises(ValueError, match=r"q_range must start and stop at chunk edges, got 0:5"):
        route(q[:, :, :5], k, layout, config, q_range=(0, 5))


def test_an_even_grid_ignores_shots_and_captions() -> None:
    layout = TokenLayout.from_shots(global_text=3, shots=[Shot(2, 2, 4), Shot(2, 1, 4)], chunk_tokens=6).evenly()
    # tokens: 0-2 text, 3-4 caption, 5-12 video 1, 13-14 caption, 15-18 video 2; cuts at 6, 12, 18
    assert layout.chunk_edges() == (0, 3, 5, 6, 12, 13, 15, 18, 19)
    assert layout.blocks.tolist() == [0, 1, 2, 2, 3]
    assert layout.chunk_shot.tolist() == [0, 1, 1, 1, 1, 2, 2, 2]
    assert layout.prefix(1).blocks.tolist() == [0, 1, 2]
    last, _ = layout.select([2])
    assert last.blocks.tolist() == [2, 3], "blocks stay those of the story"
    assert last.chunk_origin == (0, 5, 6, 7)


@QUICK
@given(cases())
def test_uniform_scores_and_attends_what_a_query_may_see_of_a_block(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = fitted(*case, "moc-uniform")
    q, k, _ = (x.mul(1.2).round() for x in qkv(layout, batch=1, dtype=torch.float64))
    descriptors = pool(k, layout)
    got = route(q, None, layout, config, descriptors=descriptors).indices[0].long()
    every = route(q, k, *fitted(case[0], case[1].replace(top_k=10**3), "moc-uniform")).indices[0]
    lengths = layout.chunk_bounds.diff().double()
    video = (~layout.chunk_is_text).nonzero().flatten().tolist()
    block = dict(zip(video, layout.blocks.tolist(), strict=True))
    for h in range(2):
        for row in range(layout.length):
            allowed = sorted({c for c in every[h, row].tolist() if c >= 0})
            blocks: dict[int, list[int]] = {}
            for chunk in allowed:
                blocks.setdefault(block[chunk], []).append(chunk)
            scores = {}
            for name, pieces in blocks.items():
                share = lengths[pieces] / lengths[pieces].sum()
                scores[name] = float(q[0, h, row] @ (share @ descriptors[0, h, pieces]))
            picked = {c for c in got[h, row].tolist() if c >= 0}
            chosen = {block[c] for c in picked}
            assert len(chosen) == min(config.top_k, len(blocks))
            assert picked == {c for name in chosen for c in blocks[name]}, "whole blocks, as far as they may be seen"
            if chosen and len(chosen) < len(blocks):
                worst = min(scores[name] for name in chosen)
                assert worst >= max(s for name, s in scores.items() if name not in chosen) - 1e-9


def test_uniform_needs_an_even_layout_and_others_don_t_take_one() -> None:
    layout = ragged()
    q, k, _ = qkv(layout)
    with pytest.raises(ValueError, match=r"moc-uniform needs a layout cut evenly: layout.evenly\(\)"):
        route(q, k, layout, MoCConfig(chunk_tokens=16, pattern="moc-uniform"))
    with pytest.raises(ValueError, match="pattern moc needs a layout cut along its content"):
        route(q, k, layout.evenly(), MoCConfig(chunk_tokens=16))


def test_no_causal_is_moc_without_the_mask() -> None:
    config = MoCConfig(pattern="moc-no-causal", causal=True)
    assert config.causal is False
    layout = ragged()
    q, k, v = qkv(layout)
    changes: dict[str, Any] = {"chunk_tokens": 16}
    out = moc_attention(q, k, v, layout, config.replace(**changes))
    assert out.equal(moc_attention(q, k, v, layout, MoCConfig(causal=False, **changes)))


@pytest.mark.parametrize("name", FIXED)
@QUICK
@given(cases(), st.data())
def test_counts_of_fixed_links(name: str, case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, config = fitted(*case, name)
    start, stop = data.draw(q_ranges(layout))
    counts = patterns.fixed_counts(layout, config, (start, stop))
    assert counts is not None
    mask = patterns.fixed_mask(layout, config, (start, stop))
    assert mask is not None
    chunk = layout.chunk_ids
    first = int(chunk[start]) if start < stop else 0
    expected = torch.zeros_like(counts)
    for row in range(stop - start):
        seen = chunk[mask[row]].unique()
        seen = seen[layout.chunk_shot[seen] != layout.shot_ids[start + row]]
        expected[int(chunk[start + row]) - first, seen] += 1
    assert counts.equal(expected)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("history", [(0, 1, 0, 1, 2), (0, 1, 2, 3, 4)])
def test_a_history_of_its_own(name: str, history: tuple[int, ...]) -> None:
    """The last shots of a stream that holds a story twice see what they would in a story told once."""
    shots = [Shot(1, 2, 5), Shot(2, 1, 3), Shot(1, 2, 5), Shot(2, 1, 3), Shot(1, 2, 4)]
    layout = TokenLayout.from_shots(global_text=2, shots=shots, chunk_tokens=4).with_history(history)
    config = MoCConfig(chunk_tokens=4, pattern=name)
    q, k, v = qkv(layout, dtype=torch.float64)
    out = moc_attention(q, k, v, layout, config)
    torch.testing.assert_close(out, moc_attention(q, k, v, layout, config, backend="reference"), rtol=1e-10, atol=1e-10)
    plain = TokenLayout.from_shots(global_text=2, shots=shots, chunk_tokens=4)
    for number, before in enumerate(history, 1):
        part, tokens = plain.select([*range(1, before + 1), number])
        alone = moc_attention(*(x[:, :, tokens] for x in (q, k, v)), part, config)
        rows = part.token_range(number)
        torch.testing.assert_close(out[:, :, slice(*layout.token_range(number))], alone[:, :, slice(*rows)])


def test_many_keys_are_packed_in_slabs() -> None:
    """Groups of a fixed pattern may hold far more keys than the stream has tokens; no call packs them all."""
    layout = TokenLayout.from_shots(global_text=4, shots=[Shot(4, 16, 600)] * 12, chunk_tokens="frame")
    links = mandatory(layout, MoCConfig(pattern="dense"), (0, layout.length), torch.device("cpu"))
    assert links.room == layout.length
    assert sum(group.num_keys for group in links.groups) > 5 * layout.length
    rows = [rows for rows, _ in links.slabs]
    assert [r.start for r in rows[1:]] == [r.stop for r in rows[:-1]]
    assert (rows[0].start, rows[-1].stop) == (0, layout.length)
    for _, slab in links.slabs:
        assert len(slab.groups) == 1 or len(slab.key_index) <= layout.length

"""Counts of every pattern: pairs against the oracle, links of real routings, and what recordings see."""

from __future__ import annotations

import pytest
import torch
from engine_cases import cases, qkv, ragged
from hypothesis import given, settings

import moc
from moc import MoCConfig, TokenLayout, attend, route
from moc.attention.patterns import fitted
from moc.attention.reference import mandatory_mask, routed_mask
from moc.flops import count, flops, routed_pairs_of
from moc.patterns import PATTERNS

QUICK = settings(max_examples=15, deadline=None)


@pytest.mark.parametrize("name", PATTERNS)
@QUICK
@given(cases())
def test_pairs_are_those_of_the_oracle(name: str, case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case[0], case[1].replace(pattern=name)
    layout = fitted(layout, config)
    q, k, _ = qkv(layout)
    routing = route(q, k, layout, config)
    always, text = mandatory_mask(layout, config, 0, layout.length), layout.is_text
    same_shot = layout.shot_ids[:, None] == layout.shot_ids
    counts = count(layout, config)
    assert counts.text_pairs == int(always[:, text].sum())
    assert counts.own_pairs == int((always & same_shot & ~text).sum())
    beyond = int((always & ~same_shot & ~text).sum())
    chosen = routed_mask(layout, routing.indices).sum().item() / 4  # batch rows and heads
    if PATTERNS[name].kind == "fixed":
        assert counts.routed_pairs == beyond
        assert counts.links == counts.scored == chosen == 0
        return
    assert beyond == 0
    assert routed_pairs_of(routing, layout) == pytest.approx(chosen)
    whole = config.replace(top_k=layout.num_chunks)  # an expectation, exact where there is nothing left to choose
    everything = routed_mask(layout, route(q, k, layout, whole).indices).sum().item() / 4
    assert count(layout, whole).routed_pairs == pytest.approx(everything)
    if name != "moc-uniform":
        assert counts.links == int((routing.indices >= 0).sum()) / 4


def test_what_is_scored() -> None:
    """Per query, per chunk of queries, per block of keys, or nothing."""
    layout = ragged()
    base = MoCConfig(chunk_tokens=16)
    scored = {name: count(fitted(layout, c), c).scored for name in PATTERNS for c in [base.replace(pattern=name)]}
    assert 0 < scored["moc-block"] < scored["moc"] < scored["moc-no-causal"]
    assert scored["random"] == scored["dense"] == scored["local"] == 0
    random = count(layout, base.replace(pattern="random"))
    assert flops(random, 64).pool == flops(random, 64).route == 0
    assert random.routed_pairs == count(layout, base).routed_pairs


def test_recordings_show_fixed_links_too() -> None:
    layout = ragged()  # shots of 4, 1 and 5 frames in 2, 1 and 4 chunks
    q, k, v = qkv(layout, batch=2, heads=2)
    seen = {}
    for name in ("dense", "local", "first-frame", "moc"):
        config = MoCConfig(chunk_tokens=16, pattern=name, top_k=2)
        with moc.record_routes() as routes:
            attend(q, k, v, layout, route(q, k, layout, config), config)
        seen[name] = torch.from_numpy(routes.counts())[0]  # [heads, chunks, chunks]
    rows = layout.chunk_bounds.diff()[~layout.chunk_is_text]
    assert not seen["local"].any()
    assert seen["dense"][0, 3:].equal(2 * rows[3:, None] * torch.tensor([1, 1, 1, 0, 0, 0, 0]))
    assert not seen["dense"][:, :2].any(), "shot 1 has nothing to look back to"
    assert seen["first-frame"][0, 3:].equal(2 * rows[3:, None] * torch.tensor([1, 0, 1, 0, 0, 0, 0]))
    assert seen["moc"].sum() == 2 * 2 * (rows[2] * 2 + rows[3:].sum() * 2)


@pytest.mark.parametrize("name", [name for name, info in PATTERNS.items() if info.kind == "chosen"])
def test_recordings_show_every_choice(name: str) -> None:
    """Link by link: the rows of a chunk that chose another, counted from the choices one at a time."""
    config = MoCConfig(chunk_tokens=16, pattern=name, top_k=2, causal=name != "moc-no-causal")
    layout = fitted(ragged(), config)
    q, k, v = qkv(layout, batch=2, heads=2)
    with moc.record_routes() as routes:
        routing = route(q, k, layout, config)
        attend(q, k, v, layout, routing, config)
    video = (~layout.chunk_is_text).nonzero().flatten().tolist()
    place = {chunk: i for i, chunk in enumerate(video)}
    expected = torch.zeros(2, len(video), len(video), dtype=torch.int64)
    for batch, head, row, rank in routing.indices.ge(0).nonzero().tolist():
        mine, theirs = int(layout.chunk_ids[row]), int(routing.indices[batch, head, row, rank])
        expected[head, place[mine], place[theirs]] += 1
    assert expected.sum() > 0
    assert torch.from_numpy(routes.counts())[0].long().equal(expected)

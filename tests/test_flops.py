"""Counts against pairs counted one by one, the paper's formulas, and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from engine_cases import cases, qkv, ragged
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

from moc import MoCConfig, Shot, TokenLayout, route
from moc.attention.reference import mandatory_mask, routed_mask
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.cost import Amount, amount_of, block_flops_per_token, pass_flops, patch_flops_per_token
from moc.candidates import candidates_of, video_chunks
from moc.flops import LINKS_SORTED_AT_ONCE, Chip, count, flops, routed_pairs_of, traffic
from moc.profile import base_settings, make_settings
from moc.profile.columns import BYTE_PARTS, FLOP_PARTS


def story(shots: int, tokens: int = 22_500, chunk: int = 1280) -> TokenLayout:
    return TokenLayout.from_shots(shots=[Shot(0, tokens // 900, 900)] * shots, chunk_tokens=chunk)


@given(cases())
@settings(max_examples=40, deadline=None)
def test_pairs_one_by_one(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    counts = count(layout, config)
    mask, text = mandatory_mask(layout, config, 0, layout.length), layout.is_text
    assert counts.text_pairs == int(mask[:, text].sum())
    assert counts.own_pairs == int(mask[:, ~text].sum())
    assert counts.video_tokens == int((~text).sum())
    routed, links, scored = 0.0, 0, 0
    lengths = layout.chunk_bounds.diff()[video_chunks(layout, torch.device("cpu"))].tolist()
    rows = candidates_of(layout, config, None, torch.device("cpu"))
    for limit, low, high in zip(rows.limit.tolist(), rows.low.tolist(), rows.high.tolist(), strict=True):
        free = lengths[:low] + lengths[high:limit]
        picked = min(config.top_k, len(free))
        if picked:
            routed, links, scored = routed + picked * sum(free) / len(free), links + picked, scored + limit
    assert counts.routed_pairs == pytest.approx(routed)
    assert (counts.links, counts.scored) == (links, scored)
    shot = layout.shot_ids
    assert counts.backward_pairs == int((shot[:, None] >= shot[None, :]).sum())
    assert counts.density + counts.sparsity == pytest.approx(1)
    assert counts.keys_per_query == pytest.approx(counts.density * layout.length)


@given(cases())
@settings(max_examples=25, deadline=None)
def test_a_real_routing_one_by_one(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    q, k, _ = qkv(layout)
    routing = route(q, k, layout, config)
    assert routed_pairs_of(routing, layout) == pytest.approx(routed_mask(layout, routing.indices).sum().item() / 4)
    assert int((routing.indices >= 0).sum()) / 4 == count(layout, config).links


def test_expectation_is_exact_where_nothing_is_left_to_choose() -> None:
    layout = ragged()
    config = MoCConfig(chunk_tokens=16, top_k=layout.num_chunks)
    q, k, _ = qkv(layout)
    assert count(layout, config).routed_pairs == pytest.approx(routed_pairs_of(route(q, k, layout, config), layout))


@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16, 32])
def test_paper_setting_in_closed_form(shots: int) -> None:
    """18 chunks of 1,250 tokens on average a shot: earlier shots' chunks are 5 or more from the second shot on."""
    layout, config = story(shots), MoCConfig.preset("paper-multi-shot")
    counts = count(layout, config)
    keys = 22_500 + 5 * 1250 * (shots - 1) / shots
    assert counts.keys_per_query == pytest.approx(keys)
    assert counts.ratio == pytest.approx(22_500 * shots / keys)
    assert counts.chunks == 18 * shots
    cost = flops(counts, 128)
    assert cost.dense == 4 * (22_500 * shots) ** 2 * 128
    assert cost.attended == pytest.approx(4 * 22_500 * shots * keys * 128)
    assert cost.route == 2 * 128 * sum(22_500 * 18 * earlier for earlier in range(shots))
    assert cost.pool == (22_500 * shots * 128 if shots > 1 else 0)
    assert (cost.ratio == 1) == (shots == 1)


def test_one_shot_costs_nothing_more_than_dense() -> None:
    cost = flops(count(story(1), MoCConfig.preset("paper-multi-shot")), 128)
    assert cost.ratio == cost.ratio_total == 1


def test_wan_attends_four_frames_of_21() -> None:
    layout = TokenLayout.from_shots(shots=[Shot(0, 21, 1560)], chunk_tokens="frame")
    assert count(layout, MoCConfig.preset("wan")).sparsity == pytest.approx(1 - 4 / 21)


def test_dense_against_torch() -> None:
    """Forward and backward of one dense attention of 3 heads, counted by torch on tensors without data."""
    layout = story(1, 1800, 300)
    q, k, v = (torch.empty(1, 3, layout.length, 64, device="meta", requires_grad=True) for _ in range(3))
    counts = count(layout, MoCConfig(chunk_tokens=300))
    with FlopCounterMode(display=False) as forward:
        out = (q @ k.mT) @ v
    assert forward.get_total_flops() == flops(counts, 64, heads=3).dense
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    # autograd kept the weights, so one product of the five, the scores again, is missing here
    assert (
        backward.get_total_flops() * 5 / 4 + forward.get_total_flops()
        == flops(counts, 64, heads=3, backward=True).dense
    )


def test_routing_against_torch() -> None:
    """Descriptors are scored as one product of each shot's queries with all chunks before it."""
    layout, config = story(3, 1800, 300), MoCConfig(chunk_tokens=300)
    with FlopCounterMode(display=False) as counter:
        for shot in (2, 3):
            before = layout.video_ranks(shot)[0]
            torch.empty(1800, 64, device="meta") @ torch.empty(64, before, device="meta")
    assert counter.get_total_flops() == flops(count(layout, config), 64).route


def test_heads_and_layers_multiply() -> None:
    counts = count(ragged(), MoCConfig(chunk_tokens=16))
    one, many = flops(counts, 8), flops(counts, 8, heads=3, layers=5)
    assert tuple(many.parts()) == FLOP_PARTS
    assert many.parts() == {name: pytest.approx(15 * one.parts()[name]) for name in FLOP_PARTS}
    assert sum(one.parts().values()) == pytest.approx(one.total)
    assert one.total == pytest.approx(one.attended + one.pool + one.route)


def test_no_routes_cost_no_routing() -> None:
    counts = count(ragged(), MoCConfig(chunk_tokens=16, top_k=0))
    cost, moved = flops(counts, 8), traffic(counts, 8, itemsize=2)
    assert cost.route == cost.pool == cost.routed == 0
    assert moved.pool == moved.route == moved.plan == moved.routed == moved.merge == 0


def test_traffic_of_one_shot_is_dense_traffic() -> None:
    moved = traffic(count(story(1), MoCConfig.preset("paper-multi-shot")), 128, itemsize=2)
    assert moved.total == moved.dense == 22_500 * (4 * 256 + 4)


def test_traffic_tensor_by_tensor() -> None:
    layout, config = story(3, 1800, 300), MoCConfig(chunk_tokens=300, top_k=2)
    moved = traffic(count(layout, config), 64, itemsize=4)
    row, result, links = 256, 5400 * 260, 2 * 3600  # shots 2 and 3 pick two chunks each
    assert moved.pool == (5400 + 18) * row
    assert moved.route == (5400 + 18) * row + 4 * links
    assert moved.plan == 8 * links + 12 * 18 * 8  # 7,200 links are 8 blocks of at most 1,024
    assert moved.own == 3 * 5400 * row + result
    assert moved.routed == 3 * 5400 * row + links * (row + 8)  # a row read once stays in the cache
    assert moved.merge == links * (row + 8) + 2 * result
    assert tuple(moved.parts()) == BYTE_PARTS
    assert moved.total == sum(moved.parts().values())


# preset, shots, heads -> MB by Nsight Compute on an H200, benchmarks/results/profile-h200/bytes.txt
COUNTERS = {
    ("paper-multi-shot", 8, 22_500, 3): {
        "pool": 140.7, "route": 154.5, "plan": 25.6, "own": 628.7, "routed": 1244.9, "merge": 901.0, "dense": 3414.6,
    },
    ("paper-single-shot", 1, 6_240, 24): {
        "pool": 39.5, "route": 40.1, "plan": 4.1, "own": 144.4, "routed": 216.1, "merge": 189.6, "dense": 146.4,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTERS)
def test_traffic_against_the_counters_of_a_device(case: tuple[str, int, int, int]) -> None:
    preset, shots, tokens, heads = case
    config = base_settings(preset, None, None).config
    settings = make_settings(base_settings(preset, None, None), shots=str(shots), tokens_per_shot=tokens, heads=heads)
    moved = traffic(count(settings.layout(shots), config), 128, itemsize=2, heads=heads)
    seen = COUNTERS[case]
    found = {**moved.parts(), "dense": moved.dense}
    ratios = {name: found[name] / 1e6 / seen[name] for name in seen}
    assert all(0.8 <= ratio <= 1.2 for ratio in ratios.values()), ratios
    assert moved.total / 1e6 == pytest.approx(sum(seen[name] for name in BYTE_PARTS), rel=0.2)


def test_traffic_of_an_endless_cache_reads_once() -> None:
    counts = count(story(8), MoCConfig.preset("paper-multi-shot"))
    least, small = (traffic(counts, 128, itemsize=2, chip=Chip(size)) for size in (float("inf"), 1e6))
    row, length = 256, 180_000
    assert least.dense == length * (4 * row + 4)
    assert least.routed == 3 * length * row + counts.links * (row + 8)
    waves = length / (128 * 132)
    assert small.dense == pytest.approx(length * (2 * row + 4) + 2 * waves * length * row)
    assert small.own > least.own  # a shot's keys, 11.5 MB, stay in the one and not in the other
    assert least.routed < small.routed < 2 * length * row + counts.links * (2 * row + 8)
    assert (small.pool, small.route, small.plan, small.merge) == (least.pool, least.route, least.plan, least.merge)


def test_plan_sorts_as_many_links_at_once() -> None:
    plan = pytest.importorskip("moc.attention.triton.plan")
    assert plan.SORTED_AT_ONCE == LINKS_SORTED_AT_ONCE


def test_pocket_forecast_agrees() -> None:
    """What a dry run foretells of a joint pass over equal shots is the exact count, but for the global text's rows."""
    size, config, shots = PocketConfig(), MoCConfig.preset("pocket"), 4
    layout = TokenLayout.from_shots(
        global_text=size.global_tokens,
        shots=[Shot(size.caption_tokens, 16, size.tokens_per_frame)] * shots,
        chunk_tokens=config.chunk_tokens,
    )
    one, told = amount_of(size, config, 16), 0.0
    before = Amount()
    for _ in range(shots):
        told += pass_flops(size, config, one, before, 1)
        before = before + one
    counts = count(layout, config)
    cost = flops(counts, size.head_dim, heads=size.heads, layers=size.layers)
    tokens = shots * (one.tokens + size.caption_tokens)
    linear = tokens * block_flops_per_token(size) + shots * one.tokens * patch_flops_per_token(size)
    text_alone = 4 * size.global_tokens**2 * size.width * size.layers
    assert told == pytest.approx(linear + cost.attended - text_alone + cost.route)


def test_layout_and_settings_must_agree() -> None:
    with pytest.raises(ValueError, match="chunks of 16, the config asks for 32"):
        count(ragged(), MoCConfig(chunk_tokens=32))
    with pytest.raises(ValueError, match="at least one token"):
        count(TokenLayout.from_shots(shots=[], chunk_tokens=32), MoCConfig(chunk_tokens=32))

"""Drop-off and drop-in: admissible, distinct, of the right rates, and the same on every split over devices."""

from __future__ import annotations

import math

import torch
from engine_cases import cases, qkv
from hypothesis import given, settings
from hypothesis import strategies as st

from moc import MoCConfig, Shot, TokenLayout, route
from moc.drops import Draw, drop_off, mix

LONG = TokenLayout.from_shots(shots=[Shot(text=1, frames=20, tokens_per_frame=100)] * 2, chunk_tokens="frame")
CONFIG = MoCConfig(top_k=4, drop_off_max=0.8, drop_in_rate=0.7, drop_in_max=3)
LAST = (2001 + 1, 4002)  # video rows of the second shot: 20 candidates each


@settings(max_examples=50, deadline=None)
@given(cases(), st.integers(0, 2**63 - 1))
def test_what_is_left_and_added_is_distinct_and_admissible(case: tuple[TokenLayout, MoCConfig], seed: int) -> None:
    layout, config = case
    q, k, _ = qkv(layout, batch=1, seed=seed % 1000)
    chosen = route(q, k, layout, config).indices
    # Every admissible chunk: what top-k picks when it may pick all.
    everything = route(q, k, layout, config.replace(top_k=layout.num_chunks)).indices
    dropping = config.replace(drop_off_max=1.0, drop_in_rate=2.0, drop_in_max=3)
    dropped = route(q, k, layout, dropping, seed=seed).indices
    assert dropped.shape[-1] == config.top_k + 3
    kept, added = dropped.split([config.top_k, 3], dim=-1)
    assert ((kept == chosen) | (kept == -1)).all()
    for all_of, old, new in zip(
        everything.flatten(0, 2).tolist(), chosen.flatten(0, 2).tolist(), added.flatten(0, 2).tolist(), strict=True
    ):
        drawn = [c for c in new if c >= 0]
        assert len(set(drawn)) == len(drawn)
        assert set(drawn) <= set(all_of) - set(old)


def test_nothing_is_dropped_without_a_seed_or_a_rate() -> None:
    q, k, _ = qkv(LONG, batch=1)
    plain = route(q, k, LONG, CONFIG.replace(drop_off_max=0.0, drop_in_rate=0.0))
    assert route(q, k, LONG, CONFIG).indices.equal(plain.indices)
    still = CONFIG.replace(drop_off_max=0.0, drop_in_rate=0.0)
    assert route(q, k, LONG, still, seed=3).indices.equal(plain.indices)


def test_rates_are_those_asked_for() -> None:
    q, k, _ = qkv(LONG, batch=2, heads=4)
    indices = route(q, k, LONG, CONFIG, seed=11).indices[:, :, slice(*LAST)]
    rows = indices[..., 0].numel()
    kept = (indices[..., :4] >= 0).sum(-1)
    # floor(4 p) with p ~ U(0, 0.8): 0, 1, 2, 3 for p in quarters of the unit interval.
    for gone, share in enumerate((0.25, 0.25, 0.25, 0.05)):
        share /= 0.8
        spread = 4 * math.sqrt(share * (1 - share) / rows)
        assert abs((kept == 4 - gone).float().mean().item() - share) < spread
    added = (indices[..., 4:] >= 0).sum(-1)
    poisson = [math.exp(-0.7) * 0.7**m / math.factorial(m) for m in range(3)]
    for m, share in enumerate([*poisson, 1 - sum(poisson)]):
        spread = 4 * math.sqrt(share * (1 - share) / rows)
        assert abs((added == m).float().mean().item() - share) < spread


def test_draws_are_uniform_over_slots_and_chunks() -> None:
    q, k, _ = qkv(LONG, batch=2, heads=4)
    indices = route(q, k, LONG, CONFIG, seed=12).indices[:, :, slice(*LAST)]
    dropped = (indices[..., :4] < 0).float().mean((0, 1, 2))
    rows = indices[..., 0].numel()
    assert (dropped - dropped.mean()).abs().max() < 4 * math.sqrt(0.25 / rows)
    # Without top-k every one of the 20 candidates is free; each must be drawn equally often.
    free = CONFIG.replace(top_k=0, drop_off_max=0.0)
    added = route(q, k, LONG, free, seed=13).indices[:, :, slice(*LAST)]
    counts = torch.bincount(added[added >= 0].flatten(), minlength=LONG.num_chunks)[1:21].double()
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum().item()
    assert chi2 < 19 + 5 * math.sqrt(2 * 19)


def test_every_split_over_devices_draws_the_same() -> None:
    q, k, _ = qkv(LONG, batch=4, heads=4, width=4)
    whole = route(q, k, LONG, CONFIG, seed=7, layer=3).indices
    for rows in (slice(0, 1), slice(1, 4)):
        for heads in (slice(0, 3), slice(3, 4)):
            for a, b in ((0, 1234), (1234, 4002)):
                part = route(
                    q[rows, heads, a:b],
                    k[rows, heads],
                    LONG,
                    CONFIG,
                    q_range=(a, b),
                    seed=7,
                    layer=3,
                    head_offset=heads.start,
                    batch_offset=rows.start,
                )
                assert part.indices.equal(whole[rows, heads, a:b])


def test_seed_layer_head_and_row_all_matter() -> None:
    same = torch.ones(2, 2, LONG.length, 4)
    first = route(same, same, LONG, CONFIG, seed=1, layer=0).indices
    assert not first.equal(route(same, same, LONG, CONFIG, seed=2, layer=0).indices)
    assert not first.equal(route(same, same, LONG, CONFIG, seed=1 + 2**40, layer=0).indices)
    assert not first.equal(route(same, same, LONG, CONFIG, seed=1, layer=1).indices)
    assert not first[0].equal(first[1])
    assert not first[:, 0].equal(first[:, 1])


def test_the_hash_is_known() -> None:
    # Frozen: a change would change every training run that is repeated from its seed.
    words = [mix(word) for word in (0, 1, 2, 2**32 - 1)]
    assert words == mix(torch.tensor([0, 1, 2, 2**32 - 1])).tolist()
    assert words == [0, 2713060960, 1131220161, 1595714758]


def test_drop_off_counts_what_is_there() -> None:
    draw = Draw.of(seed=1, layer=0, batch=(0, 1), heads=(0, 1), rows=(0, 500), device=torch.device("cpu"))
    chosen = torch.tensor([5, -1, -1]).expand(1, 1, 500, 3)
    # One chunk is there, floor(p 1) is 0 for every p below 1.
    assert drop_off(chosen, draw, 1.0).equal(chosen)

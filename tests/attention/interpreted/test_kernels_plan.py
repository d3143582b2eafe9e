"""The index plan's kernels: every link once, in a tile of its chunk, in the order of the slots."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from moc.attention.triton import plan as plans
from moc.attention.triton.plan import Plan, cut, make_plan


@st.composite
def routes(draw: Any) -> tuple[Tensor, int]:
    """Random [B, H, Lq, W] routes and the number of chunks."""
    chunks = draw(st.integers(1, 7))
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(0, 20), st.integers(1, 4)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return torch.randint(-1, chunks, shape, generator=generator, dtype=torch.int32), chunks


def check(indices: Tensor, chunks: int, tile: int) -> Plan:
    batch, heads, rows, width = indices.shape
    plan = make_plan(indices, chunks, tile)
    groups = batch * heads * chunks
    flat = indices.flatten().tolist()
    wanted = {slot: slot // (rows * width) * chunks + chunk for slot, chunk in enumerate(flat) if chunk >= 0}

    assert plan.tile == tile
    assert len(plan.edges) == len(plan.tile_edges) == groups + 1
    assert plan.slots.shape == (indices.numel(),)
    edges, tile_edges = plan.edges.tolist(), plan.tile_edges.tolist()
    assert edges[0] == tile_edges[0] == 0
    assert edges[-1] == len(wanted)
    assert tile_edges[-1] <= len(plan.tile_group)
    seen: dict[int, int] = {}
    for t, group in enumerate(plan.tile_group.tolist()):
        assert 0 <= group <= groups
        if group == groups:
            continue
        first = edges[group] + (t - tile_edges[group]) * tile
        links = plan.slots[first : min(first + tile, edges[group + 1])].tolist()
        assert links  # no tile is without work
        assert links == sorted(links)  # in the order of their rows
        for slot in links:
            assert slot not in seen
            seen[slot] = group
    assert seen == wanted
    assert (plan.tile_group[tile_edges[-1] :] == groups).all()
    return plan


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(routes(), st.sampled_from([1, 2, 16, 64]))
def test_every_link_stands_in_one_tile_of_its_chunk(case: tuple[Tensor, int], tile: int) -> None:
    check(*case, tile)


@pytest.mark.parametrize("skew", ["even", "one", "rising"])
def test_more_links_than_a_block_holds(skew: str) -> None:
    """Order and counts go on from block to block."""
    generator = torch.Generator().manual_seed(1)
    shape = (1, 2, 120, 3)
    indices = {
        "even": torch.randint(-1, 5, shape, generator=generator),
        "one": torch.full(shape, 3),
        "rising": torch.arange(2 * 120 * 3).view(shape) * 5 // 720,
    }[skew].int()
    check(indices, 5, 64)


def test_more_groups_than_one_scan_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "SCANNED_AT_ONCE", 16)
    indices = torch.randint(-1, 40, (1, 3, 30, 2), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    check(indices, 40, 4)


def test_the_plans_sizes_do_not_depend_on_the_routes() -> None:
    """A CUDA graph replays it with other routes."""
    full = torch.zeros(1, 2, 9, 3, dtype=torch.int32)
    for indices in (full, full - 1, full + 4):
        plan = make_plan(indices, 5, 4)
        assert [len(x) for x in (plan.slots, plan.edges, plan.tile_edges, plan.tile_group)] == [54, 11, 11, 23]


def test_another_cut_of_the_same_groups() -> None:
    edges = torch.tensor([0, 0, 7, 7, 9, 20], dtype=torch.int32)
    tile_edges, tile_group = cut(edges, 24, 4, least=1)
    assert tile_edges.tolist() == [0, 1, 3, 4, 5, 8]
    assert tile_group.tolist() == [0, 1, 1, 2, 3, 4, 4, 4, 5, 5, 5]
    tile_edges, tile_group = cut(edges, 24, 4)
    assert tile_edges.tolist() == [0, 0, 2, 2, 3, 6]
    assert tile_group.tolist() == [1, 1, 3, 4, 4, 4] + [5] * 5


def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads with few slots are sorted in shorter blocks."""
    generator = torch.Generator().manual_seed(2)
    indices = torch.randint(-1, 5, (1, 2, 110, 2), generator=generator, dtype=torch.int32)
    found, sizes = [], []
    for few in (0, plans.FEW_SLOTS):
        monkeypatch.setattr(plans, "FEW_SLOTS", few)
        sizes.append(plans.slots_per_block(220, 5))
        plan = make_plan(indices, 5, 16)
        found.append([plan.slots[: int(plan.edges[-1])], plan.edges, plan.tile_edges])
    assert sizes == [128, 64]
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)

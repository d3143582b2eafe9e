"""Short chunks, whose keys stay while links pass by: queries on their way one tile ahead, spans, whole chunks."""

from __future__ import annotations

import pytest
import torch
from engine_cases import qkv
from test_kernels_blocks import Started, _chunks, _to_all, links
from torch import Tensor

from moc.attention.triton import kernels, routed, tiles
from moc.attention.triton.tiles import Tiles

STAYING = Tiles(16, 32, num_stages=1, span=48)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    watched = Started(kernels.short_forward_kernel)
    monkeypatch.setattr(routed.kernels, "short_forward_kernel", watched)
    return watched


def assert_as_passing(inputs: list[Tensor], layout: object, indices: Tensor, shape: Tiles, scale: float) -> None:
    """The same results as where keys pass by."""
    got = links(inputs, layout, indices, shape, scale)  # type: ignore[arg-type]
    for a, b in zip(got, links(inputs, layout, indices, Tiles(16, 32), scale), strict=True):  # type: ignore[arg-type]
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "text", "whole", "scale", "width"),
    [
        ((32, 32, 32), 0, True, 0.25, 16),
        ((32, 32), 0, True, -0.4, 24),
        ((32, 32), 0, True, 0.0, 16),
        ((32, 32), 5, False, 0.25, 16),  # text counts: who names it in routes of his own reads no more than it
        ((31, 32), 0, False, -0.4, 16),
        ((1, 32, 17), 0, False, 0.0, 24),
        ((20, 20), 0, False, 0.25, 24),
    ],
)
def test_whole_chunks_and_others(
    started: Started, lengths: tuple[int, ...], text: int, whole: bool, scale: float, width: int
) -> None:
    layout = _chunks(*lengths, text=text)
    inputs, indices = _to_all(layout, width)
    assert_as_passing(inputs, layout, indices, STAYING, scale)
    assert [x["WHOLE"] for x in started.given] == [whole]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 33, 48, 49, 97])
def test_links_around_the_edges_of_tiles_and_spans(count: int) -> None:
    """Tiles of 16, spans of 48: a tile with one link, none beyond the last, a span with one link."""
    layout = _chunks(20, 110)
    inputs = list(qkv(layout, batch=1, heads=1, width=16))
    indices = torch.full((1, 1, layout.length, 1), -1, dtype=torch.int32)
    indices[:, :, 7 : 7 + count] = 0
    assert_as_passing(inputs, layout, indices, STAYING, 0.25)


def test_more_links_than_the_longest_span() -> None:
    layout = _chunks(30, tiles.SPAN + 40)
    inputs = list(qkv(layout, batch=1, heads=1, width=16))
    indices = torch.zeros((1, 1, layout.length, 1), dtype=torch.int32)
    shape = Tiles(64, 32, num_stages=1, span=tiles.SPAN)
    got = links(inputs, layout, indices, shape)
    for a, b in zip(got, links(inputs, layout, indices, Tiles(64, 32)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_neither_neighbours_nor_rows_without_links_leak(poison: float) -> None:
    layout = _chunks(20, 31, 9)
    (q, k, v), indices = _to_all(layout)
    for chosen in range(layout.num_chunks):
        only = torch.where(indices == chosen, indices, -1)
        expected = links([q, k, v], layout, only, STAYING)
        a, b = layout.chunk_edges()[chosen : chosen + 2]
        inside = torch.zeros(layout.length, dtype=torch.bool)
        inside[a:b] = True
        bad = [torch.where(inside[:, None], x, poison) for x in (k, v)]
        idle = (only < 0).all(-1)
        for got, want in zip(links([torch.where(idle[..., None], poison, q), *bad], layout, only, STAYING), expected,
                             strict=True):  # fmt: skip
            assert torch.equal(got, want)


def test_the_table_keeps_short_keys_where_there_is_room() -> None:
    for shared, span in ((227 << 10, 2048), (163 << 10, 2048), (99 << 10, 0), (0, 0)):
        for width in (64, 96, 128):
            for longest in (65, 128):
                assert tiles.forward_tiles(longest, width, torch.bfloat16, shared).span == span
    for longest, width, dtype in ((64, 128, torch.bfloat16), (129, 128, torch.bfloat16), (128, 256, torch.bfloat16),
                                  (128, 128, torch.float32)):  # fmt: skip
        assert not tiles.forward_tiles(longest, width, dtype, 227 << 10).span

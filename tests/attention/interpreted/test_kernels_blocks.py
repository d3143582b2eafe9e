"""Keys in blocks by the copy engine, which the interpreter plays: what it fetches, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_cases import qkv
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, route
from moc.attention.reference import attend_reference
from moc.attention.triton import descriptors, kernels, plan, routed, tiles
from moc.attention.triton.descriptors import blocks_of
from moc.attention.triton.tiles import Tiles

CONFIG = MoCConfig(chunk_tokens=40, top_k=2)
BLOCKS = Tiles(16, 32, blocks=True)


class Started:
    """A kernel that notes what its launches are given."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.given = kernel, list[dict[str, Any]]()

    def __getitem__(self, grid: Any) -> Any:
        def launch(*args: Any, **named: Any) -> None:
            self.given.append(named)
            self.kernel[grid](*args, **named)

        return launch

    @property
    def times(self) -> int:
        return len(self.given)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Started]:
    watched = {name: Started(getattr(kernels, name)) for name in ("forward_kernel", "blocks_forward_kernel")}
    for name, kernel in watched.items():
        monkeypatch.setattr(routed.kernels, name, kernel)
    return watched


def layout_and_inputs(batch: int = 2, heads: int = 2, width: int = 16) -> tuple[TokenLayout, list[Tensor], Tensor]:
    """Chunks of 1 to 40 tokens, blocks of 32: some whole, some with a rest, some shorter than a block."""
    shots = [Shot(1, 1, 37), Shot(0, 1, 1), Shot(2, 1, 43)]
    layout = TokenLayout.from_shots(global_text=1, shots=shots, chunk_tokens=40)
    q, k, v = qkv(layout, batch=batch, heads=heads, width=width)
    return layout, [q, k, v], route(q, k, layout, CONFIG).indices.contiguous()


def links(
    inputs: list[Tensor], layout: TokenLayout, indices: Tensor, shape: Tiles, scale: float = 0.25
) -> tuple[Tensor, Tensor]:
    made = plan.make_plan(indices, layout.num_chunks, shape.links)
    out, lse = routed.links_forward(*inputs, made, indices.shape[-1], layout, scale, shape)
    ok = (indices >= 0).flatten()
    return out[ok], lse[ok]


def packed(x: list[Tensor]) -> list[Tensor]:
    """[B, H, L, D] each, as one projection leaves them: [B, L, 3, H, D]."""
    together = torch.stack(x).permute(1, 3, 0, 2, 4).contiguous()
    return [y.transpose(1, 2) for y in together.unbind(2)]


def lying(x: list[Tensor], how: str) -> list[Tensor]:
    if how == "packed":
        return packed(x)
    if how == "heads side by side":
        return [y.transpose(1, 2).contiguous().transpose(1, 2) for y in x]
    if how == "part of more rows":
        return [torch.nn.functional.pad(y, (0, 0, 3, 5), value=torch.nan)[:, :, 3:-5] for y in x]
    return x


@pytest.mark.parametrize(
    ("how", "scale"),
    [("contiguous", 0.25), ("packed", -0.4), ("heads side by side", 0.0), ("part of more rows", 0.25)],
)
def test_blocks_and_pointers_give_the_same_bits(started: dict[str, Started], how: str, scale: float) -> None:
    """In the same tiles, that is; the tables take other tiles for each, which changes rounding."""
    layout, inputs, indices = layout_and_inputs()
    inputs = lying(inputs, how)
    by_pointers = links(inputs, layout, indices, Tiles(16, 32), scale)
    by_blocks = links(inputs, layout, indices, BLOCKS, scale)
    assert [x.times for x in started.values()] == [1, 1]
    for a, b in zip(by_pointers, by_blocks, strict=True):
        assert a.isfinite().all()
        assert torch.equal(a, b)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_the_neighbours_of_a_chunk_do_not_leak(poison: float) -> None:
    """The last block of a chunk reaches into the next one, of the last chunk into the next head."""
    layout, (q, k, v), indices = layout_and_inputs(batch=1)
    chosen = int(indices[indices >= 0].mode().values)
    only = torch.where(indices == chosen, indices, -1)
    a, b = layout.chunk_edges()[chosen : chosen + 2]
    assert (b - a) % BLOCKS.N
    expected = links([q, k, v], layout, only, BLOCKS)
    outside = torch.ones(layout.length, dtype=torch.bool)
    outside[a:b] = False
    for x in (k, v):
        x[:, :, outside] = poison
    for got, want in zip(links([q, k, v], layout, only, BLOCKS), expected, strict=True):
        assert torch.equal(got, want)


def test_whole_passes_with_groups_of_heads_and_a_range(
    monkeypatch: pytest.MonkeyPatch, started: dict[str, Started]
) -> None:
    """As `merged_forward` runs it, against the oracle: fewer rows than keys, each head a launch of its own."""
    monkeypatch.setattr(tiles, "forward_tiles", lambda *_: BLOCKS)
    monkeypatch.setattr(routed.tiles, "WORKSPACE", 0)
    layout, (q, k, v), indices = layout_and_inputs()
    start = layout.token_range(2)[0]
    span = (start, layout.length)
    q, k, v = packed([q, k, v])
    q, indices = q[:, :, start:], indices[:, :, start:].contiguous()
    own_out, own_lse = attend_reference(q, k, v, layout, None, CONFIG, span)
    out, lse, made = routed.merged_forward(q, k, v, own_out, own_lse, indices, layout, 0.25)
    assert [x.times for x in started.values()] == [0, 4]
    truth = attend_reference(q.double(), k.double(), v.double(), layout, indices, CONFIG, span)
    torch.testing.assert_close(out.double(), truth[0], rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(lse.double(), truth[1], rtol=2e-5, atol=2e-5)
    assert all(p.tile == BLOCKS.M for _, p in made.parts)


def test_what_no_block_can_hold_goes_by_pointers(started: dict[str, Started]) -> None:
    """In tiles of its own, cut anew."""
    layout, (q, k, v), indices = layout_and_inputs()
    expected = links([q, k, v], layout, indices, BLOCKS)
    shifted = torch.cat([v.new_zeros(1), v.flatten()])[1:].view(v.shape)
    assert blocks_of(shifted, 32) is None
    got = links([q, k, shifted], layout, indices, BLOCKS)
    assert [x.times for x in started.values()] == [1, 1]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_which_tensors_make_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(2, 3, 50, 64, dtype=torch.bfloat16)
    whole = blocks_of(x, 32)
    assert whole is not None
    assert (whole.steps, list(whole.descriptor.shape)) == ([150, 50, 0], [300, 64])
    side = blocks_of(torch.zeros(2, 50, 3, 64).transpose(1, 2), 32)
    assert side is not None
    assert (side.steps, list(side.descriptor.shape)) == ([50, 0, 64], [100, 192])
    piece = blocks_of(x[1:, 1:, 5:40], 32)
    assert piece is not None
    assert (piece.steps, list(piece.descriptor.shape)) == ([0, 50, 0], [85, 64])
    spread = blocks_of(torch.zeros(1, 1, 50, 64).expand(2, 3, 50, 64), 32)
    assert spread is not None
    assert spread.steps == [0, 0, 0]
    for odd in (
        x.transpose(2, 3),  # width not last
        x[..., :48],  # no power of two
        torch.zeros(2, 3, 50, 68)[..., :64].to(torch.bfloat16)[:, :, :0],  # nothing there
        torch.zeros(2, 3, 50, 68, dtype=torch.bfloat16)[..., :64],  # rows off 16 bytes
        torch.zeros(1, 1, 1, 64).expand(2, 3, 50, 64),  # one row for all tokens
        torch.zeros(2 * 3 * 50 * 64 + 8, dtype=torch.bfloat16)[4:-4].view(2, 3, 50, 64),  # base off 16 bytes
        torch.zeros(50, 2, 3, 64).permute(1, 2, 0, 3),  # batch rows within a row
    ):
        assert blocks_of(odd, 32) is None
    for most, fits in ((300, True), (299, False)):
        with monkeypatch.context() as patch:
            patch.setattr(descriptors, "MOST_ROWS", most)
            assert (blocks_of(x, 32) is not None) == fits
    monkeypatch.setattr(descriptors, "INTERPRETING", False)
    descriptors._engine.cache_clear()
    assert blocks_of(x, 32) is None  # no engine
    descriptors._engine.cache_clear()


def test_the_table_takes_blocks_where_there_is_an_engine() -> None:
    for shared, blocks in ((227 << 10, True), (163 << 10, False), (99 << 10, False), (0, False)):
        for longest in (129, 256, 1280):
            assert tiles.forward_tiles(longest, 128, torch.bfloat16, shared).blocks == blocks
    for longest, width in ((64, 128), (128, 128), (1280, 96), (1280, 256)):
        assert not tiles.forward_tiles(longest, width, torch.bfloat16, 227 << 10).blocks


def _chunks(*lengths: int, text: int = 0) -> TokenLayout:
    """Video chunks of these lengths, each a shot; the first one has a caption of `text` tokens."""
    shots = [Shot(text if i == 0 else 0, 1, n) for i, n in enumerate(lengths)]
    return TokenLayout.from_shots(shots=shots, chunk_tokens=max(lengths))


def _to_all(layout: TokenLayout, width: int = 16) -> tuple[list[Tensor], Tensor]:
    """Inputs of one head, and routes by which some row goes to each video chunk."""
    video = (~layout.chunk_is_text).nonzero().flatten()
    generator = torch.Generator().manual_seed(layout.length)
    picks = video[torch.randint(len(video), (1, 1, layout.length, 2), generator=generator)].int()
    picks[:, :, : len(video), 0] = video.int()
    picks[:, :, ::3, 1] = -1
    picks[:, :, 70:] = -1  # the interpreter is slow
    return list(qkv(layout, batch=1, heads=1, width=width)), picks


@pytest.mark.parametrize(
    ("lengths", "text", "scale", "overlap"),
    [
        ((32,), 0, 0.25, True),  # one block, no tail
        ((32, 33, 63, 64, 65, 40), 0, 0.25, True),
        ((32, 33, 63), 0, -0.4, True),
        ((33, 70), 32, 0.0, True),
        ((33, 70), 3, 0.0, False),  # routes made by hand may lead to a caption
        ((31, 64), 0, 0.25, False),
        ((1, 100), 0, 0.25, False),
        ((90, 1, 96), 31, 0.25, False),
    ],
)
def test_the_last_block_ends_with_its_chunk(
    started: dict[str, Started], lengths: tuple[int, ...], text: int, scale: float, overlap: bool
) -> None:
    """Where no chunk is shorter than a block, its keys are counted once all the same."""
    layout = _chunks(*lengths, text=text)
    inputs, indices = _to_all(layout)
    got = links(inputs, layout, indices, BLOCKS, scale)
    assert [x["OVERLAP"] for x in started["blocks_forward_kernel"].given] == [overlap]
    for a, b in zip(got, links(inputs, layout, indices, Tiles(16, 32), scale), strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_blocks_that_end_with_their_chunk_read_no_other(started: dict[str, Started], poison: float) -> None:
    """Neither the first chunk of a head nor the last nor one between."""
    layout = _chunks(33, 32, 63)
    (q, k, v), indices = _to_all(layout)
    for chosen in range(layout.num_chunks):
        only = torch.where(indices == chosen, indices, -1)
        expected = links([q, k, v], layout, only, BLOCKS)
        a, b = layout.chunk_edges()[chosen : chosen + 2]
        inside = torch.zeros(layout.length, dtype=torch.bool)
        inside[a:b] = True
        bad = [torch.where(inside[:, None], x, poison) for x in (k, v)]
        for got, want in zip(links([q, *bad], layout, only, BLOCKS), expected, strict=True):
            assert torch.equal(got, want)
    assert all(x["OVERLAP"] for x in started["blocks_forward_kernel"].given)


def test_heads_of_64_go_by_pointers() -> None:
    assert not tiles.forward_tiles(1280, 64, torch.bfloat16, 227 << 10).blocks
    assert tiles.forward_tiles(1280, 64, torch.bfloat16, 227 << 10) == tiles.by_pointers(1280)

"""record_routes: what it counts is what was routed, whatever the ranges and layouts of the calls."""

from __future__ import annotations

import pytest
import torch

import moc
from moc import MoCConfig, Routing, Shot, TokenLayout, route

CONFIG = MoCConfig(chunk_tokens=4, top_k=2)
LAYOUT = TokenLayout.from_shots(
    global_text=3, shots=[Shot(text=2, frames=2, tokens_per_frame=5) for _ in range(4)], chunk_tokens=4
)


def _queries(layers: int = 1, length: int = LAYOUT.length) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [tuple(torch.randn(2, 1, 3, length, 8, generator=generator)) for _ in range(layers)]  # type: ignore[misc]


def _by_hand(routing: Routing, layout: TokenLayout) -> torch.Tensor:
    """[H, C, C] counts over video chunks, one link at a time."""
    video = (~layout.chunk_is_text).nonzero().flatten().tolist()
    place = {chunk: n for n, chunk in enumerate(video)}
    counts = torch.zeros(routing.indices.shape[1], len(video), len(video), dtype=torch.int64)
    for head, rows in enumerate(routing.indices[0]):
        for row, chosen in enumerate(rows.tolist()):
            for chunk in chosen:
                if chunk >= 0:
                    counts[head, place[int(layout.chunk_ids[row])], place[chunk]] += 1
    return counts


def test_counts_are_those_of_the_routing() -> None:
    with moc.record_routes() as routes:
        made = [route(q, k, LAYOUT, CONFIG, layer=layer) for layer, (q, k) in enumerate(_queries(2))]
    assert routes.calls == 2
    expected = torch.stack([_by_hand(routing, LAYOUT) for routing in made])
    assert torch.equal(torch.from_numpy(routes.counts()), expected)


def test_ranges_and_selected_layouts_add_up() -> None:
    """A stream routed shot after shot, against the shots so far, counts as the stream routed at once."""
    q, k = _queries()[0]
    with moc.record_routes() as whole:
        route(q, k, LAYOUT, CONFIG)
    with moc.record_routes() as parts:
        for shot in range(1, 5):
            part, positions = LAYOUT.select(range(1, shot + 1))
            rows = part.token_range(shot)
            route(q[:, :, rows[0] : rows[1]], k[:, :, positions], part, CONFIG, q_range=rows)
    assert (whole.counts() == parts.counts()).all()


def test_map_of_a_causal_model_has_no_loop() -> None:
    from moc.route_map import analyse

    with moc.record_routes(layers=2) as routes:
        for q, k in _queries(4):
            route(q, k, LAYOUT, CONFIG)
    found = routes.map("mine")
    assert found.dims == (1, 2, 3)
    assert len(found.shots) == 4
    assert found.causal
    assert analyse(found, threshold=0.0).loops.components == ()


def test_nested_recordings_and_none_outside() -> None:
    q, k = _queries()[0]
    with moc.record_routes() as outer:
        route(q, k, LAYOUT, CONFIG)
        with moc.record_routes() as inner:
            route(q, k, LAYOUT, CONFIG)
    route(q, k, LAYOUT, CONFIG)
    assert (outer.calls, inner.calls) == (2, 1)
    assert (outer.counts() == 2 * inner.counts()).all()


def test_mistakes() -> None:
    with moc.record_routes() as routes, pytest.raises(ValueError, match="no routing was recorded"):
        routes.counts()
    with pytest.raises(ValueError, match="at least 1"), moc.record_routes(layers=0):
        pass


def test_the_recording_ends_with_an_error() -> None:
    from moc import recording

    with pytest.raises(RuntimeError), moc.record_routes():
        raise RuntimeError
    assert recording._active == []

"""TokenLayout: tables that agree with the picture of the stream, whatever its raggedness."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from engine_cases import layouts, ragged
from hypothesis import given, settings
from hypothesis import strategies as st

from moc import Shot, TokenLayout
from moc.layout import KEPT_TOKENS, cut_run

QUICK = settings(max_examples=60, deadline=None)


@QUICK
@given(layouts(min_shots=0))
def test_tables_tell_the_stream_token_by_token(layout: TokenLayout) -> None:
    rows = [(0, True, -1)] * layout.global_text
    for number, shot in enumerate(layout.shots, start=1):
        rows += [(number, True, -1)] * shot.text
        rows += [(number, False, frame) for frame in range(shot.frames) for _ in range(shot.tokens_per_frame)]
    assert layout.length == len(rows)
    told = zip(layout.shot_ids.tolist(), layout.is_text.tolist(), layout.frame_ids.tolist(), strict=True)
    assert list(told) == rows


@QUICK
@given(layouts(min_shots=0))
def test_chunks_are_contiguous_runs_of_one_shot_and_modality(layout: TokenLayout) -> None:
    bounds = layout.chunk_bounds.tolist()
    assert bounds[0] == 0
    assert bounds[-1] == layout.length
    assert layout.num_chunks == len(bounds) - 1
    assert layout.chunk_edges() == tuple(bounds)
    for chunk in range(layout.num_chunks):
        tokens = slice(bounds[chunk], bounds[chunk + 1])
        assert bounds[chunk] < bounds[chunk + 1]
        assert layout.chunk_ids[tokens].eq(chunk).all()
        assert layout.shot_ids[tokens].eq(layout.chunk_shot[chunk]).all()
        assert layout.is_text[tokens].eq(layout.chunk_is_text[chunk]).all()


@QUICK
@given(layouts())
def test_ranges_of_a_shot(layout: TokenLayout) -> None:
    rank = 0
    for i, number in enumerate(layout.shot_numbers):
        start, stop = layout.token_range(number)
        assert (start, stop) == tuple(layout.shot_bounds[i : i + 2].tolist())
        assert (layout.shot_ids == number).nonzero().flatten().tolist() == list(range(start, stop))
        caption, video = layout.caption_range(number), layout.video_range(number)
        assert (caption[0], caption[1], video[1]) == (start, video[0], stop)
        assert caption[1] - caption[0] == layout.shots[i].text
        chunks = layout.video_chunks(number)
        edges = layout.chunk_edges()
        assert (edges[chunks[0]], edges[chunks[1]]) == video
        assert layout.video_ranks(number) == (rank, rank + chunks[1] - chunks[0])
        rank += chunks[1] - chunks[0]
    assert layout.num_video_chunks == rank


@QUICK
@given(frames=st.integers(1, 40), per_frame=st.integers(1, 60), chunk=st.integers(1, 300))
def test_cuts_are_even_and_near_frames(frames: int, per_frame: int, chunk: int) -> None:
    run = frames * per_frame
    lengths = cut_run(frames, per_frame, chunk)
    n = -(-run // chunk)
    assert sum(lengths) == run
    assert len(lengths) == n
    assert min(lengths) >= 1
    cut = 0
    for i, length in enumerate(lengths[:-1], start=1):
        cut += length
        even = i * run / n
        edge = abs(cut - round(cut / per_frame) * per_frame)
        # Either the even cut itself, no frame edge being near, or the frame edge nearest to it.
        assert abs(cut - even) <= 0.5 or (edge == 0 and abs(cut - even) <= chunk / 8 + 0.5)
        if edge:
            assert 8 * edge > chunk


def test_cuts_of_the_papers_shot() -> None:
    # 25 latent frames of 900 tokens: 1280 does not fit frames, 10240 does.
    assert cut_run(25, 900, 10240) == [7200, 8100, 7200]
    assert len(cut_run(25, 900, 1280)) == 18
    assert cut_run(21, 1560, 1560) == cut_run(21, 1560, "frame") == [1560] * 21
    assert cut_run(3, 2, 4) == [3, 3]  # a cut in the middle of a frame moves by nothing within half a token
    assert cut_run(4, 10, 20) == [20, 20]
    assert cut_run(4, 10, 21) == [20, 20]


@QUICK
@given(layouts(), st.data())
def test_select_keeps_numbers_and_positions(layout: TokenLayout, data: st.DataObject) -> None:
    kept = sorted(data.draw(st.sets(st.sampled_from(layout.shot_numbers))))
    part, index = layout.select(kept)
    assert part.shot_numbers == tuple(kept)
    assert part.length == len(index)
    wanted = torch.isin(layout.shot_ids, torch.tensor([0, *kept]))
    assert index.tolist() == wanted.nonzero().flatten().tolist()
    for name in ("shot_ids", "is_text", "frame_ids"):
        assert getattr(part, name).equal(getattr(layout, name)[index])
    origin = torch.tensor(part.chunk_origin, dtype=torch.int64)
    assert origin[part.chunk_ids].equal(layout.chunk_ids[index])
    again, inner = part.select(kept[1:])
    assert index[inner].equal(layout.select(kept[1:])[1])
    assert again == layout.select(kept[1:])[0]


@QUICK
@given(layouts(), st.data())
def test_prefix_is_the_stream_so_far(layout: TokenLayout, data: st.DataObject) -> None:
    shots = data.draw(st.integers(0, layout.num_shots))
    part = layout.prefix(shots)
    made = TokenLayout.from_shots(
        global_text=layout.global_text, shots=layout.shots[:shots], chunk_tokens=layout.chunk_tokens
    )
    assert part == made
    assert hash(part) == hash(made)
    assert part.chunk_ids.equal(layout.chunk_ids[: part.length])


def test_equal_layouts_share_their_tables() -> None:
    first, second = ragged(), ragged()
    assert first is second
    assert first.chunk_bounds is second.chunk_bounds
    assert first.to("cpu") is first
    # a selection is made anew each time: a stream makes one per shot, and kept ones would grow with its square
    assert first.select([1, 3])[0] == first.select([1, 3])[0]
    assert first.select([1, 3])[0] is not first.select([1, 3])[0]
    calls = []
    for _ in range(2):
        first.cached("a table of this test", lambda: calls.append(1))
    assert len(calls) == 1


def test_layouts_of_long_stories_are_not_all_kept() -> None:
    refs = []
    for text in range(60):
        layout = TokenLayout.from_shots(global_text=text, shots=[Shot(0, 25, 900)] * 8, chunk_tokens="frame")
        refs.append(weakref.ref(layout))
        assert refs[-1]() is TokenLayout.from_shots(global_text=text, shots=layout.shots, chunk_tokens="frame")
    del layout
    gc.collect()
    alive = [layout for ref in refs if (layout := ref()) is not None]
    assert sum(layout.length for layout in alive) <= KEPT_TOKENS
    assert alive[-1].global_text == 59
    assert len(alive) >= KEPT_TOKENS // alive[-1].length - 1, "as many as have room"


def test_other_chunks_make_another_layout() -> None:
    layout = ragged()
    other = TokenLayout.from_shots(global_text=layout.global_text, shots=layout.shots, chunk_tokens="frame")
    assert other != layout
    assert other.num_chunks == 1 + 1 + 4 + 1 + 1 + 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Shot(frames=0), ValueError, "frames of a shot must be at least 1, got 0"),
        (lambda: Shot(text=-1), ValueError, "text of a shot must be at least 0, got -1"),
        (lambda: Shot(tokens_per_frame=2.5), TypeError, r"got 2\.5"),  # type: ignore[arg-type]
        (lambda: TokenLayout.from_shots(global_text=-1, shots=[], chunk_tokens=4), ValueError, "got -1"),
        (lambda: TokenLayout.from_shots(shots=[], chunk_tokens=0), ValueError, "chunk_tokens.*got 0"),
        (lambda: TokenLayout.from_shots(shots=[], chunk_tokens="frames"), TypeError, "'frames'"),  # type: ignore[arg-type]
        (lambda: TokenLayout.from_shots(shots=[(1, 2, 3)], chunk_tokens=4), TypeError, "moc.Shot"),  # type: ignore[list-item]
        (lambda: ragged().select([3, 1]), ValueError, r"ascending.*\[3, 1\]"),
        (lambda: ragged().select([4]), ValueError, "no shot 4 in this layout, it holds 1, 2, 3"),
        (lambda: ragged().prefix(4), ValueError, "0 to 3 shots, got 4"),
        (lambda: ragged().video_range(0), ValueError, "no shot 0"),
    ],
)
def test_mistakes_are_refused_with_their_values(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]

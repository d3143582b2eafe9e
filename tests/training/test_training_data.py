"""Training data: the doubled stream, what its rows may look at, and pieces as pure functions of their number."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_cases import TINY

from moc.attention import moc_attention
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.planning import alone
from moc.backbones.pocket.stream import Memory
from moc.config import MoCConfig
from moc.layout import Shot, TokenLayout
from moc.routing import candidates_of, route
from moc.training.config import Stage, TrainConfig, parse
from moc.training.data import (
    MAX_TRAINED_SHOT,
    Piece,
    RoutedAttention,
    chunks_of_lessons,
    draw_timesteps,
    make_piece,
    pixel_weights,
    stream_layout,
)
from moc.training.lessons import Shown
from moc.world.render import Rendered
from moc.world.schema import COLUMNS, FACT_ID, HEIGHT, TOKEN_SIZE, WIDTH

CPU = torch.device("cpu")
SIZE = PocketConfig(picture_width=16, picture_height=8, caption_tokens=3, global_tokens=4)  # two tokens a frame
POCKET = MoCConfig.preset("pocket")


def shot_of(row_shot: int, shots: int) -> int:
    """Which shot of the story a shot of the doubled stream is, clean or noisy; both count from 1."""
    return row_shot if row_shot < shots else row_shot - (shots - 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.sampled_from(["frame", 1, 3, 100]))
def test_rows_may_look_at_clean_earlier_shots_alone(shots: int, latent_frames: int, chunk_tokens: int | str) -> None:
    layout = stream_layout(shots, latent_frames, POCKET.replace(chunk_tokens=chunk_tokens), SIZE)
    candidates = candidates_of(layout, POCKET.replace(chunk_tokens=chunk_tokens), None, CPU)
    assert len(candidates.limit) == layout.length
    video = (~layout.chunk_is_text).nonzero().flatten().tolist()
    for row in range(layout.length):
        low, high, limit = (int(x[row]) for x in (candidates.low, candidates.high, candidates.limit))
        allowed = [video[rank] for rank in range(limit) if not low <= rank < high]
        mine = 0 if layout.is_text[row] else shot_of(int(layout.shot_ids[row]), shots)
        # shots below `shots` are the clean copies, numbered as in the story
        assert allowed == [chunk for chunk in video if int(layout.chunk_shot[chunk]) < min(mine, shots)]


@pytest.mark.parametrize("drop_in_rate", [0.0, 3.0])
def test_routes_of_training_never_reach_a_copy_of_the_own_or_a_later_shot(drop_in_rate: float) -> None:
    shots = 4
    moc = POCKET.replace(top_k=3, drop_in_rate=drop_in_rate, drop_off_max=0.5)
    layout = stream_layout(shots, 2, moc, SIZE)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 2, layout.length, 16, generator=generator) for _ in range(2))
    indices = route(q, k, layout, moc, seed=5).indices
    assert (indices >= 0).any()
    row_shot = torch.tensor([shot_of(int(n), shots) for n in layout.shot_ids])
    key_shot = torch.where(indices < 0, 0, layout.chunk_shot[indices.clamp(min=0).long()])
    assert (key_shot < row_shot[:, None]).logical_or(indices < 0).all()
    assert (key_shot < shots).all()  # clean copies alone
    assert (indices[:, :, layout.is_text] == -1).all()
    deepest = layout.token_range(2 * shots - 1)[1] - 1
    if not drop_in_rate:
        return
    assert len(indices[:, :, deepest].unique()) > 2  # drop-in and drop-off do act


def test_one_shot_has_nowhere_to_look() -> None:
    candidates = candidates_of(stream_layout(1, 2, POCKET, SIZE), POCKET, None, CPU)
    assert len(candidates.limit) == SIZE.global_tokens + SIZE.caption_tokens + 4
    assert not candidates.limit.any()


# Pieces.

MODEL = PocketConfig(width=32, layers=1, heads=1, mlp=32, head=32)


def _piece(step: int = 0, number: int = 0, **changes: object) -> tuple[TrainConfig, Stage, Piece]:
    config = parse({**TINY, **changes})
    stage = config.stages[1]
    return config, stage, make_piece(config, MODEL, stage, step, number, CPU)


def test_a_piece_is_a_function_of_seed_step_and_number() -> None:
    asked = {"noisiest": 0.5, "recognition": 0.1}
    _, _, piece = _piece(**asked)
    torch.rand(7)  # other chance does not matter
    _, _, again = _piece(**asked)
    for field in dataclasses.fields(Piece):
        a, b = getattr(piece, field.name), getattr(again, field.name)
        if isinstance(a, Shown):
            for part in dataclasses.fields(Shown):
                assert torch.equal(getattr(a, part.name), getattr(b, part.name)), part.name
        else:
            assert a == b if isinstance(a, int) else torch.equal(a, b), field.name
    for other in (_piece(step=1), _piece(number=1), _piece(seed=2)):
        assert not torch.equal(other[2].patches, piece.patches)
        assert not torch.equal(other[2].t, piece.t)
    assert _piece(number=3)[2].first_row == 6


def test_shapes_and_ranges() -> None:
    _, stage, piece = _piece()
    shots, video = stage.shots, MODEL.tokens_per_frame
    assert piece.patches.shape == (2, 2 * shots - 1, video, MODEL.patch_values)
    assert piece.captions.shape == (2, 2 * shots - 1, MODEL.caption_tokens, TOKEN_SIZE)
    assert piece.target.shape == piece.importance.shape == (2, shots, video, MODEL.patch_values)
    assert piece.cos.shape[1] == MODEL.global_tokens + (2 * shots - 1) * (MODEL.caption_tokens + video)
    assert torch.equal(piece.captions[:, : shots - 1], piece.captions[:, shots - 1 : -1])
    assert piece.target.min() >= -1
    assert piece.target.max() <= 1
    assert piece.target.std() > 0.1
    assert ((piece.t >= 0) & (piece.t <= 1)).all()
    assert piece.importance.mean() == pytest.approx(1, abs=1e-5)
    assert piece.importance.unique().numel() == 2  # characters and the rest
    assert piece.importance.max() / piece.importance.min() == pytest.approx(1 + 3.0)
    torch.testing.assert_close(piece.weight, 1 / piece.t[:, shots - 1 :].clamp_min(0.08) ** 2)


def test_noise_lies_between_picture_and_noise() -> None:
    _, stage, piece = _piece(clean_history=1.0, near_clean_history=0.0)
    shots = stage.shots
    assert torch.equal(piece.patches[:, : shots - 1], piece.target[:, :-1])
    assert not piece.t[:, : shots - 1].any()
    t = piece.t[:, shots - 1 :, None, None]
    noise = (piece.patches[:, shots - 1 :] - (1 - t) * piece.target) / t
    assert noise.std() == pytest.approx(1, abs=0.05)

    _, _, near = _piece(clean_history=0.0, near_clean_history=1.0)
    history = near.t[:, : shots - 1]
    assert ((history > 0) & (history < 0.08)).all()
    assert (near.patches[:, : shots - 1] - near.target[:, :-1]).abs().max() < 0.6
    assert len(near.t[:, shots - 1 :].unique()) == 2 * shots

    _, _, joint = _piece(clean_history=0.0, near_clean_history=0.0)
    assert torch.equal(joint.patches[:, : shots - 1], joint.patches[:, shots - 1 : -1])
    assert (joint.t == joint.t[:, :1]).all()


def test_continued_shots_go_on_in_time() -> None:
    _, stage, piece = _piece(continued=1.0)
    for shot in range(1, stage.shots):
        assert not torch.equal(piece.target[:, shot], piece.target[:, shot - 1])
        # the same scene half a second later: much nearer than another shot
        step = (piece.target[:, shot] - piece.target[:, shot - 1]).abs().mean()
        assert step < 0.5 * (piece.target[:, shot] - piece.target[:, shot].flip(0)).abs().mean()
    going_on = piece.captions[:, :, 0, COLUMNS["cut"]] == FACT_ID["cut", "continue"]
    expected = [False, *[True] * (stage.shots - 1)]
    assert going_on.tolist() == [[*expected[:-1], *expected]] * 2


def test_dropped_text_and_routes() -> None:
    _, _, silent = _piece(drop_text=1.0)
    assert not silent.captions.any()
    assert not silent.global_tokens.any()
    assert silent.drop_routes.all(), "guidance leads away from a shot without words and without a past"
    _, _, spoken = _piece(drop_text=0.0)
    assert spoken.captions.any(-1).any(-1).all()
    for share in (0.0, 1.0):
        config, stage, piece = _piece(drop_routes=share, drop_off_max=0.0, drop_in_rate=0.0)
        assert piece.drop_routes.all() == bool(share)
        attention = RoutedAttention(config, stage, MODEL, 0, piece)
        generator = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(2, 1, attention.layout.length, 32, generator=generator) for _ in range(3))
        base = attention(0, q, k, v)
        v[:, :, slice(*attention.layout.video_range(1))] += 1
        last = slice(*attention.layout.video_range(2 * stage.shots - 1))
        assert torch.equal(attention(0, q, k, v)[:, :, last], base[:, :, last]) == bool(share)


@pytest.mark.parametrize("intra", ["shot", "chunk", "window"])
def test_guidance_leads_away_from_what_dropped_stories_saw(intra: str) -> None:
    """The last shot of a story without routes attends in training what sampling gives it without a past."""
    config, stage, piece = _piece(drop_text=1.0, intra=intra, clean_history=0.0, near_clean_history=0.0)
    attention = RoutedAttention(config, stage, MODEL, 0, piece)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 1, attention.layout.length, 32, generator=generator) for _ in range(3))
    first, text = attention.layout.token_range(attention.layout.num_shots)[0], MODEL.global_tokens
    seen = attention(0, q, k, v)[:, :, first:]
    by_itself = alone(config.attention(stage))
    layout = Memory.layout_of(PocketDiT(MODEL), by_itself, [stage.latent_frames])
    own = [torch.cat([x[:, :, :text], x[:, :, first:]], 2) for x in (q, k, v)]
    expected = moc_attention(*own, layout, by_itself)[:, :, text:]
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)


def test_pixel_weights() -> None:
    masks = torch.zeros(1, 3, 1, HEIGHT, WIDTH, dtype=torch.uint8)
    masks[:, :, :, 20:40, 30:60] = 1
    worn = torch.zeros_like(masks, dtype=torch.bool)
    worn[:, :, :, 20:25, 30:60] = True
    rendered = Rendered(torch.zeros(0), masks=masks, worn=worn)
    config = parse({**TINY, "character_weight": 6.0, "worn_weight": 0.5, "character_until": 0.9})
    weights = pixel_weights(config, rendered, torch.tensor([[0.5, 0.95, 1.0]]))[0, :, 0]
    assert weights[:, 0, 0].tolist() == [1, 1, 1], "scenery"
    assert weights[:, 30, 40].tolist() == pytest.approx([7, 4, 1]), "a figure: half of it between 0.9 and 1"
    assert weights[:, 22, 40].tolist() == pytest.approx([10, 5.5, 1]), "and what it wears"


def test_drops_do_not_depend_on_how_a_batch_is_split() -> None:
    config, stage, piece = _piece(micro_stories=4, drop_routes=0.0, drop_in_rate=2.0)
    generator = torch.Generator().manual_seed(0)
    whole = RoutedAttention(config, stage, MODEL, 3, piece)
    q, k, v = (torch.randn(4, 1, whole.layout.length, 32, generator=generator) for _ in range(3))
    expected = whole(1, q, k, v)
    half = dataclasses.replace(piece, first_row=2, drop_routes=piece.drop_routes[2:])
    got = RoutedAttention(config, stage, MODEL, 3, half)(1, q[2:], k[2:], v[2:])
    torch.testing.assert_close(got, expected[2:])
    other = RoutedAttention(config, stage, MODEL, 4, half)(1, q[2:], k[2:], v[2:])
    assert (other - got).abs().max() > 1e-3  # another step draws anew


def test_timesteps_are_shifted_logit_normal() -> None:
    config = parse(TINY)
    t = draw_timesteps((20000,), config, torch.Generator().manual_seed(0))
    u = t / (config.shift - (config.shift - 1) * t)  # undo the shift
    normal = torch.logit(u)
    assert normal.mean() == pytest.approx(0, abs=0.03)
    assert normal.std() == pytest.approx(1, abs=0.03)
    assert t.median() == pytest.approx(0.75, abs=0.01)  # 3 u / (1 + 2 u) of one half


def test_timesteps_may_be_those_that_sampling_visits() -> None:
    sampled = {"sampled_steps": 5, "sampled_shift": 10.0, "last_step": 0.2, "noisiest": 0.0, "near_clean_history": 0.0}
    size = dataclasses.replace(MODEL, shift=10.0, last_step=0.2)
    grid = torch.tensor(size.timesteps(5)[:-1])
    assert grid[-1] == pytest.approx(0.2)

    def drawn(share: float) -> torch.Tensor:
        config = parse({**TINY, **sampled, "on_grid": share, "clean_history": 1.0})
        stage = dataclasses.replace(config.stages[1], stories=64, micro_stories=64)
        piece = make_piece(config, size, stage, 0, 0, CPU)
        return piece.t[:, -stage.shots :]

    never, half, always = (drawn(share) for share in (0.0, 0.5, 1.0))
    near = (always[..., None] - grid).abs() < 1e-6
    assert near.any(-1).all()
    assert near.flatten(0, 1).any(0).all(), "every step of the grid"
    on = (half[..., None] - grid).abs().amin(-1) < 1e-6
    assert 0.3 < on.float().mean() < 0.7
    assert torch.equal(half[~on], never[~on]), "the others are as they were"


def test_shot_numbers_stay_below_the_longest_stream() -> None:
    """The offset is drawn so that the last shot is at most number `MAX_TRAINED_SHOT`."""
    from moc.backbones.pocket.positions import rotation_table

    rate = rotation_table(MODEL)[:, 0]
    pair = int(rate.argmax())
    _, stage, _ = _piece()
    numbers = []
    for step in range(40):
        piece = _piece(step=step)[2]
        caption = MODEL.global_tokens  # of the first shot: only the shot turns it
        angle = torch.atan2(piece.sin[:, caption, 0, pair], piece.cos[:, caption, 0, pair]) % (2 * torch.pi)
        numbers += (angle / rate[pair]).tolist()
    last = [n + stage.shots - 1 for n in numbers]
    assert min(numbers) >= 1 - 1e-2
    assert max(last) <= MAX_TRAINED_SHOT + 1e-2
    assert max(last) > 0.8 * MAX_TRAINED_SHOT
    assert all(abs(n - round(n)) < 1e-2 for n in numbers)


def test_lessons_take_the_presets_chunks() -> None:
    """Runs of as many tokens as the preset's chunks, as a layout has them; frames where those don't divide."""
    shot = Shot(text=MODEL.caption_tokens, frames=3, tokens_per_frame=MODEL.tokens_per_frame)
    layout = TokenLayout.from_shots(shots=[shot], chunk_tokens=MoCConfig.preset("pocket").chunk_tokens)
    assert chunks_of_lessons(3, MODEL) == layout.num_video_chunks == 12
    assert set(layout.chunk_bounds.diff()[~layout.chunk_is_text].tolist()) == {24}
    assert chunks_of_lessons(3, SIZE) == 3

"""Streaming against the whole stream at once: the shots of a story in one forward pass must come out the same.

Training reads the doubled stream, rendering reads kept keys and values. Both are held to one forward pass over
[clean shots before][noisy shot], with every link in place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest
import torch
from pocket_cases import PLAIN, TINY, random_text, tiny_model
from torch import Tensor

from moc.attention import attend
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.positions import rotate, rotation_table, rotations, stream_positions
from moc.backbones.pocket.stream import Memory
from moc.config import MoCConfig
from moc.layout import TokenLayout
from moc.routing import Routing, route
from moc.training import data
from moc.training.config import Stage, TrainConfig
from moc.training.data import RoutedAttention, make_piece

POCKET = MoCConfig.preset("pocket")


def restore(memory: Memory, latents: Mapping[int, Tensor], captions: Mapping[int, Tensor], before: int) -> None:
    """Rebuild the memory of finished shots below `before` from their clean patches, in story order."""
    for number in sorted(latents):
        if number < before and number not in memory.finished:
            memory.shot(number, captions[number]).finish(latents[number])


def assert_close(got: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of float32 over a few layers; values are of the order of one."""
    torch.testing.assert_close(got, expected, rtol=2e-4, atol=2e-4)


class Story:
    """Random captions, clean patches, noisy patches and timesteps of shots with `frames` latent frames."""

    def __init__(self, frames: Sequence[int], batch: int = 1, seed: int = 0, size: PocketConfig = TINY) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.frames = list(frames)
        self.model = tiny_model(size)
        self.global_tokens = random_text(batch, TINY.global_tokens, generator)
        self.captions = [random_text(batch, TINY.caption_tokens, generator) for _ in frames]
        shapes = [(batch, n * TINY.tokens_per_frame, TINY.patch_values) for n in frames]
        self.clean = [torch.randn(shape, generator=generator).clamp(-1, 1) for shape in shapes]
        self.noisy = [torch.randn(shape, generator=generator) for shape in shapes]
        self.times = (torch.rand(len(frames), generator=generator) * 0.8 + 0.1).tolist()

    def stream(self, config: MoCConfig, shots: int | None = None) -> list[Tensor]:
        """Predictions of the noisy shots, one after the other against kept keys."""
        memory = Memory(self.model, config, self.frames, self.global_tokens)
        made = []
        for i in range(shots or len(self.frames)):
            shot = memory.shot(i + 1, self.captions[i])
            made.append(shot.predict(self.noisy[i], self.times[i]))
            shot.finish(self.clean[i])
        return made

    def at_once(self, config: MoCConfig, number: int) -> Tensor:
        """Prediction of shot `number` in one pass over the clean shots before it and itself."""
        layout = Memory.layout_of(self.model, config, self.frames[:number])
        positions = stream_positions(TINY, [(n, self.frames[n - 1], 0) for n in range(1, number + 1)])
        cos, sin = rotations(positions, rotation_table(TINY))
        patches = [*self.clean[: number - 1], self.noisy[number - 1]]
        body = self.model.embed_shots(self.captions[:number], patches)
        x = torch.cat([self.model.embed_text(self.global_tokens), body], dim=1)
        times = torch.tensor([[0.0] * number + [self.times[number - 1]]])
        mod, head_mod = self.model.condition(times)
        segments = [TINY.global_tokens, *(TINY.caption_tokens + p.shape[1] for p in patches)]

        def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(q, k, v, layout, route(q, k, layout, config), config, backend="reference")

        x = self.model.run_blocks(x, mod, segments, cos, sin, attention)
        start, stop = layout.video_range(number)
        return self.model.predict(x[:, start:stop], self.noisy[number - 1], head_mod[:, -1:], (stop - start,))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"top_k": 0},
        {"top_k": 1},
        {"chunk_tokens": 12},
        {"chunk_tokens": 3, "top_k": 7},
        {"intra": "chunk", "top_k": 2},
        {"intra": "window", "window_chunks": 1, "top_k": 2, "chunk_tokens": 4},
    ],
    ids=str,
)
def test_streaming_is_one_pass_over_the_whole_stream(changes: dict[str, object]) -> None:
    config = POCKET.replace(**changes)
    story = Story([2, 3, 1, 2], batch=2)
    for number, made in enumerate(story.stream(config), 1):
        assert_close(made, story.at_once(config, number))


def test_streaming_without_a_skip() -> None:
    story = Story([2, 3, 1, 2], batch=2, size=PLAIN)
    assert story.model.skip is None
    for number, made in enumerate(story.stream(POCKET), 1):
        assert_close(made, story.at_once(POCKET, number))


def test_every_part_of_the_past_matters() -> None:
    """The test above would also pass for a model that looks at nothing."""
    story = Story([1, 2, 1])
    before = story.stream(POCKET)[-1]
    for change in ("global", "caption", "clean"):
        other = Story([1, 2, 1])
        if change == "global":
            other.global_tokens[0, 0, 1] += 1
        elif change == "caption":
            other.captions[0][0, 0, 1] = (other.captions[0][0, 0, 1] + 1) % 50
        else:
            other.clean[1] = -other.clean[1]
        assert (other.stream(POCKET)[-1] - before).abs().max() > 1e-3, change


def test_shots_do_not_depend_on_later_ones() -> None:
    story, other = Story([2, 1, 2, 1]), Story([2, 1, 3, 2, 2], seed=0)
    for name in ("captions", "clean", "noisy"):
        getattr(other, name)[:2] = getattr(story, name)[:2]
    other.times[:2] = story.times[:2]
    other.global_tokens = story.global_tokens
    for a, b in zip(story.stream(POCKET, 2), other.stream(POCKET, 2), strict=True):
        assert torch.equal(a, b)


def test_denoising_again_leaves_no_trace() -> None:
    """A step writes keys in place: whatever was denoised before, a prediction and what is kept are the same."""
    story = Story([2, 2])
    memory = Memory(story.model, POCKET, story.frames, story.global_tokens)
    first = memory.shot(1, story.captions[0])
    alone = first.predict(story.noisy[0], 0.5)
    first.finish(story.clean[0])
    kept = memory.finished[1]
    first.predict(story.noisy[0] * 3, 0.9)
    assert torch.equal(first.predict(story.noisy[0], 0.5), alone)
    for name in ("keys", "values", "descriptors"):
        for a, b in zip(getattr(kept, name), getattr(memory.finished[1], name), strict=True):
            assert a.isfinite().all()
            assert torch.equal(a, b)
    first.finish(story.clean[0])
    for a, b in zip(kept.keys, memory.finished[1].keys, strict=True):
        assert torch.equal(a, b)


def test_restoring_gives_the_same_memory() -> None:
    story = Story([1, 2, 2, 1])
    memory = Memory(story.model, POCKET, story.frames, story.global_tokens)
    for i in range(3):
        memory.shot(i + 1, story.captions[i]).finish(story.clean[i])
    again = Memory(story.model, POCKET, story.frames, story.global_tokens)
    captions = dict(enumerate(story.captions, 1))
    restore(again, {1: story.clean[0], 2: story.clean[1], 3: story.clean[2]}, captions, before=3)
    assert sorted(again.finished) == [0, 1, 2]
    restore(again, {n: story.clean[n - 1] for n in (1, 2, 3)}, captions, before=4)
    a, b = (m.shot(4, story.captions[3]).predict(story.noisy[3], 0.4) for m in (memory, again))
    assert torch.equal(a, b)


@pytest.mark.parametrize("m", [0, 1, 2, 3, 9])
def test_outer_loop_keeps_the_most_relevant_shots(m: int) -> None:
    story = Story([1, 1, 1, 1])
    config = POCKET.replace(outer_top_m=m)
    memory = Memory(story.model, config, story.frames, story.global_tokens)
    for i in range(3):
        memory.shot(i + 1, story.captions[i]).finish(story.clean[i])
    shot = memory.shot(4, story.captions[3])
    means = torch.stack([story.model.embed_text(c).mean(1)[0] for c in story.captions])
    order = (means[:3] @ means[3]).argsort(descending=True)
    assert shot.earlier == sorted(int(i) + 1 for i in order[:m])
    assert shot.layout.shot_numbers == (*shot.earlier, 4)
    got = shot.predict(story.noisy[3], 0.5)
    if m >= 3:
        plain = Memory(story.model, POCKET, story.frames, story.global_tokens)
        plain.finished = memory.finished
        assert torch.equal(got, plain.shot(4, story.captions[3]).predict(story.noisy[3], 0.5))
    for number in {1, 2, 3} - set(shot.earlier):  # what is out of play is not read at all
        gone = memory.finished[number]
        for tensor in (*gone.keys, *gone.values, *gone.descriptors):
            tensor.fill_(torch.nan)
    assert torch.equal(memory.shot(4, story.captions[3]).predict(story.noisy[3], 0.5), got)


@pytest.mark.parametrize("outer_top_m", [None, 3])
def test_far_shots_are_read_nearer(outer_top_m: int | None) -> None:
    """As if the kept keys had been made where shot 6 sees them; shots within reach stay as they are."""
    story = Story([1, 2, 1, 1, 3, 1])
    config = POCKET.replace(outer_top_m=outer_top_m)

    def prediction(reach: int, turned: Mapping[int, int]) -> Tensor:
        memory = Memory(story.model, config, story.frames, story.global_tokens)
        story.model.config = dataclasses.replace(TINY, reach=10)  # the past is the same in all
        restore(memory, dict(enumerate(story.clean, 1)), dict(enumerate(story.captions, 1)), before=6)
        table = rotation_table(TINY)
        for number, shots in turned.items():
            cos, sin = rotations(torch.tensor([[float(shots), 0, 0, 0]]), table)
            kept = memory.finished[number]
            for xs in (kept.keys, kept.descriptors):
                xs[:] = [rotate(x.transpose(1, 2), cos, sin).transpose(1, 2) for x in xs]
        story.model.config = dataclasses.replace(TINY, reach=reach)
        return memory.shot(6, story.captions[5]).predict(story.noisy[5], 0.5)

    as_they_are, near = prediction(10, {}), prediction(2, {})
    assert_close(near, prediction(10, {1: 3, 2: 2, 3: 1}))
    assert not torch.allclose(near, as_they_are, atol=1e-3)
    assert torch.equal(as_they_are, prediction(5, {}))


def test_hook_sees_every_denoising_pass_and_no_other() -> None:
    story = Story([1, 2])
    memory = Memory(story.model, POCKET, story.frames, story.global_tokens)
    seen: list[tuple[int, Routing, TokenLayout, tuple[int, int]]] = []
    memory.shot(1, story.captions[0]).finish(story.clean[0])
    shot = memory.shot(2, story.captions[1], on_route=lambda *call: seen.append(call))
    shot.predict(story.noisy[1], 0.5)
    shot.finish(story.clean[1])
    assert [call[0] for call in seen] == [0, 1]
    for _, routing, layout, rows in seen:
        assert rows == layout.token_range(2)
        assert routing.indices.shape[2] == rows[1] - rows[0]


@pytest.mark.parametrize(
    ("changes", "words"), [({"text_links": "all"}, "text_links: own"), ({"causal": False}, "causal: true")]
)
def test_what_streaming_refuses(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Memory(tiny_model(), POCKET.replace(**changes), [1], torch.zeros(1, TINY.global_tokens, 2, dtype=torch.int64))


# Training.

SMALL = PocketConfig(width=64, layers=2, heads=2, mlp=96, head=80)


def _exact(monkeypatch: pytest.MonkeyPatch, shots: int, **changes: object) -> tuple[TrainConfig, Stage]:
    """Training without chance that streaming does not have: no drops, positions from the start."""
    monkeypatch.setattr(data, "MAX_TRAINED_SHOT", shots)
    monkeypatch.setattr(data, "LONGEST_SHOT", 1)
    stage = Stage(steps=1, stories=2, latent_frames=1, shots=shots, chunk_tokens=24, top_k=3)
    none = {"drop_off_max": 0.0, "drop_in_rate": 0.0, "drop_text": 0.0, "drop_routes": 0.0}
    return TrainConfig(stages=(stage,), **{"micro_stories": 1, **none, **changes}), stage  # type: ignore[arg-type]


@pytest.mark.parametrize("drop_routes", [0.0, 1.0])
def test_training_sees_what_streaming_gives(monkeypatch: pytest.MonkeyPatch, drop_routes: float) -> None:
    config, stage = _exact(
        monkeypatch, 4, clean_history=1.0, near_clean_history=0.0, drop_routes=drop_routes, continued=0.5
    )
    model = tiny_model(SMALL)
    piece = make_piece(config, SMALL, stage, step=3, piece=0, device=torch.device("cpu"))
    attention = RoutedAttention(config, stage, SMALL, 3, piece)
    made = model(
        piece.global_tokens, piece.captions, piece.patches, piece.t, piece.cos, piece.sin, attention, predict_from=3
    )
    moc = POCKET.replace(chunk_tokens=24, top_k=0 if drop_routes else 3)
    memory = Memory(model, moc, [1] * 4, piece.global_tokens)
    assert torch.equal(piece.patches[:, :3], piece.target[:, :3])
    for i in range(4):
        shot = memory.shot(i + 1, piece.captions[:, 3 + i])
        got = shot.predict(piece.patches[:, 3 + i], float(piece.t[0, 3 + i]))
        assert_close(made[:, i], got)
        shot.finish(piece.target[:, i])


def test_training_sees_what_joint_sampling_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    config, stage = _exact(monkeypatch, 3, clean_history=0.0, near_clean_history=0.0, micro_stories=2)
    model = tiny_model(SMALL)
    piece = make_piece(config, SMALL, stage, step=0, piece=0, device=torch.device("cpu"))
    assert len(piece.t.unique()) == 2  # a timestep a story
    assert torch.equal(piece.patches[:, :2], piece.patches[:, 2:4])
    made = model(
        piece.global_tokens, piece.captions, piece.patches, piece.t, piece.cos, piece.sin,
        RoutedAttention(config, stage, SMALL, 0, piece), predict_from=2,
    )  # fmt: skip
    layout = data.story_layout(3, 1, 24, SMALL)
    cos, sin = rotations(stream_positions(SMALL, [(n, 1, 0) for n in (1, 2, 3)]), rotation_table(SMALL))
    moc = POCKET.replace(chunk_tokens=24, top_k=3)
    once = model(
        piece.global_tokens, piece.captions[:, 2:], piece.patches[:, 2:], piece.t[:, 2:], cos, sin,
        lambda layer, q, k, v: attend(q, k, v, layout, route(q, k, layout, moc), moc),
    )  # fmt: skip
    assert_close(made, once)


def test_shot_offsets_only_turn_shots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random offsets of training: the same stream, as if it had begun later."""
    config, stage = _exact(monkeypatch, 2)
    piece = make_piece(config, SMALL, stage, step=0, piece=0, device=torch.device("cpu"))
    monkeypatch.setattr(data, "MAX_TRAINED_SHOT", 40)
    later = make_piece(config, SMALL, stage, step=0, piece=0, device=torch.device("cpu"))
    for field in dataclasses.fields(piece):
        a, b = getattr(piece, field.name), getattr(later, field.name)
        if field.name not in ("cos", "sin"):
            assert a == b if a is None or isinstance(a, int) else torch.equal(a, b)
    text = SMALL.global_tokens
    assert torch.equal(piece.cos[:, :text], later.cos[:, :text])
    assert not torch.equal(piece.cos[:, text:], later.cos[:, text:])

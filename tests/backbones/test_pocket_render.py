"""Rendering whole stories with a tiny pocket model: streams, joint runs, pieces, guidance, counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pocket_cases import TINY, assert_same, render, shot_data, story_of, tiny_model, tiny_weights

from moc.attention.reference import mandatory_mask, routed_mask
from moc.backbones.base import load_backbone
from moc.backbones.pocket import rendering
from moc.backbones.pocket.backbone import PocketBackbone
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.patches import patchify
from moc.backbones.pocket.planning import attention_of, cut_into_pieces, story_tokens
from moc.backbones.pocket.rendering import Guided
from moc.backbones.pocket.stream import Memory
from moc.errors import InputError
from moc.layout import TokenLayout
from moc.storyboard import Storyboard
from moc.storyboard.model import Attention
from moc.world.schema import COLUMNS, FACT_ID


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> PocketBackbone:
    return PocketBackbone(tiny_weights(tmp_path_factory.mktemp("weights")))


def test_a_path_names_a_model(tmp_path: Path) -> None:
    path = tiny_weights(tmp_path)
    model = load_backbone(str(path))
    assert isinstance(model, PocketBackbone)
    assert model.size == TINY
    assert len(model.fingerprint()) == 64
    with pytest.raises(InputError, match=r"nothing\.safetensors"):
        load_backbone(str(tmp_path / "nothing.safetensors"))


def test_shapes_and_ranges(backbone: PocketBackbone) -> None:
    story = story_of([shot_data(1, 1.0), shot_data(2, 0.6), shot_data(3, 1.4)])
    steps: list[tuple[int, int, int]] = []
    results = render(backbone, story, on_step=lambda *step: steps.append(step))
    assert steps == [(shot, step, 2) for shot in (1, 2, 3) for step in (1, 2)]
    plan = backbone.plan(story)
    assert [p.latent_frames for p in plan.shots] == [2, 1, 3]
    chunks = 0
    for result, shot in zip(results, plan.shots, strict=True):
        chunks += shot.chunks
        assert result.number == shot.number
        assert result.frames.dtype == np.uint8
        assert result.frames.shape == (shot.frames, plan.height, plan.width, 3)
        assert result.latents.dtype == np.float16
        assert result.latents.shape == (shot.tokens, TINY.patch_values)
        assert np.abs(result.latents).max() <= 1
        assert result.routing.dtype == np.uint32
        assert result.routing.shape == (2, TINY.layers, TINY.heads, shot.parts, chunks)
        assert result.seconds > 0
        assert result.frames.std() > 1


def test_frames_show_the_latents() -> None:
    model = tiny_model()
    video = torch.randint(0, 256, (8, 3, TINY.picture_height, TINY.picture_width), dtype=torch.uint8)
    latents = rendering.to_latents(patchify(video, TINY).float() / 127.5 - 1, model)
    frames = rendering.to_frames(latents, model)
    # float16 holds a value near one to 1/2048, less than half a step of 1/127.5
    assert (frames == video.permute(0, 2, 3, 1).numpy()).all()


@pytest.mark.parametrize("shared", [{}, {"sampling": {"seed": 7, "steps": 2, "guidance": 2.0}},
                                    {"attention": {"outer_top_m": 1}}])  # fmt: skip
def test_from_memory_or_in_one_go_gives_the_same_bytes(backbone: PocketBackbone, shared: dict[str, Any]) -> None:
    shots = [shot_data(1), shot_data(2, 0.5), shot_data(3, 9.0), shot_data(4, cut=False), shot_data(5)]
    story = story_of(shots, **shared)
    together = render(backbone, story)
    latents = {r.number: r.latents for r in together}
    for shot, kept in ((3, (1, 2)), (4, (1, 2, 3)), (5, (1, 2, 3, 4))):
        (alone,) = render(backbone, story, [shot], {n: latents[n] for n in kept})
        assert_same(alone, together[shot - 1])
    last = render(backbone, story, [2, 5], {n: latents[n] for n in (1, 3, 4)})
    assert [r.number for r in last] == [2, 5]
    assert_same(last[1], together[4])


def test_a_shot_can_be_rendered_without_the_ones_before_it(backbone: PocketBackbone) -> None:
    story = story_of(3)
    together = render(backbone, story)
    (alone,) = render(backbone, story, [3], {1: together[0].latents})
    assert alone.latents.shape == together[2].latents.shape
    assert (alone.latents != together[2].latents).any()
    first = alone.routing.shape[3] - 4
    assert not alone.routing[..., first : first + 2].any()  # shot 2 is not there to be looked at
    assert alone.routing[..., :first].any()


def _same_beginning(backbone: PocketBackbone, *later: dict[str, Any]) -> None:
    shots = [shot_data(1), shot_data(2), shot_data(3)]
    before = render(backbone, story_of(shots), [1, 2])
    for a, b in zip(before, render(backbone, story_of([*shots[:2], *later]), [1, 2]), strict=True):
        for name in ("frames", "latents", "routing"):
            assert (getattr(a, name) == getattr(b, name)).all(), name


def test_later_shots_change_nothing(backbone: PocketBackbone) -> None:
    other = shot_data(3, 2.5, prompt="{mira} runs in the street at night", cut=False, seed=99)
    _same_beginning(backbone, other)
    _same_beginning(backbone, shot_data(3), {**shot_data(1), "id": "again"})


def test_later_shots_with_new_people_and_places_change_nothing(backbone: PocketBackbone) -> None:
    _same_beginning(backbone, shot_data(3, prompt="{mira} runs by the river with a dog"))


def test_seeds(backbone: PocketBackbone) -> None:
    """Each shot draws its own noise: a neighbour's seed, place in the story or length does not matter."""
    story = story_of(2, attention={"top_k": 0})  # without memory a shot is its words and its noise alone
    base = render(backbone, story)
    reseeded = render(backbone, story_of([shot_data(1, seed=1), shot_data(2)], attention={"top_k": 0}))
    assert (reseeded[0].latents != base[0].latents).any()
    assert (reseeded[1].latents == base[1].latents).all()
    own = render(backbone, story_of([shot_data(1, seed=7), shot_data(2, seed=7)], attention={"top_k": 0}))
    for a, b in zip(base, own, strict=True):
        assert_same(a, b)
    assert (render(backbone, story_of(2, title="Other"), [1])[0].latents != base[0].latents).any()


def test_noise_does_not_depend_on_the_neighbours() -> None:
    model = tiny_model()

    def noise_of_river(*before: dict[str, Any]) -> torch.Tensor:
        story = story_of([*before, shot_data(1, id="river")])
        pieces = [p for p in cut_into_pieces(story, TINY) if p.shot == len(story.shots)]
        (noise,) = rendering._noise(model, story, story.shots[-1], 7, pieces)
        return noise

    alone = noise_of_river()
    assert torch.equal(noise_of_river(shot_data(1, 9.0), shot_data(2, seed=3)), alone)
    other = story_of([shot_data(1, id="cafe")])
    assert not torch.equal(rendering._noise(model, other, other.shots[0], 7, cut_into_pieces(other, TINY))[0], alone)


def test_two_runs_are_the_same_run(backbone: PocketBackbone) -> None:
    for story in (story_of(2), story_of(2, sampling={"seed": 3, "steps": 2, "mode": "joint"})):
        for a, b in zip(render(backbone, story), render(backbone, story), strict=True):
            assert_same(a, b)


# Joint sampling.


def _joint(shots: Any, attention: dict[str, Any] | None = None, **sampling: Any) -> Storyboard:
    sampling = {"seed": 7, "steps": 2, "mode": "joint", **sampling}
    return story_of(shots, sampling=sampling, attention=attention or {})


def test_joint_renders_all_shots_and_yields_those_asked_for(backbone: PocketBackbone) -> None:
    story = _joint(3)
    steps: list[tuple[int, int, int]] = []
    together = render(backbone, story, on_step=lambda *step: steps.append(step))
    assert steps == [(0, 1, 2), (0, 2, 2)]
    assert [r.number for r in together] == [1, 2, 3]
    (alone,) = render(backbone, story, [2])
    assert_same(alone, together[1])


def test_the_first_shot_is_the_same_joint_or_streamed(backbone: PocketBackbone) -> None:
    """It looks at nothing but itself; a later shot sees noise in one and clean pictures in the other."""
    joint, stream = render(backbone, _joint(2)), render(backbone, story_of(2))
    assert np.abs(joint[0].latents.astype(float) - stream[0].latents).max() < 2e-3
    assert joint[0].sparsity == pytest.approx(stream[0].sparsity)
    assert np.abs(joint[1].latents.astype(float) - stream[1].latents).max() > 0.05


def test_joint_of_the_last_shot_changes_with_the_first(backbone: PocketBackbone) -> None:
    base = render(backbone, _joint(3))
    other = render(backbone, _joint([shot_data(1, seed=5), shot_data(2), shot_data(3)]))
    for n in range(3):
        assert (base[n].latents != other[n].latents).any()
    later = render(backbone, _joint([shot_data(1), shot_data(2), shot_data(3, seed=5)]))
    for n in range(2):  # causal, own text: shots look back alone
        assert np.abs(base[n].latents.astype(float) - later[n].latents).max() < 2e-3
    ahead = {"causal": False}
    both = [render(backbone, _joint([shot_data(1), shot_data(2, seed=s)], ahead))[0].latents for s in (1, 2)]
    assert np.abs(both[0].astype(float) - both[1]).max() > 0.01


# Counts and sparsity.


class Seen:
    """Counts every pair that the denoising passes attend, from the oracle's masks."""

    def __init__(self, layout: TokenLayout) -> None:
        self.layout = layout
        self.rank = (~layout.chunk_is_text).cumsum(0) - 1
        self.pairs: dict[int, float] = {}
        self.rows: dict[int, float] = {}
        self.links: dict[tuple[int, int], torch.Tensor] = {}
        self.step = 0

    def add(self, of: rendering.RouteCounts, layer: int, routing: Any, part: TokenLayout, rows: Any) -> None:
        origin = self.layout.select(part.shot_numbers)[1]
        start, stop = rows
        mask = mandatory_mask(part, of.config, start, stop)
        chosen = routed_mask(part, routing.indices)
        assert not (mask & chosen).any()
        shot = of.pieces[0]
        self.pairs[shot] = self.pairs.get(shot, 0) + float((mask | chosen).sum()) / chosen.shape[1]
        self.rows[shot] = self.rows.get(shot, 0) + stop - start
        chunk = self.rank[self.layout.chunk_ids[origin]]
        firsts = torch.cat([torch.ones(1, dtype=torch.bool), part.chunk_ids.diff() != 0]) & ~part.is_text
        count = self.layout.num_video_chunks
        found = self.links.setdefault((shot, of.step * 100 + layer), torch.zeros(chosen.shape[1], count, count))
        for head, row, key in (chosen & firsts)[0].nonzero().tolist():
            found[head, chunk[start + row], chunk[key]] += 1

    def sparsity(self, shot: int) -> float:
        return 1 - self.pairs[shot] / (self.rows[shot] * self.layout.length)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Seen]:
    """Everything that is routed, counted from masks beside the renderer's own counting."""
    found: dict[str, Seen] = {}
    add = rendering.RouteCounts.add

    def both(self: rendering.RouteCounts, *call: Any) -> None:
        found.setdefault("seen", Seen(self.layout)).add(self, *call)
        add(self, *call)

    monkeypatch.setattr(rendering.RouteCounts, "add", both)
    return found


@pytest.mark.parametrize(
    ("mode", "attention"),
    [
        ("stream", {}),
        ("stream", {"top_k": 1}),
        ("stream", {"top_k": 0}),
        ("stream", {"chunk_tokens": 6, "top_k": 3}),
        ("stream", {"intra": "chunk", "top_k": 2}),
        ("stream", {"intra": "window", "window_chunks": 1, "top_k": 2}),
        ("stream", {"outer_top_m": 1}),
        ("joint", {}),
        ("joint", {"causal": False, "top_k": 2}),
        ("joint", {"text_links": "all", "intra": "chunk", "top_k": 2, "chunk_tokens": 5}),
        ("joint", {"preset": "paper-single-shot", "chunk_tokens": 12}),
        ("joint", {"preset": "wan", "chunk_tokens": 7}),
    ],
    ids=str,
)
def test_counts_and_sparsity_agree_with_the_oracles_mask(
    backbone: PocketBackbone, seen: dict[str, Seen], mode: str, attention: dict[str, Any]
) -> None:
    shots = [shot_data(1, 1.5), shot_data(2, 0.5), shot_data(3, 1.0), shot_data(4, 8.5)]
    story = story_of(shots, sampling={"seed": 7, "steps": 2, "mode": mode}, attention=attention)
    results = render(backbone, story)
    causal = attention_of(story).causal
    truth = seen["seen"]
    parts = one_hot_parts(truth.layout, attention_of(story).chunk_tokens)  # [C, P]
    first = 0
    for result, piece in zip(results, (1, 2, 3, 4), strict=True):
        chunks = result.routing.shape[3]
        assert chunks == backbone.plan(story).shots[piece - 1].parts
        assert result.routing.shape[4] == (first + chunks if causal else parts.shape[1])
        for step in range(2):
            for layer in range(TINY.layers):
                links = (parts.T @ truth.links[piece, step * 100 + layer] @ parts)[:, first : first + chunks]
                assert not links[..., result.routing.shape[4] :].any()
                got = torch.from_numpy(result.routing[step, layer].astype(np.float32))
                assert torch.equal(got, links[..., : result.routing.shape[4]])
        assert result.sparsity == pytest.approx(truth.sparsity(piece), abs=1e-12)
        first += chunks
    assert first == parts.shape[1]


def one_hot_parts(layout: TokenLayout, chunk_tokens: int | str) -> torch.Tensor:
    """[C, P] which part of the story each video chunk counts for: itself, or where chunks are no longer than a frame of
    eight tokens the frame that it begins in."""
    video = [(a, c) for c, a in enumerate(layout.chunk_bounds[:-1].tolist()) if not layout.chunk_is_text[c]]
    fine = chunk_tokens == "frame" or int(chunk_tokens) <= TINY.tokens_per_frame
    names = [(int(layout.shot_ids[a]), int(layout.frame_ids[a])) if fine else (c, 0) for a, c in video]
    order = list(dict.fromkeys(names))
    return torch.nn.functional.one_hot(torch.tensor([order.index(name) for name in names])).float()


# Pieces, continuation, guidance.


def test_long_shots_are_drawn_in_even_pieces(backbone: PocketBackbone) -> None:
    shots = [shot_data(1, 20.0), shot_data(2, 8.0), shot_data(3, 8.5), shot_data(4, cut=False)]
    story = story_of(shots)
    pieces = cut_into_pieces(story, TINY)
    assert [(p.index, p.shot, p.frames, p.continues) for p in pieces] == [
        (1, 1, 13, False), (2, 1, 13, True), (3, 1, 14, True), (4, 2, 16, False),
        (5, 3, 8, False), (6, 3, 9, True), (7, 4, 2, True),
    ]  # fmt: skip
    _, captions = story_tokens(story, pieces)
    for piece, tokens in zip(pieces, captions, strict=True):
        assert len(tokens) == TINY.caption_tokens
        assert (tokens[0][COLUMNS["cut"]] == FACT_ID["cut", "continue"]) == piece.continues
        assert tokens[0][COLUMNS["camera"]]  # what the shot says is still said
        assert tokens[1:] == captions[0][1:] or piece.shot > 1
    steps: list[tuple[int, int, int]] = []
    results = render(backbone, story, [1], on_step=lambda *step: steps.append(step))
    assert steps == [(1, n, 6) for n in range(1, 7)]
    assert results[0].latents.shape[0] == 40 * TINY.tokens_per_frame
    assert len(results[0].frames) == 160
    assert results[0].routing.shape[3:] == (40, 40)
    assert results[0].routing[..., 13:26, :13].any()  # the second piece looks at the first
    assert not results[0].routing[..., :13, :].any()
    assert any("pieces" in note for note in backbone.plan(story).notes)


def test_an_uncut_shot_differs_from_a_cut_one(backbone: PocketBackbone) -> None:
    cut = render(backbone, story_of([shot_data(1), shot_data(2)]))
    uncut = render(backbone, story_of([shot_data(1), shot_data(2, cut=False)]))
    assert_same(cut[0], uncut[0])
    assert (cut[1].latents != uncut[1].latents).any()


def test_outer_loop_keeps_the_piece_that_is_continued() -> None:
    story = story_of([*(shot_data(n) for n in range(1, 5)), shot_data(5, cut=False)], attention={"outer_top_m": 1})
    pieces = cut_into_pieces(story, TINY)
    global_tokens, captions = story_tokens(story, pieces)
    model = tiny_model()
    for m in (1, 2, 3):
        config = attention_of(story).replace(outer_top_m=m)
        memory = Memory(model, config, [p.frames for p in pieces], torch.tensor([global_tokens]))
        for piece in pieces[:4]:
            shot = memory.shot(piece.index, torch.tensor([captions[piece.index - 1]]))
            shot.finish(torch.zeros(1, piece.frames * TINY.tokens_per_frame, TINY.patch_values))
        last = memory.shot(5, torch.tensor([captions[4]]))
        assert 4 in last.earlier
        assert len(last.earlier) == m
        assert last.earlier == sorted(last.earlier)
        config_0 = config.replace(outer_top_m=0)
        memory.config = config_0
        assert memory.shot(5, torch.tensor([captions[4]])).earlier == []


def _one_step(backbone: PocketBackbone, guidance: float | None, mode: str) -> np.ndarray:
    sampling = {"seed": 7, "steps": 1, "mode": mode, "guidance": guidance}
    return render(backbone, story_of(2, sampling=sampling))[0].latents.astype(np.float32)


@pytest.mark.parametrize("mode", ["stream", "joint"])
def test_guidance_leads_away_from_the_textless_prediction(backbone: PocketBackbone, mode: str) -> None:
    plain, none, half, one, two = (_one_step(backbone, g, mode) for g in (None, 0.0, 0.5, 1.0, 2.0))
    assert (plain == one).all()
    inside = (np.abs(np.stack([none, half, one, two])) < 1).all(0)  # where nothing was clamped
    assert inside.mean() > 0.1
    assert np.abs(half - (none + one) / 2)[inside].max() < 2e-3
    assert np.abs(two - (2 * one - none))[inside].max() < 4e-3
    assert np.abs(one - none).max() > 0.05


def test_guidance_leads_away_from_a_shot_by_itself(backbone: PocketBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prediction without words sees no earlier shot either, whatever the other one has in play."""
    earlier: list[list[int]] = []
    predict = rendering.ShotPass.predict

    def record(self: Any, *args: Any) -> Any:
        earlier.append(self.earlier)
        return predict(self, *args)

    monkeypatch.setattr(rendering.ShotPass, "predict", record)
    shots = [shot_data(n) for n in (3, 1, 2, 5)]
    for i, shot in enumerate(shots):
        shot["id"] = f"s{i}"
    render(backbone, story_of(shots, sampling={"seed": 7, "steps": 1, "guidance": 3.0}))
    assert earlier == [[], [], [1], [], [1, 2], [], [1, 2, 3], []]


@pytest.mark.parametrize("pattern", ["moc", "dense"])
@pytest.mark.parametrize("mode", ["stream", "joint"])
def test_guidance_of_nothing_is_a_shot_without_words_and_past(
    backbone: PocketBackbone, mode: str, pattern: str
) -> None:
    """At scale 0 only the prediction without them is left: no other shot, and no word, can show in a shot."""

    def second(first: str, own: str, scale: float) -> np.ndarray:
        shots = [shot_data(1, prompt=first), shot_data(2, prompt=own)]
        sampling = {"seed": 7, "steps": 2, "guidance": scale, "mode": mode}
        return render(backbone, story_of(shots, sampling=sampling, attention={"pattern": pattern}))[1].latents

    told, untold = "a cat in a red coat dances", "a bear sleeps"
    assert np.array_equal(second(told, told, 0.0), second(untold, untold, 0.0))
    assert not np.array_equal(second(told, told, 1.0), second(untold, told, 1.0)), "the past does show otherwise"


# Refusals.


@pytest.mark.parametrize(
    ("attention", "words"), [({"text_links": "all"}, "text_links: own or mode: joint"), ({"causal": False}, "causal")]
)
def test_streaming_refuses_what_would_change_finished_shots(
    backbone: PocketBackbone, attention: dict[str, Any], words: str
) -> None:
    story = replace(story_of(2), attention=Attention(**attention))  # a story file with these is refused when it is read
    for run in (backbone.plan, lambda story: render(backbone, story)):
        with pytest.raises(InputError, match=words):
            run(story)
    render(backbone, _joint(1, attention, steps=1))


def test_a_story_that_does_not_fit(backbone: PocketBackbone) -> None:
    crowd = {f"p{n}": "a woman" for n in range(7)}
    shots = [shot_data(n, prompt=f"{{p{n - 1}}} waves") for n in range(1, 8)]
    story = story_of(shots, characters=crowd)
    with pytest.raises(InputError, match="7 characters"):
        backbone.plan(story)
    with pytest.raises(InputError, match="7 characters"):
        render(backbone, story)


def test_guidance_ends_where_its_interval_does() -> None:
    class Pass:
        def __init__(self, value: float) -> None:
            self.value, self.calls = value, 0

        def predict(self, z: torch.Tensor, t: float) -> torch.Tensor:
            self.calls += 1
            return torch.full_like(z, self.value)

    text, free = Pass(2.0), Pass(1.0)
    size = PocketConfig(guidance_from=0.5, guidance_to=0.97)
    guided = Guided([text, free], 3.0, size)  # type: ignore[list-item]
    z = torch.zeros(2)
    for t, value in ((1.0, 2.0), (0.98, 2.0), (0.97, 4.0), (0.5, 4.0), (0.49, 2.0)):
        assert guided.predict(z, t).tolist() == [value] * 2, t
    assert (text.calls, free.calls) == (5, 2)

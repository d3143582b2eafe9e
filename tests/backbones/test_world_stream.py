"""Streams of world stories: nothing leaks past the routes, batches change nothing, costs are counted."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from pocket_cases import tiny_model

from moc.attention.reference import mandatory_mask
from moc.backbones.pocket import world_stream
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.cost import Amount, amount_of, pass_flops
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.planning import alone
from moc.backbones.pocket.stream import Memory
from moc.backbones.pocket.world_stream import Streamed, _noise, stream_world
from moc.config import MoCConfig
from moc.world.recurrence import recurring_stories
from moc.world.render import render
from moc.world.schema import CHARACTER_ATTRIBUTES, PLACE_ATTRIBUTES
from moc.world.story import StoryBatch

SMALL = PocketConfig(width=64, layers=2, heads=2, mlp=96, head=80)
SHOTS = 4
STEPS = 2


@pytest.fixture(scope="module")
def model() -> PocketDiT:
    return tiny_model(SMALL)


@pytest.fixture(scope="module")
def stories() -> StoryBatch:
    return recurring_stories(3, SHOTS, generator=torch.Generator().manual_seed(0))[0]


def stream(model: PocketDiT, stories: StoryBatch, planted: Any = None, **options: Any) -> Streamed:
    attention = {name: options.pop(name) for name in ("top_k", "outer_top_m", "pattern") if name in options}
    config = MoCConfig.preset("pocket").replace(**attention)
    given = None if planted is None else torch.tensor([planted] * stories.stories)
    usual = {"latent_frames": 1, "steps": STEPS, "seed": 0, "guidance": 1.0}
    return stream_world(model, stories, config, planted=given, **{**usual, **options})


def other_looks(stories: StoryBatch) -> StoryBatch:
    """The same words, and everything that they leave open different."""
    changed = {}
    for name, attributes in (("characters", CHARACTER_ATTRIBUTES), ("scenes", PLACE_ATTRIBUTES)):
        table, named = getattr(stories, name), getattr(stories, f"{name}_named")
        sizes = torch.tensor([len(values) for values in attributes.values()])
        changed[name] = torch.where(named | (table[..., :1] < 0), table, (table + 1) % sizes)
    return replace(stories, **changed)


FIRST = [True] + [False] * (SHOTS - 1)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_without_routes_nothing_of_a_planted_shot_gets_through(
    model: PocketDiT, stories: StoryBatch, guidance: float
) -> None:
    """Not by text, not by noise, not by kept keys: later shots are the same bytes whatever the first one showed."""
    runs = [stream(model, s, FIRST, top_k=0, guidance=guidance).frames for s in (stories, other_looks(stories))]
    assert (runs[0][:, 0] != runs[1][:, 0]).any()
    assert torch.equal(runs[0][:, 1:], runs[1][:, 1:])
    routed = [stream(model, s, FIRST, guidance=guidance).frames for s in (stories, other_looks(stories))]
    for story in range(stories.stories):
        assert (routed[0][story, 1:] != routed[1][story, 1:]).any()


def test_planted_shots_show_the_truth(model: PocketDiT, stories: StoryBatch) -> None:
    planted = torch.zeros(3, SHOTS, dtype=torch.bool)
    planted[:, 0], planted[1, 2] = True, True
    config = MoCConfig.preset("pocket")
    found = stream_world(model, stories, config, latent_frames=2, steps=1, seed=0, planted=planted)
    truth = render(stories, frames=2 * SMALL.patch_frames).frames
    shown = (found.frames == truth).flatten(2).all(-1)
    assert torch.equal(shown, planted)


@pytest.mark.parametrize("options", [{}, {"outer_top_m": 1}, {"guidance": 2.0}, {"outer_top_m": 2, "guidance": 2.0}])
def test_a_story_is_the_same_in_any_batch(model: PocketDiT, stories: StoryBatch, options: dict[str, Any]) -> None:
    """With the outer loop, too, in which every story of a batch keeps earlier shots of its own choice."""
    together = stream(model, stories, FIRST, **options).frames
    for b in range(3):
        alone = stream(model, stories[b : b + 1], FIRST, first_story=b, **options).frames
        difference = (together[b : b + 1].int() - alone.int()).abs()
        assert difference.max() <= 2, "rounding alone"
        assert (difference > 0).float().mean() < 0.02


@pytest.mark.parametrize("reach", [7, 1])
def test_the_outer_loop_chooses_as_moc_generate_does(
    reach: int, stories: StoryBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One story alone: the shots in play are those that `Memory.shot` keeps when it chooses by itself."""
    model = tiny_model(replace(SMALL, reach=reach))
    chosen: list[list[int]] = []
    original = Memory.shot

    def shot(self: Memory, number: int, caption: torch.Tensor, **options: Any) -> Any:
        own = original(self, number, caption).earlier
        made = original(self, number, caption, **options)
        chosen.append(own)
        return made

    monkeypatch.setattr(Memory, "shot", shot)
    one = stream(model, stories[:1], outer_top_m=1, latent_frames=1)
    monkeypatch.undo()
    assert any(kept not in ([], [number]) for number, kept in enumerate(chosen)), "not always the newest"
    config = MoCConfig.preset("pocket").replace(outer_top_m=1)
    kept = _frames_with(model, stories[:1], config, chosen)
    assert torch.equal(one.frames, kept)


def _frames_with(model: PocketDiT, stories: StoryBatch, config: MoCConfig, chosen: list[list[int]]) -> torch.Tensor:
    """Streams a story whose shots read the given earlier ones."""
    original = Memory.shot

    def shot(self: Memory, number: int, caption: torch.Tensor, **options: Any) -> Any:
        return original(self, number, caption, **{**options, "earlier": chosen[number - 1]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Memory, "shot", shot)
        return stream_world(
            model, stories, config.replace(outer_top_m=None), latent_frames=1, steps=2, seed=0, guidance=1.0
        ).frames


def test_noise_is_drawn_for_every_story_and_shot(model: PocketDiT) -> None:
    drawn = [_noise(model, 2, 1, seed, 0, number, torch.device("cpu"))[b] for seed in (0, 1) for number in (1, 2)
             for b in range(2)]  # fmt: skip
    flat = torch.stack(drawn).flatten(1)
    likeness = torch.corrcoef(flat) - torch.eye(len(flat))
    assert likeness.abs().max() < 0.2
    again = _noise(model, 1, 1, 0, 1, 2, torch.device("cpu"))[0]
    assert torch.equal(again, drawn[3]), "the second story of a batch, drawn as the first of another"


def test_costs(model: PocketDiT, stories: StoryBatch) -> None:
    costs = stream(model, stories, FIRST).costs
    assert [c.number for c in costs] == [1, 2, 3, 4]
    assert costs[0].flops == 0
    assert all(c.flops > 0 and c.seconds > 0 and c.peak_bytes is None for c in costs[1:])
    assert costs[3].flops < costs[2].flops, "nothing follows the last shot, so it is not passed through again"
    first, second, third = (c.kept_bytes for c in costs[:3])
    assert second - first == third - second > 0, "every finished shot keeps as much"
    size, tokens = SMALL, SMALL.tokens_per_frame + SMALL.caption_tokens
    pairs = 2 * size.layers * size.width
    descriptors = size.layers * size.width * (1 + size.tokens_per_frame // 24)  # a caption and quarters of a frame
    assert second - first == 4 * (pairs * tokens + descriptors)
    assert [c.read_bytes for c in costs] == [0, *(n * (second - first) for n in (1, 2, 3))]
    flat = stream(model, stories, FIRST, outer_top_m=1).costs
    assert {c.read_bytes for c in flat[1:]} == {second - first}
    assert flat[2].flops == pytest.approx(flat[1].flops)
    guided = stream(model, stories, FIRST, guidance=2.0).costs
    more = [a.flops - b.flops for a, b in zip(guided[1:], costs[1:], strict=True)]
    config = MoCConfig.preset("pocket").replace(top_k=1)
    free = pass_flops(size, alone(config), amount_of(size, alone(config), 1), Amount(), 1)
    assert more == pytest.approx([STEPS * free] * 3), "a pass by itself costs the same in every shot"
    assert [c.kept_bytes for c in guided] == [c.kept_bytes for c in costs]


def test_sparsity_counts_all_pairs_of_the_story(model: PocketDiT, stories: StoryBatch) -> None:
    """Without routes a shot sees global text, its caption and itself."""
    found = stream(model, stories, top_k=0)
    config = MoCConfig.preset("pocket").replace(top_k=0)
    layout = Memory.layout_of(model, config, [1] * SHOTS)
    mask = mandatory_mask(layout, config, 0, layout.length)
    rows = layout.token_range(1)[0]
    assert found.sparsity == pytest.approx(1 - float(mask[rows:].float().mean()))
    assert stream(model, stories, top_k=1).sparsity < found.sparsity


def test_random_routes_are_routes(model: PocketDiT, stories: StoryBatch) -> None:
    moc, chance = (stream(model, stories, FIRST, top_k=1, pattern=p) for p in ("moc", "random"))
    assert (moc.frames[:, 2:] != chance.frames[:, 2:]).any()
    assert chance.sparsity == pytest.approx(moc.sparsity)


def test_what_makes_no_sense_is_refused(model: PocketDiT, stories: StoryBatch) -> None:
    with pytest.raises(ValueError, match=r"planted must be \[3, 4\], got \[3, 2\]"):
        stream(model, stories, [True, False])


@pytest.mark.gpu
@pytest.mark.parametrize("outer_top_m", [None, 1])
def test_on_cuda(model: PocketDiT, stories: StoryBatch, outer_top_m: int | None) -> None:
    """Under bf16, as benchmarks run it: nothing leaks without routes, planted shots are the truth, peaks are told."""
    there = copy.deepcopy(model).to("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        runs = [
            stream(there, s.to("cuda"), FIRST, top_k=k, outer_top_m=outer_top_m, guidance=2.0)
            for k in (0, 5) for s in (stories, other_looks(stories))
        ]  # fmt: skip
    assert torch.equal(runs[0].frames[:, 1:], runs[1].frames[:, 1:])
    assert (runs[2].frames[:, 1:] != runs[3].frames[:, 1:]).any()
    truth = render(stories, frames=SMALL.patch_frames, shots=slice(0, 1)).frames
    assert (runs[0].frames[:, :1].int() - truth.int()).abs().max() <= 1
    assert all(c.peak_bytes is not None and c.peak_bytes > 0 for c in runs[0].costs)


@pytest.mark.gpu
def test_cuda_draws_what_the_cpu_draws(model: PocketDiT, stories: StoryBatch) -> None:
    """In float32 and with one noise, but for rounding and the choices that it tips."""
    there = copy.deepcopy(model).to("cuda")
    noise = world_stream._noise

    def on_cpu(*words: Any) -> torch.Tensor:
        return noise(*words[:-1], torch.device("cpu")).to(words[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world_stream, "_noise", on_cpu)
        here = stream(model, stories, FIRST, top_k=0).frames
        gpu = stream(there, stories.to("cuda"), FIRST, top_k=0).frames
    assert ((here.int() - gpu.int()).abs() > 3).float().mean() < 0.02

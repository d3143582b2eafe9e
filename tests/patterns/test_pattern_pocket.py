"""The built-in model under every pattern: streamed and joint, counted and mapped; what can't be is refused in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "backbones"))

from pocket_cases import TINY, assert_same, random_text, render, shot_data, story_of, tiny_model, tiny_weights

from moc import MoCConfig
from moc.backbones.pocket.backbone import PocketBackbone
from moc.backbones.pocket.stream import Memory
from moc.patterns import PATTERNS
from moc.storyboard import StoryboardError

CAUSAL = [name for name in PATTERNS if name != "moc-no-causal"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> PocketBackbone:
    return PocketBackbone(tiny_weights(tmp_path_factory.mktemp("weights")))


@pytest.mark.parametrize("name", CAUSAL)
def test_streams_and_goes_on_from_kept_shots(backbone: PocketBackbone, name: str) -> None:
    story = story_of([shot_data(1), shot_data(2, 0.5), shot_data(3, 9.0), shot_data(4)], attention={"pattern": name})
    results = render(backbone, story)
    (alone,) = render(backbone, story, [4], {r.number: r.latents for r in results[:3]})
    assert_same(alone, results[3])
    for result, shot in zip(results, backbone.plan(story).shots, strict=True):
        assert result.routing.shape[3] == shot.parts
        assert bool(result.routing.any()) == (name != "local" and shot.number > 1)
        assert 0 < result.sparsity < 1
    assert not results[1].routing[..., 2:].any(), "to itself"


def test_sparsity_says_what_is_attended(backbone: PocketBackbone) -> None:
    story = story_of([shot_data(n) for n in range(1, 4)], sampling={"seed": 7, "steps": 1})
    found = {}
    for name in ("local", "first-frame", "moc", "dense"):
        last = render(backbone, story.overridden({"attention.pattern": name, "attention.top_k": "1"}))[2]
        found[name] = last.sparsity
    text, shot = TINY.global_tokens + TINY.caption_tokens, 16
    length = TINY.global_tokens + 3 * (TINY.caption_tokens + shot)
    rows, captions = (TINY.caption_tokens + shot) * length, TINY.caption_tokens * (text + shot)
    extra = {"local": 0, "first-frame": 2 * 8, "moc": 8, "dense": 2 * 16}
    for name, keys in extra.items():
        assert found[name] == pytest.approx(1 - (captions + shot * (text + shot + keys)) / rows), name


@pytest.mark.parametrize("name", PATTERNS)
def test_joint(backbone: PocketBackbone, name: str) -> None:
    story = story_of(
        [shot_data(1), shot_data(2)], attention={"pattern": name, "top_k": 1},
        sampling={"seed": 7, "steps": 2, "mode": "joint"},
    )  # fmt: skip
    results = render(backbone, story)
    assert len(results) == 2
    assert bool(results[0].routing.any()) == (name == "moc-no-causal"), "only there shot 1 looks ahead"
    assert bool(results[1].routing.any()) == (name != "local")


def test_streams_of_a_batch_and_with_an_outer_loop() -> None:
    """Shots that are out of play are attended by no pattern."""
    generator = torch.Generator().manual_seed(3)
    model = tiny_model()
    for name in CAUSAL:
        config = MoCConfig.preset("pocket").replace(pattern=name, chunk_tokens="frame", top_k=2, outer_top_m=1)
        memory = Memory(model, config, [2, 2, 2], random_text(2, TINY.global_tokens, generator))
        for number in (1, 2):
            shot = memory.shot(number, random_text(2, TINY.caption_tokens, generator))
            shot.finish(torch.randn(2, 16, TINY.patch_values, generator=generator))
        last = memory.shot(3, random_text(2, TINY.caption_tokens, generator), earlier=[2])
        z = torch.randn(2, 16, TINY.patch_values, generator=generator)
        before = last.predict(z, 0.5)
        assert before.isfinite().all()
        assert last.layout.shot_numbers == (2, 3)


def test_a_stream_that_looks_ahead_is_refused_where_it_is_written() -> None:
    with pytest.raises(StoryboardError, match="stream mode needs a pattern that looks back alone"):
        story_of(1, attention={"pattern": "moc-no-causal"})
    with pytest.raises(StoryboardError, match="pattern can't be 'first-fram', did you mean 'first-frame'"):
        story_of(1, attention={"pattern": "first-fram"})
    assert story_of(1).overridden({"attention.pattern": "radial"}).attention.config().pattern == "radial"


@pytest.mark.parametrize("name", CAUSAL)
def test_later_shots_change_nothing(backbone: PocketBackbone, name: str) -> None:
    shots = [shot_data(1), shot_data(2), shot_data(3)]
    whole = render(backbone, story_of(shots, attention={"pattern": name}))
    part = render(backbone, story_of(shots[:2], attention={"pattern": name}))
    for one, other in zip(part, whole, strict=False):
        assert (one.latents == other.latents).all()
        assert (one.routing == other.routing).all()

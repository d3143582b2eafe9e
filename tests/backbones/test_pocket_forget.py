"""A tiny pocket model with shots that can't read earlier ones: nothing of these reaches them, all else stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from pocket_cases import assert_same, shot_data, story_of, tiny_weights

from moc.backbones.base import ShotResult
from moc.backbones.pocket.backbone import PocketBackbone
from moc.errors import InputError
from moc.storyboard import Storyboard

GUIDED = {"sampling": {"seed": 7, "steps": 2, "guidance": 2.0}}
OUTER = {"attention": {"outer_top_m": 1}}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> PocketBackbone:
    return PocketBackbone(tiny_weights(tmp_path_factory.mktemp("weights")))


def draw(
    backbone: PocketBackbone,
    story: Storyboard,
    shots: Sequence[int],
    forget: Mapping[int, Collection[int]],
    memory: Mapping[int, np.ndarray] | None = None,
) -> dict[int, ShotResult]:
    found = backbone.generate(
        story, seed=7, device="cpu", mode="stream", shots=shots, memory=memory or {}, on_step=lambda *_: None,
        forget=forget,
    )  # fmt: skip
    return {one.number: one for one in found}


@pytest.mark.parametrize("shared", [{}, GUIDED, OUTER], ids=["plain", "guided", "outer"])
def test_nothing_of_a_forgotten_shot_is_read(backbone: PocketBackbone, shared: dict[str, Any]) -> None:
    """Whatever lies in shots 1 and 2, a shot of nine seconds (two pieces) that forgets them is the same."""
    story = story_of([shot_data(1), shot_data(2, 0.5), shot_data(3, 9.0)], **shared)
    first = draw(backbone, story, [1, 2], {})
    own = {n: one.latents for n, one in first.items()}
    other = {n: -latents for n, latents in own.items()}
    cut = {3: (1, 2)}
    assert_same(draw(backbone, story, [3], cut, own)[3], draw(backbone, story, [3], cut, other)[3])
    assert (draw(backbone, story, [3], {}, own)[3].latents != draw(backbone, story, [3], {}, other)[3].latents).any()


def test_no_route_leads_there(backbone: PocketBackbone) -> None:
    story = story_of(4)
    plain, cut = draw(backbone, story, [1, 2, 3, 4], {}), draw(backbone, story, [1, 2, 3, 4], {4: [1]})
    for number in (1, 2, 3):
        assert_same(cut[number], plain[number])
    chunks = plain[1].routing.shape[3]
    assert plain[4].routing[..., :chunks].any()
    assert not cut[4].routing[..., :chunks].any()
    assert cut[4].routing[..., chunks:].any()
    assert (cut[4].latents != plain[4].latents).any()


def test_a_forgotten_shot_costs_nothing(backbone: PocketBackbone) -> None:
    """With few chunks all are chosen; without those of shot 1 fewer pairs are attended."""
    story = story_of([shot_data(1, 0.5), shot_data(2, 0.5), shot_data(3, 0.5)])
    plain, cut = draw(backbone, story, [1, 2, 3], {}), draw(backbone, story, [1, 2, 3], {3: [1]})
    assert cut[3].sparsity > plain[3].sparsity


def test_remembered_shots_forget_as_they_did(backbone: PocketBackbone) -> None:
    """The keys of a kept shot are those of when it was drawn: it had not read what it forgets."""
    story, cut = story_of(3), {2: [1]}
    whole = draw(backbone, story, [1, 2, 3], cut)
    kept = {n: whole[n].latents for n in (1, 2)}
    assert_same(draw(backbone, story, [3], cut, kept)[3], whole[3])
    assert (draw(backbone, story, [3], {}, kept)[3].latents != whole[3].latents).any()


def test_the_outer_loop_chooses_among_the_others(backbone: PocketBackbone) -> None:
    """One earlier shot stays in play, and never the forgotten one, be it the most relevant one or not."""
    story = story_of(3, **OUTER)
    memory = {n: one.latents for n, one in draw(backbone, story, [1, 2], {}).items()}
    for forgotten in (1, 2):
        routing = draw(backbone, story, [3], {3: [forgotten]}, memory)[3].routing
        looked = [bool(routing[..., start : start + 2].any()) for start in (0, 2)]
        assert looked == [forgotten == 2, forgotten == 1]


def test_shots_of_other_patches_are_refused(backbone: PocketBackbone) -> None:
    story = story_of(2)
    latents = draw(backbone, story, [1], {})[1].latents
    with pytest.raises(InputError, match=r"shot 1 was drawn by a model of other patches: .*\[32, 384\].*\[16, 768\]"):
        draw(backbone, story, [2], {}, {1: latents.reshape(32, -1)})

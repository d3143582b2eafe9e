"""What single tokens chose, kept beside the counts: the two must tell the same story."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pocket_cases import render, shot_data, story_of, tiny_weights

from moc.backbones.pocket import rendering
from moc.backbones.pocket.backbone import PocketBackbone


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> PocketBackbone:
    return PocketBackbone(tiny_weights(tmp_path_factory.mktemp("weights")))


@pytest.mark.parametrize(
    ("mode", "attention"),
    [("stream", {}), ("stream", {"outer_top_m": 1}), ("joint", {}), ("joint", {"causal": False, "top_k": 2})],
    ids=str,
)
def test_choices_of_tokens_sum_to_the_counts(
    backbone: PocketBackbone, monkeypatch: pytest.MonkeyPatch, mode: str, attention: dict[str, Any]
) -> None:
    """A chunk is a latent frame here, so its tokens' choices sum to its row; a shot of two pieces is among them."""
    choices = rendering.RouteCounts.choices
    monkeypatch.setattr(rendering.RouteCounts, "choices", lambda self, size: choices(self, size, n=10_000))
    shots = [shot_data(1, 1.5), shot_data(2, 1.0), shot_data(3, 8.5)]
    story = story_of(shots, sampling={"seed": 7, "steps": 2, "mode": mode}, attention=attention)
    for result in render(backbone, story):
        assert result.choices is not None
        expected = result.routing.sum(axis=(0, 1, 2), dtype=np.int64)
        assert len(result.choices) == len(expected)
        counts = np.zeros_like(expected)
        for frame, tokens in enumerate(result.choices.reshape(len(expected), -1, 2)):
            np.add.at(counts[frame], tokens[:, 0], tokens[:, 1])
        assert (counts == expected).all()


def test_the_most_chosen_come_first(backbone: PocketBackbone) -> None:
    story = story_of([shot_data(1, 4.0), shot_data(2, 4.0)], sampling={"seed": 7, "steps": 2})
    first, second = render(backbone, story)
    assert first.choices is not None
    assert not first.choices[..., 1].any()  # nothing to choose from
    assert second.choices is not None
    assert second.choices.shape[-2:] == (8, 2)
    assert (np.diff(second.choices[..., 1].astype(int), axis=-1) <= 0).all()
    assert second.choices[..., 1].any()

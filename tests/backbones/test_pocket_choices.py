"""What single tokens chose, kept beside the counts: the two must tell the same story."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pocket_cases import TINY, render, shot_data, story_of, tiny_weights

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


@pytest.mark.parametrize("chunk_tokens", [3, 8, 12])
def test_choices_lie_where_their_tokens_are(backbone: PocketBackbone, chunk_tokens: int) -> None:
    """Every token's choices, row by row and column by column, as the routing of its own pass has them; chunks are
    shorter than a frame of eight tokens, as long, and longer."""
    story = story_of(
        [shot_data(1, 1.5), shot_data(2, 1.5)], sampling={"seed": 7, "steps": 1},
        attention={"chunk_tokens": chunk_tokens, "top_k": 2},
    )  # fmt: skip
    seen: list[Any] = []
    add = rendering.RouteCounts.add

    def spy(self: rendering.RouteCounts, layer: int, routing: Any, part: Any, rows: tuple[int, int]) -> None:
        seen.append((routing.indices[0], part))
        add(self, layer, routing, part, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering.RouteCounts, "add", spy)
        shot = render(backbone, story)[1]
    assert shot.choices is not None
    rows, columns = TINY.grid
    assert shot.choices.shape[:3] == (3, rows, columns)
    assert rows != columns
    expected = np.zeros((3 * rows * columns, shot.routing.shape[4]), np.int64)
    for indices, part in seen[TINY.layers :]:  # the second shot's
        for head, token, slot in (indices >= 0).nonzero().tolist():
            start = int(part.chunk_bounds[indices[head, token, slot]])
            place = (
                int(part.frame_ids[start])
                if chunk_tokens <= rows * columns
                else int(indices[head, token, slot] - part.video_chunks(1)[0])
            )
            expected[token - TINY.caption_tokens, place] += 1
    for frame in range(3):
        for row in range(rows):
            for column in range(columns):
                got = np.zeros(shot.routing.shape[4], np.int64)
                for place, times in shot.choices[frame, row, column].tolist():
                    got[place] += times
                token = (frame * columns + column) * rows + row  # down the columns
                assert (got == expected[token]).all()


def test_the_most_chosen_come_first(backbone: PocketBackbone) -> None:
    story = story_of([shot_data(1, 4.0), shot_data(2, 4.0)], sampling={"seed": 7, "steps": 2})
    first, second = render(backbone, story)
    assert first.choices is not None
    assert not first.choices[..., 1].any()  # nothing to choose from
    assert second.choices is not None
    assert second.choices.shape[-2:] == (8, 2)
    assert (np.diff(second.choices[..., 1].astype(int), axis=-1) <= 0).all()
    assert second.choices[..., 1].any()

"""The outer loop: the earlier shots most like the newest one."""

from __future__ import annotations

import pytest
import torch
from engine_cases import layouts, ragged
from hypothesis import given, settings
from hypothesis import strategies as st

from moc import Shot, TokenLayout, select_shots


@settings(max_examples=40, deadline=None)
@given(layouts(max_shots=6), st.integers(0, 7), st.integers(0, 2**31))
def test_keeps_the_best_earlier_shots(layout: TokenLayout, m: int, seed: int) -> None:
    # Small integers: exact in float32, and ties are common.
    features = torch.randint(-2, 3, (layout.length, 3), generator=torch.Generator().manual_seed(seed)).float()
    means = {n: features[slice(*layout.video_range(n))].mean(0) for n in layout.shot_numbers}
    *earlier, newest = layout.shot_numbers
    ranked = sorted(earlier, key=lambda n: (-float((means[n] * means[newest]).sum()), n))
    assert select_shots(features, layout, m) == sorted(ranked[:m])
    assert select_shots(features[None], layout, m) == sorted(ranked[:m])


def test_numbers_are_those_of_the_layout() -> None:
    layout = TokenLayout.from_shots(shots=[Shot(frames=2, tokens_per_frame=3)] * 5, chunk_tokens="frame")
    part, index = layout.select([1, 3, 4, 5])
    features = torch.zeros(layout.length, 2)
    for number, value in {1: -1.0, 2: 9.0, 3: 2.0, 4: 1.0, 5: 1.0}.items():
        features[slice(*layout.video_range(number))] = value
    assert select_shots(features[index], part, 2) == [3, 4]


def test_mistakes_are_refused() -> None:
    layout = ragged()
    with pytest.raises(ValueError, match=r"\[84, D\].*got \[2, 84, 4\]"):
        select_shots(torch.zeros(2, 84, 4), layout, 1)
    with pytest.raises(ValueError, match="m must be at least 0, got -1"):
        select_shots(torch.zeros(84, 4), layout, -1)
    empty = layout.prefix(0)
    with pytest.raises(ValueError, match="no shot"):
        select_shots(torch.zeros(4, 4), empty, 1)

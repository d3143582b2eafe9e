"""The oracle's mask, against the definitions in words, key by key."""

from __future__ import annotations

import torch
from engine_cases import cases, ragged
from hypothesis import given, settings

from moc import MoCConfig, TokenLayout
from moc.attention.reference import mandatory_mask, routed_mask


def attends(layout: TokenLayout, config: MoCConfig, query: int, key: int) -> bool:
    """Whether a query attends a key by a mandatory link."""
    q_text, k_text = bool(layout.is_text[query]), bool(layout.is_text[key])
    q_shot, k_shot = int(layout.shot_ids[query]), int(layout.shot_ids[key])
    if k_text:
        if config.text_links == "all":
            return True
        if q_shot == 0:  # the global text sees itself alone
            return k_shot == 0
        return k_shot in (0, q_shot)  # global text and own caption
    if q_shot != k_shot:
        return False
    if q_text or config.intra == "shot":  # a caption sees its whole shot
        return True
    reach = config.window_chunks if config.intra == "window" else 0
    return abs(int(layout.chunk_ids[query]) - int(layout.chunk_ids[key])) <= reach


@settings(max_examples=25, deadline=None)
@given(cases(max_shots=3))
def test_mandatory_links_are_those_of_the_definition(case: tuple[TokenLayout, MoCConfig]) -> None:
    layout, config = case
    mask = mandatory_mask(layout, config, 0, layout.length)
    expected = [[attends(layout, config, q, k) for k in range(layout.length)] for q in range(layout.length)]
    assert mask.tolist() == expected
    assert mask.any(1).all()  # no row is ever empty


def test_routed_links_cover_the_chosen_chunks() -> None:
    layout = ragged()
    indices = torch.full((1, 1, layout.length, 3), -1, dtype=torch.int32)
    indices[0, 0, 50] = torch.tensor([3, -1, 2])
    mask = routed_mask(layout, indices)
    assert mask.sum() == 24
    assert mask[0, 0, 50, 6:30].all()

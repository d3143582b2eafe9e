"""Handles of layouts: they say everything, come in few lengths, and nothing else passes for one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from engine_cases import cases
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout
from moc.handles import _rebuilt, handle_of, layout_of


@settings(max_examples=40, deadline=None)
@given(cases(max_shots=5), st.data())
def test_a_handle_says_everything(case: tuple[TokenLayout, MoCConfig], data: st.DataObject) -> None:
    layout, _ = case
    if data.draw(st.booleans()):
        kept = data.draw(st.sets(st.sampled_from(layout.shot_numbers))) if layout.shots else set()
        layout = layout.select(sorted(kept))[0]
    if data.draw(st.booleans()):
        layout = layout.with_history([data.draw(st.integers(0, i)) for i in range(layout.num_shots)])
    if data.draw(st.booleans()):
        layout = layout.evenly()
    assert layout_of(layout.handle) == layout
    assert layout_of(layout.handle.clone()) == layout
    # the object itself is not needed
    raw = layout.handle.numpy().tobytes()
    assert _rebuilt(raw) == layout
    assert handle_of(_rebuilt(raw)).equal(layout.handle)


def test_handles_come_in_few_lengths() -> None:
    lengths = {len(TokenLayout.from_shots(shots=[Shot(3, n, 7 * n)] * n, chunk_tokens=5).handle) for n in range(1, 30)}
    assert lengths == {1024}
    many = [Shot(3, n, 7 * n) for n in range(1, 90)]
    assert len(TokenLayout.from_shots(shots=many, chunk_tokens="frame").handle) == 2048


@pytest.mark.parametrize("wrong", [torch.zeros(8, dtype=torch.uint8), torch.zeros(8)])
def test_no_handle(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="handle"):
        layout_of(wrong)


def test_copies_of_a_layout_keep_their_handles() -> None:
    layout = TokenLayout.from_shots(global_text=3, shots=[Shot(1, 2, 5)] * 3, chunk_tokens=4)
    for copied in (copy.deepcopy(layout), pickle.loads(pickle.dumps(layout)), layout.to("meta"), layout.prefix(3)):
        assert copied.handle.equal(layout.handle)
        assert layout_of(copied.handle) == layout


def test_settings_are_spelled_whole() -> None:
    config = MoCConfig(chunk_tokens=8, top_k=3, intra="window", drop_in_rate=0.1, outer_top_m=2, pattern="moc-block")
    assert MoCConfig.decode(config.encoded) == config
    assert config.replace(top_k=4).encoded != config.encoded

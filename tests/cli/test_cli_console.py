"""How sentences reach a terminal: wrapped between words, with commands and paths whole."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from moc_cli.console import tell, wrapped


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abc/雨", min_size=1, max_size=30)), st.integers(10, 40))
def test_words_stay_whole(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), width).splitlines()
    assert " ".join(lines).split() == words
    assert all(cell_len(line) <= width or " " not in line for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_commands_are_not_broken(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=40, force_terminal=terminal, color_system=None, markup=False)
    command = "  moc generate storyboards/two_friends.yaml --out 'runs/[two friends]' --resume"
    sentence = "Stopped; 2 of 4 shots are kept and nothing is lost. Go on with:"
    tell(console, f"{sentence}\n{command}")
    lines = out.getvalue().splitlines()
    assert lines[-1] == command
    assert lines[:-1] == (wrapped(sentence, 40).splitlines() if terminal else [sentence])

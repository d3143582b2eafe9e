"""How sentences reach a terminal: wrapped between words, with commands and paths whole."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moc_testing import assert_fails, moc_here
from rich.cells import cell_len
from rich.console import Console

from moc_cli.console import tell, usage_sentence, wrapped


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


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 60), st.integers(0, 999))
def test_numbers_keep_their_units(width: int, value: int) -> None:
    lines = wrapped(f"Shots 10 and 11 give each other {value} % and 53 % of their routes, in 12 s of work", width)
    assert f"{value} %" in lines
    assert "53 %" in lines
    assert "12 s" in lines
    assert wrapped("10 shots", 5) == "10\nshots", "the start of a word is no unit"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["profile", "--top-k", "x"], ["--top-k", "x", "integer"]),
        (["generate", "story.yaml", "--steps=0"], ["--steps 0: ", "1"]),
        (["generate", "story.yaml", "--mode", "fast"], ["--mode: 'fast' is not one of 'stream', 'joint'."]),
        (["generate", "story.yaml", "--stps", "3"], ["no such option: --stps", "--steps"]),
        (["generate", "story.yaml", "--out"], ["--out", "requires an argument"]),
        (["generate"], ["missing argument 'STORY.yaml'."]),
        (["generat"], ["no such command 'generat'"]),
        (["--nothing"], ["no such option: --nothing"]),
    ],
    ids=" ".join,
)
def test_mistakes_of_options_are_one_sentence(line: list[str], words: list[str]) -> None:
    told = moc_here(*line)
    assert_fails(told, 2, *words)
    assert len(told.stderr.strip().splitlines()) == 1
    assert told.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("Invalid value for '--out' / '-o': Not a folder.", ["-o", "x"], "--out x: not a folder."),
        ("Invalid value for '-n': 7 is not in the range x<=5.", ["-n", "9", "-n", "7"], "-n: 7 is not in the range"),
        ("Missing parameter: story", [], "missing parameter: story."),
        ("No such option: --fooo Did you mean --foo?", ["--fooo"], "no such option: --fooo Did you mean --foo?"),
    ],
)
def test_words_of_other_releases(text: str, words: list[str], said: str) -> None:
    class Wrong:
        def format_message(self) -> str:
            return text

    assert usage_sentence(Wrong(), words).startswith(said)

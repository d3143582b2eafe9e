"""Shot selections on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moc.errors import InputError
from moc.run.selection import format_shots, named_shots, parse_shots, parse_takes


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("3", [3]), ("3,5-6,9-", [3, 5, 6, 9, 10, 11]), ("-2", [1, 2]), (" 4 , 4", [4]), ("11-", [11]), ("1-1", [1])],
)
def test_selections(text: str, numbers: list[int]) -> None:
    assert parse_shots(text, 11) == numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no shot number"), ("a", "'a'"), ("0", "not 0"), ("12", "1 to 11, not 12"), ("6-5", "backwards"),
        ("3,,4", "no shot number"), ("3-12", "not 12"), ("-", "no shot number"), ("1.5", "'1.5'"), ("٣", "no shot"),
        ("-0", "not 0"), ("99999999999999999999", "no shot number"),
    ],
)  # fmt: skip
def test_wrong_selections(text: str, words: str) -> None:
    with pytest.raises(InputError, match="--shots") as caught:
        parse_shots(text, 11)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


@given(st.sets(st.integers(1, 40), min_size=1))
def test_format_is_read_back(numbers: set[int]) -> None:
    assert parse_shots(format_shots(numbers), 40) == sorted(numbers)


def test_names() -> None:
    assert named_shots([3]) == "shot 3"
    assert named_shots([3, 4, 5, 9]) == "shots 3-5,9"


def test_takes() -> None:
    assert parse_takes("3:2, 5:1", 5) == {3: 2, 5: 1}


@pytest.mark.parametrize("text", ["3", "3:", "6:1", "3:0", "3:1,3:2", "a:b", ""])
def test_wrong_takes(text: str) -> None:
    with pytest.raises(InputError, match="--use-take"):
        parse_takes(text, 5)

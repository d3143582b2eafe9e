"""Shot numbers on the command line: `3,5-6,9-` and `3:2`. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterable

from moc.errors import InputError

_RANGE = re.compile(r"([0-9]{1,6})(-([0-9]{1,6})?)?|-([0-9]{1,6})")


def parse_shots(text: str, total: int, option: str = "--shots") -> list[int]:
    """Shot numbers of a story of `total` shots, ascending and unique.

    `3` is a shot, `5-6` a range with both ends, `9-` from shot 9 to the end, `-2` from the start to shot 2. `option` is
    what errors name.

    Raises:
        InputError: not of that form, a range that runs backwards, or a number outside 1..total.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            raise InputError(
                f"{option} '{text}': '{part.strip()}' is no shot number or range such as 3, 5-6, 9- or -2."
            )
        first = int(match[1] or 1)
        last = int(match[4] or match[3] or (total if match[2] else first))
        for number in (first, last):
            if not 1 <= number <= total:
                raise InputError(f"{option} '{text}': the story has shots 1 to {total}, not {number}.")
        if last < first:
            raise InputError(f"{option} '{text}': {first}-{last} runs backwards.")
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def format_shots(numbers: Iterable[int]) -> str:
    """The shortest text that `parse_shots` reads as `numbers`: `3,5-6`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def named_shots(numbers: Iterable[int]) -> str:
    """`shot 3` or `shots 3,5-6`, for sentences."""
    text = format_shots(numbers)
    return f"shot {text}" if text.isdecimal() else f"shots {text}"


def parse_takes(text: str, total: int) -> dict[int, int]:
    """`3:2,5:1` as {shot: take}.

    Raises:
        InputError: not of that form, a shot outside 1..total, a shot named twice, or take 0.
    """
    chosen: dict[int, int] = {}
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", part.strip())
        if not match:
            raise InputError(f"--use-take '{text}': '{part.strip()}' is not SHOT:TAKE such as 3:2.")
        shot, take = int(match[1]), int(match[2])
        if not 1 <= shot <= total:
            raise InputError(f"--use-take '{text}': the story has shots 1 to {total}, not {shot}.")
        if take < 1:
            raise InputError(f"--use-take '{text}': takes count from 1, got {take}.")
        if shot in chosen:
            raise InputError(f"--use-take '{text}': shot {shot} is named twice.")
        chosen[shot] = take
    return chosen

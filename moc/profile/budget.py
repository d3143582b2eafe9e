"""Budgets: conditions on the columns of a profile, for gates in continuous integration. Torch-free."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moc.errors import InputError
from moc.profile.columns import COLUMNS, GROUPS, known

_TESTS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([\w.-]+)\s*(<=|>=|<|>)\s*(\S+?)\s*(?:@\s*(\S+)\s*)?")


@dataclass(frozen=True)
class Condition:
    """One condition: `speedup>2` for all rows, `speedup>2@8` for the row of 8 shots.

    Attributes:
        column: a number of a row, dotted where it is part of a group (`flops_parts.routed`).
        sign: <, <=, > or >=.
        limit: the number on the right.
        shots: the row it is for, None for all.
    """

    column: str
    sign: str
    limit: float
    shots: int | None = None

    def __str__(self) -> str:
        return f"{self.column}{self.sign}{self.limit:g}" + ("" if self.shots is None else f"@{self.shots}")


def parse_budget(text: str | None) -> tuple[Condition, ...]:
    """`latency_moc_ms<500,sparsity>0.8@8` as conditions; none for None.

    Raises:
        InputError: a condition that is none, or an unknown column.
    """
    if text is None:
        return ()
    conditions = []
    for part in text.split(","):
        found = _CONDITION.fullmatch(part)
        if not found:
            raise InputError(f"--budget '{part.strip()}' is not COLUMN<NUMBER, such as sparsity>0.8 or speedup>2@8.")
        column, sign, number, shots = found.groups()
        if not known(column):
            plain = ", ".join(name.key for name in COLUMNS if known(name.key))
            raise InputError(
                f"--budget: unknown column '{column}', known are {plain} and the parts of {', '.join(GROUPS)} "
                "(such as flops_parts.routed)."
            )
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise InputError(f"--budget '{part.strip()}': '{number}' is not a number.")
        if shots is not None and not (shots.isdecimal() and int(shots)):
            raise InputError(f"--budget '{part.strip()}': '{shots}' is not a number of shots.")
        conditions.append(Condition(column, sign, limit, None if shots is None else int(shots)))
    return tuple(conditions)


def check_rows(conditions: Sequence[Condition], shots: Sequence[int]) -> None:
    """Refuses conditions on rows that a profile of `shots` won't have.

    Raises:
        InputError: a condition names another number of shots.
    """
    for condition in conditions:
        if condition.shots is not None and condition.shots not in shots:
            rows = ", ".join(map(str, shots))
            raise InputError(f"--budget '{condition}': no row has {condition.shots} shots, there are {rows}.")


def broken(conditions: Sequence[Condition], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each condition and row that breaks it; a value that was not measured breaks it too.

    A gate that lets unmeasured rows pass would stay green on a machine that measures nothing.
    """
    sentences = []
    for condition in conditions:
        meant = [row for row in rows if condition.shots in (None, row["shots"])]
        if not meant:
            sentences.append(f"{condition}: there is no row of {condition.shots} shots.")
        for row in meant:
            value = _value(row, condition.column)
            place = f"{condition} is broken at {row['shots']} {'shot' if row['shots'] == 1 else 'shots'}"
            if value is None:
                sentences.append(f"{place}: it was not measured.")
            elif not _TESTS[condition.sign](value, condition.limit):
                sentences.append(f"{place}: it is {value:.6g}.")
    return sentences


def _value(row: Mapping[str, Any], column: str) -> float | None:
    """The number under a dotted name; None where it, or what holds it, is missing."""
    found: Any = row
    for name in column.split(".", 1):
        found = None if found is None else found.get(name)
    return found if isinstance(found, (int, float)) else None

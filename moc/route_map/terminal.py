"""A heat map of shots in text: at most 80 columns, readable on dark and light terminals and without colour.

Cells are percent, and marks of growing density where a story is too long for numbers, so that nothing depends on
colour. A terminal that has any shows small shares faint, large ones strong, and pairs that choose each other pink.
"""

from __future__ import annotations

import numpy as np

from moc.route_map.findings import Report

WIDTH = 80
_LABEL = 14
_SHORTEST = 7
_RAMP = " .:-=+*#%@"
_FAINT, _STRONG, _LOOP = 0.05, 0.3, "bold magenta"

Piece = tuple[str, str]


def heat_map(report: Report, width: int = WIDTH) -> list[str]:
    """Lines of the map: a row a shot, a column a shot that it chose; shares in percent where there is room.

    The own shot, whose tokens are always attended, is marked by a backslash; shares count routed links alone.
    """
    return ["".join(text for text, _ in line).rstrip() for line in painted(report, width)]


def painted(report: Report, width: int = WIDTH) -> list[list[Piece]]:
    """The lines of `heat_map` in pieces of text, each with its style in rich's words."""
    share, shots = report.shares_SS, report.route_map.shots
    label, cell, total = _sizes(report, width)
    mutual = {edge for cycle in report.loops.mutual for edge in cycle.edges}
    lines: list[list[Piece]] = [[(" " * (label + 1) + _head([shot.number for shot in shots[:total]], cell), "")]]
    for i, shot in enumerate(shots):
        line = [(f"{_label(shot.number, shot.id)[:label]:<{label}} ", "")]
        for j in range(total):
            part = float(share[i, j])
            style = _LOOP if (i, j) in mutual else "dim" if part < _FAINT else "bold" if part >= _STRONG else ""
            line.append((_cell(part, i == j, cell), style))
        lines.append(line)
    return lines


def legend(report: Report, width: int = WIDTH) -> str:
    """What the map shows."""
    _, cell, total = _sizes(report, width)
    numbers = cell >= 3
    how = "percent of a row's routes" if numbers else f"share of a row's routes, from nothing to all: '{_RAMP}'"
    left = len(report.route_map.shots) - total
    more = f" Its last {left} columns don't fit; --html and --plot show them." if left else ""
    return f"Rows choose columns: {how}; \\ is the own shot, always attended and not counted.{more}"


def _sizes(report: Report, width: int) -> tuple[int, int, int]:
    """Cells of a label, cells of a column, and columns that fit."""
    shots = report.route_map.shots
    wanted = min(_LABEL, max(len(_label(shot.number, shot.id)) for shot in shots))
    for cell in (4, 3, 2, 1):
        label = min(wanted, width - 1 - len(shots) * cell)
        if label >= min(wanted, _SHORTEST):
            return label, cell, len(shots)
    return wanted, 1, width - 1 - wanted


def _head(numbers: list[int], cell: int) -> str:
    """Numbers of the columns, each fifth one where they would run together."""
    if cell >= 3:
        return "".join(f"{number:>{cell}}" for number in numbers)
    line = ""
    for place, number in enumerate(numbers):
        if number % 5 == 0:
            line = f"{line:<{(place + 1) * cell - len(str(number))}}{number}"
    return line


def _label(number: int, shot_id: str) -> str:
    return f"{number:>2} {shot_id}"


def _cell(share: float, own: bool, width: int) -> str:
    if own and share == 0:
        return f"{chr(92):>{width}}"
    if width >= 3:
        value = round(100 * share)
        text = "." if share == 0 else ("<1" if value == 0 else str(value))
        return f"{text:>{width}}"
    mark = _RAMP[min(len(_RAMP) - 1, int(np.ceil(share * (len(_RAMP) - 1))))]
    return f"{mark:>{width}}"


def bars(values: dict[int, int], width: int = 40) -> list[str]:
    """A line per distance with its share as a bar."""
    total = sum(values.values())
    lines = []
    for distance in sorted(values):
        share = values[distance] / total
        where = "own shot" if distance == 0 else f"{abs(distance)} {'back' if distance > 0 else 'ahead'}"
        lines.append(f"{where:>9} {100 * share:5.1f} % {'▇' * round(share * width)}".rstrip())
    return lines

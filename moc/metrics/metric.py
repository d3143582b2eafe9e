"""`Metric`: what a number means, so that no table shows one without its range, direction and source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["higher", "lower", "neither"]
OURS = "ours"


@dataclass(frozen=True)
class Metric:
    """One number of a video.

    Attributes:
        key: its name in JSON, files and `--metrics`.
        heading: of its column, at most two short lines.
        says: one sentence.
        low, high: what it can be at least and at most; None for no bound.
        better: which direction is good; "neither" where more is not better.
        source: "ours", or the paper or package it comes from.
        form: how a value is written, as a format of one number.
        unit: of the value as stored; empty for a share or a score.
    """

    key: str
    heading: str
    says: str
    low: float | None
    high: float | None
    better: Direction
    source: str = OURS
    form: str = "{:.3f}"
    unit: str = ""

    @property
    def name(self) -> str:
        """The heading on one line."""
        return self.heading.replace("-\n", "").replace("\n", " ")

    @property
    def range(self) -> str:
        """`0 to 1`, `0 and up`, `up to 1`, `any`."""
        if self.low is None:
            return "any" if self.high is None else f"up to {self.high:g}"
        return f"{self.low:g} and up" if self.high is None else f"{self.low:g} to {self.high:g}"

    @property
    def span(self) -> float | None:
        """How far two values can lie apart; None for no bound."""
        return None if self.low is None or self.high is None else self.high - self.low

    def show(self, value: float | None) -> str:
        """A value as a table has it; `-` where there is none."""
        return "-" if value is None else self.form.format(value)

    def show_interval(self, interval: Sequence[float]) -> str:
        """Half the width of an interval, as `±0.3`; `65.9–100` where it ends because the metric does."""
        low, high = interval
        if low != self.low and high != self.high:
            return f"±{self._plain((high - low) / 2)}"
        scale = 100 if self.form.endswith("%}") else 1
        ends = (f"{scale * end:g}" if end in (self.low, self.high) else self._plain(end) for end in interval)
        return "–".join(ends)

    def _plain(self, value: float) -> str:
        return self.form.format(value).removesuffix("%")

    def show_difference(self, mean: float | None, interval: Sequence[float] | None) -> str:
        """A difference of two values with its interval: `+1.2 (-0.5 to +2.9)`, shares in points of a hundred."""
        if mean is None:
            return "-"
        form, scale = self.form.replace("{:", "{:+"), 1
        if form.endswith("%}"):
            form, scale = form.replace("%", "f"), 100
        told = form.format(scale * mean)
        return told if interval is None else f"{told} ({' to '.join(form.format(scale * end) for end in interval)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and pages."""
        return {
            "key": self.key,
            "heading": self.name,
            "says": self.says,
            "range": self.range,
            "better": self.better,
            "source": self.source,
            "unit": self.unit or None,
        }

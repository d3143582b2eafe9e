"""The attention patterns that MoC can be held against, by name: what each is, where it comes from, what it needs.

Torch-free, so that a wrong name is refused before anything is loaded. What a pattern does is one file under
`moc/attention/patterns/`, named as here with underscores.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PatternInfo:
    """One attention pattern.

    Attributes:
        name: as in `MoCConfig.pattern`.
        summary: what a video token attends besides its mandatory links, in a line.
        source: where the idea was published.
        kind: "chosen" by queries, or "fixed" by the layout alone.
        needs: what must hold, in a line; empty where it runs everywhere.
    """

    name: str
    summary: str
    source: str
    kind: Literal["chosen", "fixed"]
    needs: str = ""


_ALL = (
    PatternInfo(
        "dense",
        "every admissible chunk: all other shots, with causal all earlier ones",
        "LCT, arXiv 2503.10589",
        "fixed",
    ),
    PatternInfo(
        "moc",
        "the top_k chunks that match its query best, per token, head and layer",
        "MoC, arXiv 2508.21058",
        "chosen",
    ),
    PatternInfo(
        "moc-uniform",
        "as moc, among chunks of one length that ignore frames, shots and captions",
        "MoBA, arXiv 2502.13189",
        "chosen",
        "a layout cut evenly (TokenLayout.evenly)",
    ),
    PatternInfo(
        "moc-no-causal",
        "as moc, later shots included",
        "MoC without its causal mask, arXiv 2508.21058, sec. 3.2",
        "chosen",
        "mode: joint, since a finished shot can't look ahead",
    ),
    PatternInfo(
        "moc-block",
        "as moc, but one choice for all queries of a chunk, by their mean",
        "VSA, arXiv 2505.13389; SSTA, arXiv 2511.18870",
        "chosen",
        "query ranges that start and stop at chunk edges",
    ),
    PatternInfo(
        "local",
        "nothing: its own shot and its text",
        "a model without memory",
        "fixed",
    ),
    PatternInfo(
        "first-frame",
        "the first latent frame of every other shot, with causal of every earlier one",
        "HoloCine, arXiv 2510.20822",
        "fixed",
    ),
    PatternInfo(
        "radial",
        "other frames at its own place in the picture, ever fewer tokens the further away they are",
        "Radial Attention, arXiv 2506.19852",
        "fixed",
    ),
    PatternInfo(
        "random",
        "as many chunks as moc, drawn blindly",
        "a control: routes without a choice",
        "chosen",
    ),
)

PATTERNS: dict[str, PatternInfo] = {pattern.name: pattern for pattern in _ALL}
"""Every pattern by name."""


def check_pattern(name: object) -> None:
    """Refuses a name that no pattern has.

    Raises:
        ValueError: names the known patterns and, where there is one, the nearest.
    """
    if name in PATTERNS:
        return
    near = difflib.get_close_matches(str(name), PATTERNS, 1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, got {name!r}{hint}")

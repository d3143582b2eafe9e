"""Every metric of a single story, in the order of tables, and how `--metrics` chooses among them. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from moc.errors import InputError
from moc.metrics.attributes import NAMED_RIGHT
from moc.metrics.colours import PLACE_COLOURS
from moc.metrics.consistency import CHARACTERS, PLACES
from moc.metrics.dynamics import DYNAMIC_DEGREE, MOTION
from moc.metrics.metric import Metric
from moc.metrics.psnr import PSNR
from moc.metrics.smoothness import SMOOTHNESS
from moc.metrics.ssim import SSIM
from moc.metrics.vbench import METRICS as VBENCH

WORLD = (NAMED_RIGHT, CHARACTERS, PLACES)
LIGHT = (PLACE_COLOURS, SMOOTHNESS, DYNAMIC_DEGREE, MOTION)
AGREEMENT = (PSNR, SSIM)
GROUPS: dict[str, tuple[Metric, ...]] = {"world": WORLD, "light": LIGHT, "agreement": AGREEMENT, "vbench": VBENCH}
"""world: read by the story world's reader; light: of any video, without weights; agreement: with the reference."""
ALL = tuple(metric for group in GROUPS.values() for metric in group)
DEFAULT = (*WORLD, *LIGHT, *AGREEMENT)


def choose(text: str | None) -> tuple[Metric, ...]:
    """The metrics that `--metrics` names: keys and groups, separated by commas; `DEFAULT` for None.

    Raises:
        InputError: no such metric.
    """
    if text is None:
        return DEFAULT
    chosen: list[Metric] = []
    for name in (part.strip() for part in text.split(",")):
        chosen += named(name)
    return tuple(metric for metric in ALL if metric in chosen)


def named(name: str) -> Sequence[Metric]:
    """The metrics of a group, or the one with a key."""
    if name in GROUPS:
        return GROUPS[name]
    if found := [metric for metric in ALL if metric.key == name]:
        return found
    from moc.storyboard.problems import nearest, shown

    known = [*GROUPS, *(metric.key for metric in DEFAULT)]
    near = nearest(name, [*GROUPS, *(metric.key for metric in ALL)])
    hint = f", did you mean '{near}'?" if near else f"; known: {', '.join(known)}"
    raise InputError(f"--metrics: there is no metric {shown(name)}{hint}")

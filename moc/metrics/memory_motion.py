"""Does what the caption says move, and as far as it should? Displacement and liveliness of a shot beside the truth's.

Which action a shot shows is read by the story world's reader like any other named attribute. But a reader looks at
poses, and a frozen figure in a running pose reads as running. So two plain measurements stand beside it:

    displacement  how far the character's centre goes within two seconds in the middle of the shot, in pixels: the
                  diagonal of the box of all its positions, found by the reader's map of its kind
    liveliness    mean absolute difference of neighbouring frames, in grey levels (0 to 255)

Where somebody starts and turns is told by no caption, so the truth is one example among many with the same words;
both numbers depend on action, camera and kind far more than on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from moc.metrics.memory_agreement import Estimate, estimate, plain, resamples
from moc.world.reader import VIEWS, Reader, read
from moc.world.schema import ACTIONS, CHARACTER_ATTRIBUTES, MAX_CAST

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from moc.world.story import StoryBatch

WINDOW = 16  # frames, two seconds, looked at every second frame
CELL = 4  # pixels of a cell of the reader's maps
MOVED = 6.0  # pixels from which a character has moved
CLEAR = (5.0, 7.5)  # true displacements between these (a pan past somebody, a walk seen from near) are not judged
FROZEN, RESTLESS = 0.4, 2.5  # of the truth's liveliness


def motion_rows(stories: StoryBatch, frames: Tensor, truth: Tensor, reader: Reader) -> pd.DataFrame:
    """Displacement and liveliness of every character of every shot, as made and in truth.

    Args:
        stories: B stories of S shots.
        frames, truth: uint8 `[B, S, F, 3, H, W]` of the same stories.
        reader: the trained reader.

    Returns:
        One row per story, shot and role: `story, shot, role, action` (index), `camera` (index), `moved` and
        `moved_truth` in pixels (not a number where the character is not found), `lively` and `lively_truth` in grey
        levels. Shots with two characters of a kind, which the reader can't tell apart, are left out.

    Raises:
        ValueError: frames and truth differ in shape.
    """
    import pandas as pd

    if frames.shape != truth.shape:
        raise ValueError(f"frames and truth must have one shape, got {list(frames.shape)} and {list(truth.shape)}")
    cpu = stories.to("cpu")
    columns: dict[str, list[float]] = {
        name: []
        for name in ("story", "shot", "role", "action", "camera", "moved", "moved_truth", "lively", "lively_truth")
    }
    extents = [_extents(part, reader) for part in (frames, truth)]
    device = next(reader.parameters()).device
    lively = [_liveliness(part, device) for part in (frames, truth)]
    column = list(CHARACTER_ATTRIBUTES).index("kind")
    for b in range(cpu.stories):
        for s in range(cpu.shots):
            slots = [int(c) for c in cpu.cast[b, s] if c >= 0]
            kinds = [int(cpu.characters[b, slot, column]) for slot in slots]
            if len(set(kinds)) < len(kinds):
                continue
            for role, kind in enumerate(kinds[:MAX_CAST]):
                values = (
                    b, s, role, int(cpu.action[b, s, role]), int(cpu.camera[b, s]), float(extents[0][b, s, kind]),
                    float(extents[1][b, s, kind]), float(lively[0][b, s]), float(lively[1][b, s]),
                )  # fmt: skip
                for name, value in zip(columns, values, strict=True):
                    columns[name].append(value)
    return pd.DataFrame(columns).astype(dict.fromkeys(("story", "shot", "role", "action", "camera"), int))


def _extents(frames: Tensor, reader: Reader) -> Tensor:
    """`[B, S, K]` displacement of each kind in pixels, not a number where fewer than half of the views show it."""
    count = frames.shape[2]
    window = min(WINDOW, count)
    start = (count - window) // 2
    step = max(1, window // VIEWS)
    part = frames[:, :, start : start + window : step].flatten(0, 1)
    return extents_of(read(reader, part).maps).view(*frames.shape[:2], -1)


def extents_of(maps: Tensor) -> Tensor:
    """`[N, K]` diagonal of the box of centres, in pixels, from the reader's maps `[N, V, K, h, w]`."""
    weight = maps.sigmoid() * (maps > 0)
    mass = weight.sum(dim=(-2, -1))  # [N, V, K]
    seen = mass > 0
    spans = []
    for axis, length in ((-1, maps.shape[-1]), (-2, maps.shape[-2])):
        line = weight.sum(dim=-2 if axis == -1 else -1)  # [N, V, K, length]
        place = (torch.arange(length, dtype=weight.dtype) + 0.5) * CELL
        centre = (line * place).sum(-1) / mass.clamp(min=1e-9)
        high = centre.masked_fill(~seen, -torch.inf).amax(1)
        low = centre.masked_fill(~seen, torch.inf).amin(1)
        spans.append(high - low)
    enough = seen.sum(1) * 2 >= maps.shape[1]
    return torch.where(enough, torch.hypot(*spans), torch.nan)


def _liveliness(frames: Tensor, device: torch.device) -> Tensor:
    """`[B, S]` mean absolute difference of neighbouring frames in grey levels; 0 for a single frame."""
    if frames.shape[2] < 2:
        return torch.zeros(frames.shape[:2])
    rows = []
    for story in frames.split(1):  # a story at a time in whole numbers
        story = story[0].to(device)
        difference = story[:, 1:].short() - story[:, :-1].short()
        rows.append(difference.abs().float().mean(dim=(1, 2, 3, 4)).cpu())
    return torch.stack(rows)


def motion_summary(rows: pd.DataFrame, *, stories: int, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """What `motion_rows` say, as plain data.

    Returns:
        `moves_as_told`: share of characters that go somewhere (by `MOVED`) if and only if they do in truth, with its
        interval; cases that are unclear in truth (`CLEAR`) don't count, characters not found are wrong.
        `displacement_ratio`: mean displacement over the truth's, of those that move in truth; `correlation` of both
        over all. `liveliness_ratio`: median over shots; `frozen` and `restless`: shares of shots below and above
        `FROZEN` and `RESTLESS` times the truth's liveliness. `by_action`: displacement made and in truth, in pixels,
        and how many.
    """
    if not len(rows):
        return {"characters": 0}
    moved, truth = rows["moved"].to_numpy(), rows["moved_truth"].to_numpy()
    known = truth == truth  # the reader finds them in the truth
    right = ((moved > MOVED) == (truth > MOVED)) & (moved == moved)
    weights = resamples(stories, draws=draws, seed=seed)
    clear = known & ((truth <= CLEAR[0]) | (truth >= CLEAR[1]))
    as_told = _share_by_story(rows["story"].to_numpy()[clear], right[clear], stories, weights)
    both = known & (moved == moved)
    goes = both & (truth > MOVED)
    shots = rows.drop_duplicates(["story", "shot"])
    lively = (shots["lively"] / shots["lively_truth"].clip(lower=1e-3)).to_numpy()
    by_action = {}
    for index, name in enumerate(ACTIONS):
        here = both & (rows["action"].to_numpy() == index)
        if here.any():
            means = {"made": float(moved[here].mean()), "truth": float(truth[here].mean())}
            by_action[name] = {**means, "characters": int(here.sum())}
    return {
        "characters": int(clear.sum()),
        "moves_as_told": plain(as_told.value),
        "moves_as_told_interval": [plain(as_told.low), plain(as_told.high)],
        "displacement_ratio": float(moved[goes].mean() / truth[goes].mean()) if goes.any() else None,
        "correlation": _correlation(moved[both], truth[both]),
        "liveliness_ratio": float(_median(lively)),
        "frozen": float((lively < FROZEN).mean()),
        "restless": float((lively > RESTLESS).mean()),
        "by_action": by_action,
    }


def _share_by_story(story: np.ndarray, right: np.ndarray, stories: int, weights: np.ndarray) -> Estimate:
    import numpy as np

    hits = np.bincount(story[right], minlength=stories)
    total = weights @ np.bincount(story, minlength=stories)
    with np.errstate(invalid="ignore", divide="ignore"):
        return estimate(np.where(total > 0, weights @ hits / total, np.nan))


def _median(values: np.ndarray) -> float:
    import numpy as np

    return float(np.median(values))


def _correlation(made: np.ndarray, truth: np.ndarray) -> float | None:
    import numpy as np

    if len(made) < 3 or made.std() == 0 or truth.std() == 0:
        return None
    return float(np.corrcoef(made, truth)[0, 1])

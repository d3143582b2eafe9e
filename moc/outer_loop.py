"""The outer loop: which earlier shots stay in play while a new one is made (App. I of arXiv 2508.21058)."""

from __future__ import annotations

import torch
from torch import Tensor

from moc.layout import TokenLayout


def select_shots(features: Tensor, layout: TokenLayout, m: int) -> list[int]:
    """The `m` earlier shots most like the newest one, the last of `layout`.

    A shot is described by the float32 mean of its video tokens' features, likeness is the inner product of two
    descriptors; ties go to the lower shot. What M is and which features count the paper leaves open: ours to choose.

    Args:
        features: [L, D] or [1, L, D] token features of the whole stream.
        layout: its layout.
        m: how many earlier shots to keep at most.

    Returns:
        Numbers of the shots kept, ascending; for `layout.select`, append the newest shot's.

    Raises:
        ValueError: the features have another shape, `m` is negative, or there is no shot.
    """
    if features.ndim == 3 and features.shape[0] == 1:
        features = features[0]
    if features.ndim != 2 or features.shape[0] != layout.length:
        raise ValueError(
            f"features must be [{layout.length}, D] or [1, {layout.length}, D], got {list(features.shape)}"
        )
    if m < 0:
        raise ValueError(f"m must be at least 0, got {m}")
    if not layout.num_shots:
        raise ValueError("the layout holds no shot to compare with")
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        wide = torch.promote_types(features.dtype, torch.float32)
        ranges = [layout.video_range(number) for number in layout.shot_numbers]
        means = torch.stack([features[a:b].mean(0, dtype=wide) for a, b in ranges])
        likeness = (means[:-1] * means[-1]).sum(-1)
        best = likeness.argsort(descending=True, stable=True)[:m].tolist()
    return sorted(layout.shot_numbers[i] for i in best)

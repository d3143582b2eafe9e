"""Noise with power at every scale, drawn per (seed, story, shot).

White noise averages out over a large flat area, so under it the colour of a wall is decided in the first sliver of
sampling, where few-step solvers are at their worst and every wall comes out alike. Adding coarse and still components
(Guttenberg's offset noise, taken to all scales) makes a wall, a coat and an eye resolve in the same few steps. The sum
has unit variance and full rank, so rectified flow applies as it stands.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.patches import patchify


@dataclass(frozen=True)
class Component:
    """Noise of one scale: equal over `block` x `block` pixels (0 = the whole picture) and, if `still`, over time.

    Moving components change every latent frame (`patch_frames` frames) unless `block` is 1, which changes each frame.
    """

    block: int
    still: bool
    variance: float


WHITE = (Component(1, False, 1.0),)
# The still parts are coarser than any character: coarse noise on the scale of a patch would hide its colour until all
# of its detail has to be decided at once.
SCALES = (
    Component(1, False, 0.96),
    Component(32, True, 0.02),
    Component(0, True, 0.02),
)


KINDS = {"scales": SCALES, "white": WHITE}  # by `PocketConfig.noise`


def draw_noise(
    shape: tuple[int, ...],
    latent_frames: int,
    config: PocketConfig,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    components: tuple[Component, ...] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Noise patches `[*shape, latent_frames * tokens_per_frame, patch_values]` of unit variance.

    `components` are those of `config.noise` unless given.

    Raises:
        ValueError: the variances of `components` do not sum to one.
    """
    components = KINDS[config.noise] if components is None else components
    if abs(sum(c.variance for c in components) - 1) > 1e-6:
        raise ValueError(f"variances must sum to 1, not {sum(c.variance for c in components)}")
    height, width = config.picture_height, config.picture_width
    lead = 1
    for n in shape:
        lead *= n
    frames = latent_frames * config.patch_frames
    total = torch.zeros(lead, frames, 3, height, width, device=device, dtype=dtype)
    for component in components:
        block = component.block
        if block == 1 and not component.still:
            count, every = frames, 1
        else:
            count, every = (1, frames) if component.still else (latent_frames, config.patch_frames)
        rows, columns = (-(-height // block), -(-width // block)) if block else (1, 1)
        part = torch.randn(lead * count, 3, rows, columns, generator=generator, device=device, dtype=dtype)
        if (rows, columns) != (height, width):
            scale = (block, block) if block else (height, width)
            part = F.interpolate(part, scale_factor=(float(scale[0]), float(scale[1])), mode="nearest")
            part = part[..., :height, :width]
        part = part.view(lead, count, 1, 3, height, width).expand(-1, -1, every, -1, -1, -1)
        total.view(lead, count, every, 3, height, width).add_(part, alpha=component.variance**0.5)
    return patchify(total, config).view(*shape, -1, config.patch_values)


def shot_generator(seed: int, story: str, shot: str) -> torch.Generator:
    """CPU generator of one shot's noise: a hash of the run's seed, the story's title and the shot's id.

    A shot's draw depends on nothing else, so neighbours may come, go or be drawn again.
    """
    digest = hashlib.sha256(f"{seed}\x1f{story}\x1f{shot}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") & (2**63 - 1))

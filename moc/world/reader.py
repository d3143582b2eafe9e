"""Reads the ground truth back from pixels: who is in a shot, what they wear, what they do, and where.

A small convolutional network, trained on renders roughened like generated video (`moc.world.reader_training`). A shot
is seen as `VIEWS` frames spread evenly over its length. Characters are found by kind, which captions always name: the
network draws a map of every kind and, on top of it, of where each attribute shows, and reads the attribute there. Two
characters of one kind in a shot can't be told apart; such shots are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moc.world.schema import CHARACTER_ATTRIBUTES, KINDS, PLACE_ATTRIBUTES, SHOT_ATTRIBUTES

VIEWS = 8
READER_WEIGHTS = Path(__file__).with_name("reader.safetensors")

SHOT_LABELS: dict[str, tuple[str, ...]] = {
    **PLACE_ATTRIBUTES,
    **{name: values for name, values in SHOT_ATTRIBUTES.items() if name != "action"},
}
CHARACTER_LABELS: dict[str, tuple[str, ...]] = {
    **{name: values for name, values in CHARACTER_ATTRIBUTES.items() if name != "kind"},
    "action": SHOT_ATTRIBUTES["action"],
}


@dataclass
class Reading:
    """Logits of one batch of shots. N shots, K = len(KINDS).

    Attributes:
        shot: by attribute of place and shot, `[N, values]`.
        present: `[N, K]`, above zero where that kind is seen.
        character: by attribute and action, `[N, K, values]`; meaningful where the kind is present.
        maps: `[N, VIEWS, K, H/4, W/4]`, above zero where that kind stands.
    """

    shot: dict[str, Tensor]
    present: Tensor
    character: dict[str, Tensor]
    maps: Tensor


def views(frames: Tensor) -> Tensor:
    """`VIEWS` frames spread evenly over a shot: uint8 `[N, F, 3, H, W]` to `[N, VIEWS, 3, H, W]`."""
    count = frames.shape[1]
    index = torch.linspace(0, count - 1, VIEWS, device=frames.device).round().long()
    return frames[:, index]


class _Stage(nn.Module):
    """Halves the grid, then mixes it once."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inside, outside, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(8, outside)
        self.mix = nn.Conv2d(outside, outside, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, outside)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.down(x)))
        return x + F.silu(self.norm2(self.mix(x)))


class Reader(nn.Module):
    """The network; `width` channels where it reads."""

    def __init__(self, width: int = 160) -> None:
        super().__init__()
        self.width = width
        self.first = _Stage(3, 48)
        self.second = _Stage(48, 128)
        self.third = _Stage(128, width)
        self.far = nn.Sequential(nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.GroupNorm(8, width), nn.SiLU())
        self.time = nn.Conv1d(width, width, 3, padding=1)
        self.lateral = nn.Conv2d(128, width, 1)
        self.join = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU())
        self.find = nn.Conv2d(width, len(KINDS), 1)
        self.look = nn.Conv2d(width, len(CHARACTER_LABELS), 1)
        self.present = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, len(KINDS)))
        self.verify = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))
        self.kind = nn.Embedding(len(KINDS), 2 * width)
        self.trunk = nn.ModuleDict({n: nn.Sequential(nn.Linear(2 * width, width), nn.SiLU()) for n in CHARACTER_LABELS})
        self.character = nn.ModuleDict({n: nn.Linear(width, len(v)) for n, v in CHARACTER_LABELS.items()})
        self.scene = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.SiLU())
        self.grid = nn.Linear(width, 16)
        self.shot = nn.ModuleDict({n: nn.Linear(2 * width + 16 * 96, len(v)) for n, v in SHOT_LABELS.items()})

    def forward(self, seen: Tensor) -> Reading:
        """Read shots from float views `[N, VIEWS, 3, H, W]` in [-1, 1]."""
        shots, count = seen.shape[:2]
        quarter = self.second(self.first(seen.flatten(0, 1)))
        coarse = self.third(quarter)
        coarse = coarse + self.far(coarse)
        height, width = coarse.shape[-2:]
        x = coarse.unflatten(0, (shots, count))
        along = x.permute(0, 3, 4, 2, 1).reshape(-1, self.width, count)
        moved = F.silu(self.time(along)).view(shots, height, width, self.width, count).permute(0, 4, 3, 1, 2)
        x = x + moved

        mean, most = x.mean(dim=(1, 3, 4)), x.amax(dim=(1, 3, 4))
        change = (x[:, 1:] - x[:, :-1]).abs().mean(dim=(1, 3, 4))
        # where things stand tells cameras and features apart: a small code of every cell, averaged over time
        cells = self.grid(x.mean(dim=1).flatten(2).transpose(1, 2)).flatten(1)
        scene = torch.cat([self.scene(torch.cat([mean, most, change], dim=1)), cells], dim=1)

        near = F.interpolate(x.flatten(0, 1), scale_factor=2.0, mode="nearest") + self.lateral(quarter)
        near = near + self.join(near)
        maps = self.find(near).unflatten(0, (shots, count))
        found, looked = maps.flatten(3), self.look(near).unflatten(0, (shots, count)).flatten(3)
        weight = (found[:, :, :, None] + looked[:, :, None]).softmax(dim=-1)  # [N, V, K, attribute, cells]
        pooled = torch.einsum("nvkap,nvcp->nvkac", weight, near.unflatten(0, (shots, count)).flatten(3))
        # views in which the character is plain to see count for more
        sure = found.float().amax(dim=-1)  # [N, V, K]
        share = sure.softmax(dim=1).to(pooled.dtype)
        body = torch.einsum("nvk,nvkac->nkac", share, pooled)
        spread = (pooled[:, 1:] - pooled[:, :-1]).abs().mean(dim=1)
        parts = torch.cat([body, spread], dim=-1) + self.kind.weight[:, None]  # [N, K, attribute, 2 width]
        # is a cat anywhere in the shot, and does what stands where a cat would stand look like one?
        present = self.present(torch.cat([mean, most], dim=1)) + self.verify(parts.mean(dim=2))[..., 0]
        return Reading(
            shot={name: head(scene) for name, head in self.shot.items()},
            present=present,
            character={
                name: head(self.trunk[name](parts[:, :, i])) for i, (name, head) in enumerate(self.character.items())
            },
            maps=maps,
        )


@lru_cache(maxsize=2)
def load_reader(device: str = "cpu", path: Path = READER_WEIGHTS) -> Reader:
    """The trained reader that ships with the package.

    Raises:
        FileNotFoundError: the weights are missing.
        ValueError: the file is no safetensors file, or not a reader of this version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"the reader's weights are missing: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {}).get("reader", "{}"))
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} can't be read as weights: {error}") from error
    try:
        reader = Reader(**settings)
        reader.load_state_dict(weights)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is not a reader of this version") from error
    return reader.eval().to(device)


@torch.no_grad()
def read(reader: Reader, frames: Tensor, batch: int = 64) -> Reading:
    """Read shots from uint8 `[N, F, 3, H, W]`; results on the CPU."""
    parts = []
    device = next(reader.parameters()).device
    for chunk in views(frames).split(batch):
        parts.append(reader(chunk.to(device).float() / 127.5 - 1))
    return Reading(
        shot={n: torch.cat([p.shot[n].float().cpu() for p in parts]) for n in SHOT_LABELS},
        present=torch.cat([p.present.float().cpu() for p in parts]),
        character={n: torch.cat([p.character[n].float().cpu() for p in parts]) for n in CHARACTER_LABELS},
        maps=torch.cat([p.maps.float().cpu() for p in parts]),
    )

"""Reads the ground truth back from pixels: who is in a shot, what they wear, what they do, and where.

A small convolutional network, trained on renders roughened like generated video (`moc.world.reader_training`). A shot
is seen as `VIEWS` frames spread evenly over its length. Characters are found by kind, which captions always name: for
each kind an attention map over space and time pools the features that its attributes are read from. What stands in a
shot that shows two characters of one kind can't be told apart and is left out.
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
        where: `[N, VIEWS, K, 2]`, mean (x, y) of the attention of each kind, in [0, 1].
    """

    shot: dict[str, Tensor]
    present: Tensor
    character: dict[str, Tensor]
    where: Tensor


def views(frames: Tensor) -> Tensor:
    """`VIEWS` frames spread evenly over a shot: uint8 `[N, F, 3, H, W]` to `[N, VIEWS, 3, H, W]`."""
    count = frames.shape[1]
    index = torch.linspace(0, count - 1, VIEWS, device=frames.device).round().long()
    return frames[:, index]


class _Stage(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inside, outside, 3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(8, outside)
        self.mix = nn.Conv2d(outside, outside, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, outside)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.down(x)))
        return x + F.silu(self.norm2(self.mix(x)))


class Reader(nn.Module):
    """The network; `width` channels at the coarsest scale."""

    def __init__(self, width: int = 160) -> None:
        super().__init__()
        self.width = width
        self.fine = nn.Sequential(_Stage(3, 32, 1), _Stage(32, 64, 2))
        self.coarse = nn.Sequential(_Stage(64, 128, 2), _Stage(128, width, 2))
        self.time = nn.Conv1d(width, width, 3, padding=1)
        self.find = nn.Conv2d(width, len(KINDS), 1)
        self.detail = nn.Conv2d(64, width, 1)
        self.present = nn.Linear(2 * width, len(KINDS))
        self.trunk = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width), nn.SiLU())
        self.kind = nn.Embedding(len(KINDS), 3 * width)
        self.character = nn.ModuleDict({n: nn.Linear(2 * width, len(v)) for n, v in CHARACTER_LABELS.items()})
        self.scene = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.SiLU())
        self.grid = nn.Linear(width, 16)
        self.shot = nn.ModuleDict({n: nn.Linear(2 * width + 16 * 96, len(v)) for n, v in SHOT_LABELS.items()})

    def forward(self, seen: Tensor) -> Reading:
        """Read shots from float views `[N, VIEWS, 3, H, W]` in [-1, 1]."""
        shots, count = seen.shape[:2]
        fine = self.fine(seen.flatten(0, 1))
        coarse = self.coarse(fine)
        height, width = coarse.shape[-2:]
        x = coarse.unflatten(0, (shots, count))
        along = x.permute(0, 3, 4, 2, 1).reshape(-1, self.width, count)
        moved = F.silu(self.time(along)).view(shots, height, width, self.width, count).permute(0, 4, 3, 1, 2)
        x = x + moved
        flat = x.flatten(0, 1)

        mean, most = x.mean(dim=(1, 3, 4)), x.amax(dim=(1, 3, 4))
        change = (x[:, 1:] - x[:, :-1]).abs().mean(dim=(1, 3, 4))
        # where things stand tells cameras and features apart: a small code of every cell, averaged over time
        cells = self.grid(x.mean(dim=1).flatten(2).transpose(1, 2)).flatten(1)
        scene = torch.cat([self.scene(torch.cat([mean, most, change], dim=1)), cells], dim=1)

        logits = self.find(flat).unflatten(0, (shots, count))  # [N, V, K, h, w]
        weight = logits.flatten(3).softmax(dim=-1)
        pooled = torch.einsum("nvkp,nvcp->nvkc", weight, x.flatten(3))
        up = F.interpolate(logits.flatten(0, 1).float(), size=fine.shape[-2:], mode="bilinear").flatten(2).softmax(-1)
        crisp = torch.einsum("fkp,fcp->fkc", up.to(fine.dtype), self.detail(fine).flatten(2)).unflatten(0, (shots, count))
        spread = (pooled[:, 1:] - pooled[:, :-1]).abs().mean(dim=1)
        body = torch.cat([pooled.mean(dim=1), crisp.mean(dim=1), spread], dim=-1)
        hidden = self.trunk(body + self.kind.weight)

        rows = (torch.arange(height, device=seen.device) + 0.5) / height
        columns = (torch.arange(width, device=seen.device) + 0.5) / width
        maps = weight.unflatten(-1, (height, width)).float()
        where = torch.stack([(maps.sum(-2) * columns).sum(-1), (maps.sum(-1) * rows).sum(-1)], dim=-1)
        strongest = logits.flatten(3).amax(dim=-1).mean(dim=1)
        return Reading(
            shot={name: head(scene) for name, head in self.shot.items()},
            present=self.present(torch.cat([mean, most], dim=1)) + strongest,
            character={name: head(hidden) for name, head in self.character.items()},
            where=where,
        )


@lru_cache(maxsize=2)
def load_reader(device: str = "cpu", path: Path = READER_WEIGHTS) -> Reader:
    """The trained reader that ships with the package.

    Raises:
        FileNotFoundError: the weights are missing.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise FileNotFoundError(f"the reader's weights are missing: {path}")
    with safe_open(path, framework="pt") as file:
        settings = json.loads((file.metadata() or {}).get("reader", "{}"))
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    reader = Reader(**settings)
    reader.load_state_dict(weights)
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
        where=torch.cat([p.where.cpu() for p in parts]),
    )

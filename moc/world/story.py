"""`StoryBatch`: a batch of stories as integer tensors, the ground truth that pictures and captions are made from."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class StoryBatch:
    """B stories of S shots. All values are indices into the tuples of `moc.world.schema` (int64 unless noted).

    Characters sit in slots 0..MAX_CHARACTERS-1 and scenes in 0..MAX_SCENES-1; unused slots hold -1 in `kind`/`place`
    (index 0 of the last axis) and are never cast. The order of the last axis is the order of the schema dicts.

    Attributes:
        characters: `[B, MAX_CHARACTERS, 8]`, columns `CHARACTER_ATTRIBUTES` (kind, hair, coat, pattern, hat,
            hat_color, scarf, size).
        characters_named: `[B, MAX_CHARACTERS, 8]` bool, True where the captions say it (kind always).
        scenes: `[B, MAX_SCENES, 4]`, columns `PLACE_ATTRIBUTES` (place, wall, accent, feature).
        scenes_named: `[B, MAX_SCENES, 4]` bool (place always).
        scene: `[B, S]` scene slot of each shot.
        cast: `[B, S, MAX_CAST]` character slot of each role, -1 where nobody (roles fill from the left).
        action: `[B, S, MAX_CAST]` action of each role (0 where nobody).
        camera, time, weather, prop: `[B, S]`.
        free: `[B, S, 16]` float32 in [0, 1): what no caption ever tells and no shot shares: where people start,
            which way they face, animation phase, and the like. Independent between shots.
    """

    characters: Tensor
    characters_named: Tensor
    scenes: Tensor
    scenes_named: Tensor
    scene: Tensor
    cast: Tensor
    action: Tensor
    camera: Tensor
    time: Tensor
    weather: Tensor
    prop: Tensor
    free: Tensor

    @property
    def stories(self) -> int:
        """B, the number of stories."""
        return self.scene.shape[0]

    @property
    def shots(self) -> int:
        """S, the number of shots of every story."""
        return self.scene.shape[1]

    def to(self, device: torch.device | str) -> StoryBatch:
        """The same batch on `device`."""
        return StoryBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __getitem__(self, index: slice | Tensor) -> StoryBatch:
        """A sub-batch of stories."""
        return StoryBatch(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

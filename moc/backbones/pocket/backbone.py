"""The built-in model behind the `Backbone` seam: plans stories without torch, renders them stream or joint."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moc.backbones.base import OnStep, Plan, ShotResult
from moc.backbones.pocket import weights as weight_files
from moc.backbones.pocket.planning import make_plan

if TYPE_CHECKING:
    import numpy as np

    from moc.storyboard import Storyboard


class PocketBackbone:
    """The pocket model.

    Args:
        weights: a file written by `moc train`; None for the weights that ship with the package.
    """

    name = "pocket"

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = weights or weight_files.SHIPPED
        self.size = weight_files.read_config(self.weights)

    def plan(self, story: Storyboard) -> Plan:
        """See `Backbone.plan`."""
        return make_plan(story, self.size, self.name)

    def fingerprint(self) -> str:
        """See `Backbone.fingerprint`."""
        return weight_files.fingerprint(self.weights)

    def generate(
        self,
        story: Storyboard,
        *,
        seed: int,
        device: str,
        mode: str,
        shots: Sequence[int],
        memory: Mapping[int, np.ndarray],
        on_step: OnStep,
        forget: Mapping[int, Collection[int]] | None = None,
    ) -> Iterator[ShotResult]:
        """See `Backbone.generate`; `moc.backbones.pocket.precision` has the network's precision."""
        import torch

        from moc.backbones.pocket.precision import fast_products
        from moc.backbones.pocket.rendering import render_joint, render_stream

        model = weight_files.load_model(self.weights, device)
        began = time.monotonic()
        with torch.inference_mode(), fast_products(model):
            if mode == "joint":
                yield from render_joint(model, story, seed=seed, shots=shots, on_step=on_step, began=began)
            else:
                yield from render_stream(
                    model, story, seed=seed, shots=shots, memory=memory, on_step=on_step, forget=forget
                )

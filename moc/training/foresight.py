"""Weights of the loss that the network could foresee, in place of those that only the truth knows.

Figures weigh more than scenery, as they are small and vary most. But a weight w(x) that depends on what is drawn bends
what a prediction from a noisy input z converges to: not the mean of all that might be, E[x | z], but

    E[w x | z] / E[w | z]

which shows too much of whatever weighs more. Where noise hides where a figure is, it is drawn wherever it may be. With
E[w | z] as the weight the mean is what it should be, and figures count as much as before on average. A small reader
learns E[w | z] beside the network, from what each token knows at the end; it is left behind when training ends. Ours.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from moc.backbones.pocket.config import PocketConfig

HIDDEN = 128


class Foresight(nn.Module):
    """Reads from a token's last features how much it is expected to weigh. It begins with 1 everywhere."""

    def __init__(self, model: PocketConfig) -> None:
        super().__init__()
        self.up = nn.Linear(model.width, HIDDEN)
        self.down = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.down.weight)
        nn.init.constant_(self.down.bias, math.log(math.e - 1))  # softplus of it is 1

    def forward(self, features: Tensor) -> Tensor:
        """Expected weight `[...]`, positive, of tokens with `features` `[..., D]`, which learn nothing by it."""
        return F.softplus(self.down(F.gelu(self.up(features.detach()))).float()).squeeze(-1)


def weigh(square: Tensor, importance: Tensor, foreseen: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted error of each shot, and the loss of who foresees the weights.

    Args:
        square: `[B, S, V, patch_values]`, squared errors.
        importance: their weights as the truth has them, likewise.
        foreseen: `[B, S, V]` of `Foresight`.

    Returns:
        `[B, S]`, in which the errors of a token weigh alike, and a scalar, the squared error of `foreseen`.
    """
    true = importance.mean(-1)
    return (square.mean(-1) * foreseen.detach()).mean(-1), (foreseen - true).square().mean()

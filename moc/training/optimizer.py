"""The optimisers of a training: AdamW, or Muon for the blocks' matrices with AdamW for the rest."""

from __future__ import annotations

import torch
from torch import nn

from moc.backbones.pocket.model import PocketDiT
from moc.training.config import TrainConfig


def make_optimizers(model: PocketDiT, config: TrainConfig, *, fused: bool) -> list[torch.optim.Optimizer]:
    """AdamW over all parameters, or with `optimizer: muon` AdamW over what Muon does not take, then Muon.

    Muon (Jordan et al., 2024) orthogonalises the momentum of each matrix; its steps are scaled to the size of AdamW's
    (Liu et al., 2025), so that both share one learning rate.

    Args:
        model: the network, on its device.
        config: `optimizer`, `lr`, `beta2` and `weight_decay`.
        fused: one kernel for AdamW (CUDA).

    Raises:
        ValueError: Muon is asked for and this torch has none.
    """
    if config.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise ValueError(f"optimizer = 'muon' needs torch 2.9 or later, not {torch.__version__}; take 'adamw'")
    matrices: list[nn.Parameter] = []
    if config.optimizer == "muon":
        inner = [*model.blocks.named_parameters(), *model.head_up.named_parameters()]
        matrices = [p for name, p in inner if name.endswith("weight") and p.ndim == 2]
    taken = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    adamw = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=(0.9, config.beta2),
        fused=fused,
    )
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(
        matrices, lr=config.lr, weight_decay=config.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    return [adamw, muon]

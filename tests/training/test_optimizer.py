"""Which optimiser takes which parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.training.config import Stage, TrainConfig
from moc.training.optimizer import make_optimizers

TINY = PocketConfig(width=32, layers=2, heads=2, mlp=64, head=64)


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(stages=(Stage(steps=1),), **settings)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_is_taken_once(name: str) -> None:
    model = PocketDiT(TINY)
    optimizers = make_optimizers(model, config(optimizer=name), fused=False)
    taken = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())


def test_muon_takes_the_matrices_of_the_blocks_and_moves_them() -> None:
    model = PocketDiT(TINY)
    _, muon = make_optimizers(model, config(optimizer="muon"), fused=False)
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in taken}
    matrices = ("qkv", "out", "up", "down")
    assert names == {f"blocks.{i}.{m}.weight" for i in range(TINY.layers) for m in matrices} | {"head_up.weight"}
    weight = model.head_up.weight
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    muon.step()
    assert (weight != before).any()


def test_a_torch_without_muon_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"optimizer = 'muon' needs torch 2\.9 or later, not .*; take 'adamw'"):
        make_optimizers(PocketDiT(TINY), config(optimizer="muon"), fused=False)
    make_optimizers(PocketDiT(TINY), config(), fused=False)


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer = 'sgd' must be 'adamw' or 'muon'"):
        config(optimizer="sgd")

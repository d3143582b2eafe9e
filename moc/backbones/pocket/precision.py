"""The precision that the network runs in where nobody trains it: whatever the device is fastest at.

    CUDA                              autocast to bfloat16, as in training
    CPUs that multiply in bfloat16    linear layers in bfloat16, everything else in float32
    other CPUs, other devices         float32

The weights are bfloat16 in their files anyway. Attention stays in float32 on a CPU, where bfloat16 is no faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from moc.backbones.pocket.model import Block, PocketDiT


@contextmanager
def fast_products(model: PocketDiT) -> Iterator[None]:
    """Inside, the model's products run in the precision above; afterwards the model is as it was."""
    device = model.patch_in.weight.device
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(torch.autocast("cuda", dtype=torch.bfloat16))
        elif device.type == "cpu" and multiplies_in_bfloat16():
            for layer, within in _large_layers(model):
                stack.enter_context(_in_bfloat16(layer, within))
            if model.skip is not None:
                stack.enter_context(_rounded(model.skip.into))
        yield


@cache
def multiplies_in_bfloat16() -> bool:
    """Whether this CPU has instructions for products in bfloat16; emulated ones would be slower than float32."""
    asked: list[Any] = [
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return any(ask is not None and bool(ask()) for ask in asked)


def _large_layers(model: PocketDiT) -> Iterator[tuple[nn.Linear, bool]]:
    """The layers that every token passes, and whether what they give goes to the next of them through an activation
    alone, which computes in float32 whatever it reads; those of timesteps and text are small."""
    for block in model.blocks:
        assert isinstance(block, Block)
        yield from ((block.qkv, False), (block.out, False), (block.up, True), (block.down, False))
    yield from ((model.head_up, True), (model.head_down, False))
    if model.skip is not None:
        yield model.skip.gate, False


@contextmanager
def _rounded(parameter: nn.Parameter) -> Iterator[None]:
    """The parameter is bfloat16, and so is what is made with it."""
    own = parameter.data
    parameter.data = own.bfloat16()
    try:
        yield
    finally:
        parameter.data = own


@contextmanager
def _in_bfloat16(layer: nn.Linear, within: bool) -> Iterator[None]:
    """The layer multiplies in bfloat16; what it gives stays so if `within`, else it is float32 again."""

    def before(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0].bfloat16(),)

    def after(_: nn.Module, __: tuple[Tensor], out: Tensor) -> Tensor:
        return out if within else out.float()

    own = layer.weight.data, None if layer.bias is None else layer.bias.data
    hooks = layer.register_forward_pre_hook(before), layer.register_forward_hook(after)
    layer.to(torch.bfloat16)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        layer.weight.data = own[0]
        if own[1] is not None:
            layer.bias.data = own[1]

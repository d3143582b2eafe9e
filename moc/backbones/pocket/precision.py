"""The precision that the network runs in where nobody trains it: whatever the device is fastest at.

    CUDA                                   autocast to bfloat16, as in training
    CPUs that are clearly faster at it     linear layers in bfloat16, everything else in float32
    other CPUs, other devices              float32

The weights are bfloat16 in their files anyway. Attention stays in float32 on a CPU, where bfloat16 is no faster.
"""

from __future__ import annotations

import time
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
    """Whether products in bfloat16 are worth it on this CPU: it has instructions for them, and they are fast.

    Having them is not enough. On an Intel Xeon without AMX tiles they took 2.4 times as long as float32, on an AMD EPYC
    they were the faster ones. So both are timed, some ten milliseconds once, and bfloat16 must win by a fifth: chance
    must not decide in which precision a video is made.
    """
    asked: list[Any] = [
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    if not any(ask is not None and bool(ask()) for ask in asked):
        return False
    return seconds_of_a_product(torch.float32) > 1.2 * seconds_of_a_product(torch.bfloat16)


@torch.no_grad()
def seconds_of_a_product(dtype: torch.dtype, runs: int = 5) -> float:
    """The fastest of some runs of a linear layer of the built-in model's size over one shot."""
    x, layer = torch.ones(1536, 256, dtype=dtype), nn.Linear(256, 1024, dtype=dtype)
    best = float("inf")
    for _ in range(runs + 1):
        began = time.perf_counter()
        layer(x)
        best = min(best, time.perf_counter() - began)
    return best


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

"""The precision that the network runs in where nobody trains it: whatever the device is fastest at.

    CUDA                                   autocast to bfloat16, as in training
    CPUs that are clearly faster at it     linear layers in bfloat16, everything else in float32
    other CPUs, other devices              float32

The weights are bfloat16 in their files anyway. Attention stays in float32 on a CPU, where bfloat16 is no faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
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

    Having them is not enough. On an Intel Xeon with AVX512-BF16 but without AMX tiles a linear layer took 2.4 times as
    long as in float32; on an AMD EPYC with AVX512-BF16 it was the faster one. This is a rule and no measurement, so
    that a video does not depend on what else the machine does.
    """
    return _has("_is_amx_tile_supported") or (_has("_is_avx512_bf16_supported") and _is_amd())


def _has(name: str) -> bool:
    ask: Any = getattr(torch.cpu, name, None)
    return ask is not None and bool(ask())


def _is_amd(place: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Linux says that AMD made this CPU; no other system is asked."""
    try:
        return "AuthenticAMD" in place.read_text(errors="replace")
    except OSError:
        return False


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

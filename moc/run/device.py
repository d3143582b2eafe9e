"""Which device a run uses. Imports torch for anything but `cpu`."""

from __future__ import annotations

import re

from moc.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")


def check_device(name: str) -> str:
    """`name` if it is auto, cpu, cuda, cuda:N or mps; says nothing about what this machine has. No torch.

    Raises:
        InputError: any other name.
    """
    if name not in DEVICES and not re.fullmatch(r"cuda:\d{1,3}", name):
        raise InputError(f"--device '{name}' is none of {', '.join(DEVICES)} and cuda:N.")
    return name


def resolve_device(name: str) -> str:
    """The device that `name` stands for here; `auto` is CUDA where there is a GPU, else the CPU.

    Apple's MPS is used when asked for and never chosen: it was not tried.

    Raises:
        InputError: this machine has no such device.
    """
    if check_device(name) == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: this machine has no Apple GPU that torch can use; try --device cpu.")
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise InputError("--device cuda: this machine has no CUDA GPU that torch can use; try --device cpu.")
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise InputError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA GPUs, from cuda:0.")
    return name

"""Checkpoints written whole: a file appears complete or not at all, and a resumed run continues bit for bit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moc.run.files import write_bytes


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` as a checkpoint, whole.

    Raises:
        MocError: the disk is full or the place can't be written.
    """
    data = io.BytesIO()
    torch.save(state, data)
    write_bytes(path, data.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: the file is not a checkpoint of this trainer.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(state, dict) or "step" not in state:
        raise ValueError(f"{path} is not a checkpoint of `moc train`")
    return state


def save_weights(path: Path, weights: dict[str, Tensor], model: dict[str, Any], card: dict[str, Any]) -> None:
    """Write bf16 weights as safetensors, whole; the header's metadata holds the model's sizes and a card.

    Equal weights and cards give equal bytes, so that a fingerprint of the file is one of the model.

    Args:
        weights: parameters by name, any float dtype.
        model: `PocketConfig.to_dict()`.
        card: what a reader needs to know of the training (steps, loss, config).

    Raises:
        MocError: the disk is full or the place can't be written.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in weights.items()}
    metadata = {"format": "moc-pocket-2", "model": json.dumps(model), "card": json.dumps(card)}
    write_bytes(path, _sorted_header(save(tensors, metadata)))


def _sorted_header(data: bytes) -> bytes:
    """The safetensors file with its header in one order: the library writes metadata in any."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of eight bytes
    return len(header).to_bytes(8, "little") + header + data[8 + length :]

"""Checkpoints written whole: a file appears complete or not at all, and a resumed run continues bit for bit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def save_whole(path: Path, state: dict[str, Any]) -> None:
    """Write `state` beside `path`, flush it to disk, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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

    Args:
        weights: parameters by name, any float dtype.
        model: `PocketConfig.to_dict()`.
        card: what a reader needs to know of the training (steps, loss, config).
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(
            {name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in weights.items()},
            temporary,
            metadata={"format": "moc-pocket-1", "model": json.dumps(model), "card": json.dumps(card)},
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

"""Checkpoints written whole: a file appears complete or not at all, and a resumed run continues bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that replaces `path` when the block ends well, flushed to disk, and else leaves no trace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed runs left half written in `folder` and the ones in it."""
    for left in folder.rglob(".*.part"):
        left.unlink(missing_ok=True)


def save_whole(path: Path, state: dict[str, Any]) -> None:
    """Write `state` as a checkpoint, whole."""
    with whole(path) as file:
        torch.save(state, file)


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
    """
    from safetensors.torch import save

    tensors = {name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in weights.items()}
    metadata = {"format": "moc-pocket-2", "model": json.dumps(model), "card": json.dumps(card)}
    with whole(path) as file:
        file.write(_sorted_header(save(tensors, metadata)))


def _sorted_header(data: bytes) -> bytes:
    """The safetensors file with its header in one order: the library writes metadata in any."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of eight bytes
    return len(header).to_bytes(8, "little") + header + data[8 + length :]

"""Finding and reading the weights of a pocket model. Torch is imported only where tensors are."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moc.backbones.pocket.config import PocketConfig
from moc.errors import InputError

if TYPE_CHECKING:
    from moc.backbones.pocket.model import PocketDiT

SHIPPED = Path(__file__).with_name("pocket.safetensors")
FORMAT = "moc-pocket-2"


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file, without reading tensors or importing torch.

    Raises:
        InputError: the file is missing or is no pocket model.
    """
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 100_000_000:
                raise ValueError("header too long")
            metadata = json.loads(file.read(length)).get("__metadata__", {})
            if not isinstance(metadata, dict):
                raise ValueError("no metadata")
    except FileNotFoundError as error:
        raise InputError(f"model file '{path}' does not exist.") from error
    except (OSError, ValueError, struct.error, AttributeError, RecursionError) as error:
        raise InputError(f"model file '{path}' is not a safetensors file.") from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"model file '{path}' was not written by `moc train`.")
    return metadata


def read_config(path: Path) -> PocketConfig:
    """Sizes of the network in a weights file.

    Raises:
        InputError: as `read_metadata`, or the sizes are not those of a pocket model.
    """
    metadata = read_metadata(path)
    try:
        values: dict[str, Any] = json.loads(metadata["model"])
        return PocketConfig(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise _does_not_fit(path) from error


def fingerprint(path: Path) -> str:
    """sha256 of the file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(path: Path, device: str) -> PocketDiT:
    """The network with its weights in float32 on `device`, in eval mode.

    Raises:
        InputError: the file is damaged or does not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from moc.backbones.pocket.model import PocketDiT

    model = PocketDiT(read_config(path))
    try:
        model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (SafetensorError, OSError) as error:
        raise InputError(f"model file '{path}' is damaged: {error}.") from error
    except RuntimeError as error:
        raise _does_not_fit(path) from error
    return model.eval().to(device)


def _does_not_fit(path: Path) -> InputError:
    return InputError(f"model file '{path}' does not fit this version of the pocket model.")

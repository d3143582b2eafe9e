"""Checkpoints written whole: a file appears complete or not at all, and a resumed run continues bit for bit, under the
settings it began with."""

from __future__ import annotations

import io
import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moc.run.files import write_bytes
from moc.training.config import Stage, TrainConfig


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


def refuse_other_settings(before: dict[str, Any], now: TrainConfig, step: int) -> None:
    """A run goes on with the settings it began with; how often it logs and how long it still goes on may change.

    Args:
        before: `TrainConfig.to_dict` of the checkpoint (the sizes of its model are checked by `restore`).
        now: what is asked for.
        step: steps done.

    Raises:
        ValueError: names the first setting that differs, and both values.
    """
    free = {"model", "stages", "rounds", "decay", "log_every", "checkpoint_minutes", "sample_every", "compile", "init"}
    free |= {"guidance_from", "guidance_to"}  # are said of the weights alone
    if not now.on_grid:  # and so are these, unless they say what is trained
        free |= {"sampled_shift", "last_step", "sampled_steps"}
    values = now.to_dict()
    untold = {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING}  # by an older checkpoint
    for key, value in (untold | before).items():
        if key not in free and values.get(key) != value:
            raise ValueError(f"the run began with {key} = {value!r}, not {values.get(key)!r}; start another elsewhere")
    if step > 0 and max(before.get("rounds", 1), now.rounds) > 1:
        if now.steps < step:
            raise ValueError(f"the run has gone through {step} steps, more than the {now.steps} that are asked for")
        if [asdict(Stage(steps=1)) | row for row in before["stages"]] != list(values["stages"]):
            raise ValueError("the run goes through its stages in rounds, so none of them can change")
        return
    for row, stage in zip(before["stages"], values["stages"], strict=False):
        if step <= 0:
            return
        begun = min(step, row["steps"])
        was = asdict(Stage(steps=begun)) | row | {"steps": begun}  # an older checkpoint says nothing of newer settings
        if was != {**stage, "steps": min(begun, stage["steps"])}:
            raise ValueError(f"the run has gone through {begun} steps of the stage {row}, which can't become {stage}")
        step -= row["steps"]

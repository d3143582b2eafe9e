"""Writes the facts of the model card from the weights themselves, so that card and file can't disagree.

    python docs/make_card.py

Reads the header of the shipped weights; before there are any, the recipe. Numbers that were measured with the model
stand in the card's tables by hand, each with the command that gave it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.weights import SHIPPED, fingerprint, read_config, read_metadata
from moc.training.config import Stage, TrainConfig, load

ROOT = Path(__file__).parents[1]
CARD = ROOT / "docs" / "model-card.md"
RECIPE = ROOT / "moc" / "training" / "configs" / "pocket.yaml"
BEGIN, END = "<!-- facts -->", "<!-- end of facts -->"

_STAGE = ("steps", "stories", "shots", "latent_frames", "chunk_tokens", "top_k")
_SHOWN = (
    "seed", "optimizer", "lr", "warmup", "decay", "weight_decay", "beta2", "clip", "ema", "shift", "t_mean", "t_std",
    "t_floor", "noise", "character_weight", "character_until", "foreseen_weights", "worn_weight", "small_figures",
    "clean_history", "near_clean_history", "continued", "drop_routes", "drop_text", "named_most", "omit", "guidance",
    "drop_off_max", "drop_in_rate", "noisiest", "recognition", "reading",
)  # fmt: skip


def parameters(size: PocketConfig) -> int:
    """Parameters of a network of this size, counted without memory for them."""
    import torch

    from moc.backbones.pocket.model import PocketDiT

    with torch.device("meta"):
        return sum(p.numel() for p in PocketDiT(size).parameters())


def facts(weights: Path = SHIPPED) -> str:
    """The generated part of the card as Markdown."""
    if weights.is_file():
        size = read_config(weights)
        card: dict[str, Any] = json.loads(read_metadata(weights)["card"])
        config, steps = card["config"], card["steps"]
        source = f"`{weights.name}`, {weights.stat().st_size / 2**20:.1f} MiB, sha256 `{fingerprint(weights)}`"
    else:
        recipe = load(RECIPE)
        size, config, steps = PocketConfig(**recipe.model), asdict(recipe), recipe.steps
        source = "not shipped yet; this is the recipe"
    began = f", from the weights `{config['init']}`" if config.get("init") else ""
    shares = card.get("mixed", ()) if weights.is_file() else ()
    mixed = " and ".join(f"{part['share']:g} of `{part['sha256'][:16]}`" for part in shares)
    rounds = f", {config['rounds']} times asked for" if config.get("rounds", 1) > 1 else ""
    lines = [
        "| | |",
        "|---|---|",
        f"| weights | {source} |",
        f"| parameters | {parameters(size):,}, in bfloat16 |",
        f"| network | {size.layers} layers, width {size.width}, {size.heads} heads of {size.head_dim}, "
        f"MLP {size.mlp}, output MLP {size.head} |",
        f"| tokens | {size.patch_frames} frames x {size.patch_size} x {size.patch_size} pixels; "
        f"{size.tokens_per_frame} a latent frame; text {size.global_tokens} + {size.caption_tokens} a shot |",
        f"| picture | {size.picture_width}x{size.picture_height}, {size.fps} frames a second |",
        f"| sampled | in {STEPS} steps, shift {size.shift:g}, guidance {size.guidance:g} "
        f"{f'from t = {size.guidance_from:g} ' if size.guidance_from else ''}up to t = {size.guidance_to:g}"
        f"{f', the last at t = {size.last_step:g}' if size.last_step else ''} |",
        f"| optimiser steps | {steps:,}{began} |",
        *([f"| a mean of | {mixed} |"] if mixed else []),
        "",
        f"Stages, in order{rounds}:",
        "",
        f"| {' | '.join(f'`{name}`' for name in _STAGE)} |",
        f"|{'---|' * len(_STAGE)}",
    ]
    default = {f.name: f.default for f in fields(Stage)}
    for stage in config["stages"]:
        lines.append(f"| {' | '.join(str(stage.get(name, default[name])) for name in _STAGE)} |")
    known = {f.name for f in fields(TrainConfig)}
    shown = ", ".join(f"`{name}` {config[name]}" for name in _SHOWN if name in config and name in known)
    return "\n".join([*lines, "", f"Settings ([what they mean](training.md#config)): {shown}."])


def filled(text: str, block: str) -> str:
    """`text` with what stands between the markers replaced.

    Raises:
        ValueError: the markers are missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the card holds no '{BEGIN}' ... '{END}' to fill")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    CARD.write_text(filled(CARD.read_text(encoding="utf-8"), facts()), encoding="utf-8")

"""One denoising step of a whole transformer: what attention's speed-up leaves of itself end to end (Amdahl)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from moc.errors import InputError
from moc.layout import TokenLayout

# attention(layer, q, k, v) -> out, all [B, H, L, head_dim]
Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]
Step = Callable[[Attention], Tensor]
Built = tuple[Step, list[Tensor]]


@dataclass(frozen=True)
class Whole:
    """A transformer on a stream.

    Attributes:
        flops: of one step without self-attention, counted by torch on tensors without data.
        weights: "shipped" or "random".
        bytes: of weights and of the largest activations, about.
        build: puts it on a device and gives its step, a function of the attention, and all tensors that it holds.
    """

    flops: float
    weights: str
    bytes: float
    build: Callable[[torch.device, torch.dtype], Built]


def whole_model(name: str, layout: TokenLayout) -> Whole:
    """The transformer called `name` on a stream; `moc.profile.settings.MODELS` are known.

    Raises:
        InputError: the model takes no text in its stream, and the layout holds some.
    """
    return _pocket(layout) if name == "pocket" else _wan(layout)


def _counted(step: Step) -> float:
    """FLOPs of a step on the meta device, without the attention that is handed in."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        step(lambda layer, q, k, v: torch.empty_like(q))
    return float(counter.get_total_flops())


def _wan(layout: TokenLayout) -> Whole:
    from moc.profile import wan_shape

    if layout.global_text or any(shot.text for shot in layout.shots):
        raise InputError("--model wan-2.1-1.3b reads text by cross-attention, its stream takes --text-tokens 0.")

    def build(device: torch.device, dtype: torch.dtype) -> Built:
        with torch.device("meta"):
            model = wan_shape.WanShaped().to(dtype)
        patches, text = (1, layout.length, wan_shape.PATCH), (1, wan_shape.TEXT_TOKENS, wan_shape.TEXT_WIDTH)
        x, words = (torch.randn(shape, device=device, dtype=dtype) for shape in (patches, text))
        if device.type != "meta":
            model = model.to_empty(device=device)
            _randomize(model)
        return lambda attention: model(x, words, attention), [*model.parameters(), x, words]

    step, _ = build(torch.device("meta"), torch.float32)
    parameters = 1.42e9
    activations = layout.length * (wan_shape.MLP + 6 * wan_shape.WIDTH)
    return Whole(_counted(step), "random", 4.0 * (parameters + activations), build)


def _pocket(layout: TokenLayout) -> Whole:
    from moc.backbones.pocket import weights as files
    from moc.backbones.pocket.config import OF_SAMPLING, PocketConfig
    from moc.backbones.pocket.model import PocketDiT
    from moc.backbones.pocket.positions import rotation_table, rotations, stream_positions

    size, trained = PocketConfig(), False
    with suppress(InputError):  # weights of another version: a step takes the same time with random ones
        shipped = files.read_config(files.SHIPPED)
        own = {name: getattr(size, name) for name in OF_SAMPLING}
        if replace(shipped, **own, skip=size.skip) == size:
            size, trained = shipped, True
    segments = [layout.global_text, *(shot.text + shot.video for shot in layout.shots)]

    def build(device: torch.device, dtype: torch.dtype) -> Built:
        if device.type == "meta" or not trained:
            with torch.device(device):
                model = PocketDiT(size).eval()
        else:
            model = files.load_model(files.SHIPPED, str(device))
        model = model.to(dtype)
        for part in (model.time_in, model.time_mod, model.head_mod):
            part.float()  # timesteps are told apart in float32, a few rows of work
        positions = stream_positions(size, [(n, s.frames, 0) for n, s in enumerate(layout.shots, 1)])
        cos, sin = (x.to(device) for x in rotations(positions, rotation_table(size)))
        text = torch.randn(1, layout.length, size.width, device=device, dtype=dtype)
        rows = [torch.arange(*layout.video_range(number)) for number in layout.shot_numbers]
        video, lengths = torch.cat(rows).to(device), [len(row) for row in rows]
        patches = torch.randn(1, len(video), size.patch_values, device=device, dtype=dtype)
        times = torch.full((1, len(segments)), 0.5, device=device)

        def step(attention: Attention) -> Tensor:
            # text embeddings are looked up: random rows stand for them
            x = text.index_copy(1, video, model.patch_in(patches))
            mod, head = (y.to(dtype) for y in model.condition(times))
            x = model.run_blocks(x, mod, segments, cos, sin, attention)
            return model.predict(x.index_select(1, video), patches, head[:, 1:], lengths)

        return step, [*model.parameters(), text, patches]

    activations = layout.length * (size.mlp + 12 * size.width)
    return Whole(
        _counted(build(torch.device("meta"), torch.float32)[0]),
        "shipped" if trained else "random",
        4.0 * (8e6 + activations),
        build,
    )


def _randomize(model: nn.Module) -> None:
    """Small random weights, biases zero, norms one."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                nn.init.zeros_(parameter)
            elif parameter.ndim == 1:
                nn.init.ones_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02)


def amdahl(dense_ms: float, attention_ms: float, ratio: float) -> dict[str, Any]:
    """What an attention `ratio` times as fast leaves of a step: the share of attention and the speed-ups it allows.

    With a = attention / step, the step becomes 1 / (1 - a + a / ratio) times as fast, and never more than 1 / (1 - a).
    """
    share = min(1.0, attention_ms / dense_ms)
    return {
        "attention_share": share,
        "speedup_expected": 1 / (1 - share + share / ratio),
        "speedup_limit": 1 / (1 - share) if share < 1 else None,
    }

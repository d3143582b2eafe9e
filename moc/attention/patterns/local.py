"""`local`: video attends its text and its own shot (chunk, window) and nothing else. It can't remember."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from moc.attention.patterns.tokens import Tokens
from moc.config import MoCConfig
from moc.layout import TokenLayout


def links(layout: TokenLayout, config: MoCConfig, shot: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """No links beside the mandatory ones."""
    yield *layout.video_range(shot), []


def mask(tokens: Tokens) -> Tensor:
    """[Lq, L] bool, token by token."""
    return torch.zeros_like(tokens.video)

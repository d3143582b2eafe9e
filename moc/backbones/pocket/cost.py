"""What rendering a shot costs, before any of it is done. Torch-free."""

from __future__ import annotations

from moc.backbones.pocket.config import PocketConfig


def weights_flops_per_token(size: PocketConfig) -> float:
    """Multiply-adds times two of all linear layers for one video token (patch in and out included)."""
    block = 4 * size.width**2 + 2 * size.width * size.mlp
    ends = size.patch_values * size.width + size.width * size.head + size.head * size.patch_values
    return 2.0 * (size.layers * block + ends)


def shot_flops(size: PocketConfig, rows: int, routed_keys: float, candidates: int, passes: int) -> float:
    """FLOPs of sampling one shot of `rows` tokens (caption and video).

    Each pass is: the linear layers; attention of every row to the global text, its own shot and `routed_keys` keys,
    4 d per query-key pair and head (QK^T and PV); scoring `candidates` chunk descriptors, 2 d each (Eq. 4).

    Args:
        routed_keys: keys that the routed links of one query reach.
        candidates: chunks of the earlier shots in play.
        passes: denoising steps, plus the one that keeps the finished shot's keys.
    """
    keys = size.global_tokens + rows + routed_keys
    attention = size.layers * size.width * rows * (4.0 * keys + 2.0 * candidates)
    return passes * (rows * weights_flops_per_token(size) + attention)


def memory_bytes(size: PocketConfig, tokens: int, longest_shot: int, weights: int) -> int:
    """Expected peak in float32: weights, kept keys and values of `tokens`, their working copy, one shot's activations."""
    kept = 2 * size.layers * tokens * size.width * 4
    activations = longest_shot * (size.mlp * 4 + 12 * size.width) * 4
    return 2 * kept + activations + 2 * weights

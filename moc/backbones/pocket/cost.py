"""What rendering a story costs, before any of it is done. Torch-free."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from moc.backbones.pocket.config import PocketConfig
from moc.config import MoCConfig
from moc.flops import FLOPS_PER_PAIR, FLOPS_PER_SCORE


@dataclass(frozen=True)
class Amount:
    """Some pieces of a story: how many, and their video chunks and tokens in all."""

    pieces: int = 0
    chunks: int = 0
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.pieces + other.pieces, self.chunks + other.chunks, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.pieces - other.pieces, self.chunks - other.chunks, self.tokens - other.tokens)


def amount_of(size: PocketConfig, config: MoCConfig, frames: int) -> Amount:
    """One piece of `frames` latent frames."""
    tokens = frames * size.tokens_per_frame
    return Amount(1, frames if config.chunk_tokens == "frame" else -(-tokens // config.chunk_tokens), tokens)


def block_flops_per_token(size: PocketConfig) -> float:
    """Multiply-adds times two of the linear layers of all blocks for one token: q, k, v, output and the MLP."""
    return 2.0 * size.layers * (4 * size.width**2 + 2 * size.width * size.mlp)


def patch_flops_per_token(size: PocketConfig) -> float:
    """The same for a video token's way in and out of the residual stream."""
    return 2.0 * (size.patch_values * size.width + size.width * size.head + size.head * size.patch_values)


def pass_flops(size: PocketConfig, config: MoCConfig, own: Amount, others: Amount, captions: int) -> float:
    """FLOPs of one network pass over a piece.

    The linear layers; attention and scoring of chunk descriptors as in `moc.flops`. Left out: the global text's own
    rows (computed once a story when streaming), norms, modulation and softmax, which are no matrix products.

    Args:
        own: the piece.
        others: the pieces whose video it may route to. A routed link counts their mean chunk, and under `outer_top_m`
            the ones in play count as the mean one, since nobody knows yet which they are.
        captions: how many captions it sees.
    """
    text = size.global_tokens + size.caption_tokens * captions
    chunk = own.tokens / own.chunks
    share = 1.0
    if config.outer_top_m is not None and others.pieces:
        share = min(1.0, config.outer_top_m / others.pieces)
    pairs: float = size.caption_tokens * (text + own.tokens) + own.tokens * text
    scored = 0.0
    for span, count in _own_spans(config, own.chunks).items():
        rows = count * chunk
        left = own.chunks - span if config.intra != "shot" else 0  # own chunks that may be routed to
        free = share * others.chunks + left
        mean = (share * others.tokens + left * chunk) / free if free else 0.0
        pairs += rows * (span * chunk + min(config.top_k, free) * mean)
        scored += rows * (share * others.chunks + (0 if config.intra == "shot" and config.causal else own.chunks))
    linear = (own.tokens + size.caption_tokens) * block_flops_per_token(size) + own.tokens * patch_flops_per_token(size)
    return linear + size.layers * size.width * (FLOPS_PER_PAIR * pairs + FLOPS_PER_SCORE * scored)


def _own_spans(config: MoCConfig, chunks: int) -> Counter[int]:
    """The own link: how many chunks of a piece attend so many chunks of it."""
    if config.intra == "shot":
        return Counter({chunks: chunks})
    reach = config.window_chunks if config.intra == "window" else 0
    return Counter(min(chunks, i + reach + 1) - max(0, i - reach) for i in range(chunks))


def memory_bytes(size: PocketConfig, kept: int, working: int, weights: int) -> int:
    """Expected peak in float32.

    Args:
        kept: tokens whose keys and values are kept over layers; a working copy of them is counted, too.
        working: tokens of one pass.
        weights: bytes of the weights' file, half of what they take in float32.
    """
    return 4 * size.layers * kept * size.width * 4 + working * (size.mlp * 4 + 12 * size.width) * 4 + 2 * weights

"""What rendering a story costs, before any of it is done. Torch-free."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from moc.backbones.pocket.config import PocketConfig
from moc.config import MoCConfig
from moc.flops import FLOPS_PER_PAIR, FLOPS_PER_SCORE
from moc.patterns import PATTERNS


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


def amount_of(size: PocketConfig, config: MoCConfig, frames: int, start: int = 0) -> Amount:
    """One piece of `frames` latent frames whose video begins at token `start` of the story, which counts where chunks
    are cut by a grid over the whole stream."""
    tokens = frames * size.tokens_per_frame
    if config.pattern == "moc-uniform":
        grid = size.tokens_per_frame if config.chunk_tokens == "frame" else config.chunk_tokens
        return Amount(1, (start + tokens - 1) // grid - start // grid + 1, tokens)
    return Amount(1, frames if config.chunk_tokens == "frame" else -(-tokens // config.chunk_tokens), tokens)


def block_flops_per_token(size: PocketConfig) -> float:
    """Multiply-adds times two of the linear layers of all blocks for one token: q, k, v, output and the MLP."""
    return 2.0 * size.layers * (4 * size.width**2 + 2 * size.width * size.mlp)


def patch_flops_per_token(size: PocketConfig) -> float:
    """The same for a video token's way in and out of the residual stream."""
    skip = size.patch_values * size.head / size.patch_frames + size.width * size.patch_values if size.skip else 0.0
    return 2.0 * (size.patch_values * size.width + size.width * size.head + size.head * size.patch_values + skip)


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
        if PATTERNS[config.pattern].kind == "fixed":
            near = own.tokens if config.pattern == "dense" else span * chunk
            pairs += rows * (near + _fixed(size, config, own, share * others.tokens, share * others.pieces))
            continue
        free = share * others.chunks + left
        mean = (share * others.tokens + left * chunk) / free if free else 0.0
        pairs += rows * (span * chunk + min(config.top_k, free) * mean)
        asked = {"moc-block": count, "random": 0}.get(config.pattern, rows)
        scored += asked * (share * others.chunks + (0 if config.intra == "shot" and config.causal else own.chunks))
    linear = (own.tokens + size.caption_tokens) * block_flops_per_token(size) + own.tokens * patch_flops_per_token(size)
    return linear + size.layers * size.width * (FLOPS_PER_PAIR * pairs + FLOPS_PER_SCORE * scored)


def _fixed(size: PocketConfig, config: MoCConfig, own: Amount, tokens: float, pieces: float) -> float:
    """Keys of other pieces, `tokens` in `pieces`, that a query of a pattern attends which the layout decides.

    Under "radial" a mean over the piece's frames, as if all others lay before it.
    """
    if config.pattern == "dense":
        return tokens
    if config.pattern == "first-frame":
        return pieces * size.tokens_per_frame
    if config.pattern != "radial":
        return 0.0
    frames, far = own.tokens // size.tokens_per_frame, round(tokens / size.tokens_per_frame)
    widths = [_radial_width(distance) for distance in range(frames + far)]
    return size.tokens_per_frame * sum(sum(widths[i + 1 : i + 1 + far]) for i in range(frames)) / frames


def _radial_width(distance: int) -> float:
    """The share of a frame so many frames away that `moc.attention.patterns.radial` attends, on average."""
    r = 1 << max(distance, 1).bit_length() - 1
    return {1: 1.0, 2: 0.625, 4: 0.25}.get(r, 1 / r)


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

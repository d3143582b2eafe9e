"""Pictures to patch tokens and back. The pocket model works on pixels: patches are its latents.

Tokens of a latent frame go down one column after the other. Chunks are runs of tokens, and whoever stands in a picture
is upright: a few columns hold most of a small figure, where as many tokens in rows would hold a slice of everything
there is. The network itself doesn't mind the order, as positions say where a token is.
"""

from __future__ import annotations

from torch import Tensor

from moc.backbones.pocket.config import PocketConfig


def patchify(frames: Tensor, config: PocketConfig) -> Tensor:
    """Cut video into patch tokens.

    Args:
        frames: `[..., F, 3, H, W]`, F a multiple of `patch_frames`.

    Returns:
        `[..., F/pf * H/p * W/p, pf*3*p*p]`, tokens in order (latent frame, column, row).
    """
    lead = frames.shape[:-4]
    pf, p = config.patch_frames, config.patch_size
    count, channels, height, width = frames.shape[-4:]
    x = frames.reshape(-1, count // pf, pf, channels, height // p, p, width // p, p)
    x = x.permute(0, 1, 6, 4, 2, 3, 5, 7)
    return x.reshape(*lead, (count // pf) * (height // p) * (width // p), pf * channels * p * p)


def by_rows(tokens: Tensor, config: PocketConfig) -> Tensor:
    """Tokens `[..., n, values]` with those of each latent frame in rows: the order of the latents that runs keep, which
    is older than that of the network."""
    rows, columns = config.grid
    return tokens.unflatten(-2, (-1, columns, rows)).transpose(-3, -2).flatten(-4, -2)


def by_columns(tokens: Tensor, config: PocketConfig) -> Tensor:
    """Inverse of `by_rows`."""
    rows, columns = config.grid
    return tokens.unflatten(-2, (-1, rows, columns)).transpose(-3, -2).flatten(-4, -2)


def unpatchify(tokens: Tensor, config: PocketConfig) -> Tensor:
    """Inverse of `patchify`: `[..., n, values]` to `[..., F, 3, H, W]`."""
    lead = tokens.shape[:-2]
    pf, p = config.patch_frames, config.patch_size
    rows, columns = config.grid
    x = tokens.reshape(-1, tokens.shape[-2] // (rows * columns), columns, rows, pf, 3, p, p)
    x = x.permute(0, 1, 4, 5, 3, 6, 2, 7)
    return x.reshape(*lead, -1, 3, rows * p, columns * p)

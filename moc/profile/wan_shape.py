"""A transformer of the shape of Wan 2.1 1.3B with random weights: what a denoising step costs, not what it draws.

30 blocks of width 1536 with 12 heads of 128 channels: self-attention with normed and rotated queries and keys,
cross-attention to 512 text tokens, an MLP of 8960 (sizes as in Wan's own configuration). Patch embedding and head take
16 latent channels in patches of 1 x 2 x 2. The self-attention is handed in, as in `moc.backbones.pocket.model`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS, HEADS, HEAD_DIM, MLP = 30, 12, 128, 8960
WIDTH = HEADS * HEAD_DIM
TEXT_TOKENS, TEXT_WIDTH = 512, 4096
PATCH = 16 * 1 * 2 * 2

# attention(layer, q, k, v) -> out, all [B, H, L, head_dim]
Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def _heads(x_BLD: Tensor) -> Tensor:
    return x_BLD.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)


def _rotate(x_BHLD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x_BHLD.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Block(nn.Module):
    """One block; `mod` [6, D] shifts, scales and gates attention and MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.q_norm, self.k_norm = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.cross_norm = nn.LayerNorm(WIDTH)
        self.cross_q, self.cross_kv = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.cross_out = nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, MLP), nn.Linear(MLP, WIDTH)

    def forward(
        self, layer: int, x: Tensor, text: Tensor, mod: Tensor, cos: Tensor, sin: Tensor, attention: Attention
    ) -> Tensor:
        """Tokens [B, L, D] through self-attention, cross-attention and MLP."""
        h = F.layer_norm(x, (WIDTH,)) * (1 + mod[1]) + mod[0]
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        q, k = _rotate(_heads(self.q_norm(q)), cos, sin), _rotate(_heads(self.k_norm(k)), cos, sin)
        attended = attention(layer, q, k, _heads(v))
        x = x + self.out(attended.transpose(1, 2).flatten(2)) * mod[2]
        k, v = (_heads(y) for y in self.cross_kv(text).chunk(2, dim=-1))
        crossed = F.scaled_dot_product_attention(_heads(self.cross_q(self.cross_norm(x))), k, v)
        x = x + self.cross_out(crossed.transpose(1, 2).flatten(2))
        h = F.layer_norm(x, (WIDTH,)) * (1 + mod[4]) + mod[3]
        return x + self.down(F.gelu(self.up(h), approximate="tanh")) * mod[5]


class WanShaped(nn.Module):
    """The whole transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_in = nn.Linear(PATCH, WIDTH)
        self.text_in = nn.Sequential(nn.Linear(TEXT_WIDTH, WIDTH), nn.GELU("tanh"), nn.Linear(WIDTH, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, PATCH)

    def forward(self, patches: Tensor, text: Tensor, attention: Attention) -> Tensor:
        """Latent patches [B, L, 64] and text [B, 512, 4096] to predicted patches [B, L, 64]."""
        x, words = self.patch_in(patches), self.text_in(text)
        angle = torch.arange(x.shape[1], device=x.device)[:, None] / 10_000 ** torch.linspace(
            0, 1, HEAD_DIM // 2, device=x.device
        )
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        mod = x.new_full((6, WIDTH), 0.1)
        for layer, block in enumerate(self.blocks):
            x = block(layer, x, words, mod, cos, sin, attention)
        return self.head(F.layer_norm(x, (WIDTH,)))

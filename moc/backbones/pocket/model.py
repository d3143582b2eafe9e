"""The pocket DiT: text and video tokens in one interleaved stream, Mixture of Contexts in every layer.

Shape letters: B stories, N shots of the stream, L tokens, D width, H heads, P tokens of one shot.
The stream is [global text][caption 1][video 1][caption 2][video 2]...; each shot has its own timestep (LCT), the
global text counts as clean. The network predicts the clean patches (x-prediction); attention itself is not in here:
`forward` hands q, k, v of each layer to the `attention` callable it is given, so that training, joint sampling and
streaming with cached keys share one network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.positions import rotate

# attention(layer, q, k, v) -> out, all [B, H, L, head_dim]
Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def timestep_features(t: Tensor, size: int) -> Tensor:
    """Sinusoidal features `[..., size]` of timesteps in [0, 1] (0 = clean, 1 = noise)."""
    rates = torch.exp(torch.linspace(0.0, math.log(1000.0), size // 2, device=t.device))
    angle = t.float()[..., None] * rates
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def per_token(values_BND: Tensor, segments: Sequence[int]) -> Tensor:
    """Repeat one row per segment over its tokens: `[B, len(segments), D]` to `[B, sum(segments), D]`.

    A single row stays as it is, for broadcasting.
    """
    if len(segments) == 1:
        return values_BND
    rest = segments[1:]
    if rest and all(n == rest[0] for n in rest):  # equal shots: broadcasting, whose backward is a plain sum
        batch, _, width = values_BND.shape
        head = values_BND[:, :1].expand(batch, segments[0], width)
        body = values_BND[:, 1:, None].expand(batch, len(rest), rest[0], width).reshape(batch, -1, width)
        return torch.cat([head, body], dim=1)
    counts = torch.tensor(segments, device=values_BND.device)
    return values_BND.repeat_interleave(counts, dim=1, output_size=sum(segments))


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without affine, then per-token shift and scale (adaLN)."""
    one = shift.numel() == scale.numel() == x.shape[-1] and x.dtype == shift.dtype == scale.dtype
    if one:  # the same for every token: an affine one, in one pass
        return F.layer_norm(x, x.shape[-1:], (1 + scale).flatten(), shift.flatten())
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form. On a CPU torch 2.13's own takes half as long again as four passes over memory."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
        return F.gelu(x, approximate="tanh")
    root = 2 * math.sqrt(2 / math.pi)  # x (1 + tanh u) / 2 = x sigmoid(2 u)
    inner = torch.addcmul(x.new_tensor(root), x, x, value=0.044715 * root)
    return inner.mul_(x).sigmoid_().mul_(x)


class Block(nn.Module):
    """One transformer block, split around attention so that each half compiles to a few kernels."""

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.Parameter(torch.ones(config.head_dim))
        self.k_norm = nn.Parameter(torch.ones(config.head_dim))
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, config.mlp)
        self.down = nn.Linear(config.mlp, width)
        # adaLN-single (PixArt): one shared projection of the timestep plus this table. Rows: shift, scale, gate of
        # attention, then of the MLP; gates start at one because the output projections start small.
        table = torch.zeros(6, width)
        table[2] = table[5] = 1.0
        self.table = nn.Parameter(table)

    def before(
        self, x: Tensor, mod_BN6D: Tensor, segments: Sequence[int], cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised, projected, rotated q, k, v `[B, H, L, head_dim]` of tokens `x` `[B, L, D]`."""
        mod = mod_BN6D + self.table
        h = modulated_norm(x, per_token(mod[:, :, 0], segments), per_token(mod[:, :, 1], segments))
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in self.qkv(h).chunk(3, dim=-1))
        q = rotate(F.rms_norm(q, q.shape[-1:], self.q_norm.to(q.dtype), eps=1e-6), cos, sin)
        k = rotate(F.rms_norm(k, k.shape[-1:], self.k_norm.to(k.dtype), eps=1e-6), cos, sin)
        # under autocast norms may come back in float32: attention takes one dtype. Packed kernels read [B, L, H, D],
        # which these views keep; matrix products elsewhere want heads first.
        q, k, v = (y.to(v.dtype).transpose(1, 2) for y in (q, k, v))
        return (q, k, v) if x.is_cuda else (q.contiguous(), k.contiguous(), v.contiguous())

    def after(self, x: Tensor, attended_BHLD: Tensor, mod_BN6D: Tensor, segments: Sequence[int]) -> Tensor:
        """Add the attention output, then the MLP, to the residual stream."""
        mod = mod_BN6D + self.table
        x = x + per_token(mod[:, :, 2], segments) * self.out(attended_BHLD.transpose(1, 2).flatten(2))
        h = modulated_norm(x, per_token(mod[:, :, 3], segments), per_token(mod[:, :, 4], segments))
        return x + per_token(mod[:, :, 5], segments) * self.down(gelu(self.up(h)))


class Skip(nn.Module):
    """Noisy patches past the blocks: into the hidden layer of the output MLP, each frame by itself, and through a gate
    that the features of the token open into the output. Both begin closed."""

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        frames = config.patch_frames
        self.into = nn.Parameter(torch.zeros(frames, config.patch_values // frames, config.head // frames))
        self.gate = nn.Linear(config.width, config.patch_values)

    def hidden(self, noisy: Tensor) -> Tensor:
        """`[..., head]` from noisy patches `[..., patch_values]`."""
        by_frame = noisy.to(self.into.dtype).unflatten(-1, (len(self.into), -1))
        return torch.einsum("...fi,fij->...fj", by_frame, self.into).flatten(-2)


class PocketDiT(nn.Module):
    """The network. See the module docstring for the stream it reads and `forward` for shapes."""

    def __init__(self, config: PocketConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PocketConfig()
        width = config.width
        self.slot_embedding = nn.Embedding(config.slots, width)
        self.fact_embedding = nn.Embedding(config.facts, width)
        self.patch_in = nn.Linear(config.patch_values, width)
        self.time_in = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.time_mod = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head_mod = nn.Linear(width, 2 * width)
        self.head_up = nn.Linear(width, config.head)
        self.head_down = nn.Linear(config.head, config.patch_values)
        self.skip = Skip(config) if config.skip else None
        # both halves of a block as functions of it, so that training can put compiled ones in their place
        self.before = Block.before
        self.after = Block.after
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.5)
        depth = 1 / math.sqrt(2 * self.config.layers)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.out.weight.data.mul_(depth)
            block.down.weight.data.mul_(depth)
        closed = [self.time_mod, self.head_mod, self.head_down]
        for layer in closed if self.skip is None else [*closed, self.skip.gate]:
            nn.init.zeros_(layer.weight)

    def embed_text(self, tokens: Tensor) -> Tensor:
        """Embed text tokens (slot, fact, ...), 0 where nothing is said: int64 `[..., TOKEN_SIZE]` to `[..., D]`."""
        weight = self.fact_embedding.weight
        said = weight.new_zeros(*tokens.shape[:-1], self.config.facts).scatter_(-1, tokens[..., 1:], 1.0)
        said[..., 0] = 0  # nothing said; a product with ones sums the bag, and its gradient needs no atomics
        return self.slot_embedding(tokens[..., 0]) + said @ weight

    def embed_shots(self, captions: Sequence[Tensor], patches: Sequence[Tensor]) -> Tensor:
        """Caption then video of each shot, one after the other.

        Args:
            captions: per shot int64 `[B, T, TOKEN_SIZE]`.
            patches: per shot noisy patches `[B, V, patch_values]`.

        Returns:
            `[B, sum(T + V), D]`.
        """
        if len({p.shape for p in patches}) == 1:
            video = self.patch_in(torch.stack(list(patches), dim=1))
            text = self.embed_text(torch.stack(list(captions), dim=1))
            return torch.cat([text.to(video.dtype), video], dim=2).flatten(1, 2)
        parts: list[Tensor] = []
        for caption, patch in zip(captions, patches, strict=True):
            video = self.patch_in(patch)
            parts += [self.embed_text(caption).to(video.dtype), video]
        return torch.cat(parts, dim=1)

    def condition(self, t_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Modulation of the blocks `[B, N, 6, D]` and of the head `[B, N, 2, D]` for timesteps `[B, N]`."""
        hidden = F.silu(self.time_in(timestep_features(t_BN, 256)))
        return self.time_mod(hidden).unflatten(-1, (6, -1)), self.head_mod(hidden).unflatten(-1, (2, -1))

    def predict(self, video: Tensor, noisy: Tensor, mod_BN2D: Tensor, segments: Sequence[int]) -> Tensor:
        """Clean patches `[B, L, patch_values]` from video tokens `[B, L, D]` and the noisy patches that they were,
        `[B, L, patch_values]`; `segments` as in `per_token`, of video alone."""
        shift, scale = (per_token(mod_BN2D[:, :, i], segments) for i in (0, 1))
        return self._clean(modulated_norm(video, shift, scale), noisy)

    def _clean(self, h: Tensor, noisy: Tensor) -> Tensor:
        """The output MLP over modulated features."""
        hidden = self.head_up(h)
        if self.skip is not None:
            hidden = hidden + self.skip.hidden(noisy)
        clean = self.head_down(gelu(hidden))
        return clean if self.skip is None else clean + self.skip.gate(h) * noisy

    def run_blocks(
        self, x: Tensor, mod_BN6D: Tensor, segments: Sequence[int], cos: Tensor, sin: Tensor, attention: Attention
    ) -> Tensor:
        """All blocks over tokens `[B, L, D]`."""
        x = x.to(self.patch_in.weight.dtype)  # the residual stream keeps the weights' precision under autocast
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            q, k, v = self.before(block, x, mod_BN6D, segments, cos, sin)
            x = self.after(block, x, attention(layer, q, k, v), mod_BN6D, segments)
        return x

    def forward(
        self,
        global_tokens: Tensor,
        captions: Tensor,
        patches: Tensor,
        t_BN: Tensor,
        cos: Tensor,
        sin: Tensor,
        attention: Attention,
        predict_from: int = 0,
    ) -> Tensor:
        """Predict clean patches of a stream of N equally long shots (training, joint sampling of equal shots).

        Args:
            global_tokens: int64 `[B, G, TOKEN_SIZE]`.
            captions: int64 `[B, N, T, TOKEN_SIZE]`.
            patches: noisy patches `[B, N, V, patch_values]`.
            t_BN: timestep of each shot, 0 = clean, 1 = noise.
            cos, sin: `positions.rotations` of all `G + N (T + V)` tokens.
            attention: called once a layer with q, k, v of the whole stream.
            predict_from: index of the first shot to predict; the ones before are history.

        Returns:
            `[B, N - predict_from, V, patch_values]`.
        """
        shots, video = patches.shape[1:3]
        text = captions.shape[2]
        segments = (global_tokens.shape[1],) + (text + video,) * shots
        body = self.embed_shots(captions.unbind(1), patches.unbind(1))
        x = torch.cat([self.embed_text(global_tokens).to(body.dtype), body], dim=1)
        # the global text is never noisy: a zero timestep in front
        mod, head_mod = self.condition(F.pad(t_BN, (1, 0)))
        x = self.run_blocks(x, mod, segments, cos, sin, attention)
        x = x[:, segments[0] :].unflatten(1, (shots, text + video))[:, predict_from:, text:]
        head_mod = head_mod[:, 1 + predict_from :, None]
        return self._clean(modulated_norm(x, head_mod[..., 0, :], head_mod[..., 1, :]), patches[:, predict_from:])

"""A loss that teaches queries to find, in earlier shots, what they show themselves.

The diffusion loss alone is slow to teach memory: that a coat is red again is a small part of a picture's error, and a
query that looks at everything evenly gets some of it right. The story world knows which tokens show the same character
or place, so attention can be told directly. For queries of noisy shots, in every head:

    mass = share of the softmax over all video tokens of earlier shots that falls on tokens of the same owner
    gain = the same over the chunks that a router chooses from: softmax of the query's scores with their mean keys,
           weighted by how much of the chunk is the owner's
    loss = - log mean over heads of (mass * gain)

A head that both chooses the right chunks and looks at the right tokens in them is enough; the others stay free for other
things. Keys and queries are taken as attention gets them. The loss is ours; the paper trains by diffusion alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moc.backbones.pocket.config import PocketConfig
from moc.world.schema import MAX_CAST, MAX_CHARACTERS
from moc.world.story import StoryBatch

QUERIES = 128  # of each story, in every layer
FIGURES = 4.0  # times as often as their area; most of a picture is scenery
COVERED = 0.25  # of a patch, from which it shows the figure and not the scenery
SHARPNESS = 4.0  # of the softmax over chunks: means of keys are short
NOWHERE = -1e4  # a score that no softmax notices and no gradient makes NaN of


def first_layer(layers: int) -> int:
    """Layers before this one are left alone: a token must know what it shows before it can look for it."""
    return layers // 4


def owners(stories: StoryBatch, masks: Tensor, model: PocketConfig) -> Tensor:
    """Who or what each video token shows.

    Args:
        stories: B stories of S shots.
        masks: uint8 `[B, S, F, H, W]` of `Rendered.masks`.

    Returns:
        int64 `[B, S, V]`: the slot of a character where a role covers `COVERED` of the patch or more, else
        `MAX_CHARACTERS` + the slot of the scene.
    """
    pf, p = model.patch_frames, model.patch_size
    batch, shots, frames, height, width = masks.shape
    x = masks.view(batch, shots, frames // pf, pf, height // p, p, width // p, p)
    area = torch.stack([(x == 1 + role).float().mean(dim=(3, 5, 7)).flatten(2) for role in range(MAX_CAST)], -1)
    most, role = area.max(-1)
    who = stories.cast[:, :, None].expand(-1, -1, role.shape[2], -1).gather(3, role[..., None])[..., 0]
    return torch.where((most >= COVERED) & (who >= 0), who, MAX_CHARACTERS + stories.scene[..., None])


class Recognition:
    """The loss of one piece; layers add to it as they run.

    Args:
        owner: `[B, S, V]` of `owners`.
        text: tokens of the global text and of a caption. The stream is [global][S - 1 clean shots][S noisy shots], each
            shot its caption and then its V video tokens.
        frames: latent frames of a shot, which are the chunks.
        layers: of the network.
        generator: draws the queries, on the owners' device.
    """

    def __init__(
        self, owner: Tensor, text: tuple[int, int], frames: int, layers: int, generator: torch.Generator
    ) -> None:
        batch, shots, video = owner.shape
        self.text, self.frames, self.past, self.video = text, frames, shots - 1, video
        self.first = first_layer(layers)
        self.losses: list[Tensor] = []
        everyone = torch.arange(int(MAX_CHARACTERS) * 2, device=owner.device)
        present = (owner[..., None] == everyone).any(2)  # [B, S, owners]
        seen = present.cumsum(1) - present.long() > 0
        known = seen.gather(2, owner)[:, 1:]  # tokens whose owner an earlier shot has shown
        odds = known * torch.where(owner[:, 1:] < MAX_CHARACTERS, FIGURES, 1.0) + 1e-6
        count = min(QUERIES, (shots - 1) * video)
        drawn = torch.multinomial(odds.flatten(1), count, generator=generator)  # among shots 2 to S
        self.known = known.flatten(1).gather(1, drawn).float()
        shot = drawn // video  # 0-based number of the last shot before
        at = text[0] + (self.past + 1 + shot) * (text[1] + video) + text[1] + drawn % video
        self.rows = at[:, None, :, None]
        earlier = torch.arange(self.past, device=owner.device) <= shot[..., None]  # [B, Q, S - 1]
        same = owner[:, None, :-1] == owner[:, 1:].flatten(1).gather(1, drawn)[..., None, None]
        target = same & earlier[..., None]  # [B, Q, S - 1, V]
        chunks = target.unflatten(3, (frames, -1)).float().mean(-1).flatten(2)
        self.gain = (chunks / chunks.amax(-1, keepdim=True).clamp_min(1e-6)).clamp_min(1e-6).log()[:, None]
        self.target = target.flatten(2)[:, None]
        self.open = earlier.repeat_interleave(video, 2)[:, None]
        self.open_chunks = earlier.repeat_interleave(frames, 2)[:, None]

    def see(self, layer: int, q: Tensor, k: Tensor) -> None:
        """Takes queries and keys `[B, H, L, D]` of a layer."""
        if layer < self.first or not self.past:
            return
        batch, heads, _, width = q.shape
        q = q.gather(2, self.rows.expand(batch, heads, -1, width)) * width**-0.5
        shots = k[:, :, self.text[0] : self.text[0] + self.past * (self.text[1] + self.video)]
        k = shots.unflatten(2, (self.past, -1))[:, :, :, self.text[1] :]
        means = k.unflatten(3, (self.frames, -1)).float().mean(4).flatten(2, 3).to(k.dtype)
        scores = (q @ k.flatten(2, 3).mT).float().masked_fill(~self.open, NOWHERE)
        mass = scores.masked_fill(~self.target, NOWHERE).logsumexp(-1) - scores.logsumexp(-1)
        scores = (SHARPNESS * (q @ means.mT).float()).masked_fill(~self.open_chunks, NOWHERE)
        gain = (scores + self.gain).logsumexp(-1) - scores.logsumexp(-1)
        best = (mass + gain).logsumexp(1) - torch.tensor(float(heads), device=q.device).log()  # [B, Q]
        self.losses.append(-(best * self.known).sum() / self.known.sum().clamp_min(1.0))

    def loss(self) -> Tensor:
        """Mean over the layers, a scalar."""
        return torch.stack(self.losses).mean() if self.losses else self.known.new_zeros(())

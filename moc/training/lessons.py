"""What training tells attention besides the pictures: which tokens show the same, and what they show.

The diffusion loss alone is slow to teach memory: that a coat is red again is a small part of a picture's error, and
a query that looks at everything evenly gets some of it right. The story world knows what every token shows, so two
lessons can be given directly. Both are ours; the paper trains by diffusion alone.

**Recognition** goes to queries and keys as attention gets them. For queries of noisy shots, in every head:

    mass = share of the softmax, over all earlier shots, the own shot and the text, that falls on tokens of the same
           owner in earlier shots; of a figure, tokens at another height of it count less: a hat is seen on a head
    gain = the same over the chunks of the `pocket` preset, whatever those of the stage are: sharpened softmax of the
           query's scores with their mean keys, where a chunk counts by how much of it is the owner's, as a share of the
           chunk that has most of him
    loss = - log mean over heads of (mass * gain), averaged over queries and layers

A head that both chooses the right chunks and looks at the right tokens is enough; the others stay free.

**Reading** goes to values, which are what attention carries: from a clean token's a linear reader is to tell how its
owner looks, and from a noisy one's, further up, how an owner looks whom earlier shots have shown. Readers are left
behind when training ends.

Stories that are denoised jointly, whose past is as noisy as the rest, and stories without routes have no lessons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moc.backbones.pocket.config import PocketConfig
from moc.world.schema import CHARACTER_ATTRIBUTES, HAT, MAX_CAST, MAX_CHARACTERS, MAX_SCENES, PLACE_ATTRIBUTES
from moc.world.story import StoryBatch

QUERIES = 64  # tokens of each story that a lesson is given to, of noisy shots and of clean ones
FIGURES = 4.0  # times as often as their area; most of a picture is scenery
COVERED = 0.25  # of a patch, from which it shows the figure and not the scenery
BANDS = 3  # heights of a figure: head, body and legs, more or less
ELSEWHERE = 0.3  # what a token at another height of the same figure counts
SHARPNESS = 4.0  # of the softmax over chunks: means of keys are short
NOWHERE = -1e4  # a score that no softmax notices and no gradient makes NaN of
UNSEEN = -100  # the value of what a token does not show

_VALUES = [len(v) for v in (*CHARACTER_ATTRIBUTES.values(), *PLACE_ATTRIBUTES.values())]


@dataclass
class Shown:
    """What the video tokens of a piece show. B stories of S shots of V tokens.

    Attributes:
        owner: int64 `[B, S, V]`: the slot of a character, or `MAX_CHARACTERS` + the slot of the scene.
        band: int64 `[B, S, V]`: at which height of a figure, 0 (top) to `BANDS` - 1; 0 for scenery.
        looks: int64 `[B, owners, attributes]`: values of every owner's attributes, those of characters first, `UNSEEN`
            where there are none.
        taught: bool `[B]`: stories that lessons are given in; not those whose past can't be read.
    """

    owner: Tensor
    band: Tensor
    looks: Tensor
    taught: Tensor


def shown(stories: StoryBatch, masks: Tensor, boxes: Tensor, model: PocketConfig) -> Shown:
    """Who or what each video token shows: a character where a role covers `COVERED` of the patch, else the scene.

    Args:
        stories: B stories of S shots.
        masks: uint8 `[B, S, F, H, W]` of `Rendered.masks`; boxes: float32 `[B, S, F, MAX_CAST, 4]` of `Rendered.boxes`.
    """
    pf, p = model.patch_frames, model.patch_size
    batch, shots, frames, height, width = masks.shape
    x = masks.view(batch, shots, frames // pf, pf, height // p, p, width // p, p)
    area = torch.stack([(x == 1 + role).float().mean(dim=(3, 5, 7)).mT.flatten(2) for role in range(MAX_CAST)], -1)
    most, role = area.max(-1)
    who = stories.cast[:, :, None].expand(-1, -1, role.shape[2], -1).gather(3, role[..., None])[..., 0]
    figure = (most >= COVERED) & (who >= 0)
    owner = torch.where(figure, who, MAX_CHARACTERS + stories.scene[..., None])
    box = boxes.view(batch, shots, frames // pf, pf, MAX_CAST, 4).amax(3)  # -1 in frames where nobody is seen
    rows, columns = model.grid
    box = box.repeat_interleave(rows * columns, 2).gather(3, role[..., None, None].expand(-1, -1, -1, 1, 4))[..., 0, :]
    middle = (torch.arange(role.shape[2], device=role.device) % rows + 0.5) * p
    down = (middle - box[..., 1]) / (box[..., 3] - box[..., 1]).clamp_min(1.0)
    band = (down * BANDS).long().clamp(0, BANDS - 1).where(figure, 0)
    of_people, of_places = len(CHARACTER_ATTRIBUTES), len(PLACE_ATTRIBUTES)
    looks = owner.new_full((batch, MAX_CHARACTERS + MAX_SCENES, of_people + of_places), UNSEEN)
    looks[:, :MAX_CHARACTERS, :of_people] = stories.characters
    looks[:, MAX_CHARACTERS:, of_people:] = stories.scenes
    names = list(CHARACTER_ATTRIBUTES)
    bare = looks[..., names.index("hat")] == HAT.index("none")
    looks[..., names.index("hat_color")].masked_fill_(bare, UNSEEN)
    taught = torch.ones(batch, dtype=torch.bool, device=owner.device)
    return Shown(owner, band, looks.where(looks >= 0, UNSEEN), taught)


class Readers(nn.Module):
    """A linear reader of values for each layer and each kind of token: how its owner looks."""

    def __init__(self, model: PocketConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, model.layers, model.width, sum(_VALUES)))
        self.bias = nn.Parameter(torch.zeros(2, model.layers, 1, sum(_VALUES)))


class Lessons:
    """The lessons of one piece; layers add to them as they run.

    The stream is [global][S - 1 clean shots][S noisy shots], each shot its caption and then its V video tokens.

    Args:
        shown: what tokens show.
        text: tokens of the global text and of a caption.
        chunks: of a shot, for recognition: equal runs of its video tokens.
        layers: of the network.
        recognises, reads: whether `recognition` and `reading` will be asked for.
        generator: draws the tokens, on the owners' device.
    """

    def __init__(
        self,
        shown: Shown,
        text: tuple[int, int],
        chunks: int,
        layers: int,
        recognises: bool,
        reads: bool,
        generator: torch.Generator,
    ) -> None:
        owner = shown.owner
        _, shots, video = owner.shape
        self.text, self.chunks, self.past, self.video = text, chunks, shots - 1, video
        self.layers, self.recognises, self.reads = layers, recognises, reads
        self.found: list[Tensor] = []
        self.read: list[tuple[int, int, Tensor]] = []
        self.known = torch.zeros((), device=owner.device)
        if not self.past:
            return
        everyone = torch.arange(MAX_CHARACTERS + MAX_SCENES, device=owner.device)
        present = (owner[..., None] == everyone).any(2)  # [B, S, owners]
        seen = present.cumsum(1) - present.long() > 0
        taught = shown.taught[:, None, None]
        known = seen.gather(2, owner)[:, 1:] & taught  # tokens whose owner an earlier shot has shown
        figures = torch.where(owner < MAX_CHARACTERS, FIGURES, 1.0)
        count = min(QUERIES, self.past * video)
        drawn = torch.multinomial((known * figures[:, 1:] + 1e-6).flatten(1), count, generator=generator)
        clean = torch.multinomial(figures[:, :-1].flatten(1), count, generator=generator)
        self.known = known.flatten(1).gather(1, drawn)
        owners = [x.flatten(1).gather(1, at) for x, at in ((owner[:, :-1], clean), (owner[:, 1:], drawn))]
        bands = shown.band[:, 1:].flatten(1).gather(1, drawn)
        shot = drawn // video  # 0-based number of the last shot before
        self.rows = [self._row(clean // video, clean % video), self._row(self.past + 1 + shot, drawn % video)]
        self.looks = [shown.looks.gather(1, x[..., None].expand(-1, -1, shown.looks.shape[2])) for x in owners]
        self.looks = [x.where(ok, UNSEEN) for x, ok in zip(self.looks, (taught, self.known[..., None]), strict=True)]
        earlier = torch.arange(self.past, device=owner.device) <= shot[..., None]  # [B, Q, S - 1]
        target = (owner[:, None, :-1] == owners[1][..., None, None]) & earlier[..., None]  # [B, Q, S - 1, V]
        share = target.unflatten(3, (chunks, -1)).float().mean(-1).flatten(2)
        self.gain = (share / share.amax(-1, keepdim=True).clamp_min(1e-6)).clamp_min(1e-6).log()[:, None]
        there = shown.band[:, None, :-1] == bands[..., None, None]
        weight = torch.where(target, torch.where(there, 0.0, math.log(ELSEWHERE)), NOWHERE)
        self.target = weight.flatten(2)[:, None]  # logarithms
        self.open = earlier.repeat_interleave(video, 2)[:, None]
        noisy = torch.arange(shots, device=owner.device).repeat_interleave(text[1] + video)
        self.own = (noisy == shot[..., None] + 1)[:, None]
        self.open_chunks = earlier.repeat_interleave(chunks, 2)[:, None]

    def _row(self, shot: Tensor, token: Tensor) -> Tensor:
        return self.text[0] + shot * (self.text[1] + self.video) + self.text[1] + token

    def see(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> None:
        """Takes queries, keys and values `[B, H, L, D]` of a layer.

        The first quarter of the layers is left alone: a token must find out what it shows itself before it can look for
        it. What a noisy token remembers is read in the upper half.
        """
        if not self.past or layer < self.layers // 4:
            return
        if self.recognises:
            self.found.append(self._recognition(q, k))
        if not self.reads:
            return
        for kind in (0, 1):
            if kind == 0 or layer >= self.layers // 2:
                rows = self.rows[kind][:, None, :, None].expand(-1, v.shape[1], -1, v.shape[3])
                self.read.append((kind, layer, v.gather(2, rows).transpose(1, 2).flatten(2)))

    def shares(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of *mass* and *gain*, float32 `[B, H, Q]`, of the queries drawn, from a layer's `[B, H, L, D]`."""
        heads, width = q.shape[1], q.shape[3]
        q = q.gather(2, self.rows[1][:, None, :, None].expand(-1, heads, -1, width)) * width**-0.5
        first, noisy = self.text[0], self.text[0] + self.past * (self.text[1] + self.video)
        own = (q @ k[:, :, noisy:].mT).float().masked_fill(~self.own, NOWHERE).logsumexp(-1)
        own = torch.logaddexp(own, (q @ k[:, :, :first].mT).float().logsumexp(-1))
        k = k[:, :, first:noisy].unflatten(2, (self.past, -1))[:, :, :, self.text[1] :]
        means = k.unflatten(3, (self.chunks, -1)).float().mean(4).flatten(2, 3).to(k.dtype)
        scores = (q @ k.flatten(2, 3).mT).float().masked_fill(~self.open, NOWHERE)
        mass = (scores + self.target).logsumexp(-1) - torch.logaddexp(scores.logsumexp(-1), own)
        scores = (SHARPNESS * (q @ means.mT).float()).masked_fill(~self.open_chunks, NOWHERE)
        return mass, (scores + self.gain).logsumexp(-1) - scores.logsumexp(-1)

    def _recognition(self, q: Tensor, k: Tensor) -> Tensor:
        mass, gain = self.shares(q, k)
        best = (mass + gain).logsumexp(1) - math.log(q.shape[1])  # [B, Q]
        return -(best * self.known).sum() / self.known.sum().clamp_min(1)

    def recognition(self) -> Tensor:
        """Mean of the loss over the layers, a scalar."""
        return torch.stack(self.found).mean() if self.found else self.known.new_zeros((), dtype=torch.float32)

    def reading(self, readers: Readers) -> Tensor:
        """Mean cross-entropy over layers, tokens and attributes, a scalar."""
        if not self.read:
            return 0.0 * (readers.weight.sum() + readers.bias.sum())  # processes that share gradients expect all
        kinds, layers = [kind for kind, _, _ in self.read], [layer for _, layer, _ in self.read]
        x = torch.stack([features.flatten(0, 1) for _, _, features in self.read])  # [R, B Q, D]
        told = torch.baddbmm(readers.bias[kinds, layers], x, readers.weight[kinds, layers].to(x.dtype))
        looks = torch.stack([self.looks[kind].flatten(0, 1) for kind in kinds])  # [R, B Q, attributes]
        losses = [
            F.cross_entropy(one.float().flatten(0, 1), looks[..., i].flatten(), ignore_index=UNSEEN, reduction="sum")
            for i, one in enumerate(told.split(_VALUES, -1))
        ]
        return torch.stack(losses).sum() / (looks != UNSEEN).sum().clamp_min(1)

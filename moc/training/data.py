"""Training data: stories are drawn and rendered on the fly, a piece of the global batch at a time.

Every piece is a pure function of (seed, step, piece), so a resumed run and a run on another number of GPUs see the
same data. How a story is laid out depends on what its shots may look at:

**Twice**, where shots look back alone (causal, own shot dense, own text): [global][clean shots 1..S-1][noisy shots
1..S]. A noisy shot reads its own tokens and, through routes, the *clean* copies of earlier shots: exactly what
streaming will give it. So every shot of every story trains at its own timestep with a clean past, in one pass.

**Once** otherwise: [global][shots 1..S]. Under no causal mask every shot is some other's context, and there is no
clean copy that could stand for a later one. In a share of the stories the shots before a random cut are clean, as in a
story that is being continued, and those after it have timesteps of their own (LCT); in the rest all shots share one,
as in joint sampling. Only noisy shots count in the loss.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from moc.attention import attend
from moc.attention.patterns import fitted, is_fixed
from moc.backbones.pocket.config import LONGEST_SHOT, MAX_TRAINED_SHOT, PocketConfig
from moc.backbones.pocket.noise import draw_noise
from moc.backbones.pocket.patches import patchify
from moc.backbones.pocket.positions import rotation_table, rotations, stream_positions
from moc.config import ChunkTokens, MoCConfig
from moc.layout import Shot, TokenLayout
from moc.routing import route
from moc.training.config import Stage, TrainConfig, looks_back_alone
from moc.training.lessons import Lessons, Shown, shown

if TYPE_CHECKING:
    from moc.world.render import Rendered

TYPICAL_SHARE = 0.24  # of a shot's pixels belong to figures: the mean over 512 shots of the sampler
NOISIEST = 0.95  # from this timestep on, sampling decides large areas and where figures are


def key(*parts: int | str) -> int:
    """A 63-bit seed from the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") & (2**63 - 1)


@dataclass
class Piece:
    """One forward pass worth of stories. Shapes: B stories, S shots, N shots of the stream: 2S - 1, or S laid once.

    Attributes:
        global_tokens: `[B, G, TOKEN_SIZE]`. captions: `[B, N, T, TOKEN_SIZE]`.
        patches: `[B, N, V, patch_values]`, history first.
        target: `[B, S, V, patch_values]` clean patches of the stream's last S shots.
        t: `[B, N]`. weight: `[B, S]` loss weight of each of those shots, 0 for a clean one. importance: of each number
            of `target`, mean 1.
        cos, sin: rotations of the stream. drop_routes: `[B]` bool, on the CPU.
        shown: what the video tokens show, if there are lessons.
        first_row: index of the piece's first story in the global batch (keys the routing draws).
    """

    global_tokens: Tensor
    captions: Tensor
    patches: Tensor
    target: Tensor
    t: Tensor
    weight: Tensor
    importance: Tensor
    cos: Tensor
    sin: Tensor
    drop_routes: Tensor
    first_row: int
    shown: Shown | None = None


@lru_cache(maxsize=64)
def story_layout(shots: int, latent_frames: int, chunk_tokens: int | str, model: PocketConfig) -> TokenLayout:
    """Layout of the global text and `shots` equal shots."""
    shot = Shot(text=model.caption_tokens, frames=latent_frames, tokens_per_frame=model.tokens_per_frame)
    return TokenLayout.from_shots(
        global_text=model.global_tokens, shots=[shot] * shots, chunk_tokens=cast(ChunkTokens, chunk_tokens)
    )


@lru_cache(maxsize=16)
def stream_layout(shots: int, latent_frames: int, moc: MoCConfig, model: PocketConfig) -> TokenLayout:
    """Layout of a training stream of `shots` shots, as the pattern wants it."""
    if not looks_back_alone(moc):
        return fitted(story_layout(shots, latent_frames, moc.chunk_tokens, model), moc)
    twice = story_layout(2 * shots - 1, latent_frames, moc.chunk_tokens, model)
    return fitted(twice.with_history([*range(shots - 1), *range(shots)]), moc)


@lru_cache(maxsize=64)
def _positions(shots: int, latent_frames: int, first: int, twice: bool, model: PocketConfig) -> Tensor:
    numbers = [*range(1, shots if twice else 1), *range(1, shots + 1)]
    return stream_positions(model, [(n, latent_frames, first) for n in numbers])


def draw_timesteps(shape: tuple[int, ...], config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Logit-normal timesteps, shifted towards noise (SD3, equation 23 with s = `config.shift`)."""
    normal = torch.randn(shape, generator=generator, device=generator.device)
    u = torch.sigmoid(config.t_mean + config.t_std * normal)
    return config.shift * u / (1 + (config.shift - 1) * u)


def figure_weights(masks: Tensor, exponent: float) -> Tensor:
    """Weight of each pixel as a part of some figure: 0 off the figures, more on them where they take up less room.

    A figure in a wide shot covers a tenth of what one in a close-up does, and would count a tenth in the loss, although
    there is as much to get right about it.

    Args:
        masks: `[B, S, F, H, W]`, 0 where no figure is.
        exponent: the weight is (`TYPICAL_SHARE` / share of the shot that figures cover) ** `exponent`, with the share
            taken as at least an eighth of the typical one; 0 gives every figure's pixel weight 1.
    """
    figures = (masks > 0).float()
    share = figures.mean(dim=(-3, -2, -1), keepdim=True).clamp_min(TYPICAL_SHARE / 8)
    return figures * (TYPICAL_SHARE / share) ** exponent


def pixel_weights(config: TrainConfig, rendered: Rendered, t: Tensor) -> Tensor:
    """Weight of each pixel in the loss, `[B, S, F, H, W]`, at the timesteps `t` `[B, S]` of the shots."""
    assert rendered.masks is not None
    figures = figure_weights(rendered.masks, config.small_figures)
    if rendered.worn is not None:
        figures = figures * (1 + config.worn_weight * rendered.worn)
    if config.character_until < 1:
        fade = ((1 - t) / (1 - config.character_until)).clamp(max=1.0)
        figures = figures * fade[..., None, None, None]
    return 1 + config.character_weight * figures


def make_piece(
    config: TrainConfig, model: PocketConfig, stage: Stage, step: int, piece: int, device: torch.device
) -> Piece:
    """Draw, render and noise piece number `piece` of the global batch of optimiser step `step`."""
    from moc.world.continuation import continue_shots, say_continued
    from moc.world.render import render
    from moc.world.sampler import sample_stories
    from moc.world.tokens import encode_batch

    generator = torch.Generator(device=device).manual_seed(key(config.seed, "data", step, piece))
    host = torch.Generator().manual_seed(key(config.seed, "host", step, piece))
    batch, shots, frames = config.micro_of(stage), stage.shots, stage.latent_frames
    stories = sample_stories(
        batch, shots, generator=generator, device=device, split="train", named_most=config.named_most
    )
    stories, run = continue_shots(stories, config.continued, generator)
    global_tokens, captions = encode_batch(stories, generator=generator, shuffle=True, omit=config.omit)
    captions = say_continued(captions, run > 0)
    first = int(torch.randint(0, LONGEST_SHOT - min(frames, LONGEST_SHOT) + 1, (), generator=host))
    length = frames * model.patch_frames
    start = first * model.patch_frames + run * length
    rendered = render(stories, frames=length, start=start, device=device, masks=True, worn=config.worn_weight > 0)
    clean = patchify(rendered.frames, model).to(torch.float32).div_(127.5).sub_(1.0)
    assert rendered.masks is not None
    assert rendered.boxes is not None
    lessons = config.recognition or config.reading
    what = shown(stories, rendered.masks, rendered.boxes, model) if lessons else None

    noise = draw_noise((batch, shots), frames, model, generator=generator, device=device)
    t = draw_timesteps((batch, shots), config, generator)
    if config.on_grid:
        own = torch.Generator(device=device).manual_seed(key(config.seed, "grid", step, piece))
        grid = torch.tensor(model.timesteps(config.sampled_steps)[:-1], device=device)
        visited = grid[torch.randint(len(grid), (batch, shots), generator=own, device=device)]
        t = torch.where(torch.rand((batch, shots), generator=own, device=device) < config.on_grid, visited, t)
    if config.noisiest:
        own = torch.Generator(device=device).manual_seed(key(config.seed, "noisiest", step, piece))
        chosen, high = torch.rand((2, batch, shots), generator=own, device=device)
        t = torch.where(chosen < config.noisiest, NOISIEST + (1 - NOISIEST) * high, t)
    mode = torch.rand(batch, 1, generator=generator, device=device)
    joint = mode >= config.clean_history + config.near_clean_history
    t = torch.where(joint, t[:, :1], t)
    importance = patchify(pixel_weights(config, rendered, t)[..., None, :, :].expand(-1, -1, -1, 3, -1, -1), model)
    nearly = 0.08 * torch.rand(batch, shots, generator=generator, device=device)
    t_history = torch.where(joint, t, torch.where(mode < config.clean_history, torch.zeros_like(t), nearly))

    twice = looks_back_alone(config.attention(stage))
    if twice:
        # history has noise of its own unless all shots are denoised jointly, where both copies are the same thing
        other = noise.roll(1, 0)
        if batch == 1:
            other = draw_noise((batch, shots), frames, model, generator=generator, device=device)
        past_noise = torch.where(joint[..., None, None], noise, other)
        history = torch.lerp(clean, past_noise, t_history[..., None, None])[:, :-1]
        weight = torch.ones_like(t)
    else:
        cut = torch.randint(0, shots, (batch, 1), generator=generator, device=device)
        past = (torch.arange(shots, device=device) < cut) & ~joint
        t = torch.where(past, t_history, t)
        # a story counts as much with few noisy shots as with many
        weight = ~past * (shots / (shots - past.sum(1, keepdim=True)))
    noisy = torch.lerp(clean, noise, t[..., None, None])

    no_routes, no_text = torch.rand((2, batch), generator=host) < torch.tensor(
        [[config.drop_routes], [config.drop_text]]
    )
    drop_routes, dropped = no_routes | no_text, no_text.to(device)
    global_tokens = global_tokens.masked_fill(dropped[:, None, None], 0)
    captions = captions.masked_fill(dropped[:, None, None, None], 0)

    offset = torch.randint(0, MAX_TRAINED_SHOT - shots + 1, (batch,), generator=generator, device=device)
    cos, sin = rotations(
        _positions(shots, frames, first, twice, model).to(device), rotation_table(model).to(device), offset.float()
    )
    if what is not None:
        what.taught = ~joint[:, 0] & ~drop_routes.to(device)
    return Piece(
        global_tokens=global_tokens,
        captions=torch.cat([captions[:, :-1], captions], dim=1) if twice else captions,
        patches=torch.cat([history, noisy], dim=1) if twice else noisy,
        target=clean,
        t=torch.cat([t_history[:, :-1], t], dim=1) if twice else t,
        weight=weight / t.clamp_min(config.t_floor).square(),
        importance=importance / importance.mean(),
        cos=cos,
        sin=sin,
        drop_routes=drop_routes,
        first_row=piece * batch,
        shown=what,
    )


def chunks_of_lessons(latent_frames: int, model: PocketConfig) -> int:
    """Chunks of the `pocket` preset in a shot; latent frames where those don't divide into such chunks."""
    chunk = MoCConfig.preset("pocket").chunk_tokens
    if chunk == "frame" or model.tokens_per_frame % chunk:
        return latent_frames
    return latent_frames * model.tokens_per_frame // chunk


class RoutedAttention:
    """Attention over the training stream, the callable that `PocketDiT.forward` wants.

    Stories of `Piece.drop_routes` see nothing beyond their own shots, whatever the pattern.
    """

    def __init__(self, config: TrainConfig, stage: Stage, model: PocketConfig, step: int, piece: Piece) -> None:
        self.moc = config.attention(stage)
        self.layout = stream_layout(stage.shots, stage.latent_frames, self.moc, model)
        self.single = stage.shots == 1 and self.moc.intra == "shot"  # one shot has nowhere to look
        self.seed = key(config.seed, "routes", step)
        self.piece = piece
        self.dropped = piece.drop_routes.to(piece.t.device, non_blocking=True)
        self.lessons: Lessons | None = None
        if piece.shown is not None:
            device = piece.shown.owner.device
            draws = torch.Generator(device=device).manual_seed(key(config.seed, "lessons", step, piece.first_row))
            text = (model.global_tokens, model.caption_tokens)
            wanted = (config.recognition > 0, config.reading > 0)
            chunks = chunks_of_lessons(stage.latent_frames, model)
            self.lessons = Lessons(piece.shown, text, chunks, model.layers, *wanted, draws)
        self.split: tuple[Tensor, Tensor, Tensor] | None = None
        if is_fixed(self.moc) and bool(piece.drop_routes.any()):
            kept, dropped = (~piece.drop_routes).nonzero().flatten(), piece.drop_routes.nonzero().flatten()
            back = torch.cat([kept, dropped]).argsort()
            self.split = (kept.to(piece.t.device), dropped.to(piece.t.device), back.to(piece.t.device))

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.lessons is not None:
            self.lessons.see(layer, q, k, v)
        if self.single:
            return attend(q, k, v, self.layout, None, self.moc)
        if is_fixed(self.moc):
            return self._fixed(q, k, v)
        first = self.piece.first_row
        routing = route(q, k, self.layout, self.moc, seed=self.seed, layer=layer, batch_offset=first)
        routing.indices.masked_fill_(self.dropped[:, None, None, None], -1)
        return attend(q, k, v, self.layout, routing, self.moc)

    def _fixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The layout decides what is attended: two sorts of stories are two calls."""
        if self.split is None:
            return attend(q, k, v, self.layout, None, self.moc)
        kept, dropped, back = self.split
        alone = self.moc.replace(pattern="local")
        parts = [
            attend(q[rows], k[rows], v[rows], self.layout, None, moc)
            for rows, moc in ((kept, self.moc), (dropped, alone))
            if len(rows)
        ]
        return torch.cat(parts)[back]

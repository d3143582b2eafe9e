"""Rendering a storyboard with the pocket model: shot after shot from kept keys, or all shots at once.

Latents are clean patches in float16, frame by frame and row by row; what later shots read is always the rounded copy,
so a shot rendered from a folder's latents is the same, bit for bit, as one rendered in the same go as its past.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from moc.attention import attend
from moc.attention.mandatory import mandatory
from moc.attention.patterns import fixed_counts
from moc.backbones.base import OnStep, ShotResult
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.noise import draw_noise, shot_generator
from moc.backbones.pocket.patches import by_columns, by_rows, unpatchify
from moc.backbones.pocket.planning import (
    STEPS,
    Piece,
    alone,
    attention_of,
    counted_by,
    cut_into_pieces,
    guidance_of,
    pieces_by_shot,
    story_tokens,
)
from moc.backbones.pocket.positions import rotation_table, rotations, stream_positions
from moc.backbones.pocket.stream import Memory, RouteHook, ShotPass
from moc.config import MoCConfig
from moc.errors import InputError
from moc.layout import TokenLayout
from moc.routing import Routing, route
from moc.sampling import Solver

if TYPE_CHECKING:
    from moc.storyboard import Shot, Storyboard


class RouteCounts:
    """Routed links of one shot, counted from its parts to other parts of the story, per step, layer and head.

    A part is a video chunk, or a latent frame where chunks are no longer than one, which then counts those that begin
    in it: a table of chunk by chunk would grow with the square of their number, and a person looks for frames. The
    other parts are all so far, those of the shot included; all of the story where attention is not causal.
    """

    def __init__(
        self, layout: TokenLayout, config: MoCConfig, pieces: Sequence[int], steps: int, layers: int, heads: int
    ) -> None:
        """`layout`: of the whole stream; `pieces`: stream shots that make up the shot."""
        self.layout = layout
        self.config = config
        self.pieces = list(pieces)
        self.rank = _parts(layout, config)
        starts = [layout.video_chunks(p) for p in pieces]
        self.first = int(self.rank[starts[0][0]])
        self.last = int(self.rank[starts[-1][1] - 1]) + 1
        self.width = self.last if config.causal else int(self.rank[-1]) + 1
        self.counts = torch.zeros(steps, layers, heads, self.last - self.first, self.width, dtype=torch.int64)
        self.always = self.routed = 0  # pairs that are attended whatever is chosen, and by choice
        self.fixed = torch.zeros(self.counts.shape[-2:], dtype=torch.int64)  # links that the layout decides, per head
        self.step = 0
        videos = [layout.video_range(p) for p in pieces]
        begin = np.cumsum([0, *(stop - start for start, stop in videos)]).tolist()
        self.offset = dict(zip(pieces, begin[:-1], strict=True))  # of each piece among the shot's video tokens
        self.by_token = torch.zeros(begin[-1], self.width + 1, dtype=torch.int32)  # the last column is no choice
        self.one = torch.ones(1, 1, dtype=torch.int32)

    def add(self, layer: int, routing: Routing, part: TokenLayout, rows: tuple[int, int]) -> None:
        """Count one layer's routing over `rows` of `part`, a layout selected from the stream's."""
        counts = routing.counts(part, rows).cpu()  # [H, Cq, C] of `part`
        origin = torch.tensor(part.chunk_origin)
        columns = (~part.chunk_is_text).cpu().nonzero().flatten()
        first = int(part.chunk_ids[rows[0]])
        queries = torch.arange(first, first + counts.shape[1])
        inside = ~part.chunk_is_text.cpu()[queries]
        to = self.rank[origin[columns]]
        ours = self.rank[origin[queries[inside]]]
        kept = (ours >= self.first) & (ours < self.last)
        seen = to < self.width
        block = counts[:, inside][:, kept][:, :, columns[seen]]
        place = ours[kept] - self.first, to[seen]
        _add_block(self.counts[self.step, layer], place, block)
        self.routed += int((block.sum(dim=(0, 1)) * part.chunk_bounds.diff().cpu()[columns[seen]]).sum())
        if self.step == layer == 0:
            self.always += mandatory(part, self.config, rows, routing.indices.device).pairs
            fixed = fixed_counts(part, self.config, rows)
            if fixed is not None:
                _add_block(self.fixed[None], place, fixed[None, inside][:, kept][:, :, columns[seen]])
        self._add_tokens(routing, part, self.rank[origin], rows)

    def _add_tokens(self, routing: Routing, part: TokenLayout, ranks: Tensor, rows: tuple[int, int]) -> None:
        """Count what each video token chose; `ranks`: [C] number of the part of the story that each chunk is in."""
        chosen = routing.indices[0].cpu()[:, ~part.is_text.cpu()[rows[0] : rows[1]]]  # [H, V, W]
        beyond = torch.cat([ranks, ranks.new_full((1,), self.width)])  # -1, no choice, is the last of these
        column = beyond[chosen.transpose(0, 1).flatten(1)]  # [V, H W]
        first = self.offset[int(part.shot_ids[rows[0]])]
        self.by_token[first : first + len(column)].scatter_add_(1, column, self.one.expand(column.shape))

    def table(self) -> np.ndarray:
        """What a map shows, as `ShotResult.routing`: chosen links, and those of a pattern that the layout decides."""
        return (self.counts + self.fixed).to(torch.uint32).numpy()

    def choices(self, size: PocketConfig, n: int = 8) -> np.ndarray:
        """What each token chose most, as `ShotResult.choices`; equal counts in order of parts."""
        counts = self.by_token[:, : self.width].numpy()
        parts = np.argsort(-counts, axis=1, kind="stable")[:, :n]
        pairs = np.stack([parts, np.take_along_axis(counts, parts, axis=1)], axis=-1).astype(np.uint32)
        rows, columns = size.grid  # tokens run down the columns
        return np.ascontiguousarray(pairs.reshape(-1, columns, rows, *pairs.shape[1:]).swapaxes(1, 2))

    def sparsity(self) -> float:
        """1 - attended pairs / (rows x L), mean over steps, layers and heads; captions are rows like any other."""
        steps, layers, heads = self.counts.shape[:3]
        routed = self.routed / (steps * layers * heads)
        start, stop = self.layout.token_range(self.pieces[0])[0], self.layout.token_range(self.pieces[-1])[1]
        return 1 - (self.always + routed) / ((stop - start) * self.layout.length)


def _parts(layout: TokenLayout, config: MoCConfig) -> Tensor:
    """[C] of each chunk, the number of the part of the story's video that it is or begins in (see `RouteCounts`)."""
    video = ~layout.chunk_is_text
    if counted_by(config, layout.shots[0].tokens_per_frame) == "frame":
        begin = layout.chunk_bounds[:-1]
        frame = torch.stack([layout.chunk_shot, layout.frame_ids[begin]])
        new = torch.ones_like(video)
        new[1:] = (frame[:, 1:] != frame[:, :-1]).any(0)
        video = video & new
    return video.cumsum(0) - 1


def _add_block(into_HRC: Tensor, place: tuple[Tensor, Tensor], block_HQC: Tensor) -> None:
    """Adds counts to the rows and columns that `place` names, of which several may be one."""
    wide = block_HQC.new_zeros(*block_HQC.shape[:2], into_HRC.shape[2]).index_add_(2, place[1], block_HQC)
    into_HRC.index_add_(1, place[0], wide.to(into_HRC.dtype))


def _seed(shot: Shot, seed: int) -> int:
    return seed if shot.seed is None else shot.seed


def _noise(model: PocketDiT, story: Storyboard, shot: Shot, seed: int, pieces: Sequence[Piece]) -> list[Tensor]:
    generator = shot_generator(_seed(shot, seed), story.title, shot.id)
    device = model.patch_in.weight.device
    return [draw_noise((1,), piece.frames, model.config, generator=generator).to(device) for piece in pieces]


def _text(model: PocketDiT, story: Storyboard, pieces: list[Piece]) -> tuple[Tensor, dict[int, Tensor]]:
    device = model.patch_in.weight.device
    global_tokens, captions = story_tokens(story, pieces)
    by_piece = {p.index: torch.tensor([c], device=device) for p, c in zip(pieces, captions, strict=True)}
    return torch.tensor([global_tokens], device=device), by_piece


def no_text(tokens: Tensor) -> Tensor:
    """The tokens of a stream that says nothing, as training drops text."""
    return torch.zeros_like(tokens)


def to_latents(clean: Tensor, model: PocketDiT) -> np.ndarray:
    """Latents, float16 `[n, patch_values]`, from the network's clean tokens `[n, patch_values]`."""
    return by_rows(clean.clamp(-1, 1).to(torch.float16), model.config).cpu().numpy()


def to_tokens(latents: np.ndarray, model: PocketDiT) -> Tensor:
    """The network's tokens, float32 `[n, patch_values]`, from latents."""
    return by_columns(torch.from_numpy(latents).float(), model.config)


def to_frames(latents: np.ndarray, model: PocketDiT) -> np.ndarray:
    """uint8 frames `[F, H, W, 3]` from latents `[n, patch_values]`."""
    frames = unpatchify(to_tokens(latents, model), model.config).add(1).mul(127.5).round().clamp(0, 255)
    return frames.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


class Guided:
    """One piece with its text and its past, and without either: x = x_free + scale (x_full - x_free), where `size`
    guides (classifier-free guidance, Ho and Salimans 2022; by the past as well, Song et al. 2025).
    """

    def __init__(self, passes: Sequence[ShotPass], scale: float, size: PocketConfig) -> None:
        self.passes = passes
        self.scale = scale
        self.size = size

    def predict(self, z: Tensor, t: float) -> Tensor:
        x = self.passes[0].predict(z, t).float()
        if len(self.passes) == 1 or not self.size.guides(t):
            return x
        free = self.passes[1].predict(z, t).float()
        return free + self.scale * (x - free)


def render_stream(
    model: PocketDiT,
    story: Storyboard,
    *,
    seed: int,
    shots: Sequence[int],
    memory: Mapping[int, np.ndarray],
    on_step: OnStep,
    forget: Mapping[int, Collection[int]] | None = None,
) -> Iterator[ShotResult]:
    """Shot after shot; earlier shots that are not rendered now come from `memory` (see `Backbone.generate`).

    Raises:
        InputError: a shot in `memory` is not of this model's patches.
    """
    size = model.config
    config = attention_of(story)
    pieces = cut_into_pieces(story, size)
    by_shot = pieces_by_shot(pieces)
    steps = story.sampling.steps or STEPS
    grid = size.timesteps(steps)
    scale = guidance_of(story, size)
    global_tokens, captions = _text(model, story, pieces)
    frames = [piece.frames for piece in pieces]
    kept = Memory(model, config, frames, global_tokens)
    free = Memory(model, alone(config), frames, no_text(global_tokens)) if scale != 1.0 else None
    last = max(shots)
    cut = {n: {p.index for m in earlier for p in by_shot[m]} for n, earlier in (forget or {}).items()}

    def begin(piece: Piece, on_route: RouteHook | None = None) -> list[ShotPass]:
        caption = captions[piece.index]
        passes = [kept.shot(piece.index, caption, without=cut.get(piece.shot, ()), on_route=on_route)]
        if free is not None:
            passes.append(free.shot(piece.index, no_text(caption), earlier=()))
        return passes

    def finish(passes: Sequence[ShotPass], latents: np.ndarray) -> None:
        passes[0].finish(to_tokens(latents, model)[None].to(global_tokens.device))

    for shot in story.shots[:last]:
        mine = by_shot[shot.number]
        if shot.number not in shots:
            if shot.number in memory:
                whole, at = memory[shot.number], 0
                fits = (sum(piece.frames for piece in mine) * size.tokens_per_frame, size.patch_values)
                if whole.shape != fits:
                    raise InputError(
                        f"shot {shot.number} was drawn by a model of other patches: its latents are "
                        f"{list(whole.shape)}, and this model's are {list(fits)}."
                    )
                for piece in mine:
                    count = piece.frames * size.tokens_per_frame
                    finish(begin(piece), whole[at : at + count])
                    at += count
            continue
        began = time.monotonic()
        counts = RouteCounts(kept.layout, config, [p.index for p in mine], steps, size.layers, size.heads)
        made: list[np.ndarray] = []
        for position, (piece, noise) in enumerate(zip(mine, _noise(model, story, shot, seed, mine), strict=True)):
            passes = begin(piece, counts.add)
            guided, solver, z = Guided(passes, scale, size), Solver(grid), noise
            for index in range(steps):
                counts.step = index
                z = solver.step(index, z, guided.predict(z, grid[index]))
                on_step(shot.number, position * steps + index + 1, steps * len(mine))
            made.append(to_latents(z[0], model))
            if piece.index < len(pieces) and (shot.number < last or position < len(mine) - 1):
                finish(passes, made[-1])
        latents = np.concatenate(made)
        yield ShotResult(
            number=shot.number,
            frames=to_frames(latents, model),
            latents=latents,
            routing=counts.table(),
            seconds=time.monotonic() - began,
            sparsity=counts.sparsity(),
            choices=counts.choices(size),
        )


def render_joint(
    model: PocketDiT, story: Storyboard, *, seed: int, shots: Sequence[int], on_step: OnStep, began: float
) -> Iterator[ShotResult]:
    """All shots of the story denoised together; those in `shots` are yielded at the end."""
    size = model.config
    config = attention_of(story)
    pieces = cut_into_pieces(story, size)
    steps = story.sampling.steps or STEPS
    grid = size.timesteps(steps)
    scale = guidance_of(story, size)
    global_tokens, captions = _text(model, story, pieces)
    layout = Memory.layout_of(model, config, [piece.frames for piece in pieces])
    positions = stream_positions(size, [(p.index, p.frames, 0) for p in pieces]).to(global_tokens.device)
    cos, sin = rotations(positions, rotation_table(size).to(global_tokens.device))
    by_shot = pieces_by_shot(pieces)
    counts = {
        number: RouteCounts(layout, config, [p.index for p in mine], steps, size.layers, size.heads)
        for number, mine in by_shot.items()
    }
    segments = [size.global_tokens] + [size.caption_tokens + p.frames * size.tokens_per_frame for p in pieces]

    by_itself = alone(config)
    own_layout = Memory.layout_of(model, by_itself, [piece.frames for piece in pieces])

    def predict(z: list[Tensor], t: float, full: bool) -> list[Tensor]:
        def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if not full:
                return attend(q, k, v, own_layout, route(q, k, own_layout, by_itself), by_itself)
            routing = route(q, k, layout, config, layer=layer)
            for number, mine in by_shot.items():
                rows = (layout.token_range(mine[0].index)[0], layout.token_range(mine[-1].index)[1])
                part = Routing(routing.indices[:, :, rows[0] : rows[1]])
                counts[number].add(layer, part, layout, rows)
            return attend(q, k, v, layout, routing, config)

        texts = [captions[p.index] if full else no_text(captions[p.index]) for p in pieces]
        first = global_tokens if full else no_text(global_tokens)
        body = model.embed_shots(texts, z)
        x = torch.cat([model.embed_text(first).to(body.dtype), body], dim=1)
        t_all = torch.full((1, len(pieces) + 1), t, device=x.device)
        t_all[:, 0] = 0
        mod, head_mod = model.condition(t_all)
        x = model.run_blocks(x, mod, segments, cos, sin, attention)
        video = torch.cat([x[:, slice(*layout.video_range(p.index))] for p in pieces], dim=1)
        lengths = [part.shape[1] for part in z]
        predicted = model.predict(video, torch.cat(z, dim=1), head_mod[:, 1:], lengths)
        return [part.float() for part in predicted.split(lengths, dim=1)]

    z = [n for shot in story.shots for n in _noise(model, story, shot, seed, by_shot[shot.number])]
    solvers = [Solver(grid) for _ in z]
    for index in range(steps):
        for one in counts.values():
            one.step = index
        x = predict(z, grid[index], full=True)
        if scale != 1.0 and size.guides(grid[index]):
            free = predict(z, grid[index], full=False)
            x = [f + scale * (c - f) for c, f in zip(x, free, strict=True)]
        z = [s.step(index, a, b) for s, a, b in zip(solvers, z, x, strict=True)]
        on_step(0, index + 1, steps)
    seconds = (time.monotonic() - began) / len(story.shots)
    for number in shots:
        mine = by_shot[number]
        latents = np.concatenate([to_latents(z[p.index - 1][0], model) for p in mine])
        yield ShotResult(
            number=number,
            frames=to_frames(latents, model),
            latents=latents,
            routing=counts[number].table(),
            seconds=seconds,
            sparsity=counts[number].sparsity(),
            choices=counts[number].choices(size),
        )

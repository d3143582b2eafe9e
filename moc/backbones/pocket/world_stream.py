"""Streams many world stories of one shape at once, as benchmarks of memory need them, and says what each shot cost.

The path is that of `render_stream`: a shot is denoised against the kept keys of finished ones, then passed through
once more, clean. Shots can be *planted*, taken from the ground truth instead of being drawn, story by story. With
`outer_top_m` every story of the batch keeps earlier shots of its own choice.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moc.attention.mandatory import mandatory
from moc.backbones.pocket.cost import Amount, amount_of, pass_flops
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.noise import draw_noise
from moc.backbones.pocket.patches import patchify, unpatchify
from moc.backbones.pocket.planning import alone
from moc.backbones.pocket.positions import move, nearer
from moc.backbones.pocket.rendering import Guided, no_text
from moc.backbones.pocket.stream import Finished, Memory, ShotPass
from moc.config import MoCConfig
from moc.layout import Shot, TokenLayout
from moc.outer_loop import select_shots
from moc.routing import Routing
from moc.sampling import Solver
from moc.world.render import render
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch


@dataclass(frozen=True)
class ShotCost:
    """What one shot of a batch took.

    Attributes:
        number: of the shot, from 1.
        seconds: a story of the batch, wall clock.
        flops: a story, by `moc.backbones.pocket.cost`; 0 for a shot that is planted in all stories of the batch.
        kept_bytes: keys, values and descriptors of all finished shots of a story after this one.
        read_bytes: those of them that stay in play while the shot is drawn.
        peak_bytes: the most memory that the device held for the whole batch during the shot; None if not measured.
    """

    number: int
    seconds: float
    flops: float
    kept_bytes: int
    read_bytes: int
    peak_bytes: int | None


@dataclass(frozen=True)
class Streamed:
    """A batch of stories.

    Attributes:
        frames: uint8 `[B, S, F, 3, H, W]` on the CPU.
        costs: by shot.
        sparsity: share of all query-key pairs of the whole story that are never computed, as `ShotResult.sparsity`
            counts it, averaged over the shots that were drawn in some story, and the first.
    """

    frames: Tensor
    costs: list[ShotCost]
    sparsity: float


@torch.no_grad()
def stream_world(
    model: PocketDiT,
    stories: StoryBatch,
    config: MoCConfig,
    *,
    latent_frames: int,
    steps: int,
    seed: int,
    planted: Tensor | None = None,
    guidance: float | None = None,
    first_story: int = 0,
    draw: Callable[[int], Tensor] | None = None,
    peaks: bool = True,
    on_shot: Callable[[int], None] | None = None,
) -> Streamed:
    """Stream a batch of world stories.

    Noise is drawn per (seed, story, shot), so a story gets the same in any batch, unless `draw` gives other.

    Args:
        config: attention; causal with `text_links="own"`.
        latent_frames: of every shot; steps: of sampling.
        planted: `[B, S]` bool, shots that are taken from the ground truth.
        guidance: scale of classifier-free guidance, 1 for none (default: the model's own).
        first_story: number of the first story, for the noise.
        draw: the noise of the whole batch by number of the shot, asked for in order, for shots that are not planted in
            all stories; then `seed` and `first_story` count for nothing.
        peaks: measure the highest use of GPU memory, for which torch's count of it starts anew with every shot.
        on_shot: called with the number of each finished shot.

    Raises:
        ValueError: attention that can't stream, or `planted` has another shape.
    """
    shape = (stories.stories, stories.shots)
    planted = torch.zeros(shape, dtype=torch.bool) if planted is None else planted.cpu()
    if planted.shape != shape:
        raise ValueError(f"planted must be {list(shape)}, got {list(planted.shape)}")
    device, size = stories.scene.device, model.config
    guidance = size.guidance if guidance is None else guidance
    grid = size.timesteps(steps)
    streams = _Streams(model, stories, config, latent_frames, guided=guidance != 1.0)
    tally = _Attended(config, stories.stories, size.layers, size.heads)
    frames, costs, sparsities = [], [], []
    for number in range(1, stories.shots + 1):
        given = planted[:, number - 1]
        began = _start_clock(device, peaks)
        passes = streams.begin(number, tally.add)
        z = None
        if not given.all():
            guided, solver = Guided(passes, guidance, size), Solver(grid)
            if draw is None:
                z = _noise(model, shape[0], latent_frames, seed, first_story, number, device)
            else:
                z = draw(number)
            for index in range(steps):
                z = solver.step(index, z, guided.predict(z, grid[index]).to(z.dtype))
            z = z.clamp(-1, 1)
        clean = _plant(model, stories, number, latent_frames, given, z)
        if number < stories.shots:
            passes[0].finish(clean)
        frames.append(to_uint8(clean, model).cpu())
        flops = 0.0 if z is None else streams.flops(passes[0], grid[:-1], last=number == stories.shots)
        seconds, peak = _stop_clock(device, began, peaks)
        costs.append(ShotCost(number, seconds / shape[0], flops, *streams.bytes_of(passes), peak))
        if z is not None or number == 1:  # the first shot has nothing to choose from, drawn or not
            sparsities.append(tally.sparsity(passes[0], streams.memory.layout, steps))
        if on_shot is not None:
            on_shot(number)
    return Streamed(torch.stack(frames, dim=1), costs, sum(sparsities) / len(sparsities))


class _Streams:
    """The memory of a batch, and for guidance one that never keeps anything."""

    def __init__(
        self, model: PocketDiT, stories: StoryBatch, config: MoCConfig, latent_frames: int, *, guided: bool
    ) -> None:
        global_tokens, self.captions = encode_batch(stories)
        lengths = [latent_frames] * stories.shots
        self.memory = Memory(model, config, lengths, global_tokens)
        self.free = Memory(model, alone(config), lengths, no_text(global_tokens)) if guided else None
        self.config = config
        self.latent_frames = latent_frames
        self.stories = stories.stories

    def begin(self, number: int, on_route: Callable[..., None]) -> list[ShotPass]:
        """Passes of shot `number`: with its text and its past, and for guidance without either."""
        caption = self.captions[:, number - 1]
        m = self.config.outer_top_m
        chosen = None
        earlier = list(range(1, number))
        if m is not None and number - 1 > m:
            self.memory.features[number] = self.memory.model.embed_text(caption).mean(dim=1)
            chosen, earlier = self._choose(number, m), earlier[len(earlier) - m :]
        passes = [self.memory.shot(number, caption, earlier=earlier, on_route=on_route)]
        if chosen is not None:
            _put_in(passes[0], self.memory, chosen)
        if self.free is not None:
            passes.append(self.free.shot(number, no_text(caption), earlier=()))
        return passes

    def _choose(self, number: int, m: int) -> list[list[int]]:
        """The shots that each story keeps in play, by its caption's likeness to earlier ones, as `Memory.shot` does."""
        members = list(range(1, number + 1))
        features = torch.stack([self.memory.features[n] for n in members], dim=1)  # [B, n, D]
        layout = TokenLayout.from_shots(global_text=0, shots=[Shot() for _ in members], chunk_tokens="frame")
        return [select_shots(row, layout, m) for row in features]

    def flops(self, one: ShotPass, steps: Sequence[float], *, last: bool) -> float:
        """FLOPs of a story's shot: all steps, by their timesteps, and the clean pass unless nothing follows."""
        size = one.memory.model.config
        own = amount_of(size, self.config, self.latent_frames)
        others = sum([own] * len(one.earlier), Amount())
        config = self.config.replace(outer_top_m=None)  # `others` are those in play
        guided = sum(size.guides(t) for t in steps) if self.free is not None else 0
        full = (len(steps) + (not last)) * pass_flops(size, config, own, others, 1)
        return full + guided * pass_flops(size, alone(config), own, Amount(), 1)

    def bytes_of(self, passes: Sequence[ShotPass]) -> tuple[int, int]:
        """Bytes a story keeps of all finished shots, and of those in play."""
        finished = self.memory.finished
        kept, read = _bytes(finished.values()), _bytes([finished[n] for n in passes[0].earlier])
        return kept // self.stories, read // self.stories


def _bytes(finished: Iterable[Finished]) -> int:
    parts = [t for one in finished for t in (*one.keys, *one.values, *one.descriptors)]
    return sum(t.numel() * t.element_size() for t in parts)


def _put_in(one: ShotPass, memory: Memory, chosen: list[list[int]]) -> None:
    """Give each story of the batch the shots of its own choice in place of those that the pass was prepared with.

    All shots are of one length, so the pass's layout fits any of them; only what lies there differs.
    """
    for i, stand_in in enumerate(one.earlier):
        start, stop = one.layout.token_range(one.layout.shot_numbers[i])
        chunks = one.layout.chunk_ids[start], one.layout.chunk_ids[stop - 1] + 1
        for b, numbers in enumerate(chosen):
            if numbers[i] == stand_in:
                continue
            kept, turn = memory.finished[numbers[i]], nearer(one.number, numbers[i], memory.model.config.reach)
            for layer, (keys, values, descriptors) in enumerate(
                zip(kept.keys, kept.values, kept.descriptors, strict=True)
            ):
                one.keys[layer][b, :, start:stop] = move(keys[b], memory.table, turn)
                one.values[layer][b, :, start:stop] = values[b]
                one.descriptors[layer][b, :, chunks[0] : chunks[1]] = move(descriptors[b], memory.table, turn)


class _Attended:
    """Counts attended pairs of denoising passes on the device, without waiting for it."""

    def __init__(self, config: MoCConfig, stories: int, layers: int, heads: int) -> None:
        self.config = config
        self.passes = stories * layers * heads
        self.routed: Tensor | float = 0.0

    def add(self, layer: int, routing: Routing, part: TokenLayout, rows: tuple[int, int]) -> None:
        """A `RouteHook`."""
        lengths = part.to(routing.indices.device).chunk_bounds.diff().double()
        self.routed = self.routed + (lengths[routing.indices.long().clamp(min=0)] * (routing.indices >= 0)).sum()

    def sparsity(self, one: ShotPass, whole: TokenLayout, steps: int) -> float:
        """1 - density of the shot that was counted since the last call, over the length of the whole story."""
        links = mandatory(one.layout, self.config, (one.start, one.layout.length), one.layout.device)
        always = sum((g.q_stop - g.q_start) * g.num_keys for g in links.groups)
        routed, self.routed = float(self.routed) / (self.passes * steps), 0.0
        return 1 - (always + routed) / (one.rows * whole.length)


def _noise(
    model: PocketDiT, count: int, latent_frames: int, seed: int, first: int, number: int, device: torch.device
) -> Tensor:
    parts = []
    for story in range(first, first + count):
        digest = hashlib.sha256(f"{seed} {story} {number}".encode()).digest()
        generator = torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        parts.append(draw_noise((1,), latent_frames, model.config, generator=generator, device=device))
    return torch.cat(parts)


def _plant(
    model: PocketDiT, stories: StoryBatch, number: int, latent_frames: int, given: Tensor, drawn: Tensor | None
) -> Tensor:
    """Clean patches `[B, V, patch_values]`: what was drawn, and the ground truth where it is given."""
    if not given.any():
        assert drawn is not None
        return drawn
    where = given.to(stories.scene.device)
    truth = render(
        stories[where], frames=latent_frames * model.config.patch_frames, device=where.device,
        shots=slice(number - 1, number),
    ).frames[:, 0]  # fmt: skip
    patches = patchify(truth, model.config).float() / 127.5 - 1
    if drawn is None:
        return patches
    drawn = drawn.clone()
    drawn[where] = patches.to(drawn.dtype)
    return drawn


def to_uint8(clean: Tensor, model: PocketDiT) -> Tensor:
    """Clean patches in [-1, 1] to uint8 frames `[..., F, 3, H, W]`."""
    return unpatchify(clean.float(), model.config).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def _start_clock(device: torch.device, peaks: bool) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    if device.type == "cuda" and peaks:
        torch.cuda.reset_peak_memory_stats(device)
    return time.monotonic()


def _stop_clock(device: torch.device, began: float, peaks: bool) -> tuple[float, int | None]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.monotonic() - began
    return seconds, torch.cuda.max_memory_allocated(device) if device.type == "cuda" and peaks else None

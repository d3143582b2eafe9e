"""Streaming: shots are finished one after the other, and finished shots are kept as keys and values.

Under causal routing with `text_links="own"` nothing in an earlier shot depends on a later one, so a finished shot is
passed through the network once more with its clean patches, and its keys, values and chunk descriptors serve every
shot after it. A new shot's rows are the only ones computed while it is denoised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moc.attention import attend
from moc.attention.patterns import fitted
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.positions import move, nearer, rotation_table, rotations, seat, shot_positions
from moc.config import MoCConfig
from moc.layout import Shot, TokenLayout
from moc.outer_loop import select_shots
from moc.routing import Routing, pool, route
from moc.sampling import Solver
from moc.world.schema import COLUMNS, FACT_ID

# called with (layer, routing, layout, q_range) of every denoising pass
RouteHook = Callable[[int, Routing, TokenLayout, tuple[int, int]], None]


@dataclass
class Finished:
    """What one finished shot leaves behind, per layer: keys, values `[B, H, n, D]`, descriptors `[B, H, C, D]`."""

    keys: list[Tensor]
    values: list[Tensor]
    descriptors: list[Tensor]


class Memory:
    """Keys and values of the global text and of finished shots, and the shots in play for the next one.

    Args:
        model: the network, in eval mode.
        config: attention; must be causal with `text_links="own"`.
        frames: latent frames of every shot of the story, by number from 1.
        global_tokens: int64 `[B, G, TOKEN_SIZE]`; B stories of one shape are streamed together.

    Raises:
        ValueError: an attention setting under which a later shot would change an earlier one.
    """

    def __init__(self, model: PocketDiT, config: MoCConfig, frames: Sequence[int], global_tokens: Tensor) -> None:
        if config.text_links != "own":
            raise ValueError(
                f'streaming needs text_links: own, not {config.text_links!r}: under "all" later captions reach back '
                "into finished shots; use mode: joint"
            )
        if not config.causal:
            raise ValueError("streaming needs causal: true, because a finished shot can't look ahead; use mode: joint")
        self.model = model
        self.config = config
        size = model.config
        self.layout = self.layout_of(model, config, frames)
        self.device = global_tokens.device
        self.table = rotation_table(size).to(self.device)
        self.finished: dict[int, Finished] = {}
        self.features: dict[int, Tensor] = {}
        self._begin(global_tokens)

    @staticmethod
    def layout_of(model: PocketDiT, config: MoCConfig, frames: Sequence[int]) -> TokenLayout:
        """Layout of a story whose shots have `frames` latent frames."""
        size = model.config
        layout = TokenLayout.from_shots(
            global_text=size.global_tokens,
            shots=[Shot(text=size.caption_tokens, frames=n, tokens_per_frame=size.tokens_per_frame) for n in frames],
            chunk_tokens=config.chunk_tokens,
        )
        return fitted(layout, config)

    def _begin(self, global_tokens: Tensor) -> None:
        # the global text attends to itself alone, whatever follows
        size = self.model.config
        cos, sin = rotations(torch.zeros(size.global_tokens, 4, device=self.device), self.table)
        x = self.model.embed_text(global_tokens)
        mod, _ = self.model.condition(torch.zeros(1, 1, device=self.device))
        layout = TokenLayout.from_shots(global_text=size.global_tokens, shots=[], chunk_tokens=self.config.chunk_tokens)
        kept = Finished([], [], [])

        def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            kept.keys.append(k)
            kept.values.append(v)
            kept.descriptors.append(pool(k, layout))
            return attend(q, k, v, layout, route(q, k, layout, self.config), self.config)

        self.model.run_blocks(x, mod, (size.global_tokens,), cos, sin, attention)
        self.finished[0] = kept

    def shot(
        self,
        number: int,
        caption: Tensor,
        *,
        earlier: Sequence[int] | None = None,
        without: Collection[int] = (),
        on_route: RouteHook | None = None,
    ) -> ShotPass:
        """Prepare denoising of shot `number` with int64 `caption` `[B, T, 2]` against finished shots before it.

        Args:
            earlier: those that stay in play; when None, all of them or, with `outer_top_m`, the most relevant ones
                (App. I): features are the mean text embeddings of the captions, which both shots have before a single
                pixel exists (our choice of layer). A caption that continues the shot before it always keeps that one.
            without: finished shots that are out of play before any are chosen.
            on_route: called with the routing of every layer of every denoising pass.
        """
        self.features[number] = self.model.embed_text(caption).mean(dim=1)
        if earlier is None:
            earlier = sorted(n for n in self.finished if 0 < n < number and n not in without)
            m = self.config.outer_top_m
            if m is not None and len(earlier) > m:
                goes_on = bool((caption[:, 0, COLUMNS["cut"]] == FACT_ID["cut", "continue"]).any())
                kept = earlier[-1:] if goes_on and m and earlier[-1] == number - 1 else []
                earlier = self._preselect(number, earlier[: len(earlier) - len(kept)], m - len(kept)) + kept
        return ShotPass(self, number, earlier, caption, on_route)

    def _preselect(self, number: int, earlier: list[int], m: int) -> list[int]:
        members = [*earlier, number]
        missing = [n for n in members if n not in self.features]
        if missing:
            raise ValueError(f"shots {missing} are finished but their captions were never given")
        features = torch.stack([self.features[n] for n in members], dim=1)
        layout = TokenLayout.from_shots(global_text=0, shots=[Shot() for _ in members], chunk_tokens="frame")
        return [members[n - 1] for n in select_shots(features, layout, m)]


class ShotPass:
    """One shot against a fixed set of finished shots: `predict` while denoising, `finish` once it is clean."""

    def __init__(
        self, memory: Memory, number: int, earlier: Sequence[int], caption: Tensor, on_route: RouteHook | None
    ) -> None:
        self.memory = memory
        self.number = number
        self.earlier = list(earlier)
        self.caption = caption
        self.on_route = on_route
        self.layout, _ = memory.layout.select([*self.earlier, number])
        size = memory.model.config
        own = memory.layout.shots[number - 1]
        self.rows = own.text + own.video
        self.start = self.layout.length - self.rows
        positions = shot_positions(size, seat(number), own.frames).to(memory.device)
        self.cos, self.sin = rotations(positions, memory.table)
        parts = [memory.finished[n] for n in (0, *self.earlier)]
        layers = range(size.layers)
        # room for the new rows behind the history, so that a step writes them in place
        self.keys = [self._with_room([p.keys[layer] for p in parts]) for layer in layers]
        self.values = [self._with_room([p.values[layer] for p in parts]) for layer in layers]
        self.descriptors = [torch.cat([p.descriptors[layer] for p in parts], dim=2) for layer in layers]
        self._bring_near(parts)

    def _bring_near(self, parts: Sequence[Finished]) -> None:
        """Turn the copied keys and descriptors of shots further back than training's to where it has shown some."""
        reach, device = self.memory.model.config.reach, self.memory.device
        moves = [0, *(nearer(self.number, n, reach) for n in self.earlier)]
        if not any(moves):
            return

        def each(counts: list[int]) -> Tensor:
            repeats = torch.tensor(counts, device=device)
            return torch.tensor(moves, device=device).repeat_interleave(repeats, output_size=sum(counts))

        tokens = each([part.keys[0].shape[2] for part in parts])
        chunks = each([part.descriptors[0].shape[2] for part in parts])
        for layer, keys in enumerate(self.keys):
            keys[:, :, : self.start] = move(keys[:, :, : self.start], self.memory.table, tokens)
            self.descriptors[layer] = move(self.descriptors[layer], self.memory.table, chunks)

    def _with_room(self, parts: list[Tensor]) -> Tensor:
        first = parts[0]
        room = first.new_empty(first.shape[0], first.shape[1], self.layout.length, first.shape[3])
        torch.cat(parts, dim=2, out=room[:, :, : self.start])
        return room

    def predict(self, z: Tensor, t: float) -> Tensor:
        """Clean patches `[B, V, patch_values]` from noisy ones `z` at timestep `t`."""
        x, head_mod = self._run(z, t, self._attention)
        return self.memory.model.predict(x[:, self.caption.shape[1] :], z, head_mod, (z.shape[1],))

    def sample(self, noise: Tensor, grid: list[float], *, on_step: Callable[[int], None] | None = None) -> Tensor:
        """Denoise from `noise` `[B, V, patch_values]` over the timestep `grid`; clean patches in [-1, 1]."""
        solver = Solver(grid)
        z = noise
        for index in range(len(grid) - 1):
            z = solver.step(index, z, self.predict(z, grid[index]).to(z.dtype))
            if on_step is not None:
                on_step(index + 1)
        return z.clamp(-1, 1)

    def finish(self, clean: Tensor) -> None:
        """Pass the finished shot through once more, clean, and keep its keys and values for later shots."""
        kept = Finished([], [], [])

        def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = self._attention(layer, q, k, v, record=False)
            kept.keys.append(k.clone())
            kept.values.append(v.clone())
            kept.descriptors.append(self._own_descriptors(k))
            return out

        self._run(clean, 0.0, attention)
        self.memory.finished[self.number] = kept

    def _run(self, patches: Tensor, t: float, attention: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        model = self.memory.model
        x = model.embed_shots([self.caption], [patches])
        mod, head_mod = model.condition(torch.full((1, 1), t, device=patches.device))
        return model.run_blocks(x, mod, (self.rows,), self.cos, self.sin, attention), head_mod

    def _own_descriptors(self, k: Tensor) -> Tensor:
        return pool(k, self.layout, token_range=(self.start, self.layout.length))

    def _attention(self, layer: int, q: Tensor, k: Tensor, v: Tensor, record: bool = True) -> Tensor:
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, self.start :] = k
        values[:, :, self.start :] = v
        rows = (self.start, self.layout.length)
        config = self.memory.config
        descriptors = torch.cat([self.descriptors[layer], self._own_descriptors(k)], dim=2)
        routing = route(q, keys, self.layout, config, q_range=rows, descriptors=descriptors, layer=layer)
        if record and self.on_route is not None:
            self.on_route(layer, routing, self.layout, rows)
        return attend(q, keys, values, self.layout, routing, config, q_range=rows)

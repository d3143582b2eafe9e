"""Do routes find what attention would look at? Choices of chunks held against the exact attention of the same queries.

    python benchmarks/route_quality.py OUT.json --stories 16                     # shots of 8 s: minutes a story
    python benchmarks/route_quality.py OUT.json --stories 16 --latent-frames 4   # of 2 s: half a minute a story
    python benchmarks/route_quality.py OUT.json OTHER.json --tables              # of what was measured, put together

The earlier shots of a story of memory are the truth, kept as keys in the way `moc generate` keeps them; the last shot
is the truth mixed with noise at timestep t. One pass of the network over it, layer after layer as MoC goes, gives
queries, whose exact softmax over *all* keys says how much each earlier chunk would get: its *mass*. Two questions:

- **Of mass**: how much of the mass on the past lies in the chunks that a way of choosing takes (*covered*), how often
  is the chunk with most of it among them (*found*), and do both mass and routes go to the shots that matter: those of
  the same place, or with one of the same characters?
- **Of pictures**: the network predicts the clean shot. Each story has a twin that is told in the same words, but whose
  people and places look otherwise wherever no caption says how. The predictions of twins differ by what is remembered
  alone: *carried* is how far they differ along the way their truths do, 0 without memory, 1 for a model that knows.

Only the last shot's choice changes; the keys of earlier shots are those of MoC as trained, in every row.
Shape letters as in `moc.routing`; N the chunks of the past, all of one latent frame, P tokens each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from route_quality_tables import AXES, RELATIONS, joined, tables
from torch import Tensor

from moc.attention import attend
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.noise import draw_noise
from moc.backbones.pocket.patches import patchify
from moc.backbones.pocket.positions import rotation_table
from moc.backbones.pocket.stream import Memory, ShotPass
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.config import MoCConfig
from moc.routing import Routing, route, top_chunks
from moc.world.recurrence import recurring_stories
from moc.world.render import render
from moc.world.schema import CHARACTER_ATTRIBUTES, CHARACTER_OPEN, PLACE_ATTRIBUTES, PLACE_OPEN
from moc.world.story import StoryBatch
from moc.world.tokens import encode_batch

CONFIG = MoCConfig.preset("pocket").replace(chunk_tokens="frame", top_k=5)  # what scores are told for
WIDE = (10, 20)
"""Values of k beside the preset's own."""
ENOUGH = 0.1
"""Share of a query's mass that must lie in the past for the query to count as one that looks back."""
DRAWN = 64
"""Stories to take from: how many are drawn decides which."""
SCORES = ("mean", "content", "parts", "best token", "spread", "mass")


def chunk_score(
    name: str, logits_HQNP: Tensor, q_HQD: Tensor, keys_HNPD: Tensor, free: Tensor, grid: tuple[int, int]
) -> Tensor:
    """[H, Q, N] scores of chunks, from the unscaled logits of their tokens.

    Args:
        name: `mean` is MoC's, the logit of the mean key; `content` takes only the channels that positions don't turn;
            `parts` the best of the means of six parts of the frame, a half by a third; `best token` the largest logit;
            `spread` the mean plus half the variance that a diagonal covariance of the chunk's keys gives, which is a
            log-sum-exp to second order; `mass` the exact log-sum-exp, which no descriptor can beat.
        free: [D] bool, channels without rotation.
        grid: rows and columns of a frame's tokens.

    Raises:
        ValueError: there is no score of that name.
    """
    scale = q_HQD.shape[-1] ** -0.5
    if name == "mean":
        return logits_HQNP.mean(-1)
    if name == "content":
        return q_HQD[..., free] @ keys_HNPD[..., free].mean(2).mT
    if name == "parts":
        high, wide = (2 if grid[0] % 2 == 0 else 1), (3 if grid[1] % 3 == 0 else 1)
        blocks = logits_HQNP.unflatten(-1, (wide, grid[1] // wide, high, grid[0] // high))  # tokens run down columns
        return blocks.mean((-3, -1)).flatten(-2).amax(-1)
    if name == "best token":
        return logits_HQNP.amax(-1)
    if name == "spread":
        variance = torch.einsum("hqd,hnd->hqn", q_HQD.square(), keys_HNPD.var(2, unbiased=False))
        return logits_HQNP.mean(-1) * scale + variance * scale**2 / 2
    if name == "mass":
        return torch.logsumexp(logits_HQNP * scale, -1)
    raise ValueError(f"no score {name!r}; there are {', '.join(SCORES)}")


def one_each(scores: Tensor, k: int, per_shot: int) -> Tensor:
    """[..., k] ranks: the best chunks of as many shots as there are, before any shot gets a second one.

    Args:
        scores: [..., N], N a multiple of `per_shot`, the chunks of one shot side by side.
    """
    by_shot = scores.unflatten(-1, (-1, per_shot))
    order = by_shot.argsort(-1, descending=True).argsort(-1)  # a chunk's place within its shot
    low, high = scores.amin(-1, keepdim=True), scores.amax(-1, keepdim=True)
    level = (scores - low) / (high - low).clamp_min(1e-6)  # 0 to 1, so that places within shots decide first
    return top_chunks(level - 2 * order.flatten(-2), k)


def redrawn(story: StoryBatch, generator: torch.Generator) -> tuple[StoryBatch, StoryBatch, StoryBatch]:
    """The one story told with other looks that no caption names: other people, other places, both.

    Only who and what the last shot shows again is changed, since nothing can be remembered of what is new in it.
    """
    seen = [{who for row in story.cast[0, :-1].tolist() for who in row}, set(story.scene[0, :-1].tolist())]
    back = [{who for who in story.cast[0, -1].tolist() if who >= 0} & seen[0], {int(story.scene[0, -1])} & seen[1]]
    characters, scenes = story.characters.clone(), story.scenes.clone()
    for table, named, slots, names, values in (
        (characters, story.characters_named, back[0], CHARACTER_OPEN, CHARACTER_ATTRIBUTES),
        (scenes, story.scenes_named, back[1], PLACE_OPEN, PLACE_ATTRIBUTES),
    ):
        columns = list(values)
        for slot in slots:
            for name in names:
                at, count = columns.index(name), len(values[name])
                told = bool(named[0, slot, at])
                if name == "hat":  # a caption that tells its colour tells that there is one
                    told = told or bool(named[0, slot, columns.index("hat_color")])
                if not told:
                    step = int(torch.randint(1, count, (), generator=generator))
                    table[0, slot, at] = (table[0, slot, at] + step) % count
    return (
        replace(story, characters=characters),
        replace(story, scenes=scenes),
        replace(story, characters=characters, scenes=scenes),
    )


class LastShot:
    """The last shot of a story and of its redrawn twin against their finished shots, under any choice of chunks.

    Both twins get the same captions, the same noise and the same noisy picture of the first one.

    Raises:
        ValueError: captions tell the twins apart.
    """

    def __init__(self, model: PocketDiT, story: StoryBatch, latent_frames: int, seed: int) -> None:
        size, self.model = model.config, model
        generator = torch.Generator().manual_seed(seed)
        told = (story, *redrawn(story, generator))
        both = StoryBatch(*(torch.cat([getattr(one, f.name) for one in told]) for f in fields(story)))
        texts, captions = encode_batch(both)
        if bool((texts != texts[:1]).any()) or bool((captions != captions[:1]).any()):
            raise ValueError("captions tell apart what should be open")
        twins, last = [0, len(told) - 1], story.shots
        memory = Memory(model, CONFIG, [latent_frames] * last, texts[twins])
        for number in range(1, last + 1):
            frames = render(both, frames=latent_frames * size.patch_frames, shots=slice(number - 1, number)).frames
            patches = patchify(frames[:, 0], size).float() / 127.5 - 1  # [4, V, patch_values]
            self.one: ShotPass = memory.shot(number, captions[twins, number - 1])
            if number < last:
                self.one.finish(patches[twins])
        self.truth = patches[twins]
        people, place = (patches[i] != patches[0] for i in (1, 2))
        self.where = {"people": people, "places": place & ~people}
        self.noise = draw_noise((1,), latent_frames, size, generator=generator)
        self.text = size.caption_tokens
        self.per_shot = latent_frames
        self.past = (~self.one.layout.chunk_is_text & (self.one.layout.chunk_shot < last)).nonzero()[:, 0]  # [N] ids
        bounds = self.one.layout.chunk_bounds
        self.tokens = torch.cat([torch.arange(int(bounds[c]), int(bounds[c + 1])) for c in self.past])
        self.relation = relations(story)

    def predict(self, t: float, attention: Callable[..., Tensor]) -> Tensor:
        """Clean patches [2, V, patch_values] that both twins predict at timestep t.

        Args:
            attention: called with layer, queries of the shot, all keys, all values.
        """
        one, model = self.one, self.model
        z = ((1 - t) * self.truth[:1] + t * self.noise).expand(2, -1, -1)

        def inside(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = one.keys[layer], one.values[layer]
            keys[:, :, one.start :], values[:, :, one.start :] = k, v
            return attention(layer, q, keys, values)

        x = model.embed_shots([one.caption], [z])
        mod, head_mod = model.condition(torch.full((1, 1), t))
        x = model.run_blocks(x, mod, (one.rows,), one.cos, one.sin, inside)
        return model.predict(x[:, self.text :], z, head_mod, (z.shape[1],)).float()

    def carried(self, made: Tensor) -> dict[str, tuple[float, float]]:
        """By owner, what the twins' predictions differ along the way their truths do, and how much those do.

        The first by the second is 0 for a model that remembers nothing of what was redrawn, 1 for one that knows it.
        """
        made_apart, apart = made[1] - made[0], self.truth[1] - self.truth[0]
        return {
            name: (float((made_apart * apart)[at].sum()), float(apart[at].square().sum()))
            for name, at in self.where.items()
        }

    def configured(self, config: MoCConfig) -> Callable[..., Tensor]:
        """Attention under a config, by the engine's own rule."""
        rows = (self.one.start, self.one.layout.length)

        def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            chosen = route(q, k, self.one.layout, config, q_range=rows, layer=layer)
            return attend(q, k, v, self.one.layout, chosen, config, q_range=rows)

        return attention

    def parted(self, q_HLD: Tensor, k_HLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of one twin: unscaled logits [H, Q, N, P] of the past, video queries [H, Q, D], its keys [H, N, P, D]."""
        queries, keys = q_HLD[:, self.text :], k_HLD[:, self.tokens]
        shape = (len(self.past), -1)
        return (queries @ keys.mT).unflatten(2, shape), queries, keys.unflatten(1, shape)

    def score(self, name: str, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """`chunk_score` of this shot."""
        return chunk_score(name, *parts, unturned(self.model), self.model.config.grid)

    def choose(self, name: str, k: int, parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """[H, Q, k] ranks of chunks by a score, or by `one_each` of MoC's own."""
        if name == "one each":
            return one_each(self.score("mean", parts), k, self.per_shot)
        return top_chunks(self.score(name, parts), k)

    def by_scores(self, name: str, k: int = CONFIG.top_k) -> Callable[..., Tensor]:
        """Attention whose routes go by a score."""
        rows = (self.one.start, self.one.layout.length)
        config = CONFIG.replace(top_k=k)

        def attention(layer: int, q: Tensor, keys: Tensor, v: Tensor) -> Tensor:
            ranks = torch.stack([self.choose(name, k, self.parted(a, b)) for a, b in zip(q, keys, strict=True)])
            found = torch.where(ranks >= 0, self.past[ranks.clamp(min=0)], -1)
            indices = torch.nn.functional.pad(found, (0, 0, self.text, 0), value=-1).int()
            return attend(q, keys, v, self.one.layout, Routing(indices), config, q_range=rows)

        return attention

    def measure(self, layer: int, q: Tensor, k: Tensor) -> dict[str, Tensor]:
        """All numbers of mass for one layer, [H] each."""
        parts = _, queries, keys = self.parted(q[0], k[0])
        scale = q.shape[-1] ** -0.5
        mass = self.score("mass", parts)
        near = torch.ones(k.shape[2], dtype=torch.bool)
        near[self.tokens] = False
        near &= ~self.one.layout.is_text | self._own_text()
        rest = torch.logsumexp(queries @ k[0][:, near].mT * scale, -1)  # own shot, caption and global text
        past = torch.logsumexp(mass, -1)
        weight = torch.sigmoid(past - rest)  # [H, Q] of a query's mass, what lies in the past
        share = (mass - past[..., None]).exp()  # [H, Q, N] of that, each chunk's
        total = weight.sum(-1).clamp_min(1e-12)
        back = (weight > ENOUGH).float()
        some = back.sum(-1).clamp_min(1)
        best = share.argmax(-1, keepdim=True)
        found: dict[str, Tensor] = {"mass on the past": weight.mean(-1), "look back": back.mean(-1)}
        entropy = -(share * share.clamp_min(1e-12).log()).sum(-1)
        found["chunks that share it"] = (entropy.exp() * weight).sum(-1) / total

        def weigh(per_query: Tensor) -> Tensor:
            return (per_query * weight).sum(-1) / total

        usual = f"mean, k = {CONFIG.top_k}"
        asked = [(name, CONFIG.top_k) for name in (*SCORES, "one each")]
        asked += [(name, k) for name in ("mean", "mass") for k in WIDE]
        choices = {f"{name}, k = {k}": self.choose(name, k, parts) for name, k in asked}
        for name, ranks in choices.items():
            there, at = ranks >= 0, ranks.clamp(min=0)
            found[f"covered: {name}"] = weigh((share.gather(-1, at) * there).sum(-1))
            hit = ((at == best) & there).any(-1).float()
            found[f"found: {name}"] = (hit * back).sum(-1) / some
        routed = torch.zeros_like(share).scatter_(-1, choices[usual].clamp(min=0), 1.0)
        routed = routed / routed.sum(-1, keepdim=True)
        frame = torch.arange(len(self.past)) % self.per_shot
        own = torch.arange(queries.shape[1]) // keys.shape[2]
        same_frame = (frame[None] == own[:, None]).float()  # [Q, N]
        for who, what in (("mass", share), ("routes", routed)):
            for name, shots in self.relation.items():
                found[f"{who}: {name}"] = weigh((what * self._of_shots(shots)).sum(-1))
            found[f"{who}: shot before"] = weigh(what[..., -self.per_shot :].sum(-1))
            found[f"{who}: frame of the same number"] = weigh((what * same_frame).sum(-1))
            by_shot = what.unflatten(-1, (-1, self.per_shot)).sum(-1)
            found[f"{who}: shots reached"] = weigh((by_shot > 0.05).float().sum(-1))
        for axis, part in self._parts(queries, keys.mean(2)).items():
            found[f"variance: {axis}"] = weigh(part)
        return found

    def _own_text(self) -> Tensor:
        layout = self.one.layout
        return layout.is_text & ((layout.shot_ids == 0) | (layout.shot_ids == layout.shot_numbers[-1]))

    def _of_shots(self, shots: Sequence[int]) -> Tensor:
        return torch.isin(self.one.layout.chunk_shot[self.past], torch.tensor(list(shots))).float()

    def _parts(self, queries: Tensor, means: Tensor) -> dict[str, Tensor]:
        """[H, Q] by axis: the share of the variance of MoC's scores over the chunks that its channels bring, which is
        their part's covariance with the whole score by the variance of that. The shares of all axes sum to one."""
        axis = axis_of(self.model)
        whole = queries @ means.mT
        whole = whole - whole.mean(-1, keepdim=True)
        power = whole.square().mean(-1).clamp_min(1e-12)
        found = {}
        for i, name in enumerate(AXES):
            part = queries[..., axis == i] @ means[..., axis == i].mT
            found[name] = ((part - part.mean(-1, keepdim=True)) * whole).mean(-1) / power
        return found


def axis_of(model: PocketDiT) -> Tensor:
    """[D] which of `AXES` turns each channel of a head, 0 for none."""
    table = rotation_table(model.config)
    axis = torch.where(table.abs().sum(1) > 0, table.abs().argmax(1) + 1, 0)
    return torch.cat([axis, axis])  # channel pairs lie half a head apart


def unturned(model: PocketDiT) -> Tensor:
    """[D] bool: channels without rotation."""
    return axis_of(model) == 0


def relations(story: StoryBatch) -> dict[str, list[int]]:
    """Numbers of the earlier shots by what they share with the last one, each in one list."""
    place = story.scene[0]
    cast = [{who for who in row if who >= 0} for row in story.cast[0].tolist()]
    found: dict[str, list[int]] = {name: [] for name in RELATIONS}
    for shot in range(story.shots - 1):
        same_place, same_people = bool(place[shot] == place[-1]), bool(cast[shot] & cast[-1])
        name = "both" if same_place and same_people else "same place" if same_place else "same character"
        found[name if same_place or same_people else "neither"].append(shot + 1)
    return found


def arms(shot: LastShot) -> dict[str, Callable[..., Tensor]]:
    """Attention by the name of the choice, for what predictions carry."""
    k = CONFIG.top_k
    found = {
        "no routes": shot.configured(CONFIG.replace(top_k=0)),
        f"random, k = {k}": shot.configured(CONFIG.replace(pattern="random")),
        **{f"mean, k = {wide}": shot.configured(CONFIG.replace(top_k=wide)) for wide in (k, *WIDE)},
        "dense": shot.configured(CONFIG.replace(pattern="dense")),
    }
    return found | {f"{name}, k = {k}": shot.by_scores(name) for name in (*SCORES[1:], "one each")}


@torch.no_grad()
def measure_story(model: PocketDiT, story: StoryBatch, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One story: numbers of mass by name [times][layers][heads], what predictions carry by choice [times]."""
    shot = LastShot(model, story, args.latent_frames, seed)
    mass: dict[str, list[list[list[float]]]] = {}
    usual = shot.configured(CONFIG)
    for t in args.times:
        layers: dict[str, list[list[float]]] = {}

        def attention(
            layer: int, q: Tensor, k: Tensor, v: Tensor, layers: dict[str, list[list[float]]] = layers
        ) -> Tensor:
            for name, value in shot.measure(layer, q, k).items():
                layers.setdefault(name, []).append([round(x, 5) for x in value.tolist()])
            return usual(layer, q, k, v)

        shot.predict(t, attention)
        for name, rows in layers.items():
            mass.setdefault(name, []).append(rows)
    carried = {
        name: [shot.carried(shot.predict(t, choice)) for t in args.carried_times] for name, choice in arms(shot).items()
    }
    base = {name: len(shots) / (story.shots - 1) for name, shots in shot.relation.items()}
    return {"mass": mass, "carried": carried, "base": base}


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("out", type=Path, nargs="+", help="the file to write; with --tables any number of them to read")
    found.add_argument("--first", type=int, default=0, help="stories to leave out, where several processes share them")
    found.add_argument("--stories", type=int, default=16)
    found.add_argument("--shots", type=int, default=8)
    found.add_argument("--latent-frames", type=int, default=16)
    found.add_argument("--seed", type=int, default=2024)
    found.add_argument("--times", type=float, nargs="+", default=[1.0, 0.9, 0.5])
    found.add_argument("--carried-times", type=float, nargs="+", default=[1.0, 0.9])
    found.add_argument("--weights", type=Path, default=SHIPPED)
    found.add_argument("--tables", action="store_true", help="measure nothing")
    return found


def main() -> None:
    """Measure story after story, keep what is there, print the tables."""
    args = parser().parse_args()
    if not args.tables:
        model = load_model(args.weights, "cpu")
        generator = torch.Generator().manual_seed(args.seed)
        stories, _ = recurring_stories(DRAWN, args.shots, generator=generator)
        told: dict[str, Any] = {
            "shots": args.shots, "latent_frames": args.latent_frames, "seed": args.seed, "times": args.times,
            "carried_times": args.carried_times, "weights_sha256": fingerprint(args.weights),
            "torch": torch.__version__, "stories": [], "per_story": [],
        }  # fmt: skip
        for number in range(args.first, min(args.first + args.stories, DRAWN)):
            began = time.monotonic()
            told["per_story"].append(measure_story(model, stories[number : number + 1], args, args.seed + number))
            told["stories"].append(number)
            args.out[0].write_text(json.dumps(told), encoding="utf-8")
            print(f"story {number + 1}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(tables(joined(args.out)))


if __name__ == "__main__":
    main()

"""How much of a look do values hold, layer by layer?

    python benchmarks/value_readers.py OUT.json                         180 stories of 2 s shots, ten minutes on a CPU
    python benchmarks/value_readers.py OUT.json --weights mine.safetensors --pieces 8

Memory passes through values: what a clean token's value does not hold cannot be carried, and what a noisy token's does
not hold cannot be drawn. Linear readers are fitted to the values of single tokens, more of them figures' than their
area has, and tried on the last quarter of the stories: clean tokens are asked how their owner looks, noisy ones how an
owner looks whom earlier shots have shown, whether captions name it or not. Routes are as in sampling, without drops.

A second table says how much of its attention a noisy token gives to tokens of its owner in earlier shots, were none of
them out of reach: the mean over figures' tokens, head by head. Tokens at another height of a figure count less, as in
the lesson of recognition.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from moc.training.config import parse
from moc.training.data import RoutedAttention, make_piece
from moc.training.lessons import UNSEEN
from moc.training.loop import Trainer
from moc.world.schema import CHARACTER_ATTRIBUTES, PLACE_ATTRIBUTES

KINDS = ("clean", "noisy")
NAMES = (*CHARACTER_ATTRIBUTES, *PLACE_ATTRIBUTES)
STORIES = 4  # of a piece
HELD_OUT = 0.25
RIDGE = 2e-3


class Watched:
    """The attention of a piece, and how much of it the queries of figures give to their owner's earlier tokens."""

    def __init__(self, attention: RoutedAttention) -> None:
        assert attention.lessons is not None
        self.attention, self.lessons = attention, attention.lessons
        self.figures = self.lessons.looks[1][..., 0] != UNSEEN  # kinds are characters'
        self.shares: dict[int, Tensor] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        share = self.lessons.shares(q, k)[0].exp()
        self.shares[layer] = share.transpose(0, 1)[:, self.figures]
        return self.attention(layer, q, k, v)


def read_values(
    weights: str, pieces: int, top_k: int, seed: int
) -> tuple[dict[tuple[str, int], tuple[Tensor, Tensor]], dict[int, list[float]]]:
    """By kind of token and layer: values `[N, width]` and looks `[N, attributes]`, story after story; and by layer, the
    mean share of each head."""
    stage = {"steps": 1, "stories": STORIES, "latent_frames": 4, "shots": 8, "top_k": top_k}
    settings = {
        "init": weights,
        "shift": 6.0,
        "reading": 1.0,
        "micro_stories": STORIES,
        "seed": seed,
        "stages": [stage],
    }
    undisturbed = ("drop_routes", "drop_text", "near_clean_history", "continued", "drop_off_max", "drop_in_rate")
    config = parse(settings | {"stages": [stage], "clean_history": 1.0} | dict.fromkeys(undisturbed, 0.0))
    trainer = Trainer(config, Path(), torch.device("cpu"))
    found: dict[tuple[str, int], list[tuple[Tensor, Tensor]]] = {}
    shares: dict[int, list[Tensor]] = {}
    began = time.monotonic()
    for number in range(pieces):
        piece = make_piece(config, trainer.model_config, config.stages[0], number, 0, trainer.device)
        attention = Watched(RoutedAttention(config, config.stages[0], trainer.model_config, number, piece))
        with torch.no_grad():
            trainer.network(piece, attention)
        for layer, share in attention.shares.items():
            shares.setdefault(layer, []).append(share)
        for kind, layer, values in attention.lessons.read:
            looks = attention.lessons.looks[kind]
            found.setdefault((KINDS[kind], layer), []).append((values.flatten(0, 1), looks.flatten(0, 1)))
        print(f"{number + 1} of {pieces} pieces, {time.monotonic() - began:.0f} s", flush=True)
    values = {
        where: (torch.cat([v for v, _ in rows]), torch.cat([x for _, x in rows])) for where, rows in found.items()
    }
    return values, {layer: torch.cat(rows, 1).mean(1).tolist() for layer, rows in shares.items()}


def share_read(values: Tensor, look: Tensor) -> dict[str, float]:
    """Share of held-out tokens whose look a linear reader tells, and what the commonest value would get."""
    train = int(len(look) * (1 - HELD_OUT))
    values = (values - values[:train].mean(0)) / (values[:train].std(0) + 1e-4)
    values = torch.cat([values, values.new_ones(len(values), 1)], 1)
    weight = torch.zeros(values.shape[1], int(look.max()) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=25, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(values[:train] @ weight, look[:train]) + RIDGE * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    hit = ((values[train:] @ weight).argmax(1) == look[train:]).float()
    common = (look[train:] == look[:train].mode().values).float()
    return {"read": hit.mean().item(), "commonest": common.mean().item(), "tokens": float(len(look))}


def main(words: list[str] | None = None) -> None:
    """Reads, fits, prints a table and writes everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="shipped")
    parser.add_argument("--pieces", type=int, default=45, help=f"of {STORIES} stories each")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--seed", type=int, default=77)
    args = parser.parse_args(words)
    found, shares = read_values(args.weights, args.pieces, args.top_k, args.seed)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for (kind, layer), (values, looks) in sorted(found.items()):
        row = {}
        for i, name in enumerate(NAMES):
            there = looks[:, i] != UNSEEN
            if int(there.sum()) >= 40:
                row[name] = share_read(values[there].float(), looks[there, i])
        table[f"{kind} {layer}"] = row
    about = {"weights": Path(args.weights).name, "pieces": args.pieces, "top_k": args.top_k, "seed": args.seed}
    args.out.write_text(json.dumps({**about, "layers": table, "shares": shares}, indent=1))
    names = [name for name in NAMES if all(name in row for row in table.values())]
    print(f"| values of | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}")
    last = list(table)[-1]
    for where, number in [("commonest value", "commonest"), *((where, "read") for where in table)]:
        row = table[last if number == "commonest" else where]
        print(f"| {where} | " + " | ".join(f"{100 * row[name][number]:.0f}" for name in names) + " |")
    heads = [f"head {head}" for head in range(len(next(iter(shares.values()))))]
    print(f"\n| share, layer | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}")
    for layer, row_of_heads in sorted(shares.items()):
        print(f"| {layer} | {' | '.join(f'{100 * share:.1f}' for share in row_of_heads)} |")


if __name__ == "__main__":
    main()

"""Does a pocket model remember? Recall, kappa and chance of what no caption names, against ground truth.

    python benchmarks/memory.py --table planted --stories 256 --save planted.csv
    python benchmarks/memory.py --table free --stories 2 --shots 4 --latent-frames 2 --steps 4   # a look, on a CPU
    python benchmarks/memory.py --table planted --shots 64 --stories 32 --outer-top-m 5 --plot cost.png

"planted" gives the model the shots in which somebody is first seen, from the ground truth with uniformly drawn
attributes; "free" lets it draw everything. What is measured, and how, is in docs/memory.md. `--json` prints one object
with everything; without it, tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from memory_tables import plot_cost, print_tables

from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.planning import STEPS
from moc.backbones.pocket.weights import SHIPPED, fingerprint, load_model
from moc.config import MoCConfig
from moc.metrics.memory import TABLES
from moc.metrics.memory_experiment import Experiment, report, run
from moc.world.reader import load_reader


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--table", choices=TABLES, required=True)
    found.add_argument("--stories", type=positive, default=256)
    found.add_argument("--shots", type=positive, default=8, help="a story (default: 8)")
    found.add_argument("--latent-frames", type=positive, default=16, help="a shot; 16 are 8 s (default: 16)")
    found.add_argument("--top-k", type=int, help="chunks that a token picks; 0 for no routes")
    found.add_argument("--chunk-tokens", type=chunk, help="tokens of a chunk, or frame (default: the preset's)")
    found.add_argument("--outer-top-m", type=int, help="earlier shots that stay in play (default: all)")
    found.add_argument("--random-routes", action="store_true", help="short for --pattern random")
    found.add_argument("--pattern", help="attention pattern (default: moc)")
    found.add_argument("--weights", type=Path, default=SHIPPED)
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    found.add_argument("--guidance", type=float, help="1 for none (default: the model's own)")
    found.add_argument("--steps", type=positive, default=STEPS)
    found.add_argument("--seed", type=int, default=2024)
    found.add_argument("--split", choices=["train", "heldout", "any"], default="heldout")
    found.add_argument("--batch", type=positive, help="stories at a time (default: by their length)")
    found.add_argument("--no-motion", action="store_true", help="skip the measurement of motion")
    found.add_argument("--save", type=Path, metavar="CSV", help="every reading; motion beside it as NAME.motion.csv")
    found.add_argument("--plot", type=Path, metavar="PNG", help="cost and memory by shot")
    found.add_argument("--json", action="store_true", help="print one object")
    return found


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def chunk(text: str) -> int | str:
    """A whole number from 1 on, or "frame"."""
    return text if text == "frame" else positive(text)


def experiment_of(args: argparse.Namespace) -> Experiment:
    """What the options ask for.

    Raises:
        ValueError: attention settings outside their range, or two patterns at once.
    """
    if args.random_routes and args.pattern not in (None, "random"):
        raise ValueError(f"--random-routes is --pattern random and can't go with --pattern {args.pattern}")
    changes = {
        "top_k": args.top_k, "outer_top_m": args.outer_top_m,
        "chunk_tokens": args.chunk_tokens,
        "pattern": "random" if args.random_routes else args.pattern,
    }  # fmt: skip
    config = MoCConfig.preset("pocket").replace(**{name: x for name, x in changes.items() if x is not None})
    return Experiment(
        table=args.table, stories=args.stories, shots=args.shots, latent_frames=args.latent_frames, config=config,
        steps=args.steps, guidance=args.guidance, seed=args.seed, split=args.split, batch=args.batch,
        motion=not args.no_motion,
    )  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Render, read, count, save."""
    experiment = experiment_of(args)
    model, reader = load_model(args.weights, args.device), load_reader(args.device)
    result = run(experiment, model, reader, device=args.device, on_shot=Progress())
    if args.save:
        result.rows.to_csv(args.save, index=False)
        if result.motion is not None:
            result.motion.to_csv(args.save.with_suffix(".motion.csv"), index=False)
    return {**report(experiment, result), "source": source_of(args, model)}


def source_of(args: argparse.Namespace, model: PocketDiT) -> dict[str, Any]:
    """What numbers were measured with."""
    return {
        "weights": args.weights.name, "weights_sha256": fingerprint(args.weights), "torch": torch.__version__,
        "device": torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else args.device,
        "guidance": model.config.guidance if args.guidance is None else args.guidance,
    }  # fmt: skip


class Progress:
    """Says on stderr how far rendering is, at most every ten seconds, with the time left."""

    def __init__(self) -> None:
        self.began = self.said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` shots are there."""
        now = time.monotonic()
        if now - self.said >= 10 or done == total:
            self.said = now
            left = (now - self.began) * (total - done) / done
            print(f"{done} of {total} shots, {now - self.began:.0f} s, about {left:.0f} s left", file=sys.stderr)


def main() -> None:
    """Parse, measure, print."""
    args = parser().parse_args()
    try:
        found = measure(args)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if args.plot:
        plot_cost([("", found)], args.plot)
    if args.json:
        print(json.dumps(found, allow_nan=False))
    else:
        print_tables(found)


if __name__ == "__main__":
    main()

"""Weights between those of a model and those of one that was trained further from it.

    python benchmarks/mix_weights.py pocket.safetensors longer.safetensors OUT.safetensors --share 0.7

What training on one sort of stories won, and what it lost of others, can both be had in part: along the line between
the two, what either knows fades slowly (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). Sizes and
sampling are those of the second file, so are the parameters that the first has not (a skip, which begins closed and so
counts as zero there). The card tells both files.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from moc.backbones.pocket.config import OF_SAMPLING, PocketConfig
from moc.backbones.pocket.weights import fingerprint, read_config, read_metadata
from moc.training import checkpoint


def mix(first: Path, second: Path, share: float) -> tuple[dict[str, Tensor], PocketConfig, dict[str, object]]:
    """Float32 weights (1 - share) first + share second, their sizes and their card.

    Raises:
        InputError: a file is no weights of the pocket model.
        ValueError: the models differ in size, or the share is not from 0 to 1.
    """
    from safetensors.torch import load_file

    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
    old, new = read_config(first), read_config(second)
    sampled = {name: getattr(new, name) for name in OF_SAMPLING}
    if replace(old, **sampled, skip=old.skip or new.skip) != new:
        raise ValueError(f"{first} and {second} hold models of different sizes")
    a, b = load_file(first), load_file(second)
    weights = {name: torch.lerp(a[name].float() if name in a else torch.zeros(x.shape), x.float(), share)
               for name, x in b.items()}  # fmt: skip
    card = json.loads(read_metadata(second)["card"])
    card["mixed"] = [{"sha256": fingerprint(path), "share": round(part, 6)}
                     for path, part in ((first, 1 - share), (second, share))]  # fmt: skip
    return weights, new, card


def main() -> None:
    """As above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second")
    args = parser.parse_args()
    weights, size, card = mix(args.first, args.second, args.share)
    checkpoint.save_weights(args.out, weights, size.to_dict(), card)
    print(f"{args.out}: sha256 {fingerprint(args.out)}")


if __name__ == "__main__":
    main()

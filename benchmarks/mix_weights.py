"""Means of weights: of a model and of what was trained further from it.

    python benchmarks/mix_weights.py OUT.safetensors pocket.safetensors=0.3 longer.safetensors=0.7

What training on one sort of stories won, and what it lost of others, can both be had in part: along the line between
two such models, what either knows fades slowly (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022; of
several, Model soups, ICML 2022). Sizes and sampling are those of the last file; parameters that another has not (a
skip, which begins closed) count as zero there. The card is that of the last file and tells all files and shares.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from moc.backbones.pocket.config import OF_SAMPLING, PocketConfig
from moc.backbones.pocket.weights import fingerprint, read_config, read_metadata
from moc.training import checkpoint


def mix(files: Mapping[Path, float]) -> tuple[dict[str, Tensor], PocketConfig, dict[str, object]]:
    """Float32 weights, each file's times its share; the sizes and the card of the last.

    Raises:
        InputError: a file is no weights of the pocket model.
        ValueError: the models differ in size, or the shares are not positive or don't sum to one.
    """
    from safetensors.torch import load_file

    if not all(share > 0 for share in files.values()) or not math.isclose(sum(files.values()), 1, abs_tol=1e-6):
        raise ValueError(f"shares must be positive and sum to 1, got {', '.join(map(str, files.values()))}")
    last = next(reversed(files))
    size = read_config(last)
    sampled = {name: getattr(size, name) for name in OF_SAMPLING}
    weights = {name: torch.zeros(x.shape) for name, x in load_file(last).items()}
    for path, share in files.items():
        own = read_config(path)
        if replace(own, **sampled, skip=own.skip or size.skip) != size:
            raise ValueError(f"{path} and {last} hold models of different sizes")
        for name, value in load_file(path).items():
            weights[name] += share * value.float()
    card = json.loads(read_metadata(last)["card"])
    card["mixed"] = [{"sha256": fingerprint(path), "share": share} for path, share in files.items()]
    return weights, size, card


def part(text: str) -> tuple[Path, float]:
    """A file and its share, from FILE=SHARE."""
    path, _, share = text.rpartition("=")
    try:
        return Path(path), float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no FILE=SHARE") from None


def main() -> None:
    """As above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=part, nargs="+", metavar="FILE=SHARE")
    args = parser.parse_args()
    weights, size, card = mix(dict(args.files))
    checkpoint.save_weights(args.out, weights, size.to_dict(), card)
    print(f"{args.out}: sha256 {fingerprint(args.out)}")


if __name__ == "__main__":
    main()

"""What a trained arm remembers: the planted table of benchmarks/memory.py, under the attention it was trained with.

    python benchmarks/measure_arm.py runs/patterns/dense --stories 256 --latent-frames 4

Reads the weights and the recorded config of the folder and writes `memory.json` and `readings.csv` there. Attention
that can't stream is measured with all shots denoised together, where nothing can be planted: the free table. `--joint`
does that beside the planted one, for arms that are held against such a one (`memory_joint.json`).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from arms import RECORD, SIZES, WEIGHTS

from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.weights import fingerprint, load_model
from moc.config import MoCConfig
from moc.metrics.memory import summary
from moc.metrics.memory_experiment import Experiment, report, run
from moc.metrics.world import readings
from moc.run.device import resolve_device
from moc.run.files import atomic, write_json
from moc.training.config import parse
from moc.training.samples import joint_stories
from moc.world.reader import Reader, load_reader
from moc.world.recurrence import NAMED, recurring_stories


def planted(
    model: PocketDiT, reader: Reader, moc: MoCConfig, sizes: dict[str, int], seed: int, device: torch.device
) -> tuple[dict[str, Any], Any]:
    """Numbers and readings of the planted table."""
    experiment = Experiment(
        table="planted", stories=sizes["stories"], shots=sizes["shots"], latent_frames=sizes["latent_frames"],
        steps=sizes["steps"], config=moc, seed=seed, motion=False, batch=64,
    )  # fmt: skip
    result = run(experiment, model, reader, device=device)
    return report(experiment, result), result.rows


@torch.no_grad()
def joint(
    model: PocketDiT, reader: Reader, moc: MoCConfig, sizes: dict[str, int], seed: int, device: torch.device
) -> tuple[dict[str, Any], Any]:
    """Numbers and readings of stories whose shots are denoised together."""
    import pandas as pd

    generator = torch.Generator().manual_seed(seed)
    everything, _ = recurring_stories(
        sizes["stories"], sizes["shots"], generator=generator, split="heldout", named=NAMED
    )
    tables = []
    for first in range(0, sizes["stories"], 32):
        stories = everything[first : min(first + 32, sizes["stories"])].to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            frames = joint_stories(
                model, stories, latent_frames=sizes["latent_frames"], steps=sizes["steps"], seed=seed + first, moc=moc
            )
        rows = readings(stories, frames, reader, open_hats=True)
        tables.append(rows.assign(planted=False, story=rows["story"] + first))
    table = pd.concat(tables, ignore_index=True)
    told = summary(table, "free", stories=sizes["stories"])
    return {"table": "free", "mode": "joint", **told, "experiment": {**sizes, "config": asdict(moc)}}, table


def main() -> None:
    """Parse, measure, write."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("folder", type=Path)
    found.add_argument("--device", default="auto")
    found.add_argument("--joint", action="store_true")
    for name, value in SIZES.items():
        found.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    args = found.parse_args()
    config = parse(yaml.safe_load((args.folder / RECORD).read_text(encoding="utf-8")))
    moc = config.attention(config.stages[-1])
    device = torch.device(resolve_device(args.device))
    weights = args.folder / WEIGHTS
    model, reader = load_model(weights, str(device)), load_reader(str(device))
    sizes = {name: getattr(args, name) for name in SIZES if name != "seed"}
    streams = moc.causal and moc.text_links == "own"
    wanted = {"memory": planted} if streams else {"memory": joint}
    if streams and args.joint:
        wanted["memory_joint"] = joint
    for name, measure in reversed(wanted.items()):  # the file that says that all is done comes last
        told, rows = measure(model, reader, moc, sizes, args.seed, device)
        readings_of = "readings" if name == "memory" else "readings_joint"
        with atomic(args.folder / f"{readings_of}.csv.gz") as temporary:
            rows.to_csv(temporary, index=False, compression="gzip")
        source = {"weights_sha256": fingerprint(weights), "device": device.type, "torch": torch.__version__}
        write_json(args.folder / f"{name}.json", {**told, "source": source})
        means = {owner: part["recall"] for owner, part in told["means"].items()}
        print(args.folder.name, told["table"], means, flush=True)


if __name__ == "__main__":
    main()

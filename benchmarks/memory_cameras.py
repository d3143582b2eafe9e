"""Is somebody remembered less well who was small when he was first seen? Recall of people by the first look's camera.

    python benchmarks/memory_cameras.py benchmarks/results/memory-0.5/planted.csv.gz \\
        benchmarks/results/memory-0.5-quarters/planted.csv.gz

Reads what `memory.py --save` or `memory_runs.py` kept of planted stories, where a first look is the truth itself, so
that what is told apart is how it is read and not how it was drawn. In wide and panning shots figures are small, in
panning ones they move through the picture besides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from memory_tables import markdown, ranged

from moc.metrics.memory import DRAWS, OPEN, estimate, mean_recall, pairs, resamples
from moc.world.schema import CAMERAS


def by_camera(path: Path) -> dict[str, tuple[float, tuple[float, float]]]:
    """Mean recall of the attributes of people, with its 95 % interval over stories, by the camera of the first look.

    Raises:
        ValueError: the file holds no planted first look.
    """
    import pandas as pd

    rows = pd.read_csv(path)
    people = rows[rows["owner"] == "character"]
    first = people[people["planted"]].groupby(["story", "slot"])["shot"].min().reset_index()
    if first.empty:
        raise ValueError(f"{path} holds no planted first look")
    shots = rows[rows["attribute"] == "camera"][["story", "shot", "truth"]]
    seen = first.merge(shots, on=["story", "shot"]).set_index(["story", "slot"])["truth"].rename("camera")
    told = rows.join(seen, on=["story", "slot"])
    weights = resamples(int(rows["story"].max()) + 1, draws=DRAWS, seed=0)
    found = {}
    for camera, name in enumerate(CAMERAS):
        part = told[(told["owner"] == "character") & (told["camera"] == camera)].drop(columns="camera")
        looks = pairs(part, "planted")
        value = estimate(mean_recall(looks, OPEN["character"], stories=weights.shape[1], weights=weights))
        found[name] = value.value, (value.low, value.high)
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Parse, read, print."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("readings", type=Path, nargs="+")
    args = asked.parse_args(given)
    try:
        columns = [by_camera(path) for path in args.readings]
    except (ValueError, OSError, KeyError) as error:
        sys.exit(f"error: {error}")
    rows = [["first look", *(str(path) for path in args.readings)]]
    rows += [[camera, *(ranged(*column[camera]) for column in columns)] for camera in CAMERAS]
    print(markdown(rows))


if __name__ == "__main__":
    main()

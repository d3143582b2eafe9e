"""The process that runs the `vbench` package for `moc.metrics.vbench`. A script: needs nothing of moc.

    python vbench_worker.py REQUEST.json RESULT.json

The request holds `device`, `out` and `jobs`, each with a `name`, a folder of `videos` and `dimensions`; the result has
for each job the single videos' entries by dimension, as VBench gives them. It may
run under an older Python than moc does, 3.8 or newer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(request_file: str, result_file: str) -> None:
    """Run every job."""
    # Python looks into a script's own folder first, where another module is called vbench
    own = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != own]
    from vbench import VBench

    request = json.loads(Path(request_file).read_text())
    results = []
    for job in request["jobs"]:
        bench = VBench(request["device"], "", request["out"])  # the prompt list is of its standard mode alone
        bench.evaluate(
            videos_path=job["videos"], name=job["name"], dimension_list=job["dimensions"], local=True,
            mode="custom_input",
        )  # fmt: skip
        scores = json.loads((Path(request["out"]) / f"{job['name']}_eval_results.json").read_text())
        results.append({dimension: videos for dimension, (_, videos) in scores.items()})
    Path(result_file).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:3])

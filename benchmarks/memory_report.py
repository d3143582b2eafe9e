"""Writes the tables and plots of docs/memory.md from what `memory_runs.py` measured.

    python benchmarks/memory_report.py benchmarks/results/memory-0.6

The folder `patterns` within it, where there is one, is what `compare_memory.py --out` left. A table whose
case was not measured says so. Text outside the markers stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from memory_actions import actions_table, read_actions
from memory_patterns import lead_lines, pattern_table, plot_patterns, points, read_patterns, readable_table
from memory_streams import read_streams, streams_rows
from memory_tables import (
    Found,
    kappa_by_gap_rows,
    kappa_rows,
    markdown,
    motion_lines,
    motion_table,
    named_rows,
    percent,
    plot_cost,
    plot_recall,
    ranged,
    recall_rows,
)

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "memory.md"
IMAGES = ROOT / "docs" / "images"
CHANGES = {
    "no_routes": "no routes (`top_k: 0`)",
    "k1": "routes, k = 1", "k1_random": "random, k = 1",
    "k2": "routes, k = 2", "k2_random": "random, k = 2",
    "k5": "routes, k = 5", "k5_random": "random, k = 5",
    "planted": "routes, k = 20", "k20_random": "random, k = 20",
    "k40": "routes, k = 40",
}  # fmt: skip
LONG = {
    "shots24": "24 shots", "shots24_outer": "24 shots, `outer_top_m: 5`",
    "shots64": "64 shots", "shots64_outer": "64 shots, `outer_top_m: 5`",
}  # fmt: skip
SHORT = ("planted", "seconds4", "seconds2", "seconds1")
"""Stories by the length of their shots."""
NO_CASES = {"leads", "patterns", "actions", "streams"}
"""What is told beside the cases."""
Cases = Mapping[str, Found]


def read_cases(folder: Path) -> dict[str, Found]:
    """Everything measured, by case; `leads` among them, `patterns`, `actions` and `streams`."""
    cases = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    others: dict[str, Found | None] = {
        "patterns": read_patterns(folder / "patterns"),
        "actions": read_actions(folder),
        "streams": read_streams(folder, [case for case in LONG if case in cases]),
    }
    for name, more in others.items():
        if more is not None:
            cases[name] = more
    return cases


def goals(cases: Cases) -> str:
    """What was aimed at beside what was measured."""
    rows = [["goal", "measured", ""]]

    def add(goal: str, value: float | None, met: Callable[[float], bool], note: str = "") -> None:
        said = "" if value is None else percent(value) + (f" ({note})" if note else "")
        rows.append([goal, said or "not measured", "" if value is None else "met" if met(value) else "**not met**"])

    planted, free, none = cases.get("planted"), cases.get("free"), cases.get("no_routes")
    if planted:
        add("80 % sparsity", planted["sparsity"], lambda x: x >= 0.8)
        named = planted["named"]
        add("what captions name is right: 95 %", named["right"], lambda x: x >= 0.95)
        add("and in combinations never trained on", named["heldout_right"], lambda x: x >= 0.95)
        for gap, least in (("1", 0.97), ("7", 0.95)):
            name, value = _worst(planted, gap)
            add(
                f"recall at gap {gap}, every attribute: {least:.0%}", value, lambda x, m=least: x >= m, f"worst, {name}"
            )
    if free:
        drawn = {n: p["distance_from_uniform"] for n, p in free["attributes"].items() if p.get("distance_from_uniform")}
        name = max(drawn, key=lambda n: drawn[n]) if drawn else ""
        add("free draws within 10 points of uniform", drawn.get(name), lambda x: x <= 0.1, f"worst, {name}")
    if none:
        kappas = [none["means"][owner]["kappa"] for owner in none["means"]]
        known = [abs(kappa) for kappa in kappas if kappa is not None]
        value = max(known, default=None)
        said = "not measured" if value is None else f"kappa {max(kappas, key=abs):.2f}"
        verdict = "" if value is None else "met" if value <= 0.05 else "**not met**"
        rows.append(["without routes recall is chance (kappa within 0.05)", said, verdict])
        add("without routes what captions name is right: 90 %", none["named"]["right"], lambda x: x >= 0.9)
    leads = cases.get("leads") or cases.get("patterns", {}).get("leads", {})
    for k, lead in sorted(leads.items(), key=lambda item: int(item[0][1:])):
        low = min((part["low"] for part in lead.values() if part["low"] is not None), default=None)
        if k in ("k1", "k2") and low is not None:
            said = "; ".join(f"{owner}s {points(part)}" for owner, part in lead.items())
            few = "" if cases.get("leads") else f" ({cases['patterns']['stories']} stories)"
            rows.append([f"routes lead random ones at k = {k[1:]}{few}", said, "met" if low > 0 else "**not met**"])
    return markdown(rows)


def _worst(found: Found, gap: str) -> tuple[str, float | None]:
    by_name = {n: p["recall_by_gap"].get(gap) for n, p in found["attributes"].items() if "recall_by_gap" in p}
    known = {name: value for name, value in by_name.items() if value is not None}
    return min(known.items(), key=lambda item: item[1]) if known else ("", None)


def table_of(case: str) -> Callable[[Cases], str]:
    """Everything about one case."""

    def said(cases: Cases) -> str:
        found = cases[case]
        parts = [
            f"{found['stories']} stories of {found['shots']} shots, sparsity {percent(found['sparsity'])}. Recall in "
            "percent, with its 95 % interval, by shots since last seen:",
            markdown(recall_rows(found)),
            "Kappa, likewise:",
            markdown(kappa_by_gap_rows(found)),
            "Against collapse:",
            markdown(kappa_rows(found)),
            "What captions name:",
            markdown(named_rows(found)),
        ]
        if found["motion"]:
            parts += ["Motion:", "\n".join(f"- {line}" for line in motion_lines(found)), markdown(motion_table(found))]
        return "\n\n".join(parts)

    return said


def free(cases: Cases) -> str:
    """The free table, and what is left of it without routes."""
    parts = [table_of("free")(cases)]
    if "free_no_routes" in cases:
        means = cases["free_no_routes"]["means"]
        said = ", ".join(
            f"{owner}s {part['kappa']:.2f} ({part['kappa_interval'][0]:.2f} to {part['kappa_interval'][1]:.2f})"
            for owner, part in means.items()
            if part["kappa"] is not None and None not in part["kappa_interval"]
        )
        parts.append(
            "Without routes, where looks agree by habit, by shared light and by the reader's errors alone, kappa is: "
            f"{said or 'not known'}."
        )
    return "\n\n".join(parts)


def changes(cases: Cases) -> str:
    """One row a setting: what remains of memory, and of what is named."""
    rows = [["setting", "recall of people", "kappa", "recall of places", "kappa", "named", "sparsity"]]
    for case, label in CHANGES.items():
        if case in cases:
            found = cases[case]
            cells = []
            for owner in ("character", "place"):
                part = found["means"][owner]
                kappa = part["kappa"]
                cells += [ranged(part["recall"], part["recall_interval"]), "" if kappa is None else f"{kappa:.2f}"]
            rows.append([label, *cells, percent(found["named"]["right"]), percent(found["sparsity"])])
    lines = lead_lines(cases.get("leads", {}))
    picture = _picture("memory_recall", "Recall by shots since last seen, by setting")
    return "\n\n".join([markdown(rows), *([lines] if lines else []), picture])


def patterns(cases: Cases) -> str:
    """The shipped weights under every pattern."""
    told = cases["patterns"]
    parts = [pattern_table(told), lead_lines(told["leads"])]
    if told["readable"]:
        parts += ["The same of the looks at people that can be read, which are fewer under some patterns:",
                  readable_table(told)]  # fmt: skip
    return "\n\n".join([*filter(None, parts), _picture("memory_patterns", "Recall, chance and cost by pattern")])


def short(cases: Cases) -> str:
    """Stories of shorter shots beside those of long ones."""
    rows = [["shots of", "stories", "recall of people", "kappa", "recall of places", "kappa", "named right",
             "never combined in training", "goes as told", "sparsity", "on"]]  # fmt: skip
    for found in (cases[case] for case in SHORT if case in cases):
        named, moved, source = found["named"], found.get("motion") or {}, found["source"]
        cells = []
        for part in found["means"].values():
            kappa = part["kappa"]
            cells += [ranged(part["recall"], part["recall_interval"]), "" if kappa is None else f"{kappa:.2f}"]
        rows.append([
            f"{found['experiment']['latent_frames'] / 2:g} s", str(found["stories"]), *cells,
            ranged(named["right"], named["interval"]), percent(named["heldout_right"]),
            percent(moved.get("moves_as_told")), percent(found["sparsity"]), source["device"],
        ])  # fmt: skip
    return markdown(rows)


def stream_labels(cases: Cases) -> dict[str, str]:
    """Labels of the long streams by case; they say in how many steps one was drawn where that is not as in the planted
    table."""
    usual = cases["planted"]["experiment"]["steps"] if "planted" in cases else None
    labels = {}
    for case, label in LONG.items():
        if case in cases:
            steps = cases[case]["experiment"]["steps"]
            labels[case] = label if usual in (None, steps) else f"{label}, {steps} steps"
    return labels


def long_streams(cases: Cases) -> dict[str, Found]:
    """Long streams by label."""
    return {label: cases[case] for case, label in stream_labels(cases).items()}


def long(cases: Cases) -> str:
    """Recall by gap, people and places, for long streams, and how much of what is named is right along them."""
    found = long_streams(cases)
    gaps = sorted({int(gap) for one in found.values() for gap in one["means"]["character"]["recall_by_gap"]})
    rows = [["stream", "whose", *(f"gap {gap}" for gap in gaps)]]
    for label, one in found.items():
        for owner, part in one["means"].items():
            values = [part["recall_by_gap"].get(str(gap)) for gap in gaps]
            rows.append([label, f"{owner}s", *("" if value is None else f"{100 * value:.0f}" for value in values)])
    parts = [markdown(rows), _picture("memory_long", "Recall by shots since last seen in long streams")]
    if "streams" in cases:
        parts.append(markdown(streams_rows(cases["streams"], stream_labels(cases))))
    return "\n\n".join(parts)


def cost(cases: Cases) -> str:
    """The first drawn shots and the last ones of long streams."""
    rows = [["stream", "shot", "seconds", "TFLOP", "MiB kept so far", "MiB in play", "GiB at most, whole batch"]]
    for label, found in long_streams(cases).items():
        told = [one for one in found["cost"] if one["flops"] and one["seconds"] is not None]
        for i in sorted({0, len(told) // 2, len(told) - 2} & set(range(len(told)))):
            one = told[i]
            peak = "" if one["peak_bytes"] is None else f"{one['peak_bytes'] / 2**30:.1f}"
            kept, read = (f"{one[name] / 2**20:,.0f}" for name in ("kept_bytes", "read_bytes"))
            flops = f"{one['flops'] / 1e12:.2f}"
            rows.append([label, str(one["shot"]), f"{one['seconds']:.3f}", flops, kept, read, peak])
    return "\n\n".join([markdown(rows), _picture("memory_cost", "What each shot of a long stream costs")])


def _picture(name: str, says: str) -> str:
    return f"![{says}](images/{name}.webp)"


def source(cases: Cases) -> str:
    """What everything was measured with."""
    kinds = {
        f"Weights `{c['source']['weights']}`, sha256 `{c['source']['weights_sha256'][:16]}`, guidance "
        f"{c['source']['guidance']:g}, {c['experiment']['steps']} steps; {c['source']['device']}, torch "
        f"{c['source']['torch']}."
        for name, c in cases.items()
        if name not in NO_CASES
    }
    return "\n".join(sorted(kinds))


SECTIONS: dict[str, tuple[Callable[[Cases], str], tuple[str, ...]]] = {
    "source": (source, ()),
    "goals": (goals, ("planted",)),
    "planted": (table_of("planted"), ("planted",)),
    "actions": (lambda cases: actions_table(cases["actions"]), ("actions",)),
    "free": (free, ("free",)),
    "changes": (changes, ("planted",)),
    "patterns": (patterns, ("patterns",)),
    "short": (short, ()),
    "long": (long, ()),
    "cost": (cost, ()),
}
"""How each part of the page is written, and the cases without which it can't be."""


def fill(text: str, cases: Cases) -> str:
    """The page with every part between its markers written anew.

    Raises:
        ValueError: a marker is missing.
    """
    for name, (write, needs) in SECTIONS.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
        if not pattern.search(text):
            raise ValueError(f"{PAGE.name} holds no '{begin}' ... '{end}' to fill")
        measured = all(case in cases for case in needs) and (needs or _any_for(name, cases))
        lines = write(cases) if measured else "*Not measured with the shipped weights yet.*"
        text = pattern.sub(lambda _, b=begin, x=lines, e=end: f"{b}\n{x}\n{e}", text, count=1)
    return text


def _any_for(name: str, cases: Cases) -> bool:
    of_its_own = {"long": set(LONG), "cost": set(LONG), "short": set(SHORT[1:])}
    return bool(set(cases) & of_its_own.get(name, set(cases) - NO_CASES))


def plots(cases: Cases, out: Path) -> list[Path]:
    """The pictures for which there is something to show."""
    made = []
    curves = [(label, cases[case]) for case, label in (*CHANGES.items(),) if case in cases]
    chosen = [(label.replace("`", ""), found) for label, found in curves if "k = 2" not in label]
    for name, runs in (
        ("memory_recall", chosen),
        ("memory_long", [(label.replace("`", ""), found) for label, found in long_streams(cases).items()]),
    ):
        if runs:
            plot_recall(runs, out / f"{name}.webp")
            made.append(out / f"{name}.webp")
    if "patterns" in cases:
        plot_patterns(cases["patterns"], out / "memory_patterns.webp")
        made.append(out / "memory_patterns.webp")
    streams = [(label.replace("`", ""), found) for label, found in long_streams(cases).items()]
    if streams:
        plot_cost(streams, out / "memory_cost.webp")
        made.append(out / "memory_cost.webp")
    return made


def main() -> None:
    """Fill the page, draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--images", type=Path, default=IMAGES)
    args = parser.parse_args()
    cases: dict[str, Any] = read_cases(args.folder)
    args.page.write_text(fill(args.page.read_text(encoding="utf-8"), cases), encoding="utf-8")
    for path in plots(cases, args.images):
        print(path)


if __name__ == "__main__":
    main()

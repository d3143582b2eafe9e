"""What `moc generate` shows: the plan of a dry run and the summary of a finished one, as tables and as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from moc_cli.console import amount, clock, tell

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from moc.backbones.base import Plan
    from moc.run import Outcome
    from moc.storyboard import Storyboard


def plan_dict(plan: Plan, work: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """A plan as plain data; `draw` names the shots that would be drawn and `takes` their variants (shot, take)."""
    flops = {shot.number: shot.flops for shot in plan.shots}
    return {
        "draw": [number for number, take in work if take == 1],
        "takes": [list(pair) for pair in work if pair[1] > 1],
        **asdict(plan),
        "total": {
            "seconds": sum(shot.seconds for shot in plan.shots),
            "frames": sum(shot.frames for shot in plan.shots),
            "tokens": sum(shot.tokens for shot in plan.shots),
            "tokens_with_text": sum(shot.tokens + shot.text_tokens for shot in plan.shots),
            "chunks": sum(shot.chunks for shot in plan.shots),
            "flops_to_draw": sum(flops[number] for number, _ in work),
        },
    }


def print_plan(console: Console, plan: Plan, work: Sequence[tuple[int, int]], story: Storyboard) -> None:
    """The tables of a dry run: sizes and cost a shot with its takes, then the words a shot."""
    times = Counter(number for number, _ in work)
    table = _table(story.title or "Plan")
    for name in ("shot", "id"):
        table.add_column(name, no_wrap=True)
    for name in ("video", "frames", "latent", "chunks", "tokens", "text", "TFLOP"):
        table.add_column(name, justify="right", no_wrap=True)
    for shot in plan.shots:
        cost = f"{times[shot.number] * shot.flops / 1e12:.3g}" if shot.number in times else "kept"
        counts = (shot.frames, shot.latent_frames, shot.chunks, shot.tokens, shot.text_tokens)
        table.add_row(str(shot.number), shot.id, f"{shot.seconds:g} s", *(f"{value:,}" for value in counts), cost)
    total = plan_dict(plan, work)["total"]
    tokens, text = total["tokens"], total["tokens_with_text"] - total["tokens"]
    counts = (total["frames"], sum(shot.latent_frames for shot in plan.shots), total["chunks"], tokens, text)
    cost = f"{total['flops_to_draw'] / 1e12:.3g}"
    table.add_section()
    table.add_row("", "all", f"{total['seconds']:g} s", *(f"{value:,}" for value in counts), cost)
    console.print(table)
    memory = amount(plan.memory_bytes, "B")
    tell(console, f"{plan.model}, {plan.width}x{plan.height} at {plan.fps:g} frames a second, about {memory} of memory")
    for note in plan.notes:
        tell(console, f"note: {note}")
    if plan.understanding:
        console.print()
        console.print(_words(plan))


def _words(plan: Plan) -> Table:
    """What the model reads, a row a shot; words that do nothing stand below those that do."""
    from rich.text import Text

    table = _table("Words")
    table.add_column("shot", no_wrap=True)
    table.add_column("read as")
    ids = {shot.number: shot.id for shot in plan.shots}
    for words in plan.understanding:
        lines = [", ".join(f"{said} → {meaning}" for said, meaning in words.understood) or "-"]
        if words.silent:
            lines.append(f"known, but draws nothing: {', '.join(words.silent)}")
        text = Text("\n".join(lines))
        if words.unknown:
            unknown = ", ".join(_unknown(word, nearest) for word, nearest in words.unknown)
            text.append(f"\nnot understood: {unknown}", style="yellow")
        table.add_row(f"{words.number} {ids[words.number]}" if words.number else "all shots", text)
    return table


def _unknown(word: str, nearest: Sequence[str]) -> str:
    return f"{word} (nearest: {', '.join(nearest)})" if nearest else word


def unknown_words(plan: Plan, numbers: Sequence[int]) -> list[str]:
    """A sentence for each shot of `numbers` (and the words that all share) with words the model does not know."""
    ids = {shot.number: f"shot {shot.number} ({shot.id})" for shot in plan.shots} | {0: "the story's own words"}
    return [
        f"{ids[words.number]}: not understood: {', '.join(_unknown(word, near) for word, near in words.unknown)}."
        for words in plan.understanding
        if words.unknown and (words.number == 0 or words.number in numbers)
    ]


def outcome_dict(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """What a run left, as plain data."""
    manifest, folder = outcome.manifest, outcome.folder
    times = manifest["timings"].get("shots", {})
    keys = ("number", "id", "take", "seed", "frames", "seconds", "sparsity", "stale", "changed")
    return {
        "status": manifest["status"],
        "out": str(folder.path),
        "video": str(folder.video),
        "contact_sheet": str(folder.contact_sheet),
        "manifest": str(folder.manifest),
        "routing": str(folder.routing),
        "seconds": manifest["video"]["seconds"],
        "rendered": outcome.rendered,
        "takes": [list(pair) for pair in outcome.drawn if pair[1] > 1],
        "used": [list(pair) for pair in outcome.used.items()],
        "stale": manifest["stale"],
        "changed": manifest["changed"],
        "missing": manifest["missing"],
        "remember": manifest["remember"],
        "forget": manifest["forget"],
        "renew": outcome.renew,
        "shots": [
            {key: shot[key] for key in keys}
            | {"clip": str(folder.path / shot["clip"]), "wall_seconds": times.get(str(shot["number"]))}
            for shot in manifest["shots"]
        ],
        "wall_seconds": round(seconds, 3),
    }


def print_outcome(console: Console, outcome: Outcome, seconds: float) -> None:
    """The summary: a row a shot, where the files are, and what to do about stale shots."""
    from moc.run.selection import format_shots

    manifest = outcome.manifest
    times = manifest["timings"].get("shots", {})
    table = _table(manifest["title"] or None)
    table.add_column("shot", no_wrap=True)
    table.add_column("id", no_wrap=True)
    for name in ("video", "time", "sparsity"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for shot in manifest["shots"]:
        number = shot["number"]
        spent = clock(times[str(number)]) if number in outcome.rendered and str(number) in times else "kept"
        marks = [word for word in ("stale", "changed") if shot[word]]
        marks += ["from another run"] * (shot.get("lent") is not None)
        if shot.get("forgets"):
            marks.append(f"forgets {format_shots(shot['forgets'])}")
        if len(shot["takes"]) > 0:
            marks.append(f"take {shot['take']} of {max(shot['take'], *(take['take'] for take in shot['takes']))}")
        table.add_row(
            str(number), shot["id"], f"{shot['seconds']:g} s", spent, f"{shot['sparsity']:.1%}", ", ".join(marks)
        )
    console.print(table)
    if manifest["shots"]:
        tell(console, "sparsity: share of all query-key pairs of the story that were never computed")
    for number, take in outcome.used.items():
        tell(console, f"Shot {number} now shows take {take}.")
    if not outcome.drawn and not outcome.used:
        tell(console, "Nothing had to be drawn.")
    for number, take in outcome.drawn:
        if take > 1:
            clip = outcome.folder.clip(number, manifest["shots"][number - 1]["id"], take)
            tell(
                console, f"take {take} of shot {number} (--use-take {number}:{take} puts it into the video):\n  {clip}"
            )
    drawn = f"; drew {_drawn(outcome)} in {clock(seconds)}" if outcome.drawn else ""
    tell(console, f"video.mp4: {manifest['video']['seconds']:g} s{drawn}\n  {outcome.folder.video}")
    tell(console, "Beside it: shots/, contact_sheet.png, manifest.json and routing.npz.")
    if manifest["stale"]:
        tell(console, f"{_listed(manifest['stale'])}: stale, drawn from memories of shots that have changed since.")
    if manifest["changed"]:
        tell(console, f"{_listed(manifest['changed'])}: changed in the story, kept as drawn before.")
    if outcome.renew:
        tell(console, f"Renew with:\n  {outcome.renew}")


def _drawn(outcome: Outcome) -> str:
    """What was drawn and how much video that is: `1 shot and 2 takes (9 s)`."""
    lengths = {shot["number"]: shot["seconds"] for shot in outcome.manifest["shots"]}
    shots, takes = len(outcome.rendered), len(outcome.drawn) - len(outcome.rendered)
    counts = [f"{count} {word}{'s' * (count > 1)}" for count, word in ((shots, "shot"), (takes, "take")) if count]
    return f"{' and '.join(counts)} ({sum(lengths[number] for number, _ in outcome.drawn):g} s)"


def _listed(numbers: Sequence[int]) -> str:
    from moc.run.selection import named_shots

    return named_shots(numbers).capitalize()


def _table(title: str | None) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )

"""`moc route-map`: who attends to whom, and where loops close."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moc_cli.console import NUMBER

if TYPE_CHECKING:
    from rich.console import Console

    from moc.route_map import Report

_VIEW, _CHECK, _STORY, _SHOW = "View", "Checks", "Stories", "Output"
FEW_STEPS = 4
"""Denoising steps of a story that is drawn for its map alone."""


def route_map(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|STORY.yaml", help="A run folder, or a story to draw.", show_default=False)
    ],
    step: Annotated[
        int | None, typer.Option("--step", metavar=NUMBER, help="Denoising step (all).", rich_help_panel=_VIEW)
    ] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", metavar=NUMBER, help="Layer (all).", rich_help_panel=_VIEW)
    ] = None,
    head: Annotated[
        int | None, typer.Option("--head", metavar=NUMBER, help="Head (all).", rich_help_panel=_VIEW)
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", metavar="SHOT:FRAME:X,Y", help="What one place in a frame chose; --plot shows it.",
                     rich_help_panel=_VIEW),
    ] = None,
    diff: Annotated[
        Path | None,
        typer.Option("--diff", metavar="RUN", help="What changes from RUN to this one.", rich_help_panel=_VIEW),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="SHARE", help="Share of routes that counts for loops (0.2).",
                     rich_help_panel=_CHECK),
    ] = None,
    longest: Annotated[
        int | None,
        typer.Option("--longest", metavar=NUMBER, help="Shots of the longest cycle listed (4).",
                     rich_help_panel=_CHECK),
    ] = None,
    fail_on_loops: Annotated[
        bool, typer.Option("--fail-on-loops", help="Exit with 3 where shots close a loop.", rich_help_panel=_CHECK)
    ] = False,
    fail_on_forgotten: Annotated[
        bool,
        typer.Option("--fail-on-forgotten", help="Exit with 3 where a named one is forgotten.", rich_help_panel=_CHECK),
    ] = False,
    causal: Annotated[
        bool | None,
        typer.Option("--causal/--no-causal", help="Draw with and without the mask, report on this one.",
                     rich_help_panel=_STORY, show_default=False),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar=NUMBER, min=1, help="Denoising steps of a story.", rich_help_panel=_STORY)
    ] = FEW_STEPS,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Run folder of a story (default: runs/<story>-routes).",
                     rich_help_panel=_STORY),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Throw away another run that lies there.", rich_help_panel=_STORY)
    ] = False,
    device: Annotated[
        str,
        typer.Option("--device", metavar="NAME", help="auto (CUDA, else CPU), cpu, cuda, cuda:N or mps.",
                     rich_help_panel=_STORY),
    ] = "auto",
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the map as .png or .svg.", rich_help_panel=_SHOW),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page to explore.", rich_help_panel=_SHOW)
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Save as .csv, .json or .parquet.",
                                  rich_help_panel=_SHOW),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=_SHOW)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=_SHOW)
    ] = False,
) -> None:  # fmt: skip
    """Show which shots a run's routes lead to, and where they close loops."""
    from moc.errors import InputError
    from moc.route_map import Selection, analyse, load
    from moc.route_map.graph import LONGEST, THRESHOLD
    from moc.route_map.save import change, check_save
    from moc.saving import check_plot
    from moc_cli.console import end
    from moc_cli.console import out as console_out

    _check_files(plot, html, save)
    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"--threshold {threshold:g}: a share is at least 0 and below 1.")
    if longest is not None and longest < 2:
        raise InputError(f"--longest {longest}: a loop has at least 2 shots.")
    if plot is not None:
        check_plot(plot)
    if save is not None:
        check_save(save)
    runs = _runs(source, causal, steps, out, force, device, quiet or as_json)
    limits = {
        "threshold": THRESHOLD if threshold is None else threshold,
        "longest": LONGEST if longest is None else longest,
    }
    selection = Selection(step, layer, head)
    reports = [(name, analyse(load(path), selection, **limits)) for name, path in runs]  # type: ignore[arg-type]
    report = reports[0][1]
    other = analyse(load(diff), selection, **limits) if diff is not None else None  # type: ignore[arg-type]
    moved = change(other, report) if other is not None else None
    if query is not None:
        _query(report, query, plot, as_json, quiet)
        return
    if save is not None:
        from moc.route_map.save import write

        write(report, save)
    if html is not None:
        from moc.route_map.html import write_html

        write_html(report, html)
    if plot is not None:
        from moc.route_map.plot import draw, draw_change

        if moved is not None:
            draw_change(moved, report.route_map, plot)
        else:
            draw(reports, plot)
    if as_json:
        _print_json(reports, moved)
    elif not quiet:
        for name, one in reports:
            _print(console_out(), one, name if len(reports) > 1 else "")
        if moved is not None:
            _print_change(console_out(), report, moved)
    failed = [
        *([f"loops: {len(report.loops.components)} found."] if fail_on_loops and report.loops.components else []),
        *([f"forgotten: {len(report.forgotten)} found."] if fail_on_forgotten and report.forgotten else []),
    ]
    if failed:
        end("\n".join(failed), 3, as_json=False)


def _check_files(plot: Path | None, html: Path | None, save: Path | None) -> None:
    from moc.errors import InputError

    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--html {html}: the name must end in .html.")
    given = [path.resolve() for path in (plot, html, save) if path is not None]
    if len(set(given)) < len(given):
        raise InputError("--plot, --html and --save need files of their own.")


def _runs(
    source: Path, causal: bool | None, steps: int, out: Path | None, force: bool, device: str, quiet: bool
) -> list[tuple[str, Path]]:
    """The runs to show, by name; the first is the one that is reported on."""
    from moc.errors import InputError

    if source.suffix.lower() not in (".yaml", ".yml"):
        if causal is not None or out is not None or force:
            raise InputError("--causal, --no-causal, --out and --force are for a story; a run is what it is.")
        return [("", source)]
    from moc.storyboard import load_storyboard

    board = load_storyboard(source)
    folder = out or Path("runs") / f"{source.stem}-routes"
    if causal is None:
        return [("", _draw(board, source, folder, {"sampling.steps": str(steps)}, force, device, quiet))]
    runs = []
    for masked in (causal, not causal):
        name = "causal" if masked else "not causal"
        # both are drawn all at once, so that the mask is all that differs
        changes = {
            "sampling.steps": str(steps), "sampling.mode": "joint", "attention.causal": str(masked).lower(),
        }  # fmt: skip
        where = folder / name.replace(" ", "-")
        runs.append((name, _draw(board, source, where, changes, force, device, quiet)))
    return runs


def _draw(
    board: Any, source: Path, folder: Path, changes: dict[str, str], force: bool, device: str, quiet: bool
) -> Path:
    from moc.run import Request, render
    from moc_cli.progress import RenderProgress

    request = Request(story=board, story_path=str(source), out=folder, overrides=changes, device=device, force=force)
    with RenderProgress(quiet) as progress:
        render(request, progress)
    return folder


def _query(report: Report, query: str, plot: Path | None, as_json: bool, quiet: bool) -> None:
    from moc.route_map.findings import percent
    from moc.route_map.query import ask, picture
    from moc.route_map.save import answer_dict
    from moc_cli.console import out, print_json, tell

    answer = ask(report.route_map, query)
    if plot is not None:
        from PIL import Image

        from moc.errors import InputError
        from moc.run.files import atomic

        if plot.suffix.lower() != ".png":
            raise InputError(f"--plot {plot}: with --query the picture is a .png.")
        with atomic(plot) as temporary:
            Image.fromarray(picture(report.route_map, answer)).save(temporary, format="PNG")
    if as_json:
        print_json(answer_dict(report.route_map, answer))
    elif not quiet:
        shot = report.route_map.shots[answer.place]
        tell(out(), f"Shot {shot.title}, frame {answer.frame}, pixel {answer.x},{answer.y} chose most:")
        for one in answer.chosen:
            tell(
                out(),
                f"  shot {one.shot.title}, frames {one.first}-{one.last}: {percent(one.share)} ({one.times} times)",
            )
        if not answer.chosen:
            tell(out(), "  nothing: there is nothing before it.")


def _print_json(reports: list[tuple[str, Report]], moved: Any) -> None:
    from moc.route_map.save import as_dict
    from moc_cli.console import print_json

    data = as_dict(reports[0][1])
    if len(reports) > 1:
        data["beside"] = as_dict(reports[1][1])
    if moved is not None:
        data["change"] = moved.round(6).tolist()
    print_json(data)


def _print(console: Console, report: Report, name: str) -> None:
    from moc.route_map.terminal import bars, heat_map, legend
    from moc_cli.console import tell

    shown = report.route_map
    said = [
        f"{kind} {value}"
        for kind, value in (
            ("step", report.selection.step), ("layer", report.selection.layer), ("head", report.selection.head),
        )
        if value is not None
    ]  # fmt: skip
    title = shown.title + (f", {name}" if name else "")
    tell(console, f"{title}: {', '.join(said) or 'all steps, layers and heads'}")
    console.print()
    for line in heat_map(report):
        console.print(line, soft_wrap=True)
    tell(console, legend(report))
    console.print()
    if report.distances:
        tell(console, "How far routes lead")
        for line in bars(report.distances):
            console.print(line, soft_wrap=True)
        console.print()
    for sentence in report.sentences():
        tell(console, sentence)
    for note in shown.notes:
        tell(console, f"note: {note}")
    console.print()


def _print_change(console: Console, report: Report, moved: Any) -> None:
    import numpy as np

    from moc_cli.console import tell

    shots = report.route_map.shots
    tell(console, "Largest changes, in percentage points:")
    order = np.argsort(-np.abs(moved), axis=None, kind="stable")[:10]
    for n in order:
        i, j = divmod(int(n), len(shots))
        if moved[i, j]:
            tell(console, f"  shot {shots[i].title} to shot {shots[j].title}: {100 * moved[i, j]:+.1f}")
    if not moved.any():
        tell(console, "  none: the routes are the same.")

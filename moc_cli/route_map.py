"""`moc route-map`: who attends to whom, and where loops close."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moc_cli import options
from moc_cli.console import NUMBER

if TYPE_CHECKING:
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
        typer.Option("--threshold", metavar="SHARE", rich_help_panel=_CHECK,
                     help="Share of routes that counts for loops (0.3, more below six shots)."),
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
        int | None, options.steps(_STORY, f"Denoising steps of a story ({FEW_STEPS}).")
    ] = None,
    overrides: Annotated[list[str] | None, options.overrides(_STORY)] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Run folder of a story (default: runs/<story>-routes).",
                     rich_help_panel=_STORY),
    ] = None,
    force: Annotated[bool, options.force(_STORY, "Throw away another run that lies there.")] = False,
    device: Annotated[str, options.device(_STORY)] = "auto",
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
    as_json: Annotated[bool, options.as_json(_SHOW)] = False,
    quiet: Annotated[bool, options.quiet(_SHOW)] = False,
) -> None:  # fmt: skip
    """Show which shots a run's routes lead to, and where they close loops."""
    from moc.route_map import Selection, analyse, load
    from moc.route_map.findings import forgotten_sentences, loop_sentences
    from moc.route_map.graph import LONGEST
    from moc.route_map.save import change
    from moc_cli.console import end

    changes = options.parse_overrides(overrides)
    checks = ("--fail-on-loops", fail_on_loops), ("--fail-on-forgotten", fail_on_forgotten)
    _check_numbers(threshold, longest)
    _check_files(plot, html, save, pictures=(".png",) if query is not None else None)
    if query is not None:
        views = ("--step", step), ("--layer", layer), ("--head", head), ("--diff", diff), ("--html", html)
        _check_query(query, [*views, ("--save", save), *checks])
    limits: dict[str, Any] = {
        "threshold": threshold,
        "longest": LONGEST if longest is None else longest,
    }
    selection = Selection(step, layer, head)
    before = load(diff) if diff is not None else None  # a wrong folder is said before a story is drawn
    runs = _runs(source, causal, steps, changes, out, force, device, quiet or as_json)
    reports = [(name, analyse(load(path), selection, **limits)) for name, path in runs]
    report = reports[0][1]
    if query is not None:
        _query(report, query, plot, as_json, quiet)
        return
    moved = change(analyse(before, selection, **limits), report) if before is not None else None
    _write(reports, moved, plot, html, save)
    for path in (html, plot, save):
        if path is not None and not quiet:
            typer.echo(f"wrote {path}", err=True)
    if as_json:
        _print_json(reports, moved)
    elif not quiet:
        from moc_cli.console import out as console_out
        from moc_cli.route_map_tables import print_change, print_map

        for name, one in reports:
            print_map(console_out(), one, name if len(reports) > 1 else "")
        if moved is not None:
            print_change(console_out(), report, moved)
        elif len(reports) > 1:
            print_change(
                console_out(), report, change(reports[1][1], report), f"from {reports[1][0]} to {reports[0][0]}"
            )
    failed = []
    for asked, word, found, sentences in (
        (fail_on_loops, "loops", report.loops.components, loop_sentences),
        (fail_on_forgotten, "forgotten", report.forgotten, forgotten_sentences),
    ):
        if asked and found:
            told = sentences(report) if quiet else []  # otherwise they stand above
            failed += [f"{word}: {len(found)} found.", *told]
    if failed:
        end("\n".join(failed), 3, as_json=False)


def _check_numbers(threshold: float | None, longest: int | None) -> None:
    from moc.errors import InputError

    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"--threshold {threshold:g}: a share is at least 0 and below 1.")
    if longest is not None and longest < 2:
        raise InputError(f"--longest {longest}: a loop has at least 2 shots.")


def _check_files(plot: Path | None, html: Path | None, save: Path | None, pictures: tuple[str, ...] | None) -> None:
    """Refuses files that can't be written; `pictures` are the endings of a plot that matplotlib does not draw."""
    from moc.errors import InputError
    from moc.route_map.save import check_save
    from moc.saving import check_ending, check_plot

    if html is not None:
        check_ending(html, (".html", ".htm"), "--html")
    if save is not None:
        check_save(save)
    if plot is not None and pictures is not None:
        check_ending(plot, pictures, "--plot")
    elif plot is not None:
        check_plot(plot)
    given = [path.resolve() for path in (plot, html, save) if path is not None]
    if len(set(given)) < len(given):
        raise InputError("--plot, --html and --save need files of their own.")


def _check_query(query: str, others: list[tuple[str, Any]]) -> None:
    """Refuses a query that is none, and what would be left undone beside it."""
    from moc.errors import InputError
    from moc.route_map.query import parse

    given = [name for name, value in others if value not in (None, False)]
    if given:
        raise InputError(
            f"--query shows what one place chose over all steps, layers and heads; leave out {', '.join(given)}."
        )
    parse(query)


def _write(
    reports: list[tuple[str, Report]], moved: Any, plot: Path | None, html: Path | None, save: Path | None
) -> None:
    """The files that were asked for, of the first report."""
    report = reports[0][1]
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


def _runs(
    source: Path, causal: bool | None, steps: int | None, changes: dict[str, str], out: Path | None, force: bool,
    device: str, quiet: bool,
) -> list[tuple[str, Path]]:  # fmt: skip
    """The runs to show, by name; the first is the one that is reported on."""
    from moc.errors import InputError

    if source.suffix.lower() not in (".yaml", ".yml"):
        given = (
            ("--causal" if causal else "--no-causal", causal is not None), ("--steps", steps is not None),
            ("--set", changes), ("--out", out is not None), ("--force", force), ("--device", device != "auto"),
        )  # fmt: skip
        wrong = [name for name, value in given if value]
        if wrong:
            verb = "is" if len(wrong) == 1 else "are"
            raise InputError(f"{', '.join(wrong)} {verb} for a story that is drawn; a run is what it is.")
        return [("", source)]
    from moc.storyboard import load_storyboard

    board = load_storyboard(source)
    folder = out or Path("runs") / f"{source.stem}-routes"
    changes = {"sampling.steps": str(FEW_STEPS if steps is None else steps), **changes}
    if causal is None:
        return [("", _draw(board, source, folder, changes, force, device, quiet))]
    runs = []
    for masked in (causal, not causal):
        name = "causal" if masked else "not causal"
        # both are drawn all at once, so that the mask is all that differs
        both = {**changes, "sampling.mode": "joint", "attention.causal": str(masked).lower()}
        runs.append((name, _draw(board, source, folder / name.replace(" ", "-"), both, force, device, quiet)))
    return runs


def _draw(
    board: Any, source: Path, folder: Path, changes: dict[str, str], force: bool, device: str, quiet: bool
) -> Path:
    from moc.run import Request, render
    from moc_cli import process
    from moc_cli.progress import RenderProgress

    process.keep_freed_memory(device)
    request = Request(
        story=board, story_path=str(source), out=folder, overrides=changes, device=device, force=force, resume=not force
    )  # fmt: skip
    try:
        with RenderProgress(quiet) as progress:
            render(request, progress)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("Stopped; the same command goes on.") from stop
    return folder


def _query(report: Report, query: str, plot: Path | None, as_json: bool, quiet: bool) -> None:
    from moc.route_map.query import ask, picture
    from moc.route_map.save import answer_dict
    from moc_cli.console import print_json

    answer = ask(report.route_map, query)
    if plot is not None:
        from PIL import Image

        from moc.run.files import atomic

        with atomic(plot) as temporary:
            Image.fromarray(picture(report.route_map, answer)).save(temporary, format="PNG")
    if as_json:
        print_json(answer_dict(report.route_map, answer))
    elif not quiet:
        from moc_cli.console import out
        from moc_cli.route_map_tables import print_answer

        print_answer(out(), report, answer)


def _print_json(reports: list[tuple[str, Report]], moved: Any) -> None:
    from moc.route_map.save import as_dict
    from moc_cli.console import print_json

    data = as_dict(reports[0][1])
    if len(reports) > 1:
        data["beside"] = as_dict(reports[1][1])
    if moved is not None:
        data["change"] = moved.round(6).tolist()
    print_json(data)

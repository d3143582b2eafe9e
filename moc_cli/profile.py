"""`moc profile`: what sparsity buys, counted and measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moc_cli import options
from moc_cli.console import NUMBER

if TYPE_CHECKING:
    from moc.profile import Settings

_STREAM, _ATTENTION, _MEASURE, _SHOW = "Stream", "Attention", "Measuring", "Output"


def profile(
    story: Annotated[
        Path | None,
        typer.Argument(metavar="[STORY.yaml]", help="A story, drawn by the built-in model.", show_default=False),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option("--shots", metavar="1,2,4", help="Numbers of shots, a row each.", rich_help_panel=_STREAM),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", metavar="NAME", help="paper-multi-shot, paper-single-shot, wan or pocket.",
            rich_help_panel=_STREAM,
        ),
    ] = None,
    tokens_per_shot: Annotated[
        int | None,
        typer.Option("--tokens-per-shot", metavar=NUMBER, help="Video tokens of a shot.", rich_help_panel=_STREAM),
    ] = None,
    text_tokens: Annotated[
        int | None,
        typer.Option("--text-tokens", metavar=NUMBER, help="Text tokens of each shot.", rich_help_panel=_STREAM),
    ] = None,
    chunk: Annotated[
        str | None,
        typer.Option("--chunk", metavar=NUMBER, help="Tokens of a chunk, or frame.", rich_help_panel=_ATTENTION),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar=NUMBER, help="Chunks that a query picks.", rich_help_panel=_ATTENTION),
    ] = None,
    heads: Annotated[
        int | None, typer.Option("--heads", metavar=NUMBER, help="Attention heads.", rich_help_panel=_ATTENTION)
    ] = None,
    head_dim: Annotated[
        int | None, typer.Option("--head-dim", metavar=NUMBER, help="Channels of a head.", rich_help_panel=_ATTENTION)
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", metavar=NUMBER, help="Layers, one after another.",
                                 rich_help_panel=_ATTENTION)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="Profile a denoising step of pocket or wan-2.1-1.3b.",
            rich_help_panel=_ATTENTION,
        ),
    ] = None,
    overrides: Annotated[list[str] | None, options.overrides(_ATTENTION, "Set attention.pattern and such")] = None,
    device: Annotated[str, options.device(_MEASURE)] = "auto",
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="NAME", help="auto, bfloat16, float16 or float32.", rich_help_panel=_MEASURE),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option("--backend", metavar="NAME", help="auto, portable, triton or reference.",
                     rich_help_panel=_MEASURE),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="NAMES", help="Dense kernels, the first to compare with: dense,fa2,...",
                     rich_help_panel=_MEASURE),
    ] = None,
    backward: Annotated[
        bool, typer.Option("--backward", help="Forward and backward pass.", rich_help_panel=_MEASURE)
    ] = False,
    limit: Annotated[
        float | None,
        typer.Option("--limit", metavar=NUMBER, help="Skip what takes longer than so many seconds a pass (20).",
                     rich_help_panel=_MEASURE),
    ] = None,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Count only.", rich_help_panel=_MEASURE)
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's own numbers beside ours.", rich_help_panel=_SHOW)
    ] = False,
    as_json: Annotated[bool, options.as_json(_SHOW)] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Save as .csv, .json, .parquet or .md.", rich_help_panel=_SHOW),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw times and FLOPs as .png or .svg.", rich_help_panel=_SHOW),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="RULES", help='Exit with 3 unless "speedup>2,sparsity>0.8@8" and such hold.',
                     rich_help_panel=_SHOW),
    ] = None,
    quiet: Annotated[bool, options.quiet(_SHOW)] = False,
) -> None:  # fmt: skip
    """Show what sparse attention costs beside dense attention."""
    if paper:
        own = (
            ("STORY.yaml", story), ("--shots", shots), ("--preset", preset), ("--tokens-per-shot", tokens_per_shot),
            ("--text-tokens", text_tokens), ("--chunk", chunk), ("--top-k", top_k), ("--heads", heads),
            ("--head-dim", head_dim), ("--layers", layers), ("--model", model), ("--set", overrides),
            ("--dtype", dtype), ("--backend", backend), ("--against", against), ("--backward", backward or None),
            ("--limit", limit), ("--save", save), ("--plot", plot), ("--budget", budget),
        )  # fmt: skip
        _paper([name for name, value in own if value is not None], as_json, quiet)
        return
    from moc.profile import broken, check_rows, parse_budget
    from moc.profile.plot import draw
    from moc.profile.save import check_save, write
    from moc.saving import check_plot
    from moc_cli.console import end, out, print_json

    conditions = parse_budget(budget)
    if save is not None:
        check_save(save)
    if plot is not None:
        check_plot(plot)
    settings = _settings(
        story, preset, model, options.parse_overrides(overrides), shots=shots, tokens_per_shot=tokens_per_shot,
        text_tokens=text_tokens, chunk=chunk, top_k=top_k, heads=heads, head_dim=head_dim, layers=layers, dtype=dtype,
        backend=backend, against=against, backward=backward, limit_s=limit, measure=not no_measure,
    )  # fmt: skip
    check_rows(conditions, settings.shots)
    report = _report(settings, device, quiet)
    if save is not None:
        write(report, save)
    if plot is not None:
        draw(report, plot)
    failed = broken(conditions, report["rows"])
    if as_json:
        print_json({**report, "budget": {"rules": [str(rule) for rule in conditions], "broken": failed}})
    elif not quiet:
        from moc_cli.profile_tables import print_report

        print_report(out(), report)
    if failed:
        end("\n".join(failed), 3, as_json=False)


def _settings(
    story: Path | None, preset: str | None, model: str | None, changes: dict[str, str], **given: Any
) -> Settings:
    """The settings that the options ask for, checked without torch."""
    from moc.profile import base_settings, make_settings
    from moc.profile.settings import dense_names

    board = None
    if story is not None:
        from moc.storyboard import load_storyboard

        board = load_storyboard(story)
    against = given.pop("against")
    names = None if against is None else dense_names(against)
    return make_settings(base_settings(preset, model, board, changes), against=names, **given)


def _report(settings: Settings, device: str, quiet: bool) -> dict[str, Any]:
    from moc.profile import profile as run
    from moc.run.device import check_device, resolve_device

    check_device(device)
    if not settings.measure:
        return run(settings)
    from moc_cli.profile_progress import ProfileProgress

    with ProfileProgress(quiet) as progress:
        return run(settings, resolve_device(device), progress.step)


def _paper(others: list[str], as_json: bool, quiet: bool) -> None:
    """The paper's settings beside ours; `others` are options that were given and that it does not heed."""
    from moc.errors import InputError
    from moc.profile.paper import paper_report
    from moc_cli.console import out, print_json

    if others:
        raise InputError(f"--paper counts the paper's own settings; leave out {', '.join(others)}.")
    report = paper_report()
    if as_json:
        print_json(report)
    elif not quiet:
        from moc_cli.profile_tables import print_paper

        print_paper(out(), report)

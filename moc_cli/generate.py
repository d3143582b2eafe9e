"""`moc generate`: a story becomes a run folder with its video."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moc_cli import options
from moc_cli.console import NUMBER
from moc_cli.options import Mode

if TYPE_CHECKING:
    from moc.run import Request


_RUN, _STORY, _AGAIN, _MEMORY, _SHOW = "Run", "Story", "Single shots", "Memory", "Output"


def generate(
    story: Annotated[
        Path,
        typer.Argument(
            metavar="STORY.yaml", help="The story, or the manifest.json of a run to repeat.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Run folder (default: runs/<story>).", rich_help_panel=_RUN),
    ] = None,
    device: Annotated[str, options.device(_RUN)] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what FOLDER holds.", rich_help_panel=_RUN)
    ] = False,
    force: Annotated[bool, options.force(_RUN, "Throw away the run that FOLDER holds.")] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Model name or .safetensors file.", rich_help_panel=_STORY),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar=NUMBER, min=0, help="Seed of the story; with --shots, of those shots.",
            rich_help_panel=_STORY,
        ),
    ] = None,
    mode: Annotated[Mode | None, options.mode(_STORY)] = None,
    steps: Annotated[int | None, options.steps(_STORY)] = None,
    overrides: Annotated[list[str] | None, options.overrides(_STORY)] = None,
    shots: Annotated[
        str | None,
        typer.Option("--shots", metavar="3,5-6,9-", help="Draw these shots (again), keep the rest.",
                     rich_help_panel=_AGAIN),
    ] = None,
    takes: Annotated[
        int,
        typer.Option("--takes", metavar=NUMBER, min=1, max=99,
                     help="Variants of each shot, with seeds that follow its own.", rich_help_panel=_AGAIN),
    ] = 1,
    use_take: Annotated[
        str | None,
        typer.Option("--use-take", metavar="3:2", help="Put take 2 of shot 3 into the video.", rich_help_panel=_AGAIN),
    ] = None,
    remember: Annotated[
        list[str] | None,
        typer.Option(
            "--remember", metavar="RUN:N[=M]",
            help="Put shot N of another run in the place of shot M (default: N) and let later shots remember it; "
            "repeatable; 'none' for none any more.", rich_help_panel=_MEMORY,
        ),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            "--forget", metavar="1:8",
            help="Let shot 8 read nothing of shot 1; also 1-3:8- and lists; repeatable; 'none' for none any more.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show shots, sizes and understood words; draw nothing.", rich_help_panel=_SHOW),
    ] = False,
    as_json: Annotated[bool, options.as_json(_SHOW)] = False,
    quiet: Annotated[bool, options.quiet(_SHOW)] = False,
) -> None:  # fmt: skip
    """Turn a story into a video."""
    from moc.storyboard import load_storyboard

    changes, named = options.story_changes(overrides, model=model, mode=mode, steps=steps, seed=None if shots else seed)
    # a story's mistakes are told before the rest is imported; a manifest is a story that was rendered already
    board = load_storyboard(story) if story.name != "manifest.json" else None
    from moc.run import Request, default_out, story_of_run

    request = Request(
        story=board or story_of_run(story, out),
        story_path=str(story),
        out=out or default_out(str(story)),
        overrides=changes,
        named=named,
        device=device,
        shots=shots,
        seed=seed if shots else None,
        takes=takes,
        use_takes=use_take,
        remember=tuple(remember or ()),
        forget=tuple(forget or ()),
        repeats=None if board else story,
        resume=resume,
        force=force,
    )
    if dry_run:
        _show_plan(request, as_json)
    else:
        _render(request, as_json, quiet)


def _show_plan(request: Request, as_json: bool) -> None:
    from moc.run import plan_story
    from moc_cli.console import out, print_json
    from moc_cli.tables import plan_dict, print_plan

    plan, work = plan_story(request)
    if as_json:
        print_json(plan_dict(plan, work))
    else:
        print_plan(out(), plan, work, request.story)


def _render(request: Request, as_json: bool, quiet: bool) -> None:
    from moc.run import render, resume_hint
    from moc_cli import process
    from moc_cli.console import out, print_json
    from moc_cli.progress import RenderProgress
    from moc_cli.tables import outcome_dict, print_outcome

    process.keep_freed_memory(request.device)
    began = time.monotonic()
    try:
        with RenderProgress(quiet) as progress:
            outcome = render(request, progress)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(resume_hint(request)) from stop
    seconds = time.monotonic() - began
    if as_json:
        print_json(outcome_dict(outcome, seconds))
    elif not quiet:
        print_outcome(out(), outcome, seconds)

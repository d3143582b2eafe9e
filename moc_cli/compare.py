"""`moc compare`: one story drawn in several ways, or runs that exist, side by side."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moc_cli import options
from moc_cli.console import NUMBER
from moc_cli.options import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moc.compare.draw import Job
    from moc.compare.footage import Footage
    from moc.metrics.metric import Metric

_ARMS, _STORY, _MEASURE, _SUITE, _SHOW = "Arms", "Story", "Measuring", "Benchmark", "Output"


class Suite(StrEnum):
    """A benchmark over many stories."""

    memory = "memory"


def compare(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STORY.yaml | RUN RUN...", help="A story to draw, or runs that exist.",
                       show_default=False),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option("--attention", "-a", metavar="NAMES",
                     help="Patterns, with settings if wanted: dense,moc:top_k=2 (dense,moc,local).",
                     rich_help_panel=_ARMS),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="A,B", help="Model names or .safetensors files.", rich_help_panel=_ARMS),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="ARM", help="What the others are held against (dense, else the first).",
                     rich_help_panel=_ARMS),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", metavar=NUMBER, help="Draw with so many seeds, for intervals.", rich_help_panel=_STORY),
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar=NUMBER, min=0, help="The first seed (the story's).", rich_help_panel=_STORY),
    ] = None,
    mode: Annotated[Mode | None, options.mode(_STORY)] = None,
    steps: Annotated[int | None, options.steps(_STORY)] = None,
    overrides: Annotated[
        list[str] | None, options.overrides(_STORY, "Override a value of the story in every arm")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where to write (default: runs/compare-<name>).",
                     rich_help_panel=_STORY),
    ] = None,
    force: Annotated[bool, options.force(_STORY, "Throw away other runs that lie there.")] = False,
    device: Annotated[str, options.device(_STORY)] = "auto",
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="NAMES", help="world, light, agreement, vbench, or single metrics.",
                     rich_help_panel=_MEASURE),
    ] = None,
    vbench: Annotated[
        Path | None,
        typer.Option("--vbench", metavar="FOLDER", help="Weights that the VBench metrics read.",
                     rich_help_panel=_MEASURE),
    ] = None,
    suite: Annotated[
        Suite | None,
        typer.Option("--suite", help="Measure memory over many stories: of what is named, else of every pattern.",
                     rich_help_panel=_SUITE),
    ] = None,
    stories: Annotated[
        int | None,
        typer.Option("--stories", metavar=NUMBER, help="Stories of the benchmark (2 short ones; 256 on a GPU).",
                     rich_help_panel=_SUITE),
    ] = None,
    as_json: Annotated[bool, options.as_json(_SHOW)] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Save as .csv, .json, .parquet or .md.", rich_help_panel=_SHOW),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with the videos inside.", rich_help_panel=_SHOW),
    ] = None,
    quiet: Annotated[bool, options.quiet(_SHOW)] = False,
) -> None:  # fmt: skip
    """Put attention patterns, weights or runs side by side."""
    from moc.compare.save import check_save
    from moc.errors import InputError
    from moc.saving import check_ending, check_place

    if save is not None:
        check_save(save)
        check_place(save, "--save")
    if html is not None:
        check_ending(html, (".html", ".htm"), "--html")
        check_place(html, "--html")
        if save is not None and html.resolve() == save.resolve():
            raise InputError("--html and --save need files of their own.")
    if suite is not None:
        _refuse(
            "has no meaning for --suite, which tells stories of its own",
            ("a story", bool(sources)), ("--seeds", seeds > 1), ("--mode", mode), ("--set", overrides),
            ("--metrics", metrics), ("--vbench", vbench), ("--html", html),
        )  # fmt: skip
        _measure_memory(attention, weights, reference, stories, steps, seed, out, device, force, save, as_json, quiet)
        return
    if not sources:
        raise InputError("give a story, two runs that exist, or --suite memory.")
    _refuse("is for --suite", ("--stories", stories))
    chosen = _metrics(metrics, vbench)
    if _are_runs(sources):
        from moc.compare.report import runs_folder

        _refuse(
            "is for a story; runs that exist are compared as they are",
            ("--attention", attention), ("--weights", weights), ("--seeds", seeds > 1), ("--seed", seed),
            ("--mode", mode), ("--steps", steps), ("--set", overrides), ("--force", force),
        )  # fmt: skip
        folder = out or runs_folder(sources)
        report, footage = _existing(sources, folder, chosen, reference, vbench, device, quiet or as_json)
    else:
        job = _job(sources, attention, weights, seeds, seed, mode, steps, overrides, out, device, force)
        report, footage = _drawn(job, chosen, reference, vbench, quiet or as_json)
        folder = job.out
    _finish(report, footage, folder, save, html, as_json, quiet)


def _refuse(why: str, *given: tuple[str, object]) -> None:
    """Raises InputError where an option is given that has no meaning here."""
    from moc.errors import InputError

    if wrong := [name for name, value in given if value is not None and value is not False]:
        raise InputError(f"{wrong[0]} {why}.")


def _metrics(text: str | None, vbench: Path | None) -> tuple[Metric, ...]:
    """What is measured: `--vbench` alone asks for the VBench metrics besides the others."""
    from moc.metrics.catalogue import DEFAULT, VBENCH, choose

    return (*DEFAULT, *VBENCH) if text is None and vbench is not None else choose(text)


def _are_runs(sources: list[Path]) -> bool:
    """Whether runs are named, not a story.

    Raises:
        InputError: a story among several sources.
    """
    from moc.errors import InputError

    runs = [path.is_dir() or path.name == "manifest.json" for path in sources]
    if not all(runs) and len(sources) > 1:
        story = sources[runs.index(False)]
        raise InputError(f"{story} is no run; give one story, or folders of runs.")
    return all(runs)


def _job(
    sources: list[Path], attention: str | None, weights: str | None, seeds: int, seed: int | None, mode: Mode | None,
    steps: int | None, overrides: list[str] | None, out: Path | None, device: str, force: bool,
) -> Job:  # fmt: skip
    """What is to be drawn, checked as far as words can be."""
    from moc.compare.arms import check_count, name_arms
    from moc.compare.draw import Job, check, seeds_of
    from moc.errors import InputError
    from moc.storyboard import load_storyboard

    arms = name_arms(attention, weights)
    if len(arms) > 1:
        check_count(arms)
    changes, _ = options.story_changes(overrides, mode=mode, steps=steps)
    if "sampling.seed" in changes:
        raise InputError("--set sampling.seed: name the first seed with --seed.")
    board = load_storyboard(sources[0])
    job = Job(
        story=board,
        story_path=str(sources[0]),
        arms=tuple(arms),
        seeds=seeds_of(board.sampling.seed if seed is None else seed, seeds),
        out=out or Path("runs") / f"compare-{sources[0].stem or 'story'}",
        changes=changes,
        device=device,
        force=force,
    )
    if len(arms) == 1:  # its own mistake is what to mend first
        check(job)
        check_count(arms)
    return job


def _drawn(
    job: Job, metrics: tuple[Metric, ...], reference: str | None, vbench: Path | None, quiet: bool
) -> tuple[dict[str, Any], Mapping[str, Footage]]:
    from moc.compare import compare_story
    from moc_cli.compare_progress import CompareProgress

    try:
        with CompareProgress(quiet, len(job.arms) * len(job.seeds)) as progress:
            return compare_story(
                job, metrics=metrics, reference=reference, vbench_weights=vbench,
                listener_of=progress.listener, on_measure=progress.measuring,
            )  # fmt: skip
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("Stopped. Go on with the same command; what is drawn stays.") from stop


def _existing(
    sources: list[Path], folder: Path, metrics: tuple[Metric, ...], reference: str | None, vbench: Path | None,
    device: str, quiet: bool,
) -> tuple[dict[str, Any], Mapping[str, Footage]]:  # fmt: skip
    from moc.compare import compare_runs
    from moc.compare.save import check_out
    from moc_cli.compare_progress import CompareProgress

    check_out(folder)
    with CompareProgress(quiet, 0) as progress:
        return compare_runs(
            sources, metrics=metrics, reference=reference, vbench_weights=vbench, device=device,
            on_measure=progress.measuring,
        )  # fmt: skip


def _measure_memory(
    attention: str | None, weights: str | None, reference: str | None, stories: int | None, steps: int | None,
    seed: int | None, out: Path | None, device: str, force: bool, save: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """The benchmark of memory: measure, save, show."""
    from moc.compare.save import write
    from moc.compare.suite import Benchmark, all_arms, compare_memory
    from moc.run.files import write_json
    from moc_cli.compare_progress import SuiteProgress
    from moc_cli.console import out as console
    from moc_cli.console import print_json

    arms, folder = all_arms(attention, weights), out or Path("runs") / "compare-memory"
    asked = Benchmark(arms, folder, stories=stories, steps=steps, device=device, force=force)
    asked = asked if seed is None else replace(asked, seed=seed)
    try:
        with SuiteProgress(quiet or as_json, len(arms)) as progress:
            report = compare_memory(asked, reference=reference, on_shot=progress.shot)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("Stopped. Go on with the same command; arms that are measured stay.") from stop
    write_json(folder / "compare.json", report)
    if save is not None:
        write(report, save)
    if as_json:
        print_json(report)
    elif not quiet:
        from moc_cli.compare_tables import print_memory

        print_memory(console(), report)
    if not quiet:
        _say_written(save)


def _say_written(*files: Path | None) -> None:
    """Says which files that were asked for are written."""
    for path in files:
        if path is not None:
            typer.echo(f"wrote {path}", err=True)


def _finish(
    report: dict[str, Any], footage: Mapping[str, Footage], folder: Path, save: Path | None, html: Path | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write pictures, page and table, and show the report."""
    from moc.compare.save import write
    from moc.compare.side_by_side import write_sheet, write_side_by_side
    from moc.run.files import write_json
    from moc_cli.console import out, print_json

    video, picture = folder / "side_by_side.mp4", folder / "sheet.png"
    write_side_by_side(footage, video)
    write_sheet(footage, picture, report["title"])
    report["files"] = {"video": str(video), "sheet": str(picture), "report": str(folder / "compare.json")}
    write_json(folder / "compare.json", report)
    if save is not None:
        write(report, save)
    if html is not None:
        from moc.compare.page import write_page

        write_page(report, footage, html)
    if as_json:
        print_json(report)
    elif not quiet:
        from moc_cli.compare_tables import print_report

        print_report(out(), report)
    if not quiet:
        _say_written(save, html)

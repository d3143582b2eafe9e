"""`moc`: the command line. One file a verb; nothing heavy is imported before a verb runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Annotated

import typer

from moc_cli import process
from moc_cli.compare import compare
from moc_cli.console import INTERRUPTED, Verb, Verbs, guarded
from moc_cli.doctor import doctor
from moc_cli.generate import generate
from moc_cli.import_ import import_
from moc_cli.profile import profile
from moc_cli.route_map import route_map
from moc_cli.schema import schema
from moc_cli.train import train

app = typer.Typer(
    name="moc",
    cls=Verbs,
    help="Long, multi-shot videos whose later shots remember the earlier ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from moc import __version__

        typer.echo(f"moc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("generate", cls=Verb)(guarded(generate))
app.command("profile", cls=Verb)(guarded(profile))
app.command("route-map", cls=Verb)(guarded(route_map))
app.command("compare", cls=Verb)(guarded(compare))
app.command("train", cls=Verb)(guarded(train))
app.command("schema", cls=Verb)(guarded(schema))
app.command("import", cls=Verb)(guarded(import_))
app.command("doctor", cls=Verb)(guarded(doctor))


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt("Stopped by the system.")


def main() -> None:
    """Entry point of the `moc` script. SIGTERM ends a run in the same order as Ctrl-C."""
    process.wait_a_little()
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()

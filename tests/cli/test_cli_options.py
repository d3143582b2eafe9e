"""The command line is frozen: a new or changed option is a decision, seen in the diff of this file."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable

import pytest

from moc_cli.generate import generate
from moc_cli.import_ import import_
from moc_cli.main import app
from moc_cli.schema import schema
from moc_cli.train import train

VERBS = ["generate", "train", "schema", "import"]

OPTIONS = {
    generate: [
        "STORY.yaml", "--out -o", "--device", "--resume", "--force", "--model", "--seed", "--mode", "--steps",
        "--set -s", "--shots", "--takes", "--use-take", "--dry-run", "--json", "--quiet -q",
    ],
    train: [
        "CONFIG.yaml", "--out -o", "--resume", "--set -s", "--seed", "--device", "--minutes", "--json", "--quiet -q",
    ],
    schema: ["--out -o"],
    import_: ["FILE", "--out -o", "--force"],
}  # fmt: skip


def options_of(command: Callable[..., None]) -> list[str]:
    """Options and arguments in order, as typed on the command line."""
    found = []
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        if name != "return":
            info = hint.__metadata__[0]
            names = [part for part in (info.default, *(info.param_decls or ())) if str(part).startswith("-")]
            found.append(" ".join(names) or info.metavar)
    return found


@pytest.mark.parametrize("command", OPTIONS, ids=lambda command: command.__name__)
def test_options(command: Callable[..., None]) -> None:
    assert options_of(command) == OPTIONS[command]


def test_verbs() -> None:
    assert [info.name for info in app.registered_commands] == VERBS


@pytest.mark.parametrize("command", OPTIONS, ids=lambda command: command.__name__)
def test_help_is_said(command: Callable[..., None]) -> None:
    assert re.fullmatch(r"[A-Z].*\.", inspect.getdoc(command) or ""), "one sentence, shown by --help"
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        if name != "return":
            assert hint.__metadata__[0].help, f"{name} has no help"

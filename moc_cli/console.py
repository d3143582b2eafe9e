"""What the verbs share: where words go, how an error ends the process, and JSON for machines.

Results go to stdout, everything else to stderr. Under `--json` stdout carries one JSON object and nothing else, an
error included.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from rich.console import Console

    from moc.storyboard import Problem

INTERRUPTED = 130
NUMBER = "N"
"""How help names a number that an option wants."""


def out() -> Console:
    """The console for results (stdout)."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=False)


def err() -> Console:
    """The console for progress, notes and errors (stderr)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def tell(console: Console, text: str) -> None:
    """Print sentences, on a terminal wrapped between words.

    A command or path that someone may copy stands on an indented line of its own and is never broken; neither is a
    long word. Where there is no terminal, every line stays whole.
    """
    for line in text.splitlines():
        whole = line.startswith("  ") or not console.is_terminal
        console.print(line if whole else wrapped(line, console.width), soft_wrap=True)


def wrapped(line: str, width: int) -> str:
    """`line` with line breaks between words so that it fits `width` cells, but for words that don't.

    A number and the percent sign or unit after it stay on one line.
    """
    from rich.cells import cell_len

    lines: list[str] = []
    for word in _WORDS.split(" ".join(line.split())):
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


_WORDS = re.compile(r" (?!(?<=\d )(?:%|s|ms|min|h|MB|MiB|GB|GiB)(?![\w/]))")
"""The spaces at which a line may break."""


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    sys.stdout.flush()


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with every failure turned into one sentence on stderr and an exit code, without a traceback.

    `MocError` says its own sentence and code; Ctrl-C ends with 130; anything else is a bug of ours, named as such
    (exit code 1, and `MOC_DEBUG=1` shows the traceback).
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, BrokenPipeError):
            raise
        except KeyboardInterrupt as stop:
            end(str(stop) or "Stopped.", INTERRUPTED, bool(kwargs.get("as_json")))
        except Exception as error:
            if os.environ.get("MOC_DEBUG"):
                raise
            message, code = explain(error)
            end(message, code, bool(kwargs.get("as_json")), getattr(error, "problems", ()))

    return run


class _Help:
    """Help that shows what to write after an option and nothing else: no type after a flag, no range after a number."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of the command, `--help` included."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
                if param.default is None and not param.expose_value:
                    param.default = False  # such as --help; typer would load pydantic to read the value that is none
            elif param.metavar == NUMBER and hasattr(param, "min"):
                param.min = param.max = None  # of the help alone; what is allowed is checked by the parameter's type
        return params


class Verb(_Help, TyperCommand):
    """A verb."""


class Verbs(_Help, TyperGroup):
    """The group of all verbs: a wrong option is said like every other mistake, and as JSON too where `--json` is given.

    Options are read before a verb runs, so `guarded` does not see their mistakes; typer would draw a box for them.
    """

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """Read the words before the verb."""
        self._words = list(args)
        with self._told():
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Read the words of the verb and run it."""
        with self._told():
            return super().invoke(ctx)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # what typer calls its usage errors differs between versions; `guarded` lets nothing else through
            if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
                raise
            end(usage_sentence(error, self._words), getattr(error, "exit_code", 2), "--json" in self._words)


def usage_sentence(error: Any, words: Sequence[str]) -> str:
    """What typer says of a wrong option, in the words of all other errors: `--steps 0: input should be ...`.

    Args:
        error: an exception with `format_message`.
        words: the command line, where the value stands that typer may not repeat.
    """
    text = " ".join(error.format_message().split())
    wrong = re.fullmatch(r"Invalid value for (.+?): (?:Value error, )?(.+)", text)
    if wrong is None:
        return _sentence(text)
    named, why = wrong.groups()
    names = re.findall(r"'([^']+)'", named) or [named]
    name = max(names, key=len)
    given = [value for word, value in zip(words, [*words[1:], ""], strict=True) if word in names]
    given += [word.split("=", 1)[1] for word in words if "=" in word and word.split("=", 1)[0] in names]
    value = f" {given[-1]}" if given and not why.startswith((f"'{given[-1]}' ", f"{given[-1]} ")) else ""
    return f"{name}{value}: {_sentence(why)}"


def _sentence(text: str) -> str:
    """`text` with a small first letter and a full stop, as errors have them."""
    return text[:1].lower() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def explain(error: Exception) -> tuple[str, int]:
    """An exception as a sentence and an exit code."""
    from moc.errors import MocError

    if isinstance(error, MocError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror.lower()}.", 1
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        first = (str(error).splitlines() or [""])[0]
        return f"out of memory{f': {first}' if first else '.'}", 1
    detail = " ".join(str(error).split())[:300]
    return f"this is a bug in moc: {type(error).__name__}: {detail} (MOC_DEBUG=1 shows where).", 1


def end(message: str, code: int, as_json: bool, problems: Sequence[Problem] = ()) -> None:
    """Say `message` on stderr, as JSON on stdout too if asked, and leave with `code`.

    `problems` are the mistakes of a story, of which each has a line of the message. Those with a place start with
    file:line:column, as editors read them; any other error starts with `error:`.
    """
    console = err()
    places = any(problem.line for problem in problems)
    for number, line in enumerate(message.splitlines()):
        placed = problems[number].line > 0 if number < len(problems) else places
        plain = placed or code == INTERRUPTED or line.startswith("  ")
        tell(console, line if plain else f"error: {line}")
    if as_json:
        told: dict[str, Any] = {"error": message, "exit_code": code}
        if problems:
            keys = ("source", "line", "column", "key", "message")
            told["problems"] = [{key: getattr(problem, key) for key in keys} for problem in problems]
        print_json(told)
    raise typer.Exit(code)


def clock(seconds: float) -> str:
    """A span of time as a person says it: 0.4 s, 12 s, 3:05 min, 1:02:03 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d} h" if hours else f"{rest // 60}:{rest % 60:02d} min"


def amount(value: float, unit: str) -> str:
    """A large number with a decimal prefix: 3.5 TFLOP, 812 MB."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:.3g} E{unit}"

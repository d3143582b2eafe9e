"""Readers of options that several verbs share."""

from __future__ import annotations

from pathlib import Path


def parse_overrides(texts: list[str] | None) -> dict[str, str]:
    """`["attention.top_k=3"]` as {"attention.top_k": "3"}; the last of equal keys counts.

    Raises:
        InputError: no `=`, or nothing before it.
    """
    from moc.errors import InputError

    parsed: dict[str, str] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set '{text}' is not KEY=VALUE, such as attention.top_k=3.")
        parsed[key.strip()] = value.strip()
    return parsed


def check_new(out: Path | None, force: bool) -> None:
    """Raises InputError where a file lies at `out` that was not to be replaced."""
    from moc.errors import InputError

    if out is not None and out.exists() and not force:
        raise InputError(f"{out} exists already; choose another name or add --force.")

"""Errors that a person can act on: one sentence and the exit code of the command line.

Anything else that escapes is a bug and is treated as one. Torch-free and free of imports, because every module may
raise these.
"""

from __future__ import annotations


class MocError(Exception):
    """Something went wrong that the user can understand and act on.

    Args:
        message: one plain sentence that carries the values given and allowed.
        exit_code: what the process returns: 1 failed, 2 wrong input, 3 a check found something.
    """

    exit_code = 1

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


class InputError(MocError):
    """Wrong input: a file, an option or a value that can't be used (exit code 2)."""

    exit_code = 2

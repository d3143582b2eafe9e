"""What commands save: which endings are allowed, and flat tables as csv or parquet, whole or not at all. Torch-free."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moc.errors import InputError

PICTURES = (".png", ".svg")


def check_ending(path: Path, endings: Sequence[str], option: str) -> None:
    """Raises InputError for a file whose ending is none of `endings`; `option` is what named it."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{option} {path}: the name must end in one of {', '.join(endings)}.")


def check_place(path: Path, option: str, *, folder: bool = False) -> None:
    """Refuses a place that can't be written, as far as can be told without writing.

    Args:
        path: of a file, or of a `folder`; what is missing above it will be made. option: what named it.

    Raises:
        InputError: a folder lies at a file's place or a file at a folder's, or the place can't be written to.
    """
    try:
        if path.is_dir() and not folder:
            raise InputError(f"{option} {path}: this is a folder; name a file.")
        above = path.absolute() if folder else path.absolute().parent
        while not above.exists() and not above.is_symlink():
            above = above.parent
        if not above.is_dir():
            raise InputError(f"{option} {path}: {above} is a file, so nothing can be put into it.")
        if not os.access(above, os.W_OK | os.X_OK):
            raise InputError(f"{option} {path}: {above} can't be written to.")
    except OSError as error:  # a name that is too long, a folder that can't be searched
        raise InputError(f"{option} {path}: {error.strerror}.") from error


def check_table(path: Path, endings: Sequence[str]) -> None:
    """Refuses what can't be saved, before any work.

    Raises:
        InputError: an unknown ending, or parquet without a package that writes it.
    """
    check_ending(path, endings, "--save")
    if path.suffix.lower() == ".parquet" and not find_spec("pyarrow") and not find_spec("fastparquet"):
        *others, last = (ending for ending in endings if ending != ".parquet")
        rest = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"--save {path}: parquet needs the package pyarrow: pip install pyarrow, or save as {rest}.")


def check_plot(path: Path) -> None:
    """Refuses what can't be drawn, before any work.

    Raises:
        InputError: an ending that is none of `PICTURES`, or no matplotlib.
    """
    check_ending(path, PICTURES, "--plot")
    if not find_spec("matplotlib"):
        raise InputError("--plot needs the package matplotlib: pip install matplotlib.")


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows, which all have the same keys, as .parquet or else as csv.

    Raises:
        InputError: a place that can't be written. MocError: a full disk.
    """
    from moc.run.files import atomic, write_bytes

    if path.suffix.lower() == ".parquet":
        import pandas as pd

        with atomic(path) as temporary:
            pd.DataFrame(rows).to_parquet(temporary)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def save_figure(figure: Any, path: Path, dpi: int) -> None:
    """Saves a matplotlib figure without its date: the same data gives the same bytes."""
    from moc.run.files import atomic

    ending = path.suffix[1:].lower()
    metadata = {"Date": None} if ending == "svg" else {"Software": None}
    with atomic(path) as temporary:
        figure.savefig(temporary, format=ending, dpi=dpi, metadata=metadata)

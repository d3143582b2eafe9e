"""What the tests of runs and of the command line share: small stories, a folder's bytes, and `moc` as a process."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from moc_cli.main import main

ROOT = Path(__file__).parents[2]
PLUGINS = Path(__file__).parent


def story_data(shots: int = 4, **shared: Any) -> dict[str, Any]:
    """A story for the fake model as plain data; `shared` replaces or adds top-level keys."""
    return {
        "version": 1,
        "title": "Test tale",
        "model": "fake",
        "characters": {"mira": "a woman with red hair"},
        "sampling": {"seed": 7},
        "shots": [
            {"id": f"s{n}", "duration": f"{1 + n % 2}s", "prompt": f"{{mira}} waves {'again ' * n}".strip()}
            for n in range(1, shots + 1)
        ],
        **shared,
    }


def write_story(path: Path, data: Mapping[str, Any] | None = None) -> Path:
    """Write a story file and return its path."""
    path.write_text(yaml.safe_dump(data or story_data(), sort_keys=False))
    return path


def bytes_of(folder: Path, *, manifest: bool = False) -> dict[str, bytes]:
    """The content of every file of a run by name, without the manifest unless asked."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (manifest or path.name != "manifest.json")
    }


def environment(**extra: str) -> dict[str, str]:
    """Variables under which a process finds moc and the fake model."""
    paths = [str(ROOT), str(PLUGINS), os.environ.get("PYTHONPATH", "")]
    joined = os.pathsep.join(path for path in paths if path)
    return {**os.environ, "PYTHONPATH": joined, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1", **extra}


def command(*arguments: object) -> list[str]:
    """`moc` with arguments, as a process of this Python."""
    return [sys.executable, "-m", "moc_cli", *map(str, arguments)]


def moc(*arguments: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Result:
    """Run `moc` and wait for it."""
    return subprocess.run(
        command(*arguments), env=environment(**(env or {})), cwd=cwd, capture_output=True, text=True, timeout=120
    )


def moc_here(*arguments: object) -> Result:
    """Run `moc` in this process, which is quicker."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["moc", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    return Result(arguments, int(str(code or 0)), out.getvalue(), err.getvalue())


Result = subprocess.CompletedProcess[str]


def shown(result: Result) -> str:
    """Everything a process said, for messages of failed asserts."""
    return f"exit code {result.returncode}\n--- stdout\n{result.stdout}\n--- stderr\n{result.stderr}"


def assert_fails(result: Result, code: int, *words: str) -> None:
    """The process ended with `code` and one clear sentence that holds `words`, without a traceback."""
    said = result.stderr.strip()
    assert result.returncode == code, shown(result)
    assert said, shown(result)
    assert "Traceback" not in result.stdout + said, shown(result)
    assert "bug in moc" not in said, shown(result)
    for word in words:
        assert word in said, shown(result)


def names(folder: Path) -> Sequence[str]:
    """Relative names of all files and folders under `folder`, hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

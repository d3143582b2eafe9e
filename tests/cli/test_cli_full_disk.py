"""A disk that fills up at any point: one sentence, exit code 1, nothing half-written, and the run can go on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from moc_testing import bytes_of, command, environment, moc, story_data, write_story

# A tmpfs of a given size in a mount namespace of its own; the run's files are copied out at the end.
SCRIPT = """
set -u
mount -t tmpfs -o size=$1 tmpfs $2 || exit 77
shift
disk=$1; copy=$2; shift 2
"$@"; code=$?
find $disk -name '.tmp-*' -o -name .lock
mount -o remount,size=20m $disk
"$@" --resume || exit 78
cp -r $disk/run $copy
exit $code
"""


def can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    return (
        subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_mount(), reason="needs mount namespaces")
@pytest.mark.parametrize(
    "kilobytes", [20, *(pytest.param(size, marks=pytest.mark.slow) for size in (4, 12, 28, 32, 36, 40, 44, 48, 52))]
)
def test_full_disk(tmp_path: Path, kilobytes: int) -> None:
    story = write_story(tmp_path / "tale.yaml", story_data(2))
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = command("generate", story, "--out", disk / "run")
    result = subprocess.run(
        ["unshare", "-rm", "bash", "-c", SCRIPT, "bash", f"{kilobytes}k", disk, tmp_path / "copy", *arguments],
        env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert errors[0].endswith("can't be written: the disk is full.")
    assert "Traceback" not in result.stderr
    assert not any(".tmp-" in line or line.endswith(".lock") for line in result.stdout.splitlines())
    assert moc("generate", story, "--out", tmp_path / "calm").returncode == 0
    assert bytes_of(tmp_path / "copy") == bytes_of(tmp_path / "calm")

"""Atomic files, the lock, and how disk errors read."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from moc_testing import environment

from moc.errors import InputError, MocError
from moc.run.arrays import add_array, array_file
from moc.run.files import atomic, disk_error, remove_leftovers, sha256_json, write_bytes, write_json
from moc.run.lock import locked


def test_atomic_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_bytes(path, b"old")
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old", "the old file stays until the new one is complete"
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_arrays_come_back_packed_or_not(tmp_path: Path) -> None:
    counts, noise = np.arange(4000, dtype=np.uint32).reshape(4, 1000) % 7, np.random.default_rng(0).random(4000)
    for name in ("a.npz", "b.npz"):
        with array_file(tmp_path / name) as file:
            add_array(file, "counts", counts)
            add_array(file, "noise", noise, packed=False)
    with np.load(tmp_path / "a.npz") as found:
        assert sorted(found.files) == ["counts", "noise"]
        assert np.array_equal(found["counts"], counts)
        assert np.array_equal(found["noise"], noise)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes(), "no clock in it"
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        sizes = {entry.filename: (entry.compress_size, entry.file_size) for entry in archive.infolist()}
    assert sizes["counts.npy"][0] < sizes["counts.npy"][1] / 4
    assert sizes["noise.npy"][0] == sizes["noise.npy"][1]


def test_atomic_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        assert temporary.write_bytes(b"half") // 0
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_disk_errors_are_sentences(tmp_path: Path) -> None:
    with (
        pytest.raises(MocError, match=r"a\.txt can't be written: the disk is full\.") as full,
        atomic(tmp_path / "a.txt") as temporary,
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))
    assert full.value.exit_code == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="in the way"):
        write_bytes(tmp_path / "file" / "a.txt", b"")
    assert disk_error(OSError(errno.EROFS, ""), tmp_path).exit_code == 2
    assert "strange" in str(disk_error(OSError(12345, "strange"), tmp_path))


def test_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1234-video.mp4").write_text("half")
    (tmp_path / "video.mp4").write_text("whole")
    remove_leftovers(tmp_path, tmp_path / "missing")
    assert [p.name for p in tmp_path.iterdir()] == ["video.mp4"]


def test_json_hash_ignores_order_only() -> None:
    assert sha256_json({"a": 1, "b": [1, 2]}) == sha256_json({"b": [1, 2], "a": 1})
    assert sha256_json({"a": 1, "b": [1, 2]}) != sha256_json({"a": 1, "b": [2, 1]})
    with pytest.raises(ValueError, match="JSON"):
        write_json(Path("never.json"), float("nan"))


def test_lock_keeps_others_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked(folder):
        with pytest.raises(MocError, match=f"process {os.getpid()}"), locked(folder):
            pass
        (folder / "kept").write_text("")
    assert [p.name for p in folder.iterdir()] == ["kept"]
    with locked(folder):
        pass


def test_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    script = "import os, sys, pathlib\nfrom moc.run.lock import locked\n"
    script += "with locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    dead = subprocess.run([sys.executable, "-c", script, tmp_path], env=environment(), check=False)
    assert dead.returncode == -9
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        pass
    assert not (tmp_path / ".lock").exists()


def test_lock_removes_folders_that_stay_empty(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "runs" / "story"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []

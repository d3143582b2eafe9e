"""Killed at any moment, a run resumes to the bytes of an undisturbed one.

A kill -9 only shows between two changes of names on the disk, because files are renamed into place whole. So the first
tests kill a run right before and right after every single rename; the last ones kill real processes at random moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from moc_testing import bytes_of, command, environment, moc, shown, story_data, write_story

from moc.run import Request, render
from moc.storyboard import load_storyboard

Job = Callable[[Path, Path], Any]


def whole(story: Path, out: Path, **options: Any) -> None:
    """The whole story."""
    render(Request(load_storyboard(story), str(story), out, **options))


def changed_shot(story: Path, out: Path) -> None:
    """Both shots of a finished run, the first after a change."""
    data = story_data(2)
    data["shots"][0]["prompt"] = "{mira} dances"
    write_story(story, data)
    render(Request(load_storyboard(story), str(story), out, shots="1-2"))


def other_take(story: Path, out: Path) -> None:
    """Another take of shot 1 into the video."""
    render(Request(load_storyboard(story), str(story), out, use_takes="1:2"))


def two_takes(story: Path, out: Path) -> None:
    """Other takes of both shots into the video; `--resume` alone goes on with the second."""
    render(Request(load_storyboard(story), str(story), out, use_takes="1:2,2:2"))


def killed_at_rename(job: Job, story: Path, out: Path, number: int, *, after: bool) -> bool:
    """Run a job in a child that is killed at its `number`-th rename; False if it ended before that."""
    child = os.fork()
    if child == 0:
        real, count = Path.replace, 0

        def replace(self: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(self, target)
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        Path.replace = replace  # type: ignore[method-assign]
        try:
            job(story, out)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def manifest_of(out: Path) -> dict[str, Any]:
    """The manifest but for timings."""
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    del manifest["timings"]
    return manifest


def prepare(job: Job, story: Path, out: Path) -> None:
    """What lies there before the job begins."""
    if job is changed_shot:
        whole(story, out)
    elif job in (other_take, two_takes):
        whole(story, out, shots="1-2")
        chosen = "1" if job is other_take else "1-2"
        render(Request(load_storyboard(story), str(story), out, shots=chosen, takes=2))


@pytest.mark.parametrize(
    ("job", "after"),
    [
        (whole, False), (changed_shot, True), (two_takes, False),
        *(pytest.param(job, after, marks=pytest.mark.slow)
          for job, after in ((whole, True), (changed_shot, False), (other_take, False), (other_take, True),
                             (two_takes, True))),
    ],
    ids=lambda value: getattr(value, "__name__", "after" if value is True else "before"),
)  # fmt: skip
def test_killed_at_every_rename(tmp_path: Path, job: Job, after: bool) -> None:
    first = write_story(tmp_path / "tale.yaml", story_data(2))
    calm = tmp_path / "calm"
    prepare(job, first, calm)
    job(first, calm)
    start = tmp_path / "start"
    story = write_story(tmp_path / "tale.yaml", story_data(2))
    prepare(job, story, start)
    number, killed = 0, True
    while killed:
        number += 1
        out = tmp_path / f"{number}"
        story = write_story(tmp_path / "tale.yaml", story_data(2))
        if start.exists():
            subprocess.run(["cp", "-r", start, out], check=True)
        before = bytes_of(out) if out.exists() else {}
        killed = killed_at_rename(job, story, out, number, after=after)
        if killed:
            kept = {name for name in before if name.startswith("latents/")}
            assert kept <= set(bytes_of(out)), "a finished shot is never lost"
            noted = job is whole or manifest_of(out) != manifest_of(start)
            if noted:
                whole(story, out, resume=True)
            if job is other_take or not noted:
                job(story, out)  # the folder is as it was before, and the same command does it
        assert bytes_of(out) == bytes_of(calm), f"rename {number}"
        assert manifest_of(out) == manifest_of(calm), f"rename {number}"
    assert number > 5


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_throwing_away(tmp_path: Path, after: bool) -> None:
    """--force over another run: until its first shot is done the old run is whole, and --force again always ends it."""
    story, old, calm = write_story(tmp_path / "tale.yaml", story_data(3)), tmp_path / "old", tmp_path / "calm"
    whole(story, old)
    write_story(story, story_data(2))
    whole(story, calm)
    number, killed = 0, True
    while killed:
        number += 1
        out = tmp_path / f"{number}"
        subprocess.run(["cp", "-r", old, out], check=True)
        killed = killed_at_rename(lambda *places: whole(*places, force=True), story, out, number, after=after)
        if killed and number == 1 and not after:
            assert not (out / "latents/01.npz").exists(), "the first rename is that of the new manifest"
        if killed:
            whole(story, out, force=True)
        assert bytes_of(out) == bytes_of(calm), f"rename {number}"
    assert number > 5


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_killed_at_random(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    story = write_story(tmp_path / "tale.yaml", story_data(5))
    assert moc("generate", story, "--out", tmp_path / "calm").returncode == 0
    out = tmp_path / "run"
    for _ in range(3):
        process = subprocess.Popen(
            command("generate", story, "--out", out, "--resume"), env=environment(MOC_FAKE_DELAY="0.05"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(rng.uniform(0.3, 2.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = moc("generate", story, "--out", out, "--resume")
    assert result.returncode == 0, shown(result)
    assert bytes_of(out) == bytes_of(tmp_path / "calm")
    assert manifest_of(out) == manifest_of(tmp_path / "calm")

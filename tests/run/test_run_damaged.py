"""Run folders that are damaged, edited by hand, or made to do harm; and files in them that are the user's own."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moc_rendering import go
from moc_testing import bytes_of, names, story_data, write_story

from moc.errors import InputError, MocError
from moc.run import Request, RunFolder, plan_story, story_of_run
from moc.storyboard import load_storyboard


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a story of two shots and its finished run, not to be changed."""
    place = tmp_path_factory.mktemp("finished")
    go(write_story(place / "tale.yaml", story_data(2)), place / "run")
    return place


@pytest.fixture
def story(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(finished / "tale.yaml", tmp_path / "tale.yaml"))


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; None from `change` keeps the changed object."""
    data = json.loads(path.read_text())
    path.write_text(json.dumps(change(data) or data))


def edit_note(path: Path, **values: Any) -> None:
    """Change fields of the note of a finished shot."""
    with np.load(path) as archive:
        arrays = dict(archive)
    note = json.loads(arrays["note"].tobytes()) | values
    arrays["note"] = np.frombuffer(json.dumps(note).encode(), np.uint8)
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize("device", ["cuda:999", "mps"])
def test_force_that_cannot_start_costs_nothing(story: Path, out: Path, device: str) -> None:
    before = bytes_of(out, manifest=True)
    with pytest.raises(InputError, match="--device"):
        go(story, out, force=True, device=device)
    assert bytes_of(out, manifest=True) == before


def test_force_with_a_failing_model_costs_nothing(story: Path, out: Path) -> None:
    before = bytes_of(out, manifest=True)
    with pytest.raises(MocError, match="failed"):
        go(story, out, force=True, overrides={"global_prompt": "failing"})
    assert bytes_of(out, manifest=True) == before


@pytest.mark.parametrize("other", [{"resume": True}, {"shots": "1"}, {"use_takes": "1:1"}])
def test_force_stands_alone(story: Path, out: Path, other: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="can't be used together"):
        go(story, out, force=True, **other)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b'{"format": 1}', b'{"format": 99}', None])
def test_force_mends_any_manifest(story: Path, out: Path, content: bytes | None) -> None:
    before = bytes_of(out)
    (out / "latents/03.npz").write_bytes((out / "latents/02.npz").read_bytes())  # of another story
    if content is None:
        (out / "manifest.json").unlink()
    else:
        (out / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match="--force"):
        go(story, out)
    assert go(story, out, force=True).rendered == [1, 2]
    assert bytes_of(out) == before


def test_own_files_stay(story: Path, out: Path) -> None:
    mine = ["shots/01_intro.mp4", "shots/2024 holiday.mp4", "latents/01.backup.npz", "latents/1.npz", "latents/000.npz"]
    for name in mine:
        (out / name).write_bytes(b"mine")
    go(story, out, shots="1", seed=3)
    go(story, out, shots="2-", takes=2)
    go(story, out, force=True)
    assert all((out / name).read_bytes() == b"mine" for name in mine)
    assert "shots/02_s2.take2.mp4" not in names(out)
    (out / "manifest.json").write_text("")
    go(story, out, force=True)
    assert all((out / name).read_bytes() == b"mine" for name in mine)


EVIL = [
    {"id": "x/../../../evil"}, {"id": "/tmp/evil"}, {"id": 7}, {"id": "a\n"}, {"id": "a" * 41}, {"number": 1},
    {"number": "2"}, {"number": True}, {"take": 0}, {"take": None}, {"seed": -1}, {"seed": 1.5}, {"remembers": [1]},
    {"remembers": {"x": "0" * 64}}, {"remembers": {"1": 1}}, {"recipe": None}, {"sparsity": "much"}, {"frames": 0},
    {"shot": {}}, {"shot": []}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize("values", EVIL, ids=str)
def test_evil_notes_are_refused(story: Path, out: Path, values: dict[str, Any]) -> None:
    edit_note(out / "latents/02.npz", **values)
    before = names(out.parent)
    (out / "video.mp4").unlink()
    with pytest.raises(InputError, match=r"02\.npz is damaged"):
        go(story, out, resume=True)
    assert set(names(out.parent)) <= set(before)


def test_take_must_be_what_its_name_says(story: Path, out: Path) -> None:
    go(story, out, shots="1", takes=2)
    (out / "latents/01.take2.npz").rename(out / "latents/01.take3.npz")
    with pytest.raises(InputError, match=r"take3\.npz is damaged"):
        go(story, out, use_takes="1:3")


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """Bits of the first entry's compressed content."""
    start = 30 + sum(struct.unpack("<HH", data[26:30]))
    return data[:start] + bytes(byte ^ 0x5A for byte in data[start : start + 200]) + data[start + 200 :]


def odd_method(data: bytes) -> bytes:
    """Every entry says it is compressed in a way that nobody knows."""
    return re.sub(rb"(PK\x01\x02.{6})..", lambda found: found[1] + b"\x63\x00", data, flags=re.DOTALL)


def encrypted(data: bytes) -> bytes:
    """Every entry says it is encrypted."""
    return re.sub(rb"(PK\x01\x02.{4})..", lambda found: found[1] + b"\x01\x00", data, flags=re.DOTALL)


def no_archive(_: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00"


@pytest.mark.parametrize("damage", [cut_short, flipped, odd_method, encrypted, no_archive])
def test_damaged_states_are_said(story: Path, out: Path, damage: Callable[[bytes], bytes]) -> None:
    path = out / "latents/02.npz"
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    (out / "shots/02_s2.mp4").unlink()
    with pytest.raises(InputError, match=r"02\.npz is damaged"):
        go(story, out, resume=True)


def test_wrong_arrays_are_said(story: Path, out: Path) -> None:
    path = out / "latents/01.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    state = RunFolder(out).states()[1]
    for name, array in (("frames", arrays["frames"][..., :2]), ("frames", arrays["frames"][1:]),
                        ("latents", arrays["latents"] + 1), ("routing", arrays["routing"][0])):  # fmt: skip
        np.savez_compressed(path, **(arrays | {name: array}))
        with pytest.raises(InputError, match="damaged"):
            getattr(state, name)


MANIFESTS: list[Callable[[Any], Any]] = [
    lambda data: {"format": 1},
    lambda data: data.pop("clips") and None,
    lambda data: data["clips"].update({"../../evil.mp4": {"of": "0" * 64, "sha256": "0" * 64}}),
    lambda data: data["clips"].update({"shots/01_s1.mp4": []}),
    lambda data: data.update(job={"shots": [3], "takes": 1, "seeds": {}}),
    lambda data: data.update(job={"shots": [1], "takes": 1, "seeds": [7]}),
    lambda data: data.update(device={"kind": "tpu"}),
    lambda data: data.update(overrides=[]),
    lambda data: data.update(storyboard=[]),
    lambda data: data.update(timings={"shots": {"1": "long"}}),
    lambda data: data["shots"][0].update(number="1"),
    lambda data: data.update(status="dreaming"),
]


@pytest.mark.parametrize("number", range(len(MANIFESTS)))
def test_damaged_manifests_are_said(story: Path, out: Path, number: int) -> None:
    edit(out / "manifest.json", MANIFESTS[number])
    before = bytes_of(out, manifest=True)
    for options in ({}, {"resume": True}, {"shots": "1"}, {"use_takes": "1:1"}):
        with pytest.raises(InputError, match=r"manifest\.json is damaged"):
            go(story, out, **options)
    with pytest.raises(InputError, match="damaged"):
        story_of_run(out / "manifest.json", out.with_name("again"))
    assert bytes_of(out, manifest=True) == before


def test_too_many_shots_are_said(story: Path, out: Path) -> None:
    with np.load(out / "latents/02.npz") as archive:
        note = json.loads(archive["note"].tobytes())
    shutil.copy(out / "latents/02.npz", out / "latents/03.npz")
    edit_note(out / "latents/03.npz", number=3, shot=note["shot"] | {"number": 3})
    with pytest.raises(InputError, match="has 3 shots and the story has 2"):
        go(story, out, resume=True)


REFUSED: list[dict[str, Any]] = [
    {"use_takes": "1:9"}, {"force": True, "resume": True}, {"overrides": {"sampling.seed": "9"}}, {"takes": 0},
    {"shots": "3"}, {"device": "tpu"}, {"overrides": {"global_prompt": "impossible"}},
]  # fmt: skip


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_a_dry_run_refuses_what_a_run_does(story: Path, out: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as real:
        go(story, out, **options)
    before = bytes_of(out, manifest=True)
    with pytest.raises(InputError) as dry:
        plan_story(Request(load_storyboard(story), str(story), out, **options))
    assert str(dry.value) == str(real.value)
    assert bytes_of(out, manifest=True) == before


def test_a_dry_run_counts_takes_and_what_is_there(story: Path, out: Path) -> None:
    def work(**options: Any) -> list[tuple[int, int]]:
        return plan_story(Request(load_storyboard(story), str(story), out, **options))[1]

    assert work() == []
    assert work(shots="2", takes=3) == [(2, 2), (2, 3)]
    assert work(force=True, takes=2) == [(1, 1), (2, 1), (1, 2), (2, 2)]
    (out / "latents/02.npz").unlink()
    assert work(resume=True) == [(2, 1)]


@pytest.mark.parametrize("name", ["two\nlines", "bell\a", "byte\udcff", "deep\n/run"], ids=ascii)
def test_names_that_tools_cannot_take(story: Path, tmp_path: Path, name: str) -> None:
    before = names(tmp_path)
    for options in ({}, {"force": True}):
        with pytest.raises(InputError, match="not text") as caught:
            go(story, tmp_path / name, **options)
        str(caught.value).encode()
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", ["shots", "latents", ".lock"])
def test_links_lead_nowhere(story: Path, out: Path, name: str) -> None:
    other = out.with_name("other")
    if name == ".lock":
        other.write_text("mine")
    else:
        (out / name).rename(other)
    (out / name).symlink_to(other)
    with pytest.raises(MocError, match="link"):
        go(story, out, force=True)
    assert other.read_text() == "mine" if name == ".lock" else len(names(other)) == 2

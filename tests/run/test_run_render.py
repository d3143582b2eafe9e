"""What `render` leaves in a run folder, in process, with the fake model."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from moc_rendering import Recorder, change, go
from moc_testing import bytes_of
from PIL import Image

from moc.errors import InputError, MocError
from moc.run import (
    Request,
    RunFolder,
    manifest,
    plan_story,
    render,
    resume_hint,
    story_of_run,
)
from moc.run.assemble import write_routing
from moc.run.lock import locked
from moc.run.state import ShotState
from moc.storyboard import load_storyboard
from moc.video import read_frames


def test_everything_is_there(story: Path, out: Path) -> None:
    outcome = go(story, out)
    assert outcome.rendered == [1, 2, 3, 4]
    assert outcome.renew is None
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == {
        "video.mp4", "contact_sheet.png", "manifest.json", "routing.npz",
        *(f"shots/0{n}_s{n}.mp4" for n in range(1, 5)), *(f"latents/0{n}.npz" for n in range(1, 5)),
    }  # fmt: skip
    clips = [len(list(read_frames(out / f"shots/0{n}_s{n}.mp4"))) for n in range(1, 5)]
    assert clips == [16, 8, 16, 8]
    assert len(list(read_frames(out / "video.mp4"))) == sum(clips)
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 1000


def test_manifest_tells_how_to_repeat(story: Path, out: Path) -> None:
    go(story, out, overrides={"attention.top_k": "3"})
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["storyboard"]["attention"]["top_k"] == 3
    assert manifest["overrides"] == {"attention.top_k": "3"}
    assert manifest["seed"] == 7
    assert len(manifest["model"]["weights_sha256"]) == 64
    assert {"moc", "python", "torch", "platform"} <= manifest["versions"].keys()
    assert manifest["device"]["kind"] == "cpu"
    assert manifest["stale"] == manifest["changed"] == manifest["missing"] == []
    assert [shot["id"] for shot in manifest["shots"]] == ["s1", "s2", "s3", "s4"]
    assert all(0 < shot["sparsity"] < 1 for shot in manifest["shots"])
    assert set(manifest["timings"]["shots"]) == {"1", "2", "3", "4"}
    assert str(out) not in (out / "manifest.json").read_text(), "a run must not name places of this machine"


def test_routing_counts(story: Path, out: Path) -> None:
    go(story, out)
    states = RunFolder(out).states()
    with np.load(out / "routing.npz") as routing:
        chunk_shot = routing["chunk_shot"]
        assert chunk_shot.tolist() == [1] * 4 + [2] * 2 + [3] * 4 + [4] * 2
        assert routing["shot_ids"].tolist() == ["s1", "s2", "s3", "s4"]
        assert routing["shot_numbers"].tolist() == [1, 2, 3, 4]
        for number, state in states.items():
            steps = routing[f"steps_{number:02d}"]
            np.testing.assert_array_equal(steps, state.routing)
            np.testing.assert_array_equal(routing[f"counts_{number:02d}"], steps.sum(0))
            assert steps.shape[1:] == (2, 3, (chunk_shot == number).sum(), (chunk_shot <= number).sum())


def test_routing_memory_does_not_grow_with_the_story(tmp_path: Path) -> None:
    """Twenty shots that look at all four hundred chunks need no more than two of them at once."""
    counts = np.ones((2, 4, 4, 20, 400), np.uint32)

    class Long(ShotState):
        routing = property(lambda _: counts.copy())  # type: ignore[assignment]
        choices = None  # type: ignore[assignment]
        note = SimpleNamespace(id="long")  # type: ignore[assignment]

    folder = RunFolder(tmp_path)
    tracemalloc.start()
    write_routing(folder, {n: Long(tmp_path / f"{n}.npz", n, None) for n in range(1, 21)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * counts.nbytes
    with np.load(folder.routing) as routing:
        assert routing["counts_20"].sum() == counts.sum()
        assert len(routing["chunk_shot"]) == 400


def test_same_seed_same_bytes(story: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        go(story, tmp_path / name)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    go(story, tmp_path / "c", overrides={"sampling.seed": "8"})
    assert bytes_of(tmp_path / "a")["video.mp4"] != bytes_of(tmp_path / "c")["video.mp4"]


def test_finished_run_says_so(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out, manifest=True)
    assert go(story, out).rendered == []
    assert bytes_of(out, manifest=True) == before


@pytest.mark.parametrize("lost", ["video.mp4", "shots/02_s2.mp4", "contact_sheet.png", "routing.npz"])
def test_resume_mends_lost_files(story: Path, out: Path, lost: str) -> None:
    go(story, out)
    before = bytes_of(out)
    (out / lost).unlink()
    with pytest.raises(InputError, match="--resume"):
        go(story, out)
    assert go(story, out, resume=True).rendered == []
    assert bytes_of(out) == before


def test_resume_mends_a_tampered_clip(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out)
    (out / "shots/02_s2.mp4").write_bytes(b"oops")
    go(story, out, resume=True)
    assert bytes_of(out) == before


def test_resume_draws_a_lost_shot_as_it_was(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out)
    (out / "latents/02.npz").unlink()
    assert go(story, out, resume=True).rendered == [2]
    assert bytes_of(out) == before


def test_damaged_state_is_said(story: Path, out: Path) -> None:
    go(story, out)
    (out / "latents/02.npz").write_bytes(b"PK but no archive")
    with pytest.raises(MocError, match=r"02\.npz is damaged; remove it"):
        go(story, out, resume=True)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [({"sampling.seed": "9"}, "sampling.seed is 7 there and 9 here"), ({"shots.2.prompt": "{mira} runs"}, "--shots 2")],
)
def test_other_run_is_kept(story: Path, out: Path, overrides: dict[str, str], words: str) -> None:
    go(story, out)
    before = bytes_of(out, manifest=True)
    with pytest.raises(InputError, match="holds another run") as caught:
        go(story, out, overrides=overrides)
    assert words in str(caught.value)
    assert bytes_of(out, manifest=True) == before
    go(story, out, overrides=overrides, force=True)
    assert bytes_of(out)["video.mp4"] != before["video.mp4"]


def test_the_seed_of_a_shot_is_no_seed_of_the_story(story: Path, out: Path) -> None:
    """Who drew one shot with a seed of its own and gives it again to go on is told what to leave out."""
    go(story, out, shots="1", seed=5)
    with pytest.raises(InputError, match=r"leave the seed out to go on with it \(with --shots, --seed is that of"):
        go(story, out, resume=True, overrides={"sampling.seed": "5"})
    go(story, out, resume=True)


def test_other_weights_are_another_run(story: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(story, out)
    monkeypatch.setenv("MOC_FAKE_WEIGHTS", "newer")
    with pytest.raises(InputError, match="weights"):
        go(story, out, resume=True)


def test_folder_with_other_things(story: Path, out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "video.mp4").write_text("holiday")
    with pytest.raises(InputError, match=r"video\.mp4, but no run of moc"):
        go(story, out)
    assert (out / "video.mp4").read_text() == "holiday"
    go(story, out, force=True)
    assert (out / "notes.txt").read_text() == "mine"
    go(story, out, force=True, overrides={"sampling.seed": "1"})
    assert (out / "notes.txt").read_text() == "mine", "--force removes a run's own files only"


def test_joint_mode(story: Path, out: Path) -> None:
    outcome = go(story, out, overrides={"sampling.mode": "joint"})
    assert outcome.rendered == [1, 2, 3, 4]
    before = bytes_of(out)
    (out / "latents/03.npz").unlink()
    assert go(story, out, resume=True).rendered == [1, 2, 3, 4], "shots of a joint run are drawn together"
    assert bytes_of(out) == before


def test_joint_shots_share_their_lengths(story: Path, out: Path) -> None:
    joint = {"sampling.mode": "joint"}
    go(story, out, overrides=joint)
    change(story, 4, prompt="{mira} dances")
    assert go(story, out, shots="4").manifest["changed"] == []
    change(story, 4, prompt="{mira} dances", duration="3s")
    assert go(story, out, shots="4").manifest["changed"] == [1, 2, 3]


AHEAD = {"sampling.mode": "joint", "attention.causal": "false"}


def test_attention_that_looks_ahead(story: Path, out: Path) -> None:
    """Every shot depends on every other, so one that changes makes all of them another run."""
    go(story, out, overrides=AHEAD)
    before = bytes_of(out)
    (out / "latents/01.npz").unlink()
    assert go(story, out, resume=True).rendered == [1, 2, 3, 4]
    assert bytes_of(out) == before
    again = out.with_name("again")
    render(Request(story_of_run(out / "manifest.json", again), str(out / "manifest.json"), again))
    assert bytes_of(again) == before, "what a run was made from is in its manifest"
    for options in ({"shots": "4", "seed": 9}, {"takes": 2}, {"use_takes": "1:1"}):
        with pytest.raises(InputError, match="every shot depends on all others"):
            go(story, out, overrides=AHEAD, **options)
    recipes = {n: state.note.recipe for n, state in RunFolder(out).states().items()}
    change(story, 4, prompt="{mira} dances")
    with pytest.raises(InputError, match=r"the prompt of shot 4 \(s4\)\): start over with --force, or choose"):
        go(story, out, overrides=AHEAD)
    go(story, out, overrides=AHEAD, force=True)
    assert all(state.note.recipe != recipes[n] for n, state in RunFolder(out).states().items())
    assert bytes_of(out)["shots/01_s1.mp4"] != before["shots/01_s1.mp4"]


def test_repetition_is_the_same_in_every_byte(story: Path, out: Path) -> None:
    go(story, out)
    again = out.with_name("again")
    render(Request(story_of_run(out / "manifest.json", again), str(out / "manifest.json"), again))
    assert bytes_of(again) == bytes_of(out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "tpu"}, "tpu"), ({"device": "cuda:9999"}, "cuda"), ({"takes": 0}, "--takes"),
        ({"takes": 100}, "from 1 to 99"), ({"shots": "1", "seed": 2**63}, "--seed must be"),
        ({"shots": "9"}, "1 to 4"), ({"use_takes": "1:2"}, "no run"), ({"overrides": {"model": "nix"}}, "known are"),
        ({"overrides": {"model": "no/such.safetensors"}}, "does not exist"),
        ({"overrides": {"global_prompt": "impossible"}}, "impossible"), ({"shots": "3"}, "needs the shots before it"),
    ],
)  # fmt: skip
def test_wrong_requests_leave_nothing(story: Path, out: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        go(story, out, **options)
    assert words in str(caught.value)
    assert not out.exists()


def test_failing_model_leaves_nothing_half(story: Path, out: Path) -> None:
    with pytest.raises(MocError, match="failed"):
        go(story, out, overrides={"global_prompt": "failing"})
    assert [p.name for p in out.iterdir()] == ["manifest.json"]
    assert "0 of 4 shots are kept" in resume_hint(Request(load_storyboard(story), str(story), out))


def test_busy_folder(story: Path, out: Path) -> None:
    with locked(out), pytest.raises(MocError, match="being written by another moc"):
        go(story, out)


def test_out_is_a_file_or_damaged(story: Path, out: Path) -> None:
    out.write_text("")
    with pytest.raises(InputError, match="is a file"):
        go(story, out)
    out.unlink()
    go(story, out)
    (out / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        go(story, out, resume=True)


def test_plan(story: Path, out: Path) -> None:
    request = Request(load_storyboard(story), str(story), out)
    assert plan_story(request)[1] == [(n, 1) for n in range(1, 5)]
    go(story, out, shots="-2")
    assert plan_story(Request(request.story, str(story), out, resume=True))[1] == [(3, 1), (4, 1)]
    assert plan_story(Request(request.story, str(story), out, shots="2-3"))[1] == [(2, 1), (3, 1)]


def other_versions(monkeypatch: pytest.MonkeyPatch, **changed: str) -> None:
    """From here on, other versions are installed."""
    now = {**manifest.versions(), **changed}
    monkeypatch.setattr(manifest, "versions", lambda: now)


def test_shots_of_other_versions_are_told(story: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(story, out, shots="1-2")
    there = json.loads((out / "manifest.json").read_text())["shots"][0]["drawn_with"]
    assert {"moc", "torch", "numpy", "device"} <= there.keys()
    other_versions(monkeypatch, torch="99.0")
    listener = Recorder()
    shots = go(story, out, listener, resume=True).manifest["shots"]
    (said,) = listener.notes
    assert said.startswith("shots 1-2: drawn with other versions")
    assert f"torch {there['torch']}, now 99.0" in said
    assert [shot["drawn_with"]["torch"] for shot in shots] == [there["torch"]] * 2 + ["99.0"] * 2
    monkeypatch.setattr("moc.run.job.describe_device", lambda _: {"kind": "cpu", "name": "another"})
    listener = Recorder()
    redrawn = go(story, out, listener, shots="2").manifest["shots"][1]
    assert "device" in listener.notes[0]
    assert listener.notes[0].startswith("shots 1,3-4:")
    assert (redrawn["drawn_with"]["torch"], redrawn["drawn_with"]["device"]) == ("99.0", "another")


def test_shots_of_the_same_versions_need_no_word(story: Path, out: Path) -> None:
    go(story, out, shots="1-2")
    listener = Recorder()
    go(story, out, listener, resume=True)
    assert listener.notes == []

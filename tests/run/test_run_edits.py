"""`--remember` and `--forget`: another run's shot in the place of one, and shots that can't read earlier ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moc_fake_model import FakeBackbone
from moc_testing import assert_fails, bytes_of, moc_here, story_data, write_story
from test_run_kill import killed_at_rename
from test_run_kill import manifest_of as killed_manifest

from moc.errors import InputError
from moc.run import Outcome, Request, RunFolder, plan_story, render, story_of_run
from moc.run.edits import Edits, parse_forget, reads
from moc.storyboard import load_storyboard


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the same story with another seed; nothing may change it."""
    place = tmp_path_factory.mktemp("lender")
    go(write_story(place / "tale.yaml"), place / "run", overrides={"sampling.seed": "99"})
    return place / "run"


def go(story: Path, out: Path, **options: Any) -> Outcome:
    for name in ("remember", "forget"):
        if isinstance(options.get(name), str):
            options[name] = (options[name],)
    return render(Request(load_storyboard(story), str(story), out, **options))


def latents(out: Path, number: int) -> np.ndarray:
    return RunFolder(out).states()[number].latents


def same(out: Path, other: Path, numbers: tuple[int, ...] = (1, 2, 3, 4)) -> list[int]:
    """The shots that are equal in two runs."""
    return [n for n in numbers if np.array_equal(latents(out, n), latents(other, n))]


def manifest_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return found


def test_another_runs_shot_stands_in_place(story: Path, lender: Path, tmp_path: Path) -> None:
    plain, edited = tmp_path / "plain", tmp_path / "edited"
    go(story, plain)
    outcome = go(story, edited, remember=f"{lender}:1")
    assert outcome.rendered == [2, 3, 4]
    assert same(edited, lender, (1,)) == [1]
    assert same(edited, plain) == [], "every later shot remembers the other first one"
    assert bytes_of(edited)["shots/01_s1.mp4"] == bytes_of(lender)["shots/01_s1.mp4"]
    told = manifest_of(edited)
    note = RunFolder(lender).states()[1].note
    assert told["remember"] == {
        "1": {
            "title": "Test tale", "shot": 1, "id": "s1", "latents_sha256": note.digest,
            "weights_sha256": manifest_of(lender)["model"]["weights_sha256"],
        }
    }  # fmt: skip
    assert told["stale"] == told["changed"] == told["missing"] == []
    assert [shot["lent"] is not None for shot in told["shots"]] == [True, False, False, False]
    assert str(tmp_path) not in json.dumps(told), "a run must not name places of this machine"


def test_its_own_shot_changes_nothing(story: Path, tmp_path: Path) -> None:
    plain, edited = tmp_path / "plain", tmp_path / "edited"
    go(story, plain)
    go(story, edited, remember=f"{plain}:1")
    assert same(edited, plain) == [1, 2, 3, 4]
    assert bytes_of(edited)["video.mp4"] == bytes_of(plain)["video.mp4"]


def test_any_shot_in_any_place(story: Path, lender: Path, tmp_path: Path) -> None:
    plain, edited = tmp_path / "plain", tmp_path / "edited"
    go(story, plain)
    outcome = go(story, edited, remember=(f"{lender}:1=3", f"{lender / 'manifest.json'}:2"))
    assert outcome.rendered == [1, 4]
    assert np.array_equal(latents(edited, 3), latents(lender, 1))
    assert np.array_equal(latents(edited, 2), latents(lender, 2))
    assert same(edited, plain) == [1]


def test_all_shots_may_be_lent(story: Path, lender: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert go(story, out, remember=tuple(f"{lender}:{n}" for n in range(1, 5))).rendered == []
    assert bytes_of(out)["video.mp4"] == bytes_of(lender)["video.mp4"]
    assert go(story, out, resume=True).rendered == []
    assert go(story, out, shots="4", remember="none").rendered == [4]


def test_a_shot_forgets_what_it_is_told_to(story: Path, tmp_path: Path) -> None:
    plain, edited = tmp_path / "plain", tmp_path / "edited"
    go(story, plain)
    go(story, edited, forget="1:4")
    assert same(edited, plain) == [1, 2, 3]
    told = manifest_of(edited)
    assert told["forget"] == {"4": [1]}
    assert [shot["forgets"] for shot in told["shots"]] == [[], [], [], [1]]
    again = tmp_path / "again"
    go(story, again, forget=("1:4", "1:4"))
    assert bytes_of(again) == bytes_of(edited)


def test_nothing_of_a_forgotten_shot_comes_through(story: Path, lender: Path, tmp_path: Path) -> None:
    """Shots 2 and 3 may read shot 1 and shot 4 reads none: it is the same whatever the first one is."""
    one, other = tmp_path / "one", tmp_path / "other"
    go(story, one, forget="-3:4")
    go(story, other, forget="-3:4", remember=f"{lender}:1")
    assert same(one, other) == [4]


def test_what_is_kept_stays_as_it_was_read(story: Path, tmp_path: Path) -> None:
    """Shot 4 drawn alone remembers a shot 3 that had forgotten shot 2, as it did when all were drawn in one go."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    go(story, whole, forget="2:3")
    go(story, parts, forget="2:3")
    assert go(story, parts, shots="4").rendered == [4]
    assert bytes_of(parts) == bytes_of(whole)
    assert manifest_of(parts)["forget"] == {"3": [2]}


def test_resume_goes_on_with_both(story: Path, lender: Path, tmp_path: Path) -> None:
    calm, out = tmp_path / "calm", tmp_path / "run"
    for folder in (calm, out):
        go(story, folder, remember=f"{lender}:2", forget="1:3")
    (out / "latents/03.npz").unlink()
    (out / "video.mp4").unlink()
    assert go(story, out, resume=True).rendered == [3]
    assert bytes_of(out) == bytes_of(calm)
    assert go(story, out, remember=f"{lender}:2", forget="1:3").rendered == [], "the same options, the same run"


def test_resume_without_the_lent_shot_says_so(story: Path, lender: Path, tmp_path: Path) -> None:
    calm, out = tmp_path / "calm", tmp_path / "run"
    for folder in (calm, out):
        go(story, folder, remember=f"{lender}:1")
    (out / "latents/01.npz").unlink()
    with pytest.raises(InputError, match=r"shot 1 was remembered from another run \('Test tale'\) and is gone"):
        go(story, out, resume=True)
    assert go(story, out, resume=True, remember=f"{lender}:1").rendered == []
    assert bytes_of(out) == bytes_of(calm)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "in place of shot 1 is another run's shot there and no other run's shot here"),
        ({"remember": ":2"}, "in place of shot 2 is no other run's shot there and another run's shot here"),
        ({"remember": ":1", "forget": "1-2:3"}, "shot 3 forgets nothing there and 1-2 here.*--shots 3"),
    ],
)
def test_other_edits_are_another_run(
    story: Path, lender: Path, tmp_path: Path, options: dict[str, str], words: str
) -> None:
    out = tmp_path / "run"
    go(story, out, remember=f"{lender}:1")
    before = bytes_of(out, manifest=True)
    options = {name: f"{lender}{value}" if name == "remember" else value for name, value in options.items()}
    with pytest.raises(InputError, match=words):
        go(story, out, **options)
    assert bytes_of(out, manifest=True) == before


def test_on_a_finished_run(story: Path, lender: Path, tmp_path: Path) -> None:
    """Put a shot in, see what is stale, renew it; take it out again, and all is as it was."""
    plain, out, direct = tmp_path / "plain", tmp_path / "run", tmp_path / "direct"
    go(story, plain)
    go(story, out)
    placed = go(story, out, shots="1", remember=f"{lender}:1")
    assert placed.rendered == []
    assert placed.manifest["stale"] == [2, 3, 4]
    assert placed.renew is not None
    assert placed.renew.endswith("--shots 2-4")
    assert go(story, out, shots="2-4").rendered == [2, 3, 4]
    go(story, direct, remember=f"{lender}:1")
    assert bytes_of(out) == bytes_of(direct)
    assert go(story, out, shots="1-4", remember="none").rendered == [1, 2, 3, 4]
    assert bytes_of(out) == bytes_of(plain)
    assert manifest_of(out)["remember"] == {}


def test_forgetting_on_a_finished_run(story: Path, tmp_path: Path) -> None:
    plain, out = tmp_path / "plain", tmp_path / "run"
    go(story, plain)
    go(story, out)
    outcome = go(story, out, shots="2", forget="1:2")
    assert outcome.rendered == [2]
    assert outcome.manifest["stale"] == [3, 4]
    go(story, out, shots="3-4")
    assert manifest_of(out)["forget"] == {"2": [1]}, "shots that are not chosen keep what they forget"
    go(story, out, shots="2-4", forget="none")
    assert bytes_of(out) == bytes_of(plain)


def test_stale_are_those_that_read_it(story: Path, tmp_path: Path) -> None:
    """Shot 4 reads shot 3 alone, which reads shot 2 alone: a new first shot makes 2, 3 and 4 stale, ...

    ... a new second one 3 and 4; and with shot 4 reading nothing, only 3.
    """
    out = tmp_path / "run"
    go(story, out, forget=("1:3", "1-2:4"))
    assert go(story, out, shots="1", seed=5).manifest["stale"] == [2, 3, 4]
    other = tmp_path / "other"
    go(story, other, forget="-3:4")
    assert go(story, other, shots="2", seed=5).manifest["stale"] == [3]


def test_a_run_with_edits_can_be_repeated(story: Path, lender: Path, tmp_path: Path) -> None:
    out, again, third = tmp_path / "run", tmp_path / "again", tmp_path / "third"
    go(story, out, remember=f"{lender}:1", forget="1:4")
    for source, folder in ((out, again), (again, third)):
        place = source / "manifest.json"
        render(Request(story_of_run(place, folder), str(place), folder, repeats=place))
        assert bytes_of(folder) == bytes_of(out)
        assert {k: manifest_of(folder)[k] for k in ("remember", "forget", "shots")} == {
            k: manifest_of(out)[k] for k in ("remember", "forget", "shots")
        }


def test_over_the_run_that_lends(story: Path, lender: Path, tmp_path: Path) -> None:
    """--force clears the folder that the lent shot lies in; it is read before that."""
    out = tmp_path / "run"
    shutil.copytree(lender, out)
    go(story, out, force=True, remember=f"{out}:1")
    assert np.array_equal(latents(out, 1), latents(lender, 1))
    assert manifest_of(out)["seed"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_rename(lender: Path, tmp_path: Path, after: bool) -> None:
    """The same command with --resume ends with the bytes of an undisturbed run."""
    story, calm = write_story(tmp_path / "tale.yaml", story_data(2)), tmp_path / "calm"
    options = {"remember": f"{lender}:1", "forget": "1:2"}
    go(story, calm, **options)
    number, killed = 0, True
    while killed:
        number += 1
        out = tmp_path / f"{number}"
        killed = killed_at_rename(lambda *places: go(*places, **options), story, out, number, after=after)
        if killed:
            go(story, out, resume=True, **options)
        assert bytes_of(out) == bytes_of(calm), f"rename {number}"
        assert killed_manifest(out) == killed_manifest(calm), f"rename {number}"
    assert number > 5


def test_runs_of_before_are_read(story: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    go(story, out)
    told = manifest_of(out)
    for key in ("remember", "forget"):
        del told[key]
    for shot in told["shots"]:
        del shot["lent"], shot["forgets"]
    (out / "manifest.json").write_text(json.dumps(told))
    assert go(story, out).rendered == []
    assert go(story, out, shots="4", forget="1:4").rendered == [4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"remember": "{run}"}, "is not RUN:SHOT such as runs/other:1"),
        ({"remember": "nowhere:1"}, "there is no run in nowhere"),
        ({"remember": "{run}:9=1"}, "has no shot 9; it has 1-4"),
        ({"remember": "{run}:1=9"}, "the story has shots 1 to 4, not 9"),
        ({"remember": "{run}:0"}, "the story has shots 1 to 4, not 0"),
        ({"remember": "{run}:1=2"}, "that shot has 16 frames, and shot 2 of the story has 8 frames"),
        ({"remember": ("{run}:1", "{run}:3=1")}, "shot 1 is given twice"),
        ({"remember": ("none", "{run}:1")}, "--remember none can't go with another --remember"),
        ({"remember": "{run}:1", "overrides": {"video.fps": "4"}}, "has 8 frames a second, and shot 1 .* has 4"),
        ({"remember": "{run}:1", "overrides": {"video.width": "64"}}, "is 32 pixels wide, and shot 1 .* is 64"),
        ({"remember": "{run}:1", "overrides": {"sampling.mode": "joint"}}, "--remember: under mode 'joint'"),
        ({"forget": "1:2", "overrides": {"sampling.mode": "joint"}}, "--forget: under mode 'joint'.*--mode stream"),
        ({"forget": "8"}, "--forget '8' is not EARLIER:LATER such as 1:8"),
        ({"forget": "1:2:3"}, "is not EARLIER:LATER"),
        ({"forget": "1:9"}, "--forget '9': the story has shots 1 to 4, not 9"),
        ({"forget": "x:2"}, "'x' is no shot number or range"),
        ({"forget": "2:2"}, "shot 2 can't forget shot 2"),
        ({"forget": "3:2"}, "shot 2 can't forget shot 3; shots read earlier ones"),
        ({"forget": ("none", "1:2")}, "--forget none can't go with another --forget"),
        ({"forget": "1:4", "shots": "1-3"}, "shot 4 is to forget, but --shots 1-3 does not draw it"),
        ({"remember": "{run}:1", "shots": "1-2", "takes": 2}, "--takes: shot 1 is remembered from another run"),
    ],
)
def test_what_makes_no_sense_is_refused(
    story: Path, lender: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    for name in ("remember", "forget"):
        texts = options.get(name, ())
        texts = (texts,) if isinstance(texts, str) else texts
        options = {**options, name: tuple(text.format(run=lender) for text in texts)}
    for attempt in (render, plan_story):
        with pytest.raises(InputError, match=words):
            attempt(Request(load_storyboard(story), str(story), tmp_path / "run", **options))
    assert not (tmp_path / "run/manifest.json").exists()


def test_takes_of_a_lent_shot(story: Path, lender: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    go(story, out)
    go(story, out, shots="1", takes=2)
    go(story, out, shots="1", remember=f"{lender}:1")
    with pytest.raises(InputError, match="--use-take: shot 1 is remembered from another run"):
        go(story, out, use_takes="1:2")
    go(story, out, shots="1", remember="none")
    assert go(story, out, use_takes="1:2").used == {1: 2}


def test_a_model_that_cant_leave_shots_out(story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(self: FakeBackbone, story: Any, *, seed: Any, device: Any, mode: Any, shots: Any, memory: Any,
                 on_step: Any) -> Any:  # fmt: skip
        raise AssertionError("never asked")

    monkeypatch.setattr(FakeBackbone, "generate", generate)
    with pytest.raises(InputError, match="the model 'fake' can't leave out earlier shots"):
        go(story, tmp_path / "run", forget="1:2")


def test_dry_run_tells(story: Path, lender: Path, tmp_path: Path) -> None:
    request = Request(
        load_storyboard(story), str(story), tmp_path / "run", remember=(f"{lender}:2",), forget=("1-2:4",)
    )
    plan, work = plan_story(request)
    assert work == [(1, 1), (3, 1), (4, 1)]
    assert plan.notes[-2:] == (
        "shot 2 is shot 2 (s2) of the run 'Test tale'.", "shot 4 can't read shots 1-2; shot 3 can, and may pass it on.",
    )  # fmt: skip
    assert not request.out.exists()


@pytest.mark.parametrize(
    ("forget", "told"),
    [
        ({4: (1, 2, 3)}, ["shot 4 can't read shots 1-3."]),
        ({2: (1,)}, ["shot 2 can't read shot 1."]),
        ({4: (1,)}, ["shot 4 can't read shot 1; shots 2-3 can, and may pass it on."]),
        (
            {2: (1,), 3: (1,), 4: (1,)},
            ["shot 2 can't read shot 1.", "shot 3 can't read shot 1.", "shot 4 can't read shot 1."],
        ),
    ],
)
def test_who_may_pass_on_what_is_forgotten(forget: dict[int, tuple[int, ...]], told: list[str]) -> None:
    assert Edits(forget=forget).notes() == told


def test_command_line(story: Path, lender: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [
        "generate",
        story,
        "--out",
        out,
        "--json",
        "--remember",
        f"{lender}:1",
        "--forget",
        "1:3",
        "--forget",
        "2:4",
    ]
    dry = moc_here(*words, "--dry-run")
    assert json.loads(dry.stdout)["draw"] == [2, 3, 4]
    result = moc_here(*words)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["rendered"] == [2, 3, 4]
    assert told["remember"]["1"]["id"] == "s1"
    assert told["forget"] == {"3": [1], "4": [2]}
    assert "shot 1 is shot 1 (s1) of the run 'Test tale'." in result.stderr
    again = tmp_path / "again"
    assert moc_here("generate", out / "manifest.json", "--out", again).returncode == 0
    assert bytes_of(again) == bytes_of(out)
    assert_fails(moc_here("generate", story, "--out", tmp_path / "no", "--forget", "3:3"), 2, "can't forget")
    shown = moc_here("generate", story, "--out", out, "--resume").stdout
    assert "from another run" in shown
    assert "forgets 1" in shown


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_pairs_as_text(data: st.DataObject) -> None:
    """Any set of pairs, written as ranges, is read back; and what a shot depends on is what it can reach."""
    total = data.draw(st.integers(2, 7))
    pairs = data.draw(st.sets(st.tuples(st.integers(1, total), st.integers(1, total)).filter(lambda p: p[0] < p[1])))
    cut = parse_forget([",".join(f"{m}:{n}" for m, n in sorted(pairs))], total) if pairs else {}
    assert {(m, n) for n, earlier in cut.items() for m in earlier} == pairs
    reached = {n: set() for n in range(1, total + 1)}
    for n in range(2, total + 1):
        for m in range(1, n):
            if (m, n) not in pairs:
                reached[n] |= {m} | reached[m]
        assert reads(n, cut) == reached[n]


def test_ranges(tmp_path: Path) -> None:
    assert parse_forget(["1-3:8-", "2:5,4:5"], 9) == {5: (2, 4), 8: (1, 2, 3), 9: (1, 2, 3)}

"""What drawing again leaves in a run folder: single shots, changed and growing stories, takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from moc_rendering import Recorder, change, go
from moc_testing import bytes_of, story_data, write_story

from moc import video
from moc.errors import InputError
from moc.run import (
    Listener,
    Request,
    assemble,
    merged_story,
)
from moc.storyboard import load_storyboard
from moc.video import read_frames


def test_shots_again_keeps_the_rest(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out)
    outcome = go(story, out, shots="2", seed=99)
    assert outcome.rendered == [2]
    assert outcome.manifest["stale"] == [3, 4]
    assert [shot["stale"] for shot in outcome.manifest["shots"]] == [False, False, True, True]
    assert outcome.manifest["shots"][1]["seed"] == 99
    assert outcome.renew == f"moc generate {story} --out {out} --shots 3-4"
    after = bytes_of(out)
    same = {name for name in before if before[name] == after[name]}
    assert same == {
        f"{kind}/0{n}{end}" for n in (1, 3, 4) for kind, end in (("shots", f"_s{n}.mp4"), ("latents", ".npz"))
    }
    renewed = go(story, out, shots="3-4")
    assert renewed.manifest["stale"] == []
    assert renewed.manifest["shots"][1]["seed"] == 99, "a chosen seed stays"
    again = bytes_of(out)
    assert again["shots/02_s2.mp4"] == after["shots/02_s2.mp4"]
    assert again["shots/03_s3.mp4"] != after["shots/03_s3.mp4"]


def test_shots_again_with_nothing_new_changes_nothing(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out)
    outcome = go(story, out, shots="2-3")
    assert outcome.rendered == [2, 3]
    assert outcome.manifest["stale"] == []
    assert bytes_of(out) == before


def test_clips_of_another_encoding_are_made_anew(story: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A joined video has one header, so its clips must all be encoded in one way."""
    go(story, out)
    now = bytes_of(out)
    monkeypatch.setattr(video, "_ENCODER", ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-crf", "30"))
    monkeypatch.setattr(assemble, "ENCODING", "as it was before")
    go(story, out, force=True)
    before = bytes_of(out)
    assert before["latents/01.npz"] == now["latents/01.npz"]
    assert before["shots/01_s1.mp4"] != now["shots/01_s1.mp4"]
    monkeypatch.undo()
    outcome = go(story, out, shots="2")
    assert outcome.rendered == [2]
    assert bytes_of(out) == now, "the clips of shots that stay, too"


def test_changed_story(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out)
    data = story_data()
    data["shots"][1]["prompt"] = data["shots"][3]["prompt"] = "{mira} dances"
    write_story(story, data)
    heard = Recorder()
    outcome = go(story, out, heard, shots="2")
    assert any("shot 4" in note and "add" in note for note in heard.notes)
    assert outcome.manifest["changed"] == [4]
    assert outcome.manifest["stale"] == [3, 4]
    assert outcome.renew is not None
    assert outcome.renew.endswith("--shots 3-4")
    assert bytes_of(out)["shots/04_s4.mp4"] == before["shots/04_s4.mp4"]
    done = go(story, out, shots="3-")
    assert done.manifest["changed"] == done.manifest["stale"] == []
    fresh = out.with_name("fresh")
    go(story, fresh)
    assert bytes_of(fresh) == bytes_of(out), "renewed step by step or at once: the same bytes"


def test_memory_is_as_it_was_drawn(story: Path, out: Path) -> None:
    """A kept shot enters later ones as it was drawn, even where the file says something else by now."""
    go(story, out)
    before = bytes_of(out)
    change(story, 1, prompt="{mira} dances")
    go(story, out, shots="3")
    assert bytes_of(out)["latents/03.npz"] == before["latents/03.npz"]


def test_story_grows(story: Path, out: Path) -> None:
    go(story, out)
    write_story(story, story_data(6))
    with pytest.raises(InputError, match="--shots 5-6"):
        go(story, out)
    with pytest.raises(InputError, match="5 are not rendered yet"):
        go(story, out, shots="6")
    assert go(story, out, shots="5-").rendered == [5, 6]
    fresh = out.with_name("fresh")
    go(story, fresh)
    assert bytes_of(fresh) == bytes_of(out)
    write_story(story, story_data(3))
    with pytest.raises(InputError, match="has 6 shots and the story has 3"):
        go(story, out, shots="2")


def test_first_shots_first(story: Path, out: Path) -> None:
    assert go(story, out, shots="-2").manifest["missing"] == [3, 4]
    assert len(list(read_frames(out / "video.mp4"))) == 24
    with pytest.raises(InputError, match="2 of 4 shots are done"):
        go(story, out)
    assert go(story, out, resume=True).rendered == [3, 4]
    fresh = out.with_name("fresh")
    go(story, fresh)
    assert bytes_of(fresh) == bytes_of(out)


def test_renamed_shot_leaves_no_clip_behind(story: Path, out: Path) -> None:
    go(story, out)
    change(story, 2, id="new_name")
    go(story, out, shots="2")
    assert (out / "shots/02_new_name.mp4").exists()
    assert not (out / "shots/02_s2.mp4").exists()


def test_takes(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out)
    heard = Recorder()
    outcome = go(story, out, heard, shots="2", takes=3)
    assert heard.drawn == [(2, 2), (2, 3)], "the first take is there already"
    assert outcome.manifest["stale"] == []
    assert {n: b for n, b in bytes_of(out).items() if "take" not in n} == before
    takes = outcome.manifest["shots"][1]["takes"]
    assert [(take["take"], take["seed"]) for take in takes] == [(2, 8), (3, 9)]
    clips = bytes_of(out)
    assert len({clips[f"shots/02_s2{take}.mp4"] for take in ("", ".take2", ".take3")}) == 3


def test_use_take_and_back(story: Path, out: Path) -> None:
    go(story, out)
    before = bytes_of(out)
    go(story, out, shots="2", takes=2)
    outcome = go(story, out, use_takes="2:2")
    assert outcome.rendered == []
    assert outcome.manifest["stale"] == [3, 4]
    assert outcome.manifest["shots"][1]["take"] == 2
    after = bytes_of(out)
    assert after["shots/02_s2.mp4"] == after["shots/02_s2.take2.mp4"]
    assert after["shots/02_s2.take1.mp4"] == before["shots/02_s2.mp4"]
    assert len(list(read_frames(out / "video.mp4"))) == 48
    back = go(story, out, use_takes="2:1")
    assert back.manifest["stale"] == []
    assert {n: b for n, b in bytes_of(out).items() if "take" not in n} == before
    with pytest.raises(InputError, match="has no take 5; it has 1, 2"):
        go(story, out, use_takes="2:5")


def test_takes_of_a_whole_new_run(story: Path, out: Path) -> None:
    heard = Recorder()
    go(story, out, heard, takes=2)
    assert heard.drawn == [(n, 1) for n in range(1, 5)] + [(n, 2) for n in range(1, 5)]


def test_a_take_equals_its_seed(story: Path, out: Path) -> None:
    go(story, out, shots="1-2", takes=2)
    other = out.with_name("other")
    go(story, other, shots="1-2")
    go(story, other, shots="2", seed=8)
    assert bytes_of(out)["shots/02_s2.take2.mp4"] == bytes_of(other)["shots/02_s2.mp4"]


def test_overrides_stay_with_the_run(story: Path, out: Path) -> None:
    go(story, out, shots="-2", overrides={"attention.top_k": "2"})
    request = Request(load_storyboard(story), str(story), out, resume=True)
    assert merged_story(request)[0].attention.top_k == 2
    assert go(story, out, resume=True).manifest["overrides"] == {"attention.top_k": "2"}
    with pytest.raises(InputError, match="top_k is 2 there and the default here") as caught:
        go(story, out)
    assert "--resume" not in str(caught.value), "a finished run has nothing to go on with"


def test_unfinished_run_with_other_options_can_be_resumed(story: Path, out: Path) -> None:
    class Stopper(Listener):
        def shot_done(self, note: Any, seconds: float) -> None:
            raise KeyboardInterrupt

    begun = {"attention.top_k": "2", "attention.causal": "true"}
    with pytest.raises(KeyboardInterrupt):
        go(story, out, Stopper(), overrides=begun)
    for options in ({}, {"sampling.seed": "9"}):
        with pytest.raises(InputError, match="top_k is 2 there and the default here") as caught:
            go(story, out, overrides=options)
        assert str(caught.value).endswith(f":\n  moc generate {story} --out {out} --resume")
    with pytest.raises(InputError, match="seed is 7 there and 9 here") as caught:
        go(story, out, overrides={"sampling.seed": "9"}, resume=True)
    assert "\n" not in str(caught.value)
    change(story, 1, prompt="{mira} dances")
    with pytest.raises(InputError, match="another run") as caught:
        go(story, out)
    assert "\n" not in str(caught.value), "the story is another one, so --resume would be refused as well"
    change(story, 1, prompt="{mira} waves again")
    assert go(story, out, resume=True).rendered == [2, 3, 4]


def test_seeds_chosen_by_hand_stay_with_their_shots(story: Path, out: Path) -> None:
    go(story, out, shots="-2", seed=99)
    assert [shot["seed"] for shot in go(story, out, resume=True).manifest["shots"]] == [99, 99, 7, 7]


def test_kept_shots_must_fit(story: Path, out: Path) -> None:
    go(story, out)
    with pytest.raises(InputError, match="has fps 8 and the story has 12"):
        go(story, out, shots="2", overrides={"video.fps": "12"})
    go(story, out, shots="1-", overrides={"video.fps": "12"})
    write_story(story, story_data(2))
    with pytest.raises(InputError, match="has 4 shots and the story has 2"):
        go(story, out, use_takes="1:1")


def test_a_choice_of_takes_goes_on_with_other_commands(story: Path, out: Path) -> None:
    """What an interrupted --use-take left is done by the next command that writes, but for shots that it draws."""
    go(story, out, takes=2)

    def interrupted(data: dict[str, Any]) -> None:
        job = {"shots": [], "takes": 1, "seeds": {}, "use": {"1": 2, "2": 2}}
        (out / "manifest.json").write_text(json.dumps(data | {"status": "rendering", "job": job}))

    interrupted(json.loads((out / "manifest.json").read_text()))
    with pytest.raises(InputError, match="--resume"):
        go(story, out)
    outcome = go(story, out, use_takes="3:2")
    assert dict(outcome.used) == {1: 2, 2: 2, 3: 2}
    assert [shot["take"] for shot in outcome.manifest["shots"]] == [2, 2, 2, 1]
    assert outcome.manifest["job"] is None
    go(story, out, use_takes="1:1,2:1")
    interrupted(json.loads((out / "manifest.json").read_text()))
    assert [shot["take"] for shot in go(story, out, shots="2").manifest["shots"]] == [2, 1, 2, 1]

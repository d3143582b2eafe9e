"""`moc generate` as a process: what it says where, exit codes, bad input, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from moc_testing import (
    assert_fails,
    bytes_of,
    command,
    environment,
    moc,
    moc_here,
    names,
    shown,
    story_data,
    write_story,
)


@pytest.fixture
def story(tmp_path: Path) -> Path:
    return write_story(tmp_path / "tale.yaml")


def test_from_story_to_video(story: Path, tmp_path: Path) -> None:
    result = moc("generate", "tale.yaml", cwd=tmp_path)
    assert result.returncode == 0, shown(result)
    assert (tmp_path / "runs/tale/video.mp4").exists(), "the default folder is runs/<story>"
    assert "runs/tale/video.mp4" in result.stdout
    assert "4/4" in result.stderr
    again = moc("generate", "tale.yaml", cwd=tmp_path)
    assert again.returncode == 0
    assert "Nothing had to be drawn" in again.stdout


def test_summary_counts_what_was_drawn(story: Path, tmp_path: Path) -> None:
    def said(*options: object) -> str:
        return moc_here("generate", story, "--out", tmp_path / "run", *options).stdout

    def video(text: str) -> str:
        return next(line for line in text.splitlines() if line.startswith("video.mp4"))

    whole = said()
    assert re.fullmatch(r"video.mp4: 6 s; drew 4 shots \(6 s\) in [\d.]+ s", video(whole))
    assert f"\n  {tmp_path}/run/video.mp4\n" in whole, "whole and alone on its line"
    assert "sparsity: share of all query-key pairs" in whole
    assert re.fullmatch(r"video.mp4: 6 s; drew 2 takes \(4 s\) in [\d.]+ s", video(said("--shots", 1, "--takes", 3)))
    both = said("--shots", 4, "--seed", 3, "--takes", 2)
    assert re.fullmatch(r"video.mp4: 6 s; drew 1 shot and 1 take \(2 s\) in [\d.]+ s", video(both)), both
    chosen = said("--use-take", "1:2")
    assert "Shot 1 now shows take 2." in chosen
    assert "Nothing" not in chosen
    assert video(chosen) == "video.mp4: 6 s"
    assert json.loads(said("--use-take", "1:3,4:2", "--json"))["used"] == [[1, 3], [4, 2]]
    said("--shots", "1-")
    nothing = said()
    assert "Nothing had to be drawn." in nothing
    assert video(nothing) == "video.mp4: 6 s"


def test_json_is_alone_on_stdout(story: Path, tmp_path: Path) -> None:
    result = moc("generate", story, "--out", tmp_path / "run", "--json")
    data = json.loads(result.stdout)
    assert data["status"] == "finished"
    assert data["rendered"] == [1, 2, 3, 4]
    assert Path(data["video"]).exists()
    assert [shot["id"] for shot in data["shots"]] == ["s1", "s2", "s3", "s4"]
    assert "shot 1" in result.stderr


def test_run_is_repeated_from_its_manifest(story: Path, tmp_path: Path) -> None:
    first, manifest = tmp_path / "run", tmp_path / "run" / "manifest.json"
    moc_here("generate", story, "--out", first, "--set", "attention.top_k=2", "--seed", "5")
    moc_here("generate", story, "--out", first, "--shots", "2", "--seed", "11")
    assert_fails(moc_here("generate", manifest, "--out", tmp_path / "again"), 2, "shots 3-4 are stale")
    moc_here("generate", story, "--out", first, "--shots", "3-")
    story.unlink()
    assert_fails(moc_here("generate", manifest), 2, "--out")
    assert_fails(moc_here("generate", manifest, "--out", first), 2, "--out")
    result = moc_here("generate", manifest, "--out", tmp_path / "again")
    assert result.returncode == 0, shown(result)
    seen = ("video.mp4", "contact_sheet.png", "routing.npz", "shots/02_s2.mp4")
    assert all((first / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in seen)


def test_json_of_an_error(tmp_path: Path) -> None:
    result = moc_here("generate", tmp_path / "nix.yaml", "--json")
    assert result.returncode == 2
    assert json.loads(result.stdout)["exit_code"] == 2
    assert "nix.yaml" in json.loads(result.stdout)["error"]


def test_json_of_mistakes_in_a_story(tmp_path: Path) -> None:
    path = tmp_path / "tale.yaml"
    path.write_text("version: 1\nvideo: {width: 97}\nshots:\n- {id: a, durration: 1s, prompt: hi}\n")
    result = moc_here("generate", path, "--json")
    data = json.loads(result.stdout)
    assert set(data) == {"error", "exit_code", "problems"}
    assert len(data["problems"]) == len(data["error"].splitlines()) >= 2
    first = data["problems"][0]
    assert set(first) == {"source", "line", "column", "key", "message"}
    assert (first["source"], first["line"], first["key"]) == (str(path), 2, "video")
    assert "97" in first["message"]
    assert "error:" not in result.stderr, "these lines start with their place"


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--json"], ["generate", "a.yaml", "--takes", "0", "--json"], ["generate", "--json", "--nix"],
        ["generate", "a.yaml", "b.yaml", "--json"], ["train", "--json"], ["nix", "--json"], ["--nix", "--json"],
        ["generate", "a.yaml", "--shots", "1", "--force", "--json"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_json_of_a_wrong_command_line(words: list[str]) -> None:
    result = moc_here(*words)
    assert result.returncode == 2, shown(result)
    data = json.loads(result.stdout)
    assert data["exit_code"] == 2
    assert data["error"]
    assert result.stderr


def test_wrong_command_lines_leave_stdout_alone() -> None:
    assert moc_here("generate", "--takes", "0").stdout == ""


def test_quiet_says_nothing(story: Path, tmp_path: Path) -> None:
    result = moc_here("generate", story, "--out", tmp_path / "run", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_words_that_are_not_understood(tmp_path: Path) -> None:
    data = story_data(2)
    data["shots"][1]["prompt"] = "{mira} wavez softly"
    story = write_story(tmp_path / "tale.yaml", data)
    result = moc_here("generate", story, "--out", tmp_path / "run")
    assert "shot 2 (s2): not understood: wavez (nearest: waves)." in result.stderr
    dry = moc_here("generate", story, "--dry-run")
    assert "wavez (nearest: waves)" in dry.stdout
    assert "softly" in dry.stdout
    plan = json.loads(moc_here("generate", story, "--dry-run", "--json").stdout)
    assert plan["understanding"][1]["unknown"] == [["wavez", ["waves"]]]
    assert plan["total"]["frames"] == 24
    tokens, text = (sum(shot[key] for shot in plan["shots"]) for key in ("tokens", "text_tokens"))
    assert (plan["total"]["tokens"], plan["total"]["tokens_with_text"]) == (tokens, tokens + text)
    assert text > 0
    assert not (tmp_path / "runs").exists()


def test_dry_run_of_takes(story: Path, tmp_path: Path) -> None:
    options = ["generate", story, "--out", tmp_path / "run", "--takes", "3", "--dry-run"]
    plan = json.loads(moc_here(*options, "--json").stdout)
    assert plan["draw"] == [1, 2, 3, 4]
    assert plan["takes"] == [[number, take] for take in (2, 3) for number in range(1, 5)]
    assert plan["total"]["flops_to_draw"] == 3 * sum(shot["flops"] for shot in plan["shots"])
    assert "0.012" in moc_here(*options).stdout
    assert_fails(moc_here(*options, "--force", "--resume"), 2, "together")
    assert names(tmp_path) == ["tale.yaml"]


def test_snapped_durations_are_said(tmp_path: Path) -> None:
    data = story_data(1)
    data["shots"][0]["duration"] = "1.3s"
    result = moc_here("generate", write_story(tmp_path / "tale.yaml", data), "--out", tmp_path / "run")
    assert "1.3 s became 1.5 s" in result.stderr


def test_light_verbs_need_no_torch(story: Path) -> None:
    """Help, version, a dry run and a story with mistakes must work where importing torch is an error."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from moc_cli.main import main\n"
        "sys.argv = ['moc', *sys.argv[1:]]\nmain()"
    )
    for arguments, code in (
        (["--help"], 0), (["--version"], 0), (["generate", "--help"], 0), (["generate", str(story), "--dry-run"], 0),
        (["generate", "nix.yaml"], 2), (["schema"], 0), (["generate", str(story), "--shots", "x"], 2),
    ):  # fmt: skip
        result = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment(), capture_output=True, text=True, timeout=60
        )
        assert result.returncode == code, shown(result)
        assert "Traceback" not in result.stderr, shown(result)


def test_version() -> None:
    from moc import __version__

    assert moc("--version").stdout == f"moc {__version__}\n"


BAD_OPTIONS = [
    (["--device", "tpu"], "tpu"),
    (["--device", "cuda"], "no CUDA"),
    (["--device", "mps"], "no Apple GPU"),
    (["--shots", "9"], "1 to 4"),
    (["--shots", "a-b"], "'a-b'"),
    (["--use-take", "1:2"], "no run"),
    (["--shots", "1", "--force"], "together"),
    (["--model", "nix"], "pocket"),
    (["--model", "nix.safetensors"], "does not exist"),
    (["--set", "attention.top_k"], "KEY=VALUE"),
    (["--set", "attention.top_j=3"], "top_k"),
    (["--set", "video.width=97"], "video.width"),
    (["--set", "video.height=inf"], "video.height"),
    (["--seed", "-1"], "--seed"),
    (["--takes", "0"], "--takes"),
    (["--mode", "fast"], "stream"),
    (["--steps", "many"], "--steps"),
    (["--nix"], "--nix"),
]


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS, ids=lambda value: " ".join(value) if value else "")
def test_bad_options(story: Path, tmp_path: Path, options: list[str], words: str) -> None:
    if options == ["--device", "cuda"] and shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    if options == ["--device", "mps"] and sys.platform == "darwin":
        pytest.skip("this machine may have an Apple GPU")
    result = moc_here("generate", story, "--out", tmp_path / "run", *options)
    assert_fails(result, 2, words)
    assert result.stderr.startswith("error: ") or "─ Error ─" in result.stderr
    assert names(tmp_path) == ["tale.yaml"]


def one_shot(**values: object) -> bytes:
    """A story of one shot that differs from a good one in `values`."""
    return json.dumps({"version": 1, "shots": [{"id": "a", "duration": "1s", "prompt": "hi", **values}]}).encode()


BAD_STORIES = {
    "missing": (None, "no such file"),
    "empty": (b"", "empty"),
    "binary": (bytes(range(256)) * 4, ""),
    "unknown key": (one_shot(durration="1s"), "did you mean 'duration'?"),
    "duplicate key": (b"version: 1\ntitle: a\ntitle: b\n", "title"),
    "wrong type": (one_shot(prompt=["hi"]), "prompt"),
    "unknown character": (one_shot(prompt="{mira} waves"), "mira"),
    "zero": (one_shot(duration=0), "duration"),
    "negative": (one_shot(duration="-1s"), "duration"),
    "infinite": (b"version: 1\nshots: [{id: a, duration: .inf, prompt: hi}]\n", "inf"),
    "enormous": (one_shot(duration=1e300), "duration"),
    "path as id": (one_shot(id="../../etc/x"), "../../etc/x"),
    "odd size": (b"version: 1\nvideo: {width: 97}\nshots: [{id: a, duration: 1s, prompt: hi}]\n", "97"),
    "10,000 shots": (b"version: 1\nshots:\n" + b"- {id: a, duration: 1s, prompt: hi}\n" * 10_000, "shots"),
    "alias bomb": (b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n", "alias"),
    "nested": (b"[" * 5000, "deep"),
    "tag": (b"version: 1\ntitle: !!python/object/apply:os.system ['true']\nshots: []\n", "tag"),
}


@pytest.mark.parametrize("name", BAD_STORIES)
def test_bad_stories(tmp_path: Path, name: str) -> None:
    content, words = BAD_STORIES[name]
    path = tmp_path / "tale.yaml"
    if content is not None:
        path.write_bytes(content)
    result = moc_here("generate", path, "--out", tmp_path / "run")
    assert_fails(result, 2, "tale.yaml", words)
    assert not (tmp_path / "run").exists()


def test_out_is_a_file(story: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    assert_fails(moc_here("generate", story, "--out", tmp_path / "run"), 2, "is a file")
    assert_fails(moc_here("generate", story, "--out", tmp_path / "run" / "deeper"), 2, "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_unwritable_out(story: Path, tmp_path: Path) -> None:
    # /proc is read-only for everyone, root included
    assert_fails(moc_here("generate", story, "--out", "/proc/moc-run"), 2, "/proc/moc-run", "can't be written")
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.geteuid() != 0:
        assert_fails(moc_here("generate", story, "--out", tmp_path / "closed" / "run"), 2, "permission denied")


def test_bug_is_named_as_such(story: Path, tmp_path: Path) -> None:
    options = ["--out", tmp_path / "run", "--set", "global_prompt=crashing"]
    result = moc("generate", story, *options)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "bug in moc: ZeroDivisionError: a bug in the fake model" in result.stderr
    assert "Traceback" in moc("generate", story, *options, "--force", env={"MOC_DEBUG": "1"}).stderr


def test_failing_model(story: Path, tmp_path: Path) -> None:
    result = moc_here("generate", story, "--out", tmp_path / "run", "--set", "global_prompt=failing")
    assert_fails(result, 1, "the fake model failed")


def test_ctrl_c(story: Path, tmp_path: Path) -> None:
    """One sentence with the command that goes on, exit code 130, and nothing lost."""
    out = tmp_path / "run"
    process = subprocess.Popen(
        command("generate", story, "--out", out), env=environment(MOC_FAKE_DELAY="0.3"), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(out / "latents/01.npz", process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "of 4 shots are kept. Go on with:\n  moc generate" in said
    assert "Traceback" not in said
    assert not [name for name in names(out) if ".tmp-" in name or name == ".lock"]
    assert moc("generate", story, "--out", out, "--resume").returncode == 0
    assert moc("generate", story, "--out", tmp_path / "calm").returncode == 0
    assert bytes_of(out) == bytes_of(tmp_path / "calm")


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until `path` exists."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, "the process ended early"
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def test_reader_goes_away(story: Path, tmp_path: Path) -> None:
    """`moc ... | true` ends without a traceback."""
    quoted = " ".join(map(str, command("generate", story, "--out", tmp_path / "run", "--json")))
    result = subprocess.run(
        ["bash", "-c", f"{quoted} | true"], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_progress_on_a_terminal(story: Path, tmp_path: Path) -> None:
    """With a terminal, a spinner and then a bar with the times is drawn on stderr and cleared."""
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("generate", story, "--out", tmp_path / "run"), env=environment(MOC_FAKE_DELAY="0.1", TERM="xterm"),
        stdout=subprocess.PIPE, stderr=follower, text=True,
    )  # fmt: skip
    os.close(follower)
    said = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:
            break
        if not block:
            break
        said += block
    process.wait(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    waiting, _, drawing = said.partition(b"step 1/")
    assert b"loading the model" in waiting
    assert b"%" not in waiting, "nothing is known yet"
    assert re.search(rb"\d+ %, [\d.]+ s so far, [\d.]+ s left", drawing), said
    assert re.search(rb"shot 2 \(s2\) done in [\d.]+ s; 2/4, [\d.]+ s so far, [\d.]+ s left\r\n", said), said

"""`moc route-map`: maps of runs and stories, files, checks and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from moc_testing import assert_fails, moc_here, shown, story_data, write_story


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the fake model, whose routes are random counts to all chunks so far."""
    import sys

    from moc_testing import PLUGINS

    sys.path.insert(0, str(PLUGINS))
    folder = tmp_path_factory.mktemp("run")
    story = write_story(folder / "tale.yaml", story_data(4, scenes={"cafe": "a cafe"}))
    said = moc_here("generate", story, "--out", folder / "out", "-q")
    assert said.returncode == 0, shown(said)
    return folder / "out"


def test_terminal_fits_80_columns_and_needs_no_colour(run: Path) -> None:
    said = moc_here("route-map", run)
    assert said.returncode == 0, shown(said)
    lines = said.stdout.splitlines()
    rows = [line for line in lines if line.strip()[:1] in "1234" and " s" in line[:6]]
    assert len(rows) == 4
    assert max(map(len, rows)) <= 80
    assert "\x1b" not in said.stdout
    assert "No loops" in said.stdout


def test_json_holds_the_counts_of_the_file(run: Path) -> None:
    data = json.loads(moc_here("route-map", run, "--json").stdout)
    with np.load(run / "routing.npz") as archive:
        shot, counts = archive["chunk_shot"], archive["counts_03"]
        for number in (1, 2, 3):
            columns = np.flatnonzero(shot[: counts.shape[-1]] == number)
            assert data["counts"][2][number - 1] == counts[..., columns].sum()
    assert data["counts"][0][1:] == [0, 0, 0]
    assert sum(data["shares"][3]) == pytest.approx(1, abs=1e-5)
    assert data["causal"] is True
    assert data["loops"]["components"] == []
    assert data["shots"][0]["names"] == ["mira"]


def test_step_layer_and_head(run: Path) -> None:
    whole = np.array(json.loads(moc_here("route-map", run, "--json").stdout)["counts"])
    for option, most in (("--step", 2), ("--layer", 2), ("--head", 3)):
        parts = [json.loads(moc_here("route-map", run, option, n + 1, "--json").stdout)["counts"] for n in range(most)]
        assert (np.sum(parts, axis=0) == whole).all()
        assert_fails(moc_here("route-map", run, option, most + 1), 2, option, f"1 to {most}")


def test_files(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table, page, plot = tmp_path / "a.csv", tmp_path / "a.html", tmp_path / "a.svg"
    said = moc_here("route-map", run, "--save", table, "--html", page, "--plot", plot, "-q")
    assert said.returncode == 0, shown(said)
    assert said.stdout == ""
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 16
    assert sum(float(row["share"]) for row in rows if row["shot"] == "4") == pytest.approx(1)
    assert "<svg" in plot.read_text()
    assert "data:image/webp" in page.read_text()
    moc_here("route-map", run, "--save", tmp_path / "a.json", "-q")
    assert json.loads((tmp_path / "a.json").read_text())["title"] == "Test tale"


def test_query(run: Path, tmp_path: Path) -> None:
    """The fake model's tokens chose the last chunk before their shot, three times."""
    picture = tmp_path / "q.png"
    said = moc_here("route-map", run, "--query", "s3:1:5,9", "--plot", picture, "--json")
    data = json.loads(said.stdout)
    (chosen,) = data["chosen"]
    assert (data["shot"], chosen["shot"], chosen["times"]) == (3, 2, 3)
    assert picture.read_bytes().startswith(b"\x89PNG")
    wrong = (("s3", "SHOT:FRAME:X,Y"), ("x:1:0,0", "no shot"), ("3:99:0,0", "frames 1"), ("3:1:99,0", "outside"))
    for query, words in wrong:
        assert_fails(moc_here("route-map", run, "--query", query), 2, words)


def test_a_query_leaves_nothing_undone(run: Path) -> None:
    """What a query has no use for is refused before a story is drawn."""
    for option in (("--step", "1"), ("--html", "a.html"), ("--fail-on-loops",), ("--diff", run)):
        assert_fails(moc_here("route-map", run, "--query", "3:1:5,9", *option), 2, f"leave out {option[0]}.")
    assert_fails(moc_here("route-map", run, "--query", "3:1:5,9", "--plot", "a.svg"), 2, "must end in one of .png")
    story = run.parent / "tale.yaml"
    assert_fails(moc_here("route-map", story, "--query", "3", "--out", run.parent / "never"), 2, "SHOT:FRAME:X,Y")
    assert_fails(moc_here("route-map", story, "--diff", run.parent, "--out", run.parent / "never"), 2, "routing.npz")
    assert not (run.parent / "never").exists()


def test_settings_of_a_story(run: Path, tmp_path: Path) -> None:
    story = run.parent / "tale.yaml"
    said = moc_here("route-map", story, "--out", tmp_path / "a", "--set", "sampling.seed=9", "--steps", "1", "-q")
    assert said.returncode == 0, shown(said)
    overrides = json.loads((tmp_path / "a" / "manifest.json").read_text())["overrides"]
    assert overrides == {"sampling.seed": "9", "sampling.steps": "1"}
    assert_fails(moc_here("route-map", run, "--set", "sampling.seed=9"), 2, "--set is for a story")


def test_a_story_that_was_interrupted_goes_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moc_cli.progress import RenderProgress

    def stop(self: RenderProgress, *args: object) -> None:
        raise KeyboardInterrupt

    words = ("route-map", run.parent / "tale.yaml", "--out", tmp_path / "a", "-q")
    with monkeypatch.context() as patch:
        patch.setattr(RenderProgress, "shot_done", stop)
        said = moc_here(*words)
    assert said.returncode == 130
    assert "the same command goes on" in said.stderr
    assert not (tmp_path / "a" / "routing.npz").exists()
    assert moc_here(*words).returncode == 0
    assert (tmp_path / "a" / "routing.npz").exists()


def test_another_pattern_is_named(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run, tmp_path / "a")
    manifest = json.loads((run / "manifest.json").read_text())
    for pattern, said in (("radial", "the layout decides"), ("random", "pattern random.")):
        manifest["storyboard"]["attention"] = {"pattern": pattern}
        (tmp_path / "a" / "manifest.json").write_text(json.dumps(manifest))
        (note,) = json.loads(moc_here("route-map", tmp_path / "a", "--json").stdout)["notes"]
        assert note.startswith(f"drawn with the attention pattern {pattern}")
        assert said in note
    assert json.loads(moc_here("route-map", run, "--json").stdout)["notes"] == []


def test_checks(run: Path, tmp_path: Path) -> None:
    assert moc_here("route-map", run, "--fail-on-loops", "-q").returncode == 0
    loop = _copy(run, tmp_path / "loop", ahead=True)
    said = moc_here("route-map", loop, "--fail-on-loops", "--json")
    assert said.returncode == 3, shown(said)
    assert json.loads(said.stdout)["loops"]["mutual"][0]["shots"] == [1, 2]
    assert_fails(said, 3, "loops")
    assert moc_here("route-map", loop, "--fail-on-loops", "--threshold", "0.99", "-q").returncode == 0
    assert "give each other" in moc_here("route-map", loop, "--fail-on-loops", "-q").stderr
    forgot = _copy(run, tmp_path / "forgot", forget=True)
    assert_fails(moc_here("route-map", forgot, "--fail-on-forgotten"), 3, "forgotten")
    assert "names mira; 0 % of its routes" in moc_here("route-map", forgot).stdout


def test_diff(run: Path, tmp_path: Path) -> None:
    loop = _copy(run, tmp_path / "loop", ahead=True)
    change = np.array(json.loads(moc_here("route-map", loop, "--diff", run, "--json").stdout)["change"])
    assert change[0, 1] > 0.7
    assert "the routes are the same" in moc_here("route-map", run, "--diff", run).stdout


def test_a_story_with_and_without_the_mask(run: Path, tmp_path: Path) -> None:
    story = run.parent / "tale.yaml"
    said = moc_here("route-map", story, "--no-causal", "--out", tmp_path / "runs", "--json")
    assert said.returncode == 0, shown(said)
    assert "beside" in json.loads(said.stdout)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"causal", "not-causal"}
    assert_fails(moc_here("route-map", tmp_path / "runs"), 2, f"such as {tmp_path}/runs/causal")
    again = moc_here("route-map", story, "--no-causal", "--out", tmp_path / "runs")
    assert "Test tale, not causal" in again.stdout
    other = ("route-map", story, "--no-causal", "--steps", "1", "--out", tmp_path / "runs")
    assert_fails(moc_here(*other), 2, "--force")
    assert moc_here(*other, "--force", "-q").returncode == 0
    assert again.stdout.index("not causal") < again.stdout.index("Test tale, causal")
    assert "Largest changes from causal to not causal" in again.stdout


def test_mistakes(run: Path, tmp_path: Path) -> None:
    assert_fails(moc_here("route-map", tmp_path), 2, "routing.npz")
    assert_fails(moc_here("route-map", run, "--plot", "a.gif"), 2, ".png")
    assert_fails(moc_here("route-map", run, "--html", "a.txt"), 2, ".html")
    assert_fails(moc_here("route-map", run, "--save", "a.txt"), 2, ".csv")
    assert_fails(moc_here("route-map", run, "--threshold", "1"), 2, "below 1")
    assert_fails(moc_here("route-map", run, "--longest", "1"), 2, "2 shots")
    assert_fails(moc_here("route-map", run, "--no-causal"), 2, "--no-causal is for a story that is drawn")
    assert_fails(moc_here("route-map", run, "--steps", "3", "--device", "cpu"), 2, "--steps, --device are for a story")
    (tmp_path / "routing.npz").write_bytes(b"nonsense")
    assert_fails(moc_here("route-map", tmp_path), 2, "damaged")


def _copy(run: Path, to: Path, *, ahead: bool = False, forget: bool = False) -> Path:
    """The run with other routes: shots 1 and 2 lock onto each other, or shot 4 looks at shot 3 alone, without names."""
    import shutil

    shutil.copytree(run, to)
    with np.load(run / "routing.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    shot = arrays["chunk_shot"]
    if ahead:
        for number, other in ((1, 2), (2, 1)):
            old = arrays[f"steps_{number:02d}"]
            counts = np.zeros((*old.shape[:4], len(shot)), np.uint32)
            counts[..., shot == other] = 9
            counts[..., shot == 3] = 1
            arrays[f"steps_{number:02d}"] = counts
    if forget:
        arrays["steps_04"][:] = 0
        arrays["steps_04"][..., np.flatnonzero(shot == 3)] = 9
        manifest = json.loads((to / "manifest.json").read_text())
        manifest["shots"][2]["drawn_from"]["prompt"] = "nobody"
        (to / "manifest.json").write_text(json.dumps(manifest))
    np.savez(to / "routing.npz", **arrays)
    return to

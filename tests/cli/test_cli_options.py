"""The command line is frozen: a new or changed option is a decision, seen in the diff of this file."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from moc_testing import assert_fails, environment, moc_here, write_story

from moc_cli.compare import compare
from moc_cli.doctor import doctor
from moc_cli.generate import generate
from moc_cli.import_ import import_
from moc_cli.main import app
from moc_cli.options import story_changes
from moc_cli.profile import profile
from moc_cli.route_map import route_map
from moc_cli.schema import schema
from moc_cli.train import train

VERBS = ["generate", "profile", "route-map", "compare", "train", "schema", "import", "doctor"]

OPTIONS = {
    generate: [
        "STORY.yaml", "--out -o", "--device", "--resume", "--force", "--model", "--seed", "--mode", "--steps",
        "--set -s", "--shots", "--takes", "--use-take", "--remember", "--forget", "--dry-run", "--json", "--quiet -q",
    ],
    train: [
        "CONFIG.yaml", "--out -o", "--resume", "--set -s", "--seed", "--device", "--minutes", "--fit", "--json",
        "--quiet -q",
    ],
    profile: [
        "[STORY.yaml]", "--shots", "--preset", "--tokens-per-shot", "--text-tokens", "--chunk", "--top-k", "--heads",
        "--head-dim", "--layers", "--model", "--set -s", "--device", "--dtype", "--backend", "--against", "--backward",
        "--limit", "--no-measure", "--paper", "--json", "--save", "--plot", "--budget", "--quiet -q",
    ],
    route_map: [
        "RUN|STORY.yaml", "--step", "--layer", "--head", "--query", "--diff", "--threshold", "--longest",
        "--fail-on-loops", "--fail-on-forgotten", "--causal/--no-causal", "--steps", "--set -s", "--out -o", "--force",
        "--device", "--plot", "--html", "--save", "--json", "--quiet -q",
    ],
    compare: [
        "STORY.yaml | RUN RUN...", "--attention -a", "--weights", "--reference", "--seeds", "--seed", "--mode",
        "--steps", "--set -s", "--out -o", "--force", "--device", "--metrics", "--vbench", "--suite", "--stories",
        "--json", "--save", "--html", "--quiet -q",
    ],
    schema: ["--out -o", "--force"],
    import_: ["FILE", "--out -o", "--force"],
    doctor: ["--json"],
}  # fmt: skip


def options_of(command: Callable[..., None]) -> list[str]:
    """Options and arguments in order, as typed on the command line."""
    found = []
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        if name != "return":
            info = hint.__metadata__[0]
            names = [part for part in (info.default, *(info.param_decls or ())) if str(part).startswith("-")]
            found.append(" ".join(names) or info.metavar)
    return found


@pytest.mark.parametrize("command", OPTIONS, ids=lambda command: command.__name__)
def test_options(command: Callable[..., None]) -> None:
    assert options_of(command) == OPTIONS[command]


def test_verbs() -> None:
    assert [info.name for info in app.registered_commands] == VERBS


@pytest.mark.parametrize("command", OPTIONS, ids=lambda command: command.__name__)
def test_help_is_said(command: Callable[..., None]) -> None:
    assert re.fullmatch(r"[A-Z].*\.", inspect.getdoc(command) or ""), "one sentence, shown by --help"
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        if name != "return":
            assert hint.__metadata__[0].help, f"{name} has no help"


@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS)], ids=lambda words: words[0] if words else "moc")
def test_help_shows_what_to_write(words: list[str]) -> None:
    """A flag wants no value, and Python's names of types and ranges are nobody's business."""
    said = moc_here(*words, "--help").stdout
    assert "--help" in said
    assert not re.search(r"<bool>|<int|<float|BOOLEAN|INTEGER|x>=|x<=", said), said
    for line in said.splitlines():
        if "--seed" in line or "--takes" in line or "--minutes" in line:
            assert re.search(r"--\w+ +N ", line), line


@pytest.mark.parametrize("options", [["--takes", "0"], ["--takes", "100"], ["--seed", "-1"], ["--steps", "0"]])
def test_ranges_still_count(options: list[str]) -> None:
    assert_fails(moc_here("generate", "tale.yaml", *options), 2, options[0])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--seed", 2**63, "seed must be from 0 to"), ("--steps", 1001, "steps must be from 1 to 1000"),
        ("--mode", "joint", ""), ("--model", "", "model has no value"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_option_that_was_typed(tmp_path: Path, option: str, value: object, said: str) -> None:
    result = moc_here("generate", write_story(tmp_path / "tale.yaml"), "--out", tmp_path / "run", option, value,
                      "--set", "attention.causal=false", "--dry-run")  # fmt: skip
    if said:
        assert_fails(result, 2, f"error: {option}: ", said)
        assert "--set" not in result.stderr
    else:
        assert result.returncode == 0


def test_options_as_changes_of_the_story() -> None:
    changes, named = story_changes(
        ["sampling.seed=1", "attention.top_k=2"], seed=3, mode="joint", steps=None, model="x"
    )
    assert changes == {"sampling.seed": "3", "attention.top_k": "2", "sampling.mode": "joint", "model": "x"}
    assert named == {"sampling.seed": "--seed", "sampling.mode": "--mode", "model": "--model"}


@pytest.mark.parametrize("name", ["nix.yaml", "nix/manifest.json", "manifest.json"])
def test_missing_files_are_told_alike(tmp_path: Path, name: str) -> None:
    result = moc_here("generate", tmp_path / name, "--out", tmp_path / "run")
    assert_fails(result, 2)
    assert result.stderr == f"error: {tmp_path / name}: there is no such file\n"


def test_help_loads_no_more_than_it_shows() -> None:
    said = "import sys; sys.argv = ['moc', 'generate', '--help']\n"
    said += (
        "import atexit; atexit.register(lambda: print('loaded', 'pydantic' in sys.modules, 'torch' in sys.modules))\n"
    )
    said += "from moc_cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", said], env=environment(), capture_output=True, text=True, timeout=60)
    assert "--use-take" in done.stdout
    assert "loaded False False" in done.stdout


def test_files_are_not_written_over_unasked(tmp_path: Path) -> None:
    (tmp_path / "holocine.txt").write_text(
        "[global caption] A woman. [per shot caption] She waves. [shot cut] She sits."
    )
    out = tmp_path / "out"
    for words in (["schema"], ["import", tmp_path / "holocine.txt"]):
        out.write_text("mine")
        assert_fails(moc_here(*words, "-o", out), 2, "error:", f"{out} exists already", "--force")
        assert out.read_text() == "mine"
        assert moc_here(*words, "-o", out, "--force").returncode == 0
        assert out.read_text() != "mine"

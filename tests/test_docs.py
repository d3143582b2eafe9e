"""README and docs against the project: links lead somewhere, code runs, commands parse, tables hold what code holds."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from moc.config import MoCConfig
from moc.training.config import Stage, TrainConfig
from moc.training.loop import LOG_COLUMNS
from moc.world import schema
from moc_cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [path.relative_to(ROOT).as_posix() for path in PAGES]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)


def table(path: Path, head: str) -> list[list[str]]:
    """The cells of the rows under the table line that starts with `head`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(head))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    assert rows, f"no rows under {head!r} in {path.name}"
    return rows


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, made as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_links(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        file = path.parent / target if target else path
        assert file.exists(), f"{path.name} links to {link}"
        assert not anchor or anchor in anchors(file), f"{path.name} links to {link}"


def test_every_page_can_be_found() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index


def test_every_picture_is_shown() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name})" in text, f"nobody shows {picture.name}"
        assert picture.stat().st_size < 2**20


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "storyboards" / "minute.yaml", "story.yaml")
    Path("runs/train/tiny").mkdir(parents=True)
    Path("runs/train/tiny/log.csv").write_text(f"{','.join(LOG_COLUMNS)}\n{','.join('1' for _ in LOG_COLUMNS)}\n")
    namespace: dict[str, Any] = {}
    for number, code in enumerate(blocks(path, "python"), 1):
        exec(compile(code, f"{path.name}, block {number}", "exec"), namespace)


def commands(path: Path) -> Iterator[list[str]]:
    """Every command of the page's sh blocks as words, `.venv/bin/` taken off."""
    for block in blocks(path, "sh"):
        for line in block.splitlines():
            words = [word.removeprefix(".venv/bin/") for word in shlex.split(line, comments=True)]
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p, "sh")], ids=lambda p: p.name)
def test_commands_parse(path: Path) -> None:
    group: Any = typer.main.get_command(app)
    parsed = 0
    for words in commands(path):
        for word in words:
            if re.match(r"(storyboards|moc|benchmarks|docs)/", word):
                assert (ROOT / word).exists(), f"{path.name}: {shlex.join(words)}"
        if "-m" in words and words[words.index("-m") + 1] == "moc_cli":
            words = ["moc", *words[words.index("-m") + 2 :]]
        if words[0] == "moc":
            verb, *arguments = words[1:]
            group.commands[verb].make_context(verb, arguments)  # raises for options and values that do not exist
        else:
            assert words[0] in ("python", "python3", "pip", "torchrun"), f"{path.name}: {shlex.join(words)}"
        parsed += 1
    assert parsed


def test_readme_lists_the_verbs() -> None:
    group: Any = typer.main.get_command(app)
    assert [row[0].split()[1] for row in table(ROOT / "README.md", "| command |")] == list(group.commands)


def test_readme_names_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "'.[dev]'" in text
    for name in re.findall(r"`(flash\w*)`", text):
        assert name in extras


def test_readme_has_one_command_to_test() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^<!-- tests -->\n```sh\n(.+)\n```$", text, re.M)
    assert len(found) == 1, "`.ci/run` takes the command from there"
    assert found[0].endswith("-m pytest -n auto")


def test_presets_are_those_of_the_code() -> None:
    page = ROOT / "docs" / "engine.md"
    head = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| | `paper-multi"))
    names = re.findall(r"`([\w-]+)`", head)
    assert names == list(MoCConfig.preset_names())
    for key, *values in table(page, "| | `paper-multi"):
        assert values == [str(getattr(MoCConfig.preset(name), key)).lower() for name in names], key


def test_world_tables_are_those_of_the_schema() -> None:
    page = ROOT / "docs" / "world.md"
    text = page.read_text(encoding="utf-8")
    may_stay_open = {*schema.CHARACTER_OPEN, *schema.PLACE_OPEN}
    for attributes in (schema.CHARACTER_ATTRIBUTES, schema.PLACE_ATTRIBUTES, schema.SHOT_ATTRIBUTES):
        for name, values in attributes.items():
            row = f"| `{name}` | {', '.join(values)} |"
            if attributes is not schema.SHOT_ATTRIBUTES:
                row += f" {'yes' if name in may_stay_open else 'no'} |"
            assert row in text, row


def written(field: Field[Any]) -> str:
    """A default as YAML writes it."""
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if default is MISSING:
        return "required"
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_training_tables_are_those_of_the_config() -> None:
    page = ROOT / "docs" / "training.md"
    settings = table(page, "| key | default | what |")
    assert {row[0]: row[1] for row in settings} == {f.name: written(f) for f in fields(TrainConfig)}
    lines = page.read_text(encoding="utf-8").split("A stage:")[1]
    stage = dict(re.findall(r"^\| `(\w+)` \| (\S*) ?\|", lines, re.M))
    assert stage == {f.name: written(f) for f in fields(Stage)}


def test_card_states_the_weights() -> None:
    make_card = script("make_card")
    text = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert make_card.filled(text, make_card.facts()) == text, "run python docs/make_card.py"


def test_pictures_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "plugins"))
    from moc_testing import moc_here, shown, write_story

    result = moc_here("generate", write_story(tmp_path / "tale.yaml"), "--out", tmp_path / "run")
    assert result.returncode == 0, shown(result)
    make_images = script("make_images")
    lines = make_images.run_pictures(tmp_path / "run", tmp_path)
    assert "Test tale: 4 shots" in lines
    for name in re.findall(r"docs/images/(\S+)\)", lines):
        assert (tmp_path / name).stat().st_size > 100
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    filled = make_images.fill(readme, lines)
    assert lines in filled
    assert make_images.fill(filled, lines) == filled

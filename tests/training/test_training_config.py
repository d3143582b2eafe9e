"""Training configs: what is read, and every mistake by the name of its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_cases import ROOT, TINY, write_config

from moc.backbones.pocket.config import PocketConfig
from moc.errors import InputError
from moc.training.config import Stage, TrainConfig, load, parse
from moc.training.run import read_config


@pytest.mark.parametrize("path", sorted((ROOT / "moc" / "training" / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_configs_that_come_along(path: Path) -> None:
    config = load(path)
    assert config.steps == sum(stage.steps for stage in config.stages)
    model = PocketConfig(**config.model)
    assert model.picture_width == 96
    assert config.decay < config.steps


def test_values_are_read_as_they_are_meant(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1e-4\nwarmup: 3\nclip: 2\nstages: [{steps: 1, micro_stories: 4, stories: 8}]\n")
    config = load(path)
    assert config.lr == 1e-4  # a string to YAML 1.1
    assert config.clip == 2.0
    assert isinstance(config.clip, float)
    assert config.stages == (Stage(steps=1, stories=8, micro_stories=4),)
    assert load(path, {"lr": 0.5, "seed": 9}) == replace(config, lr=0.5, seed=9)
    assert yaml.safe_load(yaml.safe_dump(parse(TINY).to_dict()))["stages"][1]["chunk_tokens"] == "frame"


@pytest.mark.parametrize(("shots", "reach"), [((1,), 7), ((3, 8), 7), ((12, 8), 11)])
def test_weights_reach_as_far_back_as_their_longest_story(shots: tuple[int, ...], reach: int) -> None:
    config = parse({**TINY, "stages": [{"steps": 1, "shots": n} for n in shots]})
    assert config.network().reach == reach


@pytest.mark.parametrize(
    ("changes", "sampled"),
    [
        ({}, (6.0, 0.0, 1.0, 0.0)),
        ({"sampled_shift": 10.0, "guidance_to": 0.99}, (10.0, 0.0, 0.99, 0.0)),
        ({"sampled_shift": 0, "guidance_from": 0.5, "last_step": 0.25}, (6.0, 0.5, 1.0, 0.25)),
    ],
)
def test_weights_say_how_they_are_sampled(changes: dict[str, float], sampled: tuple[float, ...]) -> None:
    config = parse({**TINY, "shift": 6.0, **changes})
    size = config.network()
    assert (size.shift, size.guidance_from, size.guidance_to, size.last_step) == sampled
    assert config.shift == 6.0


def test_stages_follow_each_other() -> None:
    config = parse({**TINY, "stages": [{"steps": 2, "top_k": 1}, {"steps": 3, "top_k": 2, "micro_stories": 8}]})
    assert [config.stage_at(step)[0] for step in range(7)] == [0, 0, 1, 1, 1, 1, 1]
    assert config.stage_at(2)[1].top_k == 2
    assert [config.micro_of(stage) for stage in config.stages] == [2, 8]


STAGE = {"steps": 1, "stories": 4}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lrr": 1}, "config: unknown key 'lrr', did you mean 'lr'?"),
        ({"zzz": 1}, "config: unknown key 'zzz'; known: stages, seed"),
        ({1: 2}, "config: unknown key 1"),
        ({"lr": "abc"}, "config: lr = 'abc' must be a number"),
        ({"lr": None}, "config: lr = None must be a number"),
        ({"lr": [1]}, r"config: lr = \[1\] must be a number"),
        ({"lr": True}, "config: lr = True must be a number"),
        ({"lr": 0}, "config: lr = 0.0 must be more than 0"),
        ({"lr": "nan"}, "config: lr = nan must be more than 0"),
        ({"lr": 10**400}, r"config: lr = 1000+\.\.\.0+ must be a number"),
        ({"lr": "inf"}, "config: lr = inf must be"),
        ({"seed": 1.5}, "config: seed = 1.5 must be a whole number"),
        ({"seed": -1}, "config: seed = -1 must lie in 0 to 9223372036854775807"),
        ({"seed": 10**400}, r"config: seed = 1000+\.\.\.0+ must lie in 0 to"),
        ({"warmup": -(10**400)}, r"config: warmup = -1000+\.\.\.0+ must be at least 0"),
        ({"seed": ["x" * 99] * 9}, r"config: seed = \['xxx.{,200}\] must be a whole number"),
        ({"y" * 999: 1}, r"config: unknown key 'y+\.\.\.y+'"),
        ({"seed": True}, "config: seed = True must be a whole number"),
        ({"bf16": 1}, "config: bf16 = 1 must be true or false"),
        ({"noise": 3}, "config: noise = 3 must be a text"),
        ({"noise": "pink"}, "config: noise = 'pink' must be 'scales' or 'white'"),
        ({"ema": 1.1}, "config: ema = 1.1 must lie in 0 to 1"),
        ({"drop_off_max": 2}, "config: drop_off_max = 2.0 must lie in 0 to 1"),
        ({"drop_in_rate": 100}, "config: drop_in_rate = 100.0 must lie in 0 to 64"),
        ({"t_mean": "inf"}, "config: t_mean = inf must be a finite number"),
        ({"log_every": 0}, "config: log_every = 0 must be at least 1"),
        ({"micro_stories": 0}, "config: micro_stories = 0 must be at least 1"),
        ({"checkpoint_minutes": -1}, "config: checkpoint_minutes = -1.0 must be at least 0"),
        ({"clean_history": 0.8, "near_clean_history": 0.4}, "clean_history = 0.8 and near_clean_history = 0.4"),
        ({"micro_stories": 3}, r"stages\[1\].stories = 4 must be a multiple of micro_stories = 3"),
        ({"stages": []}, "stages: a training needs at least one stage"),
        ({"stages": {"steps": 1}}, "config: 'stages' must be a list of stages"),
        ({"stages": [3]}, r"config.stages\[1\] must be a mapping of settings, not int"),
        ({"stages": [STAGE, {"stories": 4}]}, r"config.stages\[2\]: 'steps' is missing"),
        ({"stages": [STAGE, STAGE | {"step": 4}]}, r"config.stages\[2\]: unknown key 'step', did you mean 'steps'?"),
        ({"stages": [STAGE | {"steps": "4"}]}, r"config.stages\[1\]: steps = '4' must be a whole number"),
        ({"stages": [STAGE | {"shots": 0}]}, r"config.stages\[1\]: shots = 0 must be at least 1"),
        ({"stages": [STAGE | {"top_k": -1}]}, r"config.stages\[1\]: top_k = -1 must be at least 0"),
        ({"stages": [STAGE | {"chunk_tokens": "shot"}]}, r"config.stages\[1\]: chunk_tokens = 'shot' must be a whole"),
        ({"stages": [STAGE | {"chunk_tokens": True}]}, r"config.stages\[1\]: chunk_tokens = True must be a whole"),
        ({"stages": [STAGE | {"chunk_tokens": [9] * 9}]}, r"chunk_tokens = \[9, 9, 9, 9, 9, 9, \.\.\.\] must be a"),
        ({"stages": [STAGE | {"chunk_tokens": 0}]}, r"config.stages\[1\]: chunk_tokens = 0 must be at least 1"),
        ({"stages": [STAGE | {"micro_stories": -2}]}, r"config.stages\[1\]: micro_stories = -2 must be at least 1"),
        ({"model": 3}, "config.model must be a mapping of settings, not int"),
        ({"model": {"widht": 64}}, "config.model: unknown key 'widht', did you mean 'width'?"),
        ({"model": {"width": 63}}, "config.model: width 63 must give each of 4 heads"),
        ({"model": {"width": "64"}}, "config.model: width = '64' must be a whole number"),
        ({"model": {"heads": 0}}, "config.model: heads must be at least 1, got 0"),
    ],
    ids=str,
)
def test_mistakes_name_their_key(changes: dict[Any, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse({**TINY, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# no more", "must be a mapping of settings, not NoneType"),
        ("- 1", "must be a mapping of settings, not list"),
        ("seed: 1", "'stages' is missing"),
        ("seed: [", r"bad\.yaml:1:8: expected the node content"),
        ("lr: 1\nlr: 2\nstages: []", r"bad\.yaml:2:1: key 'lr' comes twice"),
        ("stages: [{steps: 1, steps: 2}]", "key 'steps' comes twice"),
        ("stages: !!python/object:os.system []", "could not determine a constructor"),
        ("[" * 5000, "nested too deeply"),
        ("seed: &a 1\nlr: *a\nstages: []", r"bad\.yaml:2:5: alias '\*a': write the value out"),
        ("seed: 2020-13-45\nstages: []", "seed = '2020-13-45' must be a whole number"),
        ("seed: 0b_\nstages: []", r"bad\.yaml:1:7: '0b_' is no int"),
        ("seed: !!int ''\nstages: []", "'' is no int"),
        ("seed: !!timestamp x\nstages: []", "'x' is no timestamp"),
        ("seed: 1" + "0" * 5000 + "\nstages: []", r"'10+\.\.\.0+' is no int"),
        ("? {a: 1}\n: 2\nstages: []", "unhashable key"),
        ('seed: "\\x00"\nstages: []', r"seed = '\\x00' must be"),
        ("seed: \x07\nstages: []", "bad.yaml"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    for bad, words in (
        (path, "binary"),
        (tmp_path, "this is a directory; name a training config"),
        (tmp_path / "binry.yaml", r"there is no such file; did you mean .*binary\.yaml\?"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            read_config(bad)
        assert str(bad) in str(caught.value)
        assert "Errno" not in str(caught.value)


def test_aliases_of_aliases_never_unfold(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    path.write_text("\n".join([*rows, "seed: *a8", "stages: []"]))
    with pytest.raises(InputError, match="alias") as caught:
        read_config(path)
    assert len(str(caught.value)) < 300


def test_overrides_are_checked_like_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lr = 'abc' must be a number"):
        read_config(write_config(tmp_path), {"lr": "abc"})
    assert isinstance(read_config(write_config(tmp_path), {"lr": "2e-4"}), TrainConfig)

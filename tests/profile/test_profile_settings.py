"""Settings and budgets: what is refused, in one sentence, before torch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from moc.errors import InputError
from moc.profile import base_settings, broken, make_settings, parse_budget
from moc.profile.settings import GEOMETRIES


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shots": "0"}, "'0' is not a number of shots from 1"),
        ({"shots": "1,two"}, "'two' is not a number of shots"),
        ({"shots": ""}, "'' is not a number of shots"),
        ({"shots": "2000"}, "from 1 to 1024"),
        ({"top_k": -1}, "--top-k must be at least 0, got -1"),
        ({"chunk": "0"}, "--chunk must be 'frame' or a number of tokens from 1, got '0'"),
        ({"chunk": "-5"}, "got '-5'"),
        ({"chunk": "30000"}, "a chunk of 30,000 tokens is larger than a shot of 22,500 tokens"),
        ({"tokens_per_shot": 900}, "a chunk of 1,280 tokens is larger than a shot of 900 tokens"),
        ({"tokens_per_shot": 0}, "--tokens-per-shot must be at least 1, got 0"),
        ({"text_tokens": -1}, "--text-tokens must be at least 0"),
        ({"heads": 0}, "--heads must be at least 1"),
        ({"head_dim": 0}, "--head-dim must be at least 1"),
        ({"layers": 0}, "--layers must be at least 1"),
        ({"dtype": "int8"}, "--dtype must be one of auto, float32, bfloat16, float16, got 'int8'"),
        ({"backend": "magic"}, "--backend must be one of"),
        ({"limit_s": 0.0}, "--limit must be more than 0 seconds, got 0"),
        ({"shots": "1024", "tokens_per_shot": 22_500}, "1024 shots are 23,040,000 tokens"),
    ],
)
def test_wrong_values(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as error:
        make_settings(base_settings(None, None, None), **options)  # type: ignore[arg-type]
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("preset", "model", "said"),
    [("fast", None, "--preset 'fast' is unknown, known are"), (None, "sora", "--model 'sora' is unknown, known are")],
)
def test_unknown_names(preset: str | None, model: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        base_settings(preset, model, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention.pattern": "locl"}, "--set attention.pattern: .* did you mean 'local'"),
        ({"attention.top_k": "-4"}, "--set attention.top_k: .* got -4"),
        ({"sampling.seed": "4"}, "--set sampling.seed: without a story only attention can be set"),
        ({"attention.preset": "wan"}, "--set attention.preset: without a story only"),
    ],
)
def test_wrong_values_by_dotted_key(changes: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        base_settings("pocket", None, None, changes)


def test_values_by_dotted_key() -> None:
    settings = base_settings("wan", None, None, {"attention.top_k": "7", "attention.pattern": "random"})
    assert (settings.config.top_k, settings.label) == (7, "random")
    assert settings.config.replace(top_k=3, pattern="moc") == base_settings("wan", None, None).config


def test_models_have_their_own_heads() -> None:
    with pytest.raises(InputError, match="--heads can't be used with --model pocket"):
        make_settings(base_settings(None, "pocket", None), heads=3)


def test_frames_as_chunks_want_whole_frames() -> None:
    base = base_settings("wan", None, None)
    with pytest.raises(InputError, match="must be a multiple of 1560"):
        make_settings(base, tokens_per_shot=2000)
    assert make_settings(base, tokens_per_shot=2000, chunk="500").geometry.tokens_per_frame == 2000
    assert make_settings(base, tokens_per_shot=3120).geometry.frames == 2


@pytest.mark.parametrize("preset", GEOMETRIES)
def test_presets_fit(preset: str) -> None:
    settings = make_settings(base_settings(preset, None, None))
    assert (
        settings.layout(2).length
        == 2 * (settings.geometry.frames * settings.geometry.tokens_per_frame + settings.geometry.caption)
        + settings.geometry.global_text
    )


def test_no_torch() -> None:
    code = (
        "import sys; from moc.profile import *; parse_budget('sparsity>0.5');"
        "make_settings(base_settings('pocket', None, None), shots='1,2'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "text", ["sparsity", "sparsity=0.8", "sparsity>", "speed>2", "sparsity>x", "sparsity>nan", "speedup>2@0", ""]
)
def test_wrong_budgets(text: str) -> None:
    with pytest.raises(InputError, match="--budget"):
        parse_budget(text)


def test_budgets() -> None:
    rows = [{"shots": 1, "sparsity": 0.0, "speedup": None}, {"shots": 8, "sparsity": 0.84, "speedup": 5.0}]
    assert broken(parse_budget("sparsity>=0, sparsity<0.9"), rows) == []
    assert broken(parse_budget("sparsity>0.8@8,speedup>5@8,speedup<=5@8"), rows) == [
        "speedup>5@8 is broken at 8 shots: it is 5."
    ]
    assert broken(parse_budget("sparsity>0.8"), rows) == ["sparsity>0.8 is broken at 1 shot: it is 0."]


def test_a_budget_is_broken_by_what_was_not_measured() -> None:
    rows = [{"shots": 2, "speedup": None}]
    assert broken(parse_budget("speedup>1"), rows) == ["speedup>1 is broken at 2 shots: it was not measured."]
    assert broken(parse_budget("speedup>1@4"), rows) == ["speedup>1@4: there is no row of 4 shots."]

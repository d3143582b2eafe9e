"""MoCConfig: presets say what the paper says, and wrong values are refused with what is allowed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from moc.config import MoCConfig


def test_presets_state_the_published_settings() -> None:
    rows = {
        name: (c.text_links, c.intra, c.causal, c.chunk_tokens, c.top_k)
        for name in MoCConfig.preset_names()
        for c in [MoCConfig.preset(name)]
    }
    assert rows == {
        "paper-multi-shot": ("all", "shot", True, 1280, 5),
        "paper-single-shot": ("all", "chunk", False, 256, 3),
        "wan": ("all", "chunk", False, "frame", 3),
        "pocket": ("own", "shot", True, 24, 20),
    }


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'papr'.*paper-multi-shot.*pocket"):
        MoCConfig.preset("papr")


def test_replace_gives_a_checked_copy() -> None:
    config = MoCConfig.preset("pocket")
    assert config.replace(top_k=2).top_k == 2
    assert config.top_k == 20
    with pytest.raises(ValueError, match=r"unknown attention setting 'topk'.*top_k"):
        config.replace(topk=2)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("chunk_tokens", 0, ValueError),
        ("chunk_tokens", "frames", TypeError),
        ("top_k", -1, ValueError),
        ("top_k", 2.0, TypeError),
        ("top_k", True, TypeError),
        ("intra", "scene", ValueError),
        ("window_chunks", -1, ValueError),
        ("causal", 1, TypeError),
        ("text_links", "none", ValueError),
        ("drop_off_max", 1.5, ValueError),
        ("drop_off_max", float("nan"), ValueError),
        ("drop_in_rate", -0.1, ValueError),
        ("drop_in_rate", "much", TypeError),
        ("drop_in_max", -1, ValueError),
        ("outer_top_m", -1, ValueError),
    ],
)
def test_wrong_values_are_named(field: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        MoCConfig(**{field: value})
    assert field in str(caught.value)
    assert str(value) in str(caught.value)


def test_import_leaves_torch_alone() -> None:
    code = "import sys, moc, moc.config, moc.schedule; moc.MoCConfig; moc.Stage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_resolve() -> None:
    import moc

    for name in moc.__all__:
        assert getattr(moc, name) is not None
    assert set(moc.__all__) <= set(dir(moc))
    with pytest.raises(AttributeError, match="no attribute 'rout'"):
        moc.rout  # noqa: B018

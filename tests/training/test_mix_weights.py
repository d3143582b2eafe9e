"""`benchmarks/mix_weights.py`: weights between two files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.weights import fingerprint, load_model, read_metadata
from moc.errors import InputError
from moc.training import checkpoint

SIZE = {"width": 32, "layers": 1, "heads": 2, "mlp": 32, "head": 192}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import mix_weights

    return mix_weights


def weights(path: Path, seed: int, **changes: Any) -> Path:
    torch.manual_seed(seed)
    model = PocketDiT(PocketConfig(**{**SIZE, **changes}))
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1)
    checkpoint.save_weights(path, dict(model.named_parameters()), model.config.to_dict(), {"steps": seed})
    return path


def run(tool: Any, monkeypatch: pytest.MonkeyPatch, *args: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["mix_weights.py", *map(str, args)])
    tool.main()


def test_weights_lie_between_and_the_card_says_of_whom(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = weights(tmp_path / "a", 1), weights(tmp_path / "b", 2, skip=True, last_step=0.25)
    out = tmp_path / "out"
    run(tool, monkeypatch, a, b, out, "--share", "0.75")
    assert fingerprint(out) in capsys.readouterr().out
    old, new, mixed = load_file(a), load_file(b), load_file(out)
    assert mixed.keys() == new.keys() > old.keys()
    for name, value in mixed.items():
        expected = 0.75 * new[name].double() + (0.25 * old[name].double() if name in old else 0)
        torch.testing.assert_close(value.double(), expected, rtol=0.01, atol=1e-6)
    model = load_model(out, "cpu")
    assert model.config.skip
    assert model.config.last_step == 0.25
    card = json.loads(read_metadata(out)["card"])
    assert card["steps"] == 2
    assert card["mixed"] == [{"sha256": fingerprint(a), "share": 0.25}, {"sha256": fingerprint(b), "share": 0.75}]


@pytest.mark.parametrize("share", [0, 1])
def test_the_ends_are_the_files(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    files = [weights(tmp_path / "a", 1), weights(tmp_path / "b", 2)]
    run(tool, monkeypatch, *files, tmp_path / "out", "--share", share)
    mixed = load_file(tmp_path / "out")
    assert all(value.equal(mixed[name]) for name, value in load_file(files[share]).items())


def test_what_can_not_be_mixed(tool: Any, tmp_path: Path) -> None:
    a, b = weights(tmp_path / "a", 1), weights(tmp_path / "b", 2, mlp=48)
    with pytest.raises(ValueError, match="different sizes"):
        tool.mix(a, b, 0.5)
    with pytest.raises(ValueError, match=r"share must be from 0 to 1, got 1\.5"):
        tool.mix(a, a, 1.5)
    (tmp_path / "no").write_text("nothing")
    with pytest.raises(InputError, match="no"):
        tool.mix(tmp_path / "no", a, 0.5)

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
    run(tool, monkeypatch, out, f"{a}=0.25", f"{b}=0.75")
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


def test_several_files(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [weights(tmp_path / name, seed) for seed, name in enumerate("abc")]
    run(
        tool,
        monkeypatch,
        tmp_path / "out",
        *(f"{x}={share}" for x, share in zip(files, (0.5, 0.25, 0.25), strict=True)),
    )
    a, b, c, mixed = (load_file(path) for path in (*files, tmp_path / "out"))
    for name, value in mixed.items():
        torch.testing.assert_close(value.double(), a[name] / 2 + (b[name].double() + c[name]) / 4, rtol=0.01, atol=1e-4)
    run(tool, monkeypatch, tmp_path / "one", f"{files[1]}=1")
    assert all(value.equal(b[name]) for name, value in load_file(tmp_path / "one").items())


def test_what_can_not_be_mixed(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = weights(tmp_path / "a", 1), weights(tmp_path / "b", 2, mlp=48)
    with pytest.raises(ValueError, match="different sizes"):
        tool.mix({a: 0.5, b: 0.5})
    for shares in ((0.5, 0.6), (-0.5, 1.5)):
        with pytest.raises(ValueError, match="shares must be positive and sum to 1"):
            tool.mix(dict(zip((a, b), shares, strict=True)))
    (tmp_path / "no").write_text("nothing")
    with pytest.raises(InputError, match="no"):
        tool.mix({tmp_path / "no": 0.5, a: 0.5})
    with pytest.raises(SystemExit):
        run(tool, monkeypatch, tmp_path / "out", str(a))

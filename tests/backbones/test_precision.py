"""The precision of rendering: what changes inside, and that nothing does afterwards."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from pocket_cases import tiny_model

from moc.backbones.pocket import precision
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT

asked = precision.multiplies_in_bfloat16.__wrapped__
TINY = PocketConfig(width=32, layers=2, heads=2, mlp=64, head=48)


@pytest.fixture
def model() -> PocketDiT:
    torch.manual_seed(0)
    return PocketDiT(TINY).eval()


def test_linear_layers_multiply_in_bfloat16_where_the_cpu_does(
    model: PocketDiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_in_bfloat16", lambda: True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer = model.blocks[0].up
    x = torch.randn(5, 32)
    exact = layer(x)
    with precision.fast_products(model):
        assert layer.weight.dtype == torch.bfloat16
        assert model.patch_in.weight.dtype == torch.float32  # the residual stream's
        rough = layer(x)
        assert rough.dtype == torch.bfloat16, "an activation is all that comes before the next product"
        assert torch.equal(rough, torch.nn.functional.linear(x.bfloat16(), layer.weight, layer.bias))
        for other in (model.blocks[0].qkv, model.blocks[0].out, model.blocks[0].down, model.head_down):
            assert other(torch.randn(5, other.in_features)).dtype == torch.float32
        gelu = partial(torch.nn.functional.gelu, approximate="tanh")
        through = torch.randn(9, 48) @ torch.randn(48, 32)
        wide = gelu(layer(through).float()).bfloat16()
        assert torch.equal(gelu(layer(through)), wide), "which computes in float32 all the same"
    rough = rough.float()
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.02)
    assert torch.equal(layer(x), exact)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())


def test_the_skip_multiplies_in_bfloat16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_in_bfloat16", lambda: True)
    model = tiny_model(replace(TINY, skip=True))
    assert model.skip is not None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    video, noisy = torch.randn(1, 5, TINY.width), torch.randn(1, 5, TINY.patch_values)
    mod = torch.randn(1, 1, 2, TINY.width)
    exact = model.predict(video, noisy, mod, (5,))
    with precision.fast_products(model):
        assert model.skip.hidden(noisy).dtype == torch.bfloat16
        assert model.skip.gate(video).dtype == torch.float32
        rough = model.predict(video, noisy, mod, (5,))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())


def test_other_cpus_stay_exact(model: PocketDiT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_in_bfloat16", lambda: False)
    with precision.fast_products(model):
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_model_is_put_back_after_an_error(model: PocketDiT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_in_bfloat16", lambda: True)
    with pytest.raises(KeyError), precision.fast_products(model):
        raise KeyError
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_old_releases_of_torch_do_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert asked() is False


@pytest.mark.parametrize(
    ("tiles", "instructions", "amd", "expected"),
    [
        (True, False, False, True),
        (False, True, True, True),
        (False, True, False, False),  # an Intel Xeon without tiles: 2.4 times as slow as float32
        (False, False, True, False),
    ],
)
def test_bfloat16_where_it_is_fast(
    tiles: bool, instructions: bool, amd: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions, raising=False)
    monkeypatch.setattr(precision, "_is_amd", lambda: amd)
    assert asked() is expected


def test_who_made_the_cpu(tmp_path: Path) -> None:
    place = tmp_path / "cpuinfo"
    assert precision._is_amd(place) is False
    place.write_text("vendor_id\t: GenuineIntel\n")
    assert precision._is_amd(place) is False
    place.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\n")
    assert precision._is_amd(place) is True

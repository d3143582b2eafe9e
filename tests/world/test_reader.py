"""The reader's network: views, shapes, weight files. How well it reads: `tests/metrics`."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from moc.world.reader import CHARACTER_LABELS, SHOT_LABELS, VIEWS, Reader, load_reader, read, views
from moc.world.schema import HEIGHT, KINDS, WIDTH


def _small() -> Reader:
    torch.manual_seed(0)
    return Reader(width=16).eval()


def test_views_are_spread_over_the_shot() -> None:
    frames = torch.arange(64)[None, :, None, None, None].expand(2, -1, 3, 4, 4)
    seen = views(frames)[0, :, 0, 0, 0].tolist()
    assert len(seen) == VIEWS
    assert seen[0] == 0
    assert seen[-1] == 63
    steps = [b - a for a, b in pairwise(seen)]
    assert min(steps) == max(steps) == 9
    assert views(frames[:, :1])[0, :, 0, 0, 0].tolist() == [0] * VIEWS
    assert views(frames[:, :4])[0, :, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_shapes() -> None:
    with torch.no_grad():
        reading = _small()(torch.rand(3, VIEWS, 3, HEIGHT, WIDTH) * 2 - 1)
    assert {name: tuple(value.shape) for name, value in reading.shot.items()} == {
        name: (3, len(values)) for name, values in SHOT_LABELS.items()
    }
    assert {name: tuple(value.shape) for name, value in reading.character.items()} == {
        name: (3, len(KINDS), len(values)) for name, values in CHARACTER_LABELS.items()
    }
    assert reading.present.shape == (3, len(KINDS))
    assert reading.maps.shape == (3, VIEWS, len(KINDS), HEIGHT // 4, WIDTH // 4)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_reading_in_batches_changes_nothing(batch: int) -> None:
    reader = _small()
    frames = torch.randint(0, 256, (3, 5, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    got = read(reader, frames, batch)
    with torch.no_grad():
        truth = reader(views(frames).float() / 127.5 - 1)
    torch.testing.assert_close(got.present, truth.present, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.maps, truth.maps, rtol=1e-4, atol=1e-5)
    for name, value in truth.character.items():
        torch.testing.assert_close(got.character[name], value, rtol=1e-4, atol=1e-5)
    for name, value in truth.shot.items():
        torch.testing.assert_close(got.shot[name], value, rtol=1e-4, atol=1e-5)


def test_the_order_of_views_matters() -> None:
    """Actions are told by what changes."""
    reader = _small()
    frames = torch.randint(0, 256, (1, VIEWS, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    forwards, backwards = read(reader, frames), read(reader, frames.flip(1))
    assert not torch.allclose(forwards.character["action"], backwards.character["action"], atol=1e-4)


def _saved(path: Path, reader: Reader, **settings: object) -> Path:
    weights = {name: value.contiguous() for name, value in reader.state_dict().items()}
    save_file(weights, path, metadata={"reader": json.dumps(settings)})
    return path


def test_weights_reload(tmp_path: Path) -> None:
    reader = _small()
    loaded = load_reader(path=_saved(tmp_path / "r.safetensors", reader, width=16))
    assert not loaded.training
    for name, value in reader.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_bad_weights(tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    with pytest.raises(FileNotFoundError, match=r"the reader's weights are missing: .*missing\.safetensors"):
        load_reader(path=missing)
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"noise" * 9)
    with pytest.raises(ValueError, match=r"noise\.safetensors can't be read"):
        load_reader(path=noise)
    for settings in ({"width": 32}, {"depth": 2}, {}):
        path = _saved(tmp_path / f"other{len(settings)}{settings.get('width')}.safetensors", _small(), **settings)
        with pytest.raises(ValueError, match="not a reader of this version"):
            load_reader(path=path)

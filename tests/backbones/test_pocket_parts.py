"""The pocket model's small parts: sizes, patches, positions, noise, timesteps, weight files."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pocket_cases import TINY, random_text, tiny_model, tiny_weights

from moc.backbones.pocket import weights
from moc.backbones.pocket.config import MAX_TRAINED_SHOT, PocketConfig
from moc.backbones.pocket.model import PocketDiT, gelu, modulated_norm, per_token, timestep_features
from moc.backbones.pocket.noise import SCALES, WHITE, Component, draw_noise, shot_generator
from moc.backbones.pocket.patches import by_columns, by_rows, patchify, unpatchify
from moc.backbones.pocket.positions import (
    move,
    nearer,
    rotate,
    rotation_table,
    rotations,
    seat,
    shot_positions,
    stream_positions,
)
from moc.errors import InputError

QUICK = settings(max_examples=25, deadline=None)


# Sizes.


def test_the_shipped_model_fits_in_sixteen_mebibytes() -> None:
    with torch.device("meta"):
        model = PocketDiT(PocketConfig(skip=True))  # with all that there is
    assert 2 * sum(p.numel() for p in model.parameters()) <= 16 * 2**20
    assert model.config.tokens_per_frame == 96
    assert model.config.patch_values == 768
    assert model.config.head >= model.config.patch_values


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"width": 65}, "65"),
        ({"width": 60, "heads": 10}, "60"),
        ({"picture_width": 90}, "90x64"),
        ({"head": 770, "skip": True}, "head 770"),
    ],
)
def test_sizes_that_do_not_fit_together(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PocketConfig(**sizes)


# Patches.


@QUICK
@given(
    st.lists(st.integers(1, 3), max_size=2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3),
    st.sampled_from([1, 2, 4]), st.sampled_from([1, 4, 8]),
)  # fmt: skip
def test_patches_give_the_picture_back(
    lead: list[int], latent_frames: int, rows: int, columns: int, patch_frames: int, patch_size: int
) -> None:
    config = PocketConfig(
        patch_frames=patch_frames, patch_size=patch_size,
        picture_width=columns * patch_size, picture_height=rows * patch_size,
    )  # fmt: skip
    frames = torch.randn(*lead, latent_frames * patch_frames, 3, rows * patch_size, columns * patch_size)
    tokens = patchify(frames, config)
    assert tokens.shape == (*lead, latent_frames * rows * columns, config.patch_values)
    assert torch.equal(unpatchify(tokens, config), frames)


def test_patches_stand_in_order_of_frame_column_and_row() -> None:
    config = PocketConfig(patch_frames=2, patch_size=8, picture_width=24, picture_height=16)
    frames = torch.zeros(4, 3, 16, 24)
    frames[3, 1, 12, 17] = 1  # latent frame 1, row 1, column 2
    tokens = patchify(frames, config)
    token, value = (int(x) for x in tokens.nonzero()[0])
    assert token == 1 * 6 + 2 * 2 + 1
    assert value == ((1 * 3 + 1) * 8 + 4) * 8 + 1  # (frame 1 of the two, green, row 4, column 1)


def test_positions_are_where_patches_stand() -> None:
    """Of one lit patch of a picture that is wider than high, the token's position names its frame, row and column."""
    config = PocketConfig(patch_frames=2, patch_size=8, picture_width=24, picture_height=16)
    at = shot_positions(config, 5, 2)[config.caption_tokens :]
    for frame in range(2):
        for row in range(2):
            for column in range(3):
                picture = torch.zeros(4, 3, 16, 24)
                picture[2 * frame, 0, 8 * row, 8 * column] = 1
                (token,) = patchify(picture, config).any(-1).nonzero().flatten().tolist()
                assert at[token].tolist() == [5, frame, row + 1, column + 1]


def test_latents_keep_the_order_of_before() -> None:
    """A run keeps patches row by row, as it did before the network's tokens ran down the columns."""
    config = PocketConfig(patch_frames=2, patch_size=8, picture_width=24, picture_height=16)
    frames = torch.randn(4, 3, 16, 24)
    tokens = patchify(frames, config)
    kept = by_rows(tokens, config)
    patch = frames[2:4, :, 8:16, 16:24]  # latent frame 1, row 1, column 2
    assert torch.equal(kept[1 * 6 + 1 * 3 + 2], patch.flatten())
    assert torch.equal(by_columns(kept, config), tokens)
    assert torch.equal(by_rows(tokens.expand(2, -1, -1), config)[1], kept)


# Noise.


@pytest.mark.parametrize("components", [SCALES, WHITE, (Component(4, False, 0.5), Component(1, True, 0.5))])
def test_noise_has_unit_variance_and_no_mean(components: tuple[Component, ...]) -> None:
    config = PocketConfig(picture_width=16, picture_height=8, patch_frames=2)
    generator = torch.Generator().manual_seed(0)
    noise = draw_noise((3000,), 2, config, generator=generator, components=components)
    assert noise.shape == (3000, 4, config.patch_values)
    # of every single number over the draws, and 2,000 of them at once: five standard errors
    assert noise.mean(0).abs().max() < 5 / math.sqrt(3000)
    assert (noise.square().mean(0) - 1).abs().max() < 5 * math.sqrt(2 / 3000)


def test_the_sum_of_scales_can_be_anything() -> None:
    """Full rank: without white noise of its own every pixel, some pictures could never come out."""
    assert sum(c.variance for c in SCALES) == pytest.approx(1)
    assert any(c.block == 1 and not c.still and c.variance > 0.5 for c in SCALES)


def _one(component: Component, latent_frames: int = 2) -> torch.Tensor:
    noise = draw_noise((1,), latent_frames, TINY, generator=torch.Generator().manual_seed(1), components=(component,))
    return unpatchify(noise, TINY)[0]  # [F, 3, H, W]


def test_components_are_coarse_and_still_as_they_say() -> None:
    whole = _one(Component(0, True, 1.0))
    assert torch.equal(whole, whole[:1, :, :1, :1].expand_as(whole))
    assert len(whole[0, :, 0, 0].unique()) == 3  # colours differ

    blocks = _one(Component(8, False, 1.0))
    assert torch.equal(blocks[..., :8, 8:16], blocks[..., :1, 8:9].expand(-1, -1, 8, 8))
    assert not torch.equal(blocks[..., 0, 0], blocks[..., 0, 8])
    assert torch.equal(blocks[0], blocks[TINY.patch_frames - 1])
    assert not torch.equal(blocks[0], blocks[TINY.patch_frames])

    still = _one(Component(1, True, 1.0))
    assert torch.equal(still, still[:1].expand_as(still))
    white = _one(Component(1, False, 1.0))
    assert len(white.unique()) > 0.99 * white.numel()

    cropped = _one(Component(12, True, 1.0))  # 16 x 32 pixels are no multiple of 12
    assert torch.equal(cropped[..., 12:, 24:], cropped[..., 12:13, 24:25].expand(-1, -1, 4, 8))


def test_variances_that_do_not_sum_to_one() -> None:
    with pytest.raises(ValueError, match=r"0\.5"):
        draw_noise((1,), 1, TINY, generator=torch.Generator(), components=(Component(1, False, 0.5),))


def test_a_shots_noise_depends_on_seed_story_and_shot() -> None:
    def draw(*key: object) -> torch.Tensor:
        generator = shot_generator(*key)  # type: ignore[arg-type]
        return draw_noise((1,), 1, TINY, generator=generator)

    base = draw(7, "tale", "river")
    assert torch.equal(base, draw(7, "tale", "river"))
    for other in ((8, "tale", "river"), (7, "tail", "river"), (7, "tale", "cafe"), (2**63 - 1, "tale", "river")):
        assert not torch.equal(base, draw(*other))


# Positions.


def test_rotations_keep_lengths_and_depend_on_distances_alone() -> None:
    table = rotation_table(TINY).double()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 1, 1, 1, TINY.head_dim, generator=generator, dtype=torch.float64).unbind(0)

    def product(first: list[float], second: list[float]) -> torch.Tensor:
        cos, sin = rotations(torch.tensor([first, second], dtype=torch.float64), table)
        a, b = rotate(x, cos[:, :1], sin[:, :1]), rotate(y, cos[:, 1:], sin[:, 1:])
        torch.testing.assert_close(a.norm(), x.norm())
        return (a * b).sum()

    here = product([3, 5, 2, 7], [1, 4, 6, 2])
    torch.testing.assert_close(here, product([13, 9, 3, 8], [11, 8, 7, 3]))
    for axis in range(4):
        moved = [3.0, 5, 2, 7]
        moved[axis] += 1
        assert (product(moved, [1, 4, 6, 2]) - here).abs() > 1e-6, f"axis {axis} does not matter"


@pytest.mark.parametrize("config", [TINY, PocketConfig(), PocketConfig(width=16, heads=1)])
def test_every_axis_has_pairs_of_its_own_and_some_stay_unrotated(config: PocketConfig) -> None:
    table = rotation_table(config)
    assert table.shape == (config.head_dim // 2, 4)
    assert ((table != 0).sum(1) <= 1).all()
    assert (table != 0).any(0).all()
    assert (table == 0).all(1).any()
    assert (table >= 0).all()


def test_shot_offset_moves_shots_and_leaves_the_global_text() -> None:
    positions = stream_positions(TINY, [(1, 1, 0), (2, 2, 3)])
    table = rotation_table(TINY)
    moved = positions.clone()
    moved[TINY.global_tokens :, 0] += 5
    expected = rotations(moved, table)
    got = rotations(positions, table, torch.tensor([0.0, 5.0]))
    for plain, a, b in zip(rotations(positions, table), got, expected, strict=True):
        assert torch.equal(a[0], plain[0])
        torch.testing.assert_close(a[1], b[0])


def test_positions_of_a_stream() -> None:
    positions = stream_positions(TINY, [(1, 1, 0), (4, 2, 3)])
    first = TINY.global_tokens + TINY.caption_tokens + TINY.tokens_per_frame
    assert torch.equal(positions[: TINY.global_tokens], torch.zeros(TINY.global_tokens, 4))
    assert torch.equal(positions[first:], shot_positions(TINY, 4, 2, first_frame=3))
    shot = positions[first:]
    assert torch.equal(shot[: TINY.caption_tokens], torch.tensor([4.0, 0, 0, 0]).expand(TINY.caption_tokens, 4))
    video = shot[TINY.caption_tokens :]
    assert video[0].tolist() == [4, 3, 1, 1]
    assert video[-1].tolist() == [4, 4, 2, 4]
    assert len({tuple(p) for p in video.tolist()}) == len(video)


def test_shots_are_seen_where_training_has_shown_some() -> None:
    for number in range(1, 200):
        assert seat(number) == min(number, MAX_TRAINED_SHOT)
        for earlier in range(1, number):
            there = seat(earlier) + nearer(number, earlier, 7)
            assert seat(number) - there == min(number - earlier, 7)
            assert there >= 1
    assert not any(nearer(number, earlier, 7) for number in range(1, 9) for earlier in range(1, number))


@pytest.mark.parametrize("shots", [-57, -3, 0, 1, 40])
def test_moved_keys_are_those_of_another_shot_index(shots: int) -> None:
    table = rotation_table(TINY).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 5, 3, TINY.head_dim, generator=generator, dtype=torch.float64)
    place = torch.rand(5, 4, generator=generator, dtype=torch.float64) * 9
    place[:, 0] = 60  # one shot
    there = place + torch.tensor([shots, 0, 0, 0])
    kept, expected = (rotate(x, *rotations(p, table)).transpose(1, 2) for p in (place, there))
    before = kept.clone()
    moved = move(kept, table, shots)
    assert torch.equal(moved, move(kept, table, torch.tensor([shots] * 5)))
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)  # angles are float32's
    torch.testing.assert_close(move(kept.mean(2), table, shots), expected.mean(2), rtol=0, atol=1e-6)
    assert torch.equal(kept, before), "kept keys stay as they are"


# What runs in fewer passes over memory where nobody trains.


def test_gelu_is_torchs() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, -1e4, 1e4, math.inf])])
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        expected = torch.nn.functional.gelu(x.to(dtype), approximate="tanh")
        with torch.no_grad():
            torch.testing.assert_close(gelu(x.to(dtype)), expected, rtol=1e-6, atol=2e-6)
        torch.testing.assert_close(gelu(x.to(dtype)), expected, rtol=0, atol=0)
    with torch.no_grad():
        assert gelu(torch.tensor([math.nan])).isnan().all()


@pytest.mark.parametrize(("batch", "others"), [(1, 1), (3, 1), (3, 3), (1, 3)])
def test_rotations_are_the_same_with_and_without_gradients(batch: int, others: int) -> None:
    x = torch.randn(batch, 7, 4, 16)[..., :8]  # not contiguous, as parts of one projection are
    cos, sin = torch.randn(2, others, 7, 1, 4)
    expected = rotate(x, cos, sin)
    with torch.no_grad():
        torch.testing.assert_close(rotate(x, cos, sin), expected)
    assert expected.shape == (3 if 3 in (batch, others) else 1, 7, 4, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_modulation_for_all_tokens_is_that_of_each(dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 16, dtype=dtype, requires_grad=True)
    shift, scale = (torch.randn(1, 1, 16, dtype=dtype, requires_grad=True) for _ in range(2))
    many = modulated_norm(x, shift.expand(2, 5, 16), scale.expand(2, 5, 16))
    one = modulated_norm(x, shift, scale)
    torch.testing.assert_close(one, many)
    upon = torch.randn_like(one)
    for a, b in zip(*(torch.autograd.grad(y, (x, shift, scale), upon) for y in (one, many)), strict=True):
        torch.testing.assert_close(a, b)
    mixed = modulated_norm(x.detach(), shift.detach().bfloat16(), scale.detach().bfloat16())
    assert mixed.dtype == dtype, "modulation of another precision"


# The network's pieces.


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
@QUICK
def test_per_token_repeats_rows(segments: list[int]) -> None:
    values = torch.randn(2, len(segments), 3)
    expected = torch.cat([values[:, i : i + 1].expand(-1, n, -1) for i, n in enumerate(segments)], dim=1)
    assert torch.equal(per_token(values, segments).expand_as(expected), expected)
    equal = [segments[0], *[4] * (len(segments) - 1)]
    expected = torch.cat([values[:, i : i + 1].expand(-1, n, -1) for i, n in enumerate(equal)], dim=1)
    assert torch.equal(per_token(values, equal).expand_as(expected), expected)


def test_timestep_features_tell_timesteps_apart() -> None:
    features = timestep_features(torch.linspace(0, 1, 201), 256)
    assert features.shape == (201, 256)
    assert torch.cdist(features, features).add(torch.eye(201) * 9).min() > 0.05


def test_embedding_equal_and_unequal_shots_is_the_same() -> None:
    model, generator = tiny_model(), torch.Generator().manual_seed(0)
    captions = [random_text(2, TINY.caption_tokens, generator) for _ in range(3)]
    patches = [torch.randn(2, n, TINY.patch_values, generator=generator) for n in (8, 8, 16)]
    whole = model.embed_shots(captions, patches)
    equal = model.embed_shots(captions[:2], patches[:2])
    last = model.embed_shots(captions[2:], patches[2:])
    torch.testing.assert_close(whole, torch.cat([equal, last], dim=1))


def test_a_fresh_network_predicts_nothing() -> None:
    """The output starts at zero, so that training does not begin by unlearning."""
    model = PocketDiT(TINY)
    mod = torch.randn(1, 1, 2, TINY.width)
    video, noisy = torch.randn(1, 8, TINY.width), torch.randn(1, 8, TINY.patch_values)
    assert torch.equal(model.predict(video, noisy, mod, (8,)), torch.zeros(1, 8, TINY.patch_values))


def test_a_new_skip_changes_nothing() -> None:
    plain = tiny_model(replace(TINY, skip=False))
    model = PocketDiT(TINY)
    model.load_state_dict(model.state_dict() | plain.state_dict())
    generator = torch.Generator().manual_seed(3)
    video, noisy = (torch.randn(2, 8, n, generator=generator) for n in (TINY.width, TINY.patch_values))
    mod = torch.randn(2, 1, 2, TINY.width, generator=generator)
    assert torch.equal(model.predict(video, noisy, mod, (8,)), plain.predict(video, noisy, mod, (8,)))


def test_what_the_skip_lets_through() -> None:
    """Into the hidden layer each frame goes by itself; through the gate, each number of a patch."""
    model = tiny_model()
    assert model.skip is not None
    noisy = torch.randn(1, 1, TINY.patch_values, generator=torch.Generator().manual_seed(1))
    changed = noisy.clone()
    values, channels = TINY.patch_values // TINY.patch_frames, TINY.head // TINY.patch_frames
    changed[..., values : 2 * values] += 1  # the second frame
    moved = (model.skip.hidden(noisy) != model.skip.hidden(changed)).flatten().nonzero().flatten()
    assert set(moved.tolist()) == set(range(channels, 2 * channels))
    with torch.no_grad():
        model.skip.into.zero_()
        video, mod = torch.randn(1, 1, TINY.width), torch.zeros(1, 1, 2, TINY.width)
        one, two = (model.predict(video, x, mod, (1,)) for x in (noisy, changed))
    assert set((one != two).flatten().nonzero().flatten().tolist()) == set(range(values, 2 * values))


# Weight files.


def test_weights_round_trip(tmp_path: Path) -> None:
    path = tiny_weights(tmp_path)
    assert weights.read_config(path) == TINY
    assert json.loads(weights.read_metadata(path)["card"]) == {"steps": 0}
    loaded = dict(weights.load_model(path, "cpu").named_parameters())
    for name, value in tiny_model().named_parameters():
        assert torch.equal(loaded[name], value.bfloat16().float()), name
    assert not weights.load_model(path, "cpu").training
    first = weights.fingerprint(path)
    assert weights.fingerprint(tiny_weights(tmp_path)) == first
    assert len(first) == 64


def _rewritten(path: Path, **metadata: str) -> Path:
    """The file with other metadata in its header."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"].update(metadata)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


def test_bad_weight_files(tmp_path: Path) -> None:
    good = tiny_weights(tmp_path)
    data = good.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])

    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    def header(text: bytes) -> bytes:
        return struct.pack("<Q", len(text)) + text

    for path, words in {
        tmp_path / "missing.safetensors": "does not exist",
        tmp_path: "not a safetensors file",
        write("empty", b""): "not a safetensors file",
        write("noise", bytes(range(256)) * 9): "not a safetensors file",
        write("list", header(b"[1, 2]")): "not a safetensors file",
        write("null", header(b'{"__metadata__": null}')): "not a safetensors file",
        write("cut", data[: length // 2]): "not a safetensors file",
        write("other", header(b'{"__metadata__": {"format": "pt"}}')): "not written by `moc train`",
        write("plain", header(b"{}")): "not written by `moc train`",
        write("nosize", header(b'{"__metadata__": {"format": "moc-pocket-2"}}')): "does not fit this version",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            weights.read_config(path)
        assert str(path) in str(caught.value)

    half = write("half", data[:-100])
    with pytest.raises(InputError, match="half"):
        weights.load_model(half, "cpu")
    for change, words in (
        ({"model": json.dumps(TINY.to_dict() | {"width": 128})}, "does not fit this version"),
        ({"model": json.dumps(TINY.to_dict() | {"depth": 3})}, "does not fit this version"),
        ({"model": json.dumps(TINY.to_dict() | {"width": 65})}, "does not fit this version"),
        ({"model": "3"}, "does not fit this version"),
    ):
        with pytest.raises(InputError, match=words):
            weights.load_model(_rewritten(tiny_weights(tmp_path), **change), "cpu")

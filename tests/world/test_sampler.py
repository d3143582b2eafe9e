"""Drawn stories: the rules of the draw, and the statistics that a benchmark of memory rests on."""

from __future__ import annotations

import pytest
import torch

from moc.world.sampler import (
    first_seen,
    gap_since_seen,
    held_out,
    sample_stories,
    scene_first_seen,
    scene_gap_since_seen,
)
from moc.world.schema import (
    ACTIONS,
    CHARACTER_ATTRIBUTES,
    COAT,
    KINDS,
    MAX_CHARACTERS,
    MAX_SCENES,
    PLACE_ATTRIBUTES,
    PLACES,
)
from moc.world.story import StoryBatch

_COLUMN = {name: i for i, name in enumerate(CHARACTER_ATTRIBUTES)}


def draw(batch: int = 2000, shots: int = 8, seed: int = 0, **options: object) -> StoryBatch:
    return sample_stories(batch, shots, generator=torch.Generator().manual_seed(seed), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stories() -> StoryBatch:
    return draw(4000)


def cast_kinds(stories: StoryBatch) -> torch.Tensor:
    return stories.characters[..., 0].gather(1, stories.cast.clamp_min(0).flatten(1)).view_as(stories.cast)


def held_out_share(stories: StoryBatch) -> tuple[float, float, float]:
    """Shares of held-out (kind, action), (place, action) and (kind, named coat) pairs."""
    kind_action = torch.tensor([[held_out("kind", k, "action", a) for a in ACTIONS] for k in KINDS])
    place_action = torch.tensor([[held_out("place", p, "action", a) for a in ACTIONS] for p in PLACES])
    kind_coat = torch.tensor([[held_out("kind", k, "coat", c) for c in COAT] for k in KINDS])
    seen = stories.cast >= 0
    place = stories.scenes[..., 0].gather(1, stories.scene)[..., None].expand_as(stories.cast)
    named = stories.characters_named[..., _COLUMN["coat"]]
    kind, coat = stories.characters[..., 0][named], stories.characters[..., _COLUMN["coat"]][named]
    return (
        kind_action[cast_kinds(stories)[seen], stories.action[seen]].float().mean().item(),
        place_action[place[seen], stories.action[seen]].float().mean().item(),
        kind_coat[kind, coat].float().mean().item(),
    )


def test_shapes_and_ranges(stories: StoryBatch) -> None:
    batch, shots = stories.stories, stories.shots
    assert stories.characters.shape == stories.characters_named.shape == (batch, MAX_CHARACTERS, 8)
    assert stories.scenes.shape == stories.scenes_named.shape == (batch, MAX_SCENES, 4)
    assert stories.cast.shape == stories.action.shape == (batch, shots, 2)
    assert stories.free.shape == (batch, shots, 16)
    assert stories.free.dtype == torch.float32
    assert (stories.free >= 0).all()
    assert (stories.free < 1).all()
    for table, attributes in ((stories.characters, CHARACTER_ATTRIBUTES), (stories.scenes, PLACE_ATTRIBUTES)):
        for column, (name, values) in enumerate(attributes.items()):
            assert table[..., column].max() == len(values) - 1, name
            assert table[..., column].min() == (-1 if column == 0 else 0), name


def test_cast_fills_from_the_left_with_different_used_characters(stories: StoryBatch) -> None:
    seen = stories.cast >= 0
    assert (seen[..., 0] | ~seen[..., 1]).all()
    assert (cast_kinds(stories)[seen] >= 0).all()
    both = seen.all(-1)
    assert (stories.cast[both][:, 0] != stories.cast[both][:, 1]).all()
    assert (stories.action[~seen] == 0).all()


def test_every_used_slot_appears(stories: StoryBatch) -> None:
    assert torch.equal(first_seen(stories) >= 0, stories.characters[..., 0] >= 0)
    assert torch.equal(scene_first_seen(stories) >= 0, stories.scenes[..., 0] >= 0)


def test_numbers_of_characters_scenes_and_casts(stories: StoryBatch) -> None:
    for table in (stories.characters, stories.scenes):
        used = (table[..., 0] >= 0).sum(1)
        assert used.min() == 1
        assert used.max() == 4
        assert (used.bincount(minlength=5)[1:] > 0.05 * len(used)).all()
    sizes = (stories.cast >= 0).sum(-1).flatten().bincount(minlength=3) / stories.cast[..., 0].numel()
    assert 0.03 < sizes[0] < 0.15
    assert 0.35 < sizes[2] < 0.47


def test_slots_are_all_used_alike(stories: StoryBatch) -> None:
    for table, slots in ((stories.characters, MAX_CHARACTERS), (stories.scenes, MAX_SCENES)):
        used = (table[..., 0] >= 0).float().mean(0)
        assert (used - used.mean()).abs().max() < 0.04, used
        assert len(used) == slots


@pytest.mark.parametrize("name", ["hair", "coat", "pattern", "hat_color", "scarf", "size"])
def test_open_attributes_are_uniform_and_independent_of_the_rest(stories: StoryBatch, name: str) -> None:
    used = stories.characters[..., 0] >= 0
    open_ = used & ~stories.characters_named[..., _COLUMN[name]]
    value = stories.characters[..., _COLUMN[name]][open_]
    count = len(CHARACTER_ATTRIBUTES[name])
    assert chi_square(value, torch.zeros_like(value), count, 1) < bound(count - 1)
    for other, values in CHARACTER_ATTRIBUTES.items():
        if other != name:
            second = stories.characters[..., _COLUMN[other]][open_]
            assert chi_square(value, second, count, len(values)) < bound((count - 1) * len(values)), other


def test_open_hats_are_uniform_where_no_hat_colour_is_named(stories: StoryBatch) -> None:
    used = stories.characters[..., 0] >= 0
    named = stories.characters_named
    open_ = used & ~named[..., _COLUMN["hat"]] & ~named[..., _COLUMN["hat_color"]]
    hat = stories.characters[..., _COLUMN["hat"]][open_]
    assert chi_square(hat, torch.zeros_like(hat), 7, 1) < bound(6)


def test_a_named_hat_colour_means_a_hat(stories: StoryBatch) -> None:
    told = stories.characters_named[..., _COLUMN["hat_color"]]
    assert (stories.characters[..., _COLUMN["hat"]][told] > 0).all()


@pytest.mark.parametrize("name", ["wall", "accent", "feature"])
def test_open_places_are_uniform_and_independent(stories: StoryBatch, name: str) -> None:
    column = list(PLACE_ATTRIBUTES).index(name)
    open_ = (stories.scenes[..., 0] >= 0) & ~stories.scenes_named[..., column]
    value = stories.scenes[..., column][open_]
    for other, values in PLACE_ATTRIBUTES.items():
        second = stories.scenes[..., list(PLACE_ATTRIBUTES).index(other)][open_]
        if other != name:
            assert chi_square(value, second, 6, len(values)) < bound(5 * len(values)), other


def chi_square(first: torch.Tensor, second: torch.Tensor, high: int, groups: int) -> float:
    """Statistic of `first` being uniform within every group of `second`."""
    table = torch.bincount(second * high + first, minlength=high * groups).view(groups, high).double()
    expected = table.sum(1, keepdim=True) / high
    return ((table - expected) ** 2 / expected.clamp_min(1e-9)).sum().item()


def bound(freedom: int) -> float:
    """Five standard deviations above the mean of chi-square."""
    return freedom + 5 * (2 * freedom) ** 0.5


def test_chi_square_notices_a_bias() -> None:
    fair = torch.randint(6, (6000,), generator=torch.Generator().manual_seed(0))
    biased = torch.where(torch.arange(6000) % 10 == 0, 0, fair)
    zeros = torch.zeros_like(fair)
    assert chi_square(fair, zeros, 6, 1) < bound(5) < chi_square(biased, zeros, 6, 1)


def test_naming_differs_between_stories(stories: StoryBatch) -> None:
    used = stories.characters[..., 0] >= 0
    open_columns = stories.characters_named[..., 1:].float().mean(-1)
    share = (open_columns * used).sum(1) / used.sum(1)
    assert 0.3 < share.mean() < 0.5
    assert (share == 0).float().mean() > 0.08
    assert (share > 0.95).float().mean() > 0.03
    assert not draw(50, named=0.0).characters_named[..., 1:].any()
    fewer = draw(2000, named_most=0.2)
    named = fewer.characters_named[..., 1:].float().mean(-1)[fewer.characters[..., 0] >= 0]
    assert 0.12 < named.mean() < 0.24, "a tenth of the stories name all, the others up to a fifth"


def test_some_stories_repeat_a_kind(stories: StoryBatch) -> None:
    kinds = stories.characters[..., 0].sort(1).values
    repeated = ((kinds[:, 1:] == kinds[:, :-1]) & (kinds[:, 1:] >= 0)).any(1)
    assert 0.05 < repeated.float().mean() < 0.2


def test_about_one_pair_in_twelve_is_held_out() -> None:
    for first, firsts, second, seconds in (
        ("kind", KINDS, "action", ACTIONS), ("place", PLACES, "action", ACTIONS), ("kind", KINDS, "coat", COAT),
    ):  # fmt: skip
        rows = [[held_out(first, a, second, b) for b in seconds] for a in firsts]
        share = sum(map(sum, rows)) / (len(firsts) * len(seconds))
        assert 1 / 15 < share < 1 / 9
        assert max(map(sum, rows)) <= 2
    with pytest.raises(ValueError, match="no held-out rule"):
        held_out("kind", "cat", "hat", "cap")


def test_splits_keep_held_out_pairs_apart(stories: StoryBatch) -> None:
    assert held_out_share(stories) == (0, 0, 0)
    assert min(held_out_share(draw(500, split="heldout"))) > 0.2
    assert all(0.03 < share < 0.13 for share in held_out_share(draw(1000, split="any")))


def test_gaps_of_every_length_are_common(stories: StoryBatch) -> None:
    gaps = gap_since_seen(stories)[stories.cast >= 0]
    counts = (gaps + 1).bincount(minlength=9)
    assert counts[1] == 0
    assert (counts[2:] > 0.003 * len(gaps)).all(), counts
    assert counts[3:].sum() > 0.2 * (counts[2:].sum())


def test_gaps_agree_with_a_plain_walk() -> None:
    stories = draw(20, 10, seed=3)
    gaps, scene_gaps, first = gap_since_seen(stories), scene_gap_since_seen(stories), first_seen(stories)
    for b in range(stories.stories):
        last: dict[int, int] = {}
        last_scene: dict[int, int] = {}
        begin: dict[int, int] = {}
        for s in range(stories.shots):
            cast = [c for c in stories.cast[b, s].tolist() if c >= 0]
            for role, who in enumerate(cast):
                assert gaps[b, s, role] == (s - last[who] if who in last else -1)
                begin.setdefault(who, s)
            for who in cast:
                last[who] = s
            assert (gaps[b, s, len(cast) :] == -1).all()
            scene = int(stories.scene[b, s])
            assert scene_gaps[b, s] == (s - last_scene[scene] if scene in last_scene else -1)
            last_scene[scene] = s
        assert first[b].tolist() == [begin.get(c, -1) for c in range(MAX_CHARACTERS)]


def test_the_seed_decides() -> None:
    one, two, other = draw(10), draw(10), draw(10, seed=1)
    assert torch.equal(one.characters, two.characters)
    assert torch.equal(one.free, two.free)
    assert not torch.equal(one.free, other.free)


@pytest.mark.parametrize("shots", [1, 2, 3, 24])
def test_any_number_of_shots(shots: int) -> None:
    stories = draw(64, shots, characters=2, scenes=1)
    assert stories.scene.shape == (64, shots)
    assert ((stories.scenes[..., 0] >= 0).sum(1) == 1).all()
    assert (stories.cast >= 0).any(-1).any(-1).all()


@pytest.mark.parametrize(
    "wrong", [{"split": "test"}, {"named": 1.5}, {"characters": 5}, {"scenes": 0}, {"batch": 0}, {"shots": 0}]
)
def test_wrong_arguments_are_refused_with_their_value(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        draw(**{"batch": 2, "shots": 2, **wrong})  # type: ignore[arg-type]


@pytest.mark.gpu
def test_runs_on_cuda() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    stories = sample_stories(64, 8, generator=generator, device="cuda")
    assert stories.cast.is_cuda
    assert held_out_share(stories.to("cpu")) == (0, 0, 0)

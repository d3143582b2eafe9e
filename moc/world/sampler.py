"""Draws stories: who is in them, what they look like, where and when each shot plays, and what the captions tell.

Everything is drawn with tensor operations for the whole batch at once, from one generator. What stays open (not named
by a caption) is uniform and independent of everything else, so that only memory can get it right; what is named may
be bent by two rules, never the open part: held-out pairs (see `held_out`) are kept out of training stories, and a
named hat colour implies that there is a hat.

The second half measures the stories: when each character and scene was first and last seen, which is what a benchmark
of memory counts in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from moc.world.schema import (
    ACTIONS,
    CAMERAS,
    CHARACTER_ATTRIBUTES,
    COAT,
    HAT,
    KINDS,
    MAX_CAST,
    MAX_CHARACTERS,
    MAX_SCENES,
    PLACE_ATTRIBUTES,
    PLACES,
    PROPS,
    TIMES,
    WEATHER,
)
from moc.world.story import StoryBatch

Split = Literal["train", "heldout", "any"]
SPLITS: tuple[Split, ...] = ("train", "heldout", "any")

MOST_DRAWN = 4  # characters, and scenes, of a drawn story; the slots they sit in are drawn among all
FREE = 16
CAST_SIZE_1_TO_4 = (0.15, 0.3, 0.3, 0.25)
SCENES_1_TO_4 = (0.2, 0.35, 0.25, 0.2)
ESTABLISHING, TWO_SHOT, REPEATED_KIND, SAME_ACTION, HELD_OUT_RATE = 0.06, 0.68, 0.15, 0.25, 0.5
CAMERA_SHARE = {"wide": 0.26, "medium": 0.28, "close": 0.2, "pan": 0.13, "zoom": 0.13}
TIME_SHARE = {"day": 0.6, "sunset": 0.2, "night": 0.2}
WEATHER_SHARE = {"clear": 0.64, "rain": 0.2, "snow": 0.16}
PROP_NONE = 0.5

_CHARACTER = {name: column for column, name in enumerate(CHARACTER_ATTRIBUTES)}

# Pairs whose residue (5 x first index + 7 x second index) mod 12 is the number given here are never trained on.
# 5 and 7 are coprime to 12, so every row and column loses about one pair in twelve, each a different one.
HELD_OUT_RESIDUE = {("kind", "action"): 3, ("place", "action"): 8, ("kind", "coat"): 1}
_INDEX: dict[str, tuple[str, ...]] = {"kind": KINDS, "place": PLACES, "action": ACTIONS, "coat": COAT}


def held_out(first: str, first_value: str, second: str, second_value: str) -> bool:
    """Whether a pair such as ("kind", "cat", "action", "run") is kept out of training stories.

    The pairs are (kind, action), (place, action) and (kind, named coat colour); an open coat colour is never held out.

    Raises:
        ValueError: for a pair of attributes without such a rule, or an unknown value.
    """
    if (first, second) not in HELD_OUT_RESIDUE:
        raise ValueError(f"no held-out rule for ({first}, {second}); there is one for {sorted(HELD_OUT_RESIDUE)}")
    i, j = _INDEX[first].index(first_value), _INDEX[second].index(second_value)
    return (5 * i + 7 * j) % 12 == HELD_OUT_RESIDUE[first, second]


@lru_cache(maxsize=64)
def _held_out_table(first: str, second: str, device: torch.device) -> Tensor:
    """`[len(first), len(second)]` bool, the rule of `held_out` as a table."""
    rows = [[held_out(first, a, second, b) for b in _INDEX[second]] for a in _INDEX[first]]
    return torch.tensor(rows, device=device)


@lru_cache(maxsize=64)
def _thresholds(shares: tuple[float, ...], device: torch.device) -> Tensor:
    """Inner edges of the cumulated `shares`: `[len(shares) - 1]`."""
    weights = torch.tensor(shares, dtype=torch.float64)
    return (weights.cumsum(0)[:-1] / weights.sum()).float().to(device)


class _Dice:
    """Random tensors from one generator, on the generator's device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def integer(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def below(self, probability: float | Tensor, *shape: int) -> Tensor:
        return self.uniform(*shape) < probability

    def share(self, shares: tuple[float, ...], u: Tensor) -> Tensor:
        """Index drawn with the given shares, from uniform numbers `u` of any shape."""
        return torch.bucketize(u, _thresholds(shares, self.device), right=True)

    def among(self, allowed: Tensor) -> Tensor:
        """Uniform index along the last axis among the `allowed` ones (bool; at least one must be)."""
        return self.uniform(*allowed.shape).masked_fill(~allowed, -1.0).argmax(-1)

    def distinct(self, rows: int, high: int, count: int) -> Tensor:
        """`[rows, count]` distinct indices below `high`, in random order."""
        return self.uniform(rows, high).argsort(-1)[:, :count]


def sample_stories(
    batch: int,
    shots: int,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    split: Split = "train",
    named: float | None = None,
    named_most: float = 0.8,
    characters: int | None = None,
    scenes: int | None = None,
) -> StoryBatch:
    """Draws `batch` stories of `shots` shots each.

    Args:
        generator: the only source of chance; the work is done on its device, so a seed gives the same stories
            wherever they are sent.
        device: where the result goes.
        split: "train" holds no held-out (kind, action), (place, action) or (kind, named coat) pair; "heldout" draws
            about half of its actions and named coats from those pairs; "any" ignores the rule.
        named: share of open attributes that captions name. By default it differs from story to story: a tenth of the
            stories name nothing, a tenth name all, the others between 0 and `named_most`.
        named_most: see `named`.
        characters: characters to draw per story, 1 to 4 (default: mixed). One who is never cast is dropped again.
        scenes: scenes per story, 1 to 4 (default: mixed), dropped likewise when no shot plays there.

    Raises:
        ValueError: for counts, shares or splits outside the above.
    """
    if batch < 1 or shots < 1:
        raise ValueError(f"batch and shots must be at least 1, got {batch} and {shots}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if named is not None and not 0 <= named <= 1:
        raise ValueError(f"named must lie between 0 and 1, got {named}")
    if not 0 <= named_most <= 1:
        raise ValueError(f"named_most must lie between 0 and 1, got {named_most}")
    for label, count in (("characters", characters), ("scenes", scenes)):
        if count is not None and not 1 <= count <= MOST_DRAWN:
            raise ValueError(f"{label} must lie between 1 and {MOST_DRAWN}, got {count}")
    dice = _Dice(generator)

    scene_order, scene = _play_scenes(dice, batch, shots, scenes)
    order, cast = _play_characters(dice, batch, shots, characters)
    share = dice.share((0.1, 0.1, 0.8), dice.uniform(batch))
    p_named = (share == 1).float() + (share == 2) * named_most * dice.uniform(batch)
    if named is not None:
        p_named = torch.full_like(p_named, named)

    return furnish(generator, scene_order, scene, order, cast, p_named, split).to(device)


def furnish(
    generator: torch.Generator,
    scene_order: Tensor,
    scene: Tensor,
    order: Tensor,
    cast: Tensor,
    p_named: Tensor,
    split: Split,
) -> StoryBatch:
    """Draws everything of stories of which it is known already who is seen when and where.

    In a share of the stories the second of `order` (and of `scene_order`) is of the kind of the first.

    Args:
        generator: the only source of chance; all tensors lie on its device.
        scene_order, order: `[B, MOST_DRAWN]` slots of the scenes and characters; those never seen are dropped.
        scene, cast: as in `StoryBatch`.
        p_named: `[B]` share of open attributes that captions name.
        split: see `sample_stories`.
    """
    dice = _Dice(generator)
    batch, shots = scene.shape
    used_scene = _used(scene, MAX_SCENES)
    place_BP = torch.full((batch, MAX_SCENES), -1, device=dice.device)
    place_BP = place_BP.scatter(1, scene_order, _kinds(dice, batch, len(PLACES)))
    scenes_table, scenes_named = _describe_scenes(dice, place_BP.masked_fill(~used_scene, -1), p_named)

    used = _used(cast, MAX_CHARACTERS)
    kind_BC = torch.full((batch, MAX_CHARACTERS), -1, device=dice.device)
    kind_BC = kind_BC.scatter(1, order, _kinds(dice, batch, len(KINDS))).masked_fill(~used, -1)
    table, table_named = _describe_characters(dice, kind_BC, p_named, split)

    action = _act(dice, cast, table[..., 0], scenes_table[..., 0].gather(1, scene), split)
    prop = dice.integer(len(PROPS) - 1, batch, shots) + 1
    return StoryBatch(
        characters=table,
        characters_named=table_named,
        scenes=scenes_table,
        scenes_named=scenes_named,
        scene=scene,
        cast=cast,
        action=action,
        camera=dice.share(tuple(CAMERA_SHARE[c] for c in CAMERAS), dice.uniform(batch, shots)),
        time=_mood(dice, scene, tuple(TIME_SHARE[t] for t in TIMES)),
        weather=_mood(dice, scene, tuple(WEATHER_SHARE[w] for w in WEATHER)),
        prop=prop.masked_fill(dice.below(PROP_NONE, batch, shots), 0),
        free=dice.uniform(batch, shots, FREE),
    )


def _used(index: Tensor, slots: int) -> Tensor:
    """`[B, slots]` bool: which slots occur in `index` `[B, ...]` (-1 counts for none)."""
    flat = index.flatten(1) + 1
    hits = torch.zeros(len(flat), slots + 1, dtype=torch.bool, device=index.device)
    return hits.scatter(1, flat, torch.ones_like(flat, dtype=torch.bool))[:, 1:]


def _kinds(dice: _Dice, batch: int, high: int) -> Tensor:
    """`[B, MOST_DRAWN]` kinds (or places): distinct, but in a share of stories the second repeats the first."""
    kinds = dice.distinct(batch, high, MOST_DRAWN)
    repeat = dice.below(REPEATED_KIND, batch)
    kinds[:, 1] = torch.where(repeat, kinds[:, 0], kinds[:, 1])
    return kinds


def _presence(dice: _Dice, batch: int, shots: int, count: Tensor) -> Tensor:
    """`[B, S, MOST_DRAWN]` weights with which each character (or scene) is chosen for a shot; 0 = not there.

    The first one recurs. The others are regular with differing weight, or leave after a while and come back later, or
    enter late for a shot or two: so that gaps of every length between two appearances are common. The first one goes
    away too in a share of the stories that have others.
    """
    shape = (batch, 1, MOST_DRAWN)
    s = torch.arange(shots, device=dice.device).view(1, -1, 1)
    weight = torch.exp(dice.uniform(*shape) * 1.6 - 0.8)
    weight[..., 0] = 1.4
    manner = dice.share((0.45, 0.35, 0.2), dice.uniform(*shape))  # regular, goes away, enters late
    manner[..., 0] = torch.where((count > 1)[:, None] & dice.below(0.4, batch, 1), 1, 0)

    leaves = 1 + (dice.uniform(*shape) * max(shots // 3, 1)).long()
    returns = leaves + 1 + (dice.uniform(*shape) * (shots - leaves - 1).clamp_min(0)).long()
    away = (manner == 1) & (s >= leaves) & (s < returns)
    keen = (manner == 1) & ((s == leaves - 1) | (s == returns))
    enters = (shots // 2) + (dice.uniform(*shape) * (shots - shots // 2)).long()
    stays = 1 + dice.integer(2, *shape)
    inside = (s >= enters) & (s < enters + stays)
    away = away | ((manner == 2) & ~inside)
    keen = keen | ((manner == 2) & inside)

    weight = torch.where(keen, weight * 8, weight.expand(batch, shots, MOST_DRAWN))
    exists = torch.arange(MOST_DRAWN, device=dice.device) < count.view(-1, 1, 1)
    return weight.masked_fill(away | ~exists, 0.0)


def _gumbel_keys(dice: _Dice, weight: Tensor) -> Tensor:
    """Keys whose order is a weighted draw without replacement; -inf where the weight is 0."""
    noise = -torch.log(-torch.log(dice.uniform(*weight.shape).clamp(1e-7, 1 - 1e-6)))
    return weight.log() + noise


def _count(dice: _Dice, batch: int, fixed: int | None, shares: tuple[float, ...]) -> Tensor:
    """`[B]` how many characters (or scenes) a story draws."""
    drawn = 1 + dice.share(shares, dice.uniform(batch))
    return drawn if fixed is None else torch.full_like(drawn, fixed)


def _play_scenes(dice: _Dice, batch: int, shots: int, fixed: int | None) -> tuple[Tensor, Tensor]:
    """Slots of the drawn scenes `[B, MOST_DRAWN]`, and the scene slot of every shot `[B, S]`.

    A shot stays where the one before was with a probability of the story, otherwise it goes anywhere.
    """
    order = dice.distinct(batch, MAX_SCENES, MOST_DRAWN)
    weight = _presence(dice, batch, shots, _count(dice, batch, fixed, SCENES_1_TO_4))
    weight[..., 0] = weight[..., 0].clamp_min(0.2)  # some place is always there
    wanted = _gumbel_keys(dice, weight).argmax(-1)
    moves = ~dice.below(0.5 * dice.uniform(batch, 1), batch, shots)
    moves[:, 0] = True
    s = torch.arange(shots, device=dice.device)
    since = torch.where(moves, s, 0).cummax(-1).values
    return order, order.gather(1, wanted.gather(1, since))


def _play_characters(dice: _Dice, batch: int, shots: int, fixed: int | None) -> tuple[Tensor, Tensor]:
    """Slots of the drawn characters `[B, MOST_DRAWN]`, and the cast `[B, S, MAX_CAST]` (-1: nobody)."""
    order = dice.distinct(batch, MAX_CHARACTERS, MOST_DRAWN)
    keys = _gumbel_keys(dice, _presence(dice, batch, shots, _count(dice, batch, fixed, CAST_SIZE_1_TO_4)))
    best, who = keys.topk(MAX_CAST, dim=-1)
    size = 1 + dice.below(TWO_SHOT, batch, shots).long()
    size = size.masked_fill(dice.below(ESTABLISHING, batch, shots), 0)
    seen = torch.isfinite(best) & (torch.arange(MAX_CAST, device=dice.device) < size[..., None])
    seen[:, 0, 0] |= ~seen.any(-1).any(-1)  # a story has somebody in it; the first character is there at the start
    cast = order.unsqueeze(1).expand(-1, shots, -1).gather(2, who).masked_fill(~seen, -1)
    swap = (seen.all(-1) & dice.below(0.5, batch, shots))[..., None]
    return order, torch.where(swap, cast.flip(-1), cast)


def _describe_characters(dice: _Dice, kind: Tensor, p_named: Tensor, split: Split) -> tuple[Tensor, Tensor]:
    """Attributes and named flags, both `[B, MAX_CHARACTERS, 8]`, for characters of the given kinds (-1: unused)."""
    used = kind >= 0
    named = dice.uniform(*kind.shape, len(_CHARACTER)) < p_named.view(-1, 1, 1)
    columns = {name: dice.integer(len(values), *kind.shape) for name, values in CHARACTER_ATTRIBUTES.items()}
    columns["kind"] = kind

    coat_named = named[..., _CHARACTER["coat"]]
    if split != "any":
        rare = _held_out_table("kind", "coat", kind.device)[kind.clamp_min(0)]
        told = dice.among(~rare)
        if split == "heldout":
            bold = dice.below(HELD_OUT_RATE, *kind.shape) & rare.any(-1)
            told = torch.where(bold, dice.among(rare | ~rare.any(-1, keepdim=True)), told)
        columns["coat"] = torch.where(coat_named, told, columns["coat"])

    # "a red hat" says that there is a hat; "no hat" leaves no hat to have a colour. Open hats stay uniform.
    hat_named, color_named = named[..., _CHARACTER["hat"]], named[..., _CHARACTER["hat_color"]]
    some_hat = 1 + dice.integer(len(HAT) - 1, *kind.shape)
    columns["hat"] = torch.where(color_named & ~hat_named, some_hat, columns["hat"])
    named[..., _CHARACTER["hat_color"]] = color_named & (columns["hat"] != 0)

    named[..., _CHARACTER["kind"]] = True
    return torch.stack(list(columns.values()), -1), named & used[..., None]


def _describe_scenes(dice: _Dice, place: Tensor, p_named: Tensor) -> tuple[Tensor, Tensor]:
    """Attributes and named flags, both `[B, MAX_SCENES, 4]`, for scenes at the given places (-1: unused)."""
    named = dice.uniform(*place.shape, len(PLACE_ATTRIBUTES)) < p_named.view(-1, 1, 1)
    columns = {name: dice.integer(len(values), *place.shape) for name, values in PLACE_ATTRIBUTES.items()}
    columns["place"] = place
    named[..., 0] = True
    return torch.stack(list(columns.values()), -1), named & (place >= 0)[..., None]


def _act(dice: _Dice, cast: Tensor, kind: Tensor, place: Tensor, split: Split) -> Tensor:
    """`[B, S, MAX_CAST]` actions for the cast; in a share of two-shots both do the same."""
    kind_BSR = kind.unsqueeze(1).expand(-1, cast.shape[1], -1).gather(2, cast.clamp_min(0)).clamp_min(0)
    rare = _held_out_table("kind", "action", cast.device)[kind_BSR]
    rare = rare | _held_out_table("place", "action", cast.device)[place].unsqueeze(2)
    if split == "any":
        rare = torch.zeros_like(rare)
    action = dice.among(~rare)
    if split == "heldout":  # every kind and every place has a held-out action, so `rare` is never empty
        action = torch.where(dice.below(HELD_OUT_RATE, *cast.shape), dice.among(rare), action)
    fits = ~rare[:, :, 1].gather(-1, action[..., :1]).squeeze(-1)
    same = dice.below(SAME_ACTION, *cast.shape[:2]) & (fits if split == "train" else torch.ones_like(fits))
    action[..., 1] = torch.where(same, action[..., 0], action[..., 1])
    return action.masked_fill(cast < 0, 0)


def _mood(dice: _Dice, scene: Tensor, shares: tuple[float, ...]) -> Tensor:
    """`[B, S]` time or weather: one value for the story (60 % of stories), for each scene (25 %) or for each shot."""
    batch, shots = scene.shape
    scope = dice.share((0.6, 0.25, 0.15), dice.uniform(batch, 1))
    by_story, by_scene = dice.uniform(batch, 1), dice.uniform(batch, MAX_SCENES).gather(1, scene)
    u = torch.where(scope == 0, by_story, torch.where(scope == 1, by_scene, dice.uniform(batch, shots)))
    return dice.share(shares, u.contiguous())


def first_seen(stories: StoryBatch) -> Tensor:
    """`[B, MAX_CHARACTERS]`: index of the shot in which each character is first cast, -1 for never."""
    return _first(_shots_of(stories.cast, MAX_CHARACTERS))


def scene_first_seen(stories: StoryBatch) -> Tensor:
    """`[B, MAX_SCENES]`: index of the first shot that plays in each scene, -1 for never."""
    return _first(_shots_of(stories.scene.unsqueeze(-1), MAX_SCENES))


def gap_since_seen(stories: StoryBatch) -> Tensor:
    """`[B, S, MAX_CAST]`: how many shots ago each cast character was last seen (1 = the shot before).

    -1 where the character is seen for the first time, and where a role is empty (`cast` is -1 there).
    """
    last = _last_before(_shots_of(stories.cast, MAX_CHARACTERS))
    return _gaps(last.gather(2, stories.cast.clamp_min(0)).masked_fill(stories.cast < 0, -1))


def scene_gap_since_seen(stories: StoryBatch) -> Tensor:
    """`[B, S]`: how many shots ago the shot's scene was last seen (1 = the shot before), -1 for the first time."""
    last = _last_before(_shots_of(stories.scene.unsqueeze(-1), MAX_SCENES))
    return _gaps(last.gather(2, stories.scene.unsqueeze(-1))).squeeze(-1)


def _shots_of(index: Tensor, slots: int) -> Tensor:
    """`[B, S, slots]` bool: whether slot is among `index` `[B, S, n]` of the shot."""
    return (index.unsqueeze(-1) == torch.arange(slots, device=index.device)).any(2)


def _first(seen: Tensor) -> Tensor:
    return torch.where(seen.any(1), seen.int().argmax(1), -1)


def _last_before(seen: Tensor) -> Tensor:
    """`[B, S, slots]`: index of the last earlier shot with the slot, -1 for none."""
    s = torch.arange(seen.shape[1], device=seen.device).view(1, -1, 1)
    last = torch.where(seen, s, -1).cummax(1).values
    return torch.cat([torch.full_like(last[:, :1], -1), last[:, :-1]], 1)


def _gaps(last: Tensor) -> Tensor:
    s = torch.arange(last.shape[1], device=last.device).view(1, -1, 1)
    return torch.where(last >= 0, s - last, -1)

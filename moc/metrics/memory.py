"""Memory as a measurement: from the readings of many stories to recall, kappa, chance and entropy by attribute and gap.

Two tables. *Planted*: first looks were given to the model from the ground truth, so a later look is compared with the
truth. *Free*: the model drew them itself, so a later look is compared with the first one. Only what no caption names
counts as memory; what captions name is counted apart, with the combinations that training never showed apart again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moc.metrics.memory_agreement import (
    DRAWS,
    UNREAD,
    Estimate,
    Tally,
    chance,
    entropy,
    estimate,
    kappa,
    plain,
    recall,
    resamples,
    tally,
    uniform_distance,
)
from moc.metrics.world import values_of
from moc.world.recurrence import GAPS
from moc.world.schema import CHARACTER_OPEN, HAT, KINDS, PLACE_OPEN, PLACES

if TYPE_CHECKING:
    import pandas as pd

Table = Literal["planted", "free"]
TABLES: tuple[Table, ...] = ("planted", "free")
OPEN = {"character": CHARACTER_OPEN, "place": PLACE_OPEN}

_OWNER = ["story", "owner", "slot"]
_MOST_ALIKE = max(len(KINDS), len(PLACES))


def pairs(rows: pd.DataFrame, table: Table) -> pd.DataFrame:
    """First and later looks at what no caption names.

    A later look counts by the shots since its owner was *last* seen, however often that was: somebody seen in between
    can be copied from there. A hat's colour is compared where the first look shows a hat; without one later, it is
    wrong.

    Args:
        rows: of `moc.metrics.world.readings` with `open_hats`, and a column `planted`: the shot was given to the model.
        table: "planted" takes owners that were first seen in a planted shot, and their true values as first look;
            "free" takes the others, and what was read.

    Returns:
        One row a later look: `story, attribute, gap, first, later, like`, values as indices, -1 where unreadable.
        `like` is the group whose stories chance is taken from (see `memory_agreement`): in the free table the kind or
        place, which captions name and a model may hang habits on; in the planted one 0 for all, as true values are
        drawn independently of everything that is named.

    Raises:
        ValueError: the table is not one of `TABLES`.
    """
    if table not in TABLES:
        raise ValueError(f"table must be one of {', '.join(TABLES)}, got {table!r}")
    looks = _open_looks(rows)
    key = [*_OWNER, "attribute"]
    begun = looks[looks["gap"] < 0]
    begun = begun[begun["planted"] == (table == "planted")].set_index(key)
    first = (begun["truth"] if table == "planted" else begun["look"]).rename("first")
    later = looks[(looks["gap"] > 0) & ~looks["planted"]].join(first, on=key, how="inner").reset_index(drop=True)
    later = later[~((later["attribute"] == "hat_color") & (later["first"] == _NO_HAT))]
    later["look"] = later["look"].clip(lower=UNREAD)  # a hat that is gone has no colour to read
    told = rows[rows["attribute"].isin(("kind", "place"))].drop_duplicates(_OWNER).set_index(_OWNER)["truth"]
    later = later.join(told.rename("like"), on=_OWNER)
    if table == "planted":
        later["like"] = 0
    return later[["story", "attribute", "gap", "first", "look", "like"]].rename(columns={"look": "later"})


_NO_HAT = -2  # look at the colour of a hat where there is none to be seen


def _open_looks(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of open attributes with `look`, what was read, and `truth`; both `_NO_HAT` for colours of no hat.

    Whether there is a hat is not open where a caption names its colour.
    """
    known = [name for names in OPEN.values() for name in names]
    looks = rows[~rows["named"] & rows["attribute"].isin(known)]
    coloured = rows.loc[rows["named"] & (rows["attribute"] == "hat_color"), _OWNER].drop_duplicates()
    told = looks.set_index(_OWNER).index.isin(coloured.set_index(_OWNER).index)
    looks = looks[~((looks["attribute"] == "hat") & told)].copy()
    looks["look"] = looks["read"]
    at = ["story", "shot", "owner", "slot"]
    bare = rows.loc[(rows["attribute"] == "hat") & (rows["read"] == HAT.index("none")), at].drop_duplicates()
    index = looks.set_index(at).index
    colour = looks["attribute"] == "hat_color"
    looks.loc[colour & index.isin(bare.set_index(at).index), "look"] = _NO_HAT
    looks.loc[colour & (looks["truth"] < 0), "truth"] = _NO_HAT
    return looks


def drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """What the model itself drew where nothing told it what to draw: `attribute, value` of all its first looks.

    Unreadable ones are -1; colours of hats that are not there are left out.
    """
    looks = _open_looks(rows)
    looks = looks[(looks["gap"] < 0) & ~looks["planted"] & (looks["look"] != _NO_HAT)]
    return looks[["attribute", "look"]].rename(columns={"look": "value"})


def tally_of(found: pd.DataFrame, attribute: str, stories: int, gap: int | None = None) -> Tally:
    """Pairs of one attribute, at one gap or at all, counted by story."""
    part = found[found["attribute"] == attribute]
    part = part if gap is None else part[part["gap"] == gap]
    story, first, later, like = (part[name].to_numpy() for name in ("story", "first", "later", "like"))
    return tally(story, first, later, stories=stories, values=len(values_of(attribute)), group=like, groups=_MOST_ALIKE)


def summary(rows: pd.DataFrame, table: Table, *, stories: int, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Everything that the tables of `docs/memory.md` show, as plain data for JSON (no number is None).

    Args:
        rows: as for `pairs`, of stories 0 to `stories` - 1.
        table: see `pairs`.
        draws, seed: of the bootstrap over stories.

    Returns:
        `named` (all that captions name) and `attributes`: by name, `recall_by_gap`, `kappa_by_gap`, their
        `..._interval_by_gap`, `pairs_by_gap`, `recall`, `kappa` and their `..._interval` over all gaps, `chance`,
        `uniform_chance`, `unreadable` (share of later looks), `entropy` of what the model drew (planted: later looks;
        free: first ones) and `entropy_of_uniform` in bits, `draws` (how many first looks are the model's own) and
        their `distance_from_uniform`, `named`; and `means`, the same recall and
        kappa averaged over the attributes of characters and of places.
    """
    weights = resamples(stories, draws=draws, seed=seed)
    found, own = pairs(rows, table), drawn(rows)
    gaps = [gap for gap in GAPS if (found["gap"] == gap).any()]
    attributes: dict[str, Any] = {}
    means: dict[str, Any] = {}
    for owner, names in OPEN.items():
        parts = {}
        for name in names:
            later = found.loc[found["attribute"] == name, "later"].to_numpy()
            mine = own.loc[own["attribute"] == name, "value"].to_numpy()
            counts = {gap: tally_of(found, name, stories, gap) for gap in (*gaps, None)}
            parts[name] = counts
            attributes[name] = {
                **_by_gap([counts], gaps, weights),
                "chance": plain(chance(counts[None], weights[:1])[0]),
                "uniform_chance": 1 / len(values_of(name)),
                "unreadable": _share(later == UNREAD),
                "entropy": plain(entropy(later if table == "planted" else mine, len(values_of(name)))),
                "entropy_of_uniform": float(np.log2(len(values_of(name)))),
                "distance_from_uniform": plain(uniform_distance(mine, len(values_of(name)))),
                "draws": int((mine != UNREAD).sum()),
            }
        means[owner] = _by_gap(list(parts.values()), gaps, weights)
    told = rows[rows["named"] & ~rows["planted"]]
    for name in dict.fromkeys([*attributes, *told["attribute"]]):
        attributes.setdefault(name, {})["named"] = _named(told[told["attribute"] == name], stories, weights)
    return {"named": _named(told, stories, weights), "means": means, "attributes": attributes}


def _by_gap(parts: list[dict[int | None, Tally]], gaps: list[int], weights: np.ndarray) -> dict[str, Any]:
    """Recall and kappa of the mean over attributes, by gap and over all gaps."""
    result: dict[str, Any] = {}
    for name, measure in (("recall", recall), ("kappa", kappa)):
        by_gap = {gap: estimate(_mean([measure(part[gap], weights) for part in parts])) for gap in gaps}
        whole = estimate(_mean([measure(part[None], weights) for part in parts]))
        result |= {
            f"{name}_by_gap": {str(gap): plain(e.value) for gap, e in by_gap.items()},
            f"{name}_interval_by_gap": {str(gap): _interval(e) for gap, e in by_gap.items()},
            name: plain(whole.value),
            f"{name}_interval": _interval(whole),
        }
    result["pairs_by_gap"] = {str(gap): int(sum(part[gap].pairs.sum() for part in parts)) for gap in gaps}
    return result


def _mean(draws: list[np.ndarray]) -> np.ndarray:
    """Mean over attributes, those without pairs in a resample left out."""
    stacked = np.stack(draws)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)


def _named(told: pd.DataFrame, stories: int, weights: np.ndarray) -> dict[str, Any]:
    """Share that reads as the caption says, over all and over combinations kept out of training."""
    result: dict[str, Any] = {"readings": len(told)}
    for name, part in (("", told), ("heldout_", told[told["heldout"]])):
        found = estimate(recall(_right(part, stories), weights))
        result |= {f"{name}right": plain(found.value), f"{name}interval": _interval(found)}
    return result | {"heldout_readings": int(told["heldout"].sum())}


def _right(part: pd.DataFrame, stories: int) -> Tally:
    right = (part["read"] == part["truth"]).to_numpy(dtype=np.int64)
    # agreement of "right" with "right": all that `recall` needs
    return tally(part["story"].to_numpy(), np.ones_like(right), right, stories=stories, values=2)


def mean_recall(found: pd.DataFrame, attributes: Iterable[str], *, stories: int, weights: np.ndarray) -> np.ndarray:
    """`[D]` recall averaged over attributes, for D weightings `[D, stories]` of the stories; `found` is of `pairs`."""
    return _mean([recall(tally_of(found, name, stories), weights) for name in attributes])


def recall_difference(
    rows: pd.DataFrame, other: pd.DataFrame, table: Table, attributes: Iterable[str], *, stories: int,
    draws: int = DRAWS, seed: int = 0,
) -> Estimate:  # fmt: skip
    """Mean recall of one run minus that of another one on the same stories, which are resampled together.

    Raises:
        ValueError: there are no such attributes.
    """
    weights, names = resamples(stories, draws=draws, seed=seed), list(attributes)
    if not names:
        raise ValueError("a difference of recall needs at least one attribute, got none")
    one, two = (mean_recall(pairs(x, table), names, stories=stories, weights=weights) for x in (rows, other))
    return estimate(one - two)


def estimate_dict(found: Estimate) -> dict[str, float | None]:
    """An estimate as plain data."""
    return {name: plain(value) for name, value in asdict(found).items()}


def _interval(found: Estimate) -> list[float | None]:
    return [plain(found.low), plain(found.high)]


def _share(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None

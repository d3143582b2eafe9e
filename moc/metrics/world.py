"""What a generated world story shows, next to what its captions and its ground truth say, one row a reading.

The reader's error (docs/model-card.md) bounds what these numbers can mean. A character that the reader does not find
in its shot reads as nothing, which counts as wrong everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from moc.world.reader import CHARACTER_LABELS, Reader, Reading, read
from moc.world.sampler import gap_since_seen, held_out, scene_gap_since_seen
from moc.world.schema import CHARACTER_ATTRIBUTES, HAT, KINDS, MAX_CAST, PLACE_ATTRIBUTES, SHOT_ATTRIBUTES
from moc.world.story import StoryBatch

if TYPE_CHECKING:
    import pandas as pd

UNREAD = -1


def readings(
    stories: StoryBatch, frames: Tensor | None, reader: Reader | Reading, *, open_hats: bool = False
) -> pd.DataFrame:
    """Read every shot of generated stories.

    Args:
        stories: what was asked for, B stories of S shots.
        frames: uint8 `[B, S, F, 3, H, W]`; None where `reader` has read already.
        reader: the trained reader, or what it read in the B x S shots, story after story.
        open_hats: also give the colours of hats that the truth does not have and no caption denies, with truth -1: a
            model that draws the hat itself may draw one.

    Returns:
        One row per story, shot, owner and attribute: `story, shot, owner` ("character" or "scene" or "shot"), `slot`
        (-1 for the shot itself), `attribute, truth, read` (value indices, -1 = not readable), `named` (a caption says
        it), `gap` (shots since the owner was last seen, -1 at its first appearance), `pair` (two characters in the
        shot), `other` (the partner's value of that attribute, -1 without one), `heldout` (what the caption says is a
        pair that training never showed, see `moc.world.sampler.held_out`).

    Raises:
        ValueError: there are neither frames nor readings.
    """
    import pandas as pd

    batch, shots = stories.stories, stories.shots
    if isinstance(reader, Reading):
        reading = reader
    elif frames is None:
        raise ValueError("readings need frames, or what the reader read in them; got neither")
    else:
        reading = read(reader, frames.flatten(0, 1))
    cpu = stories.to("cpu")
    character_gap, scene_gap = gap_since_seen(cpu), scene_gap_since_seen(cpu)
    columns: dict[str, list[object]] = {
        name: []
        for name in (
            "story", "shot", "owner", "slot", "attribute", "truth", "read", "named", "gap", "pair", "other", "heldout",
        )
    }  # fmt: skip

    def add(**values: object) -> None:
        for name, column in columns.items():
            column.append(values[name])

    best_shot = {name: logits.argmax(-1).view(batch, shots).tolist() for name, logits in reading.shot.items()}
    present = (reading.present > 0).view(batch, shots, -1).tolist()
    best = {name: logits.argmax(-1).view(batch, shots, -1).tolist() for name, logits in reading.character.items()}
    truth = {name: getattr(cpu, name).tolist() for name in SHOT_ATTRIBUTES}
    cast, scene = cpu.cast.tolist(), cpu.scene.tolist()
    who, who_named = cpu.characters.tolist(), cpu.characters_named.tolist()
    where, where_named = cpu.scenes.tolist(), cpu.scenes_named.tolist()
    names = list(CHARACTER_ATTRIBUTES)
    kind_column, hat_column = names.index("kind"), names.index("hat")
    bare = HAT.index("none")
    for b in range(batch):
        for s in range(shots):
            slots = [c for c in cast[b][s] if c >= 0]
            kinds = [who[b][c][kind_column] for c in slots]
            common = {"story": b, "shot": s, "pair": len(slots) == MAX_CAST}
            for name in ("camera", "time", "weather", "prop"):
                add(**common, owner="shot", slot=-1, attribute=name, truth=truth[name][b][s],
                    read=best_shot[name][b][s], named=True, gap=-1, other=-1, heldout=False)  # fmt: skip
            place = scene[b][s]
            for column, name in enumerate(PLACE_ATTRIBUTES):
                add(**common, owner="scene", slot=place, attribute=name, truth=where[b][place][column],
                    read=best_shot[name][b][s], named=where_named[b][place][column], gap=int(scene_gap[b, s]),
                    other=-1, heldout=False)  # fmt: skip
            if len(set(kinds)) < len(kinds):
                continue  # two of a kind can't be told apart by the reader
            for role, slot in enumerate(slots):
                kind = kinds[role]
                found = present[b][s][kind]
                partner = slots[1 - role] if len(slots) == MAX_CAST else None
                shared = {**common, "owner": "character", "slot": slot, "gap": int(character_gap[b, s, role])}
                add(**shared, attribute="kind", truth=kind, read=kind if found else UNREAD, named=True,
                    other=-1 if partner is None else who[b][partner][kind_column], heldout=False)  # fmt: skip
                for name in CHARACTER_LABELS:
                    if name == "action":
                        value, said = truth["action"][b][s][role], True
                        other = -1 if partner is None else truth["action"][b][s][1 - role]
                        rare = _rare("kind", kind, name, value) or _rare("place", where[b][place][0], name, value)
                    else:
                        column = names.index(name)
                        value, said = who[b][slot][column], who_named[b][slot][column]
                        if name == "hat_color" and who[b][slot][hat_column] == bare:
                            if not open_hats or who_named[b][slot][hat_column]:
                                continue  # nothing to see
                            value = UNREAD
                        other = -1 if partner is None else who[b][partner][column]
                        rare = said and name == "coat" and _rare("kind", kind, name, value)
                    seen = best[name][b][s][kind] if found else UNREAD
                    add(**shared, attribute=name, truth=value, read=seen, named=said, other=other, heldout=rare)
    return pd.DataFrame(columns)


def _rare(first: str, i: int, second: str, j: int) -> bool:
    return held_out(first, values_of(first)[i], second, values_of(second)[j])


def values_of(attribute: str) -> tuple[str, ...]:
    """The values that an attribute's indices stand for."""
    return {**CHARACTER_ATTRIBUTES, **PLACE_ATTRIBUTES, **SHOT_ATTRIBUTES, "kind": KINDS}[attribute]


def accuracy(rows: pd.DataFrame) -> float:
    """Share of rows that read as the truth."""
    return float((rows["read"] == rows["truth"]).mean()) if len(rows) else float("nan")


def interval(rows: pd.DataFrame, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of `accuracy`, resampling whole stories (readings within one hang together).

    Not a number where there are no rows.
    """
    if not len(rows):
        return float("nan"), float("nan")
    right = (rows["read"] == rows["truth"]).groupby(rows["story"]).agg(["sum", "count"])
    hits = torch.tensor(right["sum"].to_numpy(), dtype=torch.float64)
    sizes = torch.tensor(right["count"].to_numpy(), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randint(len(hits), (draws, len(hits)), generator=generator)
    means = hits[pick].sum(1) / sizes[pick].sum(1)
    return float(means.quantile(0.025)), float(means.quantile(0.975))

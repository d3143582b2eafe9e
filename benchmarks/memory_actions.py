"""Who can be read: kinds by what somebody does, and recall without those who move fastest, from the readings kept.

`memory_report.py` looks for `planted.csv.gz` in the folder of its results.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memory_tables import markdown, percent

from moc.metrics.memory import OPEN, TABLES, UNREAD, pairs
from moc.world.schema import ACTIONS

FAST = ("run", "jump")
_AT = ["story", "shot", "owner", "slot"]


def read_actions(folder: Path) -> dict[str, Any] | None:
    """By action, of characters that the model drew: readings, shares of kinds and actions right and of kinds unread;
    and the mean recall of their attributes with and without the later looks of `FAST`. None without readings."""
    import pandas as pd

    path = folder / "planted.csv.gz"
    if not path.is_file():
        return None
    rows = pd.read_csv(path)
    act = rows[rows["attribute"] == "action"]
    does = act[[*_AT, "truth"]].rename(columns={"truth": "does"}).join(act["read"].eq(act["truth"]).rename("done"))
    drawn = rows[(rows["attribute"] == "kind") & ~rows["planted"]].merge(does, on=_AT)
    found: dict[str, Any] = {"actions": {}}
    for number, part in drawn.groupby("does"):
        found["actions"][ACTIONS[int(number)]] = {
            "readings": len(part),
            "kind": float(part["read"].eq(part["truth"]).mean()),
            "unread": float(part["read"].eq(UNREAD).mean()),
            "action": float(part["done"].mean()),
        }
    unread = drawn["read"].eq(UNREAD)
    fast = drawn["does"].isin([ACTIONS.index(name) for name in FAST])
    found["unread"] = float(unread.mean())
    found["fast_of_unread"] = float(fast[unread].mean()) if unread.any() else None
    told = rows.merge(does, on=_AT, how="left")
    late = told["does"].isin([ACTIONS.index(name) for name in FAST]) & (told["gap"] > 0)
    found["recall"], found["recall_of_others"] = (_recall(x) for x in (rows, rows[~late.to_numpy()]))
    return found


def _recall(rows: Any) -> float:
    looks = pairs(rows, TABLES[0])
    looks = looks[looks["attribute"].isin(OPEN["character"])]
    return float(looks["later"].eq(looks["first"]).groupby(looks["attribute"]).mean().mean())


def actions_table(told: Mapping[str, Any]) -> str:
    """The table, and what it comes to."""
    rows = [["who", "readings", "kind right", "kind unreadable", "action right"]]
    for name, one in told["actions"].items():
        cells = (percent(one[key]) for key in ("kind", "unread", "action"))
        rows.append([name, f"{one['readings']:,}", *cells])
    unread, recall, others = (percent(told[name]) for name in ("unread", "recall", "recall_of_others"))
    fast = told["fast_of_unread"]
    share = "" if fast is None else f", {percent(fast)} of them of those who run or jump"
    return (
        f"{markdown(rows)}\n\n{unread} of all kinds can't be read{share}. Recall of people is {recall}; without the "
        f"later looks of those who run or jump it is {others}."
    )

"""What sparsity buys: attention counted and measured, dense attention beside it. `profile(settings)` is the whole job.

Torch is imported when a profile is made, not before.
"""

from __future__ import annotations

from moc.profile.budget import Condition, broken, check_rows, parse_budget
from moc.profile.report import OnProgress, profile
from moc.profile.settings import Settings, base_settings, make_settings

__all__ = [
    "Condition",
    "OnProgress",
    "Settings",
    "base_settings",
    "broken",
    "check_rows",
    "make_settings",
    "parse_budget",
    "profile",
]

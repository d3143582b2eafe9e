"""One story drawn in several ways and measured, or runs that exist, side by side.

`compare_story` and `compare_runs` give a report as plain data; `moc.compare.side_by_side`, `page` and `save` turn it
into videos, a page and tables. Torch is imported when something is drawn or read.
"""

from moc.compare.arms import Arm, make_arms
from moc.compare.report import compare_runs, compare_story

__all__ = ["Arm", "compare_runs", "compare_story", "make_arms"]

"""Who attends to whom: routed links counted, the graph of shots, its loops, and what was forgotten.

`load(run)` gives a `RouteMap`, `analyse(route_map)` a `Report`. Torch-free.
"""

from moc.route_map.findings import Forgotten, Report, analyse, forgotten_names
from moc.route_map.graph import Component, Cycle, Loops, find_loops
from moc.route_map.load import RouteMap, Selection, ShotInfo, load, shares

__all__ = [
    "Component",
    "Cycle",
    "Forgotten",
    "Loops",
    "Report",
    "RouteMap",
    "Selection",
    "ShotInfo",
    "analyse",
    "find_loops",
    "forgotten_names",
    "load",
    "shares",
]

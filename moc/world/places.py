"""The ten places with their landmarks, as one map of part codes each."""

from __future__ import annotations

from collections.abc import Callable

from moc.world import indoors, outdoors
from moc.world.canvas import Canvas
from moc.world.scenery import PLACE_BOX
from moc.world.schema import PLACES
from moc.world.things import feature

FEATURE_X = 48.0

_PLACES: dict[str, tuple[Callable[[Canvas], None], float]] = {  # drawing, and where the landmark's foot stands
    "cafe": (indoors.cafe, 33.0),
    "river": (outdoors.river, 29.5),
    "street": (outdoors.street, 22.6),
    "kitchen": (indoors.kitchen, 30.5),
    "forest": (outdoors.forest, 34.2),
    "beach": (outdoors.beach, 33.6),
    "library": (indoors.library, 33.6),
    "station": (outdoors.station, 34.0),
    "rooftop": (outdoors.rooftop, 33.8),
    "park": (outdoors.park, 32.0),
}
assert tuple(_PLACES) == PLACES


def place_map(place: str) -> Canvas:
    """The background of `place`, without its landmark."""
    c = Canvas(PLACE_BOX)
    _PLACES[place][0](c)
    return c


def with_feature(background: Canvas, place: str, name: str) -> Canvas:
    """A copy of the background with the landmark `name` standing in its spot."""
    c = Canvas(PLACE_BOX)
    c.codes[:] = background.codes
    c.paste(feature(name), FEATURE_X, _PLACES[place][1])
    return c

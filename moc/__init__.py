"""moc: Mixture of Contexts for long, multi-shot video generation.

The public names load on first use, so that `import moc` costs no torch import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from moc.attention import attend, moc_attention
    from moc.config import MoCConfig
    from moc.layout import Shot, TokenLayout
    from moc.outer_loop import select_shots
    from moc.recording import Routes, record_routes
    from moc.routing import Routing, pool, route
    from moc.schedule import Schedule, Stage

_HOMES = {
    "MoCConfig": "moc.config",
    "Routes": "moc.recording",
    "Routing": "moc.routing",
    "Schedule": "moc.schedule",
    "Shot": "moc.layout",
    "Stage": "moc.schedule",
    "TokenLayout": "moc.layout",
    "attend": "moc.attention",
    "moc_attention": "moc.attention",
    "pool": "moc.routing",
    "record_routes": "moc.recording",
    "route": "moc.routing",
    "select_shots": "moc.outer_loop",
}

__all__ = [
    "MoCConfig",
    "Routes",
    "Routing",
    "Schedule",
    "Shot",
    "Stage",
    "TokenLayout",
    "__version__",
    "attend",
    "moc_attention",
    "pool",
    "record_routes",
    "route",
    "select_shots",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'moc' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

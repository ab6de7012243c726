"""Manifold capacity and geometry of every layer of a deep network.

``measure`` takes the manifolds' points and returns their ``Geometry``; ``geometry_from_moments``
does so from second moments. ``anchors`` holds the geometry of a single manifold, ``compat`` the
call of the reference implementation.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifold_capacity import anchors, compat
    from manifold_capacity.geometry.measure import geometry_from_moments, measure
    from manifold_capacity.geometry.result import DegenerateManifoldsError, Geometry

__version__ = "0.1.0"

__all__ = [
    "DegenerateManifoldsError",
    "Geometry",
    "__version__",
    "anchors",
    "compat",
    "geometry_from_moments",
    "measure",
]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the pipeline's other steps have no use for the compiled code.
    if name in ("anchors", "compat"):
        return importlib.import_module(f"manifold_capacity.{name}")
    if name in __all__:
        return getattr(importlib.import_module("manifold_capacity.geometry.measure"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Manifold capacity and geometry of every layer of a deep network.

``measure`` computes the ``Geometry`` of manifolds from their points, ``geometry_from_moments`` from
second moments, ``anchors.anchor_geometry`` that of a single manifold. ``measure_glue`` computes their
exact capacity, as a ``Glue``. ``measure_layers`` measures several layers at once, as a table.
``compat.manifold_analysis_corr`` is called like the reference implementation.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifold_capacity import anchors, compat
    from manifold_capacity.geometry.glue import measure_glue
    from manifold_capacity.geometry.glue_result import Glue
    from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
    from manifold_capacity.geometry.measure import geometry_from_moments, measure
    from manifold_capacity.geometry.result import Geometry
    from manifold_capacity.library.measure_layers import measure_layers
    from manifold_capacity.library.measure_network import measure_network
    from manifold_capacity.library.recorder import GeometryRecorder

__version__ = "1.0.0"

__all__ = [
    "DegenerateManifoldsError",
    "Geometry",
    "GeometryRecorder",
    "Glue",
    "__version__",
    "anchors",
    "compat",
    "geometry_from_moments",
    "measure",
    "measure_glue",
    "measure_layers",
    "measure_network",
]

_MODULES = {
    "Glue": "geometry.glue",
    "measure_glue": "geometry.glue",
    "measure_layers": "library.measure_layers",
    "measure_network": "library.measure_network",
    "GeometryRecorder": "library.recorder",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: the pipeline's other steps do not need the compiled code.
    if name in ("anchors", "compat"):
        return importlib.import_module(f"manifold_capacity.{name}")
    if name in __all__:
        module = _MODULES.get(name, "geometry.measure")
        return getattr(importlib.import_module(f"manifold_capacity.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

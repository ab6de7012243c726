"""`anchor_geometry` under its public name; the code is in `manifold_capacity.geometry.anchors`."""

from manifold_capacity.geometry.anchors import anchor_geometry

__all__ = ["anchor_geometry"]

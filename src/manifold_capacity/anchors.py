"""Public name of `manifold_capacity.geometry.anchors.anchor_geometry`."""

from manifold_capacity.geometry.anchors import anchor_geometry

__all__ = ["anchor_geometry"]

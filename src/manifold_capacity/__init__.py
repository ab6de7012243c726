"""Manifold capacity and geometry of every layer of a deep network."""

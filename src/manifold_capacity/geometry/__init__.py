"""Capacity, radius, dimension and correlation of manifolds: points in, numbers out. Needs numpy and numba only."""

"""Activations of layers: extracted into a zarr store, or a user's own, read as manifolds."""

"""Activations of layers: extracted into a zarr store or read from external files."""

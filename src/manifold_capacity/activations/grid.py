"""How a store of activations is divided into shards and chunks, and its size on disk. Does not import torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manifold_capacity.activations.projection import stored_features
from manifold_capacity.activations.store import CHECKSUM_BYTES, INDEX_ENTRY_BYTES
from manifold_capacity.models.layers import Layer

# One layer's part of a batch. Writing it with zarr needs about three times as much memory.
_MAX_ROW_BYTES = 128 * 2**20

# Features of an inner chunk: many, since reading a chunk takes about 0.2 ms whatever its size, but so
# few that one block of features of all points, which the reader holds, stays below the bound.
_MAX_CHUNK_FEATURES = 4096
_MIN_CHUNK_FEATURES = 256
_MAX_BLOCK_BYTES = 80 * 2**20


@dataclass(frozen=True)
class Grid:
    """How one layer's array is divided: shards of (1, points, n_chunks * features), one file each."""

    shape: tuple[int, int, int]
    points: int
    features: int
    n_chunks: int
    itemsize: int

    @property
    def chunk(self) -> tuple[int, int, int]:
        return (1, self.points, self.features)

    @property
    def shard(self) -> tuple[int, int, int]:
        return (1, self.points, self.features * self.n_chunks)

    @property
    def n_bytes(self) -> int:
        n_shards = self.shape[0] * math.ceil(self.shape[1] / self.points)
        chunk_bytes = math.prod(self.chunk) * self.itemsize + CHECKSUM_BYTES
        return n_shards * (self.n_chunks * (chunk_bytes + INDEX_ENTRY_BYTES) + CHECKSUM_BYTES)


def points_per_batch(layers: Sequence[Layer], n_points: int, batch_size: int) -> int:
    """Images of one forward pass: at most a batch, within the memory bound, in equal parts."""
    widest = max(layer.n_features for layer in layers) * np.dtype(np.float32).itemsize
    most = max(1, min(batch_size, _MAX_ROW_BYTES // widest))
    return math.ceil(n_points / math.ceil(n_points / most))


def grid_of(
    layer: Layer,
    n_manifolds: int,
    n_points: int,
    row_points: int,
    dtype: str,
    projection: int | None = None,
) -> Grid:
    itemsize = np.dtype(dtype).itemsize
    most = _MAX_BLOCK_BYTES // (n_manifolds * n_points * itemsize)
    most = min(max(most, _MIN_CHUNK_FEATURES), _MAX_CHUNK_FEATURES)
    # Equal parts: the last chunk is stored in full length, even if fewer features remain.
    n_features = stored_features(layer, projection)
    n_chunks = math.ceil(n_features / most)
    features = math.ceil(n_features / n_chunks)
    shape = (n_manifolds, n_points, n_features)
    return Grid(shape, row_points, features, n_chunks, itemsize)


@dataclass(frozen=True)
class StoreSize:
    """Size of a store on disk: each layer's label, shape (manifolds, points, features) and bytes."""

    entries: tuple[tuple[str, tuple[int, int, int], int], ...]

    @property
    def total(self) -> int:
        """Bytes of all layers, without the metadata (a few KB)."""
        return sum(n_bytes for _, _, n_bytes in self.entries)

    def __str__(self) -> str:
        rows = [(label, " x ".join(map(str, shape)), n) for label, shape, n in self.entries]
        rows.append(("total", "", self.total))
        widest_label = max(len(label) for label, _, _ in rows)
        widest_shape = max(len(shape) for _, shape, _ in rows)
        return "\n".join(
            f"{label:<{widest_label}}  {shape:>{widest_shape}}  {n_bytes / 2**30:10.4f} GiB"
            for label, shape, n_bytes in rows
        )


def store_size(
    layers: Sequence[Layer],
    n_manifolds: int,
    n_points: int,
    dtype: str = "float32",
    *,
    batch_size: int = 64,
    projection: int | None = None,
) -> StoreSize:
    """Size of the activations of these layers on disk, exact to the byte; `projection` as in the configuration.

    Examples
    --------
    >>> conv = Layer(1, "features.0", "Conv2d", (64, 32, 32), 65536)
    >>> print(store_size([conv], n_manifolds=100, n_points=50))
    1_Conv2d  100 x 50 x 65536      1.2207 GiB
    total                           1.2207 GiB
    """
    points = points_per_batch(layers, n_points, batch_size)
    grids = [grid_of(layer, n_manifolds, n_points, points, dtype, projection) for layer in layers]
    entries = zip(layers, grids, strict=True)
    return StoreSize(tuple((layer.label, grid.shape, grid.n_bytes) for layer, grid in entries))

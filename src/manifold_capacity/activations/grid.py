"""How a store of activations is cut into shards, and what it takes on disk. Knows nothing of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from manifold_capacity.activations.store import CHECKSUM_BYTES, INDEX_ENTRY_BYTES
from manifold_capacity.models.layers import Layer

# One layer's part of a batch. Handing it to zarr takes about three times as much memory.
_MAX_ROW_BYTES = 128 * 2**20


# Features of an inner chunk: enough for fast reading (a chunk costs about 0.2 ms whatever its size),
# yet so few that one block of features of all points, what the reader holds, stays below the bound.
_MAX_CHUNK_FEATURES = 4096


_MIN_CHUNK_FEATURES = 256


_MAX_BLOCK_BYTES = 80 * 2**20


@dataclass(frozen=True)
class Grid:
    """How one layer's array is cut: shards of (1, points, n_chunks * features), one file each."""

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
    def n_shards(self) -> int:
        return self.shape[0] * math.ceil(self.shape[1] / self.points)

    @property
    def shard_bytes(self) -> int:
        chunk = math.prod(self.chunk) * self.itemsize + CHECKSUM_BYTES
        return self.n_chunks * (chunk + INDEX_ENTRY_BYTES) + CHECKSUM_BYTES

    @property
    def n_bytes(self) -> int:
        return self.n_shards * self.shard_bytes


def points_per_batch(layers: Sequence[Layer], n_points: int, batch_size: int) -> int:
    """Images of one forward pass: at most a batch, within the memory bound, in equal parts."""
    widest = max(layer.n_features for layer in layers) * np.dtype(np.float32).itemsize
    most = max(1, min(batch_size, _MAX_ROW_BYTES // widest))
    return math.ceil(n_points / math.ceil(n_points / most))


def grid_of(layer: Layer, n_manifolds: int, n_points: int, row_points: int, dtype: str) -> Grid:
    itemsize = np.dtype(dtype).itemsize
    most = _MAX_BLOCK_BYTES // (n_manifolds * n_points * itemsize)
    most = min(max(most, _MIN_CHUNK_FEATURES), _MAX_CHUNK_FEATURES)
    # Equal parts: an inner chunk is stored whole, also where it reaches over the last feature.
    n_chunks = math.ceil(layer.n_features / most)
    return Grid(
        shape=(n_manifolds, n_points, layer.n_features),
        points=row_points,
        features=math.ceil(layer.n_features / n_chunks),
        n_chunks=n_chunks,
        itemsize=itemsize,
    )


@dataclass(frozen=True)
class Bill:
    """What a store takes on disk.

    Attributes
    ----------
    entries : tuple of (label, shape, bytes)
        Per layer; shape is (n_manifolds, n_points, n_features).
    """

    entries: tuple[tuple[str, tuple[int, int, int], int], ...]

    @property
    def total(self) -> int:
        """Bytes of all layers, without the metadata (a few KB)."""
        return sum(n_bytes for _, _, n_bytes in self.entries)

    def __str__(self) -> str:
        rows = [(label, " x ".join(map(str, shape)), n) for label, shape, n in self.entries]
        rows.append(("total", "", self.total))
        label_width = max(len(row[0]) for row in rows)
        shape_width = max(len(row[1]) for row in rows)
        return "\n".join(
            f"{label:<{label_width}}  {shape:>{shape_width}}  {n_bytes / 2**30:10.4f} GiB"
            for label, shape, n_bytes in rows
        )


def bill(
    layers: Sequence[Layer],
    n_manifolds: int,
    n_points: int,
    dtype: str = "float32",
    *,
    batch_size: int = 64,
) -> Bill:
    """What the activations of these layers take on disk, to the byte.

    Examples
    --------
    >>> conv = Layer(1, "features.0", "Conv2d", (64, 32, 32), 65536)
    >>> print(bill([conv], n_manifolds=100, n_points=50))
    1_Conv2d  100 x 50 x 65536      1.2207 GiB
    total                           1.2207 GiB
    """
    points = points_per_batch(layers, n_points, batch_size)
    grids = [(layer, grid_of(layer, n_manifolds, n_points, points, dtype)) for layer in layers]
    return Bill(tuple((layer.label, grid.shape, grid.n_bytes) for layer, grid in grids))

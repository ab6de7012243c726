"""Read the manifolds of external activations as blocks of features."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import Layer

# What is read of a layer at a time. The moments keep two of these, besides their own buffers.
_BLOCK_BYTES = 48 * 2**20


# Rows of a mapped array that are read before its pages are given back.
_MAPPED_ROWS = 512


class Reader:
    """Reads blocks of a layer's features, for all chosen points, and keeps the last one.

    All manifolds are read together, since a chunk of a zarr array holds samples of many classes.
    """

    def __init__(
        self,
        array: Any,
        lead: tuple[NDArray[np.int64], ...],
        layer: Layer,
        path: Path,
        class_names: Sequence[str],
        points: Sequence[NDArray[np.int64]],
    ) -> None:
        self._array, self._lead, self._path = array, lead, path
        self.layer, self._class_names, self._points = layer, class_names, points
        self.dtype = np.dtype(array.dtype)
        # A zarr array is read by whole rows of its first axis, then of these the points are taken.
        n_read = len(lead[0])
        if not isinstance(array, np.ndarray):
            self._first, self._places = np.unique(lead[0], return_inverse=True)
            n_read = len(self._first) * math.prod(array.shape[1 : len(lead)])
        self.features = max(1, _BLOCK_BYTES // (max(n_read, len(lead[0])) * self.dtype.itemsize))
        self.features = min(self.features, layer.n_features)
        inner = _chunk_features(array, len(lead))
        if inner < self.features:
            self.features -= self.features % inner
        self._block: tuple[tuple[int, int], NDArray[Any]] | None = None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Values (n_points, stop - start) of all points, manifold after manifold."""
        if self._block is None or self._block[0] != (start, stop):
            self._block = None  # before the next one is read
            parts = [
                self._gather(part)
                for first in range(start, stop, self.features)
                for part in _parts(
                    (), self.layer.output_shape, first, min(stop, first + self.features)
                )
            ]
            block = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
            self._check_finite(block, start)
            self._block = (start, stop), block
        return self._block[1]

    def _gather(self, part: tuple[slice, ...]) -> NDArray[Any]:
        n_points = len(self._lead[0])
        if isinstance(self._array, np.ndarray):
            some = [self._gather_mapped(part, first) for first in range(0, n_points, _MAPPED_ROWS)]
            block = some[0] if len(some) == 1 else np.concatenate(some)
        else:
            others = (slice(None),) * (len(self._lead) - 1)
            rows = np.asarray(self._array.oindex[(self._first, *others, *part)])
            block = rows[(self._places, *self._lead[1:])]
        return block.reshape(len(block), -1)

    def _gather_mapped(self, part: tuple[slice, ...], first: int) -> NDArray[Any]:
        rows = (axis[first : first + _MAPPED_ROWS] for axis in self._lead)
        block = np.asarray(self._array[cast(Any, (*rows, *part))])
        if isinstance(self._array.base, mmap.mmap):
            # Or the process would seem to hold all of the file that it, and its neighbors, have read.
            self._array.base.madvise(mmap.MADV_DONTNEED)
        return block

    def _check_finite(self, block: NDArray[Any], first_feature: int) -> None:
        if block.dtype.kind != "f" or np.isfinite(block).all():
            return
        row, column = np.argwhere(~np.isfinite(block))[0].tolist()
        manifold = 0
        while row >= len(self._points[manifold]):
            row -= len(self._points[manifold])
            manifold += 1
        what = "sample" if len(self._lead) == 1 else "point"
        value = block[sum(map(len, self._points[:manifold])) + row, column]
        raise UserError(
            f"{self._path}: layer {self.layer.name!r}, class {self._class_names[manifold]!r}, {what} "
            f"{self._points[manifold][row]}, feature {first_feature + column} is {value}; the geometry needs "
            "finite activations: drop the sample, or the feature (a neuron that wasn't always recorded)"
        )


class Manifold:
    """One manifold's points (n_points, n_features), to be sliced."""

    def __init__(self, reader: Reader, begin: int, end: int) -> None:
        self._reader, self._begin, self._end = reader, begin, end
        self.shape = (end - begin, reader.layer.n_features)
        self.dtype = reader.dtype
        # What `moments_from_arrays` reads at a time.
        self.chunks = (end - begin, reader.features)

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        points, features = key
        start, stop, _ = features.indices(self.shape[1])
        return self._reader.read(start, stop)[self._begin : self._end][points]


def _parts(
    index: tuple[slice, ...], shape: tuple[int, ...], start: int, stop: int
) -> Iterator[tuple[slice, ...]]:
    """Boxes of `shape` that hold the places start to stop of its flattened self, in their order."""
    if len(shape) == 1:
        yield (*index, slice(start, stop))
        return
    inner = math.prod(shape[1:])
    while start < stop:
        row, offset = divmod(start, inner)
        n_rows = (stop - start) // inner
        if offset == 0 and n_rows:
            yield (*index, slice(row, row + n_rows), *(slice(None),) * (len(shape) - 1))
            start += n_rows * inner
        else:
            end = min(stop, (row + 1) * inner)
            yield from _parts(
                (*index, slice(row, row + 1)), shape[1:], offset, offset + end - start
            )
            start = end


def _chunk_features(array: Any, n_lead: int) -> int:
    """Flattened features that come with each chunk along the first axis of features."""
    chunks = getattr(array, "chunks", None)
    if chunks is None:
        return 1
    return int(chunks[n_lead]) * math.prod(array.shape[n_lead + 1 :])

"""Reading the manifolds of external activations in blocks of features."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.activations.array_files import reading
from manifold_capacity.errors import UserError
from manifold_capacity.geometry.not_finite import NotFinite
from manifold_capacity.models.layers import Layer

# Bytes of a layer that are read at a time. The moments keep two such blocks, besides their own buffers.
_BLOCK_BYTES = 48 * 2**20

# Samples with values that are not finite that a message names.
_MOST_NAMED = 5

# Rows of a mapped array that are read before its memory pages are released.
_MAPPED_ROWS = 512


def block_features(n_points: int, dtype: np.dtype[Any], n_features: int) -> int:
    """How many features of so many points are read at a time, on which the last bits of sums may depend."""
    return min(max(1, _BLOCK_BYTES // (n_points * dtype.itemsize)), n_features)


class Reader:
    """Reads blocks of a layer's features for all chosen points, and keeps the last block.

    All manifolds are read together, since a chunk of a zarr array holds samples of many classes.
    `lead` holds the indices of all points along the axes before the features, manifold after
    manifold; `sizes` are the numbers of points.
    """

    def __init__(
        self,
        array: Any,
        lead: tuple[NDArray[np.int64], ...],
        layer: Layer,
        path: Path,
        class_names: Sequence[str],
        sizes: Sequence[int],
    ) -> None:
        self._array, self._lead, self._path = array, lead, path
        self.layer, self._class_names, self._ends = layer, class_names, np.cumsum(sizes).tolist()
        self.dtype = np.dtype(array.dtype)
        n_read = len(lead[0])
        if not isinstance(array, np.ndarray):
            # Of a zarr array, whole rows of the first axis are read, then the points taken from them.
            self._first, self._places = np.unique(lead[0], return_inverse=True)
            n_read = max(n_read, len(self._first) * math.prod(array.shape[1 : len(lead)]))
        self.features = block_features(n_read, self.dtype, layer.n_features)
        if (chunks := getattr(array, "chunks", None)) is not None:
            # Flattened features that come with each chunk along the first axis of features
            inner = int(chunks[len(lead)]) * math.prod(array.shape[len(lead) + 1 :])
            if inner < self.features:
                self.features -= self.features % inner
        self._block: tuple[tuple[int, int], NDArray[Any]] | None = None

    def manifolds(self) -> list[Manifold]:
        return [Manifold(self, a, b) for a, b in zip([0, *self._ends], self._ends, strict=False)]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Values (n_points, stop - start) of all points, manifold after manifold."""
        if self._block is None or self._block[0] != (start, stop):
            self._block = None  # before the next one is read
            block = self._gathered(start, stop)
            self._check_finite(block, start)
            self._block = (start, stop), block
        return self._block[1]

    def _gathered(self, start: int, stop: int) -> NDArray[Any]:
        shape, step = self.layer.output_shape, self.features
        spans = ((first, min(stop, first + step)) for first in range(start, stop, step))
        parts = [self._gather(part) for span in spans for part in _parts(shape, *span)]
        return _joined(parts, axis=1)

    def _gather(self, part: tuple[slice, ...]) -> NDArray[Any]:
        if isinstance(self._array, np.ndarray):
            firsts = range(0, len(self._lead[0]), _MAPPED_ROWS)
            block = _joined([self._gather_mapped(part, first) for first in firsts], axis=0)
        else:
            others = (slice(None),) * (len(self._lead) - 1)
            with reading(f"{self._path}: layer {self.layer.name!r}"):
                rows = np.asarray(self._array.oindex[(self._first, *others, *part)])
            block = rows[(self._places, *self._lead[1:])]
        return block.reshape(len(block), -1)

    def _gather_mapped(self, part: tuple[slice, ...], first: int) -> NDArray[Any]:
        rows = (axis[first : first + _MAPPED_ROWS] for axis in self._lead)
        block = np.asarray(self._array[cast(Any, (*rows, *part))])
        if isinstance(self._array.base, mmap.mmap):
            # Otherwise all pages that were read, and their neighbors, would count as this process's memory.
            self._array.base.madvise(mmap.MADV_DONTNEED)
        return block

    def _check_finite(self, block: NDArray[Any], first_feature: int) -> None:
        if block.dtype.kind != "f" or np.isfinite(block).all():
            return
        row, column = np.argwhere(~np.isfinite(block))[0].tolist()
        class_name = self._class_names[int(np.searchsorted(self._ends, row, side="right"))]
        what = "sample" if len(self._lead) == 1 else "point"
        raise UserError(
            f"{self._path}: layer {self.layer.name!r}, class {class_name!r}, {what} "
            f"{self._lead[-1][row]}, feature {first_feature + column} is {block[row, column]}{self._others(what)}; "
            "the geometry needs finite activations: leave out features (neurons that were not always recorded) or "
            "samples, as in docs/own_data.md#missing-values"
        )

    def _others(self, what: str) -> str:
        """How many samples of the layer have values that are not finite, and in which feature most of them are."""
        counts = self.not_finite()
        if counts.of_points.sum() == 1:
            return ""
        rows = np.flatnonzero(counts.of_points)
        named = ", ".join(map(str, self._lead[-1][rows[:_MOST_NAMED]].tolist()))
        named += ", ..." if len(rows) > _MOST_NAMED else ""
        return f", one of {len(rows)} {what}s with such values ({named}), {counts.text(what)}"

    def not_finite(self) -> NotFinite:
        """The values of the whole layer that are NaN or infinite."""
        n_features, step = self.layer.n_features, self.features
        counts = NotFinite(len(self._lead[0]), n_features)
        for start in range(0, n_features if self.dtype.kind == "f" else 0, step):
            block = self._gathered(start, min(n_features, start + step))
            counts.add(start, ~np.isfinite(block))
        return counts


class Manifold:
    """One manifold's points (n_points, n_features), read when they are sliced."""

    def __init__(self, reader: Reader, begin: int, end: int) -> None:
        self._reader, self._begin, self._end = reader, begin, end
        self.shape = (end - begin, reader.layer.n_features)
        self.dtype = reader.dtype
        # The part that `moments_from_arrays` reads at a time
        self.chunks = (end - begin, reader.features)

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        points, features = key
        start, stop, _ = features.indices(self.shape[1])
        return self._reader.read(start, stop)[self._begin : self._end][points]


def _joined(blocks: list[NDArray[Any]], axis: int) -> NDArray[Any]:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis)


def _parts(
    shape: tuple[int, ...], start: int, stop: int, index: tuple[slice, ...] = ()
) -> Iterator[tuple[slice, ...]]:
    """Boxes of an array of this shape that hold places `start` to `stop` of it flattened, in order."""
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
            one_row = (*index, slice(row, row + 1))
            yield from _parts(shape[1:], offset, offset + end - start, one_row)
            start = end

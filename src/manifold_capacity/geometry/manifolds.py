"""Manifolds as a user passes them, checked and read in blocks of features."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import FloatArray

# A chunked array is read in whole chunks unless one row of chunks would take more memory than this.
_MAX_READ_BYTES = 96 * 2**20

# Features that `Source.centered_blocks` reads at a time.
_BLOCK_FEATURES = 2048


class DegenerateManifoldsError(UserError):
    """The manifolds have no geometry: one manifold only, or a center without a direction.

    Attributes
    ----------
    manifolds : tuple of int
        Indices of the manifolds concerned.
    """

    def __init__(self, message: str, manifolds: tuple[int, ...]) -> None:
        super().__init__(message)
        self.manifolds = manifolds


def as_float64(values: NDArray[Any]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def check_finite(block: Sequence[NDArray[Any]], first_feature: int) -> None:
    """Raise for the first value that is NaN or infinite, naming where it is."""
    for i, points in enumerate(block):
        bad = np.argwhere(~np.isfinite(as_float64(points)))
        if len(bad):
            point, feature = bad[0].tolist()
            raise UserError(
                f"manifold {i}: point {point}, feature {first_feature + feature} is "
                f"{points[point, feature]}; the geometry needs finite activations "
                "(drop the point, or find out where in the network it comes from)"
            )


class Source:
    """Manifolds as blocks of features, whether they are in one array or in one array each."""

    def __init__(self, manifolds: Any, shuffle: int | Sequence[int] | None = None) -> None:
        self._arrays = _as_arrays(manifolds)
        whole = len(self._arrays) == 1 and len(self._arrays[0].shape) == 3
        if whole:
            n_manifolds, n_points, self.n_features = (int(n) for n in self._arrays[0].shape)
            self.sizes = [n_points] * n_manifolds
        else:
            self.sizes = [int(array.shape[0]) for array in self._arrays]
            self.n_features = int(self._arrays[0].shape[1]) if self._arrays else 0
        if not self.sizes:
            raise UserError(
                "there are no manifolds; give a list of arrays (n_points, n_features), one for each "
                "manifold, or one array (n_manifolds, n_points, n_features)"
            )
        if 0 in self.sizes:
            empty = self.sizes.index(0)
            raise UserError(f"manifold {empty} has no points; leave it out or sample points for it")
        different = [
            i for i, array in enumerate(self._arrays) if int(array.shape[-1]) != self.n_features
        ]
        if different:
            shown = ", ".join(f"{i} ({int(self._arrays[i].shape[1])})" for i in different[:5])
            more = f" and {len(different) - 5} more" if len(different) > 5 else ""
            raise UserError(
                f"manifolds must have the same features: manifold 0 has {self.n_features}, but "
                f"manifold {shown}{more} have another number"
            )
        if self.n_features == 0:
            raise UserError("the manifolds have no features; each point needs at least one")
        for i, array in enumerate(self._arrays):
            if _numpy_dtype(array).kind not in "fiub":
                name = "the manifolds" if whole else f"manifold {i}"
                raise UserError(f"{name}: values of type {array.dtype}; they must be real numbers")
        self.n_total = sum(self.sizes)
        self._order: NDArray[np.int64] | None = None
        if shuffle is not None:
            self._order = np.random.default_rng(shuffle).permutation(self.n_total)

    def blocks(self, block_features: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Yield (first feature, [points (m_i, width) of each manifold])."""
        read_features = self._read_features(block_features)
        for start in range(0, self.n_features, read_features):
            stop = min(self.n_features, start + read_features)
            read = [points for array in self._arrays for points in _read(array, start, stop)]
            if self._order is not None:
                ends = np.cumsum(self.sizes)[:-1]
                read = np.split(np.concatenate(read)[self._order], ends)
            for first in range(0, stop - start, block_features):
                part = slice(first, first + block_features)
                yield start + first, [points[:, part] for points in read]

    def centered_blocks(self, sizes: Sequence[int]) -> Iterator[FloatArray]:
        """Yield blocks of the first `sizes` points of each manifold, relative to their mean."""
        for first_feature, block in self.blocks(min(_BLOCK_FEATURES, self.n_features)):
            check_finite(block, first_feature)
            points = np.concatenate(
                [as_float64(values[:n]) for values, n in zip(block, sizes, strict=True)]
            )
            points -= points[0]  # a large offset would cost the mean its digits
            points -= points.mean(axis=0)
            yield points

    def _read_features(self, block_features: int) -> int:
        """Features to read at a time: whole chunks of an array that has them, if memory allows."""
        chunk = 1
        for array in self._arrays:
            chunks = getattr(array, "chunks", None)
            if chunks and isinstance(chunks[-1], int):
                chunk = max(chunk, min(chunks[-1], self.n_features))
        itemsize = max(_numpy_dtype(array).itemsize for array in self._arrays)
        if chunk == 1 or chunk * self.n_total * itemsize > _MAX_READ_BYTES:
            return block_features
        return chunk * max(1, block_features // chunk)


def _as_arrays(manifolds: Any) -> list[Any]:
    """One array (P, m, N) in a list, or an array (m_i, N) for each manifold."""
    if isinstance(manifolds, Mapping):
        raise TypeError(
            f"the manifolds are given as a {type(manifolds).__name__} of {len(manifolds)} arrays; give one "
            "layer's: measure(layers[name]), or measure(list(arrays.values())) if each is a manifold"
        )
    if isinstance(manifolds, str | bytes | os.PathLike):
        raise TypeError(
            f"the manifolds are given as a path, {os.fspath(manifolds)!r}; load the file: "
            "measure(numpy.load(path)), or use the command line: manifold-capacity measure FILE"
        )
    if not hasattr(manifolds, "shape") and not isinstance(manifolds, Sequence):
        manifolds = np.asarray(manifolds) if hasattr(manifolds, "__array__") else manifolds
    if hasattr(manifolds, "shape"):
        if len(manifolds.shape) != 3:
            raise UserError(
                "one array of manifolds must have the axes (manifold, point, feature); its shape is "
                f"{tuple(manifolds.shape)}. For manifolds of unequal sizes give a list of arrays"
            )
        return [manifolds]
    arrays = [array if hasattr(array, "shape") else np.asarray(array) for array in manifolds]
    for i, array in enumerate(arrays):
        if len(array.shape) != 2:
            raise UserError(
                f"manifold {i} has shape {tuple(array.shape)}; "
                "each manifold must be an array (n_points, n_features)"
            )
    return arrays


def _read(array: Any, start: int, stop: int) -> list[NDArray[Any]]:
    if len(array.shape) == 3:
        return list(np.asarray(array[:, :, start:stop]))
    return [np.asarray(array[:, start:stop])]


def _numpy_dtype(array: Any) -> np.dtype[Any]:
    """NumPy type of the values, read from one of them where the array has types of its own."""
    if isinstance(array.dtype, np.dtype):
        return array.dtype
    return np.asarray(array[(slice(0, 1),) * len(array.shape)]).dtype

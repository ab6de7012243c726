"""Manifolds as a user hands them in, read as blocks of features."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

FloatArray = NDArray[np.float64]

# A chunked array is read in whole chunks unless one row of chunks would take more memory than this.
_MAX_READ_BYTES = 96 * 2**20


def as_float64(values: NDArray[Any]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def check_finite(block: Sequence[NDArray[Any]], first_feature: int) -> None:
    """Raise for the first value that is not finite, naming where it is."""
    for i, points in enumerate(block):
        bad = np.argwhere(~np.isfinite(as_float64(points)))
        if len(bad):
            point, feature = bad[0].tolist()
            raise UserError(
                f"manifold {i}: point {point}, feature {first_feature + feature} is "
                f"{points[point, feature]}; the geometry needs finite activations "
                "(drop the point, or find what in the network made it)"
            )


def _not_manifolds(given: Any) -> str:
    """What to do with what was given in place of arrays."""
    if isinstance(given, Mapping):
        return (
            f"the manifolds are given as a {type(given).__name__} of {len(given)} arrays; give one "
            f"layer's: measure(layers[name]), or measure(list(arrays.values())) if each is a manifold"
        )
    return (
        f"the manifolds are given as a path, {os.fspath(given)!r}; load the file: "
        "measure(numpy.load(path)), or use the command line: manifold-capacity measure FILE"
    )


class Source:
    """The manifolds as blocks of features, whatever holds them."""

    def __init__(self, manifolds: Any, shuffle: int | Sequence[int] | None = None) -> None:
        if isinstance(manifolds, str | bytes | os.PathLike | Mapping):
            raise TypeError(_not_manifolds(manifolds))
        whole = manifolds if hasattr(manifolds, "shape") else None
        if (
            whole is None
            and not isinstance(manifolds, Sequence)
            and hasattr(manifolds, "__array__")
        ):
            whole = np.asarray(manifolds)
        if whole is not None:
            if len(whole.shape) != 3:
                raise UserError(
                    f"one array of manifolds must have the axes (manifold, point, feature); its shape "
                    f"is {tuple(whole.shape)}. For manifolds of unequal sizes give a list of arrays"
                )
            n_manifolds, n_points, self.n_features = (int(n) for n in whole.shape)
            self.sizes = [n_points] * n_manifolds
            arrays = [whole]
        else:
            arrays = [a if hasattr(a, "shape") else np.asarray(a) for a in manifolds]
            for i, array in enumerate(arrays):
                if len(array.shape) != 2:
                    raise UserError(
                        f"manifold {i} has shape {tuple(array.shape)}; "
                        "each manifold must be an array (n_points, n_features)"
                    )
            self.sizes = [int(array.shape[0]) for array in arrays]
            self.n_features = int(arrays[0].shape[1]) if arrays else 0
        if not self.sizes:
            raise UserError(
                "there are no manifolds; give a list of arrays (n_points, n_features), one for each "
                "manifold, or one array (n_manifolds, n_points, n_features)"
            )
        for i, size in enumerate(self.sizes):
            if size == 0:
                raise UserError(f"manifold {i} has no points; leave it out or sample points for it")
        if whole is None:
            self._check_features(arrays)
        if self.n_features == 0:
            raise UserError("the manifolds have no features; each point needs at least one")
        for i, array in enumerate(arrays):
            kind = np.dtype(_numpy_dtype(array)).kind
            if kind not in "fiub":
                name = "the manifolds" if whole is not None else f"manifold {i}"
                raise UserError(f"{name}: values of type {array.dtype}; they must be real numbers")
        self.n_total = sum(self.sizes)
        self._whole = whole
        self._arrays = arrays
        self._order: NDArray[np.int64] | None = None
        if shuffle is not None:
            self._order = np.random.default_rng(shuffle).permutation(self.n_total)

    def _check_features(self, arrays: list[Any]) -> None:
        different = [i for i, a in enumerate(arrays) if int(a.shape[1]) != self.n_features]
        if different:
            shown = ", ".join(f"{i} ({int(arrays[i].shape[1])})" for i in different[:5])
            more = f" and {len(different) - 5} more" if len(different) > 5 else ""
            raise UserError(
                f"manifolds must have the same features: manifold 0 has {self.n_features}, but "
                f"manifold {shown}{more} have another number"
            )

    def _read_features(self, block_features: int) -> int:
        """Features to read at a time: whole chunks of an array that has them, if memory allows."""
        chunk = 1
        for array in self._arrays:
            chunks = getattr(array, "chunks", None)
            if chunks and isinstance(chunks[-1], int):
                chunk = max(chunk, min(chunks[-1], self.n_features))
        itemsize = max(np.dtype(_numpy_dtype(array)).itemsize for array in self._arrays)
        if chunk == 1 or chunk * self.n_total * itemsize > _MAX_READ_BYTES:
            return block_features
        return chunk * max(1, block_features // chunk)

    def blocks(self, block_features: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Yield (first feature, [points (m_i, width) of each manifold])."""
        read_features = self._read_features(block_features)
        for start in range(0, self.n_features, read_features):
            stop = min(self.n_features, start + read_features)
            read = self._read(start, stop)
            if self._order is not None:
                ends = np.cumsum(self.sizes)[:-1]
                read = np.split(np.concatenate(read)[self._order], ends)
            for first in range(0, stop - start, block_features):
                yield (
                    start + first,
                    [points[:, first : first + block_features] for points in read],
                )

    def _read(self, start: int, stop: int) -> list[NDArray[Any]]:
        if self._whole is not None:
            return list(np.asarray(self._whole[:, :, start:stop]))
        return [np.asarray(array[:, start:stop]) for array in self._arrays]


def _numpy_dtype(array: Any) -> Any:
    """The NumPy type of the values, read from one of them where the array has types of its own."""
    if isinstance(array.dtype, np.dtype):
        return array.dtype
    return np.asarray(array[(slice(0, 1),) * len(array.shape)]).dtype

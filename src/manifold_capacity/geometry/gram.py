"""Inner products of all points of a layer: what the exact capacity needs of the activations.

With the points x_j in R^N (M in all, manifold by manifold), relative to their mean o or not, the
Gram matrix is ``G_jk = <x_j - o, x_k - o>``, (M, M). It determines everything that
`manifold_capacity.geometry.glue` computes, whatever the number of features.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.archives import read_archive, write_archive
from manifold_capacity.geometry.arguments import FloatArray, check_threads
from manifold_capacity.geometry.manifolds import Source, as_float64
from manifold_capacity.geometry.outliers import describe_outlier

FORMAT_VERSION = 1
"""Version of the file that `Gram.save` writes."""

# Squares of values beyond these could overflow or vanish.
_LARGEST, _SMALLEST = 1e140, 1e-140

# Features and points at a time: matrix products of this size run at full speed.
_BLOCK_FEATURES = 2048
_TYPICAL_POINTS = 64
_TILE = 1024


@dataclass(frozen=True)
class Gram:
    """Inner products of the M points of P manifolds, in N features.

    Attributes
    ----------
    matrix : (M, M) array
        Inner products, rows and columns in manifold order, in squared units of the activations.
    n_points : (P,) int64 array
        Points of each manifold.
    n_features : int
        Number of features N.
    centered : bool
        Whether points are relative to the mean of all points.
    outlier : str
        What there is to say of a sample so far from all others that they lose digits; else empty.
    classes : tuple of str
        The manifolds' names, if they have any; not saved.
    provenance : dict
        What the matrix was computed from, by step; anything that JSON can represent.
    """

    matrix: FloatArray
    n_points: NDArray[np.int64]
    n_features: int
    centered: bool
    outlier: str = ""
    classes: tuple[str, ...] = field(default=(), compare=False)
    provenance: dict[str, Any] = field(default_factory=dict, compare=False)

    def shuffled(self, seed: int | Sequence[int]) -> Gram:
        """That of all points permuted over the manifolds, as `gram_from_arrays` makes it with this `shuffle`."""
        order = np.random.default_rng(seed).permutation(len(self.matrix))
        return replace(self, matrix=self.matrix[np.ix_(order, order)], classes=())

    @property
    def participation_ratio(self) -> float:
        """``(sum_k l_k)^2 / sum_k l_k^2`` of the eigenvalues of all points' covariance; 0 if all are the same."""
        unit = float(self.matrix.diagonal().max())
        if unit == 0:
            return 0.0
        return float((np.trace(self.matrix) / unit) ** 2 / ((self.matrix / unit) ** 2).sum())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file, which appears complete or not at all: ``4 M^2`` bytes."""
        half = np.concatenate([row[: j + 1] for j, row in enumerate(self.matrix)])
        arrays = {
            "lower_triangle": half,
            "n_points": self.n_points,
            "n_features": np.int64(self.n_features),
            "centered": np.bool_(self.centered),
            "outlier": np.str_(self.outlier),
        }
        write_archive(path, "gram", FORMAT_VERSION, arrays, self.provenance)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Gram:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is not a Gram file, of another format version, or damaged.
        """
        return read_archive(path, "gram", FORMAT_VERSION, cls._from_saved)

    @classmethod
    def _from_saved(cls, arrays: Mapping[str, NDArray[Any]], provenance: dict[str, Any]) -> Gram:
        n_points, half = arrays["n_points"], arrays["lower_triangle"]
        total = int(n_points.sum())
        if half.shape != (total * (total + 1) // 2,):
            raise UserError(f"lower_triangle has shape {half.shape}, for {total} points")
        matrix = np.empty((total, total))
        start = 0
        for j in range(total):
            row = half[start : start + j + 1]
            matrix[j, : j + 1] = matrix[: j + 1, j] = row
            start += j + 1
        return cls(
            matrix=matrix,
            n_points=n_points,
            n_features=int(arrays["n_features"]),
            centered=bool(arrays["centered"]),
            outlier=str(arrays["outlier"]),
            provenance=provenance,
        )


def gram_from_arrays(
    manifolds: Any,
    *,
    center: bool = True,
    shuffle: int | Sequence[int] | None = None,
    threads: int | None = None,
) -> Gram:
    """Gram matrix of all points, in one pass over blocks of features.

    Sums are in float64 for any type of input. The cost is ``N M^2 / 2`` multiply-adds. Memory beside
    the result, ``8 M^2`` bytes, does not grow with the number of features.

    Parameters
    ----------
    manifolds : sequence of P arrays (m_i, N), or one array (P, m, N)
        As in `manifold_capacity.measure`.
    center : bool
        Whether to subtract the mean of all points.
    shuffle : int or sequence of int, optional
        Seed. All points are then permuted over the manifolds, whose sizes stay: a control without
        class structure.
    threads : int, optional
        Threads for the products; by default one per CPU that this process may use. The result does
        not depend on it, to the last bit.

    Raises
    ------
    ValueError
        If a value is NaN, infinite, so large or small that its square overflows or vanishes, or so far from
        all others that these lose their digits, or a shape or argument is invalid.
    TypeError
        If a path or a mapping is given instead of arrays.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[2.0, 1.0], [2.0, -1.0]])
    >>> gram_from_arrays([square, -square]).matrix[0]
    array([ 5.,  3., -5., -3.])
    """
    threads = check_threads(threads)
    source = Source(manifolds, shuffle)
    total = source.n_total
    matrix = np.zeros((total, total))
    tiles = [slice(start, min(total, start + _TILE)) for start in range(0, total, _TILE)]
    pairs = [(rows, columns) for i, rows in enumerate(tiles) for columns in tiles[: i + 1]]
    largest, squares = 0.0, np.zeros(total)  # distances from a typical point

    def add(pair: tuple[slice, slice]) -> None:
        rows, columns = pair
        matrix[rows, columns] += points[rows] @ points[columns].T

    def mirror(pair: tuple[slice, slice]) -> None:
        rows, columns = pair
        if rows != columns:
            matrix[columns, rows] = matrix[rows, columns].T

    # Each product on one thread: sums would depend on the number.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for points in _blocks(source, center):
            largest = max(largest, float(points.max()), -float(points.min()))
            if largest > _LARGEST:
                break
            typical = np.median(points[:: max(1, total // _TYPICAL_POINTS)], axis=0)
            difference = points - typical
            squares += np.einsum("ij,ij->i", difference, difference)
            list(pool.map(add, pairs))
        list(pool.map(mirror, pairs))
    if largest > 0 and not _SMALLEST <= largest <= _LARGEST:
        raise UserError(
            f"points are up to {largest:.0e} from {'their mean' if center else '0'}, and their squares would "
            f"{'overflow' if largest > 1 else 'vanish'}: divide all activations by a common scale, which "
            "changes no capacity"
        )
    outlier = describe_outlier(source, squares, np.zeros(1), rescaled=False)
    n_points = np.array(source.sizes, dtype=np.int64)
    classes = source.naming.classes
    return Gram(matrix, n_points, source.n_features, bool(center), outlier, classes)


def _blocks(source: Source, center: bool) -> Iterator[FloatArray]:
    """All points (M, width), in blocks of features."""
    if center:
        yield from source.centered_blocks(source.sizes)
        return
    for _, block in source.blocks(min(_BLOCK_FEATURES, source.n_features)):
        source.check_finite(block)
        yield np.concatenate([as_float64(values) for values in block])

"""Second moments of a layer: all that the geometry needs of the activations.

Manifold i has points x_ij (j = 1..m_i) in R^N. With the centers c_i = mean_j x_ij, their mean b,
the center deviations C_i = c_i - b and the point deviations E_ij = x_ij - c_i, the moments are

    G = C C^T      (P, P)       center Gram matrix
    Z = C E^T      (P, M)       centers against deviations, M = sum_i m_i, columns in manifold order
    W_i = E_i E_i^T (m_i, m_i)  deviation Gram matrix of each manifold

They determine the geometry of Chung, Lee & Sompolinsky, *Phys. Rev. X* 8, 031003 (2018) and of
Cohen et al., *Nat. Commun.* 11, 746 (2020) exactly: both depend on the points only through inner
products within a manifold and with the centers. A layer of 65,536 features becomes a few megabytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.archives import read_archive, write_archive
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.labeled import Naming
from manifold_capacity.geometry.manifolds import Source, as_float64
from manifold_capacity.geometry.outliers import describe_outlier

FORMAT_VERSION = 2
"""Version of the file that `Moments.save` writes."""

# Buffer of deviations: large enough that matrix products take most of the time, small enough that
# the moments of a hundred thousand points need more memory.
_BUFFER_BYTES = 48 * 2**20

# More features per block are not faster.
_MAX_BLOCK_FEATURES = 1024

# Columns of Z updated at a time, which limits the temporary array to (P, _Z_COLUMNS).
_Z_COLUMNS = 512

# Fourth powers of magnitudes within 2**±200 (1e±60) neither overflow nor underflow. Beyond, the
# moments are in units of a power of two (`Moments.scale`).
_SAFE_EXPONENT = 200


@dataclass(frozen=True)
class Moments:
    """Second moments of P manifolds with M points in all, in N features.

    Attributes
    ----------
    center_gram : (P, P) array
        G = C C^T, in units of ``scale**2``.
    center_deviation : (P, M) array
        Z = C E^T, columns in manifold order, in units of ``scale**2``.
    deviation_gram : tuple of P arrays (m_i, m_i)
        W_i = E_i E_i^T, in units of ``scale**2``.
    n_points : (P,) int64 array
        Points m_i of each manifold.
    n_features : int
        Number of features N.
    scale : float
        1, unless the activations are so large or small (beyond 2**±200) that their squares could
        overflow or vanish: then a power of two near their size. The geometry does not depend on it.
    outlier : str
        What there is to say of a sample so far from all others that they lose digits; else empty.
    naming : Naming
        What messages call the manifolds and points; not saved.
    provenance : dict
        What the moments were computed from, by step; anything that JSON can represent.
    """

    center_gram: FloatArray
    center_deviation: FloatArray
    deviation_gram: tuple[FloatArray, ...]
    n_points: NDArray[np.int64]
    n_features: int
    scale: float = 1.0
    outlier: str = ""
    naming: Naming = field(default=Naming(), compare=False)
    provenance: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def n_manifolds(self) -> int:
        """Number of manifolds P."""
        return len(self.n_points)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(P + 1,) column of `center_deviation` where each manifold starts, and M at the end."""
        return np.concatenate(([0], np.cumsum(self.n_points)))

    @property
    def mean_weights(self) -> FloatArray:
        """(P,) weights w with o - b = w^T C, o the mean of all points: w_i = m_i / M."""
        return self.n_points / self.n_points.sum()

    @property
    def center_norm_squared(self) -> FloatArray:
        """(P,) ``|d_i|^2`` with ``d_i = c_i - o``, o the mean of all points, in ``scale**2``."""
        weights = self.mean_weights
        cross = self.center_gram @ weights
        return np.maximum(self.center_gram.diagonal() - 2 * cross + weights @ cross, 0)

    @property
    def deviation_trace(self) -> FloatArray:
        """(P,) total squared deviation tr W_i of each manifold's points, in ``scale**2``."""
        return np.array([gram.trace() for gram in self.deviation_gram])

    @property
    def total_trace(self) -> float:
        """Total squared deviation of all points from their mean o, in ``scale**2``."""
        between = self.n_points @ self.center_norm_squared
        return float(between + self.deviation_trace.sum())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the moments to an .npz file, which appears complete or not at all."""
        arrays = {
            "center_gram": self.center_gram,
            "center_deviation": self.center_deviation,
            "deviation_gram": np.concatenate([gram.ravel() for gram in self.deviation_gram]),
            "n_points": self.n_points,
            "n_features": np.int64(self.n_features),
            "scale": np.float64(self.scale),
            "outlier": np.str_(self.outlier),
        }
        write_archive(path, "moments", FORMAT_VERSION, arrays, self.provenance)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Moments:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is not a moments file, of another format version, or damaged.
        """
        return read_archive(path, "moments", FORMAT_VERSION, cls._from_saved)

    @classmethod
    def _from_saved(cls, arrays: Mapping[str, NDArray[Any]], provenance: dict[str, Any]) -> Moments:
        n_points = arrays["n_points"]
        n_manifolds, ends = len(n_points), np.cumsum(n_points**2)
        expected = {
            "center_gram": (n_manifolds, n_manifolds),
            "center_deviation": (n_manifolds, int(n_points.sum())),
            "deviation_gram": (int(ends[-1]),),
        }
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise UserError(f"{name} has shape {arrays[name].shape}, expected {shape}")
        grams = np.split(arrays["deviation_gram"], ends[:-1])
        return cls(
            center_gram=arrays["center_gram"],
            center_deviation=arrays["center_deviation"],
            deviation_gram=tuple(
                gram.reshape(size, size) for gram, size in zip(grams, n_points, strict=True)
            ),
            n_points=n_points,
            n_features=int(arrays["n_features"]),
            scale=float(arrays["scale"]),
            outlier=str(arrays["outlier"]),
            provenance=provenance,
        )


def moments_from_arrays(
    manifolds: Any,
    *,
    block_features: int | None = None,
    shuffle: int | Sequence[int] | None = None,
) -> Moments:
    """Second moments of manifolds, in one pass over blocks of features.

    Sums are in float64 for any type of input, and of deviations within each manifold, so that a
    spread much smaller than its center keeps its digits. The cost is N * sum_i m_i (P + m_i)
    multiply-adds. Memory beside the result does not grow with the number of features.

    Parameters
    ----------
    manifolds : sequence of P arrays (m_i, N), or one array (P, m, N)
        Points of each manifold. Real, integer or boolean numbers of any width, in any memory
        layout: NumPy arrays, or anything with a shape that can be sliced (zarr and HDF5 arrays,
        memory maps) or converted to an array. An array on disk is read in blocks of features,
        aligned to its chunks.
    block_features : int, optional
        Features in memory at a time. By default as many as fit a buffer of 48 MiB, at most 1024.
    shuffle : int or sequence of int, optional
        Seed. All points are then permuted over the manifolds, whose sizes stay: a control without
        class structure.

    Raises
    ------
    ValueError
        If there is no manifold, a manifold is empty or has another number of features than the
        first, an array has the wrong number of axes or is not real, a value is NaN or infinite, or
        so far from all others that these lose their digits in float64. The message names the
        manifold, and the value's point and feature.
    TypeError
        If a path or a mapping is given instead of arrays.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[2.0, 1.0], [2.0, -1.0]])
    >>> moments = moments_from_arrays([square, -square])
    >>> moments.center_gram
    array([[ 4., -4.],
           [-4.,  4.]])
    >>> moments.deviation_gram[0]
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    source = Source(manifolds, shuffle)
    if block_features is None:
        fitting = _BUFFER_BYTES // (8 * source.n_total)
        block_features = max(8, min(_MAX_BLOCK_FEATURES, fitting))
    elif block_features < 1:
        raise UserError(f"block_features is {block_features}; it must be at least 1")
    block_features = min(block_features, source.n_features)

    # One BLAS thread: the products are too small for more, on which the sums would depend.
    with threadpool_limits(limits=1, user_api="blas"):
        return _safe_moments(source, block_features)


def _safe_moments(source: Source, block_features: int) -> Moments:
    moments = _accumulate(source, block_features, scale=1.0)
    if moments is not None:
        square = max(moments.center_gram.diagonal().max(), moments.deviation_trace.max())
        if 2.0 ** (-2 * _SAFE_EXPONENT) <= square <= 2.0 ** (2 * _SAFE_EXPONENT):
            return moments
    # Rare: magnitudes beyond 1e±60, or no deviation at all.
    largest = max(
        float(np.abs(values).max())
        for _, block in source.blocks(block_features)
        for values in map(as_float64, block)
    )
    exponent = math.frexp(largest)[1] if largest > 0 else 0
    if moments is not None and abs(exponent) <= _SAFE_EXPONENT:
        return moments
    exponent = max(-1000, min(1000, exponent))  # so that 1 / scale is a normal number
    scaled = _accumulate(source, block_features, scale=math.ldexp(1.0, exponent))
    assert scaled is not None  # the scaled values are at most 2**24
    return scaled


def _accumulate(source: Source, block_features: int, scale: float) -> Moments | None:
    """Moments in units of `scale`; None if finite values overflowed."""
    sizes = source.sizes
    n_manifolds, total = len(sizes), source.n_total
    starts = np.concatenate(([0], np.cumsum(sizes))).tolist()
    center_gram = np.zeros((n_manifolds, n_manifolds))
    center_deviation = np.zeros((n_manifolds, total))
    deviation_gram = [np.zeros((size, size)) for size in sizes]
    # Allocating these for every block would cost more than the arithmetic.
    deviation_buffer = np.empty(total * block_features)
    center_buffer = np.empty(n_manifolds * block_features)
    gram_buffer = np.empty(max(sizes) ** 2)
    product_buffer = np.empty(n_manifolds * min(total, _Z_COLUMNS))
    size_column = np.array(sizes, dtype=np.float64)[:, None]
    first_squares = np.zeros(n_manifolds)  # distances of the first points from a typical one

    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for _, block in source.blocks(block_features):
            width = block[0].shape[1]
            deviations = deviation_buffer[: total * width].reshape(total, width)
            centers = center_buffer[: n_manifolds * width].reshape(n_manifolds, width)
            # Deviations from each manifold's first point save two passes over the block; those
            # from the center follow when the means are removed below.
            firsts = np.array([points[0] for points in block], dtype=np.float64) / scale
            for i, points in enumerate(block):
                deviation = deviations[starts[i] : starts[i + 1]]
                np.copyto(deviation, points)
                if scale != 1.0:
                    deviation /= scale
                deviation -= firsts[i]
                np.add.reduce(deviation, axis=0, out=centers[i])
                gram = gram_buffer[: sizes[i] ** 2].reshape(sizes[i], sizes[i])
                np.matmul(deviation, deviation.T, out=gram)
                deviation_gram[i] += gram
            centers /= size_column
            if not np.isfinite(centers).all():
                source.check_finite(block)
                return None
            first_squares += ((firsts - np.median(firsts, axis=0)) ** 2).sum(axis=1)
            # Only differences matter; a large common offset would cost the centers their digits.
            centers += firsts - firsts[0]
            centers -= centers.mean(axis=0)
            center_gram += centers @ centers.T
            for start in range(0, total, _Z_COLUMNS):
                part = deviations[start : start + _Z_COLUMNS]
                product = product_buffer[: n_manifolds * len(part)].reshape(n_manifolds, -1)
                np.matmul(centers, part.T, out=product)
                center_deviation[:, start : start + _Z_COLUMNS] += product

        squares = np.concatenate([gram.diagonal() for gram in deviation_gram])
        # From deviations from the first point to deviations from the center. Both are of the
        # manifold's size, so this costs no digits, and it removes rounding errors of the means.
        _remove_means(center_gram, 0, 1)
        _remove_means(center_deviation, 0)
        for i, gram in enumerate(deviation_gram):
            _remove_means(gram, 0, 1)
            _remove_means(center_deviation[:, starts[i] : starts[i + 1]], 1)
    if not all(np.isfinite(a).all() for a in (center_gram, center_deviation, *deviation_gram)):
        return None
    outlier = describe_outlier(source, squares, first_squares, rescaled=scale != 1.0)
    return Moments(
        center_gram=center_gram,
        center_deviation=center_deviation,
        deviation_gram=tuple(deviation_gram),
        n_points=np.array(sizes, dtype=np.int64),
        n_features=source.n_features,
        scale=scale,
        outlier=outlier,
        naming=source.naming,
    )


def _remove_means(matrix: FloatArray, *axes: int) -> None:
    for axis in axes:
        matrix -= matrix.mean(axis=axis, keepdims=True)

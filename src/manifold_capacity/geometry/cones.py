"""Cones of labeled points: what the projections need, from the points' Gram matrix.

Labels ``y`` (1 or -1 for each manifold) span the cone ``{sum_j lam_j y_j x_j, lam >= 0}`` of all
points. Lengths do not matter to it, so points are scaled to length 1; points at the origin, and
points that repeat another of the same manifold, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.gram import Gram
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError

# Rounding of the Gram matrix: points this close (squared, relative to their own squares) are the
# same, and shorter ones than this (relative to the longest) are at the origin.
_SAME = 1e-14
_ORIGIN = 1e-13
# A point whose squared distance from the span of the others is less adds no direction.
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Points:
    """The n different points of P manifolds, scaled to unit length, in the r directions they span.

    Attributes
    ----------
    gram : (n, n) array
        Cosines between points.
    lengths : (n,) array
        Lengths of the points in units of `unit`.
    owner : (n,) int array
        Manifold of each point; counts up.
    indicator : (n, P) array
        1 where a point belongs to a manifold, else 0.
    coordinates : (n, r) array
        Unit points in an orthonormal basis.
    lead : (r,) int array
        Points whose coordinates are a lower triangle.
    kept : (n,) int array
        Numbers of these points among all.
    unit : float
        Length of the longest point, in units of the activations.
    """

    gram: FloatArray
    lengths: FloatArray
    owner: NDArray[np.int64]
    indicator: FloatArray
    coordinates: FloatArray
    lead: NDArray[np.int64]
    kept: NDArray[np.int64]
    unit: float

    @property
    def rank(self) -> int:
        """Number r of directions that the points span."""
        return self.coordinates.shape[1]

    def coordinates_of(self, projections: FloatArray) -> FloatArray:
        """Coordinates (K, r) of vectors from their inner products (K, n) with the unit points."""
        triangle = self.coordinates[self.lead]
        return solve_triangular(triangle, projections[:, self.lead].T, lower=True).T


def different_points(gram: Gram) -> Points:
    """The different points of a Gram matrix, and the directions that they span.

    Raises DegenerateManifoldsError if there are none, or a single centered manifold.
    """
    matrix, n_manifolds = gram.matrix, len(gram.n_points)
    squares = matrix.diagonal()
    largest = float(squares.max())
    if gram.centered and n_manifolds == 1:
        raise DegenerateManifoldsError(
            "there is 1 manifold, whose points surround their own mean, so no labels can be separated; give "
            "two manifolds at least, or center=False",
            (0,),
        )
    if not largest > 0:
        raise DegenerateManifoldsError(
            f"all points of all manifolds are {'the same' if gram.centered else '0'} (a dead or constant "
            "layer?), so they cannot be separated; leave the layer out",
            tuple(range(n_manifolds)),
        )
    keep = squares > largest * _ORIGIN**2
    ends = np.cumsum(gram.n_points)
    for start, end in zip(ends - gram.n_points, ends, strict=True):
        within, own = matrix[start:end, start:end], squares[start:end]
        sums = np.add.outer(own, own)
        keep[start:end] &= ~np.triu(sums - 2 * within <= _SAME * sums, 1).any(axis=0)
    kept = np.flatnonzero(keep)
    lengths = np.sqrt(squares[kept])
    unit_gram = matrix[np.ix_(kept, kept)]
    unit_gram /= lengths[:, None]
    unit_gram /= lengths
    np.fill_diagonal(unit_gram, 1.0)
    owner = np.repeat(np.arange(n_manifolds), gram.n_points)[kept]
    indicator = np.zeros((len(kept), n_manifolds))
    indicator[np.arange(len(kept)), owner] = 1.0
    coordinates, lead = _coordinates(unit_gram, lengths)
    return Points(
        unit_gram,
        lengths / lengths.max(),
        owner,
        indicator,
        coordinates,
        lead,
        kept,
        float(lengths.max()),
    )


def _coordinates(gram: FloatArray, lengths: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Coordinates (n, r) of points, by a Cholesky factor with pivots, and the pivots.

    The longest point comes first, so that points in another order get the same coordinates.
    """
    order = np.argsort(-lengths, kind="stable")
    ordered = gram[np.ix_(order, order)].T  # symmetric; Fortran's order
    factor, pivots, rank, _ = lapack.dpstrf(ordered, tol=_RANK_TOLERANCE, lower=1, overwrite_a=1)
    places = order[pivots - 1]
    coordinates = np.empty((len(gram), rank))
    coordinates[places] = np.tril(factor[:, :rank])
    return coordinates, places[:rank]

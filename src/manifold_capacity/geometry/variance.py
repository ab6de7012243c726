"""Variance of a whole layer: participation ratio, and dimension at 90 % of the variance.

This needs inner products between points of different manifolds, which the moments do not contain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.geometry.arguments import check_integer
from manifold_capacity.geometry.gram import Gram
from manifold_capacity.geometry.manifolds import Source
from manifold_capacity.geometry.result import dimension_at

_MOST_EIGENVALUES = 2000


@dataclass(frozen=True)
class LayerVariance:
    """Result of `layer_variance`.

    Attributes
    ----------
    participation_ratio : float
        ``(sum_k l_k)^2 / sum_k l_k^2`` of the eigenvalues of the points' covariance; 0 if all
        points are the same.
    dimension_90 : int
        Fewest principal components that explain 90 % of the variance; 0 if all points are the same.
    n_points : int
        Points they were computed from. Neither can exceed ``n_points - 1``.
    """

    participation_ratio: float
    dimension_90: int
    n_points: int


def layer_variance(manifolds: Any, *, max_points: int = 1000) -> LayerVariance:
    """Participation ratio and dimension at 90 % variance of all points of a layer together.

    Parameters
    ----------
    manifolds : P arrays (n_points_i, n_features), or one (P, n_points, n_features)
        As in `manifold_capacity.measure`.
    max_points : int
        Points to use at most: the first of each manifold, equally many of each if possible. The
        time grows with the square: seconds for 1,000 points in 65,536 features. Compare layers at
        the same number, since n points span n - 1 dimensions at most.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, a shape is invalid, or `max_points` is less than the number
        of manifolds.

    Examples
    --------
    Four directions of equal variance:

    >>> import numpy as np
    >>> square = np.vstack([np.eye(4), -np.eye(4)])
    >>> variance = layer_variance([square, 3 * square])
    >>> round(variance.participation_ratio, 6), variance.dimension_90
    (4.0, 4)
    """
    source = Source(manifolds)
    max_points = check_integer("max_points", max_points, least=len(source.sizes))
    kept = np.minimum(source.sizes, _most_each(source.sizes, max_points))
    n_points = int(kept.sum())
    few_features = source.n_features <= n_points
    gram = np.zeros(0 if few_features else (n_points, n_points))
    columns: list[NDArray[np.float64]] = []
    # In units of a power of two, which is exact, squares neither overflow nor vanish.
    unit = 0.0
    for points in source.centered_blocks(kept.tolist()):
        largest = float(np.abs(points).max())
        if largest > 0:
            power = 2.0 ** np.frexp(largest)[1]
            if power > unit:
                gram *= (unit / power) ** 2
                columns = [part * (unit / power) for part in columns]
                unit = power
            points /= unit
        if few_features:
            columns.append(points)
        else:
            gram += points @ points.T
    if few_features:
        together = np.concatenate(columns, axis=1)
        gram = together.T @ together
    if unit == 0:
        return LayerVariance(0.0, 0, n_points)
    return LayerVariance(
        participation_ratio=float(np.trace(gram) ** 2 / (gram**2).sum()),
        dimension_90=dimension_at(0.9, gram),
        n_points=n_points,
    )


def variance_of_gram(gram: Gram, all_eigenvalues: bool = False) -> dict[str, float | int]:
    """Participation ratio and dimension at 90 % variance of all points, as the columns of a layer.

    The latter, which needs all eigenvalues of an (M, M) matrix, is left out for more than 2,000 points unless
    `all_eigenvalues`.
    """
    row: dict[str, float | int] = {"layer_participation_ratio": gram.participation_ratio}
    if all_eigenvalues or len(gram.matrix) <= _MOST_EIGENVALUES:
        unit = gram.matrix.diagonal().max()
        row["layer_dimension_90"] = dimension_at(0.9, gram.matrix / unit) if unit > 0 else 0
    return row


def _most_each(sizes: list[int], max_points: int) -> int:
    """Most points of each manifold such that at most `max_points` are used in all."""
    each = max_points // len(sizes)
    while np.minimum(sizes, each + 1).sum() <= max_points and each < max(sizes):
        each += 1
    return each

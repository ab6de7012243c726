"""From projections on cones to the quantities of GLUE, with standard errors.

For each sample k, ``S_k`` (P, N) holds the anchors ``s_i``, the means of the manifolds' points by
weight, or 0 for a manifold without an active point; ``S_0`` their mean over samples, the anchor
centers; ``S_1 = S_k - S_0`` the axes. With ``A^+`` the pseudo-inverse, ::

    a = (S t)^T (S S^T)^+ (S t) = |p|^2
    b = (S_1 t)^T (S_1 S_1^T)^+ (S_1 t)
    c = (S_1 t)^T (S_0 S_0^T + S_1 S_1^T)^+ (S_1 t)

All follow from inner products of anchors, which are sums over pairs of active points.
"""
# mypy: disable-error-code=no-untyped-def

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from threadpoolctl import threadpool_limits

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.cone_solver import Projections
from manifold_capacity.geometry.cones import Points
from manifold_capacity.geometry.kernels import DIGEST, stored

# An axis whose square is less than this fraction of its anchor's or center's is rounding.
_NO_AXIS = 1e-14
# Eigenvalues below this fraction of the largest are 0.
_NO_DIRECTION = 1e-12
# Sines below which a Cholesky factor would lose too many digits.
_LEAST_PIVOT = 1e-5

ALIGNMENTS = ("center_alignment", "axis_alignment", "center_axis_alignment")


@dataclass(frozen=True)
class Measured:
    """Each quantity's mean over samples and standard error; (P,) arrays of the manifolds' dimensions."""

    values: dict[str, tuple[float, float]]
    dimensions: tuple[FloatArray, FloatArray]


def mean_and_error(values: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Mean over samples, the first axis, and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def inverse_of_mean(values: NDArray[Any], factor: float = 1.0) -> tuple[FloatArray, FloatArray]:
    """``factor / mean`` over samples, infinite for 0, and its standard error."""
    mean, error = mean_and_error(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return factor / mean, factor * error / mean**2


def _ratio(above: FloatArray, below: FloatArray) -> tuple[float, float]:
    """Ratio of means and its standard error (delta method); NaN for 0 / 0."""
    if not below.mean() > 0:
        return np.nan, np.nan
    ratio = above.mean() / below.mean()
    error = (above - ratio * below).std(ddof=1) / (below.mean() * np.sqrt(len(above)))
    return float(ratio), float(error)


def measure_projections(
    points: Points,
    projections: FloatArray,
    solved: Projections,
    inactive: str,
    threads: int,
) -> Measured:
    """Quantities of GLUE from samples with unique weights.

    `projections` (K, n) are the inner products of the unit points with the Gaussian vectors.
    """
    setup = _Anchors(points, projections, solved.weights, inactive)
    n_samples = len(projections)
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        samples = list(pool.map(setup.sample, range(n_samples)))
    axis, both, by_manifold, aligned = (np.array(column) for column in zip(*samples, strict=True))
    n_manifolds = by_manifold.shape[1]
    radius2, radius2_error = _ratio(both, axis - both)
    radius = np.sqrt(radius2)
    values = {
        "radius": (radius, radius2_error / (2 * radius) if radius > 0 else np.nan),
        "dimension": mean_and_error(axis / n_manifolds),
        "utility": _ratio(both, solved.norm2),
    }
    centers = setup.center_alignments()
    scale = points.unit**2
    names = [*ALIGNMENTS, *(f"{name}_raw" for name in ALIGNMENTS)]
    order = [0, 2, 3, 1, 4, 5]
    for name, column in zip(names, order, strict=True):
        # NaN where a sample has no two axes.
        known = aligned[:, column][np.isfinite(aligned[:, column])]
        mean, error = mean_and_error(known) if len(known) > 1 else (np.nan, np.nan)
        if column < 2:  # of centers, which are a mean: here stands what a sample adds to it
            mean = centers[column]
        unit = scale if name.endswith("_raw") else 1.0
        values[name] = (mean * unit, error * unit)
    plain = {name: (float(mean), float(error)) for name, (mean, error) in values.items()}
    return Measured(plain, mean_and_error(by_manifold))


class _Anchors:
    """Anchors of all samples as weights of points, and the inner products that samples share."""

    def __init__(
        self, points: Points, projections: FloatArray, weights: FloatArray, inactive: str
    ) -> None:
        self._points, self._projections = points, projections
        self._skip = inactive == "skip"
        # Anchors are means of points, not of unit points.
        mass = (weights / points.lengths) @ points.indicator
        self._active = mass > 0
        self._shares = weights / np.where(self._active, mass, 1.0)[:, points.owner]
        counts = np.full(mass.shape[1], len(weights))
        if self._skip:
            counts = np.maximum(self._active.sum(axis=0), 1)
        self._mean = self._shares.sum(axis=0) / counts[points.owner]
        centers = self._mean[:, None] * points.indicator
        self._to_centers = points.gram @ centers  # <x_j, s0_i>
        self._center_gram = centers.T @ self._to_centers
        self._off = ~np.eye(len(counts), dtype=bool)
        norms = np.sqrt(self._center_gram.diagonal().clip(0))
        self._inverse_norms = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        self._influence = self._center_influence(len(weights) / counts)

    def center_alignments(self) -> tuple[float, float]:
        """Mean absolute cosine and mean absolute inner product of different centers."""
        gram = np.abs(self._center_gram)[self._off]
        cosines = self._cosines()[self._off]
        return (float(cosines.mean()), float(gram.mean())) if len(gram) else (np.nan, np.nan)

    def _cosines(self) -> FloatArray:
        inverse = self._inverse_norms
        return np.abs(self._center_gram) * inverse[:, None] * inverse

    def _center_influence(self, inverse_share: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Matrices whose inner products with ``S_1 S_0^T`` are what a sample adds to the centers'
        alignments, to first order: for their standard errors."""
        pairs = max(int(self._off.sum()), 1)
        signs = np.where(self._off, np.sign(self._center_gram), 0.0) * (2 / pairs)
        inverse = self._inverse_norms
        cosine = signs * inverse[:, None] * inverse
        sums = np.where(self._off, self._cosines(), 0.0).sum(axis=1)
        cosine[np.diag_indices(len(inverse))] = -2 / pairs * sums * inverse**2
        return cosine * inverse_share[:, None], signs * inverse_share[:, None]

    def sample(self, k: int) -> tuple[float, float, FloatArray, tuple[float, ...]]:
        """b, c, the manifolds' shares of b, and the alignments of a sample."""
        points, mean, shares = self._points, self._mean, self._shares[k]
        n_manifolds = len(self._center_gram)
        support = np.flatnonzero(shares)
        own, with_centers = np.zeros((2, n_manifolds, n_manifolds))
        _anchor_products(
            points.gram, self._to_centers, points.owner, support, shares, own, with_centers
        )
        along = ((shares - mean) * self._projections[k]) @ points.indicator  # S_1 t
        crossed = with_centers - self._center_gram  # <s1_i, s0_j>
        axes = own - with_centers - with_centers.T + self._center_gram
        largest = np.maximum(own.diagonal(), self._center_gram.diagonal())
        none = axes.diagonal() < _NO_AXIS * largest
        none |= largest == 0
        if self._skip:
            none |= ~self._active[k]
            crossed[~self._active[k]] = 0.0
        axes[none] = 0.0
        axes[:, none] = 0.0
        along[none] = 0.0
        square, solution = _form(along, axes)
        both, _ = _form(along, axes + self._center_gram)
        return square, both, along * solution, self._alignments(axes, crossed)

    def _alignments(self, axes: FloatArray, crossed: FloatArray) -> tuple[float, ...]:
        """Of centers (what the sample adds), and of axes and center-axis: |cos|, then raw."""
        cosine, raw = self._influence
        off = self._off
        norms = np.sqrt(axes.diagonal().clip(0))
        live = norms > 1e-12 * norms.max()
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=live)
        axis = (np.abs(axes) * inverse[:, None] * inverse)[off & live[:, None] & live]
        mixed = (np.abs(crossed) * inverse[:, None] * self._inverse_norms)[off & live[:, None]]
        n_pairs = max(int(off.sum()), 1)
        return (
            float((cosine * crossed).sum()),
            float((raw * crossed).sum()),
            float(axis.mean()) if len(axis) else np.nan,
            float(mixed.mean()) if len(mixed) else np.nan,
            float(np.abs(axes)[off].sum() / n_pairs),
            float(np.abs(crossed)[off].sum() / n_pairs),
        )


def _form(vector: FloatArray, matrix: FloatArray) -> tuple[float, FloatArray]:
    """``u^T A^+ u`` and ``A^+ u``: by Cholesky, or by eigenvalues if A is nearly singular."""
    roots = np.sqrt(matrix.diagonal().clip(0))
    if roots.min() > 0:
        try:
            factor = np.linalg.cholesky(matrix / roots[:, None] / roots)
        except np.linalg.LinAlgError:
            factor = np.zeros((1, 1))
        if factor.diagonal().min() > _LEAST_PIVOT:
            half = solve_triangular(factor, vector / roots, lower=True, check_finite=False)
            whole = solve_triangular(factor, half, lower=True, trans=1, check_finite=False)
            return float(half @ half), whole / roots
    values, vectors = np.linalg.eigh(matrix)
    kept = (values > _NO_DIRECTION * values[-1]) & (values > 0)
    half = vectors[:, kept].T @ vector
    return float((half**2 / values[kept]).sum()), vectors[:, kept] @ (half / values[kept])


@stored
def _anchor_products(gram, to_centers, owner, support, shares, own, with_centers, _=DIGEST):
    """Add inner products of anchors, and of anchors with centers, into (P, P) arrays of zeros."""
    k, n_manifolds = len(support), own.shape[0]
    for a in range(k):
        i = support[a]
        w, o = shares[i], owner[i]
        for b in range(a):
            j = support[b]
            own[o, owner[j]] += w * shares[j] * gram[i, j]
        own[o, o] += 0.5 * w * w * gram[i, i]
        for m in range(n_manifolds):
            with_centers[o, m] += w * to_centers[i, m]
    for m in range(n_manifolds):
        for q in range(m + 1):
            own[m, q] = own[q, m] = own[m, q] + own[q, m]

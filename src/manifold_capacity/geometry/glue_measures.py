"""From projections on cones to the quantities of GLUE, with standard errors.

For each sample k, ``S_k`` (P, N) holds the anchors ``s_i``, the means of the manifolds' points by
weight, or 0 for a manifold without an active point; ``S_0`` their mean over samples, the anchor
centers; ``S_1 = S_k - S_0`` the axes. With ``A^+`` the pseudo-inverse, ::

    a = (S t)^T (S S^T)^+ (S t) = |p|^2
    b = (S_1 t)^T (S_1 S_1^T)^+ (S_1 t)
    c = (S_1 t)^T (S_0 S_0^T + S_1 S_1^T)^+ (S_1 t)

All follow from inner products of anchors, which are sums over pairs of active points.

Standard errors are those of the mean over samples, of each sample's value and of what it adds by
moving ``S_0`` (to first order): every quantity's gradient by ``S_0`` is a sum over axes, centers and
``t``, whose coefficients are collected over samples.
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
from manifold_capacity.geometry.cone_solver import Projections, chunks
from manifold_capacity.geometry.cones import Points
from manifold_capacity.geometry.kernels import DIGEST, stored

# An axis whose square is less than this fraction of its anchor's or center's is rounding.
_NO_AXIS = 1e-14
# Eigenvalues below this fraction of the largest are 0.
_NO_DIRECTION = 1e-12
# Sines below which a Cholesky factor would lose too many digits.
_LEAST_PIVOT = 1e-5

ALIGNMENTS = ("center_alignment", "axis_alignment", "center_axis_alignment")
RAW_ALIGNMENTS = tuple(f"{name}_raw" for name in ALIGNMENTS)


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


def _ratio(
    above: tuple[FloatArray, FloatArray], below: tuple[FloatArray, FloatArray]
) -> tuple[float, float]:
    """Ratio of means and its standard error (delta method); NaN for 0 / 0.

    Of each sample's values, and of these with what it adds to the others'.
    """
    mean = below[0].mean()
    if not mean > 0:
        return np.nan, np.nan
    ratio = above[0].mean() / mean
    error = mean_and_error(above[1] - ratio * below[1])[1] / mean
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
    moved = _CenterGradients(setup)
    values, shares = [], []
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for part in chunks(len(projections)):  # not all gradients in memory at once
            numbers = range(len(projections))[part]
            for k, sample in zip(numbers, pool.map(setup.sample, numbers), strict=True):
                values.append(sample.values)
                shares.append(sample.shares)
                moved.add(k, sample)
        effects = moved.effects()
    columns = {name: np.array([value[name] for value in values]) for name in values[0]}
    both = {name: (column, column + effects[name]) for name, column in columns.items()}
    return Measured(
        _quantities(both, setup.center_alignments(), solved.norm2, len(shares[0]), points.unit**2),
        mean_and_error(np.array(shares)),
    )


def _quantities(
    columns: dict[str, tuple[FloatArray, FloatArray]],
    centers: dict[str, tuple[float, FloatArray]],
    norm2: FloatArray,
    n_manifolds: int,
    unit2: float,
) -> dict[str, tuple[float, float]]:
    """Means and standard errors, from each sample's values, without and with what it adds to S_0."""
    (b, b_moved), (c, c_moved) = columns["b"], columns["c"]
    radius2, radius2_error = _ratio((c, c_moved), (b - c, b_moved - c_moved))
    radius = np.sqrt(radius2)
    quantities = {
        "radius": (radius, radius2_error / (2 * radius) if radius > 0 else np.nan),
        "dimension": (b.mean() / n_manifolds, mean_and_error(b_moved)[1] / n_manifolds),
        "utility": _ratio((c, c_moved), (norm2, norm2)),
    }
    for name in ALIGNMENTS[1:] + RAW_ALIGNMENTS[1:]:
        column, moved = columns[name]
        known = np.isfinite(column)  # NaN where a sample has no two axes
        error = mean_and_error(moved[known])[1] if known.sum() > 1 else np.nan
        quantities[name] = (column[known].mean() if known.any() else np.nan, error)
    quantities |= {
        name: (mean, mean_and_error(moved)[1]) for name, (mean, moved) in centers.items()
    }
    units = {name: unit2 for name in RAW_ALIGNMENTS}
    return {
        name: (float(mean * units.get(name, 1.0)), float(error * units.get(name, 1.0)))
        for name, (mean, error) in quantities.items()
    }


@dataclass(frozen=True)
class _Sample:
    """Values of a sample, the manifolds' shares of b, and gradients by ``S_0``.

    The gradient of a value by the center ``s0_i`` is ``sum_j U_ij s1_j + V_ij s0_j - 2 x_i t``.
    """

    values: dict[str, float]
    shares: FloatArray
    gradients: dict[str, tuple[FloatArray, FloatArray]]  # U and V
    solutions: dict[str, FloatArray]  # x, of b and c


class _Anchors:
    """Anchors of all samples as weights of points, and the inner products that samples share."""

    def __init__(
        self, points: Points, projections: FloatArray, weights: FloatArray, inactive: str
    ) -> None:
        self.points, self.projections = points, projections
        self._skip = inactive == "skip"
        # Anchors are means of points, not of unit points.
        mass = (weights / points.lengths) @ points.indicator
        self._active = mass > 0
        self.shares = weights / np.where(self._active, mass, 1.0)[:, points.owner]
        n_samples, n_manifolds = mass.shape
        counts = np.full(n_manifolds, n_samples)
        if self._skip:
            counts = np.maximum(self._active.sum(axis=0), 1)
        self.mean = self.shares.sum(axis=0) / counts[points.owner]
        # What each sample adds to the centers, times the number of samples.
        self.added = (self.shares - self.mean) * (n_samples / counts)[points.owner]
        if self._skip:
            self.added[~self._active[:, points.owner]] = 0.0
        centers = self.mean[:, None] * points.indicator
        self.to_centers = points.gram @ centers  # <x_j, s0_i>
        self._center_gram = centers.T @ self.to_centers
        self._off = ~np.eye(n_manifolds, dtype=bool)
        self._n_pairs = max(n_manifolds * (n_manifolds - 1), 1)
        norms = np.sqrt(self._center_gram.diagonal().clip(0))
        self._inverse_norms = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)

    def center_alignments(self) -> dict[str, tuple[float, FloatArray]]:
        """Mean absolute cosine and inner product of different centers, and what samples add to them."""
        points, results = self.points, {}
        signs = np.where(self._off, np.sign(self._center_gram), 0.0)
        for name, inverse in (
            (ALIGNMENTS[0], self._inverse_norms),
            (RAW_ALIGNMENTS[0], np.ones(len(signs))),
        ):
            weights = signs * inverse[:, None] * inverse / self._n_pairs
            value = float((weights * self._center_gram).sum()) if len(signs) > 1 else np.nan
            gradient = 2 * weights
            if name in ALIGNMENTS:
                rows = (weights * self._center_gram).sum(axis=1)
                gradient[np.diag_indices(len(signs))] = -2 * rows * inverse**2
            if len(signs) == 1:
                gradient[:] = np.nan
            field = (self.to_centers @ gradient)[np.arange(len(points.owner)), points.owner]
            results[name] = (value, self.added @ field)
        return results

    def sample(self, k: int) -> _Sample:
        """Values and gradients of a sample."""
        points, shares = self.points, self.shares[k]
        n_manifolds = len(self._center_gram)
        support = np.flatnonzero(shares)
        own, with_centers = np.zeros((2, n_manifolds, n_manifolds))
        _anchor_products(
            points.gram, self.to_centers, points.owner, support, shares, own, with_centers
        )
        along = ((shares - self.mean) * self.projections[k]) @ points.indicator  # S_1 t
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
        b, x_b = _form(along, axes)
        c, x_c = _form(along, axes + self._center_gram)
        square_b, square_c = 2 * np.outer(x_b, x_b), 2 * np.outer(x_c, x_c)
        values = {"b": b, "c": c}
        gradients = {"b": (square_b, np.zeros_like(axes)), "c": (square_c, -square_c)}
        norms = np.sqrt(axes.diagonal().clip(0))
        live = norms > 1e-12 * norms.max()
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=live)
        ones = np.ones(n_manifolds)
        axis_pairs = int((self._off & live[:, None] & live).sum())
        mixed_pairs = int((self._off & live[:, None]).sum())
        for names, left, right, axis_count, mixed_count in (
            (ALIGNMENTS, inverse, self._inverse_norms, axis_pairs, mixed_pairs),
            (RAW_ALIGNMENTS, ones, ones, self._n_pairs, self._n_pairs),
        ):
            weights = np.where(self._off, np.sign(axes), 0.0) * left[:, None] * left
            mixed = np.where(self._off, np.sign(crossed), 0.0) * left[:, None] * right
            weights /= max(axis_count, 1)
            mixed /= max(mixed_count, 1)
            terms, mixed_terms = weights * axes, mixed * crossed
            values[names[1]] = float(terms.sum()) if axis_count else np.nan
            values[names[2]] = float(mixed_terms.sum()) if mixed_count else np.nan
            by_axes, by_mixed, by_centers = -2 * weights, mixed.T.copy(), -mixed
            if names is ALIGNMENTS:  # norms change too
                diagonal = np.diag_indices(n_manifolds)
                by_axes[diagonal] += 2 * terms.sum(axis=1) * left**2
                by_mixed[diagonal] += mixed_terms.sum(axis=1) * left**2
                by_centers[diagonal] -= mixed_terms.sum(axis=0) * right**2
            gradients[names[1]] = (by_axes, np.zeros_like(axes))
            gradients[names[2]] = (by_mixed, by_centers)
        return _Sample(values, along * x_b, gradients, {"b": x_b, "c": x_c})


class _CenterGradients:
    """Sums over samples of the gradients by the centers ``S_0``."""

    def __init__(self, anchors: _Anchors) -> None:
        self._anchors = anchors
        n, n_manifolds = anchors.to_centers.shape
        self._names = ("b", "c", *ALIGNMENTS[1:], *RAW_ALIGNMENTS[1:])
        width = len(self._names) * n_manifolds  # the quantities' columns side by side
        self._weights = np.zeros((n, width))
        self._centers = np.zeros((n_manifolds, width))
        self._along = {"b": np.zeros(n), "c": np.zeros(n)}

    def add(self, k: int, sample: _Sample) -> None:
        """Add those of sample k."""
        anchors, owner = self._anchors, self._anchors.points.owner
        by_axes, by_centers = (
            np.concatenate([sample.gradients[name][i] for name in self._names]).T for i in (0, 1)
        )
        # s1_j is a mean of points, less s0_j.
        self._centers += by_centers - by_axes
        support = np.flatnonzero(anchors.shares[k])
        _add_shares(support, owner, anchors.shares[k], np.ascontiguousarray(by_axes), self._weights)
        for name, solution in sample.solutions.items():
            self._along[name] -= 2 * solution[owner] * anchors.projections[k]

    def effects(self) -> dict[str, FloatArray]:
        """What each sample adds to the mean over samples by moving the centers, times their number."""
        anchors, owner = self._anchors, self._anchors.points.owner
        fields = anchors.points.gram @ self._weights + anchors.to_centers @ self._centers
        effects = {}
        for i, name in enumerate(self._names):
            field = fields[np.arange(len(owner)), i * self._centers.shape[0] + owner]
            field = field + self._along.get(name, 0.0)
            effects[name] = anchors.added @ field / len(anchors.shares)
        return effects


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


@stored
def _add_shares(support, owner, shares, rows, out, _=DIGEST):
    """Add each point's share of its manifold's row to the point's row."""
    for i in support:
        w, o = shares[i], owner[i]
        for m in range(rows.shape[1]):
            out[i, m] += w * rows[o, m]

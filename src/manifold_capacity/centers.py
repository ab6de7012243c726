"""The low-rank structure of the centers, and the manifolds with it projected out.

Mean-field theory treats the manifolds' centers as uncorrelated. Real centers share a few directions;
following Cohen, Chung, Lee & Sompolinsky, *Nat. Commun.* 11, 746 (2020), these are found and removed
from every point. With the center deviations C_i (rows), K orthonormal directions V minimize

    F(V) = 1/2 sum_ik cos(r_i, r_k)^2,    r_i = C_i - V V^T C_i,

for K = 1, 2, ...; the K with the least mean |cos(r_i, r_k)| over i != k is kept.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from manifold_capacity.moments import Moments

FloatArray = NDArray[np.float64]

# Eigenvalues of the center Gram matrix below this fraction of the largest are rounding.
_RANK_TOLERANCE = 1e-12
# A center whose distance from the others' mean is below this fraction of the largest such distance has
# no direction of its own in float64 (its square is below the rounding of the Gram matrix).
_CENTER_TOLERANCE = 1e-7
# The reference looks at K up to the rank that explains this share of the centers' variance, ...
_EXPLAINED_VARIANCE = 0.95
# ... plus this many, ...
_EXTRA_RANKS = 10
# ... or until the mean |correlation| has risen this many times in a row.
_RISES = 3
# A residual center shorter than this fraction of the center is the sign of the degenerate optimum.
_DEGENERATE_RATIO = 0.02
_N_RESTARTS = 4


class CoincidingCentersError(ValueError):
    """Centers that have no direction: all the same, or one at the mean of all.

    Attributes
    ----------
    manifolds : tuple of int
        Indices of the manifolds concerned.
    """

    def __init__(self, message: str, manifolds: tuple[int, ...]) -> None:
        super().__init__(message)
        self.manifolds = manifolds


@dataclass(frozen=True)
class CenterStructure:
    """Low-rank structure of P centers.

    Attributes
    ----------
    coefficients : (P, K) array
        The K directions as combinations of center deviations: the orthonormal directions in feature
        space are C^T coefficients, so coefficients^T G coefficients = 1, and a vector x has the loadings
        coefficients^T C x.
    center_correlation : float
        Mean |cos| between different center deviations.
    residual_correlation : float
        The same after projection.
    objective : float
        F at the kept K.
    least_residual_ratio : float
        Least |r_i| / |C_i| over manifolds.
    correlations : (n,) array
        Mean |cos| at K = 0, 1, ..., n - 1, as far as the search went.
    stopped : str
        Why the search over K ended: "variance" (the rank that explains 95 % of the variance, plus 10),
        "rises" (three in a row), or "rank" (one less than the centers' rank).
    converged : bool
        Whether the fit at the kept K reached its tolerance.
    """

    coefficients: FloatArray
    center_correlation: float
    residual_correlation: float
    objective: float
    least_residual_ratio: float
    correlations: FloatArray
    stopped: str
    converged: bool

    @property
    def rank(self) -> int:
        """Number of directions K."""
        return self.coefficients.shape[1]


@dataclass(frozen=True)
class ProjectedMoments:
    """The manifolds without the low-rank structure, in units of their projected centers' norms.

    Attributes
    ----------
    deviation_gram : tuple of P arrays (m_i, m_i)
        W_i' / |d_i'|^2.
    center_norm : (P,) array
        |d_i|, the distance of manifold i's center from the mean of all points, in feature units.
    projected_center_norm : (P,) array
        |d_i'|, the same after projection.
    """

    deviation_gram: tuple[FloatArray, ...]
    center_norm: FloatArray
    projected_center_norm: FloatArray


def fit_centers(center_gram: ArrayLike, *, seed: int = 0) -> CenterStructure:
    """Find the low-rank structure of the centers.

    Parameters
    ----------
    center_gram : (P, P) array
        Gram matrix G of the center deviations, e.g. `Moments.center_gram`. Its scale doesn't matter.
    seed : int
        Seed of the random starts that are tried where the first one ends in a degenerate optimum.

    Returns
    -------
    CenterStructure

    Raises
    ------
    CoincidingCentersError
        If there is one manifold only, all centers coincide, or a center lies at the mean of the centers.
    """
    gram = np.asarray(center_gram, dtype=np.float64)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not np.isfinite(gram).all():
        raise ValueError(f"center_gram has shape {gram.shape}; it must be a finite (P, P) matrix")
    norms = _check_centers(gram)
    with threadpool_limits(limits=1, user_api="blas"):
        return _search(gram, float(np.mean(norms)), np.random.default_rng([seed, 0xCE27E6]))


def _check_centers(gram: FloatArray) -> FloatArray:
    if len(gram) == 1:
        raise CoincidingCentersError(
            "there is one manifold only: its center has nothing to be far from; give at least two",
            (0,),
        )
    norms = np.sqrt(np.maximum(gram.diagonal(), 0))
    if not norms.any():
        raise CoincidingCentersError(
            "the centers of all manifolds coincide (a dead or constant layer?): there is nothing to "
            "tell them apart by; leave the layer out",
            tuple(range(len(gram))),
        )
    central = np.flatnonzero(norms <= _CENTER_TOLERANCE * norms.max()).tolist()
    if central:
        raise CoincidingCentersError(
            f"the center of manifold {', '.join(map(str, central))} lies at the mean of the centers, so "
            "it has no direction and its manifold no size in units of it; leave the manifold out or "
            "sample other points",
            tuple(central),
        )
    return norms


def _search(gram: FloatArray, unit: float, rng: np.random.Generator) -> CenterStructure:
    """Fit K = 1, 2, ... until the reference's rules end the search; keep the best K."""
    eigenvalues, eigenvectors = np.linalg.eigh(gram / unit**2)
    kept = eigenvalues > _RANK_TOLERANCE * eigenvalues[-1]
    eigenvalues = eigenvalues[kept][::-1]
    eigenvectors = eigenvectors[:, kept][:, ::-1]
    coordinates = eigenvectors * np.sqrt(eigenvalues)
    problem = _Problem(coordinates)

    rank = len(eigenvalues)
    explained = np.cumsum(eigenvalues) / eigenvalues.sum()
    cap = max(1, int((explained < _EXPLAINED_VARIANCE).sum())) + _EXTRA_RANKS
    stopped = "variance" if cap <= rank - 1 else "rank"
    cap = min(cap, rank - 1)

    best = _Fit(problem, np.zeros((rank, 0)), converged=True)
    fits = [best]
    correlations = [best.correlation]
    for _ in range(cap):
        fits.append(_fit_guarded(problem, fits[-1], rng))
        correlations.append(fits[-1].correlation)
        recent = correlations[-1 - _RISES :]
        # The reference doesn't stop before K = 5.
        if len(correlations) > 5 and all(a < b for a, b in itertools.pairwise(recent)):
            stopped = "rises"
            break
    best = fits[int(np.argmin(correlations))]
    return CenterStructure(
        coefficients=(eigenvectors / (unit * np.sqrt(eigenvalues))) @ best.directions,
        center_correlation=correlations[0],
        residual_correlation=best.correlation,
        objective=best.objective,
        least_residual_ratio=float(best.ratios.min()),
        correlations=np.array(correlations),
        stopped=stopped,
        converged=best.converged,
    )


class _Problem:
    """The objective F for centers with given coordinates (P, rank)."""

    def __init__(self, coordinates: FloatArray) -> None:
        self.coordinates = coordinates
        self.gram = coordinates @ coordinates.T
        self.squares = np.einsum("ij,ij->i", coordinates, coordinates)
        self._correlation = np.empty_like(self.gram)

    def evaluate(self, loadings: FloatArray) -> tuple[float, FloatArray, float]:
        """F and its gradient in the loadings (P, K), and the least squared residual norm."""
        squares = self.squares - np.einsum("ij,ij->i", loadings, loadings)
        least = float(squares.min())
        if least <= 0:
            return np.inf, loadings, least
        inverse = 1 / np.sqrt(squares)
        scaled = loadings * inverse[:, None]
        correlation = self._correlation
        np.multiply(self.gram, inverse, out=correlation)
        correlation *= inverse[:, None]
        correlation -= scaled @ scaled.T
        sums = np.einsum("ij,ij->i", correlation, correlation)
        gradient = sums[:, None] * scaled
        gradient -= correlation @ scaled
        gradient *= 2 * inverse[:, None]
        return 0.5 * float(sums.sum()), gradient, least


class _Fit:
    """Directions (rank, K), and what they leave of the centers."""

    def __init__(self, problem: _Problem, directions: FloatArray, converged: bool) -> None:
        self.directions = directions
        self.converged = converged
        residuals = problem.coordinates - (problem.coordinates @ directions) @ directions.T
        norms = np.sqrt(np.einsum("ij,ij->i", residuals, residuals))
        self.ratios = norms / np.sqrt(problem.squares)
        self.norms = norms
        self.units = residuals / norms[:, None]
        correlation = self.units @ self.units.T
        n_centers = len(norms)
        self.objective = 0.5 * float(np.vdot(correlation, correlation))
        self.correlation = (float(np.abs(correlation).sum()) - n_centers) / (
            n_centers * (n_centers - 1)
        )


def _fit_guarded(problem: _Problem, previous: _Fit, rng: np.random.Generator) -> _Fit:
    """Fit one more direction than `previous`, avoiding the degenerate optimum."""
    _, vectors = np.linalg.eigh(previous.units.T @ previous.units)
    fit = _fit(problem, np.column_stack([previous.directions, vectors[:, -1]]))
    if fit.ratios.min() >= _DEGENERATE_RATIO:
        return fit
    fits = [fit]
    rank, n_directions = fit.directions.shape
    for _ in range(_N_RESTARTS):
        start = np.column_stack([previous.directions, rng.standard_normal((rank, 1))])
        fits.append(_fit(problem, start))
        start = rng.standard_normal((rank, n_directions))
        fits.append(_fit(problem, start))
    lowest = min(f.objective for f in fits)
    return max(
        (f for f in fits if f.objective <= 1.005 * lowest), key=lambda f: float(f.ratios.min())
    )


def _fit(problem: _Problem, start: FloatArray) -> _Fit:
    """Minimize F from the span of `start` (rank, K) by preconditioned L-BFGS in a chart around it.

    Spans near V0 are V0 + U H, U an orthonormal basis of the complement. U diagonalizes the residual
    correlations (eigenvalues l_i) and V0 the scaled loadings (eigenvalues s_k): the Hessian's diagonal
    is then about 2 |l_i s_k - l_i^2|, which is the preconditioner.
    """
    origin, _ = np.linalg.qr(start)
    n_directions = origin.shape[1]
    fit = _Fit(problem, origin, converged=False)
    values, vectors = np.linalg.eigh(fit.units.T @ fit.units)
    values = values[n_directions:]
    complement = vectors[:, n_directions:]
    complement = complement - origin @ (origin.T @ complement)
    loadings = problem.coordinates @ origin
    scaled = loadings / fit.norms[:, None]
    strengths, rotation = np.linalg.eigh(scaled.T @ scaled)
    origin = origin @ rotation
    loadings = loadings @ rotation
    slopes = problem.coordinates @ complement
    curvature = 2 * np.abs(values[:, None] * strengths - values[:, None] ** 2)
    curvature = np.maximum(curvature, 1e-3 * curvature.max())
    identity = np.eye(n_directions)

    def evaluate(position: FloatArray) -> tuple[float, FloatArray]:
        triangle = np.linalg.cholesky(identity + position.T @ position)
        inverse = np.linalg.solve(triangle, identity).T
        current = (loadings + slopes @ position) @ inverse
        objective, gradient, least = problem.evaluate(current)
        if least <= 0:
            return np.inf, position
        slope = slopes.T @ gradient - (position @ inverse) @ (current.T @ gradient)
        return objective, slope @ inverse.T

    position, converged = _minimize(evaluate, curvature)
    directions, _ = np.linalg.qr(origin + complement @ position)
    return _Fit(problem, directions, converged)


def _minimize(
    evaluate: Any,
    curvature: FloatArray,
    *,
    tolerance: float = 1e-6,
    n_stalls: int = 3,
    max_iterations: int = 300,
    memory: int = 12,
) -> tuple[FloatArray, bool]:
    """L-BFGS from zero with the inverse Hessian 1 / curvature; stops at `n_stalls` small decreases."""
    position = np.zeros_like(curvature)
    objective, gradient = evaluate(position)
    steps: list[tuple[FloatArray, FloatArray, float]] = []
    stalls = 0
    for _ in range(max_iterations):
        direction = gradient.copy()
        weights = []
        for step, change, inner in reversed(steps):
            weight = np.vdot(step, direction) / inner
            direction -= weight * change
            weights.append(weight)
        direction /= curvature
        if steps:
            step, change, inner = steps[-1]
            direction *= inner / np.vdot(change, change / curvature)
        for (step, change, inner), weight in zip(steps, reversed(weights), strict=True):
            direction += (weight - np.vdot(change, direction) / inner) * step
        slope = float(np.vdot(gradient, direction))
        length = 1.0 if steps else min(1.0, 0.3 / (1e-300 + float(np.linalg.norm(direction))))
        for _ in range(20):
            new_position = position - length * direction
            new_objective, new_gradient = evaluate(new_position)
            if new_objective <= objective - 1e-4 * length * slope:
                break
            length *= 0.4
        else:
            return position, True  # no descent left at this precision
        step, change = new_position - position, new_gradient - gradient
        inner = float(np.vdot(step, change))
        if inner > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            steps = [*steps[1 - memory :], (step, change, inner)]
        stalls = stalls + 1 if objective - new_objective < tolerance * new_objective else 0
        position, objective, gradient = new_position, new_objective, new_gradient
        if stalls >= n_stalls:
            return position, True
    return position, False


def project(moments: Moments, structure: CenterStructure) -> ProjectedMoments:
    """Project the structure out of every point, and scale by the projected center's norm.

    With d_i = c_i - o, o the mean of all points, and the loadings of a vector on the directions,
    W_i' = W_i - (loadings of E_i)^T (loadings of E_i), and |d_i'|^2 likewise.

    Parameters
    ----------
    moments : Moments
    structure : CenterStructure
        What `fit_centers` found in ``moments.center_gram``.

    Returns
    -------
    ProjectedMoments

    Raises
    ------
    CoincidingCentersError
        If a center lies at the mean of all points.
    """
    coefficients = structure.coefficients
    with threadpool_limits(limits=1, user_api="blas"):
        loadings = coefficients.T @ moments.center_deviation
        from_mean = np.eye(moments.n_manifolds) - moments.mean_weights
        squares = moments.center_norm_squared
        central = np.flatnonzero(squares <= _CENTER_TOLERANCE**2 * squares.max()).tolist()
        if central:
            raise CoincidingCentersError(
                f"the center of manifold {', '.join(map(str, central))} lies at the mean of all "
                "points, so its manifold has no size in units of it; leave the manifold out or sample "
                "other points",
                tuple(central),
            )
        center_loadings = from_mean @ (moments.center_gram @ coefficients)
        projected = squares - np.einsum("ij,ij->i", center_loadings, center_loadings)
        offsets = moments.offsets
        grams = []
        for i, gram in enumerate(moments.deviation_gram):
            part = loadings[:, offsets[i] : offsets[i + 1]]
            grams.append((gram - part.T @ part) / projected[i])
    return ProjectedMoments(
        deviation_gram=tuple(grams),
        center_norm=np.sqrt(squares) * moments.scale,
        projected_center_norm=np.sqrt(projected) * moments.scale,
    )

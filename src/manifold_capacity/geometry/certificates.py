"""From solved quadratic programs to capacity, radius and dimension, with their duality gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.kernels import add_rows, compiled

GAP_TOLERANCE = 1e-9
"""A problem with a larger relative duality gap counts as unconverged."""


@dataclass(frozen=True)
class AnchorGeometry:
    """Capacity, radius and dimension of one manifold, as functions of its Gaussian samples.

    Unpacks as ``capacity, radius, dimension``.

    Attributes
    ----------
    capacity, radius, dimension : float
        Eqs. 16, 28 and 29 of Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003 (2018).
    capacity_stderr, radius_stderr, dimension_stderr : float
        Standard errors of the mean over Gaussian samples (delta method).
    worst_gap : float
        Largest relative duality gap among the quadratic programs.
    n_unconverged : int
        Number of quadratic programs whose relative gap exceeds ``GAP_TOLERANCE``.
    """

    capacity: float
    radius: float
    dimension: float
    capacity_stderr: float
    radius_stderr: float
    dimension_stderr: float
    worst_gap: float
    n_unconverged: int

    def __iter__(self) -> Iterator[float]:
        return iter((self.capacity, self.radius, self.dimension))


@dataclass(frozen=True)
class AnchorSamples:
    """What each Gaussian sample contributes to one manifold's geometry.

    Attributes
    ----------
    inverse_capacity : (n_gaussians,) array
        ``(t . s + kappa)_+^2 / |s|^2`` with the anchor ``s`` in ``D + 1`` dimensions.
    squared_deviation : (n_gaussians,) array
        ``|s_D - mean s_D|^2``, first ``D`` coordinates.
    cosine : (n_gaussians,) array
        Cosine between ``t_D`` and ``s_D``; 0 where ``s_D`` is 0.
    dimension : int
        ``D``, the number of coordinates beside the center's.
    gap : (n_gaussians,) array
        Duality gap of each problem: a bound on the error of its `inverse_capacity`, relative to
        the larger of that value and the manifold's mean (a value that happens to be near 0 hardly
        contributes).
    """

    inverse_capacity: FloatArray
    squared_deviation: FloatArray
    cosine: FloatArray
    dimension: int
    gap: FloatArray

    def geometry(self) -> AnchorGeometry:
        """Average over the Gaussian samples, with standard errors."""
        inverse = float(self.inverse_capacity.mean())
        # It is 0 if no sample has an active constraint, which happens by chance with few samples.
        capacity = 1.0 / inverse if inverse > 0 else np.inf
        variance = float(self.squared_deviation.mean())
        cosine = float(self.cosine.mean())
        root_n = np.sqrt(len(self.gap))
        return AnchorGeometry(
            capacity=capacity,
            radius=float(np.sqrt(variance)),
            dimension=self.dimension * cosine**2,
            # Delta method on 1 / mean(f), sqrt(mean |s - mean s|^2) and D mean(cos)^2. The mean
            # anchor comes from the same samples, but does not move the radius to first order.
            capacity_stderr=(
                float(capacity**2 * self.inverse_capacity.std(ddof=1) / root_n)
                if inverse > 0
                else np.inf
            ),
            radius_stderr=(
                float(self.squared_deviation.std(ddof=1) / (2 * np.sqrt(variance) * root_n))
                if variance > 0
                else 0.0
            ),
            dimension_stderr=float(
                2 * self.dimension * abs(cosine) * self.cosine.std(ddof=1) / root_n
            ),
            worst_gap=float(self.gap.max()),
            n_unconverged=int((~(self.gap <= GAP_TOLERANCE)).sum()),
        )


def point_samples(gaussians: FloatArray, margin: float, dimension: int) -> AnchorSamples:
    """A manifold without extent: Gardner's perceptron, in closed form."""
    n = len(gaussians)
    inverse = np.maximum(gaussians[:, -1] + margin, 0.0) ** 2
    zero = np.zeros(n)
    return AnchorSamples(inverse, zero, zero, dimension, zero)


def samples_of_weights(
    weights: FloatArray, points: FloatArray, gaussians: FloatArray, margin: float, rho: float
) -> AnchorSamples:
    """Contributions and duality gaps of all samples, from the weights that `solve_gram` returned.

    The other arguments are those of `solve_gram`, without its Gram matrix.
    """
    n, n_points = weights.shape
    dimension = len(points)
    anchors = np.zeros((n, dimension))
    inverse_capacity, squared_deviation, cosine, gap, totals = np.zeros((5, n))
    rest, mean = np.zeros((2, dimension))
    shares, slack = np.empty((2, n_points))
    support = np.empty(n_points, dtype=np.int64)
    order = np.arange(dimension)
    _find_anchors(weights, np.ascontiguousarray(points.T), anchors, totals, shares, support)
    _deviate(anchors, rho, mean, squared_deviation)
    _project(anchors, totals, gaussians, margin, rho, inverse_capacity, cosine)
    _bound(weights, points, anchors, totals, gaussians, margin, rho, gap, rest, slack, order)
    if inverse_capacity.any():
        gap /= np.maximum(inverse_capacity, inverse_capacity.mean())
    return AnchorSamples(inverse_capacity, squared_deviation, cosine, dimension, gap)


# The functions below write their results into arrays of zeros, and sum in a fixed order.


@compiled
def _find_anchors(weights, rows, anchors, totals, shares, support):  # type: ignore[no-untyped-def]
    """Anchors (n, D), the means of `rows` (m, D) by weight; sums of the weights (n,)."""
    n, m = weights.shape
    for i in range(n):
        k = np.int64(0)
        for j in range(m):
            if weights[i, j] != 0.0:
                support[k] = j
                k += 1
                totals[i] += weights[i, j]
        for a in range(k):
            shares[a] = weights[i, support[a]] / totals[i]
        add_rows(rows, support, shares, k, rows.shape[1], anchors[i])


@compiled
def _deviate(anchors, rho, mean, squared_deviation):  # type: ignore[no-untyped-def]
    """Squared distances (n,) of the anchors from their mean."""
    n, dimension = anchors.shape
    for i in range(n):
        for d in range(dimension):
            mean[d] += anchors[i, d] / n
    for i in range(n):
        for d in range(dimension):
            difference = rho * (anchors[i, d] - mean[d])
            squared_deviation[i] += difference * difference


@compiled
def _project(anchors, totals, gaussians, margin, rho, inverse_capacity, cosine):  # type: ignore[no-untyped-def]
    """Inverse capacity (n,), and cosine (n,) between anchors and Gaussians."""
    n, dimension = anchors.shape
    for i in range(n):
        dot = 0.0
        square = 0.0
        norm = 0.0
        for d in range(dimension):
            s = anchors[i, d]
            t = gaussians[i, d]
            dot += t * s
            square += s * s
            norm += t * t
        cosine[i] = dot / math.sqrt(square * norm) if square > 0.0 else 0.0
        if totals[i] >= 0.0:
            overlap = max(rho * dot + (gaussians[i, dimension] + margin), 0.0)
            inverse_capacity[i] = overlap * overlap / (1.0 + rho * rho * square)


@compiled
def _bound(weights, points, anchors, totals, gaussians, margin, rho, gap, rest, slack, order):  # type: ignore[no-untyped-def]
    """Absolute duality gaps (n,); infinite where the solver gave up and left no weights.

    With ``w_j = (s_j, 1) . v + kappa`` at ``v = t - sum lam_j (s_j, 1)`` and ``d = max(w, 0)``,
    ``v - d e_center`` is feasible, and the optimal value lies at most
    ``2 (d sum(lam) - lam . w) + d^2`` above the dual value.
    """
    dimension, m = points.shape
    for i in range(len(gap)):
        total = totals[i]
        if total < 0.0:  # no active constraint
            continue
        if total == 0.0:
            gap[i] = np.inf
            continue
        # Slacks over rho; sum(lam) = total / rho.
        center = (gaussians[i, dimension] + margin - total / rho) / rho
        for j in range(m):
            slack[j] = center
        for d in range(dimension):
            rest[d] = gaussians[i, d] - total * anchors[i, d]
        add_rows(points, order, rest, dimension, m, slack)
        worst = 0.0
        along = 0.0
        for j in range(m):
            worst = max(worst, slack[j])
            along += weights[i, j] * slack[j]
        gap[i] = max(2.0 * (worst * total - along) + (rho * worst) ** 2, 0.0)

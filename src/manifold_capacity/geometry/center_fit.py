"""The fit of the centers' low-rank structure: its objective, and L-BFGS on spans of directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from manifold_capacity.geometry.arguments import FloatArray

_Pair = tuple[FloatArray, FloatArray, float]  # step, change of the gradient, their inner product
_EPS = float(np.finfo(np.float64).eps)

# mu. From 0.003 to 0.03 the capacity of natural images at a given K changes by less than 1 %, and F
# by less than 0.5 %, no more than between local minima. With 0, converged fits make a center vanish
# on a quarter of random inputs (benchmarks/centers.py --swallowing), and mean radii rise by 10 %
# and more.
_BALANCE = 0.01

# A fit runs in rounds of `_ROUND_ITERATIONS`, and ends after `_STALLS` relative decreases in a row
# below its tolerance. The search over K uses the coarse tolerance, since each K continues from the
# one before; the best K are then refined to the final tolerance. The Monte Carlo noise of 300
# Gaussian samples corresponds to a tolerance of about 1e-4.
_ROUND_ITERATIONS = 12
_MAX_ROUNDS = 25
_STALLS = 3
_SEARCH_TOLERANCE = 1e-3
FINAL_TOLERANCE = 1e-5
_MEMORY = 8

# Rounds start from directions rounded to this fraction of the median residual: well above what
# rounding errors grow to within a round (1e-10), well below what a round changes.
_START_GRID = 2.0**-10

# Coordinates are rotated to the residuals' principal axes, where the preconditioner is diagonal,
# whenever K has grown by this factor: an eigendecomposition costs as much as dozens of evaluations
# of F.
_REFRESH = 1.25

# Rows of the residual correlations at a time, so that they stay in the cache (P = 1000: 6 instead
# of 9 ms per evaluation).
_TILE_ROWS = 256


class _Fit:
    """Directions (rank, K) in the problem's principal axes, and numbers of the residual centers."""

    def __init__(self, centers: FloatArray, directions: FloatArray, converged: bool) -> None:
        self.directions = directions
        self.converged = converged
        units, ratios = _residual_units(centers, directions)
        self.least_ratio = float(ratios.min())
        correlation = units @ units.T
        n_centers = len(centers)
        self.objective = 0.5 * float(np.vdot(correlation, correlation))
        off_diagonal = float(np.abs(correlation).sum()) - n_centers
        self.correlation = off_diagonal / (n_centers * (n_centers - 1))


class Problem:
    """The balanced objective for centers with a given correlation matrix (P, P).

    F and the shares q_i do not depend on the centers' norms, so the centers have unit norm.
    """

    def __init__(
        self, correlation: FloatArray, rank_tolerance: float, rng: np.random.Generator
    ) -> None:
        values, vectors = np.linalg.eigh(correlation)
        kept = values > rank_tolerance * values[-1]
        values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
        self.rank = len(values)
        self._rng = rng
        self._correlation = correlation
        rows = min(len(correlation), _TILE_ROWS)
        self._buffers = np.empty((2, rows, len(correlation)))
        self._dual = vectors / np.sqrt(values)
        self._centers = vectors * np.sqrt(values)
        # Fits use coordinates rotated from the principal axes; see `_REFRESH`.
        self._rotation = np.eye(self.rank)
        self._rotated = self._centers
        self._refreshed_at = 0
        self.start = _Fit(self._centers, np.zeros((self.rank, 0)), converged=True)

    def coefficients(self, fit: _Fit) -> FloatArray:
        """(P, K) combinations of unit centers that give the directions."""
        return self._dual @ fit.directions

    def fit_next(self, previous: _Fit) -> _Fit:
        """Fit one direction more than `previous` has."""
        n_directions = previous.directions.shape[1] + 1
        units = _residual_units(self._centers, previous.directions)[0]
        if n_directions >= _REFRESH * self._refreshed_at:
            _, axes = np.linalg.eigh(units.T @ units)
            # In the null space, which the directions span, eigh's basis is arbitrary: keep them.
            axes = axes[:, ::-1][:, : self.rank - n_directions + 1]
            basis = np.linalg.qr(np.column_stack([previous.directions, axes]))[0]
            self._rotation = np.roll(basis, 1 - n_directions, axis=1)
            self._rotated = self._centers @ self._rotation
            self._refreshed_at = n_directions
            leading = self._rotation[:, 0]
        else:
            leading = _leading_axis(units)
        # The warm start, or the principal components if they are clearly better: a few directions
        # that dominate all others cannot be reached through lower K.
        warm = np.linalg.qr(np.column_stack([previous.directions, leading]))[0]
        principal = np.eye(self.rank, n_directions)
        warm_value, _ = self._evaluate(self._centers @ warm)
        principal_value, _ = self._evaluate(self._centers @ principal)
        start = principal if principal_value < 0.999 * warm_value else warm
        # Where a center lies almost within the span, F is too steep for a fit to leave.
        return self.fit(self._move_off(start, 1e-3), _SEARCH_TOLERANCE)

    def fit(self, directions: FloatArray, tolerance: float) -> _Fit:
        """Minimize from the span of orthonormal `directions` (rank, K), in rounds."""
        for _ in range(_MAX_ROUNDS):
            directions, converged = self._fit_round(self._round(directions), tolerance)
            if converged:
                break
        return _Fit(self._centers, directions, converged)

    def _fit_round(self, start: FloatArray, tolerance: float) -> tuple[FloatArray, bool]:
        """Preconditioned L-BFGS in a chart around a span (rank, K).

        Spans near V0 are V0 + H with V0^T H = 0. In the residuals' principal axes (eigenvalues l_a
        of their correlations), and with a V0 that diagonalizes the scaled loadings V0^T C_i / |r_i|
        (eigenvalues s_k), the Hessian is nearly diagonal, 2 |l_a s_k - l_a^2|: the preconditioner.
        """
        origin = self._rotation.T @ start
        loadings, ratios = _load(self._rotated, origin)
        strengths = (1 / ratios**2) @ loadings**2
        residuals = self._rotated - loadings @ origin.T
        spread = ((1 / ratios**2) @ residuals**2)[:, None]
        curvature = 2 * np.abs(spread * strengths - spread**2)
        # The floor prevents huge steps in directions where the diagonal is nearly 0.
        curvature = np.maximum(curvature, 1e-3 * curvature.max())
        residuals_t = np.ascontiguousarray(residuals.T)
        identity = np.eye(len(strengths))

        def evaluate(position: FloatArray) -> tuple[float, FloatArray]:
            # V = (V0 + H) S is orthonormal for S = L^-T, L L^T = 1 + H^T H.
            factor = np.linalg.inv(np.linalg.cholesky(identity + position.T @ position)).T
            current = (loadings + residuals @ position) @ factor
            value, gradient = self._evaluate(current)
            if not np.isfinite(value):
                return value, position
            slope = residuals_t @ gradient - (position @ factor) @ (current.T @ gradient)
            return value, slope @ factor.T

        def precondition(slope: FloatArray) -> FloatArray:
            scaled = slope / curvature
            return scaled - origin @ (origin.T @ scaled)

        position, converged = _minimize(evaluate, precondition, np.zeros_like(origin), tolerance)
        return self._rotation @ np.linalg.qr(origin + position)[0], converged

    def _round(self, directions: FloatArray) -> FloatArray:
        """The span rounded to a coarse grid, in a basis that only depends on the span."""
        loadings, ratios = _load(self._centers, directions)
        scaled = loadings / ratios[:, None]
        directions = directions @ np.linalg.eigh(scaled.T @ scaled)[1]
        largest = np.abs(directions).argmax(axis=0)
        directions *= np.sign(directions[largest, np.arange(len(largest))])
        grid = _START_GRID * 2.0 ** np.round(np.log2(np.median(ratios)))
        directions = np.linalg.qr(np.round(directions / grid) * grid)[0]
        return self._move_off(directions, 0.0)

    def _move_off(self, directions: FloatArray, least: float) -> FloatArray:
        """Directions that leave each center more than `least` of the most; moved at random if not."""
        while True:
            ratios = _load(self._centers, directions)[1]
            if ratios.min() > max(4 * np.sqrt(_EPS), least * ratios.max()):
                return directions
            directions = directions + 0.1 * self._rng.standard_normal(directions.shape)
            directions = np.linalg.qr(directions)[0]

    def _evaluate(self, loadings: FloatArray) -> tuple[float, FloatArray]:
        """Balanced objective and its gradient in the loadings (P, K) of the unit centers."""
        n_centers = len(loadings)
        shares = 1 - np.einsum("ij,ij->i", loadings, loadings)
        if shares.min() <= 0:
            return np.inf, loadings
        inverse = 1 / shares
        weighted = loadings * inverse[:, None]
        sums = np.empty(n_centers)
        gradient = np.empty_like(loadings)
        for first in range(0, n_centers, _TILE_ROWS):
            rows = slice(first, first + _TILE_ROWS)
            # Residual Gram matrix R = (correlations) - c c^T.
            residual, squares = (buffer[: len(sums[rows])] for buffer in self._buffers)
            np.matmul(loadings[rows], loadings.T, out=residual)
            np.subtract(self._correlation[rows], residual, out=residual)
            np.matmul(residual, weighted, out=gradient[rows])
            np.square(residual, out=squares)
            np.matmul(squares, inverse, out=sums[rows])
        sums *= inverse
        # dF/dc = -2 A c + 2 diag(sum_k R_ik A_ik / R_ii) c, A_ik = R_ik / (R_ii R_kk).
        np.subtract(sums[:, None] * loadings, gradient, out=gradient)
        gradient *= 2 * inverse[:, None]
        total, total_inverse = shares.sum(), inverse.sum()
        balance = np.log(total * total_inverse / n_centers**2)
        pull = inverse**2 / total_inverse - 1 / total
        gradient += (2 * _BALANCE * n_centers * pull)[:, None] * loadings
        return 0.5 * float(sums.sum()) + _BALANCE * n_centers * float(balance), gradient


def _load(centers: FloatArray, directions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Loadings (P, K) of unit centers on orthonormal directions; norms (P,) of the residuals."""
    loadings = centers @ directions
    return loadings, np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", loadings, loadings), _EPS))


def _residual_units(centers: FloatArray, directions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residuals (P, rank) scaled to unit norm, and their norms (P,)."""
    residuals = centers - (centers @ directions) @ directions.T
    norms = np.sqrt(np.einsum("ij,ij->i", residuals, residuals))
    residuals /= np.maximum(norms, np.finfo(np.float64).tiny)[:, None]
    return residuals, norms


def _leading_axis(units: FloatArray) -> FloatArray:
    """The leading principal axis of unit vectors (P, rank), roughly, by power iteration."""
    axis = units.T @ units[:, np.einsum("ij,ij->j", units, units).argmax()]
    for _ in range(20):
        axis = units.T @ (units @ axis)
        axis /= np.linalg.norm(axis)
    return axis


def _minimize(
    evaluate: Callable[[FloatArray], tuple[float, FloatArray]],
    precondition: Callable[[FloatArray], FloatArray],
    position: FloatArray,
    tolerance: float,
) -> tuple[FloatArray, bool]:
    """Minimize by L-BFGS (Nocedal & Wright, *Numerical Optimization*, algorithm 7.5).

    Returns the position, and whether `_STALLS` relative decreases in a row were below `tolerance`.
    """
    value, gradient = evaluate(position)
    pairs: list[_Pair] = []
    stalls = 0
    for _ in range(_ROUND_ITERATIONS):
        direction = _two_loop_recursion(gradient, pairs, precondition)
        slope = float(np.vdot(gradient, direction))
        # The first step has no measured curvature: keep it short.
        length = 1.0 if pairs else 0.3 / max(float(np.linalg.norm(direction)), 0.3)
        for _ in range(20):
            new_position = position - length * direction
            new_value, new_gradient = evaluate(new_position)
            if new_value <= value - 1e-4 * length * slope:
                break
            length *= 0.4
        else:
            return position, True  # no descent, because of rounding
        step, change = new_position - position, new_gradient - gradient
        product = float(np.vdot(step, change))
        if product > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            pairs = [*pairs[1 - _MEMORY :], (step, change, product)]
        stalls = stalls + 1 if value - new_value < tolerance * abs(new_value) else 0
        position, value, gradient = new_position, new_value, new_gradient
        if stalls >= _STALLS:
            return position, True
    return position, False


def _two_loop_recursion(
    gradient: FloatArray, pairs: list[_Pair], precondition: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    """Inverse Hessian times gradient (algorithm 7.4)."""
    direction = gradient.copy()
    weights = []
    for step, change, product in reversed(pairs):
        weight = np.vdot(step, direction) / product
        direction -= weight * change
        weights.append(weight)
    direction = precondition(direction)
    if pairs:
        _, change, product = pairs[-1]
        direction *= product / np.vdot(change, precondition(change))
    for (step, change, product), weight in zip(pairs, reversed(weights), strict=True):
        direction += (weight - np.vdot(change, direction) / product) * step
    return direction

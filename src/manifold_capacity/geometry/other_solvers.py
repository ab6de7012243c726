"""Slower solvers of the quadratic programs: an orthogonal one, an interior-point method, and cvxopt as a check."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from manifold_capacity.errors import MissingPackageError
from manifold_capacity.geometry.active_set import STEPS_PER_POINT
from manifold_capacity.geometry.arguments import FloatArray

# scipy's active set takes seconds where points times squared directions are no more.
_MOST_FOR_SCIPY = 1e9
_MOST_STEPS = 100
_SMALLEST_GAP = 1e-12


def solve_orthogonal(
    points: FloatArray, gaussians: FloatArray, margin: float, rho: float
) -> FloatArray:
    """Solve samples that have an active constraint by scipy's nnls; arguments as `solve_gram`."""
    from scipy.optimize import nnls

    n_points = points.shape[1]
    augmented = np.vstack([points, np.full(n_points, 1.0 / rho)])
    weights = np.zeros((len(gaussians), n_points))
    for i, t in enumerate(gaussians):
        target = np.append(t[:-1], t[-1] + margin)
        # Out of steps, it leaves no weights: the gap is infinite, and counted as unconverged.
        with contextlib.suppress(RuntimeError):
            weights[i] = nnls(augmented, target, maxiter=STEPS_PER_POINT * n_points)[0]
    return weights


def solve_cvxopt(points: FloatArray, gaussians: FloatArray, margin: float) -> FloatArray:
    """Dual solutions ``lam`` (n_gaussians, m) of the reference implementation's primal problem.

    Minimize ``|v|^2 / 2 - t . v`` subject to ``(s_j, 1) . v <= -kappa``. Samples without an active
    constraint are marked as `solve_gram` marks them.
    """
    matrix, solve = _cvxopt()
    n_points, dimension = points.shape
    augmented = np.column_stack([points, np.ones(n_points)])
    quadratic, constraints = matrix(np.eye(dimension + 1)), matrix(augmented)
    bounds = matrix(np.full(n_points, -margin, dtype=np.float64))
    projection = gaussians[:, :-1] @ points.T
    weights = np.zeros((len(gaussians), n_points))
    for i, t in enumerate(gaussians):
        nearest = int(projection[i].argmax())
        if projection[i, nearest] + t[-1] + margin <= 0:
            weights[i, nearest] = -1.0
            continue
        result = solve(quadratic, matrix(-t), constraints, bounds)
        weights[i] = np.maximum(np.array(result["z"])[:, 0], 0.0)
    return weights


def project_points(points: FloatArray, vector: FloatArray) -> FloatArray:
    """Weights (n,) of the projection of a vector (r,) on the cone of points (n, r), 0 of points that are not active.

    By scipy's active set; of many points by an interior-point method, which takes a few dozen steps also near the edge of
    the cone's inside. There an active set changes point by point: of 5,000 points in 2,050 directions for minutes.
    """
    from scipy.optimize import nnls

    if points.size * points.shape[1] > _MOST_FOR_SCIPY:
        weights, slack = interior_point(points, vector)
        return np.where(weights > slack, weights, 0.0)
    try:
        return np.asarray(nnls(points.T, vector)[0])
    except RuntimeError:  # too many steps
        return np.zeros(len(points))


def interior_point(points: FloatArray, vector: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights (n,) and slacks (n,) of the projection of a vector (r,) on the cone of points (n, r), all above 0.

    Minimizes ``|v - t|^2 / 2`` subject to ``x_j . v <= 0`` by the predictor-corrector method of Mehrotra, *SIAM J. Optim.* 2,
    575 (1992), with a factorization of an (r, r) matrix for each step.
    """
    n, rank = points.shape
    solution = np.zeros(rank)
    weights, slack = np.full(n, n**-0.5), np.full(n, n**-0.5)
    for _ in range(_MOST_STEPS):
        gap = float(weights @ slack)
        if gap < _SMALLEST_GAP:
            break
        dual, primal = solution - vector + weights @ points, points @ solution + slack
        scaled = points * np.sqrt(weights / slack)[:, None]
        matrix = scaled.T @ scaled
        matrix[np.diag_indices(rank)] += 1
        try:
            factor = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            break
        newton = functools.partial(_newton_step, points, weights, slack, dual, primal, factor)
        step = newton(weights * slack)
        length = min(_longest(slack, step[1]), _longest(weights, step[2]))
        left = (weights + length * step[2]) @ (slack + length * step[1]) / gap
        step = newton(weights * slack + step[1] * step[2] - left**3 * gap / n)
        length = 0.99 * min(_longest(slack, step[1]), _longest(weights, step[2]))
        solution += length * step[0]
        slack += length * step[1]
        weights += length * step[2]
    return weights, slack


def _newton_step(
    points: FloatArray,
    weights: FloatArray,
    slack: FloatArray,
    dual: FloatArray,
    primal: FloatArray,
    factor: FloatArray,
    product: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Steps of the solution, the slacks and the weights, which would lower weights times slacks by `product`."""
    right_side = -dual - ((weights * primal - product) / slack) @ points
    half = solve_triangular(factor, right_side, lower=True)
    of_solution = solve_triangular(factor, half, lower=True, trans=1)
    of_slack = -primal - points @ of_solution
    return of_solution, of_slack, (-product - weights * of_slack) / slack


def _longest(values: FloatArray, step: FloatArray) -> float:
    """The largest part of a step, up to all of it, that leaves no value below 0."""
    falling = step < 0
    return float((-values[falling] / step[falling]).min(initial=1.0))


def project_cvxopt(points: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights (n,) and slacks (n,) of the projection of a vector on the cone of points (n, r).

    `target` (n,) holds the inner products of the points with the vector. Minimizes
    ``|v|^2 / 2 - t . v`` subject to ``x_j . v <= 0``. Points whose weight exceeds their slack are
    active; least squares on them takes the weights from cvxopt's accuracy to that of rounding.
    """
    matrix, solve = _cvxopt()
    rank = points.shape[1]
    vector = np.linalg.lstsq(points, target, rcond=None)[0]
    result = solve(
        matrix(np.eye(rank)), matrix(-vector), matrix(points), matrix(np.zeros(len(points)))
    )
    found = np.array(result["z"])[:, 0]
    active = found > np.array(result["s"])[:, 0]
    weights = np.where(active, np.maximum(found, 0.0), 0.0)
    left = vector - weights @ points
    weights[active] += np.linalg.lstsq(points[active].T, left, rcond=None)[0]
    weights = np.maximum(weights, 0.0)
    return weights, points @ (vector - weights @ points)


def _cvxopt() -> tuple[Any, Any]:
    """cvxopt's matrices, and its solver of quadratic programs at the accuracy of our certificates."""
    try:
        from cvxopt import matrix, solvers
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "solver='cvxopt' needs the package cvxopt: pip install cvxopt, "
            "or use the default solver='active_set'"
        ) from error
    # Far below cvxopt's defaults (1e-7, 1e-6, 1e-7), with the slower factorization that reaches
    # them, so that every problem passes the same certificate as with the default solver.
    options = {"show_progress": False, "abstol": 1e-13, "reltol": 1e-12, "feastol": 1e-11}
    return matrix, functools.partial(solvers.qp, kktsolver="ldl", options=options)

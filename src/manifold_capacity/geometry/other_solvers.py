"""Slower solvers of the quadratic programs: an orthogonal one, and cvxopt as a check."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np

from manifold_capacity.errors import MissingPackageError
from manifold_capacity.geometry.active_set import STEPS_PER_POINT
from manifold_capacity.geometry.arguments import FloatArray


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

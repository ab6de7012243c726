"""Slower solvers of the anchors' quadratic programs: an orthogonal one, and cvxopt as a check."""

from __future__ import annotations

import contextlib

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
    n_points, dimension = points.shape
    augmented = np.column_stack([points, np.ones(n_points)])
    quadratic = matrix(np.eye(dimension + 1))
    constraints = matrix(augmented)
    bounds = matrix(np.full(n_points, -margin, dtype=np.float64))
    projection = gaussians[:, :-1] @ points.T
    weights = np.zeros((len(gaussians), n_points))
    for i, t in enumerate(gaussians):
        nearest = int(projection[i].argmax())
        if projection[i, nearest] + t[-1] + margin <= 0:
            weights[i, nearest] = -1.0
            continue
        result = solvers.qp(
            quadratic, matrix(-t), constraints, bounds, kktsolver="ldl", options=options
        )
        weights[i] = np.maximum(np.array(result["z"])[:, 0], 0.0)
    return weights

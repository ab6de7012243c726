"""Two slower solvers of the anchors' quadratic programs: orthogonal, for hard ones, and cvxopt, as an independent check."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import MissingPackageError
from manifold_capacity.geometry.active_set import STEPS_PER_POINT


def solve_orthogonal(
    points: NDArray[np.float64], gaussians: NDArray[np.float64], margin: float, rho: float
) -> NDArray[np.float64]:
    """Solve samples with an active constraint by scipy's nnls; arguments as in `_solve_all`."""
    from scipy.optimize import nnls

    n_points = points.shape[1]
    augmented = np.vstack([points, np.full(n_points, 1.0 / rho)])
    weights = np.zeros((len(gaussians), n_points))
    for i, t in enumerate(gaussians):
        target = np.append(t[:-1], t[-1] + margin)
        # RuntimeError (out of steps) leaves no weights: a gap of infinity, counted as unconverged.
        with contextlib.suppress(RuntimeError):
            weights[i] = nnls(augmented, target, maxiter=STEPS_PER_POINT * n_points)[0]
    return weights


def solve_cvxopt(
    points: NDArray[np.float64], gaussians: NDArray[np.float64], margin: float
) -> NDArray[np.float64]:
    """Dual solutions ``lam`` (n_gaussians, m) by cvxopt, from the reference's primal problem.

    Minimise ``|v|^2 / 2 - t . v`` subject to ``(s_j, 1) . v <= -kappa``. Marks samples without an
    active constraint as `_solve_all` does.
    """
    try:
        from cvxopt import matrix, solvers
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "solver='cvxopt' needs the package cvxopt: pip install cvxopt, "
            "or use the default solver='active_set'"
        ) from error
    # Far below cvxopt's defaults (1e-7, 1e-6, 1e-7), and with the slower of its factorizations that
    # reaches them: every problem is to pass the same certificate as the default solver's.
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

"""Anchor points of one manifold: a quadratic program for every Gaussian vector, solved exactly.

For a manifold with points ``s_j`` (in units of its center's norm, relative to the center), a
margin ``kappa`` and a Gaussian vector ``t`` in ``D + 1`` dimensions, the theory asks for the vector
``v`` nearest to ``t`` with ``(s_j, 1) . v <= -kappa`` for every point. The dual is a nonnegative
least-squares problem in the Gram matrix of the points alone, ::

    min_{lam >= 0}  | sum_j lam_j (s_j, 1) - (t + kappa e_center) |^2 ,

and the *anchor point* of ``t`` is their weighted mean, ``sum_j lam_j s_j / sum_j lam_j``.

Each problem's duality gap is computed from the points, not from the Gram matrix that the solver
used. It bounds the error of the optimal value, whichever solver found it.

References
----------
.. [1] S. Chung, D. D. Lee, H. Sompolinsky, "Classification and geometry of general perceptual
   manifolds", Phys. Rev. X 8, 031003 (2018).
.. [2] U. Cohen, S. Chung, D. D. Lee, H. Sompolinsky, "Separability and geometry of object
   manifolds in deep neural networks", Nat. Commun. 11, 746 (2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.active_set import solve_gram
from manifold_capacity.geometry.arguments import FloatArray, check_margin, check_solver
from manifold_capacity.geometry.certificates import (
    GAP_TOLERANCE,
    AnchorGeometry,
    AnchorSamples,
    point_samples,
    samples_of_weights,
)
from manifold_capacity.geometry.kernels import pivoted_cholesky
from manifold_capacity.geometry.other_solvers import solve_cvxopt, solve_orthogonal


def anchor_geometry(
    points: ArrayLike,
    gaussians: ArrayLike,
    margin: float = 0.0,
    *,
    solver: str = "active_set",
) -> AnchorGeometry:
    r"""Capacity, radius and dimension of one manifold from given Gaussian samples.

    .. math::

        1 / \alpha = \langle (t \cdot s + \kappa)_+^2 / |s|^2 \rangle_t, \quad
        R^2 = \langle |s_D - \langle s_D \rangle|^2 \rangle_t, \quad
        D_M = D \, \langle \cos(t_D, s_D) \rangle_t^2

    with the anchor :math:`s(t)` of each sample (Eqs. 16, 17, 28, 29 of [1]_; index ``D`` marks the
    first ``D`` coordinates).

    Parameters
    ----------
    points : (m, D) array
        The manifold's points relative to its center, in units of the center's norm.
    gaussians : (n_gaussians, D + 1) array
        Standard normal vectors, the center's coordinate last; two at least.
    margin : float
        The margin kappa, 0 or more.
    solver : {"active_set", "cvxopt"}
        The exact compiled solver, or cvxopt's interior-point method on the primal problem: an
        independent check, slower by two orders of magnitude.

    Returns
    -------
    AnchorGeometry
        Unpacks as capacity, radius, dimension.

    Raises
    ------
    ValueError
        If shapes do not match, a value is not finite, the margin is negative, or the solver is
        unknown.
    ModuleNotFoundError
        If ``solver="cvxopt"`` and cvxopt is not installed.

    Examples
    --------
    A single point is Gardner's perceptron: its capacity at margin 0 is 2.

    >>> import numpy as np
    >>> gaussians = np.random.default_rng(0).standard_normal((100_000, 2))
    >>> capacity, radius, dimension = anchor_geometry(np.zeros((1, 1)), gaussians)
    >>> round(capacity, 2), radius, dimension
    (2.01, 0.0, 0.0)

    The two ends of a segment; 1 / alpha = 1/2 + 2 arctan(R) / pi.

    >>> segment = anchor_geometry([[1.0], [-1.0]], gaussians)
    >>> bool(abs(segment.capacity - 1.0) < 3 * segment.capacity_stderr)
    True
    """
    return sample_anchors(points, gaussians, margin, solver=solver).geometry()


def sample_anchors(
    points: ArrayLike,
    gaussians: ArrayLike,
    margin: float = 0.0,
    *,
    solver: str = "active_set",
    gram: FloatArray | None = None,
) -> AnchorSamples:
    """Solve every Gaussian sample's quadratic program; arguments as in `anchor_geometry`.

    `gram` is ``points @ points.T``, where the caller already has it.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    gaussians = np.ascontiguousarray(gaussians, dtype=np.float64)
    check_solver(solver)
    check_margin(margin)
    if points.ndim != 2 or 0 in points.shape:
        raise UserError(
            f"points has shape {points.shape}; it must be (m, D): at least one point and one "
            "coordinate, relative to the manifold's center and in units of the center's norm"
        )
    dimension = points.shape[1]
    if gaussians.ndim != 2 or gaussians.shape[1] != dimension + 1 or len(gaussians) < 2:
        raise UserError(
            f"gaussians has shape {gaussians.shape}; for points of shape {points.shape} it must be "
            f"(n_gaussians, {dimension + 1}) with n_gaussians >= 2: one coordinate more than the "
            "points, the center's, last"
        )
    for name, array in (("points", points), ("gaussians", gaussians)):
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise UserError(
                f"{name} holds NaN or infinity in row {bad[0]}; every value must be finite"
            )
    if not points.any():
        return point_samples(gaussians, margin, dimension)
    if gram is None:
        gram = points @ points.T
    largest = float(np.diagonal(gram).max())
    rho = np.sqrt(largest)
    scaled = np.ascontiguousarray(points.T) / rho
    if solver == "cvxopt":
        weights = solve_cvxopt(points, gaussians, margin) * rho
    else:
        weights = solve_gram(gram / largest, scaled, gaussians, margin, rho)
    samples = samples_of_weights(weights, scaled, gaussians, margin, rho)
    hard = np.flatnonzero(~(samples.gap <= GAP_TOLERANCE))
    if solver == "active_set" and len(hard):
        # The Gram matrix squares the condition number, which is too much where points differ by
        # 1e-8 of the spread, or the spread is 1e3. An orthogonal method on the points is not.
        weights[hard] = solve_orthogonal(scaled, gaussians[hard], margin, rho)
        samples = samples_of_weights(weights, scaled, gaussians, margin, rho)
    return samples


def points_from_gram(gram: FloatArray, dimension: int, tolerance: float) -> FloatArray:
    """Points with a given Gram matrix: its Cholesky factor, pivoting on the largest point left.

    Up to ties, the order of the points does not matter: permuted points get permuted rows, so that
    the result for the same Gaussian vectors is the same.

    Parameters
    ----------
    gram : (m, m) array
        Positive semidefinite up to rounding.
    dimension : int
        Number of coordinates D, at least the rank of `gram`; those beyond the rank are 0.
    tolerance : float
        Squared distances below this are rounding.

    Returns
    -------
    (m, D) array
        With ``points @ points.T`` equal to `gram` up to `tolerance`.
    """
    n_points = len(gram)
    factor = np.zeros((dimension, n_points))
    pivoted_cholesky(np.ascontiguousarray(gram), tolerance, np.empty(n_points), factor)
    return factor.T

"""Anchor points of one manifold: thousands of small quadratic programs, solved exactly.

For a manifold with points ``s_j`` (in units of its center's norm, relative to the center), a
margin ``kappa`` and a Gaussian vector ``t`` in ``D + 1`` dimensions, the theory asks for the vector
``v`` nearest to ``t`` with ``(s_j, 1) . v <= -kappa`` for every point. The dual is a nonnegative
least-squares problem in the Gram matrix of the points alone, ::

    min_{lam >= 0}  | sum_j lam_j (s_j, 1) - (t + kappa e_center) |^2 ,

and the *anchor point* of ``t`` is their weighted mean, ``sum_j lam_j s_j / sum_j lam_j``.

The default solver is a primal active-set method in the manner of Lawson and Hanson [3]_, run on the
Gram matrix with the inverse over the active points updated in place. Two things make it exact where
the textbook version is not:

* The center coordinate is kept out of the Gram matrix. Adding its ``1`` to every entry would erase
  the differences between points once the spread falls below 1e-5 of the center's norm. Instead the
  multiplier ``u`` of the center coordinate stays in the system as one more unknown, and the spread
  ``rho`` is scaled out::

      [ -rho^2  1^T ] [u]   [ rho c ]        x = rho lam,  c = t_center + kappa,
      [   1      G  ] [x] = [   B   ],       G = S S^T / rho^2,  B = S t_D / rho.

* The residual of every point is computed afresh from the current solution at every step, and the
  solution is refined against it, so that rounding errors in the inverse do not accumulate.

Every problem's duality gap is then computed from the points themselves, not from the Gram matrix
the solver worked on: it bounds the error of the problem's optimal value, whatever found it.

References
----------
.. [1] S. Chung, D. D. Lee, H. Sompolinsky, "Classification and geometry of general perceptual
   manifolds", Phys. Rev. X 8, 031003 (2018).
.. [2] U. Cohen, S. Chung, D. D. Lee, H. Sompolinsky, "Separability and geometry of object
   manifolds in deep neural networks", Nat. Commun. 11, 746 (2020).
.. [3] C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems" (1974), chapter 23.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.errors import MissingPackageError, UserError

SOLVERS = ("active_set", "cvxopt")

GAP_TOLERANCE = 1e-9
"""A problem whose relative duality gap is larger counts as unconverged."""

_EPS = float(np.finfo(np.float64).eps)
# A residual below this many rounding errors of the terms it is the sum of is zero.
_RESIDUAL_TOLERANCE = 64 * _EPS
# A point whose squared distance from the span of the active points is this small, in units of the
# largest squared point, cannot be told from a point of that span: G itself carries errors of 1 eps.
_DEPENDENCE_TOLERANCE = 16 * _EPS
# Squared distances that agree to this are a tie, which rounding must not decide.
_TIE = 1e-6
# After the residuals of all points are computed, every point enters whose residual is at least this
# fraction of the largest, and still is when its turn comes: most supports only ever grow, and
# computing all residuals is the larger part of a step. 1 would be Lawson and Hanson's rule.
_ENTERING_FRACTION = 0.25
# Steps per point before a problem is given up (its gap then says so). Lawson and Hanson take 3;
# real problems need about 1.3 steps per point of the solution's support.
_STEPS_PER_POINT = 10


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile once per machine: numba keeps the code beside the source or in the user's cache.

    No Python in the loops, so that other threads run, and IEEE division rather than exceptions. The
    callers make the arrays, and the loops are spelled out: array expressions would double the
    compile time.
    """
    options: Any = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba's way to say that it found no folder it may write to
        if function.__name__ == "_factor":  # the first one speaks for all
            warnings.warn(
                f"neither {Path(__file__).parent} nor the user's cache folder is writable: every "
                "process will compile the anchors' solver again, which takes seconds; set "
                "NUMBA_CACHE_DIR to a folder that is",
                RuntimeWarning,
                stacklevel=2,
            )
        return njit(**options)(function)


@dataclass(frozen=True)
class AnchorGeometry:
    """Capacity, radius and dimension of one manifold, as functions of its Gaussian samples.

    Unpacks as ``capacity, radius, dimension``.

    Attributes
    ----------
    capacity, radius, dimension : float
        Eqs. 16, 28 and 29 of [1]_.
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
        the larger of that value and the manifold's mean (a value may come as close to 0 as it
        likes by chance, and then contributes nothing).
    """

    inverse_capacity: NDArray[np.float64]
    squared_deviation: NDArray[np.float64]
    cosine: NDArray[np.float64]
    dimension: int
    gap: NDArray[np.float64]

    def geometry(self) -> AnchorGeometry:
        """Average over the Gaussian samples, with standard errors."""
        n = len(self.gap)
        inverse = float(self.inverse_capacity.mean())
        # No sample touches the manifold's cone (a few samples of a point do so by chance).
        capacity = 1.0 / inverse if inverse > 0 else np.inf
        variance = float(self.squared_deviation.mean())
        cosine = float(self.cosine.mean())
        root_n = np.sqrt(n)
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
        The exact compiled solver, or cvxopt's interior-point method on the primal problem:
        slower by two orders of magnitude, and independent.

    Returns
    -------
    AnchorGeometry
        Unpacks as capacity, radius, dimension.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, a negative margin, an unknown
        solver.
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
    gram: NDArray[np.float64] | None = None,
) -> AnchorSamples:
    """Solve every Gaussian sample's quadratic program; arguments as in `anchor_geometry`.

    Parameters
    ----------
    gram : (m, m) array, optional
        ``points @ points.T`` where the caller already has it.

    Returns
    -------
    AnchorSamples
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
        if not np.isfinite(array).all():
            raise UserError(
                f"{name} holds NaN or infinity in row {int(_first_bad_row(array))}; "
                "every value must be finite"
            )
    if not points.any():
        return _point_samples(gaussians, margin, dimension)
    if gram is None:
        gram = points @ points.T
    largest = float(np.diagonal(gram).max())
    rho = np.sqrt(largest)
    scaled = np.ascontiguousarray(points.T) / rho
    if solver == "cvxopt":
        weights = _solve_cvxopt(points, gaussians, margin) * rho
    else:
        weights = solve_gram(gram / largest, scaled, gaussians, margin, rho)
    samples = _measure(weights, scaled, gaussians, margin, rho)
    hard = np.flatnonzero(~(samples.gap <= GAP_TOLERANCE))
    if solver == "active_set" and len(hard):
        # Points that differ by 1e-8 of the spread, or a spread of 1e3: the Gram matrix squares the
        # condition number. Solve these problems again, orthogonally, on the points themselves.
        weights[hard] = _solve_orthogonal(scaled, gaussians[hard], margin, rho)
        samples = _measure(weights, scaled, gaussians, margin, rho)
    return samples


def points_from_gram(
    gram: NDArray[np.float64], dimension: int, tolerance: float
) -> NDArray[np.float64]:
    """Points with a given Gram matrix: its Cholesky factor, pivoting on the largest point left.

    The factor doesn't depend on the order of the points, up to ties: permuted points get permuted
    rows. So the same Gaussian vectors meet the same manifold whatever the order.

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
    _factor(np.ascontiguousarray(gram), tolerance, np.empty(n_points), factor)
    return factor.T


@_compiled
def _factor(gram, tolerance, left, factor):  # type: ignore[no-untyped-def]
    """Write the transposed factor (D, m) of `points_from_gram`; `left` (m,) is scratch."""
    m = gram.shape[0]
    for j in range(m):
        left[j] = gram[j, j]
    for r in range(min(factor.shape[0], m)):
        pivot = 0
        for j in range(m):
            if left[j] > left[pivot]:
                pivot = j
        if left[pivot] <= tolerance:
            break
        # The last two points of a centered manifold are always equally far: take the larger one.
        least = (1.0 - _TIE) * left[pivot]
        for j in range(m):
            if left[j] >= least and gram[j, j] > gram[pivot, pivot]:
                pivot = j
        for j in range(m):
            factor[r, j] = gram[pivot, j]
        for q in range(r):
            x = factor[q, pivot]
            for j in range(m):
                factor[r, j] -= x * factor[q, j]
        root = math.sqrt(left[pivot])
        for j in range(m):
            # Exactly 0 at earlier pivots, whose distance is used up.
            x = factor[r, j] / root if left[j] > 0.0 else 0.0
            factor[r, j] = x
            left[j] -= x * x
        factor[r, pivot] = root
        left[pivot] = 0.0


def check_solver(solver: str) -> None:
    """Raise ValueError unless `solver` is one of `SOLVERS`."""
    if solver not in SOLVERS:
        raise UserError(f"solver is {solver!r}; choose one of {', '.join(map(repr, SOLVERS))}")


def check_margin(margin: float) -> None:
    """Raise ValueError unless `margin` is finite and nonnegative."""
    if not (np.isfinite(margin) and margin >= 0):
        raise UserError(f"margin is {margin!r}; it must be a finite number, 0 or more")


def _first_bad_row(array: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])


def _point_samples(gaussians: NDArray[np.float64], margin: float, dimension: int) -> AnchorSamples:
    """A manifold without extent: Gardner's perceptron, in closed form."""
    n = len(gaussians)
    inverse = np.maximum(gaussians[:, -1] + margin, 0.0) ** 2
    zero = np.zeros(n)
    return AnchorSamples(inverse, zero, zero, dimension, zero)


@_compiled
def _add_rows(matrix, rows, weights, n, width, out):  # type: ignore[no-untyped-def]
    """``out += sum_a weights[a] matrix[rows[a]]`` over n rows and their first `width` entries.

    Four rows at a time: the rows are short, and passing over `out` is half of the work.
    """
    a = 0
    while a + 3 < n:
        w0 = weights[a]
        w1 = weights[a + 1]
        w2 = weights[a + 2]
        w3 = weights[a + 3]
        i0 = rows[a]
        i1 = rows[a + 1]
        i2 = rows[a + 2]
        i3 = rows[a + 3]
        for j in range(width):
            out[j] += (
                w0 * matrix[i0, j] + w1 * matrix[i1, j] + w2 * matrix[i2, j] + w3 * matrix[i3, j]
            )
        a += 4
    while a < n:
        w0 = weights[a]
        i0 = rows[a]
        for j in range(width):
            out[j] += w0 * matrix[i0, j]
        a += 1


def solve_gram(
    gram: NDArray[np.float64],
    points: NDArray[np.float64],
    gaussians: NDArray[np.float64],
    margin: float,
    rho: float,
) -> NDArray[np.float64]:
    """Solve all samples of one manifold by the active-set method.

    Parameters
    ----------
    gram : (m, m) array, scaled so that its largest diagonal entry is 1
    points : (D, m) array, the points over `rho`
    gaussians : (n, D + 1) array
    margin, rho : float

    Returns
    -------
    (n, m) array
        The dual solution ``x = rho lam`` of each sample. Where no constraint is active, ``-1`` at
        the point that projects furthest on ``t_D``: its weight is 0, but it is the anchor.
    """
    dimension, n_points = points.shape
    weights = np.zeros((len(gaussians), n_points))
    # No more points than the rank of the augmented Gram matrix are ever active, plus the one that
    # enters, plus the center's multiplier.
    size = min(n_points, dimension + 2) + 1
    _solve_all(
        gram,
        points,
        gaussians,
        margin,
        rho,
        weights,
        np.zeros((size, size)),
        np.empty((4, size)),
        np.empty((2, n_points)),
        np.empty(size, dtype=np.int64),
        np.empty(n_points, dtype=np.int64),
        np.arange(dimension),
    )
    return weights


@_compiled
def _solve_all(  # type: ignore[no-untyped-def]
    gram, points, gaussians, margin, rho, weights, factor, small, large, index, state, order
):
    """Write `weights`, as `solve_gram` returns them. `order` counts up; the others are scratch."""
    dimension, m = points.shape
    projection = large[0]
    for i in range(gaussians.shape[0]):
        for j in range(m):
            projection[j] = 0.0
        _add_rows(points, order, gaussians[i], dimension, m, projection)
        height = gaussians[i, dimension] + margin
        _solve_one(gram, projection, height, rho, weights[i], factor, small, large, index, state)


@_compiled
def _start(gram, rho, point, index, factor):  # type: ignore[no-untyped-def]
    """Begin with one active point: the inverse over it and the multiplier."""
    g = gram[point, point]
    determinant = 1.0 + rho * rho * g
    factor[0, 0] = -g / determinant
    factor[0, 1] = 1.0 / determinant
    factor[1, 0] = 1.0 / determinant
    factor[1, 1] = rho * rho / determinant
    index[0] = point  # to be in range; no point is there
    index[1] = point


@_compiled
def _multiply(factor, column, k, image):  # type: ignore[no-untyped-def]
    """``image = inverse @ column`` over k active points; returns ``column @ inverse @ column``.

    The inverse is that over the first point and the multiplier, plus ``row^T row`` of every further
    row of `factor`. Four rows at a time, which are 0 right of the diagonal: the rows are short.
    """
    image[0] = factor[0, 0] * column[0] + factor[0, 1] * column[1]
    image[1] = factor[1, 0] * column[0] + factor[1, 1] * column[1]
    square = image[0] * column[0] + image[1] * column[1]
    for b in range(2, k + 1):
        image[b] = 0.0
    a = 2
    while a + 3 <= k:
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        for b in range(a + 4):
            x = column[b]
            s0 += factor[a, b] * x
            s1 += factor[a + 1, b] * x
            s2 += factor[a + 2, b] * x
            s3 += factor[a + 3, b] * x
        square += s0 * s0 + s1 * s1 + s2 * s2 + s3 * s3
        for b in range(a + 4):
            image[b] += (
                s0 * factor[a, b]
                + s1 * factor[a + 1, b]
                + s2 * factor[a + 2, b]
                + s3 * factor[a + 3, b]
            )
        a += 4
    while a <= k:
        s0 = 0.0
        for b in range(a + 1):
            s0 += factor[a, b] * column[b]
        square += s0 * s0
        for b in range(a + 1):
            image[b] += s0 * factor[a, b]
        a += 1
    return square


@_compiled
def _gather(gram, point, k, index, column):  # type: ignore[no-untyped-def]
    """Column of `point` in the bordered matrix, over k active points."""
    column[0] = 1.0
    for a in range(1, k + 1):
        column[a] = gram[point, index[a]]


@_compiled
def _dot(x, y, k):  # type: ignore[no-untyped-def]
    """Inner product of the first k + 1 entries, in four sums, since one would wait for itself."""
    s0 = 0.0
    s1 = 0.0
    s2 = 0.0
    s3 = 0.0
    a = 0
    while a + 3 <= k:
        s0 += x[a] * y[a]
        s1 += x[a + 1] * y[a + 1]
        s2 += x[a + 2] * y[a + 2]
        s3 += x[a + 3] * y[a + 3]
        a += 4
    while a <= k:
        s0 += x[a] * y[a]
        a += 1
    return (s0 + s1) + (s2 + s3)


@_compiled
def _append(point, distance, k, index, factor, image):  # type: ignore[no-untyped-def]
    """Make `point` active, as number k + 1."""
    scale = 1.0 / math.sqrt(distance)
    for b in range(k + 1):
        factor[k + 1, b] = -image[b] * scale
    factor[k + 1, k + 1] = scale
    index[k + 1] = point


@_compiled
def _rebuild(gram, rho, k, index, factor, solution, column, image, state):  # type: ignore[no-untyped-def]
    """Factor afresh over the k active points. Returns how many stay: dependent ones go."""
    _start(gram, rho, index[1], index, factor)
    stay = np.int64(1)
    for a in range(2, k + 1):
        point = index[a]
        x = solution[a]
        _gather(gram, point, stay, index, column)
        distance = gram[point, point] - _multiply(factor, column, stay, image)
        if distance <= _DEPENDENCE_TOLERANCE:
            state[point] = 0
        else:
            _append(point, distance, stay, index, factor, image)
            stay += 1
            solution[stay] = x
    return stay


@_compiled
def _take_out(leaving, k, index, factor, solution, candidate):  # type: ignore[no-untyped-def]
    """Take out active point number `leaving`, not the first; adapt `candidate` to its absence."""
    # Rotate what the rows below hold of it into its own row.
    for a in range(leaving + 1, k + 1):
        x = factor[leaving, leaving]
        y = factor[a, leaving]
        length = math.sqrt(x * x + y * y)
        c = x / length
        s = y / length
        for b in range(a + 1):
            x = factor[leaving, b]
            y = factor[a, b]
            factor[leaving, b] = c * x + s * y
            factor[a, b] = c * y - s * x
    # That row is now the inverse's column over the root of its diagonal entry.
    amount = candidate[leaving] / factor[leaving, leaving]
    for b in range(k + 1):
        candidate[b] -= amount * factor[leaving, b]
    for a in range(leaving, k):
        index[a] = index[a + 1]
        solution[a] = solution[a + 1]
        candidate[a] = candidate[a + 1]
        for b in range(leaving):
            factor[a, b] = factor[a + 1, b]
        for b in range(leaving, a + 1):
            factor[a, b] = factor[a + 1, b + 1]
        factor[a, a + 1] = 0.0
    for b in range(leaving + 1, k + 1):
        factor[leaving, b] = 0.0


@_compiled
def _solve_one(  # type: ignore[no-untyped-def]
    gram, projection, height, rho, weights, factor, small, large, index, state
):
    """One nonnegative least-squares problem; see the module's docstring for the system.

    Position 0 is the multiplier ``u``; positions 1..k are the active points, whose numbers are in
    ``index``. ``solution`` holds (u, x), ``factor`` the inverse of the bordered matrix as
    `_multiply` says. ``state`` of a point: 0 inactive, 1 active, 2 set aside until the solution
    moves.
    """
    m = gram.shape[0]
    residual = large[1]
    solution = small[0]
    candidate = small[1]
    column = small[2]
    image = small[3]
    first = np.int64(0)
    largest = 0.0
    for j in range(m):
        if projection[j] > projection[first]:
            first = j
        largest = max(largest, abs(projection[j]))
    if rho * projection[first] + height <= 0.0:
        weights[first] = -1.0
        return
    for j in range(m):
        state[j] = 0
    state[first] = 1
    # A plain 1 is a type of its own to numba, for which it would compile every function once more.
    k = np.int64(1)
    _start(gram, rho, first, index, factor)
    determinant = 1.0 + rho * rho * gram[first, first]
    solution[0] = (projection[first] - gram[first, first] * rho * height) / determinant
    solution[1] = rho * (height + rho * projection[first]) / determinant
    # Whether no point was taken out since the factor was built: taking out one that was nearly
    # dependent on the others leaves an error behind that grows with the inverse of their distance.
    fresh = True
    refined = False
    aside = False
    # Points still to look at since all residuals were computed, and how large one must be to enter.
    cursor = m
    threshold = 0.0
    for _ in range(_STEPS_PER_POINT * (m + 2)):
        entering = -1
        best = 0.0
        rebuild = False
        refine = False
        while cursor < m and entering < 0:
            # The next point whose residual was large, if it still is.
            if state[cursor] == 0 and residual[cursor] > threshold:
                _gather(gram, cursor, k, index, column)
                best = projection[cursor] - _dot(solution, column, k)
                if best > threshold:
                    entering = cursor
            cursor += 1
        if entering < 0:
            # Residual of every point, afresh.
            total = 0.0
            for j in range(m):
                residual[j] = projection[j] - solution[0]
            for a in range(1, k + 1):
                total += solution[a]
                column[a] = -solution[a]
            column[0] = 0.0  # the multiplier's position has no point
            _add_rows(gram, index, column, k + 1, m, residual)
            scale = _RESIDUAL_TOLERANCE * (largest + abs(solution[0]) + total)
            # The active points' own residuals should vanish.
            off = 0.0
            for a in range(1, k + 1):
                off = max(off, abs(residual[index[a]]))
            rebuild = off > scale and not fresh
            refine = off > scale and not refined
            if not refine:
                refined = False
                best = scale
                for j in range(m):
                    if state[j] == 0 and residual[j] > best:
                        best = residual[j]
                        entering = j
                if entering < 0:
                    break
                threshold = max(_ENTERING_FRACTION * best, scale)
                cursor = 0
                _gather(gram, entering, k, index, column)
        distance = 0.0
        if entering >= 0:
            # Squared distance of the point from the span of the active ones.
            distance = gram[entering, entering] - _multiply(factor, column, k, image)
            if distance <= _DEPENDENCE_TOLERANCE or k + 2 > factor.shape[0]:
                if fresh:
                    # In the span of the active points to rounding: it cannot help.
                    state[entering] = 2
                    aside = True
                    continue
                rebuild = True
        if rebuild:
            k = _rebuild(gram, rho, k, index, factor, solution, column, image, state)
            fresh = True
            refined = False
            cursor = m
            continue
        if refine:
            # One step of iterative refinement.
            refined = True
            column[0] = rho * height + rho * rho * solution[0] - total
            for a in range(1, k + 1):
                column[a] = residual[index[a]]
            _multiply(factor, column, k, image)
            for a in range(k + 1):
                candidate[a] = solution[a] + image[a]
        else:
            step = best / distance
            for a in range(k + 1):
                candidate[a] = solution[a] - step * image[a]
            _append(entering, distance, k, index, factor, image)
            k += 1
            candidate[k] = step
            solution[k] = 0.0
            state[entering] = 1
        # Move towards the candidate; drop every point whose weight reaches zero on the way.
        moved = False
        while True:
            fraction = 1.0
            leaving = np.int64(0)
            for a in range(1, k + 1):
                if candidate[a] <= 0.0:
                    ratio = solution[a] / (solution[a] - candidate[a])
                    if leaving == 0 or ratio < fraction:
                        fraction = ratio
                        leaving = a
            if leaving == 0:
                for a in range(k + 1):
                    solution[a] = candidate[a]
                moved = True
                break
            if k == 1:
                # One point alone has a positive weight, whatever rounding says.
                break
            moved = moved or fraction > 0.0
            for a in range(k + 1):
                solution[a] += fraction * (candidate[a] - solution[a])
            fresh = False
            state[index[leaving]] = 0
            if leaving > 1:
                _take_out(leaving, k, index, factor, solution, candidate)
                k -= 1
            else:
                # The first point leaves: begin with another.
                for a in range(1, k):
                    index[a] = index[a + 1]
                    solution[a] = solution[a + 1]
                k = _rebuild(gram, rho, k - 1, index, factor, solution, column, image, state)
                column[0] = rho * height
                for a in range(1, k + 1):
                    column[a] = projection[index[a]]
                _multiply(factor, column, k, candidate)
                fresh = True
        if entering >= 0:
            if not moved:
                # Rounding put the entering point out before it moved anything.
                state[entering] = 2
                aside = True
            elif aside:
                # The objective fell: points set aside may help again.
                for j in range(m):
                    if state[j] == 2:
                        state[j] = 0
                aside = False
    for a in range(1, k + 1):
        weights[index[a]] = solution[a]


def _measure(
    weights: NDArray[np.float64],
    points: NDArray[np.float64],
    gaussians: NDArray[np.float64],
    margin: float,
    rho: float,
) -> AnchorSamples:
    """Contributions and duality gaps of all samples, from the points rather than their Gram matrix.

    Takes what `solve_gram` takes and returns.
    """
    n, n_points = weights.shape
    dimension = len(points)
    inverse_capacity, squared_deviation, cosine, gap = np.zeros((4, n))
    _measure_all(
        weights,
        points,
        np.ascontiguousarray(points.T),
        gaussians,
        margin,
        rho,
        np.zeros((n, dimension)),
        np.empty(dimension),
        np.empty(n_points),
        np.empty(dimension),
        np.empty(n_points),
        np.empty(n_points, dtype=np.int64),
        np.arange(dimension),
        inverse_capacity,
        squared_deviation,
        cosine,
        gap,
    )
    if inverse_capacity.any():
        gap /= np.maximum(inverse_capacity, inverse_capacity.mean())
    return AnchorSamples(inverse_capacity, squared_deviation, cosine, dimension, gap)


@_compiled
def _measure_all(  # type: ignore[no-untyped-def]
    weights,
    points,
    rows,
    gaussians,
    margin,
    rho,
    anchors,
    mean,
    slack,
    rest,
    shares,
    support,
    order,
    inverse_capacity,
    squared_deviation,
    cosine,
    gap,
):
    """Write the last four arrays (n,), the gap absolute.

    `rows` is `points` transposed, `order` counts up, `anchors` is 0; the others are scratch.
    With ``w_j = (s_j, 1) . v + kappa`` at ``v = t - sum lam_j (s_j, 1)`` and ``d = max(w, 0)``,
    ``v - d e_center`` is feasible, and the optimal value lies at most
    ``2 (d sum(lam) - lam . w) + d^2`` above the dual value.
    """
    n, m = weights.shape
    dimension = points.shape[0]
    for d in range(dimension):
        mean[d] = 0.0
    for i in range(n):
        height = gaussians[i, dimension] + margin
        total = 0.0
        k = np.int64(0)
        touching = True
        for j in range(m):
            x = weights[i, j]
            if x != 0.0:
                support[k] = j
                k += 1
                total += x
                touching = x > 0.0
        for a in range(k):
            shares[a] = weights[i, support[a]] / total
        _add_rows(rows, support, shares, k, dimension, anchors[i])
        dot = 0.0
        square = 0.0
        norm = 0.0
        for d in range(dimension):
            s = anchors[i, d]
            mean[d] += s / n
            t = gaussians[i, d]
            dot += t * s
            square += s * s
            norm += t * t
        cosine[i] = dot / math.sqrt(square * norm) if square > 0.0 else 0.0
        if not touching:
            continue
        reach = max(rho * dot + height, 0.0)
        inverse_capacity[i] = reach * reach / (1.0 + rho * rho * square)
        if k == 0:
            # The solver gave up.
            gap[i] = np.inf
            continue
        # Slacks over rho; sum(lam) = total / rho.
        center = (height - total / rho) / rho
        for j in range(m):
            slack[j] = center
        for d in range(dimension):
            rest[d] = gaussians[i, d] - total * anchors[i, d]
        _add_rows(points, order, rest, dimension, m, slack)
        worst = 0.0
        along = 0.0
        for j in range(m):
            worst = max(worst, slack[j])
            along += weights[i, j] * slack[j]
        gap[i] = max(2.0 * (worst * total - along) + (rho * worst) ** 2, 0.0)
    for i in range(n):
        for d in range(dimension):
            difference = rho * (anchors[i, d] - mean[d])
            squared_deviation[i] += difference * difference


def _solve_orthogonal(
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
            weights[i] = nnls(augmented, target, maxiter=_STEPS_PER_POINT * n_points)[0]
    return weights


def _solve_cvxopt(
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

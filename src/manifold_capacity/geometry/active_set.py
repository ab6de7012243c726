"""Exact solver of the anchors' quadratic programs: an active-set method on the Gram matrix.

A primal active-set method in the manner of Lawson and Hanson [3]_ that updates the inverse over the
active points in place. Two things make it exact where the textbook version is not:

* The center coordinate is kept out of the Gram matrix. Adding its ``1`` to every entry would erase
  the differences between points once the spread falls below 1e-5 of the center's norm. Instead the
  multiplier ``u`` of the center coordinate is one more unknown, and the spread ``rho`` is scaled
  out::

      [ -rho^2  1^T ] [u]   [ rho c ]        x = rho lam,  c = t_center + kappa,
      [   1      G  ] [x] = [   B   ],       G = S S^T / rho^2,  B = S t_D / rho.

* The residual of every point is recomputed from the current solution at every step, and the
  solution is refined against it, so that rounding errors of the inverse do not accumulate.

References
----------
.. [3] C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems" (1974), chapter 23.
"""

from __future__ import annotations

import numpy as np

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.kernels import (
    add_rows,
    append_point,
    apply_inverse,
    compiled,
    dot_product,
    gather_column,
    inlined,
    remove_point,
    start_active_set,
)

_EPS = float(np.finfo(np.float64).eps)

# A residual below this many rounding errors of the terms it is the sum of is zero.
_RESIDUAL_TOLERANCE = 64 * _EPS

# A point whose squared distance from the span of the active points is this small, in units of the
# largest squared point, counts as lying in that span: G itself carries errors of 1 eps.
_DEPENDENCE_TOLERANCE = 16 * _EPS

# Once the residuals of all points are computed, every point enters whose residual is at least this
# fraction of the largest, and still is when its turn comes: most supports only ever grow, and
# computing all residuals is the larger part of a step. 1 would be Lawson and Hanson's rule.
_ENTERING_FRACTION = 0.25

# Steps per point before a problem is given up (its gap then says so). Lawson and Hanson take 3;
# real problems need about 1.3 steps per point of the solution's support.
STEPS_PER_POINT = 10

# States of a point. One that is set aside may enter again once the solution has moved.
_INACTIVE, _ACTIVE, _SET_ASIDE = 0, 1, 2

# What a step does.
_ENTER, _REFINE, _REBUILD = 0, 1, 2


def solve_gram(
    gram: FloatArray, points: FloatArray, gaussians: FloatArray, margin: float, rho: float
) -> FloatArray:
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


@compiled
def _solve_all(  # type: ignore[no-untyped-def]
    gram, points, gaussians, margin, rho, weights, factor, small, large, index, state, order
):
    """Write `weights`, as `solve_gram` returns them. `order` counts up."""
    dimension, m = points.shape
    projection = large[0]
    for i in range(gaussians.shape[0]):
        for j in range(m):
            projection[j] = 0.0
        add_rows(points, order, gaussians[i], dimension, m, projection)
        height = gaussians[i, dimension] + margin
        _solve_one(gram, height, rho, weights[i], factor, small, large, index, state)


@compiled
def _solve_one(gram, height, rho, weights, factor, small, large, index, state):  # type: ignore[no-untyped-def]
    """One nonnegative least-squares problem; see the module's docstring for the system.

    Position 0 of `index` and of the rows of `small` is the multiplier ``u``, positions 1..k are the
    active points. `factor` holds the inverse over them, as `apply_inverse` describes it.
    """
    m = gram.shape[0]
    solution = small[0]
    candidate = small[1]
    column = small[2]
    image = small[3]
    projection = large[0]
    residual = large[1]
    first = np.int64(0)
    largest = 0.0
    for j in range(m):
        state[j] = _INACTIVE
        if projection[j] > projection[first]:
            first = j
        largest = max(largest, abs(projection[j]))
    if rho * projection[first] + height <= 0.0:
        weights[first] = -1.0
        return
    state[first] = _ACTIVE
    # For a plain 1, numba would compile every function again, for another type.
    k = np.int64(1)
    start_active_set(gram, rho, first, index, factor)
    determinant = 1.0 + rho * rho * gram[first, first]
    solution[0] = (projection[first] - gram[first, first] * rho * height) / determinant
    solution[1] = rho * (height + rho * projection[first]) / determinant
    # Whether no point has left since the factor was built: removing one that was nearly dependent
    # on the others leaves an error behind that grows with the inverse of their distance.
    fresh = True
    refined = False
    any_aside = False
    # Points still to look at since all residuals were computed, and how large one must be to enter.
    cursor = np.int64(m)
    threshold = 0.0
    for _ in range(STEPS_PER_POINT * (m + 2)):
        action = _ENTER
        total = 0.0
        entering = np.int64(-1)
        best = 0.0
        while cursor < m and entering < 0:
            if state[cursor] == _INACTIVE and residual[cursor] > threshold:
                gather_column(gram, cursor, k, index, column)
                best = projection[cursor] - dot_product(solution, column, k)
                if best > threshold:
                    entering = cursor
            cursor += 1
        if entering < 0:
            total, off = _compute_residuals(gram, k, index, projection, residual, solution, column)
            tolerance = _RESIDUAL_TOLERANCE * (largest + abs(solution[0]) + total)
            if off > tolerance and not refined:
                action = _REFINE if fresh else _REBUILD
            else:
                refined = False
                entering, best = _largest_residual(tolerance, state, residual)
                if entering < 0:
                    break
                threshold = max(_ENTERING_FRACTION * best, tolerance)
                cursor = np.int64(0)
                gather_column(gram, entering, k, index, column)
                if off > tolerance and not fresh:
                    action = _REBUILD
        distance = 0.0
        if entering >= 0:
            # Squared distance of the point from the span of the active ones.
            distance = gram[entering, entering] - apply_inverse(factor, column, k, image)
            if distance <= _DEPENDENCE_TOLERANCE or k + 2 > factor.shape[0]:
                if fresh:
                    # In the span of the active points to rounding: it cannot help.
                    state[entering] = _SET_ASIDE
                    any_aside = True
                    continue
                action = _REBUILD
        if action == _REBUILD:
            k = _rebuild(gram, rho, k, factor, index, state, solution, column, image)
            fresh = True
            refined = False
            cursor = np.int64(m)
            continue
        if action == _REFINE:
            # Iterative refinement against the active points' residuals.
            refined = True
            column[0] = rho * height + rho * rho * solution[0] - total
            for a in range(1, k + 1):
                column[a] = residual[index[a]]
            apply_inverse(factor, column, k, image)
            for a in range(k + 1):
                candidate[a] = solution[a] + image[a]
        else:
            step = best / distance
            for a in range(k + 1):
                candidate[a] = solution[a] - step * image[a]
            append_point(entering, distance, k, index, factor, image)
            k += 1
            candidate[k] = step
            solution[k] = 0.0
            state[entering] = _ACTIVE
        # Move to the candidate; every point whose weight reaches zero on the way leaves.
        moved = False
        while True:
            leaving, fraction = _first_to_leave(k, solution, candidate)
            if leaving == 0:
                for a in range(k + 1):
                    solution[a] = candidate[a]
                moved = True
                break
            if k == 1:
                # The weight of a single point is positive; this is a rounding error.
                break
            moved = moved or fraction > 0.0
            for a in range(k + 1):
                solution[a] += fraction * (candidate[a] - solution[a])
            state[index[leaving]] = _INACTIVE
            fresh = leaving == 1
            if leaving > 1:
                remove_point(leaving, k, index, factor, solution, candidate)
                k -= 1
            else:
                # The first point leaves: begin with another.
                for a in range(1, k):
                    index[a] = index[a + 1]
                    solution[a] = solution[a + 1]
                k = _rebuild(gram, rho, k - 1, factor, index, state, solution, column, image)
                column[0] = rho * height
                for a in range(1, k + 1):
                    column[a] = projection[index[a]]
                apply_inverse(factor, column, k, candidate)
        if action == _ENTER and not moved:
            # Rounding removed the entering point before it moved anything.
            state[entering] = _SET_ASIDE
            any_aside = True
        elif action == _ENTER and any_aside:
            # The objective fell: points set aside may help again.
            for j in range(m):
                if state[j] == _SET_ASIDE:
                    state[j] = _INACTIVE
            any_aside = False
    for a in range(1, k + 1):
        weights[index[a]] = solution[a]


@inlined
def _compute_residuals(gram, k, index, projection, residual, solution, column):  # type: ignore[no-untyped-def]
    """Residual of every point, afresh. Returns the sum of weights, and the largest active residual."""
    m = gram.shape[0]
    total = 0.0
    for j in range(m):
        residual[j] = projection[j] - solution[0]
    for a in range(1, k + 1):
        total += solution[a]
        column[a] = -solution[a]
    column[0] = 0.0  # the multiplier's position has no point
    add_rows(gram, index, column, k + 1, m, residual)
    off = 0.0
    for a in range(1, k + 1):
        off = max(off, abs(residual[index[a]]))
    return total, off


@inlined
def _largest_residual(least, state, residual):  # type: ignore[no-untyped-def]
    """The inactive point of the largest residual above `least`, or -1, and that residual."""
    entering = np.int64(-1)
    for j in range(residual.shape[0]):
        if state[j] == _INACTIVE and residual[j] > least:
            least = residual[j]
            entering = j
    return entering, least


@compiled
def _rebuild(gram, rho, k, factor, index, state, solution, column, image):  # type: ignore[no-untyped-def]
    """Factor afresh over the k active points. Returns how many stay: dependent ones leave."""
    start_active_set(gram, rho, index[1], index, factor)
    stay = np.int64(1)
    for a in range(2, k + 1):
        point = index[a]
        x = solution[a]
        gather_column(gram, point, stay, index, column)
        distance = gram[point, point] - apply_inverse(factor, column, stay, image)
        if distance <= _DEPENDENCE_TOLERANCE:
            state[point] = _INACTIVE
        else:
            append_point(point, distance, stay, index, factor, image)
            stay += 1
            solution[stay] = x
    return stay


@inlined
def _first_to_leave(k, solution, candidate):  # type: ignore[no-untyped-def]
    """The point whose weight first reaches zero on the way to the candidate, or 0, and how far."""
    leaving = np.int64(0)
    fraction = 1.0
    for a in range(1, k + 1):
        if candidate[a] <= 0.0:
            ratio = solution[a] / (solution[a] - candidate[a])
            if leaving == 0 or ratio < fraction:
                fraction = ratio
                leaving = a
    return leaving, fraction

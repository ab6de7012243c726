"""The exact solver of the anchors' quadratic programs: an active-set method on the Gram matrix of the points.

It is a primal active-set method in the manner of Lawson and Hanson [3]_, run on the
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

References
----------
.. [3] C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems" (1974), chapter 23.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.geometry.kernels import (
    add_rows,
    append_point,
    apply_inverse,
    compiled,
    dot_product,
    gather_column,
    remove_point,
    start_active_set,
)

_EPS = float(np.finfo(np.float64).eps)

# A residual below this many rounding errors of the terms it is the sum of is zero.
_RESIDUAL_TOLERANCE = 64 * _EPS


# A point whose squared distance from the span of the active points is this small, in units of the
# largest squared point, cannot be told from a point of that span: G itself carries errors of 1 eps.
_DEPENDENCE_TOLERANCE = 16 * _EPS


# After the residuals of all points are computed, every point enters whose residual is at least this
# fraction of the largest, and still is when its turn comes: most supports only ever grow, and
# computing all residuals is the larger part of a step. 1 would be Lawson and Hanson's rule.
_ENTERING_FRACTION = 0.25


# Steps per point before a problem is given up (its gap then says so). Lawson and Hanson take 3;
# real problems need about 1.3 steps per point of the solution's support.
STEPS_PER_POINT = 10


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


@compiled
def _solve_all(  # type: ignore[no-untyped-def]
    gram, points, gaussians, margin, rho, weights, factor, small, large, index, state, order
):
    """Write `weights`, as `solve_gram` returns them. `order` counts up; the others are scratch."""
    dimension, m = points.shape
    projection = large[0]
    for i in range(gaussians.shape[0]):
        for j in range(m):
            projection[j] = 0.0
        add_rows(points, order, gaussians[i], dimension, m, projection)
        height = gaussians[i, dimension] + margin
        _solve_one(gram, projection, height, rho, weights[i], factor, small, large, index, state)


@compiled
def _rebuild(gram, rho, k, index, factor, solution, column, image, state):  # type: ignore[no-untyped-def]
    """Factor afresh over the k active points. Returns how many stay: dependent ones go."""
    start_active_set(gram, rho, index[1], index, factor)
    stay = np.int64(1)
    for a in range(2, k + 1):
        point = index[a]
        x = solution[a]
        gather_column(gram, point, stay, index, column)
        distance = gram[point, point] - apply_inverse(factor, column, stay, image)
        if distance <= _DEPENDENCE_TOLERANCE:
            state[point] = 0
        else:
            append_point(point, distance, stay, index, factor, image)
            stay += 1
            solution[stay] = x
    return stay


@compiled
def _solve_one(  # type: ignore[no-untyped-def]
    gram, projection, height, rho, weights, factor, small, large, index, state
):
    """One nonnegative least-squares problem; see the module's docstring for the system.

    Position 0 is the multiplier ``u``; positions 1..k are the active points, whose numbers are in
    ``index``. ``solution`` holds (u, x), ``factor`` the inverse of the bordered matrix as
    `apply_inverse` says. ``state`` of a point: 0 inactive, 1 active, 2 set aside until the solution
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
    start_active_set(gram, rho, first, index, factor)
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
    for _ in range(STEPS_PER_POINT * (m + 2)):
        entering = -1
        best = 0.0
        rebuild = False
        refine = False
        while cursor < m and entering < 0:
            # The next point whose residual was large, if it still is.
            if state[cursor] == 0 and residual[cursor] > threshold:
                gather_column(gram, cursor, k, index, column)
                best = projection[cursor] - dot_product(solution, column, k)
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
            add_rows(gram, index, column, k + 1, m, residual)
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
                gather_column(gram, entering, k, index, column)
        distance = 0.0
        if entering >= 0:
            # Squared distance of the point from the span of the active ones.
            distance = gram[entering, entering] - apply_inverse(factor, column, k, image)
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
                remove_point(leaving, k, index, factor, solution, candidate)
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
                apply_inverse(factor, column, k, candidate)
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

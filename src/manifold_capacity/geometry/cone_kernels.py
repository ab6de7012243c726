"""Compiled active-set method for projections on cones: nonnegative least squares on a Gram matrix.

The textbook method (Lawson & Hanson, "Solving Least Squares Problems", 1974, chapter 23) lets one
point enter at a time. Here many enter at once, all with a negative weight leave, and the result is
kept if the objective has grown; otherwise fewer enter, and at last one, by the textbook's step. The
Cholesky factor of the active points is kept: rows are appended, and those after the first point
that left are made again. LAPACK does this work, through pointers that callers pass.
"""
# mypy: disable-error-code=no-untyped-def

from __future__ import annotations

import functools

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.kernels import DIGEST, compiled, stored

# A point whose sine of the angle to the span of the active points is less lies in that span.
LEAST_PIVOT = 1e-7
# In units of point and target: a point this much on the wrong side of the plane is on it.
SLACK_TOLERANCE = 1e-11
# Where this part of the target's square is left, the target itself is in the cone.
REST_TOLERANCE = 1e-11
# Points enter whose slack is at least this fraction of the largest, or all if they are few.
_ENTERING_FRACTION = 0.3
_FEW = 0.1
# At most this many, per active point; and so many at first, per point.
_GROWTH = 0.7
_FIRST = 0.02
# Layers of networks and clouds took up to 47; near the edge of the cone's inside, 1,000 were not enough.
_MOST_STEPS = 100
_TRIED = 8


@functools.cache
def lapack_pointers() -> tuple[int, int, int]:
    """Addresses of dpotrf, dtrsm and dsyrk, as arguments: a constant address could not be stored."""
    return (
        get_cython_function_address("scipy.linalg.cython_lapack", "dpotrf"),
        get_cython_function_address("scipy.linalg.cython_blas", "dtrsm"),
        get_cython_function_address("scipy.linalg.cython_blas", "dsyrk"),
    )


@intrinsic
def _call(typing, address, arguments):
    """Call a Fortran subroutine with the addresses of its arguments."""

    def generate(context, builder, signature, values):
        word = context.get_value_type(types.intp)
        kind = cgutils.ir.FunctionType(cgutils.voidptr_t, [word] * arguments.count).as_pointer()
        unpacked = cgutils.unpack_tuple(builder, values[1], arguments.count)
        builder.call(builder.inttoptr(values[0], kind), unpacked)
        return context.get_dummy_value()

    return types.void(address, arguments), generate


class Workspace:
    """Scratch of one thread, for up to `n_points` points of which `rank` are active at most."""

    def __init__(self, n_points: int, rank: int) -> None:
        self.factor = np.empty((rank + 1, rank + 1))
        self.index = np.empty((3, n_points + 1), dtype=np.int64)
        self.values = np.empty((3, n_points + 1))
        # What LAPACK takes by address: letters, numbers, sizes.
        self.letters = np.frombuffer(b"LUTN", dtype=np.uint8).copy()
        self.numbers = np.array([1.0, -1.0])
        self.sizes = np.empty(5, dtype=np.int32)

    def project(
        self,
        gram: FloatArray,
        signs: FloatArray,
        target: FloatArray,
        guess: FloatArray,
        weights: FloatArray,
        slack: FloatArray,
        enough: int,
    ) -> int:
        """Project one target on the cone of the points multiplied by `signs`, by the kept factor.

        Parameters
        ----------
        gram : (n, n) array
            Inner products of the points, of unit length.
        signs : (n,) array
            1 or -1.
        target : (n,) array
            Inner products of the signed points with the target, of unit length.
        guess : (n,) array
            Points to begin with, those above 0; better ones larger.
        weights, slack : (n,) array
            Results: weights of the signed points, 0 at first; inner products of the signed points
            with what is left of the target.
        enough : int
            Give up once more points than this are active.

        Returns
        -------
        int
            Number of active points, which are independent.
        """
        lapack = (self.letters, self.numbers, self.sizes, *lapack_pointers())
        scratch = (self.factor, self.index, self.values)
        return int(_project(gram, signs, target, guess, weights, slack, enough, *scratch, lapack))


@compiled
def _extend(gram, signs, active, start, stop, factor, lapack):
    """Append rows `start` to `stop` to the lower factor. Returns how many rows are then right.

    That is `stop`, or the number of the first point in the span of those before it.
    """
    letters, numbers, sizes, potrf, trsm, syrk = lapack
    width = factor.shape[1]
    for a in range(start, stop):
        i = active[a]
        for b in range(a + 1):
            j = active[b]
            factor[a, b] = gram[i, j] * signs[i] * signs[j]
    # To Fortran, the lower factor by rows is an upper factor by columns.
    lower, upper, transposed, plain = (
        letters.ctypes.data,
        letters.ctypes.data + 1,
        letters.ctypes.data + 2,
        letters.ctypes.data + 3,
    )
    one, minus = numbers.ctypes.data, numbers.ctypes.data + 8
    sizes[0], sizes[1], sizes[2], sizes[3] = start, stop - start, width, 0
    before, added, leading, info = (
        sizes.ctypes.data,
        sizes.ctypes.data + 4,
        sizes.ctypes.data + 8,
        sizes.ctypes.data + 12,
    )
    first = factor.ctypes.data
    rows = first + 8 * start * width
    block = rows + 8 * start
    if start > 0:
        _call(
            trsm,
            (lower, upper, transposed, plain, before, added, one, first, leading, rows, leading),
        )
        _call(
            syrk,
            (upper, transposed, added, before, minus, rows, leading, one, block, leading),
        )
    _call(potrf, (upper, added, block, leading, info))
    right = stop if sizes[3] == 0 else start + sizes[3] - 1
    for a in range(start, right):
        if not factor[a, a] > LEAST_PIVOT:
            return a
    return right


@compiled
def _solve(factor, k, right_side, solution, lapack):
    """Solve for k active points by the factor."""
    letters, numbers, sizes, _, trsm, _ = lapack
    for a in range(k):
        solution[a] = right_side[a]
    sizes[0], sizes[1], sizes[2] = k, 1, factor.shape[1]
    n, single, leading = sizes.ctypes.data, sizes.ctypes.data + 4, sizes.ctypes.data + 8
    lower, upper, transposed, plain = (
        letters.ctypes.data,
        letters.ctypes.data + 1,
        letters.ctypes.data + 2,
        letters.ctypes.data + 3,
    )
    one, first, out = numbers.ctypes.data, factor.ctypes.data, solution.ctypes.data
    for turn in (transposed, plain):
        _call(trsm, (lower, upper, turn, plain, n, single, one, first, leading, out, n))


@compiled
def _restrict(gram, signs, target, trial, k, right, factor, right_side, solution, lapack):
    """Remove points from `trial` until all k left are independent and have positive weights.

    The first `right` rows of the factor are those of the first points. Returns k, the objective,
    and the fewest rows that were kept.
    """
    fewest = right
    while k > 0:
        while right < k:
            right = _extend(gram, signs, trial, right, k, factor, lapack)
            if right < k:  # leave out the dependent point
                k -= 1
                for a in range(right, k):
                    trial[a] = trial[a + 1]
        for a in range(k):
            right_side[a] = target[trial[a]]
        _solve(factor, k, right_side, solution, lapack)
        first = k
        for a in range(k - 1, -1, -1):
            if not solution[a] > 0.0:
                first = a
        if first == k:
            break
        stay = first
        for a in range(first, k):
            if solution[a] > 0.0:
                trial[stay] = trial[a]
                right_side[stay] = -solution[a]
                stay += 1
        # Large weights first: those that leave next are probably at the end.
        order = np.argsort(right_side[first:stay])
        tail = trial[first:stay].copy()
        for a in range(stay - first):
            trial[first + a] = tail[order[a]]
        k = stay
        right = first
        fewest = min(fewest, right)
    objective = 0.0
    for a in range(k):
        objective += right_side[a] * solution[a]
    return k, objective, fewest


@compiled
def _one_point(gram, signs, target, trial, k, factor, current, right_side, solution, lapack):
    """Lawson and Hanson's step: the last of k points enters, others leave on the way.

    `current` holds feasible weights. Returns k and the objective; 0 points if nothing could move.
    """
    for _ in range(k + 1):
        if _extend(gram, signs, trial, 0, k, factor, lapack) < k:
            return 0, 0.0
        for a in range(k):
            right_side[a] = target[trial[a]]
        _solve(factor, k, right_side, solution, lapack)
        step = 1.0
        for a in range(k):
            if solution[a] <= 0.0:
                step = min(step, current[a] / (current[a] - solution[a]))
        if step == 1.0:
            objective = 0.0
            for a in range(k):
                objective += right_side[a] * solution[a]
            return k, objective
        stay = 0
        for a in range(k):
            moved = current[a] + step * (solution[a] - current[a])
            if solution[a] > 0.0 or moved > 1e-15:
                trial[stay] = trial[a]
                current[stay] = moved
                stay += 1
        if stay == k or stay == 0:
            return 0, 0.0
        k = stay
    return 0, 0.0


@compiled
def _find_slack(gram, signs, target, active, weights, k, slack):
    """Inner products of all signed points with what is left of the target."""
    n = len(target)
    for i in range(n):
        slack[i] = 0.0
    a = 0
    while a + 3 < k:
        i0, i1, i2, i3 = active[a], active[a + 1], active[a + 2], active[a + 3]
        w0, w1 = signs[i0] * weights[i0], signs[i1] * weights[i1]
        w2, w3 = signs[i2] * weights[i2], signs[i3] * weights[i3]
        for i in range(n):
            slack[i] += (w0 * gram[i0, i] + w1 * gram[i1, i]) + (
                w2 * gram[i2, i] + w3 * gram[i3, i]
            )
        a += 4
    while a < k:
        i0 = active[a]
        w0 = signs[i0] * weights[i0]
        for i in range(n):
            slack[i] += w0 * gram[i0, i]
        a += 1
    for i in range(n):
        slack[i] = target[i] - signs[i] * slack[i]


@stored
def _project(
    gram, signs, target, guess, weights, slack, enough, factor, index, values, lapack, _=DIGEST
):
    n = len(target)
    active, trial, entering = index[0], index[1], index[2]
    right_side, solution, current = values[0], values[1], values[2]
    most = factor.shape[0] - 1
    # For a plain 0, numba would compile every function again, for another type.
    k = np.int64(0)  # active points
    right = np.int64(0)  # rows of the factor that are those of the active points
    best = 0.0
    guessed = False
    for i in range(n):
        slack[i] = target[i]
        guessed = guessed or guess[i] > 0.0
    steps = 0
    while steps < _MOST_STEPS:
        # Points on the wrong side of the plane, the worst first.
        worst = 0.0
        few = 0
        for i in range(n):
            if weights[i] == 0.0 and slack[i] > SLACK_TOLERANCE:
                few += 1
                worst = max(worst, slack[i])
        if few == 0:
            break
        steps += 1
        least = max(SLACK_TOLERANCE, _ENTERING_FRACTION * worst)
        limit = max(int(_GROWTH * k), int(_FIRST * n), 16)
        if few <= _FEW * k:
            least = SLACK_TOLERANCE
        ranked = slack
        if guessed:
            ranked = guess
            least = 0.0
            limit = n
        found = 0
        for i in range(n):
            if weights[i] == 0.0 and ranked[i] > least:
                entering[found] = i
                right_side[found] = -ranked[i]
                found += 1
        order = np.argsort(right_side[:found])
        limit = min(limit, found, most - k)
        guessed = False
        accepted = False
        while limit > 0:
            for a in range(k):
                trial[a] = active[a]
            for e in range(limit):
                trial[k + e] = entering[order[e]]
            size, objective, right = _restrict(
                gram, signs, target, trial, k + limit, right, factor, right_side, solution, lapack
            )
            accepted = objective > best * (1.0 + 1e-14)
            if accepted or limit == 1:
                break
            limit = max(1, limit // 8)
        if not accepted and k < most:
            # One point alone; the next, where the worst lies in the span of the active points.
            right = np.int64(0)
            for e in range(min(found, _TRIED)):
                for a in range(k):
                    trial[a] = active[a]
                    current[a] = weights[active[a]]
                trial[k] = entering[order[e]]
                current[k] = 0.0
                size, objective = _one_point(
                    gram, signs, target, trial, k + 1, factor, current, right_side, solution, lapack
                )
                # A slack of 1e-8 adds 1e-16 to the objective, which rounding hides: this step is
                # right by construction.
                accepted = objective > best * (1.0 - 1e-13)
                if accepted:
                    break
        if not accepted:
            break
        for a in range(k):
            weights[active[a]] = 0.0
        for a in range(size):
            active[a] = trial[a]
            weights[trial[a]] = solution[a]
        k = right = size
        best = max(best, objective)
        _find_slack(gram, signs, target, active, weights, k, slack)
        if best > 1.0 - REST_TOLERANCE or k > enough:
            break
    return k

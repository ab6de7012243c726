"""Compiled operations on the small matrices of one quadratic program."""
# mypy: disable-error-code=no-untyped-def

from __future__ import annotations

import functools
import hashlib
import logging
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys

logger = logging.getLogger(__name__)

# Squared distances that agree to this are a tie, which rounding must not decide.
_TIE = 1e-6

# Compiled code releases the GIL, so that other threads run, and divides as IEEE does. Callers
# allocate the arrays, and loops are spelled out: array expressions would double the compile time.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# For functions that compiled code alone calls: they are compiled and stored with their callers.
compiled = njit(**_OPTIONS)

# Written into the callers: in the innermost loop, calls cost 10 %.
inlined = njit(inline="always", **_OPTIONS)

# numba compiles a stored function again when its own file changes, but not when this one does, from
# which it calls functions. So stored functions of other files take this digest as the default of an
# argument: defaults are part of the signature by which numba finds stored code.
DIGEST = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


class _Stored(FunctionCache):
    """The code of a function that numba has stored."""

    def load_overload(self, sig, target_context):
        # Before it looks, numba imports all that it would compile with, which takes as long as numba
        # itself. To run stored code it needs its runtime only; where it compiles, it imports the rest.
        target_context.refresh = functools.partial(rtsys.initialize, target_context)
        try:
            code = super().load_overload(sig, target_context)
        finally:
            del target_context.refresh
        if code is None:
            say_compiling()
        return code


@functools.cache  # once per process
def say_compiling() -> None:
    """Say why the first call takes seconds: in the log, or without one on standard error."""
    text = "compiling the solver, once on this machine: about 10 seconds"
    if logger.hasHandlers():
        logger.info(text)
    else:
        print(f"manifold_capacity: {text}", file=sys.stderr)


def stored(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile once per machine: numba stores the code beside the source or in the user's cache."""
    dispatcher = njit(**_OPTIONS)(function)
    try:
        dispatcher._cache = _Stored(function)  # as njit(cache=True) does, with a class of its own
    except RuntimeError:  # numba found no folder that it may write to
        if function.__name__ == "pivoted_cholesky":  # warn once, at the first function
            warnings.warn(
                f"neither {Path(__file__).parent} nor the user's cache folder is writable: every "
                "process will compile the anchors' solver again, which takes seconds; set "
                "NUMBA_CACHE_DIR to a folder that is",
                RuntimeWarning,
                stacklevel=2,
            )
    return dispatcher


@stored
def pivoted_cholesky(gram, tolerance, left, factor):
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
        # The last two points of a centered manifold are equally far: take the one of larger norm.
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


@compiled
def add_rows(matrix, rows, weights, n, width, out):
    """``out += sum_a weights[a] matrix[rows[a]]`` over n rows and their first `width` entries.

    Four rows at a time: the rows are short, and passing over `out` is half of the work.
    """
    a = 0
    while a + 3 < n:
        w0, w1, w2, w3 = weights[a], weights[a + 1], weights[a + 2], weights[a + 3]
        i0, i1, i2, i3 = rows[a], rows[a + 1], rows[a + 2], rows[a + 3]
        for j in range(width):
            out[j] += (
                w0 * matrix[i0, j] + w1 * matrix[i1, j] + w2 * matrix[i2, j] + w3 * matrix[i3, j]
            )
        a += 4
    while a < n:
        w0, i0 = weights[a], rows[a]
        for j in range(width):
            out[j] += w0 * matrix[i0, j]
        a += 1


@compiled
def start_active_set(gram, rho, point, index, factor):
    """Begin with one active point: the inverse over it and the multiplier."""
    g = gram[point, point]
    determinant = 1.0 + rho * rho * g
    factor[0, 0] = -g / determinant
    factor[0, 1] = factor[1, 0] = 1.0 / determinant
    factor[1, 1] = rho * rho / determinant
    index[0] = index[1] = point  # position 0 holds no point, but a valid index


@compiled
def apply_inverse(factor, column, k, image):
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
        s0 = s1 = s2 = s3 = 0.0
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


@compiled
def gather_column(gram, point, k, index, column):
    """Column of `point` in the bordered matrix, over k active points."""
    column[0] = 1.0
    for a in range(1, k + 1):
        column[a] = gram[point, index[a]]


@compiled
def dot_product(x, y, k):
    """Inner product of the first k + 1 entries; four sums avoid a dependency chain."""
    s0 = s1 = s2 = s3 = 0.0
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


@compiled
def append_point(point, distance, k, index, factor, image):
    """Make `point` active, as number k + 1."""
    scale = 1.0 / math.sqrt(distance)
    for b in range(k + 1):
        factor[k + 1, b] = -image[b] * scale
    factor[k + 1, k + 1] = scale
    index[k + 1] = point


@compiled
def remove_point(leaving, k, index, factor, solution, candidate):
    """Remove active point number `leaving`, not the first, also from `candidate`."""
    # Rotate its entries in the rows below into its own row.
    for a in range(leaving + 1, k + 1):
        x, y = factor[leaving, leaving], factor[a, leaving]
        length = math.sqrt(x * x + y * y)
        c, s = x / length, y / length
        for b in range(a + 1):
            x, y = factor[leaving, b], factor[a, b]
            factor[leaving, b] = c * x + s * y
            factor[a, b] = c * y - s * x
    # That row is now the inverse's column, divided by the square root of its diagonal entry.
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

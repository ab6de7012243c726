"""Arguments that several functions take: their types and checks."""

from __future__ import annotations

import operator
import os

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError

FloatArray = NDArray[np.float64]
# Beyond it the radius and dimension, whose effect falls with the margin, drown in rounding errors.
MOST_MARGIN = 1e6
SOLVERS = ("active_set", "cvxopt")


def check_solver(solver: str) -> None:
    if solver not in SOLVERS:
        raise UserError(f"solver is {solver!r}; choose one of {', '.join(map(repr, SOLVERS))}")


def check_margin(margin: float) -> None:
    if not 0 <= margin <= MOST_MARGIN:
        raise UserError(f"margin is {margin!r}; it must be a number from 0 to {MOST_MARGIN:,.0f}")


def check_integer(name: str, value: object, *, least: int, other: str = "") -> int:
    """`value` as an int; ValueError unless it is a whole number, `least` or more."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least:
        choice = f" or {other}" if other else ""
        raise UserError(f"{name} is {value!r}; it must be a whole number, {least} or more{choice}")
    return number


def check_threads(threads: int | None) -> int:
    """`threads`, or the number of CPUs that this process may use if it is None."""
    if threads is not None:
        return check_integer("threads", threads, least=1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

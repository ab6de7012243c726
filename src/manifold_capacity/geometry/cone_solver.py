"""Projections of Gaussian vectors on the cones of labeled points, each solved exactly.

For labels ``y`` and a vector ``t``, ::

    p = argmin over the cone of |p - t|^2 ,   p = sum_j lam_j y_j x_j ,   lam >= 0 .

``t - p`` is the vector nearest to ``t`` with ``y_j <x_j, v> <= 0`` for all points: a quadratic
program whose dual is nonnegative least squares on the Gram matrix. Its active set is first guessed
for many vectors at once where that pays, by the alternating direction method of multipliers in
single precision, then found exactly for each (`manifold_capacity.geometry.cone_kernels`).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack, solve_triangular
from threadpoolctl import threadpool_limits

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.cone_kernels import REST_TOLERANCE, Workspace
from manifold_capacity.geometry.cones import Points
from manifold_capacity.geometry.other_solvers import project_cvxopt, project_points
from manifold_capacity.geometry.simulated import separable
from manifold_capacity.logs import Progress

# Samples that share a guess, and that are solved before anything is decided by them.
CHUNK = 16
_PILOT = 4

# A guess pays where the work of a few factorizations, k^3 for k active points, exceeds this many
# times that of a step of the guess; and near the rank, where the active points change very often.
_GUESS_FROM = 40
_NEAR_RANK = 0.9
# The guess ends when its support changes by less than this fraction within _GUESS_STEPS.
_SETTLED = 0.004
_GUESS_STEPS = 8
_MOST_GUESS_STEPS = 480
_RELAXATION = 1.7
# Penalties of 0.2 to 0.8 were the fastest on all layers (benchmarks/glue.py --parts penalty).
_PENALTY = 0.3
# Solutions whose squared norm may be off by more are polished.
_POLISHED = 1e-9
# Corrections of a guess that has the vector inside the cone.
_TRIES = 5

# A point this near the plane, in units of point and vector, may lie on it; one this near the span
# of the active points (squared) lies in it.
_ON_PLANE = 1e-8
_IN_SPAN = 1e-9


@dataclass(frozen=True)
class Projections:
    """Projections p of K vectors t on cones of n unit points.

    Attributes
    ----------
    weights : (K, n) array
        Nonnegative weights of the labeled unit points; their sum is p.
    norm2 : (K,) array
        ``|p|^2``.
    support : (K,) int array
        Dimension of the face of the cone that p is in.
    unique : (K,) bool array
        Whether no other weights give p.
    separable : (K,) bool array
        Whether a hyperplane separates the labels.
    gap : (K,) array
        Bound of the error of ``|p|^2``.
    violation : (K,) array
        Largest violation of the conditions of optimality, in units of ``|x| |t|``.
    """

    weights: FloatArray
    norm2: FloatArray
    support: NDArray[np.int64]
    unique: NDArray[np.bool_]
    separable: NDArray[np.bool_]
    gap: FloatArray
    violation: FloatArray

    def __add__(self, other: Projections) -> Projections:
        """Those of both, one after the other."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Projections(*map(np.concatenate, pairs))


@dataclass
class _One:
    """Projection p of one unit vector t."""

    weights: FloatArray
    slack: FloatArray  # inner products of the labeled points with t - p
    norm2: float
    rest: float  # |t - p|^2
    unique: bool = False

    @property
    def in_cone(self) -> bool:
        """Whether p = t."""
        return self.rest <= 10 * REST_TOLERANCE

    @property
    def gap(self) -> float:
        """Bound of the error of the squared norm.

        Inside the cone, p = t is the optimum. Elsewhere, with slacks ``w``, the objective is above
        the optimum by ``lam* . w - lam . w`` at most, where ``lam`` is taken for ``lam*``: each
        weight on the active points, their sum for any other.
        """
        outside = float(self.slack[self.weights == 0].max(initial=0.0))
        on = float(self.weights @ np.abs(self.slack))
        gap = 2 * (outside * float(self.weights.sum()) + on)
        return min(gap, abs(self.rest)) if self.in_cone else gap

    @property
    def violation(self) -> float:
        """Largest violation of the conditions of optimality."""
        return float(np.where(self.weights > 0, np.abs(self.slack), self.slack).max(initial=0.0))


class ConeSolver:
    """Solver for any number of labels and vectors on the same points."""

    def __init__(self, points: Points, threads: int, solver: str = "active_set") -> None:
        self._points, self._threads, self._solver = points, threads, solver
        self._thin = points.rank < len(points.gram) / 2
        self._penalty = 0.0
        self._guesses: bool | None = None
        self._workspaces: SimpleQueue[Workspace] = SimpleQueue()
        for _ in range(threads):
            self._workspaces.put(Workspace(len(points.gram), points.rank))

    def project(self, labels: FloatArray, vectors: FloatArray) -> Projections:
        """Project vectors (K, r), in the points' coordinates, on the cones of labels (K, P).

        The result does not depend on the number of threads, to the last bit.
        """
        norms = np.sqrt((vectors**2).sum(axis=1))
        signs = np.ascontiguousarray(labels[:, self._points.owner])
        with (
            threadpool_limits(limits=1, user_api="blas"),
            ThreadPoolExecutor(self._threads) as pool,
        ):
            targets = np.concatenate(
                [
                    signs[part] * (vectors[part] @ self._points.coordinates.T)
                    for part in chunks(len(labels))
                ]
            )
            targets /= norms[:, None]
            guesses = self._guess_all(signs, targets, pool)
            progress, results = Progress("projecting", len(signs), "samples"), []
            for one in pool.map(self._solve, signs, targets, guesses):
                results.append(one)
                progress.update(1)
            separable = self._separable(results, signs, targets, pool)
        squares = norms**2
        return Projections(
            weights=np.array([one.weights for one in results]) * norms[:, None],
            norm2=np.array([one.norm2 for one in results]) * squares,
            support=np.array([self._support(one) for one in results]),
            unique=np.array([one.unique for one in results]),
            separable=separable,
            gap=np.array([one.gap for one in results]) * squares,
            violation=np.array([one.violation for one in results]),
        )

    def _solve(self, signs: FloatArray, target: FloatArray, guess: FloatArray) -> _One:
        if self._solver == "cvxopt":
            weights, slack = project_cvxopt(signs[:, None] * self._points.coordinates, target)
        else:
            inside = self._find_inside(signs, target, guess)
            weights, slack, _ = inside or self._active_set(signs, target, guess)
        norm2 = float(weights @ target)
        one = _One(weights, slack, norm2, 1 - 2 * norm2 + float(weights @ (target - slack)))
        if one.gap > _POLISHED:
            one = self._polish(one, signs, target)
        if one.gap > _POLISHED or self._support(one) > self._points.rank:
            one = self._by_points(one, signs, target)
        # Inside a cone of more points than directions, any vector is many sums of points.
        simplex = self._points.rank == len(target)
        one.unique = simplex if one.in_cone else self._is_unique(one.weights, one.slack)
        return one

    def _support(self, one: _One) -> int:
        return self._points.rank if one.in_cone else int((one.weights > 0).sum())

    def _polish(self, one: _One, signs: FloatArray, target: FloatArray) -> _One:
        """The same active points, by an orthogonal method on the points themselves.

        The Gram matrix squares the condition number: too much where weights are huge.
        """
        active = np.flatnonzero(one.weights)
        if not 0 < len(active) <= self._points.rank:
            return one
        columns = (signs[active, None] * self._points.coordinates[active]).T
        basis, triangle = np.linalg.qr(columns)
        vector = self._points.coordinates_of((signs * target)[None])[0]
        found = solve_triangular(triangle, basis.T @ vector)
        if not found.min() > 0:
            return one
        left = vector - basis @ (basis.T @ vector)
        left -= basis @ (basis.T @ left)
        weights = np.zeros_like(one.weights)
        weights[active] = found
        rest = float(left @ left)
        return _One(weights, signs * (self._points.coordinates @ left), 1 - rest, rest)

    def _by_points(self, one: _One, signs: FloatArray, target: FloatArray) -> _One:
        """A new solution on the points themselves, whose condition is not squared: slow."""
        points = signs[:, None] * self._points.coordinates
        vector = self._points.coordinates_of((signs * target)[None])[0]
        weights = project_points(points, vector)
        if inside := self._find_inside(signs, target, weights):
            weights = inside[0]
        left = vector - weights @ points
        rest = float(left @ left)
        other = self._polish(_One(weights, points @ left, 1 - rest, rest), signs, target)
        return min(
            one, other, key=lambda found: (self._support(found) > self._points.rank, found.gap)
        )

    def _active_set(
        self, signs: FloatArray, target: FloatArray, guess: FloatArray, enough: int | None = None
    ) -> tuple[FloatArray, FloatArray, int]:
        n = len(target)
        weights, slack = np.zeros(n), np.empty(n)
        workspace = self._workspaces.get()
        try:
            k = workspace.project(
                self._points.gram,
                signs,
                target,
                guess,
                weights,
                slack,
                n if enough is None else enough,
            )
        finally:
            self._workspaces.put(workspace)
        return weights, slack, k

    def _is_unique(self, weights: FloatArray, slack: FloatArray) -> bool:
        """Whether no further point on the plane lies in the span of those with a weight."""
        extra = np.flatnonzero((np.abs(slack) < _ON_PLANE) & (weights == 0))
        active = np.flatnonzero(weights)
        if not len(extra) or not len(active):
            return not len(extra)
        gram = self._points.gram
        try:
            factor = np.linalg.cholesky(gram[np.ix_(active, active)])
        except np.linalg.LinAlgError:  # to rounding, the active points depend on each other
            return False
        inside = solve_triangular(factor, gram[np.ix_(active, extra)], lower=True)
        return bool((1 - (inside**2).sum(axis=0)).min() > _IN_SPAN)

    def _find_inside(
        self, signs: FloatArray, target: FloatArray, guess: FloatArray
    ) -> tuple[FloatArray, FloatArray, int] | None:
        """Weights of a vector inside the cone, from a guess that nearly gives it by many points."""
        points, weights = self._points, guess.copy()
        for _ in range(_TRIES):
            positive = np.flatnonzero(weights)
            if len(positive) <= points.rank:
                return None
            rows = signs[positive, None] * points.coordinates[positive]
            left = points.coordinates_of((signs * target)[None])[0] - weights[positive] @ rows
            if left @ left <= REST_TOLERANCE:
                total = (signs * weights) @ points.coordinates
                return weights, target - signs * (points.coordinates @ total), len(positive)
            try:
                factor = np.linalg.cholesky(rows.T @ rows)
            except np.linalg.LinAlgError:
                return None
            weights[positive] += rows @ cho_solve((factor, True), left)
            weights = np.maximum(weights, 0)
        return None

    def _separable(
        self, results: list[_One], signs: FloatArray, targets: FloatArray, pool: ThreadPoolExecutor
    ) -> NDArray[np.bool_]:
        """Whether a hyperplane separates each sample's labels: whether its cone holds no line."""
        # A cone that holds t and -t, for t in general position, holds everything.
        doubtful = [k for k, one in enumerate(results) if one.in_cone and not one.unique]
        guesses = self._guess_all(signs[doubtful], -targets[doubtful], pool)
        opposite = pool.map(self._solve, signs[doubtful], -targets[doubtful], guesses)
        deciding = {**dict(enumerate(results)), **dict(zip(doubtful, opposite, strict=True))}
        return np.array(list(pool.map(self._holds_no_line, deciding.values(), signs)))

    def _holds_no_line(self, one: _One, signs: FloatArray) -> bool:
        # Opposite points would be on the plane, and their weights arbitrary.
        if one.unique or one.in_cone:
            return one.unique
        plane = np.flatnonzero(np.abs(one.slack) < _ON_PLANE)
        return separable(signs[plane, None] * self._points.coordinates[plane])

    def _guess_all(
        self, signs: FloatArray, targets: FloatArray, pool: ThreadPoolExecutor
    ) -> FloatArray:
        """Guessed weights (K, n); 0 where a guess would cost more than it saves."""
        nothing = np.zeros_like(targets)
        if self._solver == "cvxopt":
            return nothing
        if self._guesses is None:
            step = len(targets[0]) * min(len(targets[0]), 2 * self._points.rank)
            enough = int(min((_GUESS_FROM * step) ** (1 / 3), _NEAR_RANK * self._points.rank))
            pilot = pool.map(
                lambda s, t, g: self._active_set(s, t, g, enough)[2],
                signs[:_PILOT],
                targets[:_PILOT],
                nothing[:_PILOT],
            )
            self._guesses = max(pilot) > enough
            if self._guesses:
                self._prepare_guesses()
        if not self._guesses or not len(signs):
            return nothing
        parts = [*chunks(len(signs))]
        return np.concatenate(
            list(pool.map(lambda part: self._guess(signs[part], targets[part]), parts))
        )

    def _prepare_guesses(self) -> None:
        """Inverse of the Gram matrix plus a penalty, which serves all labels.

        The penalty is a fraction of the harmonic mean of the squared distances of each point from
        the span of those before it, in a subset of about the size of a support.
        """
        gram, n = self._points.gram, len(self._points.gram)
        size = max(1, int(min(n / 2, 0.9 * self._points.rank)))
        chosen = np.random.default_rng(0).permutation(n)[:size]
        part = gram[np.ix_(chosen, chosen)]
        part[np.diag_indices(size)] += max(1e-12, 8 * size * np.finfo(float).eps)
        pivots = np.linalg.cholesky(part).diagonal() ** 2
        self._penalty = _PENALTY / float((1 / pivots).mean())
        # By the points themselves (Woodbury's formula) where they have few coordinates.
        coordinates = self._points.coordinates
        shifted = coordinates.T @ coordinates if self._thin else gram.copy()
        shifted[np.diag_indices(len(shifted))] += self._penalty
        # In place: symmetric matrices are their own transposes, as Fortran sees them.
        factor, _ = lapack.dpotrf(shifted.T, lower=0, overwrite_a=1, clean=0)
        inverse, _ = lapack.dpotri(factor, lower=0, overwrite_c=1)
        lower = inverse.T.astype(np.float32)
        self._inverse = np.tril(lower) + np.tril(lower, -1).T
        self._single: Any = coordinates.astype(np.float32) if self._thin else None

    def _apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors (K, n) times the penalty and the inverse of the Gram matrix plus the penalty."""
        if self._single is None:
            return (vectors @ self._inverse) * np.float32(self._penalty)
        return vectors - ((vectors @ self._single) @ self._inverse) @ self._single.T

    def _guess(self, signs: FloatArray, targets: FloatArray) -> FloatArray:
        over = np.float32(_RELAXATION)
        y, right_side = signs.astype(np.float32), (targets / self._penalty).astype(np.float32)
        weights, multipliers = np.zeros_like(right_side), np.zeros_like(right_side)
        support = weights > 0
        found, rows = np.empty_like(right_side), np.arange(len(signs))
        for step in range(1, _MOST_GUESS_STEPS + 1):
            solution = self._apply(y * (right_side + weights - multipliers))
            solution *= y * over
            solution -= (over - 1) * weights
            multipliers += solution
            np.maximum(multipliers, 0, out=weights)
            multipliers -= weights
            if step % _GUESS_STEPS == 0:
                before, support = support, weights > 0
                going = (support != before).sum(axis=1) > _SETTLED * support.sum(axis=1)
                found[rows] = weights
                if not going.any():
                    break
                if not going.all():
                    state = (y, right_side, weights, multipliers, support, rows)
                    y, right_side, weights, multipliers, support, rows = (x[going] for x in state)
        return found.astype(np.float64)


def chunks(n: int) -> Iterator[slice]:
    """Slices of so many samples, CHUNK at a time."""
    for start in range(0, n, CHUNK):
        yield slice(start, start + CHUNK)

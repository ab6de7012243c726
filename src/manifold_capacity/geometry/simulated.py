"""Simulated capacity: separate randomly labeled manifolds, as a check of the theory.

Project all points on n random directions, label the manifolds at random, and test whether a
hyperplane through the origin (the mean of all points) separates the labels. From the number n_c at
which it does half of the time follows P / n_c, which the mean-field capacity predicts for many
manifolds (Cohen et al., Nat. Commun. 11, 746 (2020), Methods).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.active_set import solve_gram
from manifold_capacity.geometry.arguments import FloatArray, check_integer, check_threads
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError, Source

# Squares of larger values, summed, could overflow.
_LARGEST = 1e140

# Variances below this fraction of the largest are rounding.
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class SimulatedCapacity:
    """Result of `simulated_capacity`.

    Attributes
    ----------
    capacity, capacity_stderr : float
        P / n_c and its standard error over repetitions. NaN if some labels were not separable in
        all directions that the points span: the capacity is then about ``n_manifolds / rank`` or
        less.
    critical_features : (n_repetitions,) int array
        Fewest random directions in which each repetition's labels were separable; ``rank + 1`` if
        in none.
    rank : int
        Directions that the points span.
    n_manifolds : int
    """

    capacity: float
    capacity_stderr: float
    critical_features: NDArray[np.int64]
    rank: int
    n_manifolds: int


def simulated_capacity(
    manifolds: Any, *, n_repetitions: int = 40, seed: int = 0, threads: int | None = None
) -> SimulatedCapacity:
    r"""Capacity by bisection over random projections.

    Each repetition draws directions and labels, which are not all the same. Labels that are separable in the first n directions
    stay separable in more, so bisection finds the fewest, and :math:`n_c = \langle n \rangle - 1/2`
    (P / 2 for points, by Cover's theorem). A quadratic program finds the point of the labeled hull
    that is nearest to the origin. The hyperplane perpendicular to it decides.

    Parameters
    ----------
    manifolds : P arrays (n_points_i, n_features), or one (P, n_points, n_features)
        As in `manifold_capacity.measure`. The time grows with the third power of n_c and the
        square of the number of all points: seconds for 1,000 points, hours for 10,000.
    n_repetitions : int
        Repetitions, 2 at least.
    seed : int
        Seed of directions and labels. Repetition i's depend on the seed and i alone.
    threads : int, optional
        Threads that run repetitions in parallel; by default one per CPU that this process may use.

    Raises
    ------
    DegenerateManifoldsError
        If there is one manifold only, or all points are the same.
    ValueError
        If a value is NaN, infinite or huge, or a shape or argument is invalid.

    Examples
    --------
    Points have the capacity 2.

    >>> import numpy as np
    >>> points = np.random.default_rng(0).standard_normal((40, 1, 60))
    >>> simulated = simulated_capacity(points, n_repetitions=100)
    >>> bool(abs(simulated.capacity - 2) < 3 * simulated.capacity_stderr)
    True
    """
    n_repetitions = check_integer("n_repetitions", n_repetitions, least=2)
    seed = check_integer("seed", seed, least=0)
    threads = check_threads(threads)
    points, owner = _coordinates(manifolds)
    n_manifolds = int(owner[-1]) + 1
    rank = points.shape[1]

    def critical(repetition: int) -> int:
        rng = np.random.default_rng([seed, repetition])
        labels = rng.choice([-1.0, 1.0], size=n_manifolds)
        while abs(labels.sum()) == n_manifolds:  # around their mean, points are on no one side
            labels = rng.choice([-1.0, 1.0], size=n_manifolds)
        projected = labels[owner][:, None] * (points @ rng.standard_normal((rank, rank)))
        # Not separable in `low` directions, separable in `high`.
        low, high = 0, rank + 1
        while high - low > 1:
            middle = (low + high) // 2
            if separable(projected[:, :middle]):
                high = middle
            else:
                low = middle
        return high

    # Each thread its own BLAS calls.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        found = np.array(list(pool.map(critical, range(n_repetitions))), dtype=np.int64)
    n_critical = found.mean() - 0.5
    capacity = n_manifolds / n_critical
    stderr = capacity / n_critical * found.std(ddof=1) / np.sqrt(n_repetitions)
    if (found > rank).any():
        capacity = stderr = np.float64(np.nan)
    return SimulatedCapacity(float(capacity), float(stderr), found, rank, n_manifolds)


def _coordinates(manifolds: Any) -> tuple[FloatArray, NDArray[np.int64]]:
    """All points (M, rank) relative to their mean, in orthonormal axes; their manifolds (M,)."""
    source = Source(manifolds)
    if len(source.sizes) == 1:
        raise DegenerateManifoldsError(
            "there is one manifold only, and nothing to separate it from; give at least two", (0,)
        )
    owner = np.repeat(np.arange(len(source.sizes)), source.sizes)
    gram = np.zeros((source.n_total, source.n_total))
    largest = 0.0
    for points in source.centered_blocks(source.sizes):
        largest = max(largest, float(np.abs(points).max()))
        if largest > _LARGEST:
            raise UserError(
                f"points are up to {largest:.0e} from their mean, and the squares would overflow: "
                "divide all activations by a common scale, which changes no capacity"
            )
        gram += points @ points.T
    if largest == 0:
        raise DegenerateManifoldsError(
            "all points of all manifolds are the same (a dead or constant layer?), so they cannot be "
            "separated; leave the layer out",
            tuple(range(len(source.sizes))),
        )
    values, vectors = np.linalg.eigh(gram / gram.diagonal().max())
    kept = values > _RANK_TOLERANCE * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept]), owner


def separable(points: FloatArray) -> bool:
    """Whether all points (M, n), multiplied by their labels, lie on one side of the origin.

    Solves min_{lam >= 0} |Z^T lam|^2 + (1 - sum lam)^2, which is 0 if the hull of the points Z
    contains the origin. Otherwise Z^T lam is the normal of a hyperplane with all points on its
    positive side. It is the anchors' problem for t = 0 and margin 1.
    """
    gram = points @ points.T
    largest = gram.diagonal().max()
    scaled = np.ascontiguousarray(points.T) / np.sqrt(largest)
    weights = solve_gram(
        gram / largest, scaled, np.zeros((1, len(scaled) + 1)), 1.0, float(np.sqrt(largest))
    )
    normal = scaled @ weights[0]
    return bool((normal @ scaled).min() > 0)

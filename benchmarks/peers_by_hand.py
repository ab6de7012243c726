"""What one would write with scikit-learn and scipy, for benchmarks/peers.py."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from geometry import cvxopt_as_the_reference, nnls_by_scipy
from geometry_inputs import timed
from numpy.typing import NDArray
from peers_runs import Table
from scipy.optimize import linprog, minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from manifold_capacity import measure_glue
from manifold_capacity.geometry.anchors import points_from_gram, sample_anchors
from manifold_capacity.geometry.measure import find_centers, gaussian_samples
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.geometry.simulated import separable

FloatArray = NDArray[np.float64]
Decide = Callable[[FloatArray, FloatArray], bool]
EXACT = "linprog"


def by_linprog(points: FloatArray, labels: FloatArray) -> bool:
    """Whether there are weights that give every point its label, with a margin of 1."""
    signed = -labels[:, None] * points
    found = linprog(np.zeros(points.shape[1]), signed, -np.ones(len(points)), bounds=(None, None))
    return found.status == 0


def by_classifier(classifier: Any, points: FloatArray, labels: FloatArray) -> bool:
    return classifier.fit(points, labels).score(points, labels) == 1


def by_ours(points: FloatArray, labels: FloatArray) -> bool:
    return separable(labels[:, None] * points)


def critical_features(points: FloatArray, decide: Decide, n_repetitions: int) -> NDArray[np.int64]:
    """Fewest random directions in which random labels of the manifolds (P, m, N) are separable, by bisection."""
    n_manifolds, m, n_features = points.shape
    flat = points.reshape(-1, n_features) - points.mean(axis=(0, 1))
    flat /= np.sqrt((flat**2).sum(axis=1).mean())
    found = []
    for repetition in range(n_repetitions):
        rng = np.random.default_rng(repetition)
        signs = rng.permutation(np.where(np.arange(n_manifolds) < n_manifolds // 2, 1.0, -1.0))
        labels = np.repeat(signs, m)
        low, high = 0, min(n_features, len(flat) - 1)
        projected = flat @ rng.standard_normal((n_features, high))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if decide(projected[:, :middle], labels) else (middle, high)
        found.append(high)
    return np.array(found)


def capacity_by_hand(table: Table, setting: str, points: FloatArray, n_repetitions: int) -> None:
    """Bisection with each decision on the same labels and projections, and the exact capacity of the same labels."""
    no_bias = {"fit_intercept": False, "C": 1e6}
    everyone: dict[str, Decide] = {
        "bisection, this package's solver": by_ours,
        f"bisection, scipy {EXACT}": by_linprog,
        "bisection, sklearn LinearSVC": partial(by_classifier, LinearSVC(loss="hinge", **no_bias)),
        "bisection, sklearn LogisticRegression": partial(
            by_classifier, LogisticRegression(max_iter=1000, **no_bias)
        ),
    }
    n_manifolds = len(points)
    rows: dict[str, tuple[float, float, float, float]] = {}
    exact = partial(measure_glue, points, dichotomies="balanced", threads=1)
    exact(n_samples=2)  # loads the compiled code
    wall, cpu, glue = timed(partial(exact, n_samples=300), 1)
    rows["this package, measure_glue"] = (wall[0], cpu[0], glue.capacity, glue.capacity_stderr)
    critical = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for who, decide in everyone.items():
            wall, cpu, critical[who] = timed(
                partial(critical_features, points, decide, n_repetitions), 1
            )
            mean = critical[who].mean() - 0.5
            error = critical[who].std(ddof=1) / np.sqrt(n_repetitions) / mean
            rows[who] = (wall[0], cpu[0], n_manifolds / mean, n_manifolds / mean * error)
    for who, (wall_s, cpu_s, capacity, error) in rows.items():
        table.add(setting, who, "wall", [wall_s], "s")
        table.add(setting, who, "CPU", [cpu_s], "s")
        table.add(setting, who, "capacity", [capacity], "", error=error)
        at_one_percent = cpu_s * (error / capacity / 0.01) ** 2
        table.add(setting, who, "CPU for a standard error of 1 %", [at_one_percent], "s")
    right = critical[f"bisection, scipy {EXACT}"]
    for who, found in critical.items():
        table.notes.append(
            f"{setting}: {who}: {np.mean(found != right):.0%} of {n_repetitions} repetitions end at another n than "
            f"with {EXACT}, by {np.mean(found - right):.1f} directions on average"
        )


def slsqp(points: FloatArray, gaussians: FloatArray) -> FloatArray:
    """1 / alpha of each sample by scipy's general solver with constraints."""
    augmented = np.column_stack([points, np.ones(len(points))])
    constraints = {"type": "ineq", "fun": lambda v: -augmented @ v, "jac": lambda v: -augmented}
    values = np.zeros(len(gaussians))
    for i, t in enumerate(gaussians):
        found = minimize(
            lambda v, t=t: 0.5 * ((v - t) ** 2).sum(),
            np.zeros(len(t)),
            jac=lambda v, t=t: v - t,
            constraints=constraints,
            method="SLSQP",
            options={"maxiter": 1000, "ftol": 1e-12},
        )
        values[i] = 2 * found.fun
    return values


def two_by_two(points: FloatArray, gaussians: FloatArray) -> FloatArray:
    pairs = gaussians.reshape(-1, 2, gaussians.shape[1])
    return np.concatenate([sample_anchors(points, t).inverse_capacity for t in pairs])


def anchor_problems(
    table: Table, setting: str, manifolds: FloatArray, repeats: int, n_problems: int
) -> None:
    """The quadratic programs of one manifold: microseconds each, and the largest difference of 1 / alpha."""
    moments = moments_from_arrays(manifolds)
    _, projected = find_centers(moments, seed=0)
    gram = projected.deviation_gram[0]
    dimension = min(moments.n_features, manifolds.shape[1])
    points = points_from_gram(gram, dimension, 1e-13 * gram.diagonal().max())
    gaussians = gaussian_samples(0, n_problems)(0, dimension)
    everyone = {
        "this package": lambda s, t: sample_anchors(s, t).inverse_capacity,
        "this package, two in a call": two_by_two,
        "scipy nnls": nnls_by_scipy,
        "cvxopt": cvxopt_as_the_reference,
        "scipy minimize, SLSQP": slsqp,
    }
    right = everyone["this package"](points, gaussians)
    for who, solve in everyone.items():
        wall, cpu, values = timed(partial(solve, points, gaussians), repeats)
        table.add(setting, who, "wall, a problem", [1e6 * x / n_problems for x in wall], "us")
        table.add(setting, who, "CPU, a problem", [1e6 * x / n_problems for x in cpu], "us")
        table.notes.append(
            f"{setting}: {who}: 1 / alpha differs by {np.abs(values - right).max() / right.mean():.0e} "
            "of the mean at most"
        )

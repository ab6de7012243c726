"""`measure_glue`: exact capacity, and its geometry, of manifolds with any correlations.

GLUE ("Geometry Linked to Untangling Efficiency") of Chou, Le, Wang & Chung, arXiv:2503.18114 (2025),
with the exact decomposition of Chou, Kirsanov, Yang & Chung, arXiv:2603.01879 (2026), appendix B.3.
The formulas are from public transcriptions and implementations, not from the papers themselves.

For labels ``y`` and a Gaussian vector ``t``, the projection ``p`` of ``t`` on the cone of the labeled
points has the mean square ``N_crit``, the cone's statistical dimension, and capacity is
``P / N_crit``. It equals, label by label, the expectation of
`manifold_capacity.geometry.simulated.simulated_capacity` without its noise: ``n_c - 1/2`` has the mean
``N_crit`` (conic kinematic formula; Amelunxen, Lotz, McCoy & Tropp, *Inf. Inference* 3, 224 (2014)).
On each face of the cone, ``|p|^2`` is a chi-square of the face's dimension k, so ``mean(k)`` estimates
the same with less noise (McCoy & Tropp, *Discrete Comput. Geom.* 51, 926 (2014)).

Everything follows from the points' Gram matrix, at any number of features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.errors import CaveatWarning, UserError, warn_caller
from manifold_capacity.geometry import arguments
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.cone_solver import CHUNK, ConeSolver, Projections
from manifold_capacity.geometry.cones import Points, different_points
from manifold_capacity.geometry.find_caveats import glue_caveats
from manifold_capacity.geometry.glue_measures import (
    ALIGNMENTS,
    RAW_ALIGNMENTS,
    Measured,
    inverse_of_mean,
    mean_and_error,
    measure_projections,
)
from manifold_capacity.geometry.glue_result import Glue, GlueSamples
from manifold_capacity.geometry.glue_samples import (
    Draw,
    check_dichotomies,
    given_dichotomies,
    project_points,
)
from manifold_capacity.geometry.gram import Gram, gram_from_arrays
from manifold_capacity.geometry.manifolds import as_manifolds

INACTIVE = ("zero", "skip")

# Quantities need this share of samples with unique weights; below the second, there is a warning.
_LEAST_UNIQUE, _MOST_UNIQUE = 0.5, 0.95
# n_samples="auto" begins with so many; further ones come in multiples of CHUNK.
_FIRST_SAMPLES = 4 * CHUNK


def measure_glue(
    manifolds: Any,
    labels: Any = None,
    *,
    drop_nan: bool = False,
    n_samples: int | Literal["auto"] = 300,
    dichotomies: str | ArrayLike = "random",
    center: bool = True,
    inactive: str = "zero",
    relative_error: float = 0.01,
    max_samples: int = 3_000,
    seed: int = 0,
    solver: str = "active_set",
    threads: int | None = None,
) -> Glue:
    """Exact capacity of a set of manifolds, and its effective radius, dimension and alignments.

    Parameters
    ----------
    manifolds : P arrays (n_points_i, ...), or one (P, n_points, n_features); with labels (n_samples, ...)
    labels : (n_samples,), optional
    drop_nan : bool
        As in `manifold_capacity.measure`.
    n_samples : int or "auto"
        Samples of labels and Gaussian vectors, 2 at least. Capacity is known well from few where it
        is small; the other quantities need about 200, since the anchor centers come from the same
        samples. "auto" draws until the standard error of the capacity is at most `relative_error`
        of it, or `max_samples` are drawn (then it warns).
    dichotomies : {"random", "balanced", "one_vs_rest"} or (n_samples, P) array
        Labels of the manifolds, which a readout has to tell apart, in each sample: 1 or -1 at random for each manifold, but not the same for all (unless
        P is 1); half of them 1; all -1 but one, in turn; or the given.
    center : bool
        Whether points are taken relative to the mean of all, as `manifold_capacity.measure` does.
        Otherwise the mean helps to separate labels, as a bias would.
    inactive : {"zero", "skip"}
        The anchor of a manifold without an active point: 0, as the formulas read; or left out of
        centers, axes and alignments, as some implementations do.
    relative_error : float
        What "auto" aims for.
    max_samples : int
        Where "auto" stops.
    seed : int
        Seed of labels and Gaussian vectors. Sample k's depend on the seed and k alone.
    solver : {"active_set", "cvxopt"}
        The exact compiled solver; or cvxopt's interior-point method, an independent check that is
        slower by orders of magnitude.
    threads : int, optional
        Threads; by default one per CPU that this process may use. The result does not depend on it,
        to the last bit.

    Raises
    ------
    DegenerateManifoldsError
        If all points are the same, or there is a single manifold and `center` is true.
    ValueError
        If a value is NaN, infinite, huge or tiny, or a shape or argument is invalid.
    TypeError
        If a path or a mapping is given instead of arrays.

    Warns
    -----
    CaveatWarning
        For each caveat (`Glue.caveats`): the numbers may mean less than they seem to.
    RuntimeWarning
        If "auto" reached `max_samples`, or `drop_nan` left out points.

    Notes
    -----
    If fewer than half of the samples have unique anchors, quantities other than capacity are NaN. If no labels of the
    first 16 samples can be separated, no more are drawn.

    Memory is about 40 bytes per pair of points. 300 samples of 1,000 points take seconds; of 5,000
    points, seconds at a capacity of 0.4 and minutes near the floor of 2 P / M, where half of the
    points are active; at the edge of separability (5,000 points in 2,050 directions) one or two
    minutes of a core for each of the 16 samples that show it.

    Examples
    --------
    Points have the capacity 2, dimension 1 and radius 1, whatever their number.

    >>> import numpy as np
    >>> from manifold_capacity import measure_glue
    >>> found = measure_glue(np.eye(20)[:, None], center=False, n_samples=500)
    >>> bool(abs(found.capacity - 2) < 3 * found.capacity_stderr)
    True
    >>> found.separability([0, 10, 20]).round(1).tolist()
    [0.0, 0.5, 1.0]
    """
    if isinstance(labels, str) or np.ndim(labels) == 2:
        raise UserError(
            "labels are those of the samples, one for each; those of the manifolds, that a readout has to tell apart, are "
            'given as `dichotomies`: "random", "balanced", "one_vs_rest" or an array'
        )
    _check_options(n_samples, dichotomies, inactive, relative_error, solver)
    threads = arguments.check_threads(threads)
    manifolds = as_manifolds(manifolds, labels, drop_nan=drop_nan)
    gram = gram_from_arrays(manifolds, center=center, threads=threads)
    return glue_from_gram(
        gram,
        n_samples=n_samples,
        dichotomies=dichotomies,
        inactive=inactive,
        relative_error=relative_error,
        max_samples=max_samples,
        seed=seed,
        solver=solver,
        threads=threads,
    )


def glue_from_gram(
    gram: Gram,
    *,
    n_samples: int | Literal["auto"] = 300,
    dichotomies: str | ArrayLike = "random",
    inactive: str = "zero",
    relative_error: float = 0.01,
    max_samples: int = 3_000,
    seed: int = 0,
    solver: str = "active_set",
    threads: int | None = None,
) -> Glue:
    """GLUE from the Gram matrix of all points; arguments, errors and result as in `measure_glue`.

    Examples
    --------
    >>> import numpy as np
    >>> from manifold_capacity.geometry.gram import gram_from_arrays
    >>> gram = gram_from_arrays(np.random.default_rng(0).standard_normal((6, 10, 50)))
    >>> glue_from_gram(gram, n_samples=20).worst_gap < 1e-9
    True
    """
    _check_options(n_samples, dichotomies, inactive, relative_error, solver)
    seed = arguments.check_integer("seed", seed, least=0)
    threads = arguments.check_threads(threads)
    most = arguments.check_integer("max_samples", max_samples, least=2)
    if n_samples != "auto":
        most = arguments.check_integer("n_samples", n_samples, least=2, other="'auto'")
    points = different_points(gram)
    draw = Draw(dichotomies, len(gram.n_points), points.rank, seed, most)
    cones = ConeSolver(points, threads, solver)
    parts = [draw(0, min(CHUNK, most))]
    solved = cones.project(*parts[0])
    aim = relative_error if n_samples == "auto" else 0.0
    n, reached = len(solved.norm2), np.inf
    while n < most and solved.separable.any():
        reached = _relative_error(solved) if n > CHUNK or n_samples != "auto" else np.inf
        if reached <= aim:
            break
        n = most if n_samples != "auto" else _needed(n, reached / aim, most)
        parts.append(draw(len(solved.norm2), n))
        solved += cones.project(*parts[-1])
    if n_samples == "auto" and n == most and not (reached := _relative_error(solved)) <= aim:
        warn_caller(
            f"n_samples='auto' stopped at max_samples = {most} with a relative error of {reached:.2g} "
            f"in the layer's capacity; relative_error asks for {relative_error:g}"
        )
    settings = {
        "dichotomies": dichotomies if isinstance(dichotomies, str) else "given",
        "seed": seed,
    }
    vectors = np.concatenate([vectors for _, vectors in parts])
    projections = vectors @ points.coordinates.T
    return _gather(
        gram, points, projections, solved, inactive, threads, n < most, solver=solver, **settings
    )


def glue_from_samples(
    manifolds: Any,
    dichotomies: ArrayLike,
    gaussians: ArrayLike,
    *,
    center: bool = True,
    inactive: str = "zero",
    solver: str = "active_set",
    threads: int | None = None,
) -> Glue:
    """GLUE from given samples, to compare with other code.

    Parameters
    ----------
    manifolds : P arrays (n_points_i, n_features), or one (P, n_points, n_features)
        As in `measure_glue`.
    dichotomies : (K, P) array
        1 or -1.
    gaussians : (K, n_features) array
        Standard normal vectors in the space of features.
    center, inactive, solver, threads
        As in `measure_glue`, as are errors, warnings and result.
    """
    _check_options(2, dichotomies, inactive, 1.0, solver)
    threads = arguments.check_threads(threads)
    gram = gram_from_arrays(manifolds, center=center, threads=threads)
    points = different_points(gram)
    vectors = np.asarray(gaussians, dtype=np.float64)
    signs = given_dichotomies(dichotomies, len(gram.n_points), len(vectors))
    if vectors.ndim != 2 or vectors.shape[1] != gram.n_features or len(vectors) < 2:
        raise UserError(
            f"gaussians has shape {vectors.shape}; it must be (n_samples, {gram.n_features}): a coordinate "
            "for each feature, and 2 samples at least"
        )
    if not np.isfinite(vectors).all():
        raise UserError("gaussians holds NaN or infinity; every value must be finite")
    projections = project_points(manifolds, vectors, center)[:, points.kept]
    projections /= points.lengths * points.unit
    solved = ConeSolver(points, threads, solver).project(signs, points.coordinates_of(projections))
    settings: dict[str, Any] = {"dichotomies": "given", "seed": None, "solver": solver}
    return _gather(gram, points, projections, solved, inactive, threads, False, **settings)


def _check_options(
    n_samples: Any, dichotomies: Any, inactive: str, relative_error: float, solver: str
) -> None:
    arguments.check_solver(solver)
    check_dichotomies(dichotomies)
    if not isinstance(dichotomies, str) and n_samples == "auto":
        raise UserError(
            "dichotomies are given as an array, so n_samples must be its length, not 'auto'"
        )
    if inactive not in INACTIVE:
        raise UserError(f"inactive is {inactive!r}; choose one of {', '.join(map(repr, INACTIVE))}")
    if not relative_error > 0:
        raise UserError(f"relative_error is {relative_error!r}; it must be above 0")


def _relative_error(solved: Projections) -> float:
    mean, error = mean_and_error(solved.support)
    return float(error / mean) if mean > 0 else np.inf


def _needed(n: int, excess: float, most: int) -> int:
    """Samples to draw in all, as the error falls with the square root, in whole chunks."""
    wanted = max(_FIRST_SAMPLES if n == CHUNK else 1.05 * n * excess**2, n + CHUNK)
    return min(int(np.ceil(min(wanted, most) / CHUNK)) * CHUNK, most)


def _gather(
    gram: Gram,
    points: Points,
    projections: FloatArray,
    solved: Projections,
    inactive: str,
    threads: int,
    stopped: bool,
    **settings: Any,
) -> Glue:
    """The result, and its warnings."""
    n_manifolds = len(gram.n_points)
    share = float(solved.unique.mean())
    measured = _unmeasured(n_manifolds)
    problem = ""
    if share < _MOST_UNIQUE:
        inseparable = 1 - float(solved.separable.mean())
        problem = (
            f"only {share:.0%} of {len(solved.norm2)} samples have unique anchors ({inseparable:.0%} have labels "
            "that no hyperplane separates)"
        )
        if stopped and not solved.separable.any():
            problem += ", so no more were drawn"
        if share < _LEAST_UNIQUE:
            problem += ": quantities other than capacity are NaN"
    kept = np.flatnonzero(solved.unique)
    active = np.full((1, n_manifolds), np.nan)
    if share >= _LEAST_UNIQUE and len(kept) > 1:
        part = _select(solved, kept)
        measured = measure_projections(points, projections[kept], part, inactive, threads)
        active = (part.weights > 0) @ points.indicator
    norm2 = solved.norm2
    gaps = solved.gap / np.maximum(np.maximum(norm2, norm2.mean()), np.finfo(float).tiny)
    values = dict(measured.values)
    values["capacity"] = _scalars(inverse_of_mean(solved.support, n_manifolds))
    values["capacity_published"] = _scalars(inverse_of_mean(norm2, n_manifolds))
    numbers: dict[str, Any] = {name: mean for name, (mean, _) in values.items()}
    numbers |= {f"{name}_stderr": error for name, (_, error) in values.items()}
    capacities = inverse_of_mean(active) if len(active) > 1 else (active[0], active[0])
    glue = Glue(
        **numbers,
        manifold_capacity=capacities[0],
        manifold_capacity_stderr=capacities[1],
        manifold_dimension=measured.dimensions[0],
        manifold_dimension_stderr=measured.dimensions[1],
        manifold_active_fraction=np.where(np.isnan(active), np.nan, active > 0).mean(axis=0),
        n_points=gram.n_points.copy(),
        capacity_floor=n_manifolds / min(len(points.kept) / 2, points.rank),
        samples=GlueSamples(
            norm2, solved.support, solved.unique, solved.separable, gaps, solved.violation
        ),
        problem=problem,
        n_features=gram.n_features,
        classes=gram.classes,
        rank=points.rank,
        centered=gram.centered,
        inactive=inactive,
        **settings,
    )
    texts = glue_caveats(glue)
    if gram.outlier:
        texts = {"outlier": gram.outlier, **texts}
    for text in texts.values():
        warn_caller(text, CaveatWarning)
    return replace(glue, caveat_texts=texts)


def _unmeasured(n_manifolds: int) -> Measured:
    names = (*ALIGNMENTS, *RAW_ALIGNMENTS, "radius", "dimension", "utility")
    unknown = np.full(n_manifolds, np.nan)
    return Measured({name: (np.nan, np.nan) for name in names}, (unknown, unknown))


def _select(solved: Projections, kept: NDArray[np.int64]) -> Projections:
    return Projections(**{name: values[kept] for name, values in vars(solved).items()})


def _scalars(pair: tuple[FloatArray, FloatArray]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])

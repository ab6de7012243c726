"""`measure`: the moments, the centers' low-rank structure, and every manifold's anchor points.

Quantities and equations are those of Chung, Lee & Sompolinsky, *Phys. Rev. X* 8, 031003 (2018) and
Cohen, Chung, Lee & Sompolinsky, *Nat. Commun.* 11, 746 (2020).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from manifold_capacity.errors import CaveatWarning, UserError, warn_caller
from manifold_capacity.geometry import arguments, centers, near_ranks
from manifold_capacity.geometry.anchors import points_from_gram, sample_anchors
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.centers import (
    CenterStructure,
    CoincidingCentersError,
    ProjectedMoments,
)
from manifold_capacity.geometry.certificates import AnchorGeometry
from manifold_capacity.geometry.find_caveats import center_variance_ratio, find_caveats
from manifold_capacity.geometry.labeled import Naming
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError, as_manifolds
from manifold_capacity.geometry.moments import Moments, moments_from_arrays
from manifold_capacity.geometry.result import GAUSSIAN_STDERR, Geometry, gather_geometry

Draw = Callable[[int, int], FloatArray]  # from a manifold's index and its D: (n_gaussians, D + 1)

# Gaussian samples that n_gaussians="auto" begins with.
_FIRST_GAUSSIANS = 100

# A projected center shorter than this fraction of the center is rounding error: its square is a
# difference of squares that are known to 1e-16.
_CENTER_TOLERANCE = 1e-7

# Centers of independent samples have a variance near what chance gives, or more. With each class's mean
# subtracted in float32, 1e-12 of that is left, or 1e-10 if values are at 20 standard deviations from 0.
_CENTER_VARIANCE = 1e-8


def measure(
    manifolds: Any,
    labels: Any = None,
    *,
    drop_nan: bool = False,
    margin: float = 0.0,
    n_gaussians: int | Literal["auto"] = 300,
    relative_error: float = 0.01,
    max_gaussians: int = 10_000,
    seed: int = 0,
    solver: str = "active_set",
    threads: int | None = None,
) -> Geometry:
    """Capacity, radius, dimension and center correlation of a set of manifolds.

    Parameters
    ----------
    manifolds : P arrays (n_points_i, ...), or one (P, n_points, n_features); with labels (n_samples, ...)
        Points of each manifold, or with `labels` one array of all samples. Further axes are flattened into
        features, as of images (n, channels, height, width); only one array without labels must have three
        axes. NumPy arrays, tables of pandas, tensors of torch (on any device, of any precision), lists, zarr
        arrays, or anything with ``__array__``.
    labels : (n_samples,), optional
        Label of each sample, a number or text; also a column of pandas. The samples of a label are a
        manifold, in the order of the sorted labels, which are its name in `Geometry.to_frame` and in messages.
    drop_nan : bool
        Leave out points that have NaN or infinite values (otherwise an error that lists them), and warn of how
        many of which class.
    margin : float
        Margin kappa, 0 or more, in units of a center's norm.
    n_gaussians : int or "auto"
        Gaussian samples per manifold, 2 at least. "auto" draws until their standard error of the
        layer's capacity is at most `relative_error` of it, or `max_gaussians` are drawn (then it
        warns).
    relative_error : float
        What "auto" aims for.
    max_gaussians : int
        Where "auto" stops.
    seed : int
        Seed of the Gaussian samples. Those of manifold i depend on the seed and i only, and n
        samples are the first n of a larger number.
    solver : {"active_set", "cvxopt"}
        See `manifold_capacity.geometry.anchors.anchor_geometry`.
    threads : int, optional
        Threads that solve manifolds in parallel; by default one per CPU that this process may use.
        The result does not depend on it, to the last bit.

    Raises
    ------
    DegenerateManifoldsError
        If the manifolds have no geometry: a single manifold, all centers the same (a dead layer, or
        each class's mean subtracted), a center at the mean of all.
    ValueError
        If a value is NaN, infinite or so large that float64 cannot hold it beside the others, or a
        shape or argument is invalid.
    TypeError
        If a path or a mapping is given instead of arrays.

    Warns
    -----
    CaveatWarning
        For each caveat (`Geometry.caveats`): the numbers may mean less than they seem to.
    RuntimeWarning
        If "auto" reached `max_gaussians`, or `drop_nan` left out points.

    Notes
    -----
    The radius is the reference's with ``n - 1`` in place of ``n``: the mean anchor is estimated
    from the same Gaussian samples, which makes the reference's radius too small by ``1 / (2 n)``,
    0.17 % at 300 samples, more than the samples' standard error in a layer of 100 manifolds.

    Examples
    --------
    Clouds around random centers: the closer the points to their center, the larger the capacity.

    >>> import numpy as np
    >>> from manifold_capacity import measure
    >>> rng = np.random.default_rng(0)
    >>> centers, noise = rng.standard_normal((8, 1, 50)), rng.standard_normal((8, 20, 50))
    >>> wide, narrow = measure(centers + noise), measure(centers + 0.1 * noise)
    >>> bool((wide.capacity < narrow.capacity).all())
    True
    >>> wide.summary()["n_unconverged"]
    0

    The same points as one array, with a label each:

    >>> points, labels = (centers + noise).reshape(160, 50), np.repeat(list("abcdefgh"), 20)
    >>> labeled = measure(points, labels)
    >>> bool((labeled.capacity == wide.capacity).all()), labeled.to_frame().index[0]
    (True, 'a')
    """
    return geometry_from_moments(
        moments_from_arrays(as_manifolds(manifolds, labels, drop_nan=drop_nan)),
        margin=margin,
        n_gaussians=n_gaussians,
        relative_error=relative_error,
        max_gaussians=max_gaussians,
        seed=seed,
        solver=solver,
        threads=threads,
    )


def geometry_from_moments(
    moments: Moments,
    *,
    margin: float = 0.0,
    n_gaussians: int | Literal["auto"] = 300,
    relative_error: float = 0.01,
    max_gaussians: int = 10_000,
    seed: int = 0,
    solver: str = "active_set",
    threads: int | None = None,
) -> Geometry:
    """Geometry of manifolds from their moments; arguments, errors and result as in `measure`.

    Examples
    --------
    >>> import numpy as np
    >>> from manifold_capacity.geometry.moments import moments_from_arrays
    >>> points = np.random.default_rng(0).standard_normal((4, 10, 50))
    >>> moments = moments_from_arrays(points)
    >>> at_margin_1 = geometry_from_moments(moments, margin=1.0).summary()
    >>> at_margin_0 = geometry_from_moments(moments, margin=0.0).summary()
    >>> at_margin_1["capacity"] < at_margin_0["capacity"]
    True
    """
    arguments.check_margin(margin)
    arguments.check_solver(solver)
    seed = arguments.check_integer("seed", seed, least=0)
    threads = arguments.check_threads(threads)
    structure, projected = find_centers(moments, seed)

    def solve_for_range(other: ProjectedMoments) -> list[AnchorGeometry]:
        draw = gaussian_samples(seed, near_ranks.N_GAUSSIANS)
        return solve_manifolds(moments, other, draw, margin, "active_set", threads)

    settings = {"centers": structure, "margin": float(margin), "seed": seed, "solver": solver}

    def geometry(n: int) -> Geometry:
        draw = gaussian_samples(seed, n)
        results = solve_manifolds(moments, projected, draw, margin, solver, threads)
        return gather_geometry(moments, projected, results, n_gaussians=n, **settings)

    if n_gaussians != "auto":
        n = arguments.check_integer("n_gaussians", n_gaussians, least=2, other="'auto'")
        result = geometry(n)
    else:
        max_gaussians = arguments.check_integer("max_gaussians", max_gaussians, least=2)
        if not relative_error > 0:
            raise UserError(f"relative_error is {relative_error!r}; it must be above 0")
        result = _until(geometry, relative_error, max_gaussians)
    layer = result.summary()
    ranges = near_ranks.near_rank_ranges(moments, structure, layer, solve_for_range)
    result = dataclasses.replace(result, rank_ranges=ranges)
    texts = find_caveats(moments, result)
    for text in texts.values():
        warn_caller(text, CaveatWarning)
    return dataclasses.replace(result, caveat_texts=texts)


def _until(geometry: Callable[[int], Geometry], relative_error: float, most: int) -> Geometry:
    """Geometry with as many Gaussian samples as the relative error of the capacity needs."""
    n = min(_FIRST_GAUSSIANS, most)
    while True:
        result = geometry(n)
        summary = result.summary()
        capacity = float(summary["capacity"])
        # Infinite if no sample had an active constraint: nothing is known yet.
        reached = (
            float(summary[f"capacity{GAUSSIAN_STDERR}"]) / capacity if capacity < np.inf else np.inf
        )
        if reached <= relative_error:
            return result
        if n == most:
            warn_caller(
                f"n_gaussians='auto' stopped at max_gaussians = {most} with a relative "
                f"error of {reached:.2g} in the layer's capacity; relative_error asks for "
                f"{relative_error:g}"
            )
            return result
        # The error falls as 1 / sqrt(n), and is itself uncertain. Starting over costs little, and
        # gives the same result as n_gaussians=n.
        ratio = reached / relative_error
        needed = 1.05 * n * ratio * ratio  # infinite, if too large
        n = int(min(max(needed, 1.1 * n + 1), most))


def find_centers(moments: Moments, seed: int) -> tuple[CenterStructure, ProjectedMoments]:
    """The centers' low-rank structure, and the manifolds with it projected out."""
    if center_variance_ratio(moments) < _CENTER_VARIANCE:
        raise DegenerateManifoldsError(
            "the centers of all manifolds coincide up to rounding (was each class's own mean subtracted?), so "
            "the manifolds cannot be separated; give the activations as they are",
            tuple(range(moments.n_manifolds)),
        )
    naming = moments.naming
    try:
        structure = centers.fit_centers(moments.center_gram, seed=seed)
    except CoincidingCentersError as error:  # which knows no names
        text = str(error).replace(
            Naming().manifolds(error.manifolds), naming.manifolds(error.manifolds), 1
        )
        raise CoincidingCentersError(text, error.manifolds) from None
    with np.errstate(invalid="ignore"):  # NaN is caught below
        projected = centers.project(moments, structure)
    ratio = projected.projected_center_norm / projected.center_norm
    lost = np.flatnonzero(~(ratio > _CENTER_TOLERANCE)).tolist()
    if lost:
        raise DegenerateManifoldsError(
            f"the center of {naming.manifolds(lost)} lies in the {structure.rank} "
            "directions that the centers share: nothing of it is left after projection, so the "
            "manifold has no size relative to it; leave the manifold out or sample other points",
            tuple(lost),
        )
    return structure, projected


def gaussian_samples(seed: int, n_gaussians: int) -> Draw:
    """Draw a manifold's Gaussian samples, from the seed and the manifold's index alone."""

    def draw(manifold: int, dimension: int) -> FloatArray:
        rng = np.random.default_rng([seed, manifold])
        return rng.standard_normal((n_gaussians, dimension + 1))

    return draw


def solve_manifolds(
    moments: Moments,
    projected: ProjectedMoments,
    draw: Draw,
    margin: float,
    solver: str,
    threads: int,
) -> list[AnchorGeometry]:
    """Anchor geometry of every manifold."""

    def solve(i: int) -> AnchorGeometry:
        n_points = int(moments.n_points[i])
        # Like the reference: n_points coordinates, although deviations span one fewer, or the
        # number of features if that is less.
        dimension = min(moments.n_features, n_points)
        # The projected Gram matrix has the rounding errors of the original one.
        unit = (projected.projected_center_norm[i] / moments.scale) ** 2
        largest = float(moments.deviation_gram[i].diagonal().max()) / unit
        tolerance = 4 * n_points * np.finfo(np.float64).eps * largest
        gram = projected.deviation_gram[i]
        points = points_from_gram(gram, dimension, tolerance)
        gaussians = draw(i, dimension)
        return sample_anchors(points, gaussians, margin, solver=solver, gram=gram).geometry()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(solve, range(moments.n_manifolds)))

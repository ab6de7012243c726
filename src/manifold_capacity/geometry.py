"""Geometry of a layer: capacity, radius, dimension and correlation of its manifolds.

Puts the steps together: moments, the centers' low-rank structure, and the anchor points of every
manifold. The quantities and equations are those of

.. [1] S. Chung, D. D. Lee, H. Sompolinsky, Phys. Rev. X 8, 031003 (2018).
.. [2] U. Cohen, S. Chung, D. D. Lee, H. Sompolinsky, Nat. Commun. 11, 746 (2020).
"""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.anchors import (
    AnchorGeometry,
    check_margin,
    check_solver,
    points_from_gram,
    sample_anchors,
)
from manifold_capacity.centers import (
    CenterStructure,
    CoincidingCentersError,
    ProjectedMoments,
    fit_centers,
    project,
)
from manifold_capacity.errors import UserError
from manifold_capacity.moments import Moments, moments_from_arrays

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
Draw = Callable[[int, int], FloatArray]

# Gaussian samples that n_gaussians="auto" begins with.
_FIRST_GAUSSIANS = 100
# A projected center shorter than this fraction of the center is rounding: its square is a
# difference of squares known to 1e-16.
_CENTER_TOLERANCE = 1e-7


class DegenerateManifoldsError(UserError):
    """The manifolds have no geometry: one manifold only, or a center without a direction.

    Attributes
    ----------
    manifolds : tuple of int
        Indices of the manifolds concerned.
    """

    def __init__(self, message: str, manifolds: tuple[int, ...]) -> None:
        super().__init__(message)
        self.manifolds = manifolds


@dataclass(frozen=True)
class Geometry:
    """Geometry of P manifolds.

    Per manifold, arrays of shape (P,); the layer's own numbers are in `summary`.

    Attributes
    ----------
    capacity, radius, dimension : (P,) array
        alpha_M (Eq. 16 of [1]_), R_M (Eq. 28, in units of the center's norm), D_M (Eq. 29).
    capacity_stderr, radius_stderr, dimension_stderr : (P,) array
        Standard errors from the finite number of Gaussian samples. They say nothing of the choice
        of points and manifolds, nor of the centers' fit.
    worst_gap : (P,) array
        Largest relative duality gap of the manifold's quadratic programs.
    n_unconverged : (P,) int array
        Quadratic programs whose gap exceeds 1e-9.
    n_points : (P,) int array
        Points of each manifold.
    center_norm, projected_center_norm : (P,) array
        Distance of the center from the mean of all points, before and after the centers' low-rank
        structure is projected out; in the units of the activations.
    spread : (P,) array
        Root-mean-square distance of the points from their center; in the units of the activations.
    participation_ratio : (P,) array
        ``(sum_k l_k)^2 / sum_k l_k^2`` of the eigenvalues of the points' covariance: how many
        directions share the manifold's variance. 0 for a point.
    mean_correlation : (P,) array
        Mean ``|cos|`` between the manifold's center and the others, whose mean is
        `center_correlation`.
    centers_spectrum : (P - 1,) array
        Eigenvalues of the centers' covariance, largest first, as shares of their sum.
    centers_participation_ratio : float
        Participation ratio of the centers.
    centers_dimension_90 : int
        Fewest principal components that explain 90 % of the centers' variance.
    center_correlation, residual_correlation : float
        Mean ``|cos|`` between centers, before and after projection.
    center_rank : int
        Rank K of the structure.
    centers : CenterStructure
        Report of the centers' fit.
    n_features : int
    margin : float
    n_gaussians : int
        Gaussian samples per manifold.
    seed : int
    solver : str
    """

    capacity: FloatArray
    radius: FloatArray
    dimension: FloatArray
    capacity_stderr: FloatArray
    radius_stderr: FloatArray
    dimension_stderr: FloatArray
    worst_gap: FloatArray
    n_unconverged: NDArray[np.int64]
    n_points: NDArray[np.int64]
    center_norm: FloatArray
    projected_center_norm: FloatArray
    spread: FloatArray
    participation_ratio: FloatArray
    mean_correlation: FloatArray
    centers_spectrum: FloatArray
    centers_participation_ratio: float
    centers_dimension_90: int
    centers: CenterStructure
    n_features: int
    margin: float
    n_gaussians: int
    seed: int
    solver: str

    def __repr__(self) -> str:
        numbers = self.summary()
        measures = [
            f"{name} {_with_stderr(float(numbers[name]), float(numbers[f'{name}_stderr']))}"
            for name in ("capacity", "radius", "dimension")
        ]
        return (
            f"<Geometry of {numbers['n_manifolds']} manifolds in {self.n_features} features: "
            f"{', '.join(measures)}, center correlation {self.center_correlation:.4g}>"
        )

    @property
    def center_correlation(self) -> float:
        """Mean ``|cos|`` between different centers (relative to their mean)."""
        return self.centers.center_correlation

    @property
    def residual_correlation(self) -> float:
        """Mean ``|cos|`` between different centers after projection."""
        return self.centers.residual_correlation

    @property
    def center_rank(self) -> int:
        """Rank K of the structure projected out."""
        return self.centers.rank

    @property
    def signal_to_noise(self) -> FloatArray:
        """(P,) distance of the center over the spread of the points; infinite for a point."""
        with np.errstate(divide="ignore"):
            return self.center_norm / self.spread

    def summary(self) -> dict[str, int | float | str | bool]:
        """The layer's numbers, as plain Python scalars.

        Capacity and signal-to-noise are the harmonic mean over manifolds, radius, dimension and
        participation ratio the mean. Each standard error combines the manifolds', whose Gaussian
        samples are independent.
        """
        n_manifolds = len(self.capacity)
        # Through 1 / alpha, whose mean over samples is what is measured.
        inverse = 1.0 / self.capacity
        finite = inverse > 0
        capacity = 1.0 / inverse.mean() if finite.any() else np.inf
        inverse_stderr = (
            _root_sum(inverse[finite] ** 2 * self.capacity_stderr[finite]) / n_manifolds
        )
        return {
            "n_manifolds": n_manifolds,
            "n_points": int(self.n_points.sum()),
            "n_features": self.n_features,
            "margin": self.margin,
            "n_gaussians": self.n_gaussians,
            "solver": self.solver,
            "seed": self.seed,
            "capacity": float(capacity),
            "capacity_stderr": float(capacity**2 * inverse_stderr) if finite.any() else np.inf,
            "radius": float(self.radius.mean()),
            "radius_stderr": float(_root_sum(self.radius_stderr) / n_manifolds),
            "dimension": float(self.dimension.mean()),
            "dimension_stderr": float(_root_sum(self.dimension_stderr) / n_manifolds),
            "center_correlation": self.center_correlation,
            "residual_correlation": self.residual_correlation,
            "center_rank": self.center_rank,
            "participation_ratio": float(self.participation_ratio.mean()),
            "signal_to_noise": float(1.0 / (self.spread / self.center_norm).mean())
            if self.spread.any()
            else np.inf,
            "centers_participation_ratio": self.centers_participation_ratio,
            "centers_dimension_90": self.centers_dimension_90,
            "worst_gap": float(self.worst_gap.max()),
            "n_unconverged": int(self.n_unconverged.sum()),
            "centers_objective": self.centers.objective,
            "centers_least_residual_ratio": self.centers.least_residual_ratio,
            "centers_stopped": self.centers.stopped,
            "centers_converged": self.centers.converged,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row per manifold, in their order: its numbers of points, geometry and certificate."""
        import pandas as pd

        columns = (
            "n_points",
            "capacity",
            "capacity_stderr",
            "radius",
            "radius_stderr",
            "dimension",
            "dimension_stderr",
            "center_norm",
            "projected_center_norm",
            "spread",
            "signal_to_noise",
            "participation_ratio",
            "worst_gap",
            "n_unconverged",
        )
        frame = pd.DataFrame({name: getattr(self, name) for name in columns})
        frame.insert(
            columns.index("participation_ratio"), "center_correlation", self.mean_correlation
        )
        return frame

    def to_xarray(self) -> Any:
        """The columns of `to_frame` along the dimension ``manifold``; `summary` as attributes.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        # Truth values as 0 and 1: netCDF has no others.
        attributes = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in self.summary().items()
        }
        return self.to_frame().rename_axis("manifold").to_xarray().assign_attrs(attributes)


def measure(
    manifolds: Any,
    *,
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
    manifolds : P arrays (n_points_i, n_features), or one (P, n_points, n_features)
        Points of each manifold: NumPy arrays, lists, zarr arrays, or anything with ``__array__``.
    margin : float
        Margin kappa, 0 or more, in units of a center's norm.
    n_gaussians : int or "auto"
        Gaussian samples per manifold, 2 at least. "auto" draws until the standard error of the
        layer's capacity is at most `relative_error` of it, or `max_gaussians` are drawn (then it
        warns).
    relative_error : float
        What "auto" aims for.
    max_gaussians : int
        Where "auto" gives up.
    seed : int
        Seed of the Gaussian samples. Manifold i's depend on the seed and i alone, and fewer of them
        are the first of more.
    solver : {"active_set", "cvxopt"}
        See `manifold_capacity.anchors.anchor_geometry`.
    threads : int, optional
        Threads that solve manifolds side by side; by default one per CPU this process may use. The
        result is the same to the last bit whatever their number.

    Returns
    -------
    Geometry

    Raises
    ------
    DegenerateManifoldsError
        If the manifolds have no geometry: a single manifold, all centers the same (a dead layer), a
        center at the mean of all.
    ValueError
        For NaN or infinite values, shapes that do not fit, unusable arguments.
    TypeError
        For a path or a mapping in place of arrays.

    Warns
    -----
    RuntimeWarning
        If a quadratic program did not converge, or "auto" reached its cap.

    Notes
    -----
    The radius is the reference's with ``n - 1`` in place of ``n``: the mean anchor is estimated
    from the same Gaussian samples, which makes the reference's radius too small by ``1 / (2 n)``,
    0.17 % at 300 samples, more than the standard error of a layer of 100 manifolds.

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
    """
    return geometry_from_moments(
        moments_from_arrays(manifolds),
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
    """Geometry of manifolds from their moments; arguments, errors and result as `measure`.

    Examples
    --------
    >>> import numpy as np
    >>> from manifold_capacity.moments import moments_from_arrays
    >>> points = np.random.default_rng(0).standard_normal((4, 10, 50))
    >>> moments = moments_from_arrays(points)
    >>> at_margin_1 = geometry_from_moments(moments, margin=1.0).summary()
    >>> at_margin_0 = geometry_from_moments(moments, margin=0.0).summary()
    >>> at_margin_1["capacity"] < at_margin_0["capacity"]
    True
    """
    check_margin(margin)
    check_solver(solver)
    seed = check_integer("seed", seed, least=0)
    threads = default_threads() if threads is None else check_integer("threads", threads, least=1)
    centers, projected = find_centers(moments, seed)

    def geometry(n: int) -> Geometry:
        draw = gaussian_samples(seed, n)
        results = solve_manifolds(moments, projected, draw, margin, solver, threads)
        return _gather(moments, centers, projected, results, margin, n, seed, solver)

    if n_gaussians != "auto":
        result = geometry(check_integer("n_gaussians", n_gaussians, least=2, other="'auto'"))
    else:
        max_gaussians = check_integer("max_gaussians", max_gaussians, least=2)
        if not relative_error > 0:
            raise UserError(f"relative_error is {relative_error!r}; it must be above 0")
        result = _until(geometry, relative_error, max_gaussians)
    if result.n_unconverged.any():
        bad = np.flatnonzero(result.n_unconverged)
        warnings.warn(
            f"{int(result.n_unconverged.sum())} quadratic programs did not converge, of manifold "
            f"{', '.join(map(str, bad[:10].tolist()))}{', ...' if len(bad) > 10 else ''}: worst "
            f"relative gap {result.worst_gap.max():.1e}",
            RuntimeWarning,
            stacklevel=2,
        )
    return result


def _until(
    geometry: Callable[[int], Geometry], relative_error: float, max_gaussians: int
) -> Geometry:
    """Geometry with as many Gaussian samples as the relative error of the capacity needs."""
    n = min(_FIRST_GAUSSIANS, max_gaussians)
    while True:
        result = geometry(n)
        summary = result.summary()
        capacity = float(summary["capacity"])
        # Infinite if no sample touched any manifold: nothing is known yet.
        reached = float(summary["capacity_stderr"]) / capacity if capacity < np.inf else np.inf
        if reached <= relative_error:
            return result
        if n == max_gaussians:
            warnings.warn(
                f"n_gaussians='auto' stopped at max_gaussians = {max_gaussians} with a relative "
                f"error of {reached:.2g} in the layer's capacity; relative_error asks for "
                f"{relative_error:g}",
                RuntimeWarning,
                stacklevel=3,
            )
            return result
        # The error falls as 1 / sqrt(n) and is itself uncertain; starting over costs little, and
        # makes the result that of n_gaussians=n.
        needed = 1.05 * n * (reached / relative_error) ** 2
        n = int(min(max(needed, 1.1 * n + 1), max_gaussians))


def find_centers(moments: Moments, seed: int) -> tuple[CenterStructure, ProjectedMoments]:
    """The centers' low-rank structure, and the manifolds without it."""
    try:
        centers = fit_centers(moments.center_gram, seed=seed)
        with np.errstate(invalid="ignore"):  # NaN is the check's finding below
            projected = project(moments, centers)
    except CoincidingCentersError as error:
        raise DegenerateManifoldsError(str(error), error.manifolds) from error
    ratio = projected.projected_center_norm / projected.center_norm
    lost = np.flatnonzero(~(ratio > _CENTER_TOLERANCE)).tolist()
    if lost:
        raise DegenerateManifoldsError(
            f"the center of manifold {', '.join(map(str, lost))} lies in the {centers.rank} "
            "directions that the centers share, so nothing of it is left to measure the manifold "
            "by; leave the manifold out or sample other points",
            tuple(lost),
        )
    return centers, projected


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
    """Anchor geometry of every manifold.

    Parameters
    ----------
    draw : callable
        ``draw(manifold, D)`` gives the manifold's Gaussian samples (n_gaussians, D + 1).
    """

    def solve(i: int) -> AnchorGeometry:
        n_points = int(moments.n_points[i])
        # The reference counts a manifold's n_points coordinates although its deviations sum to zero
        # and span one fewer; in fewer features, those.
        dimension = min(moments.n_features, n_points)
        # The projected Gram matrix is a difference from the original one, exact to its rounding.
        unit = (projected.projected_center_norm[i] / moments.scale) ** 2
        largest = float(moments.deviation_gram[i].diagonal().max()) / unit
        gram = projected.deviation_gram[i]
        points = points_from_gram(
            gram, dimension, tolerance=4 * n_points * np.finfo(np.float64).eps * largest
        )
        gaussians = draw(i, dimension)
        return sample_anchors(points, gaussians, margin, solver=solver, gram=gram).geometry()

    manifolds = range(moments.n_manifolds)
    if threads == 1:
        return [solve(i) for i in manifolds]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(solve, manifolds))


def _gather(
    moments: Moments,
    centers: CenterStructure,
    projected: ProjectedMoments,
    results: list[AnchorGeometry],
    margin: float,
    n_gaussians: int,
    seed: int,
    solver: str,
) -> Geometry:
    # See the notes of `measure`.
    correction = np.sqrt(n_gaussians / (n_gaussians - 1))
    results = [
        replace(
            result,
            radius=result.radius * correction,
            radius_stderr=result.radius_stderr * correction,
        )
        for result in results
    ]

    cosines = moments.center_gram / np.sqrt(
        np.outer(moments.center_gram.diagonal(), moments.center_gram.diagonal())
    )
    spectrum = np.linalg.eigvalsh(moments.center_gram)[:0:-1].clip(0)
    traces = moments.deviation_trace
    squares = np.array([(gram**2).sum() for gram in moments.deviation_gram])

    def column(name: str) -> NDArray[Any]:
        return np.array([getattr(result, name) for result in results])

    return Geometry(
        capacity=column("capacity"),
        radius=column("radius"),
        dimension=column("dimension"),
        capacity_stderr=column("capacity_stderr"),
        radius_stderr=column("radius_stderr"),
        dimension_stderr=column("dimension_stderr"),
        worst_gap=column("worst_gap"),
        n_unconverged=column("n_unconverged").astype(np.int64),
        n_points=moments.n_points.copy(),
        center_norm=projected.center_norm,
        projected_center_norm=projected.projected_center_norm,
        spread=np.sqrt(traces / moments.n_points) * moments.scale,
        # (sum of eigenvalues)^2 over the sum of their squares, the squared Frobenius norm.
        participation_ratio=np.divide(
            traces**2, squares, out=np.zeros_like(traces), where=squares > 0
        ),
        mean_correlation=(np.abs(cosines).sum(axis=0) - 1) / (len(cosines) - 1),
        centers_spectrum=spectrum / spectrum.sum(),
        centers_participation_ratio=float(
            np.trace(moments.center_gram) ** 2 / (moments.center_gram**2).sum()
        ),
        centers_dimension_90=dimension_at(0.9, moments.center_gram),
        centers=centers,
        n_features=moments.n_features,
        margin=float(margin),
        n_gaussians=n_gaussians,
        seed=seed,
        solver=solver,
    )


def dimension_at(share: float, gram: FloatArray) -> int:
    """Fewest principal components that explain a share of the variance."""
    explained = np.cumsum(np.linalg.eigvalsh(gram)[::-1])
    # Rounding must not ask for one component more.
    return int((explained < (share - 1e-12) * explained[-1]).sum()) + 1


def _with_stderr(value: float, stderr: float) -> str:
    """'0.2168 ± 0.0031': as many decimals as two digits of the standard error have."""
    if not 0 < stderr < np.inf:
        return f"{value:.4g} ± {stderr:.2g}"
    decimals = max(0, 1 - int(np.floor(np.log10(stderr))))
    return f"{value:.{decimals}f} ± {stderr:.{decimals}f}"


def _root_sum(values: FloatArray) -> float:
    return float(np.sqrt((values**2).sum()))


def default_threads() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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

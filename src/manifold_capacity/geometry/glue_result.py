"""`Glue`: exact capacity and correlated geometry of a layer's manifolds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.intervals import in_brackets, over_classes
from manifold_capacity.geometry.labeled import points_text

if TYPE_CHECKING:
    import pandas as pd

# Layer quantities with a standard error.
GLUE_QUANTITIES = (
    "capacity",
    "capacity_published",
    "radius",
    "dimension",
    "utility",
    "center_alignment",
    "axis_alignment",
    "center_axis_alignment",
    "center_alignment_raw",
    "axis_alignment_raw",
    "center_axis_alignment_raw",
)
# A capacity below this multiple of the floor says little of the geometry.
NEAR_FLOOR = 1.2


@dataclass(frozen=True)
class GlueSamples:
    """The projections of K Gaussian vectors.

    Attributes
    ----------
    norm2 : (K,) array
        Squared norm of the projection on the cone.
    support : (K,) int array
        Dimension of the cone's face that the projection is in: the number of active points.
    unique : (K,) bool array
        Whether the points' weights, and so the anchors, are unique.
    separable : (K,) bool array
        Whether a hyperplane separates the sample's labels.
    gap : (K,) array
        Bound of the error of `norm2`, relative to the larger of it and its mean over samples.
    violation : (K,) array
        Largest violation of the conditions of optimality, in units of the norms of point and vector.
    """

    norm2: FloatArray
    support: NDArray[np.int64]
    unique: NDArray[np.bool_]
    separable: NDArray[np.bool_]
    gap: FloatArray
    violation: FloatArray


@dataclass(frozen=True)
class Glue:
    """Exact capacity, and the geometry that it follows from, of P manifolds.

    With ``a``, ``b``, ``c`` of each sample (`manifold_capacity.geometry.glue`) and means over samples:

    Attributes
    ----------
    capacity : float
        ``P / mean(k)``, k the dimension of the face that a sample's projection is in. It has the
        same expectation as the published estimate, and a smaller standard error.
    capacity_published : float
        ``P / mean(a)``, the paper's estimate.
    radius : float
        ``sqrt(mean(c) / mean(b - c))``.
    dimension : float
        ``mean(b) / P``.
    utility : float
        ``psi = mean(c) / mean(a)``. ``capacity_published = psi (1 + radius^-2) / dimension``, exactly
        if all samples are unique.
    center_alignment, axis_alignment, center_axis_alignment : float
        Mean ``|cos|`` between different manifolds' anchor centers, axes, and between center and axis.
    center_alignment_raw, axis_alignment_raw, center_axis_alignment_raw : float
        As the papers have them, the mean absolute inner product: in squared units of the
        activations.
    capacity_stderr, ... : float
        Standard error of each of these from the finite number of samples.
    manifold_capacity, manifold_capacity_stderr : (P,) array
        1 over the manifold's mean number of active points; infinite if it had none. The harmonic
        mean is the capacity if all samples are unique.
    manifold_dimension, manifold_dimension_stderr : (P,) array
        The manifold's share of ``mean(b)``; the mean is the dimension.
    manifold_active_fraction : (P,) array
        Share of the unique samples in which the manifold has an active point.
    n_points : (P,) int array
        Points of each manifold.
    capacity_floor : float
        ``P`` over the smaller of half the number of different points and their rank: about the
        capacity of points without structure. Near it (`near_floor`), capacity says little of the
        geometry, and more points per manifold are needed.
    samples : GlueSamples
    problem : str
        Why quantities other than capacity are NaN or of few samples, or empty.
    n_features, rank : int
        Features, and directions that the points span.
    caveat_texts : dict
        What keeps the numbers from meaning what they seem to: codes, as in `Geometry`, and what to say of each.
    classes : tuple of str
        Names of the manifolds, if they were given by labels; else empty.
    centered, dichotomies, inactive, solver, seed
        As in `measure_glue`; `dichotomies` is "given" and `seed` None where they were given.
    """

    capacity: float
    capacity_stderr: float
    capacity_published: float
    capacity_published_stderr: float
    radius: float
    radius_stderr: float
    dimension: float
    dimension_stderr: float
    utility: float
    utility_stderr: float
    center_alignment: float
    center_alignment_stderr: float
    axis_alignment: float
    axis_alignment_stderr: float
    center_axis_alignment: float
    center_axis_alignment_stderr: float
    center_alignment_raw: float
    center_alignment_raw_stderr: float
    axis_alignment_raw: float
    axis_alignment_raw_stderr: float
    center_axis_alignment_raw: float
    center_axis_alignment_raw_stderr: float
    manifold_capacity: FloatArray
    manifold_capacity_stderr: FloatArray
    manifold_dimension: FloatArray
    manifold_dimension_stderr: FloatArray
    manifold_active_fraction: FloatArray
    n_points: NDArray[np.int64]
    capacity_floor: float
    samples: GlueSamples
    problem: str
    n_features: int
    rank: int
    centered: bool
    dichotomies: str
    inactive: str
    solver: str
    seed: int | None
    caveat_texts: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = [
            in_brackets(
                getattr(self, name),
                *over_classes(
                    name, getattr(self, f"manifold_{name}"), getattr(self, f"{name}_stderr")
                ),
            )
            for name in ("capacity", "dimension")
        ]
        said = f"; caveats: {', '.join(self.caveats)}" if self.caveats else ""
        return (
            f"<Glue of {len(self.n_points)} manifolds of {points_text(self.n_points)} in {self.n_features} features: capacity {shown[0]}, "
            f"dimension {shown[1]}, radius {self.radius:.4g}, utility {self.utility:.4g}, 95 % intervals over classes"
            f"{said}>"
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """Codes of what limits the numbers' meaning; empty when all is well."""
        return tuple(self.caveat_texts)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.samples.norm2)

    @property
    def separable_fraction(self) -> float:
        """Share of samples whose labels a hyperplane separates."""
        return float(self.samples.separable.mean())

    @property
    def unique_fraction(self) -> float:
        """Share of samples whose anchors are unique."""
        return float(self.samples.unique.mean())

    @property
    def active_fraction(self) -> float:
        """Share of manifolds with an active point, over the unique samples."""
        return float(self.manifold_active_fraction.mean())

    @property
    def worst_gap(self) -> float:
        """Largest relative duality gap of a sample."""
        return float(self.samples.gap.max())

    @property
    def near_floor(self) -> bool:
        """Whether the capacity is less than 1.2 times `capacity_floor`."""
        return self.capacity < NEAR_FLOOR * self.capacity_floor

    def separability(self, n: ArrayLike) -> FloatArray:
        """Probability that a hyperplane separates random labels in n random directions.

        Parameters
        ----------
        n : int array of any shape
            Numbers of random directions, 0 or more.

        Returns
        -------
        array of the shape of `n`
            Labels that no hyperplane separates in all directions count as not separable.

        Notes
        -----
        The faces' dimensions k of the samples estimate the cones' intrinsic volumes ``v_k``, and the
        conic kinematic formula gives the probability as
        ``1 - 2 (v_{n+1} + v_{n+3} + ...)``: Amelunxen, Lotz, McCoy & Tropp, *Inf. Inference* 3, 224
        (2014). The sum is over every other k, which few samples make noisy; it is taken of volumes
        smoothed by ``(-1, 4, 10, 4, -1) / 16``, which keeps their mean and variance. It is exact for
        points to 0.01 from 4 manifolds on.
        """
        n = np.asarray(n)
        k = self.samples.support[self.samples.separable]

        def share(values: NDArray[np.bool_]) -> FloatArray:
            return values.sum(axis=-1) / self.n_samples

        away = k - n[..., None]
        below, at = share(away < 0), share(away == 0)
        correction = (share(away == -1) - share(away == 1)) / 8
        return np.clip(below + at / 2 + correction, 0.0, self.separable_fraction)

    def summary(self) -> dict[str, int | float | str | bool]:
        """The layer's numbers, as plain Python scalars."""
        numbers: dict[str, int | float | str | bool] = {
            "n_manifolds": len(self.n_points),
            "n_points": int(self.n_points.sum()),
            "n_features": self.n_features,
            "rank": self.rank,
            "n_samples": self.n_samples,
            "dichotomies": self.dichotomies,
            "centered": self.centered,
            "inactive": self.inactive,
            "solver": self.solver,
        }
        if self.seed is not None:
            numbers["seed"] = self.seed
        for name in GLUE_QUANTITIES:
            numbers[name] = getattr(self, name)
            numbers[f"{name}_stderr"] = getattr(self, f"{name}_stderr")
        more = ("capacity_floor", "near_floor", "separable_fraction", "unique_fraction")
        for name in (*more, "active_fraction", "worst_gap", "problem"):
            numbers[name] = getattr(self, name)
        return numbers

    def to_frame(self) -> pd.DataFrame:
        """One row per manifold, in their order; the index are the names of the classes, if labels were given."""
        import pandas as pd

        names = ("capacity", "capacity_stderr", "dimension", "dimension_stderr", "active_fraction")
        columns = {name: getattr(self, f"manifold_{name}") for name in names}
        index = pd.Index(self.classes, name="class_name") if self.classes else None
        return pd.DataFrame({"n_points": self.n_points, **columns}, index=index)

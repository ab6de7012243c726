"""`Geometry`: the capacity, radius, dimension and correlations of a layer's manifolds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.centers import CenterStructure, ProjectedMoments
from manifold_capacity.geometry.certificates import AnchorGeometry
from manifold_capacity.geometry.intervals import QUANTITIES, in_brackets, over_classes
from manifold_capacity.geometry.labeled import points_text
from manifold_capacity.geometry.moments import Moments

if TYPE_CHECKING:
    import pandas as pd

PER_MANIFOLD = ("capacity", "radius", "dimension")
# Of the finite number of Gaussian samples alone.
GAUSSIAN_STDERR = "_gaussian_stderr"
_MEASURED = tuple(name + suffix for name in PER_MANIFOLD for suffix in ("", GAUSSIAN_STDERR))


@dataclass(frozen=True)
class Geometry:
    """Geometry of P manifolds.

    Per manifold, arrays of shape (P,); the layer's own numbers are in `summary`.

    Attributes
    ----------
    capacity, radius, dimension : (P,) array
        alpha_M, R_M (in units of the center's norm) and D_M: Eqs. 16, 28 and 29 of Chung, Lee &
        Sompolinsky, Phys. Rev. X 8, 031003 (2018).
    capacity_gaussian_stderr, radius_gaussian_stderr, dimension_gaussian_stderr : (P,) array
        Standard errors from the finite number of Gaussian samples. They do not cover the choice
        of points and manifolds, nor the centers' fit: much less than the intervals of `summary`.
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
    centers : CenterStructure
        Report of the centers' fit.
    rank_ranges : dict
        (low, high) of the layer's capacity, radius and dimension over the near-tied numbers of directions,
        `CenterStructure.near_tied`: which of these has the least residual correlation may depend on a single point.
    caveat_texts : dict
        What keeps the numbers from meaning what they seem to: codes of `caveats.CAVEATS`, and what to say
        of each. Empty when all is well.
    classes : tuple of str
        Names of the manifolds, if they were given by labels; else empty.
    n_features, margin, n_gaussians, seed, solver
        As in `measure`; `n_gaussians` is the number that was drawn.
    """

    capacity: FloatArray
    radius: FloatArray
    dimension: FloatArray
    capacity_gaussian_stderr: FloatArray
    radius_gaussian_stderr: FloatArray
    dimension_gaussian_stderr: FloatArray
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
    rank_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    caveat_texts: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        numbers: dict[str, Any] = self.summary()
        measures = [
            f"{name.replace('_', ' ')} "
            + in_brackets(numbers[name], numbers[f"{name}_low"], numbers[f"{name}_high"])
            for name in QUANTITIES
        ]
        said = f"; caveats: {', '.join(self.caveats)}" if self.caveats else ""
        return (
            f"<Geometry of {numbers['n_manifolds']} manifolds of {points_text(self.n_points)} in {self.n_features} features: "
            f"{', '.join(measures)}, 95 % intervals over {numbers['interval_over']}{said}>"
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """Codes of what limits the numbers' meaning; empty when all is well."""
        return tuple(self.caveat_texts)

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
        participation ratio the mean. ``capacity_low`` and ``capacity_high`` (and so on) are the ends of the
        95 % t interval over the manifolds: for other classes like these and other points of them.
        ``capacity_gaussian_stderr`` is the standard error of the Gaussian samples alone.
        """
        n_manifolds = len(self.capacity)
        # Through 1 / alpha, whose mean over samples is what is measured.
        inverse = 1.0 / self.capacity
        finite = inverse > 0
        capacity = float(1.0 / inverse.mean()) if finite.any() else np.inf
        inverse_stderr = _root_sum(inverse[finite] ** 2 * self.capacity_gaussian_stderr[finite])
        inverse_stderr /= n_manifolds
        noise = (self.spread / self.center_norm).mean()
        values = {
            "capacity": capacity,
            "radius": float(self.radius.mean()),
            "dimension": float(self.dimension.mean()),
            "center_correlation": self.center_correlation,
        }
        stderr = {
            "capacity": float(capacity**2 * inverse_stderr) if finite.any() else np.inf,
            "radius": _root_sum(self.radius_gaussian_stderr) / n_manifolds,
            "dimension": _root_sum(self.dimension_gaussian_stderr) / n_manifolds,
        }
        ranks = self.centers.near_tied
        of_ranks: dict[str, float] = {"center_rank_low": min(ranks), "center_rank_high": max(ranks)}
        for name, ends in self.rank_ranges.items():
            of_ranks[f"{name}_rank_low"], of_ranks[f"{name}_rank_high"] = ends
        of_classes = (self.capacity, self.radius, self.dimension, self.mean_correlation)
        measured: dict[str, float] = {}
        for name, of_each in zip(QUANTITIES, of_classes, strict=True):
            measured[name] = values[name]
            measured[f"{name}_low"], measured[f"{name}_high"] = over_classes(name, of_each)
            if name in stderr:
                measured[name + GAUSSIAN_STDERR] = stderr[name]
        return {
            "n_manifolds": n_manifolds,
            "n_points": int(self.n_points.sum()),
            "n_features": self.n_features,
            "margin": self.margin,
            "n_gaussians": self.n_gaussians,
            "solver": self.solver,
            "seed": self.seed,
            **measured,
            "interval_over": "classes",
            "caveats": " ".join(self.caveats),
            "caveats_text": " ".join(self.caveat_texts.values()),
            "residual_correlation": self.residual_correlation,
            "center_rank": self.center_rank,
            **of_ranks,
            "participation_ratio": float(self.participation_ratio.mean()),
            "signal_to_noise": float(1.0 / noise) if self.spread.any() else np.inf,
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
        """One row per manifold, in their order: number of points, geometry and certificates.

        The index are the names of the classes, if labels were given.
        """
        import pandas as pd

        index = pd.Index(self.classes, name="class_name") if self.classes else None
        return pd.DataFrame(self.columns(), index=index)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of `to_frame` by name, as arrays (P,); does not need pandas."""
        sizes = ("center_norm", "projected_center_norm", "spread", "signal_to_noise")
        rest = ("mean_correlation", "participation_ratio", "worst_gap", "n_unconverged")
        called = {"mean_correlation": "center_correlation"}
        return {
            called.get(name, name): getattr(self, name)
            for name in ("n_points", *_MEASURED, *sizes, *rest)
        }

    def to_xarray(self) -> Any:
        """The columns of `to_frame` along the dimension ``manifold``; `summary` as attributes.

        An `xarray.Dataset`; needs the package xarray.
        """
        # netCDF has no truth values: 0 and 1.
        values = self.summary().items()
        attributes = {name: int(v) if isinstance(v, bool) else v for name, v in values}
        return self.to_frame().rename_axis("manifold").to_xarray().assign_attrs(attributes)


def gather_geometry(
    moments: Moments, projected: ProjectedMoments, results: list[AnchorGeometry], **settings: Any
) -> Geometry:
    """Put the steps' results together; `settings` are those of `Geometry`, from `centers` on."""
    numbers: dict[str, Any] = {
        name: np.array(
            [getattr(result, name.replace(GAUSSIAN_STDERR, "_stderr")) for result in results]
        )
        for name in (*_MEASURED, "worst_gap", "n_unconverged")
    }
    n_gaussians = settings["n_gaussians"]
    for name in ("radius", f"radius{GAUSSIAN_STDERR}"):
        numbers[name] *= np.sqrt(n_gaussians / (n_gaussians - 1))  # see the notes of `measure`
    gram = _near_one(moments.center_gram)
    cosines = gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))
    spectrum = np.linalg.eigvalsh(gram)[:0:-1].clip(0)
    traces = moments.deviation_trace
    # (sum of eigenvalues)^2 over the sum of their squares, the squared Frobenius norm.
    near_one = [_near_one(within) for within in moments.deviation_gram]
    squares = np.array([(within**2).sum() for within in near_one])
    sums = np.array(
        [
            trace if near is within else np.trace(near)
            for trace, near, within in zip(traces, near_one, moments.deviation_gram, strict=True)
        ]
    )
    ratios = np.divide(sums**2, squares, out=np.zeros_like(traces), where=squares > 0)
    return Geometry(
        **numbers,
        n_points=moments.n_points.copy(),
        center_norm=projected.center_norm,
        projected_center_norm=projected.projected_center_norm,
        spread=np.sqrt(traces / moments.n_points) * moments.scale,
        participation_ratio=ratios,
        mean_correlation=(np.abs(cosines).sum(axis=0) - 1) / (len(cosines) - 1),
        centers_spectrum=spectrum / spectrum.sum(),
        centers_participation_ratio=float(np.trace(gram) ** 2 / (gram**2).sum()),
        centers_dimension_90=dimension_at(0.9, gram),
        n_features=moments.n_features,
        classes=moments.naming.classes,
        **settings,
    )


def _near_one(gram: FloatArray) -> FloatArray:
    """A Gram matrix whose squares stay within the range of numbers: scaled by a power of two if need be."""
    exponent = int(np.frexp(gram.diagonal().max())[1])
    return np.ldexp(gram, -exponent) if abs(exponent) > 300 else gram


def dimension_at(share: float, gram: FloatArray) -> int:
    """Fewest principal components that explain a share of the variance."""
    explained = np.cumsum(np.linalg.eigvalsh(gram)[::-1])
    # Less a bit of the share, so that rounding does not add a component.
    return int((explained < (share - 1e-12) * explained[-1]).sum()) + 1


def _root_sum(values: FloatArray) -> float:
    return float(np.sqrt((values**2).sum()))

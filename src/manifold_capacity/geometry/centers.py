"""The low-rank structure of the centers, and the manifolds with it projected out.

Mean-field theory assumes uncorrelated centers, but real ones share a few directions. Following
Cohen, Chung, Lee & Sompolinsky, *Nat. Commun.* 11, 746 (2020), these are projected out of every
point. With the center deviations C_i (rows), K orthonormal directions V minimize ::

    F(V) = 1/2 sum_ik cos(r_i, r_k)^2,    r_i = C_i - V V^T C_i,

for K = 1, 2, ...; the K with the least mean ``|cos(r_i, r_k)|`` over i != k is kept.

**F alone has no minimum.** If V comes close to containing one center, r_i goes to zero and its
direction can be chosen to suit the others. F then falls toward a value it never reaches, and that
manifold, measured in units of ``|r_i|``, grows without bound (in factor analysis, a Heywood case).
So a balance term is added ::

    F(V) + mu P log( mean_i q_i * mean_i 1/q_i ),    q_i = |r_i|^2 / |C_i|^2,

the logarithm of the ratio of the arithmetic to the harmonic mean of the shares q_i that are left of
the centers: zero if all keep the same share, infinite if one vanishes.

**Rounding must not matter.** F has many local minima of nearly equal value. A perturbation of 1e-15
(another order of manifolds, another BLAS) would grow until the fit finds another one, whose
capacity may differ by a percent. So a fit stops every dozen steps, and goes on from directions
rounded to a thousandth of the residuals, which removes such perturbations before they have grown.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.center_fit import FINAL_TOLERANCE, Problem
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.moments import Moments

_EPS = float(np.finfo(np.float64).eps)

# Eigenvalues of the centers' correlation matrix below this fraction of the largest are ignored:
# the part of a center in such directions (3e-6) is below the rounding errors of the rest.
_RANK_TOLERANCE = 1e-11

# A center closer to the mean than this fraction of the largest distance has no direction in
# float64: the square is below the rounding errors of the Gram matrix.
_CENTER_TOLERANCE = 1e-7

# The reference implementation tries K up to the number of components short of a share of the
# centers' variance, plus 10. It stops earlier, but not before K = 5, when the mean |correlation| has
# risen three times in a row.
_EXPLAINED_VARIANCE = 0.95
_EXTRA_RANKS = 10
_FIRST_STOP = 5
_RISES = 3

# The fits whose mean |correlation| is within this factor of the least are refined before K is
# chosen among them.
_NEAR_BEST = 1.01


class CoincidingCentersError(DegenerateManifoldsError):
    """A center has no direction: all are the same, or it lies at the mean of all."""


@dataclass(frozen=True)
class CenterStructure:
    """Low-rank structure of P centers.

    Attributes
    ----------
    coefficients : (P, K) array
        The K directions as combinations of center deviations: the orthonormal directions in feature
        space are ``C^T coefficients``. So ``coefficients^T G coefficients = 1``, and a vector x has
        the loadings ``coefficients^T C x``.
    center_correlation : float
        Mean ``|cos|`` between different center deviations.
    residual_correlation : float
        The same after projection.
    objective : float
        F (without the balance term) at the kept K. At least P^2 / (2 (rank - K)).
    least_residual_ratio : float
        Least ``|r_i| / |C_i|`` over manifolds. If it were near zero, that manifold's radius would be
        meaningless.
    correlations : (n,) array
        Mean ``|cos|`` at K = 0, 1, ..., n - 1, up to where the search ended.
    stopped : str
        Why the search over K ended: "variance" (at 10 more than the components short of 95 % of the
        variance), "rises" (three in a row), or "rank" (two dimensions must be left).
    converged : bool
        Whether the fit at the kept K reached its tolerance.
    near_tied_coefficients : dict of int to (P, K) array
        `coefficients` at every near-tied K: those whose residual correlation is within 1 / P of the
        least (1 % if there are more than 100 manifolds), the kept K among them. Which of these has
        the least may depend on a single point.
    """

    coefficients: FloatArray
    center_correlation: float
    residual_correlation: float
    objective: float
    least_residual_ratio: float
    correlations: FloatArray
    stopped: str
    converged: bool
    near_tied_coefficients: dict[int, FloatArray]

    @property
    def rank(self) -> int:
        """Number of directions K."""
        return self.coefficients.shape[1]

    @property
    def near_tied(self) -> tuple[int, ...]:
        """Every K whose residual correlation is nearly the least, in order."""
        return tuple(self.near_tied_coefficients)


@dataclass(frozen=True)
class ProjectedMoments:
    """The manifolds without the low-rank structure, in units of their projected centers' norms.

    Attributes
    ----------
    deviation_gram : tuple of P arrays (m_i, m_i)
        ``W_i' / |d_i'|^2``.
    center_norm : (P,) array
        ``|d_i|``, the distance of manifold i's center from the mean of all points, in feature
        units.
    projected_center_norm : (P,) array
        ``|d_i'|``, the same after projection.
    """

    deviation_gram: tuple[FloatArray, ...]
    center_norm: FloatArray
    projected_center_norm: FloatArray


def fit_centers(center_gram: ArrayLike, *, seed: int = 0) -> CenterStructure:
    """Find the low-rank structure of the centers.

    The result does not depend on the scale, the number of threads or (up to rounding) the order of
    the manifolds.

    Parameters
    ----------
    center_gram : (P, P) array
        Gram matrix G of the center deviations, `Moments.center_gram`, in any unit.
    seed : int
        Only matters if a center lies exactly within the directions that a fit starts from (centers
        on coordinate axes, for example). The start is then moved at random.

    Raises
    ------
    CoincidingCentersError
        If there is one manifold only, all centers coincide, or a center lies at the mean of the
        centers.
    ValueError
        If `center_gram` isn't a finite square matrix.

    Examples
    --------
    Ten centers with directions of their own, and one direction that all share.

    >>> import numpy as np
    >>> centers = np.eye(10, 11)
    >>> centers[:, 10] = np.linspace(-3, 3, 10)
    >>> deviations = centers - centers.mean(axis=0)
    >>> structure = fit_centers(deviations @ deviations.T)
    >>> structure.rank
    1
    >>> print(f"{structure.center_correlation:.2f} -> {structure.residual_correlation:.2f}")
    0.58 -> 0.12
    """
    gram = np.asarray(center_gram, dtype=np.float64)
    finite = np.isfinite(gram).all()
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not finite:
        raise UserError(
            f"center_gram must be a finite (P, P) matrix of inner products; it has shape {gram.shape}"
            + ("" if finite else " and values that are not finite")
        )
    if len(gram) == 1:
        message = (
            "there is one manifold only, and no other center to compare with; give at least two"
        )
        raise CoincidingCentersError(message, (0,))
    norms = np.sqrt(np.maximum(gram.diagonal(), 0))
    if not norms.any():
        raise CoincidingCentersError(
            "the centers of all manifolds coincide (a dead or constant layer?), so the manifolds "
            "cannot be separated; leave the layer out",
            tuple(range(len(gram))),
        )
    _check_off_mean(norms, "centers")
    with threadpool_limits(limits=1, user_api="blas"):
        return _search(gram, norms, np.random.default_rng(seed))


def _check_off_mean(norms: FloatArray, of: str) -> None:
    central = np.flatnonzero(~(norms > _CENTER_TOLERANCE * norms.max())).tolist()
    if central:
        raise CoincidingCentersError(
            f"manifold {', '.join(map(str, central))}: the center lies at the mean of all {of}, so "
            "that it has no direction, and the manifold no size relative to its distance; leave the "
            "manifold out or sample other points",
            tuple(central),
        )


def _search(gram: FloatArray, norms: FloatArray, rng: np.random.Generator) -> CenterStructure:
    """Fit K = 1, 2, ... until the reference's rules end the search; keep the best K."""
    # Rounding errors of the largest centers, relative to the smallest.
    noise = 8 * _EPS * len(gram) * norms.max() / norms.min()
    problem = Problem(gram / np.outer(norms, norms), max(noise, _RANK_TOLERANCE), rng)
    variances = np.linalg.eigvalsh(gram / np.mean(norms) ** 2)[::-1]
    explained = np.cumsum(variances) / variances.sum()
    cap = max(1, int((explained < _EXPLAINED_VARIANCE).sum())) + _EXTRA_RANKS
    # In a single dimension all correlations are 1, so two must be left.
    most = max(0, problem.rank - 2)
    stopped = "variance" if cap <= most else "rank"
    cap = min(cap, most)

    fits = [problem.start]
    for _ in range(cap):
        fits.append(problem.fit_next(fits[-1]))
        recent = [fit.correlation for fit in fits[-1 - _RISES :]]
        if len(fits) > _FIRST_STOP and all(a < b for a, b in itertools.pairwise(recent)):
            stopped = "rises"
            break
    best = fits[0]
    tied = [best]
    if cap > 0:  # like the reference, K = 0 only if no other K is possible
        least = min(fit.correlation for fit in fits[1:])
        near = [k for k in range(1, len(fits)) if fits[k].correlation <= _NEAR_BEST * least]
        for k in near:
            fits[k] = problem.fit(fits[k].directions, FINAL_TOLERANCE)
        best = min((fits[k] for k in near), key=lambda fit: fit.correlation)
        # 1 / P is the relative standard error of a mean |cos| over P^2 / 2 pairs.
        limit = max(_NEAR_BEST, 1 + 1 / len(gram)) * best.correlation
        refined = [
            fit if k in near else problem.fit(fit.directions, FINAL_TOLERANCE)
            for k, fit in enumerate(fits)
            if k > 0 and fit.correlation <= limit
        ]
        tied = [fit for fit in refined if fit.correlation <= limit]
    coefficients = {
        fit.directions.shape[1]: problem.coefficients(fit) / norms[:, None] for fit in tied
    }
    return CenterStructure(
        coefficients=coefficients[best.directions.shape[1]],
        center_correlation=fits[0].correlation,
        residual_correlation=best.correlation,
        objective=best.objective,
        least_residual_ratio=best.least_ratio,
        correlations=np.array([fit.correlation for fit in fits]),
        stopped=stopped,
        converged=best.converged,
        near_tied_coefficients=coefficients,
    )


def project(
    moments: Moments, structure: CenterStructure, rank: int | None = None
) -> ProjectedMoments:
    """Project the structure out of every point, and scale by the projected center's norm.

    By default the structure of the kept K; `rank` is another one of ``structure.near_tied``.

    With d_i = c_i - o, o the mean of all points, and the loadings of a vector on the directions,
    ``W_i' = W_i - (loadings of E_i)^T (loadings of E_i)``, and ``|d_i'|^2`` likewise.

    `structure` is what `fit_centers` found in ``moments.center_gram``. A center at the mean of all
    points raises `CoincidingCentersError`.
    """
    rank = structure.rank if rank is None else rank
    coefficients = structure.near_tied_coefficients[rank]
    with threadpool_limits(limits=1, user_api="blas"):
        loadings = coefficients.T @ moments.center_deviation
        squares = moments.center_norm_squared
        _check_off_mean(np.sqrt(squares), "points")
        center_loadings = moments.center_gram @ coefficients
        center_loadings -= moments.mean_weights @ center_loadings
        projected = squares - np.einsum("ij,ij->i", center_loadings, center_loadings)
        _check_off_mean(np.sqrt(np.maximum(projected, 0)), "points without the shared directions")
        parts = np.split(loadings, moments.offsets[1:-1], axis=1)
        triples = zip(moments.deviation_gram, parts, projected, strict=True)
        grams = tuple((gram - part.T @ part) / unit for gram, part, unit in triples)
    return ProjectedMoments(
        deviation_gram=grams,
        center_norm=np.sqrt(squares) * moments.scale,
        projected_center_norm=np.sqrt(projected) * moments.scale,
    )

"""The reference implementation's call, for code that was written for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import check_integer, check_margin, default_threads
from manifold_capacity.geometry.measure import find_centers, gaussian_samples, solve_manifolds
from manifold_capacity.geometry.moments import moments_from_arrays

FloatArray = NDArray[np.float64]


def manifold_analysis_corr(
    XtotT: Sequence[ArrayLike],
    kappa: float,
    n_t: int,
    t_vecs: ArrayLike | None = None,
    n_reps: int = 1,
) -> tuple[FloatArray, FloatArray, FloatArray, float, int]:
    """Capacity, radius, dimension, center correlation and K, called as in the reference code.

    The reference is the public Python code of Stephenson et al., "Untangling in invariant speech
    recognition" (NeurIPS 2019), which implements Cohen et al., Nat. Commun. 11, 746 (2020). New code
    should call `manifold_capacity.measure`, which also gives standard errors and certificates.

    Deliberate differences from the reference:

    * Second moments stand in for projecting the points, exactly; no random projection of large
      layers is needed beforehand.
    * K is at most the centers' rank minus one. (The reference fails for fewer than about a dozen
      manifolds or features.)
    * The search over K starts each K from the directions of the one before. (The reference draws a
      random start and never hands it to its solver.) So repetitions would repeat the same fit:
      `n_reps` is accepted and has no effect.
    * A fit that lowers its objective by making one center vanish is refused, and other starts are
      tried. (In the reference that manifold's radius explodes.)
    * K may be 0, if no direction lowers the mean correlation. (The reference removes one at least.)
    * The quadratic programs are solved to a relative duality gap of 1e-9. (The reference's
      tolerance is about 1e-6, and it adds 1e-12 to squared anchor norms, which lowers the dimension
      of manifolds smaller than 1e-5 of their center's norm.)
    * The Gaussian vectors come from a fixed seed, and each manifold's are its own. (The reference
      uses NumPy's global state.)
    * A single manifold, or centers that all coincide, are an error. (The reference returns NaN.)

    What is not different: ``D`` is the number of points where there are more features than points,
    although their deviations from the center span one direction fewer; and the radius is averaged
    with ``n_t``, not ``n_t - 1``, in the denominator (`measure` corrects that).

    Parameters
    ----------
    XtotT : sequence of P arrays (n_features, n_points_i)
        Points of each manifold, in columns.
    kappa : float
        Margin.
    n_t : int
        Gaussian samples per manifold, 2 at least.
    t_vecs : (D + 1, n_t) array, optional
        Gaussian samples to use for every manifold, the center's coordinate last; D is the smaller
        of n_features and n_points, which must be the same for every manifold.
    n_reps : int
        No effect, see above.

    Returns
    -------
    capacity, radius, dimension : (P,) array
    center_correlation : float
        Mean ``|cos|`` between different centers.
    K : int
        Rank of the low-rank structure of the centers that was projected out.

    Raises
    ------
    DegenerateManifoldsError, ValueError
        As `manifold_capacity.measure`; also if `t_vecs` has another shape than the manifolds need.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> XtotT = [rng.standard_normal((100, 1)) + rng.standard_normal((100, 20)) for _ in range(8)]
    >>> capacity, radius, dimension, correlation, K = manifold_analysis_corr(XtotT, 0, 200)
    >>> capacity.shape, bool(0 < correlation < 1)
    ((8,), True)
    """
    moments = moments_from_arrays([np.asarray(points).T for points in XtotT])
    check_margin(kappa)
    if t_vecs is None:
        n_t = check_integer("n_t", n_t, least=2)
        draw = gaussian_samples(0, n_t)
    else:
        given = np.ascontiguousarray(np.asarray(t_vecs, dtype=np.float64).T)

        def draw(manifold: int, dimension: int) -> FloatArray:
            if given.ndim != 2 or given.shape[1] != dimension + 1:
                raise UserError(
                    f"t_vecs has shape {given.T.shape}; manifold {manifold} needs "
                    f"({dimension + 1}, n_t): a row for each of its coordinates, and the center's "
                    "last. For manifolds of unequal sizes leave t_vecs out"
                )
            return given

    centers, projected = find_centers(moments, seed=0)
    results = solve_manifolds(moments, projected, draw, kappa, "active_set", default_threads())
    return (
        np.array([result.capacity for result in results]),
        np.array([result.radius for result in results]),
        np.array([result.dimension for result in results]),
        centers.center_correlation,
        centers.rank,
    )

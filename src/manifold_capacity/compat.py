"""The functions of the reference implementation, for code that was written for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from manifold_capacity.errors import UserError
from manifold_capacity.geometry import arguments
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.gram import gram_from_arrays
from manifold_capacity.geometry.measure import find_centers, gaussian_samples, solve_manifolds
from manifold_capacity.geometry.moments import moments_from_arrays


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
    should call `manifold_capacity.measure`, which also gives 95 % intervals, caveats and certificates.

    Deliberate differences from the reference:

    * The points are not projected: their second moments are, which is exact. Large layers need no
      random projection beforehand.
    * K leaves at least two dimensions of the centers. It is 0 only if that excludes any other K.
      (The reference fails for fewer than about a dozen manifolds or features.)
    * In the search over K, each K starts from the directions of the one before. (The reference
      draws a random start, but does not pass it to its solver.) Repetitions would repeat the same
      fit, so `n_reps` has no effect.
    * The centers' fit has an extra term that keeps every center away from zero. (In the reference a
      center can vanish, and that manifold's radius explodes.)
    * The quadratic programs are solved to a relative duality gap of 1e-9. (The reference's
      tolerance is about 1e-6, and it adds 1e-12 to squared anchor norms, which lowers the dimension
      of manifolds smaller than 1e-5 of their center's norm.)
    * The Gaussian vectors come from a fixed seed, different ones for each manifold. (The reference
      uses NumPy's global state.)
    * A single manifold, or centers that all coincide, are an error. (The reference returns NaN.)

    As in the reference, ``D`` is the number of points if there are more features than points,
    although their deviations from the center span one dimension fewer; and the radius is averaged
    with ``n_t``, not ``n_t - 1``, in the denominator (`measure` corrects that).

    Parameters
    ----------
    XtotT : sequence of P arrays (n_features, n_points_i)
        Points of each manifold, in columns.
    kappa : float
        Margin.
    n_t : int
        Gaussian samples per manifold, 2 at least. Ignored if `t_vecs` is given.
    t_vecs : (D + 1, n_t) array, optional
        Gaussian samples to use for every manifold, the center's coordinate last; D is the smaller
        of n_features and n_points, which must be the same for every manifold.
    n_reps : int
        No effect; see above.

    Returns
    -------
    capacity, radius, dimension : (P,) array
    center_correlation : float
        Mean ``|cos|`` between different centers.
    K : int
        Number of shared directions of the centers that were projected out.

    Raises
    ------
    DegenerateManifoldsError, ValueError
        As `manifold_capacity.measure`; also if the shape of `t_vecs` does not match the manifolds.

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
    arguments.check_margin(kappa)
    if t_vecs is None:
        n_t = arguments.check_integer("n_t", n_t, least=2)
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
    results = solve_manifolds(
        moments, projected, draw, kappa, "active_set", arguments.check_threads(None)
    )
    capacity, radius, dimension = np.array([list(result) for result in results]).T
    return capacity, radius, dimension, centers.center_correlation, centers.rank


def alldata_dimension_analysis(
    XtotT: Sequence[ArrayLike], perc: float = 0.90
) -> tuple[float, int, int]:
    """Dimension of all points together, called as in the reference code.

    Deliberate differences from the reference: it leaves out the smallest singular value (0, unless there are fewer
    features than points), and for the explained variance it also subtracts each point's mean over its features.

    Parameters
    ----------
    XtotT : sequence of P arrays (n_features, n_points_i)
        Points of each manifold, in columns.
    perc : float
        Share of the variance, between 0 and 1.

    Returns
    -------
    Dsvd : float
        Participation ratio of the covariance's eigenvalues.
    D_expvar : int
        Number of principal components that together explain no more than `perc` of the variance.
    D_feature : int
        Number of features.

    Raises
    ------
    ValueError
        If all points are the same, `perc` is out of range, or as `manifold_capacity.measure`.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.hstack([np.eye(4), -np.eye(4)])
    >>> ratio, explained, features = alldata_dimension_analysis([square, 3 * square])
    >>> round(ratio, 6), explained, features
    (4.0, 3, 4)
    """
    if not 0 < perc < 1:
        raise UserError(f"perc is {perc!r}; it must be a number between 0 and 1")
    gram = gram_from_arrays([np.asarray(points).T for points in XtotT])
    variances = np.linalg.eigvalsh(gram.matrix)[::-1].clip(0)
    if not variances[0] > 0:
        raise UserError("all points are the same; they have no dimension")
    explained = np.cumsum(variances) / variances.sum()
    return gram.participation_ratio, int((explained <= perc).sum()), gram.n_features

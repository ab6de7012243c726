"""95 % intervals of a layer's numbers: over draws of points, over seeds, or over classes.

What an interval is over says for what it holds. *Draws*: for other images of these classes, by this network.
*Classes*: for other classes like these, and their images, by this network. *Seeds*: for other trainings like these.
None holds for infinitely many classes, at which a number may differ.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from manifold_capacity.geometry.arguments import FloatArray

QUANTITIES = ("capacity", "radius", "dimension", "center_correlation")
LEVEL = 0.95
# Of two, an interval is 13 standard errors wide on either side: of no use.
FEWEST = 3
# A class is in the mean correlation over pairs twice: in its own row and in every other one.
_TWICE = 2.0


def half_width(deviations: ArrayLike) -> Any:
    """Half the width of the t interval of a mean, from n deviations from it along the first axis; NaN for n < 2."""
    from scipy.special import stdtrit

    deviations = np.asarray(deviations, dtype=float)
    n = len(deviations)
    if n < 2:
        return np.full(deviations.shape[1:], math.nan)[()]
    stderr = np.sqrt((deviations**2).sum(axis=0) / (n - 1) / n)
    return stdtrit(n - 1, (1 + LEVEL) / 2) * stderr


def max_t(deviations: FloatArray, draws: int = 10_000) -> float:
    """How many times wider simultaneous t intervals are than single ones; 1 for a single mean.

    Parameters
    ----------
    deviations : (n, k) array
        Those of n units, the same for k means, from each mean. The largest of the k t statistics is simulated
        with their correlations (Hothorn, Bretz & Westfall, Biom. J. 50, 346, 2008), which are shrunk toward 0 by as
        much as few units make them too large (Schaefer & Strimmer, Stat. Appl. Genet. Mol. Biol. 4, 32, 2005).
    """
    from scipy.special import stdtrit

    deviations = deviations[:, np.isfinite(deviations).all(axis=0) & deviations.any(axis=0)]
    n, k = deviations.shape
    if n < 2 or k < 2:
        return 1.0
    rng = np.random.default_rng(0)
    units = deviations / np.sqrt((deviations**2).sum(axis=0))
    correlation = (units.T @ units)[~np.eye(k, dtype=bool)]
    noise = (1 - np.minimum(correlation**2, 1)) ** 2 / (n - 1)
    shrinkage = min(1.0, float(noise.sum() / (correlation**2).sum()))
    # Numbers with these correlations, over the root of a chi-square: k correlated t statistics.
    statistics = math.sqrt(1 - shrinkage) * (rng.standard_normal((draws, n)) @ units)
    statistics += math.sqrt(shrinkage) * rng.standard_normal((draws, k))
    statistics = np.abs(statistics).max(axis=1) / np.sqrt(rng.chisquare(n - 1, draws) / (n - 1))
    single = stdtrit(n - 1, (1 + LEVEL) / 2)
    return max(1.0, float(np.quantile(statistics, LEVEL) / single))


def interval_of_mean(
    quantity: str, values: ArrayLike, *, times: float = 1.0, shared_stderr: float = 0.0
) -> tuple[Any, Any]:
    """The t interval of the mean of n values along the first axis; of capacities, of their harmonic mean.

    The n values are of draws, or of classes (see `over_classes`). The interval is `times` as wide, and wider by an
    error of the mean that does not show in the values, `shared_stderr`. Ends are 0 or more, those of correlations
    1 at most.
    """
    from scipy.special import ndtri

    values = np.asarray(values, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):  # infinite values
        values = 1.0 / values if quantity == "capacity" else values
        mean: Any = values.mean(axis=0)  # a number or an array
        shared = ndtri((1 + LEVEL) / 2) * shared_stderr
        shared = shared * mean**2 if quantity == "capacity" else shared
        half = np.hypot(times * half_width(values - mean), shared)
        low, high = np.maximum(mean - half, 0.0), mean + half
        if quantity == "center_correlation":
            high = np.minimum(high, 1.0)
        return (1.0 / high, 1.0 / low) if quantity == "capacity" else (low, high)


def over_classes(
    quantity: str, values: ArrayLike, shared_stderr: float = 0.0
) -> tuple[float, float]:
    """The interval of a layer's number over its classes.

    Parameters
    ----------
    quantity : {"capacity", "radius", "dimension", "center_correlation"}
    values : (P,) array
        Those of the classes; of ``center_correlation``, the mean correlation of each center with the others. A pair
        of classes is in the values of both: the interval counts that twice, and is too wide by up to sqrt(2).
    shared_stderr : float
        Standard error of the layer's number that all classes share, from samples common to them: it does not show in
        their differences, and is added.
    """
    times = _TWICE if quantity == "center_correlation" else 1.0
    low, high = interval_of_mean(quantity, values, times=times, shared_stderr=shared_stderr)
    return float(low), float(high)


def influence(quantity: str, values: FloatArray) -> tuple[float, FloatArray]:
    """A layer's number from those of its classes (P,), and how far each class moves it from the mean of all."""
    if quantity.endswith("capacity"):
        inverse = 1.0 / values
        capacity = 1.0 / inverse.mean() if inverse.any() else math.inf
        with np.errstate(invalid="ignore"):
            return capacity, -(capacity**2) * (inverse - inverse.mean())
    deviations = values - values.mean()
    times = _TWICE if quantity == "center_correlation" else 1.0
    return float(values.mean()), times * deviations


def in_brackets(value: float, low: float, high: float) -> str:
    """'0.217 [0.203, 0.233]': a value and its interval, to two digits of half its width; without one '0.2168'."""
    half = (high - low) / 2
    if not 0 < half < math.inf:
        return f"{value:.4g}"
    decimals = min(max(0, 1 - math.floor(math.log10(half))), 12)
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"

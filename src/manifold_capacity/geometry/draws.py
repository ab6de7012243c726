"""Several draws of points and Gaussian samples put together: their mean, and how far they scatter.

Draws of one class have no point in common, and each has Gaussian samples of its own. How far the
results scatter therefore holds both sampling errors, that of the points and that of the Gaussians.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import check_integer
from manifold_capacity.geometry.measure import measure
from manifold_capacity.geometry.result import Geometry

if TYPE_CHECKING:
    import pandas as pd


_QUANTITIES = ("capacity", "radius", "dimension")


# Of a layer: what is not a mean over draws.
_SUMS = ("n_unconverged",)


_LARGEST = ("worst_gap",)


_LEAST = ("centers_least_residual_ratio", "centers_converged")


_SHARED = ("n_manifolds", "n_points", "n_features", "margin", "solver", "seed")


def draw_seed(seed: int, draw: int) -> int:
    """Seed of a draw's Gaussian samples; that of draw 0 is the seed itself.

    >>> draw_seed(7, 0), draw_seed(7, 1) == draw_seed(7, 2)
    (7, False)
    """
    return int(np.random.SeedSequence([seed, draw]).generate_state(1)[0]) if draw else seed


def measure_draws(
    manifolds: Sequence[Any], n_points: int, n_draws: int = 1, *, seed: int = 0, **options: Any
) -> list[Geometry]:
    """Geometry of several draws of equally many points from each manifold; none is in two draws.

    Parameters
    ----------
    manifolds : sequence of P arrays (n_points_i, n_features)
        They may have different numbers of points.
    n_points : int
        Points to draw from each manifold, without replacement.
    n_draws : int
        How many draws; every manifold needs `n_points` times as many points.
    seed : int
        Seed of the points and of the Gaussian samples. What is drawn depends on it and on the
        manifold's place alone, so that manifolds of the same trials in two areas give the same trials.
    **options
        Passed on to `manifold_capacity.measure`.

    Returns
    -------
    list of Geometry
        One per draw, as `combine_draws` takes them. The workflow's ``manifolds.points_per_class`` and
        ``geometry.repeats`` draw the same points.

    Raises
    ------
    ValueError
        If a manifold has too few points, naming it.

    Examples
    --------
    >>> manifolds = [np.random.default_rng(i).normal(i, 1, (20 + i, 30)) for i in range(4)]
    >>> row, _ = combine_draws(measure_draws(manifolds, 5, 4))
    >>> row["n_points"], row["n_repeats"]
    (20, 4)
    """
    check_integer("n_points", n_points, least=1)
    check_integer("n_draws", n_draws, least=1)
    for index, points in enumerate(manifolds):
        if len(points) < n_draws * n_points:
            raise UserError(
                f"n_points is {n_points} and n_draws {n_draws}, but manifold {index} has only {len(points)} "
                "points; draw fewer, or leave the manifold out"
            )
    geometries = []
    for draw in range(n_draws):
        drawn = []
        for index, points in enumerate(manifolds):
            order = np.random.default_rng([seed, index]).permutation(len(points))
            chosen = np.sort(order[draw * n_points : (draw + 1) * n_points])
            drawn.append(np.asarray(points)[chosen])
        geometries.append(measure(drawn, seed=draw_seed(seed, draw), **options))
    return geometries


def combine_draws(draws: Sequence[Geometry]) -> tuple[dict[str, Any], pd.DataFrame]:
    """One layer's row and table of manifolds, from one geometry per draw.

    Parameters
    ----------
    draws : sequence of Geometry
        Of the same P manifolds, each from other points and other Gaussian samples.

    Returns
    -------
    dict
        As `Geometry.summary`, and ``n_repeats``.
    DataFrame
        As `Geometry.to_frame`.

    Notes
    -----
    Of one draw, both are its own. Of several, numbers are the mean over draws (capacity the harmonic
    mean, as over manifolds), and a standard error is the standard deviation between draws over the
    square root of their number; the center correlation then has one as well. With R draws, the 95 %
    interval is the t distribution's, of R - 1 degrees of freedom: ± 4.3 standard errors for 3
    draws, ± 2.8 for 5, ± 2.3 for 10.
    """
    import pandas as pd

    summaries = [draw.summary() for draw in draws]
    frames = [draw.to_frame() for draw in draws]
    if len(draws) == 1:
        return summaries[0] | {"n_repeats": 1}, frames[0]
    row: dict[str, Any] = {}
    for name, first in summaries[0].items():
        values = np.array([summary[name] for summary in summaries])
        if name in _SHARED:
            row[name] = first
        elif name in _SUMS:
            row[name] = int(values.sum())
        elif name in _LARGEST:
            row[name] = float(values.max())
        elif name in _LEAST:
            row[name] = values.min().item()
        elif isinstance(first, str):
            row[name] = "/".join(dict.fromkeys(values.tolist()))
        elif name == "n_gaussians":  # "auto" may need more in one draw than in another
            row[name] = round(float(values.mean()))
        elif not name.endswith("_stderr"):
            mean = _harmonic if name in ("capacity", "signal_to_noise") else _arithmetic
            average, error = mean(values)
            row[name] = float(average)
            if name in (*_QUANTITIES, "center_correlation"):
                row[f"{name}_stderr"] = float(error)
    frame = pd.DataFrame(index=frames[0].index)
    for column in frames[0].columns:
        values = np.array([part[column] for part in frames])
        if column == "n_points":
            frame[column] = frames[0][column]
        elif column in _SUMS:
            frame[column] = values.sum(axis=0)
        elif column in _LARGEST:
            frame[column] = values.max(axis=0)
        elif not column.endswith("_stderr"):
            mean = _harmonic if column in ("capacity", "signal_to_noise") else _arithmetic
            frame[column], error = mean(values)
            if column in _QUANTITIES:
                frame[f"{column}_stderr"] = error
    return row | {"n_repeats": len(draws)}, frame


def _arithmetic(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis, and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _harmonic(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of the harmonic mean, in which an infinite value counts as 1 / 0."""
    mean, error = _arithmetic(1.0 / values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1.0 / mean, error / mean**2

"""Repeated draws of points: measured one by one, then their mean and standard error.

The draws of a class share no point, and each has its own Gaussian samples: standard errors between
draws cover both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import check_integer
from manifold_capacity.geometry.measure import measure
from manifold_capacity.geometry.result import QUANTITIES, Geometry

if TYPE_CHECKING:
    import pandas as pd

# How values of several draws are combined, if not to their mean. "auto" may need different numbers
# of Gaussian samples in different draws.
_SHARED = ("n_manifolds", "n_points", "n_features", "margin", "solver", "seed")
_REDUCED: dict[str, Callable[[np.ndarray], Any]] = {
    "n_gaussians": lambda values: np.round(values.mean(axis=0)).astype(int),
    "n_unconverged": lambda values: values.sum(axis=0),
    "worst_gap": lambda values: values.max(axis=0),
    "centers_least_residual_ratio": lambda values: values.min(axis=0),
    "centers_converged": lambda values: values.min(axis=0),
    "centers_stopped": lambda values: "/".join(dict.fromkeys(values.tolist())),
}
_HARMONIC = ("capacity", "signal_to_noise")


def draw_seed(seed: int, draw: int) -> int:
    """Seed of a draw's Gaussian samples; for draw 0 the seed itself.

    >>> draw_seed(7, 0), draw_seed(7, 1) == draw_seed(7, 2)
    (7, False)
    """
    return int(np.random.SeedSequence([seed, draw]).generate_state(1)[0]) if draw else seed


def measure_draws(
    manifolds: Sequence[Any], n_points: int, n_draws: int = 1, *, seed: int = 0, **options: Any
) -> list[Geometry]:
    """Geometry of several draws of equally many points from each manifold, without overlap.

    Parameters
    ----------
    manifolds : sequence of P arrays (n_points_i, n_features)
        They may have different numbers of points.
    n_points : int
        Points to draw from each manifold, without replacement.
    n_draws : int
        Number of draws; every manifold needs ``n_draws * n_points`` points.
    seed : int
        Seed of the points and of the Gaussian samples. Which points are drawn depends on the seed
        and on the manifold's position and size only, so that in recordings of the same trials from
        two areas the same trials are drawn.
    **options
        Passed on to `manifold_capacity.measure`.

    Returns
    -------
    list of Geometry
        One per draw, for `combine_draws`. The workflow's ``manifolds.points_per_class`` and
        ``geometry.repeats`` draw the same points.

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
    """One layer's row and table of manifolds, from the geometry of each draw.

    The row is `Geometry.summary` and ``n_repeats``, the table `Geometry.to_frame`. For several
    draws, numbers are means over draws (the harmonic mean for capacity, as over manifolds), and
    standard errors are the standard deviation between draws divided by the square root of their
    number, also for the center correlation. With R draws, the 95 % interval is that of the t
    distribution with R - 1 degrees of freedom: ± 4.3 standard errors for 3 draws, ± 2.8 for 5, ± 2.3
    for 10.
    """
    import pandas as pd

    summaries = [draw.summary() for draw in draws]
    frames = [draw.to_frame() for draw in draws]
    if len(draws) == 1:
        return summaries[0] | {"n_repeats": 1}, frames[0]
    row = _combine(summaries, with_error=(*QUANTITIES, "center_correlation"))
    row = {name: v.item() if isinstance(v, np.generic) else v for name, v in row.items()}
    frame = pd.DataFrame(_combine(frames, with_error=QUANTITIES), index=frames[0].index)
    return row | {"n_repeats": len(draws)}, frame


def _combine(draws: Sequence[Any], with_error: Sequence[str]) -> dict[str, Any]:
    """Values of several draws by name, combined; those of `with_error` with a standard error."""
    combined: dict[str, Any] = {}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws])
        if name in _SHARED:
            combined[name] = draws[0][name]
        elif name in _REDUCED:
            combined[name] = _REDUCED[name](values)
        elif not name.endswith("_stderr"):
            if name in _HARMONIC:
                values = 1.0 / values
            mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
            if name in _HARMONIC:
                with np.errstate(divide="ignore", invalid="ignore"):  # infinite values
                    mean, error = 1.0 / mean, error / mean**2
            combined[name] = mean
            if name in with_error:
                combined[f"{name}_stderr"] = error
    return combined

"""Repeated draws of points: measured one by one, then their mean and its interval.

The draws of a class share no point, and each has its own Gaussian samples: intervals over draws cover
both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import check_integer
from manifold_capacity.geometry.find_caveats import merged, rank_choice
from manifold_capacity.geometry.intervals import FEWEST, QUANTITIES, interval_of_mean, over_classes
from manifold_capacity.geometry.labeled import Naming
from manifold_capacity.geometry.measure import measure
from manifold_capacity.geometry.result import GAUSSIAN_STDERR, PER_MANIFOLD, Geometry
from manifold_capacity.geometry.user_arrays import as_array

if TYPE_CHECKING:
    import pandas as pd

# How values of several draws are combined, if not to their mean. "auto" may need different numbers
# of Gaussian samples in different draws.
_SHARED = ("n_manifolds", "n_points", "n_features", "margin", "solver", "seed")
_REPLACED = ("interval_over", "caveats", "caveats_text")  # as are the ends of intervals
_REDUCED: dict[str, Callable[[np.ndarray], Any]] = {
    "n_gaussians": lambda values: np.round(values.mean(axis=0)).astype(int),
    "n_unconverged": lambda values: values.sum(axis=0),
    "worst_gap": lambda values: values.max(axis=0),
    "centers_least_residual_ratio": lambda values: values.min(axis=0),
    "centers_converged": lambda values: values.min(axis=0),
    "centers_stopped": lambda values: "/".join(dict.fromkeys(values.tolist())),
}
_HARMONIC = ("capacity", "signal_to_noise", "capacity_rank_low", "capacity_rank_high")


def draw_seed(seed: int, draw: int) -> int:
    """Seed of a draw's Gaussian samples; for draw 0 the seed itself.

    >>> draw_seed(7, 0), draw_seed(7, 1) == draw_seed(7, 2)
    (7, False)
    """
    return int(np.random.SeedSequence([seed, draw]).generate_state(1)[0]) if draw else seed


def measure_draws(
    manifolds: Sequence[Any],
    n_points: int | Literal["equal"],
    n_draws: int = 1,
    *,
    seed: int = 0,
    **options: Any,
) -> list[Geometry]:
    """Geometry of several draws of equally many points from each manifold.

    Parameters
    ----------
    manifolds : sequence of P arrays (n_points_i, ...)
        They may have different numbers of points.
    n_points : int or "equal"
        Points to draw from each manifold, without replacement. "equal": as many as the smallest manifold has;
        then draws overlap, for ``combine_draws(..., disjoint=False)``.
    n_draws : int
        Number of draws, with no point in common: every manifold needs ``n_draws * n_points`` points. Only draws of
        "equal" numbers overlap.
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
    sizes = [*map(len, manifolds)]
    check_draws(sizes, n_points, n_draws, ("n_points", "n_draws"))
    arrays = [np.asarray(as_array(points)) for points in manifolds]
    geometries = []
    for draw in range(n_draws):
        chosen = draw_places(sizes, n_points, draw, seed)
        drawn = [points[places] for points, places in zip(arrays, chosen, strict=True)]
        geometries.append(measure(drawn, seed=draw_seed(seed, draw), **options))
    return geometries


def check_draws(
    sizes: Sequence[int],
    n_points: int | str,
    n_draws: int,
    called: tuple[str, str],
    naming: Naming | None = None,
) -> None:
    """UserError unless every manifold has the points for so many draws; `called` are the arguments' names."""
    if n_points != "equal":
        n_points = check_integer(called[0], n_points, least=1, other="'equal'")
    n_draws = check_integer(called[1], n_draws, least=1)
    least = min(sizes)
    if isinstance(n_points, int) and least < n_draws * n_points:
        smallest = (naming or Naming()).manifolds([sizes.index(least)])
        raise UserError(
            f"{called[0]} is {n_points} and {called[1]} {n_draws}, which needs {n_draws * n_points} points of each manifold, "
            f"but {smallest} has only {least}; draw fewer, or leave it out"
        )


def draw_places(
    sizes: Sequence[int],
    n_points: int | str,
    draw: int,
    seed: int,
    indices: Sequence[int] | None = None,
    least: int | None = None,
) -> list[NDArray[np.int64]]:
    """The points of one draw, as sorted places among those of each manifold: the same as the pipeline's.

    `n_points` is their number, "equal" or "all"; `indices` are those of the manifolds' classes, on which, with the seed and
    the size, depends what is drawn. "equal" is the size of the smallest, or `least`.
    """
    if n_points == "all":
        return [np.arange(size) for size in sizes]
    equal = n_points == "equal"
    each = least or min(sizes) if equal else int(n_points)
    first = 0 if equal else draw * each
    places = []
    for index, size in zip(indices or range(len(sizes)), sizes, strict=True):
        # Draws that may overlap have a seed each.
        key = [seed, index, draw] if equal and draw else [seed, index]
        order = np.random.default_rng(key).permutation(size)
        places.append(np.sort(order[first : first + each]))
    return places


def combine_draws(
    draws: Sequence[Geometry], *, disjoint: bool = True
) -> tuple[dict[str, Any], pd.DataFrame]:
    """One layer's row and table of manifolds, from the geometry of each draw.

    The row is `Geometry.summary` and ``n_repeats``, the table `Geometry.to_frame`. For several draws, numbers
    are means over draws (the harmonic mean for capacity, as over manifolds). From three draws on, if they are
    `disjoint`, the 95 % intervals are t intervals over draws, of the manifolds too; else they are over classes,
    whose numbers are means over draws.
    """
    import pandas as pd

    row, columns = combine_columns(draws, disjoint=disjoint)
    return row, pd.DataFrame(columns, index=draws[0].to_frame().index)


def combine_columns(
    draws: Sequence[Geometry], *, disjoint: bool = True
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """`combine_draws` with the table as columns by name; does not need pandas."""
    summaries = [draw.summary() for draw in draws]
    tables = [draw.columns() for draw in draws]
    if len(draws) == 1:
        return summaries[0] | {"n_repeats": 1}, tables[0]
    row, columns = _combine(summaries), _combine(tables)
    if disjoint and len(draws) >= FEWEST:
        row["interval_over"] = "draws"
        for of_draws, combined, names in (
            (summaries, row, QUANTITIES),
            (tables, columns, PER_MANIFOLD),
        ):
            for name in names:
                low, high = interval_of_mean(name, np.array([each[name] for each in of_draws]))
                combined[f"{name}_low"], combined[f"{name}_high"] = low, high
    else:
        for name in QUANTITIES:
            row[f"{name}_low"], row[f"{name}_high"] = over_classes(name, columns[name])
    texts = [draw.caveat_texts for draw in draws]
    found = merged(
        [rank_choice(row), *({k: v for k, v in t.items() if k != "rank_choice"} for t in texts)]
    )
    row |= {"caveats": " ".join(found), "caveats_text": " ".join(found.values())}
    row = {name: v.item() if isinstance(v, np.generic) else v for name, v in row.items()}
    return row | {"n_repeats": len(draws)}, columns


def _combine(draws: Sequence[Any]) -> dict[str, Any]:
    """Values of several draws by name, combined."""
    combined: dict[str, Any] = {}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws])
        if name in (*_SHARED, *_REPLACED):
            combined[name] = draws[0][name]
        elif name in _REDUCED:
            combined[name] = _REDUCED[name](values)
        elif name.endswith(GAUSSIAN_STDERR):
            quantity = name.removesuffix(GAUSSIAN_STDERR)
            of_draws = np.array([draw[quantity] for draw in draws])
            combined[name] = _stderr_of_mean(quantity, of_draws, values)
        else:
            combined[name] = _mean(name, values)
    return combined


def _mean(name: str, values: np.ndarray) -> Any:
    """Mean over draws, the first axis; the harmonic mean where manifolds are averaged that way too."""
    if name not in _HARMONIC:
        return values.mean(axis=0)
    with np.errstate(divide="ignore"):  # infinite values
        return 1.0 / (1.0 / values).mean(axis=0)


def _stderr_of_mean(quantity: str, values: np.ndarray, stderr: np.ndarray) -> Any:
    """Standard error of the mean over draws, from those of the draws, which are independent."""
    if quantity in _HARMONIC:
        finite = np.isfinite(values)
        of_inverse = np.divide(stderr, values**2, out=np.zeros_like(stderr), where=finite)
        with np.errstate(invalid="ignore"):
            error = (
                np.sqrt((of_inverse**2).sum(axis=0)) / len(values) * _mean(quantity, values) ** 2
            )
        return np.where(finite.any(axis=0), error, np.inf)[()]
    return np.sqrt((stderr**2).sum(axis=0)) / len(values)

"""Which caveats of `caveats.CAVEATS` a layer has, and what to say of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.geometry.certificates import GAP_TOLERANCE
from manifold_capacity.geometry.glue_result import NEAR_FLOOR, Glue
from manifold_capacity.geometry.moments import Moments
from manifold_capacity.geometry.result import PER_MANIFOLD, Geometry

_LEAST_CENTER_RATIO = 2.0  # of the centers' variance to that of chance
_RESIDUAL_CORRELATION, _LOWERED = 0.3, 0.8
_OUTLIER_SHARE, _OUTLIER_POINTS = 0.9, 20
_FEATURES = 2.0


def center_variance_ratio(moments: Moments) -> float:
    """Mean squared distance of the centers from their mean, relative to what chance gives if all classes are the same.

    About 1 for classes of independent points from one distribution; infinite for single points.
    """
    several = moments.n_points > 1
    n = moments.n_points[several]
    chance = (moments.deviation_trace[several] / (n - 1) / n).sum() * (1 - 1 / moments.n_manifolds)
    between = float(moments.center_gram.diagonal()[several].sum())
    return between / chance if chance > 0 else np.inf


def find_caveats(moments: Moments, geometry: Geometry) -> dict[str, str]:
    """The caveats of a geometry: codes in the order of `CAVEATS`, and what to say of each, with its numbers."""
    found = dict(_find(moments, geometry))
    return {code: found[code] for code in CAVEATS if code in found}


def _find(moments: Moments, geometry: Geometry) -> Iterator[tuple[str, str]]:
    fit, row, n_unconverged = geometry.centers, geometry.summary(), geometry.n_unconverged
    capacity = float(row["capacity"])
    n_manifolds, n_points = moments.n_manifolds, moments.n_points
    total = int(n_points.sum())
    ratio = center_variance_ratio(moments)
    if ratio < _LEAST_CENTER_RATIO:
        yield (
            "centers",
            f"The centers' variance is only {ratio:.3g} times what chance gives if all classes are the same: measure more "
            "points per class.",
        )
    residual, before = fit.residual_correlation, fit.center_correlation
    if residual > _RESIDUAL_CORRELATION and residual > _LOWERED * before:
        yield (
            "correlation",
            f"The projection could not lower the centers' correlation ({before:.3g}, then {residual:.3g}), which the theory "
            "takes as none.",
        )
    outlier = moments.outlier or _dominating_point(moments)
    if outlier:
        yield "outlier", outlier
    floor = 2 * n_manifolds / total
    if geometry.margin == 0 and capacity < NEAR_FLOOR * floor and total > n_manifolds:
        yield (
            "floor",
            f"The capacity {capacity:.3g} is near {floor:.3g}, that of {total / n_manifolds:.3g} points per class whatever "
            "their geometry: measure more points per class.",
        )
    needed = _FEATURES * n_manifolds / capacity
    if moments.n_features < min(total, needed):
        yield (
            "features",
            f"With {moments.n_features} features for {total} points the labels may not be separable in the layer itself.",
        )
    yield from _unequal(n_points).items()
    if fit.stopped != "rises" and fit.rank == len(fit.correlations) - 1:
        yield "rank_bound", f"The rank K = {fit.rank} is the largest that was tried."
    yield from rank_choice(row).items()
    if n_unconverged.any():
        bad = np.flatnonzero(n_unconverged)
        named = moments.naming.manifolds(bad[:10].tolist()) + (", ..." if len(bad) > 10 else "")
        yield (
            "programs",
            f"{int(n_unconverged.sum())} quadratic programs did not converge, of {named}: worst relative "
            f"gap {geometry.worst_gap.max():.1e}.",
        )
    if not fit.converged:
        yield "fit", f"The fit of {fit.rank} shared directions did not reach its tolerance."


def _unequal(n_points: NDArray[np.int64]) -> dict[str, str]:
    least, most = int(n_points.min()), int(n_points.max())
    if least == most:
        return {}
    text = f"The classes have {least} to {most} points; the more points, the lower the capacity: draw equally many from each."
    return {"unequal": text}


def rank_choice(row: Mapping[str, Any]) -> dict[str, str]:
    """The caveat of a layer's row that other numbers of directions, nearly as good, give numbers outside its interval."""
    outside = [
        f"{name} from {low:.4g} to {high:.4g}"
        for name in PER_MANIFOLD
        for low, high in [(row[f"{name}_rank_low"], row[f"{name}_rank_high"])]
        if low < row[f"{name}_low"] or high > row[f"{name}_high"]
    ]
    if not outside:
        return {}
    ranks = f"K from {row['center_rank_low']:g} to {row['center_rank_high']:g}"
    return {"rank_choice": f"With {ranks}, nearly as good, the layer has {', '.join(outside)}."}


def _dominating_point(moments: Moments) -> str:
    """Which point holds nearly all the variance of its manifold; empty if none does."""
    for i, gram in enumerate(moments.deviation_gram):
        squares: FloatArray = gram.diagonal()
        if len(squares) >= _OUTLIER_POINTS and squares.max() > _OUTLIER_SHARE * squares.sum():
            point, share = (
                moments.naming.point(i, int(squares.argmax())),
                squares.max() / squares.sum(),
            )
            return f"{point[0].upper()}{point[1:]} alone has {share:.0%} of its variance: is it damaged?"
    return ""


def glue_caveats(glue: Glue) -> dict[str, str]:
    """The caveats of an exact capacity: codes, and what to say of each."""
    found = _unequal(glue.n_points)
    if glue.near_floor:
        found["glue_floor"] = (
            f"The exact capacity {glue.capacity:.3g} is near {glue.capacity_floor:.3g}, that of as many points without "
            "structure: measure more points per class."
        )
    if glue.separable_fraction == 0:
        found["glue_labels"] = (
            f"No labels can be separated in the layer itself: its exact capacity is below {len(glue.n_points) / glue.rank:.3g}."
        )
    elif glue.separable_fraction < 1:
        found["glue_labels"] = (
            f"{1 - glue.separable_fraction:.0%} of the labels cannot be separated in the layer itself; exact capacity is an "
            "upper limit."
        )
    if glue.problem:
        found["glue_anchors"] = f"{glue.problem[0].upper()}{glue.problem[1:]}."
    if bad := int((~(glue.samples.gap <= GAP_TOLERANCE)).sum()):
        found["glue_programs"] = (
            f"{bad} quadratic programs of the exact capacity did not converge: worst relative gap {glue.worst_gap:.1e}."
        )
    return found


def merged(all_texts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The caveats of several geometries as one: each code with the text of the first that has it."""
    found: dict[str, str] = {}
    for code, text in itertools.chain.from_iterable(texts.items() for texts in all_texts):
        found.setdefault(code, text)
    return {code: found[code] for code in CAVEATS if code in found}

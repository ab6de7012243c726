"""How far the layer's results depend on K, where several K leave nearly the same correlations.

The least residual correlation is a flat minimum: another point in a single manifold often moves it
to another K, and the results with it by many of their standard errors, which cover the Gaussian
samples only (benchmarks/center_rank.py). So the layer is solved at every near-tied K.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.centers import (
    CenterStructure,
    CoincidingCentersError,
    ProjectedMoments,
    project,
)
from manifold_capacity.geometry.certificates import AnchorGeometry
from manifold_capacity.geometry.moments import Moments

N_GAUSSIANS = 100
"""Gaussian samples that suffice: results at different K come from the same samples, so that their
ratios are much more exact than they are: typically to 0.1 % at 100 manifolds, 0.6 % at 10."""

Solve = Callable[[ProjectedMoments], list[AnchorGeometry]]


def near_rank_ranges(
    moments: Moments, structure: CenterStructure, layer: Mapping[str, Any], solve: Solve
) -> dict[str, tuple[float, float]]:
    """Least and largest capacity, radius and dimension of the layer over the near-tied K.

    Parameters
    ----------
    moments : Moments
        Of the layer.
    structure : CenterStructure
        What `fit_centers` found in them.
    layer : mapping
        The layer's ``capacity``, ``radius`` and ``dimension`` at the kept K, from any number of
        samples (`Geometry.summary`).
    solve : function
        From projected moments to every manifold's `AnchorGeometry`, with the same Gaussian samples
        at each call; `N_GAUSSIANS` suffice.

    Returns
    -------
    dict
        (low, high) of each of the three. Each contains the layer's value, which it equals if no
        other K is near-tied. A K that would take all of a center away is left out.

    Examples
    --------
    >>> from manifold_capacity.geometry import measure
    >>> from manifold_capacity.geometry.moments import moments_from_arrays
    >>> points = np.random.default_rng(4).standard_normal((40, 10, 200))
    >>> moments = moments_from_arrays(points * np.arange(1, 201) ** -0.8)
    >>> layer = measure.geometry_from_moments(moments)
    >>> def solve(projected):
    ...     draw = measure.gaussian_samples(0, N_GAUSSIANS)
    ...     return measure.solve_manifolds(moments, projected, draw, 0.0, "active_set", 1)
    >>> ranges = near_rank_ranges(moments, layer.centers, layer.summary(), solve)
    >>> layer.center_rank, layer.centers.near_tied
    (10, (9, 10, 11, 12))
    >>> low, high = ranges["capacity"]
    >>> 0.175 < low < layer.summary()["capacity"] < high < 0.19
    True
    """
    ratios = [np.ones(3)]
    others = [rank for rank in structure.near_tied if rank != structure.rank]
    if others:
        kept = _layer(solve(project(moments, structure)))
    for rank in others:
        try:
            projected = project(moments, structure, rank)
        except CoincidingCentersError:
            continue
        # Single points have no radius and no dimension, at any K.
        ratios.append(np.divide(_layer(solve(projected)), kept, out=np.ones(3), where=kept > 0))
    lowest, highest = np.min(ratios, axis=0).tolist(), np.max(ratios, axis=0).tolist()
    return {
        # Its ratios are those of 1/capacity.
        "capacity": (layer["capacity"] / highest[0], layer["capacity"] / lowest[0]),
        "radius": (layer["radius"] * lowest[1], layer["radius"] * highest[1]),
        "dimension": (layer["dimension"] * lowest[2], layer["dimension"] * highest[2]),
    }


def _layer(results: list[AnchorGeometry]) -> FloatArray:
    """1/capacity, radius and dimension of the layer."""
    return np.array([(1 / r.capacity, r.radius, r.dimension) for r in results]).mean(axis=0)

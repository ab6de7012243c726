"""Samples so far from all others that sums of squares in float64 lose the others' digits: a missing value's code, say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.manifolds import Source, as_float64

_EPS = float(np.finfo(np.float64).eps)
# Loss of digits (eps times the squared ratio of distances) that is said, and that is refused.
_SAID, _REFUSED = 1e-9, 1e-3
# Relative to the largest distance: the squares of smaller ones are 0.
_VANISHING = 1e-150
_BLOCK_FEATURES = 1024


@dataclass(frozen=True)
class _Value:
    manifold: int
    point: int
    feature: int
    value: float
    distance: float  # from the feature's median


def describe_outlier(
    source: Source, of_points: FloatArray, of_centers: FloatArray, *, rescaled: bool
) -> str:
    """What to say of a sample far outside the others; empty if there is none.

    Parameters
    ----------
    source : Source
        Read again only if there is one, to name it.
    of_points : (M,) array
        Squared distance of each point from the first of its manifold.
    of_centers : (P,) array
        Squared distance of each manifold's first point from a typical point.
    rescaled : bool
        Whether values are so large or small that squares were taken in other units, where those of ordinary
        points may be 0. Then all points are looked at once more.

    Raises
    ------
    ValueError
        If the others keep less than three digits.
    """
    lost = max(_lost(of_points), _lost(of_centers))
    if lost <= _SAID and not rescaled:
        return ""
    far, typical = _farthest(source)
    if rescaled and far.distance * _VANISHING > typical > 0:
        lost = 1.0
    if lost <= _SAID:
        return ""
    point = source.naming.point(far.manifold, far.point)
    text = (
        f"{point[0].upper()}{point[1:]} has the value {far.value:g} in feature {far.feature}, "
        f"{far.distance:.1e} from that feature's median. In float64, the other points keep only {-np.log10(lost):.0f} of "
        "their digits."
    )
    if lost <= _REFUSED:
        return text
    kept = "none" if lost > 0.1 else "too few"
    raise UserError(
        f"{point}, feature {far.feature} is {far.value:g}, {far.distance:.1e} from that "
        f"feature's median, so far from all others that {kept} of their digits are left in float64 (is it the code of a "
        "missing value?); drop the point or the feature"
    )


def _lost(squares: FloatArray) -> float:
    """Relative error that the largest of squared distances puts on the typical one."""
    known = squares[squares > 0]
    return _EPS * float(known.max() / np.median(known)) if len(known) else 0.0


def _farthest(source: Source) -> tuple[_Value, float]:
    """The value farthest from the median of its feature, and how far a typical point's farthest value is."""
    found = _Value(0, 0, 0, 0.0, -1.0)
    largest = [np.zeros(size) for size in source.sizes]
    for first, block in source.blocks(min(_BLOCK_FEATURES, source.n_features)):
        points = [as_float64(values) for values in block]
        median = np.median(np.concatenate(points), axis=0)
        for i, values in enumerate(points):
            distances = np.abs(values - median)
            np.maximum(largest[i], distances.max(axis=1), out=largest[i])
            point, feature = np.unravel_index(int(distances.argmax()), distances.shape)
            if distances[point, feature] > found.distance:
                value, distance = float(values[point, feature]), float(distances[point, feature])
                found = _Value(i, int(point), first + int(feature), value, distance)
    of_points = np.concatenate(largest)
    return found, float(np.median(of_points[of_points > 0])) if of_points.any() else 0.0

"""Capacity of balls, by the exact formula: manifolds that radius and dimension describe fully."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import FloatArray

# Norms of D Gaussians differ from sqrt(D) by less than this, with probability 1 - 1e-15.
_RANGE = 8.0
_NODES = 200


def ball_capacity(radius: ArrayLike, dimension: ArrayLike, margin: float = 0.0) -> FloatArray:
    r"""Capacity of D-dimensional balls of radius R.

    With t distributed as the norm of D Gaussians and Du the normal measure,
    :math:`1/\alpha = \langle A(t) + B(t) \rangle`,

    .. math:: A(t) = \int_{\kappa-t/R}^{\kappa+tR} Du \, \frac{(\kappa+Rt-u)^2}{1+R^2}, \quad
              B(t) = \int_{-\infty}^{\kappa-t/R} Du \, (t^2+(u-\kappa)^2)

    (Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003, 2018). D may be fractional. With the measured
    radius and dimension of a layer, it comes close to the layer's capacity if its manifolds differ
    little.

    Parameters
    ----------
    radius : array
        R, above 0, in units of the center's norm.
    dimension : array
        D, 1 or more; broadcast against `radius`.
    margin : float
        kappa.

    Returns
    -------
    array

    Examples
    --------
    At radius 1, the capacity is 2 / (D + 1).

    >>> ball_capacity(1.0, [1, 3, 9]).round(9).tolist()
    [1.0, 0.5, 0.2]
    """
    from scipy.special import gammaln, ndtr

    r, d = np.broadcast_arrays(np.asarray(radius, float), np.asarray(dimension, float))
    if (r <= 0).any() or (d < 1).any():
        raise UserError("radius must be above 0 and dimension 1 or more")
    r, d = r[..., None], d[..., None]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    low, high = np.maximum(np.sqrt(d) - _RANGE, 0.0), np.sqrt(d) + _RANGE
    t = low + (high - low) * (nodes + 1) / 2
    density = np.exp((d - 1) * np.log(t) - t**2 / 2 - (d / 2 - 1) * np.log(2) - gammaln(d / 2))

    def partial(c: FloatArray, u: FloatArray) -> FloatArray:
        """Integral of (c - u)^2 over the normal measure, up to u."""
        normal = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
        return (c**2 + 1) * ndtr(u) + (2 * c - u) * normal

    inner, outer, top = margin - t / r, margin + t * r, margin + r * t
    touching = (partial(top, outer) - partial(top, inner)) / (1 + r**2)
    embedded = t**2 * ndtr(inner) + partial(np.full_like(t, margin), inner)
    integral = ((touching + embedded) * density * weights).sum(axis=-1) * (high - low)[..., 0] / 2
    return np.asarray(1.0 / integral)

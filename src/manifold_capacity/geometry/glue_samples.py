"""Samples of GLUE: labels of manifolds and Gaussian vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.arguments import FloatArray
from manifold_capacity.geometry.manifolds import Source, as_float64

DICHOTOMIES = ("random", "balanced", "one_vs_rest")


def check_dichotomies(dichotomies: Any) -> None:
    """UserError unless they are an array, or one of the names."""
    if isinstance(dichotomies, str) and dichotomies not in DICHOTOMIES:
        raise UserError(
            f"dichotomies is {dichotomies!r}; choose one of {', '.join(map(repr, DICHOTOMIES))}, or give an array "
            "(n_samples, n_manifolds) of 1 and -1"
        )


def given_dichotomies(dichotomies: ArrayLike, n_manifolds: int, n_samples: int) -> FloatArray:
    """Labels (n_samples, P) as floats, checked."""
    signs = np.asarray(dichotomies)
    if signs.shape != (n_samples, n_manifolds):
        raise UserError(
            f"dichotomies has shape {signs.shape}; for {n_samples} samples of {n_manifolds} manifolds it must be "
            f"({n_samples}, {n_manifolds})"
        )
    if not np.isin(signs, (-1, 1)).all():
        raise UserError(
            "dichotomies holds other values than 1 and -1; every label must be one of them"
        )
    return signs.astype(np.float64)


def project_points(manifolds: Any, vectors: FloatArray, center: bool) -> FloatArray:
    """Inner products (K, M) of all points with vectors in the space of features."""
    source = Source(manifolds)
    result = np.zeros((len(vectors), source.n_total))
    for first, block in source.blocks(min(2048, source.n_features)):
        points = np.concatenate([as_float64(values) for values in block])
        if center:
            points -= points[0]
            points -= points.mean(axis=0)
        result += vectors[:, first : first + points.shape[1]] @ points.T
    return result


class Draw:
    """Labels (n, P) and Gaussian vectors (n, rank) of samples, each from its own generator."""

    def __init__(self, dichotomies: Any, n_manifolds: int, rank: int, seed: int, most: int) -> None:
        self._kind, self._n_manifolds, self._rank, self._seed = dichotomies, n_manifolds, rank, seed
        if not isinstance(dichotomies, str):
            self._given = given_dichotomies(dichotomies, n_manifolds, most)

    def __call__(self, first: int, last: int) -> tuple[FloatArray, FloatArray]:
        labels = np.empty((last - first, self._n_manifolds))
        vectors = np.empty((last - first, self._rank))
        for row, k in enumerate(range(first, last)):
            rng = np.random.default_rng([self._seed, k])
            labels[row] = self._labels(rng, k)
            vectors[row] = rng.standard_normal(self._rank)
        return labels, vectors

    def _labels(self, rng: np.random.Generator, k: int) -> FloatArray:
        n = self._n_manifolds
        if not isinstance(self._kind, str):
            return self._given[k]
        if self._kind == "one_vs_rest":
            return np.where(np.arange(n) == k % n, 1.0, -1.0)
        if self._kind == "balanced":
            return rng.permutation(np.where(np.arange(n) < n // 2, 1.0, -1.0))
        while True:
            labels: FloatArray = rng.choice(np.array([-1.0, 1.0]), size=n)
            if n == 1 or np.ptp(labels) > 0:
                return labels

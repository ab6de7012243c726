"""Classes of benchmarks/center_rank.py: images, a random layer of them, and synthetic ones."""

from __future__ import annotations

import numpy as np
from geometry_inputs import load_images

N_UNITS = 2000  # of the random layer
N_SYNTHETIC = 300  # features


class Classes:
    """Points of each class, drawn at random; `transform` makes features of images."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, relu: bool = False) -> None:
        self.images = images.reshape(len(images), -1)
        self.labels = labels
        rng = np.random.default_rng(0)
        width = self.images.shape[1]
        self.weights = rng.standard_normal((width, N_UNITS)) / np.sqrt(width) if relu else None
        self.offset = self.images[:: max(1, len(images) // 2000)].mean(axis=0)

    def pools(self, n_manifolds: int, shuffle: bool, rng: np.random.Generator) -> list[np.ndarray]:
        """Indices of images for each manifold: classes at random, or parts of classes."""
        labels = rng.permutation(self.labels) if shuffle else self.labels
        names = np.unique(labels)
        parts = -(-n_manifolds // len(names))
        members = [rng.permutation(np.flatnonzero(labels == name)) for name in names]
        pools = [part for of_class in members for part in np.array_split(of_class, parts)]
        return [pools[i] for i in rng.permutation(len(pools))[:n_manifolds]]

    def points(self, indices: np.ndarray) -> np.ndarray:
        points = self.images[indices].astype(np.float64)
        if self.weights is None:
            return points
        return np.maximum((points - self.offset) @ self.weights, 0)


def synthetic() -> tuple[np.ndarray, np.ndarray]:
    """120 classes: centers and deviations whose variances fall as those of images do."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, N_SYNTHETIC + 1.0) ** -0.7
    labels = np.repeat(np.arange(120), 80)
    rotation = np.linalg.qr(rng.standard_normal((N_SYNTHETIC, N_SYNTHETIC)))[0]
    points = rng.standard_normal((120, N_SYNTHETIC))[labels] * scale
    points += (rng.standard_normal((len(labels), N_SYNTHETIC)) * scale) @ rotation
    return points, labels


def inputs(data: str | None) -> dict[str, Classes]:
    if data is None:
        digits = load_images(None)
        return {
            "digits": Classes(*digits),
            "digits relu": Classes(*digits, relu=True),
            "synthetic": Classes(*synthetic()),
        }
    images = load_images(data)
    return {"pixels": Classes(*images), "pixels relu": Classes(*images, relu=True)}

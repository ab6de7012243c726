"""Ground truths of the theory as figures: formulas as lines, this package as dots (docs/theory.md).

python benchmarks/theory.py docs/images/theory
"""

from __future__ import annotations

import sys

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad
from scipy.stats import chi, norm

from manifold_capacity.anchors import anchor_geometry
from manifold_capacity.figures.style import save

# Few points cost little, and their capacity fluctuates more.
N_GAUSSIANS = {"few points": 20_000, "many points": 2000}
BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#5f5f5f"


def point_capacity(margin: ArrayLike) -> NDArray[np.float64]:
    """Capacity of single points at a margin: Gardner's integral, ((1 + k^2) Phi(k) + k phi(k))^-1."""
    k = np.asarray(margin, dtype=float)
    return 1.0 / ((1.0 + k**2) * norm.cdf(k) + k * norm.pdf(k))


def segment_capacity(radius: ArrayLike) -> NDArray[np.float64]:
    """Capacity of segments of half-length R at margin 0: (1/2 + 2 atan(R) / pi)^-1."""
    return 1.0 / (0.5 + 2.0 * np.arctan(np.asarray(radius)) / np.pi)


def ball_capacity(radius: float, dimension: int, margin: float = 0.0) -> float:
    """Capacity of D-dimensional balls of radius R: the average over the norm t of D Gaussians of

        int_{k - t/R}^{k + tR} Du (k + Rt - u)^2 / (1 + R^2) + int_{-inf}^{k - t/R} Du (t^2 + (u - k)^2),

    touching anchor points first, embedded balls second (Chung, Lee & Sompolinsky 2018).
    """

    def inverse(t: float) -> float:
        low, high, top = margin - t / radius, margin + t * radius, margin + radius * t
        mass = norm.cdf(high) - norm.cdf(low)
        touching = (top**2 + 1.0) * mass - 2.0 * top * (norm.pdf(low) - norm.pdf(high))
        touching += low * norm.pdf(low) - high * norm.pdf(high)
        embedded = (t**2 + margin**2 + 1.0) * norm.cdf(low) + (2.0 * margin - low) * norm.pdf(low)
        return float((touching / (1.0 + radius**2) + embedded) * chi.pdf(t, dimension))

    return 1.0 / quad(inverse, 0.0, np.inf, limit=200)[0]


def sphere(n_points: int, dimension: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points on the unit sphere, (n_points, dimension): evenly on a circle, at random above."""
    if dimension == 2:
        angles = 2.0 * np.pi * np.arange(n_points) / n_points
        return np.column_stack([np.cos(angles), np.sin(angles)])
    points = rng.standard_normal((n_points, dimension))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def main(stem: str) -> None:
    rng = np.random.default_rng(0)

    def measure(points: NDArray[np.float64], margin: float = 0.0) -> tuple[float, float]:
        n_gaussians = N_GAUSSIANS["few points" if len(points) <= 2 else "many points"]
        gaussians = rng.standard_normal((n_gaussians, points.shape[1] + 1))
        geometry = anchor_geometry(points, gaussians, margin)
        return geometry.capacity, geometry.capacity_stderr

    def dots(panel: int, x: list[float], measured: list[tuple[float, float]], **style: str) -> None:
        values, errors = np.transpose(measured)
        axes[panel].errorbar(x, values, errors, fmt="o", markersize=4, capsize=2, **style)

    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)

    margins = np.linspace(0, 2, 100)
    axes[0].plot(margins, point_capacity(margins), color=BLUE, label="Gardner's integral")
    some = [0.0, 0.5, 1.0, 1.5, 2.0]
    dots(0, some, [measure(np.zeros((1, 1)), k) for k in some], color=BLUE, label="measured")
    axes[0].set(title="Points", xlabel="Margin κ")

    radii = np.geomspace(0.03, 30, 100)
    axes[1].semilogx(radii, segment_capacity(radii), color=BLUE, label="formula")
    some = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    dots(1, some, [measure(np.array([[r], [-r]])) for r in some], color=BLUE, label="measured")
    axes[1].set(title="Segments", xlabel="Radius R")

    for dimension, color in ((2, BLUE), (10, ORANGE)):
        line = [ball_capacity(r, dimension) for r in radii]
        axes[2].loglog(radii, line, color=color, label=f"ball, D = {dimension}")
    for n_points, dimension, color in ((200, 2, BLUE), (50, 10, GREEN), (500, 10, GRAY)):
        shell = sphere(n_points, dimension, rng)
        label = f"{n_points} points on it, D = {dimension}"
        dots(2, some, [measure(r * shell) for r in some], color=color, label=label)
    axes[2].set(title="Balls", xlabel="Radius R")
    axes[2].set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    axes[2].minorticks_off()

    for ax in axes:
        ax.set_ylabel("Capacity α")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=7.5, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    save(figure, stem)


if __name__ == "__main__":
    main(*sys.argv[1:])

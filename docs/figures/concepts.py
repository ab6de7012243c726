"""The pictures of docs/concepts.md, drawn from simulated manifolds and bundled images with this package.

python docs/figures/concepts.py docs/images
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.stats import norm
from sklearn.datasets import load_digits

from manifold_capacity import measure, measure_glue
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.figures.style import in_style, write
from manifold_capacity.geometry.active_set import solve_gram
from manifold_capacity.geometry.anchors import anchor_geometry
from manifold_capacity.geometry.balls import ball_capacity
from manifold_capacity.geometry.simulated import simulated_capacity

Array = NDArray[np.float64]

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#606060"
WIDTH = 8.2  # inches: text in the picture is as large as on the page


def light(color: str, share: float = 0.82) -> tuple[float, ...]:
    """A color mixed with white."""
    return tuple(share + (1 - share) * part for part in to_rgb(color))


def bare(ax: Axes, reach: float) -> None:
    """A square plane without ticks, from -reach to reach."""
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)


def directions(*shape: int, rng: np.random.Generator) -> Array:
    """Random unit vectors (..., n)."""
    vectors = rng.standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def balls(
    n_manifolds: int, n_points: int, radius: float, dimension: int, n_features: int, seed: int = 0
) -> Array:
    """Points (P, m, N) on spheres around random centers of norm 1, each in its own random directions."""
    rng = np.random.default_rng(seed)
    centers = directions(n_manifolds, 1, n_features, rng=rng)
    shells = directions(n_manifolds, n_points, dimension, rng=rng)
    frames = np.linalg.qr(rng.standard_normal((n_manifolds, n_features, dimension)))[0]
    return centers + radius * shells @ frames.swapaxes(1, 2)


def best_normal(centers: Array, labels: Array) -> tuple[Array, float]:
    """The line through the origin with the largest distance from the labelled centers: normal, distance."""
    angles = np.linspace(0, 2 * np.pi, 3601)
    normals = np.column_stack([np.cos(angles), np.sin(angles)])
    distances = (normals @ (labels[:, None] * centers).T).min(axis=1)
    return normals[distances.argmax()], float(distances.max())


def dichotomies() -> Figure:
    """Three discs in the plane, all ways to label them, and the lines that separate the labels."""
    figure = Figure((WIDTH, 5.4), layout="constrained")
    angles = np.deg2rad([95, 195, 310])
    centers = np.column_stack([np.cos(angles), np.sin(angles)])
    # Swapping the two labels changes nothing: half of the eight are drawn.
    labelings = [np.array([1.0, *rest]) for rest in product([1.0, -1.0], repeat=2)]
    radii = (0.06, 0.4, 0.58)
    axes = figure.subplots(len(radii), len(labelings))
    for row, radius in zip(axes, radii, strict=True):
        found = [best_normal(centers, labels) for labels in labelings]
        separable = [distance >= radius for _, distance in found]
        size = "points" if radius == radii[0] else f"discs of radius {radius}"
        row[0].set_ylabel(f"{size}\n{2 * sum(separable)} of 8 separable", fontsize=9)
        for ax, labels, (normal, _), apart in zip(row, labelings, found, separable, strict=True):
            bare(ax, 1.8)
            if apart:
                along = np.array([-normal[1], normal[0]])
                for side, color in ((1, BLUE), (-1, ORANGE)):
                    corners = [4 * along, 4 * (along + side * normal), 4 * (side * normal - along)]
                    ax.add_patch(Polygon([*corners, -4 * along], color=light(color, 0.9), lw=0))
                ax.plot(*np.array([-4 * along, 4 * along]).T, color="black", lw=1.4)
            else:
                ax.set_facecolor("#f2f2f2")
                ax.text(0, -1.7, "no line", ha="center", color=GRAY, fontsize=8)
            for center, label in zip(centers, labels, strict=True):
                color = BLUE if label > 0 else ORANGE
                ax.add_patch(Circle(center, radius, fc=color, alpha=0.75, ec=color, lw=0.8))
            ax.plot(0, 0, "+", color="black", ms=6, mew=0.9)
    return figure


def load() -> Figure:
    """Share of separable random dichotomies against the number of manifolds per feature."""
    figure = Figure((WIDTH, 3.3), layout="constrained")
    ax = figure.subplots()
    n_manifolds = 30
    for name, color, radius, dimension, n_points in (
        ("points", BLUE, 0.0, 1, 1),
        ("balls of radius 0.5\nand dimension 4", GREEN, 0.5, 4, 12),
        ("balls of radius 1\nand dimension 4", ORANGE, 1.0, 4, 12),
    ):
        manifolds = balls(n_manifolds, n_points, radius, dimension, 200)
        capacity = measure(manifolds, n_gaussians=1000).summary()["capacity"]
        critical = simulated_capacity(manifolds, n_repetitions=120).critical_features
        features = np.arange(1, critical.max() + 20)
        share = (critical[:, None] <= features).mean(axis=0)
        ax.plot(n_manifolds / features, share, color=color)
        ax.axvline(capacity, color=color, lw=1, ls=(0, (4, 2)))
        ax.text(
            *(capacity, 1.05, f"{name}\ncapacity {capacity:.2f}"),
            color=color, ha="center", va="bottom", fontsize=8,
        )  # fmt: skip
    ax.set_xscale("log")
    ticks = [0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set(
        xlim=(0.3, 4.2), ylim=(-0.03, 1.03), xlabel="Manifolds per feature, P / N",
        ylabel="Separable dichotomies",
    )  # fmt: skip
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure


def anchors_of(points: Array, gaussians: Array, margin: float = 0.0) -> Array:
    """Anchor point (n, D) of each Gaussian vector."""
    gram = points @ points.T
    largest = gram.diagonal().max()
    rho = float(np.sqrt(largest))
    scaled = np.ascontiguousarray(points.T) / rho
    weights = solve_gram(gram / largest, scaled, gaussians, margin, rho)
    return weights / weights.sum(axis=1, keepdims=True) @ points


def anchors() -> Figure:
    """Manifolds in the plane, their anchor points, and the radius of these."""
    figure = Figure((WIDTH, 3.2), layout="constrained")
    rng = np.random.default_rng(4)
    cloud = rng.standard_normal((40, 2)) * [1.0, 0.8]
    cloud = (cloud - cloud.mean(axis=0)) / np.sqrt((cloud**2).sum(axis=1).mean())
    gaussians = rng.standard_normal((250, 3))
    for ax, (title, points) in zip(
        figure.subplots(1, 3),
        {
            "Small, in units of its center's norm": 0.3 * cloud,
            "Large: anchors move inside": 3.0 * cloud,
            "Flat: half the dimension": 0.3 * cloud * [1.25, 0.03],
        }.items(),
        strict=True,
    ):
        geometry = anchor_geometry(points, gaussians)
        found = anchors_of(points, gaussians)
        hull = points[ConvexHull(points).vertices]
        reach = 1.12 * np.abs(points).max()
        bare(ax, reach)
        ax.add_patch(Polygon(hull, fc="#efefef", ec=GRAY, lw=0.8))
        ax.plot(*points.T, "o", color=GRAY, ms=2.2, mew=0)
        ax.plot(*found.T, "o", color=BLUE, ms=4.5, mew=0, alpha=0.22)
        ax.add_patch(
            Circle(
                found.mean(axis=0), geometry.radius, fill=False, ec=ORANGE, lw=1.4, ls=(0, (4, 2))
            )
        )
        ax.set_title(title)
        ax.set_xlabel(
            f"radius {geometry.radius:.2f}   dimension {geometry.dimension:.2f}\n"
            f"capacity {geometry.capacity:.2f}"
        )
    return figure


def radius_dimension() -> Figure:
    """Capacity over radius and dimension: the balls' formula as a map, measured balls on it."""
    figure = Figure((WIDTH, 3.9), layout="constrained")
    ax = figure.subplots()
    dimensions, radii = np.meshgrid(np.geomspace(1, 40, 60), np.geomspace(0.08, 4, 60))
    capacity = ball_capacity(radii, dimensions)
    levels = [0.03, 0.05, 0.1, 0.2, 0.4, 0.7, 1, 1.4, 1.8, 2]
    filled = ax.contourf(dimensions, radii, capacity, [0, *levels], cmap="viridis", alpha=0.85)
    filled.set_edgecolor("face")
    lines = ax.contour(dimensions, radii, capacity, levels[:-1], colors="white", linewidths=0.9)
    ax.clabel(lines, fmt="%g", fontsize=8)
    for radius, dimension in ((1.6, 12), (0.4, 12), (1.6, 2), (0.4, 2)):
        geometry = measure(balls(30, 400, radius, dimension, 200), n_gaussians=100).summary()
        ax.plot(geometry["dimension"], geometry["radius"], "o", color="white", mec="black", ms=7)
        ax.annotate(
            f"{geometry['capacity']:.2f}", (geometry["dimension"], geometry["radius"]), (8, 6),
            textcoords="offset points", color="white", fontsize=9, fontweight="bold",
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="Dimension", ylabel="Radius")
    ax.set_xticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
    ax.set_yticks([0.1, 0.2, 0.5, 1, 2, 4], ["0.1", "0.2", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    ax.grid(False)
    return figure


def centers() -> Figure:
    """Centers that share a direction: their cosines, and the measures as the shared part grows."""
    figure = Figure((WIDTH, 2.9), layout="constrained")
    grid = figure.add_gridspec(1, 3, width_ratios=(1, 1, 1.5))
    manifolds = balls(30, 12, 0.5, 4, 200)
    shared = np.random.default_rng(1).standard_normal(200) / np.sqrt(200)
    loadings = np.random.default_rng(2).standard_normal((30, 1, 1))
    strengths = np.linspace(0, 3, 7)
    measured = [measure(manifolds + strength * loadings * shared) for strength in strengths]
    order = loadings.ravel().argsort()
    for column, strength in enumerate((0.0, 2.0)):
        ax = figure.add_subplot(grid[column])
        found = (manifolds + strength * loadings * shared).mean(axis=1)[order]
        found -= found.mean(axis=0)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        image = ax.imshow(found @ found.T, cmap="RdBu_r", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel="manifolds")
        ax.set_title("Random centers" if strength == 0 else "A shared direction")
        ax.grid(False)
    figure.colorbar(image, ax=ax, label="Cosine of centers", shrink=0.9)
    ax = figure.add_subplot(grid[2])
    for label, color, values in (
        ("center correlation", ORANGE, [geometry.center_correlation for geometry in measured]),
        (
            "after projecting it out",
            GREEN,
            [geometry.residual_correlation for geometry in measured],
        ),
        ("capacity", BLUE, [geometry.summary()["capacity"] for geometry in measured]),
    ):
        ax.plot(strengths, values, "o-", color=color)
        ax.annotate(
            label, (strengths[-1], values[-1]), (0, 5), textcoords="offset points", color=color,
            ha="right", fontsize=8,
        )  # fmt: skip
    ax.set(xlabel="Strength of the shared direction", ylim=(0, None))
    return figure


def margin() -> Figure:
    """What a margin is, and how it lowers capacity."""
    figure = Figure((WIDTH, 3.0), layout="constrained")
    plane, curve = figure.subplots(1, 2, width_ratios=(1, 1.6))
    bare(plane, 1.9)
    for center, color in (((-0.3, 1.1), BLUE), ((1.0, 0.95), BLUE), ((0.2, -1.1), ORANGE)):
        plane.add_patch(Circle(center, 0.42, fc=color, ec=color, alpha=0.75))
    plane.axhspan(-0.4, 0.4, color="#e9e9e9", lw=0)
    plane.axhline(0, color="black", lw=1.4)
    plane.annotate(
        "", (-1.45, 0.4), (-1.45, 0), arrowprops={"arrowstyle": "<->", "color": GRAY, "lw": 1}
    )
    plane.text(-1.35, 0.2, "margin κ", va="center", fontsize=9)
    margins = np.linspace(0, 2, 41)
    point = 1 / ((1 + margins**2) * norm.cdf(margins) + margins * norm.pdf(margins))
    curve.plot(margins, point, color=BLUE, label="points")
    for radius, color in ((0.5, GREEN), (1.0, ORANGE)):
        ball = [float(ball_capacity(radius, 2, kappa)) for kappa in margins]
        curve.plot(margins, ball, color=color, label=f"balls, R = {radius:g}, D = 2")
        some = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
        manifolds = balls(40, 100, radius, 2, 200)
        dots = [measure(manifolds, margin=k, n_gaussians=100).summary()["capacity"] for k in some]
        curve.plot(some, dots, "o", color=color)
    curve.set(xlabel="Margin κ, in units of a center's norm", ylabel="Capacity", ylim=(0, None))
    curve.legend()
    return figure


def controls() -> Figure:
    """Pixels of handwritten digits: classes and shuffled labels, for several numbers of points."""
    figure = Figure((WIDTH, 2.9), layout="constrained")
    digits = load_digits()
    rng = np.random.default_rng(0)
    sizes = [5, 10, 20, 40, 80]
    panels = dict(zip(("capacity", "radius", "dimension"), figure.subplots(1, 3), strict=True))
    for label, color, marker, labels in (
        ("classes", BLUE, "o", digits.target),
        ("shuffled labels", GRAY, "^", rng.permutation(digits.target)),
    ):
        rows = []
        for size in sizes:
            points = [digits.data[labels == digit][:size] for digit in range(10)]
            rows.append(measure(points, n_gaussians=300).summary())
        for quantity, ax in panels.items():
            values, low, high = (
                [float(row[f"{quantity}{end}"]) for row in rows] for end in ("", "_low", "_high")
            )
            ax.plot(sizes, values, f"{marker}-", color=color, label=label)
            ax.fill_between(sizes, low, high, color=color, alpha=0.18, lw=0)
    for quantity, ax in panels.items():
        ax.set(xscale="log", xlabel="Points per class", ylabel=quantity.capitalize())
        ax.set_ylim(0, None)
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
    panels["capacity"].legend()
    return figure


def order() -> Figure:
    """Two layers, and a number of points per class at which their order changes."""
    figure = Figure((WIDTH, 3.3), layout="constrained")
    ax = figure.subplots()
    sizes = [5, 10, 20, 50, 100, 200]
    for radius, dimension, color, marker in ((0.7, 100, BLUE, "o"), (1.5, 3, ORANGE, "^")):
        layer = balls(20, sizes[-1], radius, dimension, 200)
        rows = [measure(layer[:, :size]).summary() for size in sizes]
        values, low, high = (
            [float(row[f"capacity{end}"]) for row in rows] for end in ("", "_low", "_high")
        )
        label = f"spheres of radius {radius} in {dimension} dimensions"
        ax.plot(sizes, values, f"{marker}-", color=color, label=label)
        ax.fill_between(sizes, low, high, color=color, alpha=0.18, lw=0)
        for at in (0, -1):
            ax.annotate(
                *(f"{values[at]:.2f}", (sizes[at], values[at])),
                xytext=(0, 9), textcoords="offset points", color=color, ha="center", fontsize=8,
            )  # fmt: skip
    ax.plot(sizes, [2 / size for size in sizes], color=GRAY, ls=(0, (4, 2)), label="2 / m")
    ax.set(xscale="log", xlabel="Points per class, m", ylabel="Capacity", ylim=(0, None))
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    ax.legend()
    return figure


def chained(correlation: float) -> Array:
    """Small balls whose centers are a chain: each has this correlation with the one before it."""
    shells = balls(30, 12, 0.2, 4, 200) - balls(30, 12, 0.0, 4, 200)
    steps = np.random.default_rng(1).standard_normal((30, 1, 200)) / np.sqrt(200)
    centers = steps[:1]
    for step in np.sqrt(1 - correlation**2) * steps[1:]:
        centers = np.concatenate([centers, [correlation * centers[-1] + step]])
    return shells + centers


def exact() -> Figure:
    """Mean-field, exact and simulated capacity: centers ever more correlated; digits with ever more points."""
    figure = Figure((WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    digits = load_digits()
    strengths, sizes = [0.0, 0.3, 0.6, 0.8, 0.9, 0.95], [3, 5, 8, 12, 20, 40]
    pixels = [[digits.data[digits.target == digit][:size] for digit in range(10)] for size in sizes]
    for ax, places, layers in (
        (left, strengths, [chained(strength) for strength in strengths]),
        (right, sizes, pixels),
    ):
        mean_field = [measure(layer).summary()["capacity"] for layer in layers]
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of anchors
            found = [measure_glue(layer, n_samples=400).capacity for layer in layers]
        trials = [simulated_capacity(layer, n_repetitions=60) for layer in layers]
        ax.plot(places, mean_field, "^-", color=GRAY, label="mean-field")
        ax.plot(places, found, "o-", color=BLUE, label="exact")
        ax.errorbar(
            places, [trial.capacity for trial in trials],
            [trial.capacity_stderr for trial in trials],
            fmt="D", color=ORANGE, mfc="white", ms=5, lw=1, label="simulated",
        )  # fmt: skip
        ax.set(ylabel="Capacity", ylim=(0, None))
    left.set(xlabel="Correlation of each center with the next", title="Balls on a chain")
    right.plot(sizes, [2 / size for size in sizes], color=GRAY, ls=(0, (4, 2)), label="2 / m")
    right.set(xscale="log", xlabel="Points per class, m", title="Pixels of digits", ylim=(0, 1))
    right.set_xticks(sizes, [str(size) for size in sizes])
    right.minorticks_off()
    right.legend()
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "dichotomies": dichotomies,
    "load": load,
    "anchors": anchors,
    "radius-dimension": radius_dimension,
    "centers": centers,
    "margin": margin,
    "controls": controls,
    "order": order,
    "exact": exact,
}


def main(folder: str) -> None:
    warnings.simplefilter("ignore", CaveatWarning)  # of the shuffled labels
    for name, draw in PICTURES.items():
        with in_style():
            figure = draw()
        write(figure, Path(folder) / f"concepts-{name}.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])

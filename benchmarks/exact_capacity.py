"""Exact capacity and its curve of separability against simulation: docs/validation.md#exact-capacity.

    python benchmarks/exact_capacity.py [--images train.npz] [--figure docs/images/separability]

Random labels of manifolds are separated in random projections (`simulated_capacity`), and the capacity and the
probability of success compared with those of `measure_glue` on the same points. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from manifold_capacity import measure, measure_glue
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.figures.style import in_style, save
from manifold_capacity.geometry.glue_result import Glue
from manifold_capacity.geometry.simulated import SimulatedCapacity, simulated_capacity

Points = NDArray[np.float64]
N_SAMPLES = 2000


def chained(n_classes: int, m: int, n_features: int, correlation: float) -> Points:
    """Clouds whose centers are an AR(1) process along the classes."""
    rng = np.random.default_rng(0)
    centers = [rng.standard_normal(n_features)]
    for _ in range(n_classes - 1):
        step = np.sqrt(1 - correlation**2) * rng.standard_normal(n_features)
        centers.append(correlation * centers[-1] + step)
    noise = rng.standard_normal((n_classes, m, n_features)) * np.exp(-np.arange(n_features) / 40)
    return np.array(centers)[:, None] + 2 * noise


def of_classes(values: Points, labels: NDArray[np.int64], n_classes: int, m: int) -> Points:
    return np.stack([values[labels == k][:m] for k in range(n_classes)]).astype(float)


def cases(path: Path | None) -> dict[str, tuple[Points, int]]:
    """Points (P, m, N) and number of simulated repetitions."""
    digits = load_digits()
    found = {
        "digits 10 x 8": (of_classes(digits.data, digits.target, 10, 8), 3000),
        "digits 10 x 20": (of_classes(digits.data, digits.target, 10, 20), 2000),
        "chained centers 0.9, 10 x 20": (chained(10, 20, 200, 0.9), 2000),
        "chained centers 0.9, 30 x 20": (chained(30, 20, 400, 0.9), 200),
        "chained centers 0, 30 x 20": (chained(30, 20, 400, 0.0), 200),
    }
    if path:
        with np.load(path) as data:
            pixels, labels = data["X"].reshape(len(data["X"]), -1) / 255, data["y"]
        found["CIFAR-100 pixels 10 x 8"] = of_classes(pixels, labels, 10, 8), 3000
        found["CIFAR-100 pixels 20 x 20"] = of_classes(pixels, labels, 20, 20), 200
    return found


def draw(curves: dict[str, tuple[Glue, SimulatedCapacity]], stem: str) -> None:
    """The exact curve as a line, the share of simulated labels as dots with their 95 % interval."""
    with in_style():
        figure = Figure((9.2, 2.9), layout="constrained")
        axes = figure.subplots(1, len(curves), sharey=True)
        for axis, (name, (glue, simulated)) in zip(axes, curves.items(), strict=True):
            critical = simulated.critical_features
            n = np.arange(critical.min() - 2, critical.max() + 3)
            axis.plot(n, glue.separability(n), label="exact")
            some = np.unique(np.linspace(n[0], n[-1], 12).round().astype(int))
            share = (critical[:, None] <= some).mean(axis=0)
            error = 1.96 * np.sqrt(share * (1 - share) / len(critical))
            axis.errorbar(some, share, error, fmt="o", markersize=4, label="simulated")
            axis.axvline(glue.capacity**-1 * len(glue.n_points), color="#b0b0b0", linewidth=0.9)
            axis.set(title=name, xlabel="Random directions n")
        axes[0].set_ylabel("Probability of separation")
        axes[-1].legend(loc="lower right")
        save(figure, stem)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", CaveatWarning)
    print(
        "| classes x points | exact | published estimate | simulated (repetitions) | mean-field | largest difference of the curve | separable |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    curves = {}
    for name, (points, repetitions) in cases(arguments.images).items():
        started = time.perf_counter()
        glue = measure_glue(points, n_samples=N_SAMPLES)
        exact_s = time.perf_counter() - started
        simulated = simulated_capacity(points, n_repetitions=repetitions)
        simulated_s = time.perf_counter() - started - exact_s
        critical = simulated.critical_features
        n = np.arange(critical.min(), critical.max() + 1)
        largest = np.abs(glue.separability(n) - (critical[:, None] <= n).mean(axis=0)).max()
        # Where some labels are not separable, these count as needing one direction more than there are.
        mean = critical.mean() - 0.5
        capacity = len(points) / mean
        error = capacity / mean * critical.std(ddof=1) / np.sqrt(repetitions)
        field = float(measure(points).summary()["capacity"])
        print(
            f"| {name} | {glue.capacity:.4f} ± {glue.capacity_stderr:.4f} ({exact_s:.1f} s) "
            f"| {glue.capacity_published:.4f} ± {glue.capacity_published_stderr:.4f} "
            f"| {capacity:.4f} ± {error:.4f} ({repetitions}; {simulated_s:.0f} s) "
            f"| {field:.4f} ({field / glue.capacity - 1:+.0%}) | {largest:.3f} "
            f"| {glue.separable_fraction:.0%} |",
            flush=True,
        )
        curves[name] = glue, simulated
    if arguments.figure:
        shown = ("digits 10 x 8", "chained centers 0.9, 10 x 20", "chained centers 0.9, 30 x 20")
        draw({name: curves[name] for name in shown}, arguments.figure)


if __name__ == "__main__":
    main()

"""How often the 95 % intervals hold what they should: docs/validation.md#intervals.

    python benchmarks/intervals.py [--images train.npz] [--trials 400]  # X (n, 32, 32, 3), y (n,): CIFAR-100

All that an interval is over is drawn anew in each trial; the truth is the mean over all trials. Classes are synthetic
(clouds whose centers share three directions, of different sizes and shapes) or those of images, in a random ReLU
layer. Prints tables in Markdown: the share of trials whose interval holds the truth.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity import measure, measure_glue
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.geometry.draws import combine_draws
from manifold_capacity.geometry.glue_table import combine_glue
from manifold_capacity.geometry.intervals import QUANTITIES, half_width, max_t
from manifold_capacity.geometry.result import GAUSSIAN_STDERR, PER_MANIFOLD, Geometry
from manifold_capacity.summary.comparisons import over_classes, over_seeds

Points = NDArray[np.float64]
Ends = dict[str, tuple[float, float, float]]  # a value and the ends of its interval
N_FEATURES, N_GAUSSIANS, N_LAYERS, STOCK = 120, 50, 5, 480


class Synthetic:
    """Gaussian clouds in 30 directions, each with its own center, size and shape."""

    def __call__(self, rng: np.random.Generator, n_classes: int, m: int) -> list[Points]:
        shared = np.random.default_rng(0).standard_normal((3, N_FEATURES))
        classes = []
        for _ in range(n_classes):
            center = rng.standard_normal(N_FEATURES) + 0.6 * rng.standard_normal(3) @ shared
            size, decay = np.exp(0.3 * rng.standard_normal()), rng.uniform(3, 12)
            axes = np.linalg.qr(rng.standard_normal((N_FEATURES, 30)))[0].T
            axes *= 4 * size * np.exp(-np.arange(30) / decay)[:, None]
            classes.append(center + rng.standard_normal((m, 30)) @ axes)
        return classes


class Images:
    """Classes and images without replacement, in a random ReLU layer of their pixels."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as data:
            pixels, labels = data["X"], data["y"]
        pixels = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
        self._classes = [relu(pixels[labels == label], seed=0) for label in np.unique(labels)]

    def __call__(self, rng: np.random.Generator, n_classes: int, m: int) -> list[Points]:
        chosen = rng.permutation(len(self._classes))[:n_classes]
        return [rng.permutation(self._classes[index])[:m] for index in chosen]


Stock = Synthetic | Images


def relu(points: Points, seed: int) -> Points:
    mixing = np.random.default_rng(seed).standard_normal((points.shape[-1], N_FEATURES))
    return np.maximum(points @ mixing / np.sqrt(points.shape[-1]), 0)


def geometry(points: Sequence[Points], seed: int = 0) -> Geometry:
    warnings.simplefilter("ignore", CaveatWarning)
    return measure(np.stack(points), n_gaussians=N_GAUSSIANS, seed=seed, threads=1)


def ends(row: dict[str, Any]) -> Ends:
    return {name: (row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in QUANTITIES}


def gaussian_ends(row: dict[str, Any]) -> Ends:
    errors = {name: 1.96 * row[name + GAUSSIAN_STDERR] for name in PER_MANIFOLD}
    return {name: (row[name], row[name] - e, row[name] + e) for name, e in errors.items()}


def of_classes(stock: Stock, n_classes: int, m: int, trial: int) -> dict[str, Ends]:
    row = geometry(stock(np.random.default_rng([1, trial]), n_classes, m), trial).summary()
    return {"over classes": ends(row), "Gaussian samples": gaussian_ends(row)}


def exact_of_classes(stock: Stock, n_classes: int, m: int, trial: int) -> dict[str, Ends]:
    """The exact capacity and dimension, in the places of the mean-field ones."""
    points = np.stack(stock(np.random.default_rng([1, trial]), n_classes, m))
    warnings.simplefilter("ignore", CaveatWarning)
    row, _ = combine_glue([measure_glue(points, n_samples=100, seed=trial, threads=1)])
    names = ("capacity", "dimension")
    ends = ("", "_low", "_high")
    found = {name: tuple(row[f"glue_{name}{end}"] for end in ends) for name in names}
    return {"exact, over classes": found}


def of_draws(stock: Stock, n_classes: int, m: int, n_draws: int, trial: int) -> dict[str, Ends]:
    classes = stock(np.random.default_rng(7), n_classes, STOCK)  # the same in all trials
    rng = np.random.default_rng([2, trial])
    orders = [rng.permutation(STOCK)[: n_draws * m].reshape(n_draws, m) for _ in classes]
    draws = [
        geometry([c[order[d]] for c, order in zip(classes, orders, strict=True)], 100 * trial + d)
        for d in range(n_draws)
    ]
    row, _ = combine_draws(draws)
    return {
        f"over {n_draws} draws": ends(row),
        "Gaussian samples": gaussian_ends(draws[0].summary()),
    }


def of_networks(stock: Stock, n_classes: int, m: int, n_seeds: int, trial: int) -> dict[str, Ends]:
    """Two kinds of networks that are the same, each trained with so many seeds: the difference is 0."""
    points = stock(np.random.default_rng([3, trial]), n_classes, m)
    networks = [
        [
            geometry([relu(one, 1 + k + 2 * (n_seeds * trial + s)) for one in points])
            for s in range(n_seeds)
        ]
        for k in range(2)
    ]
    found: Ends = {}
    for name in QUANTITIES:
        if n_seeds > 1:
            numbers = [np.array([float(g.summary()[name]) for g in each]) for each in networks]
            difference, deviations = over_seeds(numbers[0], numbers[1])
        else:
            mine, others = ([of_each(g, name) for g in each] for each in networks)
            difference, deviations = over_classes(np.array(mine), np.array(others), name)
        reach = float(half_width(deviations))
        found[name] = difference, difference - reach, difference + reach
    return {f"over {n_seeds} seeds" if n_seeds > 1 else "over classes, one seed": found}


def of_each(result: Geometry, name: str) -> NDArray[np.float64]:
    return getattr(result, "mean_correlation" if name == "center_correlation" else name)


def in_layers(stock: Stock, n_classes: int, m: int, shrink: float, trial: int) -> Any:
    """Differences between two sets of images of the same classes in every layer, and how far each class moves them."""
    classes = stock(np.random.default_rng([4, trial]), n_classes, 2 * m)
    sets = [[one[:m] for one in classes], [one[m:] for one in classes]]
    sets[1] = [one.mean(axis=0) + shrink * (one - one.mean(axis=0)) for one in sets[1]]
    found = []
    for layer in range(N_LAYERS):
        pair = [geometry([relu(one, layer + 1) for one in each], trial) for each in sets]
        found += [
            over_classes(*(of_each(g, name)[None] for g in pair), name) for name in QUANTITIES
        ]
    return np.array([difference for difference, _ in found]), np.array([d for _, d in found]).T


def share(held: NDArray[np.bool_]) -> str:
    return f"{held.mean():.0%}"


def table(title: str, trials: Sequence[dict[str, Ends]]) -> None:
    """The share of intervals that hold the mean over all trials, or 0 for a difference that is none."""
    for kind in trials[0]:
        cells = []
        for name in QUANTITIES:
            if name not in trials[0][kind]:
                cells.append("")
                continue
            ends = np.array([trial[kind][name] for trial in trials])
            known = ends[np.isfinite(ends[:, 0])]  # exact capacity: some labels are separable
            if len(known) < 0.9 * len(ends):
                cells.append("none")
                continue
            value, low, high = known.T
            truth = 1 / np.mean(1 / value) if name == "capacity" else value.mean()
            if "seed" in kind:
                truth = 0.0
            cells.append(share((low <= truth) & (truth <= high)))
        print(f"| {title} | {kind} | {' | '.join(cells)} |", flush=True)


def layers_table(title: str, trials: Sequence[Any], shrink: float) -> None:
    differences = np.array([difference for difference, _ in trials])
    single = np.array([half_width(deviations) for _, deviations in trials])
    factors = np.array([[max_t(deviations)] for _, deviations in trials])
    errors = np.abs(differences - (differences.mean(axis=0) if shrink < 1 else 0))
    n_quantities = len(QUANTITIES)
    each = [share((errors <= single)[:, index::n_quantities]) for index in range(n_quantities)]
    together = [share((errors <= reach).all(axis=1)) for reach in (single, factors * single)]
    what = "none" if shrink == 1 else f"spread x {shrink:g}"
    print(
        f"| {title} | {what} | {' | '.join([*each, *together])} | {factors.mean():.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--trials", type=int, default=400)
    arguments = parser.parse_args()
    stocks: dict[str, Stock] = {"synthetic": Synthetic()}
    if arguments.images:
        stocks["images"] = Images(arguments.images)
    half = arguments.trials // 2
    error = 100 * math.sqrt(0.95 * 0.05 / arguments.trials)
    print(f"n = {arguments.trials} trials: a share of 95 % is known to ± {error:.1f} %\n")
    with ProcessPoolExecutor() as pool:

        def run(function: Callable[..., Any], n: int) -> list[Any]:
            return [*pool.map(function, range(n), chunksize=5)]

        names = " | ".join(name.replace("_", " ") for name in QUANTITIES)
        print(f"| classes x points | interval | {names} |\n|---|---|---|---|---|---|")
        for kind, stock in stocks.items():
            for size in ((10, 20), (20, 20), (50, 20)):
                title = f"{kind}, {size[0]} x {size[1]}"
                table(title, run(partial(of_classes, stock, *size), arguments.trials))
                table(title, run(partial(exact_of_classes, stock, *size), arguments.trials))
                for n_draws in (3, 5) if size[0] == 20 else ():
                    table(title, run(partial(of_draws, stock, *size, n_draws), half))
            for n_seeds in (1, 3, 5):
                table(f"{kind}, 20 x 20", run(partial(of_networks, stock, 20, 20, n_seeds), half))
        print(f"\n| classes x points, {N_LAYERS} layers | true difference | {names} | ", end="")
        print("all, single | all, simultaneous | factor |\n|---|---|---|---|---|---|---|---|---|")
        for kind, stock in stocks.items():
            for size in ((10, 20), (20, 20), (50, 20)):
                for shrink in (1.0, 0.8):
                    trials = run(partial(in_layers, stock, *size, shrink), half)
                    layers_table(f"{kind}, {size[0]} x {size[1]}", trials, shrink)


if __name__ == "__main__":
    main()

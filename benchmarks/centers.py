"""Time, memory and outcome of the centers' fit, as the number of manifolds grows.

Real images, their classes split at random into as many manifolds as asked for, before and after a
random layer of rectified units. By default scikit-learn's handwritten digits; --data takes an .npz
of images X (n, ...) and labels y (n,), such as CIFAR-100's training images. Each size is measured
in a process of its own: fit_mb is its peak beyond the Gram matrix it is given.

    python benchmarks/centers.py [--data FILE.npz] [--manifolds 100 500 1000] [--csv FILE.csv]
    python benchmarks/centers.py --swallowing

With --swallowing, instead: how often the least of F alone leaves next to nothing of a center, and
what the balance term leaves, on random centers with falling spectra and on sparse histograms.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifold_capacity.geometry import center_fit
from manifold_capacity.geometry.centers import fit_centers

N_UNITS = 2000  # of the random layer


def load_images(path: Path | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images (n, n_pixels) and labels (n,)."""
    if path is None:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
    else:
        with np.load(path) as archive:
            images, labels = archive["X"], archive["y"]
    images = images.reshape(len(images), -1).astype(np.float64)
    return images / images.max(), labels.astype(np.int64)


def center_gram(path: Path | None, layer: str, n_manifolds: int) -> NDArray[np.float64]:
    """Gram matrix of the centers of `n_manifolds` random parts of the classes."""
    images, labels = load_images(path)
    rng = np.random.default_rng(0)
    # Shuffle, then sort by class: each class's images lie together, in random order.
    order = rng.permutation(len(images))
    order = order[np.argsort(labels[order], kind="stable")]
    parts = np.array_split(order, n_manifolds)
    weights = rng.standard_normal((images.shape[1], N_UNITS)) / np.sqrt(images.shape[1])
    offset = images.mean(axis=0)
    means = []
    for part in parts:
        points = images[part]
        if layer == "random relu":
            points = np.maximum((points - offset) @ weights, 0)
        means.append(points.mean(axis=0))
    deviations = np.array(means) - np.mean(means, axis=0)
    return deviations @ deviations.T


def measure(gram: NDArray[np.float64], repeats: int) -> dict[str, object]:
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        structure = fit_centers(gram)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "manifolds": len(gram),
        "wall_s": round(float(np.median(wall)), 2),
        "cpu_s": round(float(np.median(cpu)), 2),
        "fit_mb": round(peak / 1024 - before / 2**20),
        "process_mb": round(peak / 1024),
        "K": structure.rank,
        "K_tried": len(structure.correlations) - 1,
        "stopped": structure.stopped,
        "correlation": round(structure.center_correlation, 4),
        "residual": round(structure.residual_correlation, 4),
        "least_ratio": round(structure.least_residual_ratio, 3),
    }


def swallowing(n_inputs: int) -> pd.DataFrame:
    """Least residual ratio with and without the balance term, both converged."""

    def falling(rng: np.random.Generator, n_manifolds: int, exponent: float) -> NDArray[np.float64]:
        scale = np.arange(1, 5 * n_manifolds + 1.0) ** -exponent
        return rng.standard_normal((n_manifolds, len(scale))) * scale

    kinds = {
        "falling as 1/k, P = 12": lambda rng: falling(rng, 12, 1.0),
        "falling as 1/k, P = 20": lambda rng: falling(rng, 20, 1.0),
        "falling as k^-0.7, P = 20": lambda rng: falling(rng, 20, 0.7),
        "histograms, P = 20": lambda rng: rng.dirichlet(np.full(40, 0.3), 20),
    }
    balance = center_fit._BALANCE
    center_fit._SEARCH_TOLERANCE, center_fit.FINAL_TOLERANCE = 1e-6, 1e-9
    center_fit._MAX_ROUNDS = 100
    rows = []
    for kind, draw in kinds.items():
        least: dict[float, list[float]] = {0.0: [], balance: []}
        for seed in range(n_inputs):
            deviations = draw(np.random.default_rng(seed))
            deviations -= deviations.mean(axis=0)
            for weight, ratios in least.items():
                center_fit._BALANCE = weight
                ratios.append(fit_centers(deviations @ deviations.T).least_residual_ratio)
        for weight, ratios in least.items():
            rows.append(
                {
                    "centers": kind,
                    "balance": weight,
                    "inputs": n_inputs,
                    "below_0.02": sum(ratio < 0.02 for ratio in ratios),
                    "least": round(min(ratios), 4),
                    "median": round(float(np.median(ratios)), 4),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--manifolds", type=int, nargs="+", default=[50, 100, 200, 500])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--swallowing", action="store_true")
    arguments = parser.parse_args()
    if arguments.swallowing:
        table = swallowing(n_inputs=12)
    else:
        spawn = multiprocessing.get_context("spawn")
        rows = []
        for layer in ("pixels", "random relu"):
            for n_manifolds in arguments.manifolds:
                with spawn.Pool(1) as pool:
                    gram = pool.apply(center_gram, (arguments.data, layer, n_manifolds))
                with spawn.Pool(1) as pool:
                    row = pool.apply(measure, (gram, arguments.repeats))
                rows.append({"layer": layer, **row})
        table = pd.DataFrame(rows)
    print(
        f"centers of {arguments.data or 'handwritten digits'}; {platform.processor() or 'CPU'} x "
        f"{os.cpu_count()}, NumPy {np.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()

"""Time and memory of the moments, as features and points grow.

A layer-like array (manifold, point, feature) in float32, made from real images by a random layer of
rectified units; by default of scikit-learn's handwritten digits, or of the images X in an .npz
given by --data. Each size is measured in a process of its own; memory is the peak beyond the input.

    python benchmarks/moments.py [--data FILE.npz] [--features 4096 65536] [--points 50 200] [--csv
    FILE.csv]

Beside it, on a slice of the features and scaled up: the random projection to 5,000 dimensions that
is the usual shortcut, and is only approximate.
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
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from manifold_capacity.geometry.moments import moments_from_arrays

N_MANIFOLDS = 100
N_PROJECTED = 5000


def layer(path: Path | None, n_points: int, n_features: int) -> NDArray[np.float32]:
    """Activations (N_MANIFOLDS, n_points, n_features) of a random layer on real images."""
    if path is None:
        from sklearn.datasets import load_digits

        images = load_digits().data
    else:
        with np.load(path) as archive:
            images = archive["X"]
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(images), size=N_MANIFOLDS * n_points)
    points = images[chosen].reshape(len(chosen), -1).astype(np.float32)
    points -= points.mean(axis=0)
    points /= points.std()
    activations = np.empty((len(points), n_features), dtype=np.float32)
    for first in range(0, n_features, 1024):
        width = min(1024, n_features - first)
        weights = rng.standard_normal((points.shape[1], width), dtype=np.float32)
        np.maximum(points @ weights, 0, out=activations[:, first : first + width])
    return activations.reshape(N_MANIFOLDS, n_points, n_features)


def measure(path: Path | None, n_points: int, n_features: int) -> dict[str, object]:
    activations = layer(path, n_points, n_features)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    start, start_cpu = time.perf_counter(), time.process_time()
    moments_from_arrays(activations)
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    part = activations.reshape(-1, n_features)[:, : max(64, n_features // 64)]
    with threadpool_limits(limits=1, user_api="blas"):
        start_cpu = time.process_time()
        projection = np.random.default_rng(0).standard_normal((part.shape[1], N_PROJECTED))
        part @ projection
        projected = (time.process_time() - start_cpu) * n_features / part.shape[1]
    return {
        "manifolds": N_MANIFOLDS,
        "points": n_points,
        "features": n_features,
        "input_mb": round(activations.nbytes / 2**20),
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "beyond_input_mb": round(peak / 1024 - before / 2**20),
        "projection_cpu_s": round(projected, 1),
        "projection_matrix_mb": round(8 * N_PROJECTED * n_features / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--features", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--points", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    rows = []
    for n_points in arguments.points:
        for n_features in arguments.features:
            with spawn.Pool(1) as pool:
                rows.append(pool.apply(measure, (arguments.data, n_points, n_features)))
    table = pd.DataFrame(rows)
    print(
        f"moments of {arguments.data or 'handwritten digits'}; {platform.processor() or 'CPU'} x "
        f"{os.cpu_count()}, NumPy {np.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    print(table.to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
